"""What `tests.bench.scaling` sets up: a broker limited as the deploy files say, bridges, and the ledger."""

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, create_engine, func, make_url, select, text

from firmware.bridge import schema
from tests.bench import site
from tests.bench.figures import PACE
from tests.brokers import RunningBroker, mosquitto_broker
from tests.postgres import postgresql, server

MOSQUITTO = Path(__file__).parents[2] / "deploy" / "mosquitto"
LIMIT = re.compile(r"^(max_\w+|memory_limit|set_tcp_nodelay|persistent_client_expiration) .*$", re.MULTILINE)
SPARE_CONNECTIONS = 100  # besides the gates: bridges, and who connects anew before he is found dead
DURABLE = "-c fsync=on -c full_page_writes=on"  # as an operator has it, and unlike the tests
START_S = 30.0
LOOK_S = 0.2
SAMPLE_S = 1.0


def until(what: Callable[[], object], limit_s: float) -> None:
    """Raises `TimeoutError`."""
    ends_s = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"it did not come about within {limit_s:g} s")
        PACE.wait(LOOK_S)


@contextmanager
def limited_broker(folder: Path, gates: int) -> Iterator[RunningBroker]:
    """As `cloud.conf` limits it, with its access list, and as many connections as there are gates if need be.

    Without TLS and certificates: names come as users.
    """
    folder.mkdir(parents=True)
    said = (MOSQUITTO / "cloud.conf").read_text("utf-8")
    limits = {found[1]: found[0] for found in LIMIT.finditer(said)}
    connections = int(limits["max_connections"].split()[1])
    limits["max_connections"] = f"max_connections {max(connections, gates + SPARE_CONNECTIONS)}"
    shutil.copy(MOSQUITTO / "broker.acl", folder / "acl")
    (folder / "acl").chmod(0o600)
    config = "\n".join(
        ["listener {port} 127.0.0.1", "allow_anonymous true", f"acl_file {(folder / 'acl').resolve()}"]
    )
    with mosquitto_broker(folder, "\n".join([config, *limits.values()])) as broker:
        yield broker


class Ledger:
    """The database of the bridges, looked at from outside."""

    def __init__(self, url: str, engine: Engine) -> None:
        self._url, self._engine = url, engine

    def write_settings(self, settings: Path) -> None:
        """Into bridge.toml."""
        said = settings.read_text("utf-8")
        settings.write_text(said.replace("[bridge]\n", f'[bridge]\nledger = "{self._url}"\n', 1))

    def is_listed(self) -> bool:
        """Whether the vendor's list was read to its end."""
        with self._engine.connect() as connection:
            if not connection.dialect.has_table(connection, "state"):
                return False
            name = f"stamp:{site.ACCOUNT}"
            found = connection.execute(select(schema.state.c.value).where(schema.state.c.name == name))
            return found.scalar_one_or_none() not in (None, "0")

    def rows(self) -> int:
        """Of all gates."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(schema.row)).scalar_one())

    def received_ms(self) -> list[int]:
        """When each row was stored, in order."""
        with self._engine.connect() as connection:
            at_ms = schema.row.c.received_ms
            return list(connection.execute(select(at_ms).order_by(at_ms)).scalars())

    def reports(self) -> list[str]:
        """What a person should look at."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(schema.report.c.text)).scalars())

    def process_ids(self) -> list[int]:
        """Of a server, and of those that it keeps; none for a file."""
        folder = make_url(self._url).query.get("host")
        if folder is None:
            return []
        first = (Path(str(folder)) / "data" / "postmaster.pid").read_text("utf-8").split()[0]
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [int(first), *map(int, children)]

    def size(self) -> int:
        """Bytes on disk, the log of what was written last aside."""
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                pages = connection.execute(text("PRAGMA page_count")).scalar_one()
                return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


@contextmanager
def ledger_of(database: str, folder: Path) -> Iterator[Ledger]:
    """An empty one. Raises `RuntimeError` where there is no such database."""
    with ExitStack() as stack:
        if database == "sqlite":
            url = f"sqlite:///{folder.resolve() / 'ledger.db'}"
        else:
            programs = server()
            if programs is None:
                raise RuntimeError("PostgreSQL is not installed: `make system` brings it")
            url = stack.enter_context(postgresql(programs, DURABLE)).url(folder)
        engine = create_engine(make_url(url))
        stack.callback(engine.dispose)
        yield Ledger(url, engine)


class Bridges:
    """`gatepost bridge`, some of them, each with a folder of its own and the venue's one key."""

    def __init__(self, settings: Path, folder: Path, count: int) -> None:
        self._settings = settings
        self._folders = [folder / f"bridge-{number}" for number in range(1, count + 1)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start them one after the other: the first makes the key, and the list is read once."""
        with self._settings.open("a") as file:
            secret = self._settings.parent.resolve() / "password"
            file.write(f'username = "Bridge"\npassword_file = "{secret}"\n')
        try:
            for data in self._folders:
                data.mkdir()
                if data != self._folders[0]:
                    shutil.copy(self._folders[0] / "key", data / "key")
                self._start(data)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, data: Path) -> None:
        command = [str(Path(sys.executable).parent / "gatepost"), "bridge"]
        command += ["--config", str(self._settings), "--data", str(data)]
        with (data / "said").open("wb") as said:
            self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said))
        try:
            until(lambda: "ready: " in (data / "said").read_text("utf-8"), START_S)
        except TimeoutError as late:
            raise RuntimeError((data / "said").read_text("utf-8")) from late

    def kill(self, at: int) -> None:
        """End one of them at once."""
        self._processes[at].kill()
        self._processes[at].wait()

    def start_again(self, at: int) -> None:
        """In the folder of one that was killed."""
        self._start(self._folders[at])
        self._processes[at] = self._processes.pop()

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(site.END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def process_ids(self) -> dict[str, list[int]]:
        """Under one name."""
        return {"bridges": [process.pid for process in self._processes]}

    def complaints(self) -> list[str]:
        """What they said besides that they are ready."""
        lines = [line for data in self._folders for line in (data / "said").read_text("utf-8").splitlines()]
        return [line for line in lines if "ready: " not in line and ": box: " not in line]


class Memory:
    """Looks each second at how much memory the largest of some processes has."""

    def __init__(self, process_ids: Sequence[int]) -> None:
        self.mb: list[float] = []
        self._process_ids, self._over = process_ids, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.mb.append(max(map(resident_mb, self._process_ids)))

    def stop(self) -> None:
        """No more looks; twice is fine."""
        self._over.set()
        self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.stop()


def resident_mb(pid: int) -> float:
    """What a process holds in memory now."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
