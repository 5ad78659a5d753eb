"""A ledger of an older release becomes one of this release, and then it is what the schema says."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text

from firmware.bridge import schema
from firmware.bridge.database import Database
from firmware.bridge.migrations.versions import step_0001_ledger
from tests.bridge.ledgers import ledger_at


@pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL
def test_the_steps_make_what_the_schema_says(tmp_path: Path) -> None:
    with Database(ledger_at(tmp_path / "ledger.db")) as database, database.look() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        found = inspect(connection)
        for table in schema.metadata.tables.values():
            indexes = {index["name"] for index in found.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= indexes


def test_an_admission_of_the_first_release_was_decided_by_its_gate(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        context._ensure_version_table()
        with Operations.context(context):
            step_0001_ledger.upgrade()
        for line in (
            "INSERT INTO alembic_version VALUES ('0001')",
            "INSERT INTO gate (id, name, rows) VALUES (1, 'north', 1)",
            "INSERT INTO epoch (id, gate, epoch, random, branch, over) VALUES (1, 1, 1, 'r', 1, false)",
            "INSERT INTO admission VALUES (1, 1, 7, 'd', 1, 1, '1', 'acme:t1', 'acme', 'CODE', '', '', 'in', "
            "'outer', 'admitted', 'none', 1, 1, true, 'settled')",
        ):
            connection.execute(text(line))
    engine.dispose()
    with Database(url) as database, database.look() as connection:
        columns = schema.admission.c
        (line_of,) = connection.execute(select(columns.row, columns.scan, columns.decided)).all()
        assert tuple(line_of) == (7, 0, "gate")
        assert connection.execute(select(schema.device)).all() == []
