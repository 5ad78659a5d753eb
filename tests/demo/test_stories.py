"""What the demo waits for: the story of every scan ends, whatever the disk does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware.core.ticket import Verdict
from tests.gate_bench import SETUP, Bench, data_directory

SECOND_MS = 1000  # the loop looks for stories that have waited too long about once in it


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


@contextmanager
def gate(data: Path) -> Iterator[Bench]:
    """A gate whose stopwatch goes with the time that the test moves."""
    benches: list[Bench] = []
    with Bench(data, ticks_ns=lambda: benches[0].time.now_ms() * 1_000_000 if benches else 0) as bench:
        benches.append(bench)
        yield bench


def stories(bench: Bench) -> list[tuple[Verdict, bool]]:
    """What was decided, and whether the disk had it when the story ended."""
    return [(shot.verdict, shot.durable_ns is not None) for shot in bench.shots]


def test_a_story_ends_when_its_row_is_safe(data: Path) -> None:
    with gate(data) as bench:
        bench.scan("nobody")
        assert stories(bench) == []
        bench.settle()
        assert stories(bench) == [(Verdict.UNKNOWN, True)]


def test_a_refusal_waits_for_a_hung_disk_as_long_as_an_admission_would(data: Path) -> None:
    with gate(data) as bench, bench.hung_disk():
        bench.let_time_pass(SECOND_MS)
        bench.scan("nobody")
        bench.let_time_pass(SETUP.record_ms - 50)
        assert stories(bench) == []
        bench.let_time_pass(SECOND_MS + 50)
        assert stories(bench) == [(Verdict.UNKNOWN, False)]


def test_an_admission_that_the_disk_did_not_take_ends_as_out_of_order(data: Path) -> None:
    with gate(data) as bench:
        with bench.refusing_disk():
            bench.scan("A")
            bench.hear()
            assert stories(bench) == [(Verdict.OUT_OF_ORDER, False)]
            bench.scan("B")
            assert stories(bench) == [(Verdict.OUT_OF_ORDER, False)] * 2
        bench.settle()
        assert stories(bench) == [(Verdict.OUT_OF_ORDER, False)] * 2
        assert bench.openings() == 0
