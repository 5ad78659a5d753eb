"""Brings the tables of a ledger up to this release, step by step, through Alembic.

Each file in `versions` is one step, never changed once released: `schema` says what a ledger is now, the
steps say how one of any release becomes that, and a test holds the two against each other. A step must be
one that the release before can live with (a new table, a new column with a default), because bridges are
renewed one after another; what it stops using is dropped a release later.
"""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER = Path(__file__).parent


class LaterRelease(Exception):
    """A later release has worked on this ledger. The message names the mend."""


def migrate(connection: Connection) -> None:
    """Carry out the steps that this ledger lacks, in the caller's transaction. Raises `LaterRelease`."""
    script = ScriptDirectory(str(FOLDER))
    known = {revision.revision for revision in script.walk_revisions()}
    here = MigrationContext.configure(connection).get_current_heads()
    if unknown := set(here) - known:
        raise LaterRelease(
            f"a later release has worked on this ledger (step {', '.join(sorted(unknown))}): "
            "install that release, or put a copy from before it back"
        )
    if set(here) == set(script.get_heads()):
        return

    def steps(revision: Any, _: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs("head", revision)  # as Alembic's own command does

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
