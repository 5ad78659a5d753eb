"""What health and orders cost a person at the lane: two whole gates, one with them and one without.

Both are processes of their own on one broker and take turns scan by scan, so that noise meets them alike. One
is as it is installed: an operator's key in its data, so that orders are listened to, with telemetry,
warnings, measures and the register of faults at work. The other has none of these. Telemetry goes out every
ten seconds, so a dozen scans of a run meet it: the p99 says whether they notice.
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware.signing import Operator, Role, key_id, text_of
from firmware.unit import OPERATORS
from tests.bench import site, world
from tests.bench.figures import SCRATCH, Figure, figure, median, quantile

SCANS = 3_000
WARM_UP = 30
TICKETS_MAX = 50_000
ARMS = ("with", "without")
TIMES = {
    "decision": ("read_ns", "decided_ns"),
    "row on disk": ("decided_ns", "durable_ns"),
    "relay": ("read_ns", "relay_ns"),
}
EVEN = 0.05  # medians of one gate in two runs differ by as much


def run(count: int) -> Iterator[Figure]:
    """At so many tickets, but no more than `TICKETS_MAX`."""
    if (none := site.absent("a scan with health and orders")) is not None:
        yield none
        return
    count = min(count, TICKETS_MAX)
    taken: dict[str, dict[str, list[float]]] = {arm: {name: [] for name in TIMES} for arm in ARMS}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch, ExitStack() as stack:
        folder = Path(scratch)
        broker = stack.enter_context(site.broker_in(folder / "broker"))
        gates = {arm: stack.enter_context(_gate(folder, arm, broker.port, count)) for arm in ARMS}
        for gate in gates.values():
            gate.ask("connected")
        for turn, number in enumerate(world.sample(count, WARM_UP + SCANS)):
            for arm in ARMS if turn % 2 else ARMS[::-1]:
                said = gates[arm].ask("scan", code=world.code_of(number))
                for name, (began, ended) in TIMES.items():
                    if turn >= WARM_UP and said[ended] is not None:
                        taken[arm][name].append((said[ended] - said[began]) / 1000)
    size = f"{len(taken['with']['decision']):,} scans each"
    for name in TIMES:
        without, with_ = taken["without"][name], taken["with"][name]
        note = f"p99 without: {quantile(without, 0.99):,.0f} µs"
        target = f"<= {1 + EVEN:g} x without" if name == "decision" else ""
        yield figure(f"{name}, managed", size, with_, "µs", {"without": median(without)}, target, note)


def _gate(folder: Path, arm: str, port: int, count: int) -> AbstractContextManager[site.Child]:
    data = folder / arm
    world.make_catalogue(data / "catalogue", count)
    settings = site.write_gate(folder, arm, port)
    if arm == "without":
        return site.gate(settings, data, "bare")
    private = Ed25519PrivateKey.generate()
    operator = Operator(key_id(private.public_key()), "ann", Role.SUPERVISOR, private.public_key())
    (data / OPERATORS).parent.mkdir()
    (data / OPERATORS).write_text(text_of([operator]), "utf-8")
    return site.gate(settings, data)
