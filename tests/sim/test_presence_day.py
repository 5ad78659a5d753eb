"""Days at a venue whose vendor is asked about each scan, as Ticketmaster Presence is.

Outer and inner lanes, ways in and out, and answers that come in time, late, twice, or never; the gate dies
in between. Seeded, on the whole gate with its real journal; the vendor's books and the gate's openings are
compared.
"""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.asks import Question
from firmware.core.credit import DUPLICATE_MS
from firmware.core.ticket import Authority, Direction, Perimeter, Route, Verdict
from hal.ports import Way
from tests.gate_bench import SETUP, THROUGH, Bench, FakeLink, data_directory

ROUTE = Route("acme", authority=Authority.VENDOR, deadline_ms=3000)
DOOR = SETUP._replace(name="door")
HALL = SETUP._replace(name="hall", perimeter=Perimeter.INNER)
CODES = tuple(f"V{number}" for number in range(6))
STEPS = 40
FATES = ("in time", "in time", "twice", "late", "after a crash", "lost", "not sent")

Key = tuple[str, Direction, Perimeter]


class Presence(FakeLink):
    """The vendor's rules for gates with exits, and its words; revisions 2 and 3 of its documents."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: set[tuple[str, Perimeter]] = set()
        self.accepted: Counter[Key] = Counter()
        self.last: dict[str, int] = {}

    def decide(self, question: Question) -> tuple[Verdict, str]:
        """Carry it out; the verdict that the bridge makes of its word, and the word."""
        code, direction, perimeter = question.code, question.ask.direction, question.perimeter
        at_ms = question.scan.moment.utc_ms
        internal = "INTERNAL_SCAN_" if perimeter is Perimeter.INNER else ""
        if at_ms - self.last.get(code, 0) < DUPLICATE_MS:
            return Verdict.REFUSED, "DUPLICATE"
        entering = direction is Direction.IN
        if entering is ((code, perimeter) in self.inside):
            return (
                (Verdict.USED, f"{internal}ALREADY_ENTERED")
                if entering
                else (Verdict.NOT_INSIDE, f"{internal}EXIT_NOT_PERMITTED")
            )
        self.last[code] = at_ms
        self.accepted[code, direction, perimeter] += 1
        if not entering:
            self.inside.discard((code, perimeter))
            return Verdict.ADMITTED, f"{internal}EXIT"
        self.inside |= {(code, perimeter), (code, Perimeter.OUTER)}
        return Verdict.ADMITTED, "OKAY"


class Day:
    """One day: who comes is drawn, and so is what becomes of each answer."""

    def __init__(self, bench: Bench, vendor: Presence, seed: int) -> None:
        self.bench, self.vendor, self.draw = bench, vendor, random.Random(seed)

    def come(self, code: str, lane: str, way: Way, fate: str) -> Verdict:
        """Somebody holds a code to a reader, and all that follows."""
        bench, asks, shots = self.bench, len(self.vendor.questions), len(self.bench.shots)
        bench.scan(code, lane, way)
        bench.settle()
        if len(self.vendor.questions) > asks:
            self.answer(self.vendor.questions[-1], fate)
        bench.pass_time(10_000)
        return bench.shots[-1].verdict if len(bench.shots) > shots else Verdict.NO_ANSWER  # it had died

    def answer(self, question: Question, fate: str) -> None:
        gate, scan = self.bench.gate, question.ask.scan
        if fate == "not sent":
            gate.answer(scan, Verdict.NO_ANSWER, "the vendor is down", False, question.digest)
            self.bench.settle()
            return
        verdict, text = self.vendor.decide(question)
        if fate == "after a crash":
            self.bench.crash()
            self.bench.settle()
        elif fate in ("late", "lost"):
            self.bench.let_time_pass(ROUTE.deadline_ms)
            self.bench.settle()
        if fate == "lost":
            return
        for _ in range(2 if fate == "twice" else 1):
            self.bench.gate.answer(scan, verdict, text, False, question.digest)
            self.bench.settle()
        if fate in ("late", "after a crash") and verdict is Verdict.ADMITTED:
            self.bench.pass_time(5000)
            again = self.come(question.code, lane_of(question), question.ask.direction.value, "in time")
            assert again is Verdict.ADMITTED_CREDIT, "nobody who got a late yes is turned away"

    def step(self) -> None:
        """Somebody comes."""
        code, fate = self.draw.choice(CODES), self.draw.choice(FATES)
        lane = self.draw.choice(("door", "hall"))
        way: Way = self.draw.choice(("in", "out"))
        history = self.bench.journal.history(self.bench.lists.digest(code).hex())
        doubted = history.unsure_until_utc_ms > self.bench.clock.now().utc_ms
        verdict = self.come(code, lane, way, fate)
        if doubted and fate in ("in time", "twice"):
            staff = verdict is Verdict.CALL_STAFF
            assert staff or verdict.admits, "a lost yes is no reason for a red light"
        self.check()

    def check(self) -> None:
        """Promise 2: never more openings than the vendor has allowed."""
        for lane, perimeter in (("door", Perimeter.OUTER), ("hall", Perimeter.INNER)):
            assert self.bench.openings(lane) <= sum(
                count for (_, _, ring), count in self.vendor.accepted.items() if ring is perimeter
            )


def lane_of(question: Question) -> str:
    return "hall" if question.perimeter is Perimeter.INNER else "door"


@pytest.fixture
def vendor() -> Presence:
    return Presence()


@pytest.fixture
def bench(vendor: Presence) -> Iterator[Bench]:
    with (
        data_directory() as data,
        Bench(data, (DOOR, HALL), {}, routes={"V": ROUTE}, link=vendor, usual=THROUGH) as bench,
    ):
        yield bench


@pytest.mark.parametrize("seed", range(4))
def test_promise_2_no_day_opens_a_lane_more_often_than_the_vendor_said_yes(
    bench: Bench, vendor: Presence, seed: int
) -> None:
    day = Day(bench, vendor, seed)
    for _ in range(STEPS):
        day.step()
    assert sum(vendor.accepted.values()) > STEPS / 8


def test_a_day_without_faults_is_the_same_in_the_vendors_books_and_in_the_gates(
    bench: Bench, vendor: Presence
) -> None:
    day, said = Day(bench, vendor, 1), Counter[Verdict]()
    ways: tuple[tuple[str, Way, Verdict], ...] = (
        ("door", "out", Verdict.NOT_INSIDE),
        ("door", "in", Verdict.ADMITTED),
        ("door", "in", Verdict.USED),
        ("hall", "in", Verdict.ADMITTED),
        ("hall", "in", Verdict.USED),
        ("hall", "out", Verdict.ADMITTED),
        ("hall", "out", Verdict.NOT_INSIDE),
        ("door", "out", Verdict.ADMITTED),
        ("door", "in", Verdict.ADMITTED),
    )
    for lane, way, expected in ways:
        verdict = day.come("V1", lane, way, "in time")
        assert verdict is expected, (lane, way)
        said[verdict] += 1
    assert (
        said[Verdict.ADMITTED]
        == sum(vendor.accepted.values())
        == bench.openings("door") + bench.openings("hall")
    )
    inner_first = day.come("V2", "hall", "in", "in time")
    assert inner_first is Verdict.ADMITTED
    history = bench.journal.history(bench.shots[-1].scan.subject)
    assert (history.outer.entries, history.inner.entries) == (1, 1)
    assert day.come("V2", "door", "in", "in time") is Verdict.USED


def test_a_reader_that_reads_on_makes_no_duplicate_of_a_person_who_has_passed(
    bench: Bench, vendor: Presence
) -> None:
    bench.scan("V1", "door", "in")
    bench.settle()
    question = vendor.questions[-1]
    bench.gate.answer(question.ask.scan, *vendor.decide(question))
    bench.settle()
    bench.scan("V1", "door", "in")
    bench.pass_time(1000)
    assert bench.kinds()[-1] == "passage"
    bench.scan("V1", "door", "in")
    bench.settle()
    assert (bench.shots[-1].verdict, len(vendor.questions)) == (Verdict.TOO_SOON, 1)
    bench.pass_time(SETUP.signal_ms)
    bench.scan("V1", "door", "in")
    bench.settle()
    assert len(vendor.questions) == 2


def test_a_duplicate_at_another_lane_cancels_no_okay(bench: Bench, vendor: Presence, tmp_path: Path) -> None:
    for lane in ("door", "hall"):
        bench.scan("V1", lane, "in")
        bench.settle()
    first, second = vendor.questions
    okay, duplicate = vendor.decide(first), vendor.decide(second)
    assert duplicate == (Verdict.REFUSED, "DUPLICATE")
    bench.gate.answer(second.ask.scan, *duplicate)
    bench.gate.answer(first.ask.scan, *okay)
    bench.settle()
    assert (bench.state("door"), bench.state("hall")) == ("Open", "Ready")
    assert bench.openings("door") == 1
