"""What a benchmark says: figures, each with its ratios to the floors and peers of the same run."""

import gc
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

PACE = threading.Event()
SCRATCH = Path(".bench")  # on the disk that is measured, and out of git's sight
WARM_UP = 200  # calls of each before the first round: caches, branch predictors, prepared statements


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ratios` are this median over the named figure's median."""

    name: str
    size: str
    median: float
    p99: float
    unit: str
    ratios: dict[str, float] = field(default_factory=dict)
    target: str = ""
    note: str = ""


Work = Callable[[int], object]


def in_turns(works: dict[str, Work], rounds: int, a_round: int, pause_s: float = 0.0) -> dict[str, list[int]]:
    """Nanoseconds of every call of each work, in rounds that take turns: noise meets all alike.

    A work is called with the number of the call, the same numbers for all, after a pause, so that each
    meets a processor as idle as the others do.
    """
    taken: dict[str, list[int]] = {name: [] for name in works}
    clock = time.perf_counter_ns
    for name, work in works.items():
        for number in range(min(WARM_UP, a_round)):
            work(number)
        taken[name].clear()
    for turn in range(rounds):
        for name, work in works.items():
            into = taken[name]
            gc.collect()
            for number in range(turn * a_round, (turn + 1) * a_round):
                if pause_s:
                    PACE.wait(pause_s)
                started = clock()
                work(number)
                into.append(clock() - started)
    return taken


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all stays below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def figure(
    name: str,
    size: str,
    values: Sequence[float],
    unit: str,
    peers: dict[str, float] | None = None,
    target: str = "",
    note: str = "",
) -> Figure:
    """A figure from single measurements. `peers` are the medians of others, in the same unit."""
    middle = median(values)
    ratios = {peer: round(middle / value, 3) for peer, value in (peers or {}).items()}
    return Figure(name, size, round(middle, 3), round(quantile(values, 0.99), 3), unit, ratios, target, note)


def single(name: str, size: str, value: float, unit: str, target: str = "", note: str = "") -> Figure:
    """A figure that is one number."""
    return Figure(name, size, round(value, 3), round(value, 3), unit, {}, target, note)


def write(figures: Sequence[Figure], path: Path) -> None:
    """All figures as JSON, for machines."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")


def table(figures: Sequence[Figure]) -> str:
    """All figures as a Markdown table, for people."""
    lines = ["| figure | size | median | p99 | unit | ratio | target | note |", "| --- | " * 7 + "--- |"]
    lines[1] = "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in figures:
        ratios = ", ".join(f"{ratio:g} x {peer}" for peer, ratio in each.ratios.items())
        lines.append(
            f"| {each.name} | {each.size} | {each.median:,g} | {each.p99:,g} | {each.unit} "
            f"| {ratios} | {each.target} | {each.note} |"
        )
    return "\n".join(lines)
