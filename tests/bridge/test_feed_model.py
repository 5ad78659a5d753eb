"""The feed against plain dicts: a vendor whose list changes while it is read, and gates that ask at will."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware.bridge.database import Database
from firmware.bridge.feed import Feed, Run
from firmware.bridge.vendor import Listing, VendorTicket
from firmware.core.ticket import Direction, Status
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, OwnGate, digest, noted
from tests.bridge.ledgers import forget_below, ledger_at

PEOPLE = st.sampled_from("aab")
IDS = st.sampled_from("abc")  # few, so that they get into each other's way


@dataclass
class VendorSide:
    """A ticket at the vendor."""

    code: str
    status: Status = Status.VALID
    inside: bool = False
    moved_utc_ms: int = 0
    changed: int = 0


@dataclass
class Reading:
    """A run: which tickets it still has to read, and pages that were read and not taken in."""

    run: Run
    since: str
    ids: list[str]
    read: list[tuple[VendorTicket, ...]] = field(default_factory=list)


class FeedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        folder = self.opened.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "ledger.db"
        url = ledger_at(path)
        self.opened.callback(forget_below, path.parent)
        self.database = self.opened.enter_context(Database(url))
        self.feed = Feed(self.database, "arena", KEY, "bridge")
        self.other = Feed(self.opened.enter_context(Database(url)), "arena", KEY)
        self.own = OwnGate(self.database)
        self.vendor: dict[str, VendorSide] = {}
        self.foreign: set[tuple[str, str, int]] = set()
        self.works: list[tuple[int, str, Direction, int]] = []
        self.asked = False
        self.gates = [FeedGate(), FeedGate()]
        self.announced = 0
        self.reading: Reading | None = None
        self.codes = self.changes = 0
        self.now_ms = 1_000_000
        self.needs_a_whole_run = True

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.opened.close()

    # --- at the vendor

    def new_code(self) -> str:
        self.codes += 1
        return f"code {self.codes}"

    def touch(self, *tickets: VendorSide) -> None:
        for ticket in tickets:
            self.changes += 1
            ticket.changed = self.changes

    def sell(self, ticket: str) -> None:
        if ticket not in self.vendor:
            self.vendor[ticket] = VendorSide(self.new_code())
            self.touch(self.vendor[ticket])

    # --- its list

    @precondition(lambda self: self.reading is None)
    @rule(whole=st.booleans())
    def begins_a_run(self, whole: bool) -> None:
        since = "" if whole else self.feed.since(ACCOUNT)
        ids = [i for i, there in self.vendor.items() if there.changed > int(since or "0") - 5]
        run = self.feed.begin_run(ACCOUNT, not since, self.now_ms)
        self.reading = Reading(run, str(self.changes), ids)

    @precondition(lambda self: self.reading and self.reading.ids)
    @rule()
    def reads_a_page(self) -> None:
        assert self.reading
        ticket = self.reading.ids.pop(0)  # one a page, so that the list changes between two of them
        self.reading.read.append((self.listed(ticket),) if ticket in self.vendor else ())

    def listed(self, ticket: str) -> VendorTicket:
        there = self.vendor[ticket]
        return VendorTicket(
            ticket, there.code, there.status, inside=there.inside, moved_utc_ms=there.moved_utc_ms
        )

    @precondition(lambda self: self.reading and self.reading.read)
    @rule()
    def takes_a_page(self) -> None:
        assert self.reading
        self.feed.take(self.reading.run, self.reading.read.pop(0))

    @rule()
    def goes_on_to_the_end(self) -> None:
        """Quicker than page by page."""
        if self.reading:
            self.read_all()
            self.take_all()
            self.ends_a_run()

    def read_all(self) -> None:
        while self.reading and self.reading.ids:
            self.reads_a_page()

    def take_all(self) -> None:
        while self.reading and self.reading.read:
            self.takes_a_page()

    @precondition(lambda self: self.reading)
    @rule()
    def breaks_off(self) -> None:
        since = self.feed.since(ACCOUNT)
        self.reading = None
        self.feed = Feed(self.database, "arena", KEY, "bridge")  # the same one, started again
        assert self.feed.since(ACCOUNT) == since

    @precondition(lambda self: self.reading and not self.reading.read and not self.reading.ids)
    @rule()
    def ends_a_run(self) -> None:
        assert self.reading
        listing = Listing(self.reading.since, self.reading.run.whole)
        self.feed.finish_run(self.reading.run, listing, self.now_ms)
        self.reading = None

    # --- at the gates

    @rule(gate=st.sampled_from([0, 1]))
    def asks_for_a_page(self, gate: int) -> None:
        self.gates[gate].page(self.other)

    @rule(gate=st.sampled_from([0, 1]))
    def is_new(self, gate: int) -> None:
        self.gates[gate] = FeedGate()

    @rule()
    def announces(self) -> None:
        changes = self.other.changes(self.announced)
        if changes:
            self.announced = changes.upto
            for gate in self.gates:
                gate.hear(changes)

    # --- always

    @rule(seconds=st.sampled_from([1, 30, 200]))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @invariant()
    def time_never_stands_still(self) -> None:
        self.now_ms += 10

    @invariant()
    def only_what_happened_elsewhere_is_foreign_and_once(self) -> None:
        found = noted(self.database)
        assert len(set(found)) == len(found)
        assert set(found) <= self.foreign

    def tell_all(self) -> None:
        """The vendor is told of everything."""

    def settle(self) -> None:
        """All is told, one whole run without a break: every gate has the vendor's list."""
        self.tell_all()
        self.now_ms += 1000
        self.reading = None
        self.begins_a_run(self.needs_a_whole_run)
        self.goes_on_to_the_end()
        self.only_what_happened_elsewhere_is_foreign_and_once()
        expected = {
            digest(there.code): (f"{ACCOUNT}:{ticket}", there.status) for ticket, there in self.vendor.items()
        }
        self.announces()
        moves = []
        for gate in (*self.gates, FeedGate()):
            gate.catch_up(self.other)
            assert {code: (each.ticket_id, each.status) for code, each in gate.tickets.items()} == expected
            moves.append([each for each in gate.moves if not each.gate])
        inside: dict[str, bool] = {}
        for each in gate.moves:
            if each.act != "opened":
                inside[each.subject] = each.direction is Direction.IN
        for ticket, there in self.vendor.items():
            assert inside.get(f"{ACCOUNT}:{ticket}", False) is there.inside
        assert [(m.subject, m.direction, m.utc_ms) for m in moves[-1]] == [
            (f"{ACCOUNT}:{ticket}", direction, utc_ms) for ticket, direction, utc_ms in noted(self.database)
        ]
        assert moves[0] == moves[1] == moves[2]
        assert self.feed.begin_run(ACCOUNT, True).had == len(self.vendor)


class CodesMachine(FeedMachine):
    """Tickets are sold, refunded and re-issued."""

    def __init__(self) -> None:
        super().__init__()
        self.needs_a_whole_run = False  # a delta tells of every change but of tickets that vanished

    @rule(ticket=IDS)
    def sells(self, ticket: str) -> None:
        self.sell(ticket)

    @rule(ticket=IDS, status=st.sampled_from([Status.VALID, Status.REFUNDED, Status.UNSOLD]))
    def changes_status(self, ticket: str, status: Status) -> None:
        if ticket in self.vendor:
            self.vendor[ticket].status = status
            self.touch(self.vendor[ticket])

    @rule(ticket=IDS)
    def changes_code(self, ticket: str) -> None:
        if ticket in self.vendor:
            self.vendor[ticket].code = self.new_code()
            self.touch(self.vendor[ticket])

    @rule(one=IDS, other=IDS)
    def swaps_codes(self, one: str, other: str) -> None:
        if one in self.vendor and other in self.vendor:
            first, second = self.vendor[one], self.vendor[other]
            first.code, second.code = second.code, first.code
            self.touch(first, second)

    @rule(one=IDS, other=IDS)
    def hands_a_code_on(self, one: str, other: str) -> None:
        if one in self.vendor and other in self.vendor and one != other:
            self.vendor[other].code, self.vendor[one].code = self.vendor[one].code, self.new_code()
            self.touch(self.vendor[one], self.vendor[other])

    @rule(ticket=IDS)
    def vanishes(self, ticket: str) -> None:
        if ticket in self.vendor and not self.vendor[ticket].moved_utc_ms:
            del self.vendor[ticket]
            self.needs_a_whole_run = True

    @precondition(lambda self: self.reading is None)
    @rule(one=IDS, other=IDS, whole=st.booleans())
    def a_code_is_handed_on_while_the_list_is_read(self, one: str, other: str, whole: bool) -> None:
        self.begins_a_run(whole)
        if self.reading and self.reading.ids:
            self.reads_a_page()
        self.hands_a_code_on(one, other)
        self.goes_on_to_the_end()


class MovesMachine(FeedMachine):
    """People walk in and out, here and elsewhere; the vendor is told late, and its list is read late."""

    def __init__(self) -> None:
        super().__init__()
        self.sell("a")
        self.sell("b")

    @rule(ticket=PEOPLE)
    def moves_elsewhere(self, ticket: str) -> None:
        if ticket in self.vendor:
            there = self.vendor[ticket]
            there.inside, there.moved_utc_ms = not there.inside, self.now_ms
            self.touch(there)
            self.foreign.add((ticket, "in" if there.inside else "out", self.now_ms))

    @rule(ticket=PEOPLE, direction=st.sampled_from(Direction), late_ms=st.sampled_from([0, 5_000, 500_000]))
    def moves_here(self, ticket: str, direction: Direction, late_ms: int) -> None:
        at_ms = self.now_ms - late_ms
        self.works.append((self.own.moves(ticket, direction, at_ms), ticket, direction, at_ms))

    @precondition(lambda self: self.works and not self.asked)
    @rule(own_time=st.booleans())
    def is_told(self, own_time: bool) -> None:
        """It does what it is told; its answer is on the way."""
        number, ticket, direction, at_ms = self.works[0]
        self.own.work(number, "claimed")
        there = self.vendor.get(ticket)
        if there and there.inside is not (direction is Direction.IN):
            there.inside = direction is Direction.IN
            there.moved_utc_ms = max(at_ms, there.moved_utc_ms) if own_time else self.now_ms
            self.touch(there)
        self.asked = True

    @precondition(lambda self: self.asked)
    @rule()
    def answers(self) -> None:
        self.own.work(self.works.pop(0)[0], "done", self.now_ms, "accepted")
        self.asked = False

    @rule(ticket=PEOPLE, direction=st.sampled_from(Direction), own_time=st.booleans())
    def moves_here_and_is_told(self, ticket: str, direction: Direction, own_time: bool) -> None:
        self.moves_here(ticket, direction, 0)
        while self.works:
            if not self.asked:
                self.is_told(own_time)
            self.answers()

    @precondition(lambda self: self.reading is None)
    @rule(
        whole=st.booleans(),
        ticket=PEOPLE,
        direction=st.sampled_from(Direction),
        late_ms=st.sampled_from([0, 5_000, 500_000]),
    )
    def is_told_while_the_list_is_on_its_way(
        self, whole: bool, ticket: str, direction: Direction, late_ms: int
    ) -> None:
        self.begins_a_run(whole)
        self.read_all()
        self.moves_here(ticket, direction, late_ms)
        self.tell_all()
        self.goes_on_to_the_end()

    def tell_all(self) -> None:
        while self.works:
            if not self.asked:
                self.is_told(own_time=True)
            self.answers()


TestCodesAgainstDicts = CodesMachine.TestCase
TestCodesAgainstDicts.settings = settings(max_examples=100, stateful_step_count=50)
TestMovesAgainstDicts = MovesMachine.TestCase
TestMovesAgainstDicts.settings = settings(max_examples=100, stateful_step_count=50)


class CodesOnPostgreSql(CodesMachine):
    """The same on the other database."""


class MovesOnPostgreSql(MovesMachine):
    """The same on the other database."""


for machine in (CodesOnPostgreSql, MovesOnPostgreSql):
    machine.TestCase.settings = settings(max_examples=10, stateful_step_count=50)
TestCodesOnPostgreSql = pytest.mark.usefixtures("on_postgresql")(CodesOnPostgreSql.TestCase)
TestMovesOnPostgreSql = pytest.mark.usefixtures("on_postgresql")(MovesOnPostgreSql.TestCase)
