"""A chain that takes seconds for each ticket: whether a lane notices, and how soon the queue is empty.

People come to one gate, so many in a minute, while B.A.M.'s sandbox takes 5 s for the last step of each; then
as many while it takes none, which is the peer. Gate, broker, bridge and ledger are real ones.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from firmware.bridge import bam_identity
from firmware.bridge.bam_identity import Identity
from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_rules import Rules
from tests.bench import site
from tests.bench.figures import PACE, SCRATCH, Figure, figure, median, single
from tests.bench.listing import enrol

SCANS, WITHIN_S, LATENCY_S = 200, 60.0, 5.0
SHARE = 4  # of the tickets of two events so many are one that can be let in, with room
LOOK_S = 0.1
DRAIN_S = 300.0  # for the queue to be empty
# A disk that is busy for a second closes a lane, which is another matter: here it shows in the figure alone.
PATIENT = "record_ms = 5000\n"

VENDOR = """
[bridge]
venue = "{venue}"
[[vendor]]
name = "{account}"
kind = "bam"
poll_s = 2
rate_max = 1000
url = "{url}"
tenant_url = "{tenant_url}"
validator_file = "{folder}/validator"
key_file = "{folder}/validator-key"
[[vendor.event]]
id = "{event}"
[[broker]]
host = "127.0.0.1"
port = {port}
tls = false
"""


class Load(NamedTuple):
    """How many come in which time, and how long the chain takes for one."""

    scans: int = SCANS
    within_s: float = WITHIN_S
    latency_s: float = LATENCY_S


class Seen(NamedTuple):
    """What came of it: from reader to relay of each, until the queue was empty, and its longest."""

    relay_ms: list[float]
    drain_s: float
    waiting_max: int


def run(count: int) -> Iterator[Figure]:
    """`SCANS` scans in a minute, or as many as there are tickets in a time that is shorter likewise."""
    scans = min(SCANS, count)
    yield from figures(Load(scans, WITHIN_S * scans / SCANS))


def figures(load: Load) -> Iterator[Figure]:
    """The same for another load."""
    if (figure_of_none := site.absent("scan to relay, a slow chain")) is not None:
        yield figure_of_none
        return
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        slow = measured(Path(scratch, "slow"), load)
        quick = measured(Path(scratch, "quick"), load._replace(latency_s=0.0))
    size = f"{load.scans} scans in {load.within_s:g} s, chain {load.latency_s:g} s"
    peer = {"a chain that takes no time": median(quick.relay_ms)}
    yield figure("scan to relay, a slow chain", size, slow.relay_ms, "ms", peer, "unaffected")
    yield figure("scan to relay, a quick chain", size, quick.relay_ms, "ms", note="peer")
    yield single(
        "queue empty after the last scan", size, slow.drain_s, "s", "drains", "each ticket invalidated once"
    )
    yield single("scans that waited for the chain", size, slow.waiting_max, "scans", note="at most")


def measured(folder: Path, load: Load) -> Seen:
    """One run. Raises `AssertionError` where a person was not let in, or a ticket not used exactly once."""
    folder.mkdir(parents=True)
    rules = Rules(latency_s=load.latency_s)
    with (
        site.broker_in(folder / "broker") as broker,
        Sandbox(tickets=SHARE * load.scans, rules=rules) as chain,
    ):
        event = chain.events[0].id
        codes = chain.codes(load.scans, event=event, status="issued")
        assert len(codes) == load.scans
        listed = sum(len(chain.codes(chain.tickets.count, event=event, status=each)) for each in rules.listed)
        settings, data = write_bridge(folder / "bridge", broker.port, chain), folder / "bridge" / "data"
        with site.bridge(settings, data):
            enrol(data, folder / "north")
            north = site.write_gate(folder, "north", broker.port, PATIENT)
            with site.gate(north, folder / "north") as gate:
                gate.ask("tickets", count=listed)
                relay_ms, waiting_max = _people(gate, chain, codes, load.within_s)
                ended_s = time.monotonic()
                while _done(data / "ledger.db") < load.scans:
                    assert time.monotonic() < ended_s + DRAIN_S, "the queue does not drain"
                    PACE.wait(LOOK_S)
                drain_s = time.monotonic() - ended_s
        history = [change.ticket_id for change in chain.history() if change.what == "checkin"]
        assert sorted(history) == sorted(chain.ticket(code).id for code in codes), "not each of them once"
        denied = [change for change in chain.history() if change.what == "denied"]
        assert (chain.violations, denied) == ([], [])
    return Seen(relay_ms, drain_s, waiting_max)


def _people(
    gate: site.Child, chain: Sandbox, codes: Sequence[str], within_s: float
) -> tuple[list[float], int]:
    """They come at an even pace: from reader to relay of each, and how many waited for the chain at most."""
    relay_ms, waiting_max, began_s = list[float](), 0, time.monotonic()
    for number, code in enumerate(codes):
        PACE.wait(max(0.0, began_s + number * within_s / len(codes) - time.monotonic()))
        shot = gate.ask("scan", code=code)
        assert shot["verdict"] == "admitted", shot
        relay_ms.append((shot["relay_ns"] - shot["read_ns"]) / 1e6)
        waiting_max = max(waiting_max, number + 1 - chain.books().check_ins)
    return relay_ms, waiting_max


def write_bridge(folder: Path, port: int, sandbox: Sandbox) -> Path:
    """The settings of a bridge whose validator was fetched."""
    folder.mkdir(parents=True)
    validator = sandbox.validators[0]
    wallet = validator.wallet
    identity = Identity(
        str(validator.event), sandbox.organizer, wallet.enrollment_id, wallet.certificate, wallet.private_key
    )
    bam_identity.make_key(folder / "validator-key")
    bam_identity.keep(folder / "validator", folder / "validator-key", identity)
    path = folder / "bridge.toml"
    path.write_text(
        VENDOR.format(
            venue=site.VENUE,
            account=site.ACCOUNT,
            url=sandbox.url,
            tenant_url=sandbox.tenant_url,
            folder=folder.resolve(),
            event=validator.event,
            port=port,
        )
    )
    return path


def _done(ledger: Path) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM work WHERE state = 'done' AND result = 'accepted'"
        (count,) = connection.execute(query).fetchone()
        return int(count)
