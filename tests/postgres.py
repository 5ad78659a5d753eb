"""A PostgreSQL of Debian's package, started once for a test run; each ledger is a database of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, inspect, make_url, text

from firmware.bridge import schema

PACKAGES = ("postgresql",)
USER = "postgres"  # whom the server runs as where the tests run as root, which it refuses
START_S = 60
# A ledger lives as long as its test: nothing need survive a power cut, so nothing waits for the disk.
OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=200"
ALONE = (
    "SELECT pg_terminate_backend(pid, :wait_ms) FROM pg_stat_activity "
    "WHERE datname = :name AND pid <> pg_backend_pid()"
)


def server() -> Path | None:
    """The folder of its programs; `None` where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSql:
    """A server at work. `url` gives the database that stands for a file.

    A database that was given back is emptied and given out again, which takes a tenth of making one.
    """

    def __init__(self, folder: Path) -> None:
        self._base = make_url(f"postgresql+psycopg://{USER}@/postgres").update_query_dict(
            {"host": str(folder)}
        )
        self._engine = create_engine(self._base, isolation_level="AUTOCOMMIT")
        self._made = 0
        self._free: list[str] = []
        self._given: dict[Path, str] = {}

    def url(self, path: Path) -> str:
        """The ledger that would be this file: the same for one path each time, with no rows at first."""
        if path not in self._given:
            self._given[path] = self._free.pop() if self._free else self._make()
        return self._of(self._given[path])

    def copy(self, path: Path, to: Path) -> None:
        """A second ledger, as the first is now; whoever still has a connection to the first loses it."""
        self._given[to] = self._make(self._given[path])

    def forget(self, folder: Path = Path("/")) -> None:
        """The ledgers below this folder are over: whoever still has a connection to one loses it."""
        for path in [path for path in self._given if path.is_relative_to(folder)]:
            name = self._given.pop(path)
            self._leave_alone(name)
            engine = create_engine(self._of(name), poolclass=NullPool)
            with engine.begin() as connection:
                made = set(inspect(connection).get_table_names())
                if tables := [table.name for table in schema.metadata.sorted_tables if table.name in made]:
                    connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"))
            self._free.append(name)

    def close(self) -> None:
        """Close our own connections."""
        self._engine.dispose()

    def _make(self, like: str = "template0") -> str:
        self._made += 1
        name = f"ledger_{self._made}"
        self._leave_alone(like, START_S)  # a copy waits for those who go for five seconds, and then is none
        with self._engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like}"))
        return name

    def _leave_alone(self, name: str, wait_s: int = 0) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(ALONE), {"name": name, "wait_ms": 1000 * wait_s})

    def _of(self, name: str) -> str:
        return self._base.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSql]:
    """The server of a test run. Skips where it is not installed."""
    programs = server()
    if programs is None:
        pytest.skip(f"needs {', '.join(PACKAGES)}: make system")
    with postgresql(programs) as started:
        yield started


@contextmanager
def postgresql(programs: Path, more: str = "") -> Iterator[PostgreSql]:
    """A server on a socket in a folder of its own, ended at the end. `more`: options besides."""
    with tempfile.TemporaryDirectory(prefix="gatepost-pg-") as name:
        folder = Path(name)
        as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
            as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        data, log = folder / "data", folder / "log"
        run(
            [
                *as_user,
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                USER,
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ]
        )
        control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", str(START_S)]
        run([*control, "-l", str(log), "-o", f"{OPTIONS} -k {folder} {more}", "start"])
        try:
            server = PostgreSql(folder)
            yield server
            server.close()
        finally:
            run([*control, "-m", "immediate", "stop"])


def run(command: list[str]) -> None:
    """Run a program of the server; what it says is shown where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=4 * START_S)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
