"""From the commit at one gate to the moment another one refuses the same ticket, over the venue's broker.

Within this time a copied ticket gets in twice while both gates work: it is the bound that is stated for
double admission. Both gates are whole ones in processes of their own; there is no bridge.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import site, world
from tests.bench.figures import PACE, SCRATCH, Figure, figure

NAME = "commit at one gate to refusal at another"
TICKETS = 300
TRIALS = 200
GAP_S = 0.02  # both gates are at rest again, as between two people


def run(count: int) -> Iterator[Figure]:
    """Whatever the catalogue's size."""
    if (figure_of_none := site.absent(NAME)) is not None:
        yield figure_of_none
        return
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch, site.broker_in(Path(scratch)) as broker:
        folder = Path(scratch)
        for name in ("east", "west"):
            world.make_catalogue(folder / name / "catalogue", TICKETS)
        more = '[[event]]\nid = "summer"\n'
        settings = {name: site.write_gate(folder, name, broker.port, more) for name in ("east", "west")}
        with (
            site.gate(settings["east"], folder / "east") as east,
            site.gate(settings["west"], folder / "west") as west,
        ):
            for gate in (east, west):
                gate.ask("connected")
            taken = [_trial(east, west, world.code_of(number)) for number in range(TRIALS)]
    yield figure(
        NAME, f"{TRIALS} tickets, two gates", taken, "ms", None, "stated", "the venue's broker alone"
    )


def _trial(east: site.Child, west: site.Child, code: str) -> float:
    """Milliseconds."""
    assert west.ask("known", code=code) == {"watching": True}
    first = east.ask("scan", code=code)
    second = west.hear()
    assert (first["verdict"], second["verdict"]) == ("admitted", "used"), (first, second)
    PACE.wait(GAP_S)
    return float(second["known_ns"] - first["durable_ns"]) / 1e6
