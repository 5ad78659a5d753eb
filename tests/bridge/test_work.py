import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from firmware.bridge.database import LedgerLost
from firmware.bridge.feed import FeedKeyChanged
from firmware.bridge.oddities import KINDS_MAX, OTHERS, TEXT_CHARACTERS_MAX, UNSAID_MAX, Oddities
from firmware.bridge.vendor import Misconfigured, Outage
from firmware.bridge.work import (
    LEDGER_RETRY_S_MAX,
    RETRY_S_MAX,
    RETRY_S_MIN,
    Fault,
    Faults,
    Worker,
    at_work,
)
from tests.brokers import LIMIT_S

Turn = float | Exception


class Script:
    """A worker whose turns and waits are written down: nothing here takes time.

    Each turn returns, or raises, what is next; after the last one the worker is stopped.
    """

    def __init__(self, *turns: Turn, uniform: Callable[[float, float], float] = max) -> None:
        self.faults = Faults()
        self.waits: list[float] = []
        self.seen: list[list[Fault]] = []
        self.during: dict[int, Callable[[], None]] = {}
        self._turns: Iterator[Turn] = iter(turns)
        self._taken = 0
        self.worker = Worker("telling a", self._turn, self.faults, uniform, self._wait)

    def _turn(self) -> float:
        self.seen.append(self.faults.now())
        turn = next(self._turns, None)
        if turn is None:
            self.worker.stop()
            return 0.0
        self._taken += 1
        self.during.get(self._taken, lambda: None)()
        if isinstance(turn, Exception):
            raise turn
        return turn

    def _wait(self, event: threading.Event, seconds: float) -> None:
        self.waits.append(0.0 if event.is_set() else seconds)

    def run(self) -> None:
        with self.worker:
            self.worker._thread.join(LIMIT_S)
        assert next(self._turns, None) is None


def test_a_turn_says_when_the_next_one_is() -> None:
    script = Script(5.0, 0.0, 2.5)
    script.run()
    assert script.waits == [5.0, 2.5]


def test_a_wake_during_a_turn_brings_the_next_one_at_once() -> None:
    script = Script(60.0, 60.0)
    script.during[1] = script.worker.wake
    script.run()
    assert script.waits == [0.0, 60.0]


def test_a_wake_before_the_start_is_part_of_the_first_turn() -> None:
    script = Script(60.0)
    script.worker.wake()
    script.run()
    assert script.waits == [60.0]


def test_failures_wait_longer_and_longer_up_to_a_bound_and_a_success_begins_anew() -> None:
    script = Script(*[Outage("down")] * 9, 1.0, Outage("down"))
    script.run()
    assert script.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, RETRY_S_MAX, RETRY_S_MAX, 1.0, RETRY_S_MIN]


def test_a_ledger_that_is_lost_is_tried_every_few_seconds_however_long_it_takes() -> None:
    script = Script(*[LedgerLost("gone")] * 300)
    script.run()
    assert max(script.waits) == LEDGER_RETRY_S_MAX
    assert all(before <= after for before, after in pairwise(script.waits))


def test_a_wait_after_a_failure_is_random_and_at_least_half_of_the_longest() -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        bounds.append((least, most))
        return least

    script = Script(Outage("down"), Outage("down"), uniform=uniform)
    script.run()
    assert bounds == [(0.25, 0.5), (0.5, 1.0)]
    assert script.waits == [0.25, 0.5]


def test_a_vendor_is_left_alone_for_as_long_as_it_asks() -> None:
    script = Script(Outage("busy", 600.0), Outage("busy", 0.1))
    script.run()
    assert script.waits == [600.0, 1.0]


def test_a_wake_while_a_fault_lasts_changes_nothing() -> None:
    script = Script(Outage("down"), 1.0)
    script.during[1] = script.worker.wake
    script.run()
    assert script.waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Outage("a: no answer"), Fault("telling a", "Outage", "telling a: a: no answer")),
        (Misconfigured("wrong key"), Fault("telling a", "Misconfigured", "telling a: wrong key")),
        (
            LedgerLost("db: full: make room"),
            Fault("the ledger", "LedgerLost", "the ledger: db: full: make room"),
        ),
        (
            FeedKeyChanged("put the key back"),
            Fault("the ledger", "FeedKeyChanged", "the ledger: put the key back"),
        ),
    ],
)
def test_what_is_wrong_is_a_fault_until_a_turn_goes_well(error: Exception, fault: Fault) -> None:
    script = Script(error, error, 1.0)
    script.run()
    assert script.seen == [[], [fault], [fault], []]


def test_what_nobody_has_foreseen_is_named_and_tried_again() -> None:
    script = Script(KeyError("subject"), 1.0)
    script.run()
    (fault,) = script.seen[1]
    assert fault.thing == "telling a"
    assert fault.text.startswith("telling a: KeyError: 'subject' (")
    assert fault.text.endswith("report it")
    assert script.faults.now() == []


def test_a_fault_of_ours_names_the_line_of_the_product() -> None:
    script = Script()

    def turn() -> float:
        Oddities().add("a", "b", None)  # type: ignore[arg-type]  # what nobody has foreseen
        return 0.0

    script.worker._turn = turn
    script.worker._wait = lambda *_: script.worker.stop()
    script.run()
    (fault,) = script.faults.now()
    assert "(bridge/oddities.py:" in fault.text


def test_a_ledger_that_all_threads_miss_is_one_fault_and_over_when_the_last_has_it_back() -> None:
    faults = Faults()
    lost = Fault("the ledger", "LedgerLost", "the ledger: gone")
    faults.set("storing", lost)
    faults.set("pages", lost)
    faults.set("telling a", Fault("telling a", "Outage", "down"))
    assert [fault.thing for fault in faults.now()] == ["the ledger", "telling a"]
    faults.clear("storing")
    assert lost in faults.now()
    faults.clear("pages")
    faults.clear("pages")
    assert [fault.thing for fault in faults.now()] == ["telling a"]


def test_what_breaks_off_because_the_bridge_stops_is_no_fault() -> None:
    script = Script(Outage("not sent: the bridge is stopping"))
    script.during[1] = script.worker.stop
    script.run()
    assert script.faults.now() == []


def test_a_worker_that_waits_for_an_hour_ends_at_once() -> None:
    for turn in (3600.0, Outage("busy", 3600.0)):
        waits = threading.Event()

        def wait(event: threading.Event, seconds: float, waits: threading.Event = waits) -> None:
            waits.set()
            assert event.wait(LIMIT_S)

        script = Script(turn)
        worker = script.worker
        worker._wait = wait
        with worker:
            assert waits.wait(LIMIT_S)
            assert worker.close()
            assert worker.close()
        assert worker.stopping


def test_a_worker_that_never_started_is_closed_and_starts_no_more() -> None:
    script = Script(1.0)
    assert script.worker.close()
    script.worker.start()
    assert script.worker.close()
    assert script.seen == []


def test_all_are_asked_to_end_before_one_is_waited_for_and_one_that_hangs_is_left_behind() -> None:
    begun, release, other = threading.Event(), threading.Event(), threading.Event()

    def hang() -> float:
        begun.set()
        assert release.wait(LIMIT_S)
        return 0.0

    def turn() -> float:
        return 60.0

    hanging = Worker("hanging", hang, Faults())
    quick = Worker(
        "quick", turn, Faults(), wait=lambda event, _: other.set() if event.wait(LIMIT_S) else None
    )
    with at_work((hanging, quick), limit_s=0.0):
        assert begun.wait(LIMIT_S)
    assert hanging.stopping
    assert other.wait(LIMIT_S), "the second was asked to end although the first hangs"
    release.set()
    assert hanging.close(LIMIT_S)
    assert quick.close(LIMIT_S)


# --- messages that were not taken ------------------------------------------------------------------------


def test_a_message_that_does_not_fit_is_said_once_for_its_gate_and_kind_and_counted() -> None:
    odd = Oddities()
    for number in range(3):
        odd.add("north", "journal: Unfit", f"north {number}")
    odd.add("south", "journal: Unfit", "south")
    odd.add("north", "journal: UnknownVersion", "version")
    assert odd.news() == ["north 0", "south", "version"]
    odd.add("north", "journal: Unfit", "north 3")
    assert odd.news() == []
    assert odd.counts()["north", "journal: Unfit"] == (4, "north 3")


def test_made_up_names_fill_neither_memory_nor_log() -> None:
    odd = Oddities()
    for number in range(10 * KINDS_MAX):
        odd.add(f"g{number}", "journal: Unfit", "x" * 10 * TEXT_CHARACTERS_MAX)
    counts = odd.counts()
    assert len(counts) == KINDS_MAX + 1
    assert counts[OTHERS].times == 9 * KINDS_MAX
    news = odd.news()
    assert len(news) == UNSAID_MAX
    assert "not said" in news[-1]
    assert max(map(len, news)) < 2 * TEXT_CHARACTERS_MAX
    odd.add("g0", "journal: Unfit", "last")
    assert odd.counts()["g0", "journal: Unfit"] == (2, "last")
