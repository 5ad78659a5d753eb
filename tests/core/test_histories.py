"""Random lives of a venue, held against the promises: restarts, clock jumps, failing disks, lost answers."""

from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware.core.events import Cause, Order
from firmware.core.states import Recording
from firmware.core.ticket import (
    Authority,
    Direction,
    Exits,
    Policy,
    Reentry,
    Route,
    Spend,
    Verdict,
    WithoutAnswer,
)
from tests.core.venue import TICKETS, UNKNOWN, Settings, Venue

# Tried with faults built into the core: this many lives find a forgotten unsettled admission, a wrong row
# that opens, a withdrawal that is lost, a credit that is used twice.
LIVES = 400

names = st.sampled_from(["way in", "both ways", "inner"])
tickets = st.sampled_from([*TICKETS, UNKNOWN, TICKETS[0]])  # the first twice: most trouble comes from repeats
directions = st.sampled_from(Direction)
# The lengths that matter to a lane: a moment, a flush, `record_ms`, a grace, a signal, an answer, an opening.
times_ms = st.sampled_from([1, 300, 999, 1000, 1500, 2500, 3000, 5000, 8000, 300_000, 600_000])


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    """What an operator may decide; everything else is as it is by itself."""
    policy = Policy(
        reentry=draw(st.sampled_from([Reentry.NONE, Reentry.AFTER_EXIT, *Reentry])),
        exits=draw(st.sampled_from(Exits)),
        again_after_ms=draw(st.sampled_from([0, 0, 60_000])),
        spend=draw(st.sampled_from(Spend)),
    )
    route = Route(
        vendor="acme",
        authority=draw(st.sampled_from(Authority)),
        without_answer=draw(st.sampled_from(WithoutAnswer)),
        check_first=draw(st.booleans()),
        reachable=draw(st.sampled_from([True, True, True, False])),
    )
    sensors = draw(st.sampled_from([True, True, False]))
    return Settings(
        policy, route, sensors, unwritable_free=draw(st.booleans()), acknowledge=draw(st.booleans())
    )


class Life(RuleBasedStateMachine):
    """One life of a venue."""

    venue: Venue

    @initialize(settings=settings())
    def begin(self, settings: Settings) -> None:
        self.venue = Venue(settings)

    # People at the door, mostly, and mostly at a lane where nothing stands against them: else every life
    # would soon be one of shut and freed lanes, where nothing can go wrong any more.

    @rule(name=names, ticket=tickets, direction=directions, calm=st.booleans())
    def a_code_is_read(self, name: str, ticket: str, direction: Direction, calm: bool) -> None:
        if calm:
            self.venue.calm()
        self.venue.scan(name, ticket, self.possible(name, direction))

    @rule(name=names, ticket=tickets, direction=directions, walks=st.booleans())
    def somebody_comes(self, name: str, ticket: str, direction: Direction, walks: bool) -> None:
        self.a_person_comes(name, ticket, direction, walks)

    def a_person_comes(self, name: str, ticket: str, direction: Direction, walks: bool) -> None:
        self.venue.calm()
        self.venue.wait(3000)
        self.venue.scan(name, ticket, self.possible(name, direction))
        self.venue.flush(100)
        if walks:
            self.venue.walk(name, self.possible(name, direction))

    @rule(ticket=tickets, direction=directions, flushed=st.booleans(), waits=st.booleans())
    def the_same_code_is_read_at_two_lanes(
        self, ticket: str, direction: Direction, flushed: bool, waits: bool
    ) -> None:
        self.venue.calm()
        for name in ("way in", "both ways"):
            self.venue.scan(name, ticket, self.possible(name, direction))
            if flushed:
                self.venue.flush(100)
        if waits:
            self.venue.wait(3000)
            self.venue.flush(100)

    @rule(ticket=tickets)
    def somebody_goes_in_and_out_again(self, ticket: str) -> None:
        for direction in Direction:
            self.a_person_comes("both ways", ticket, direction, walks=True)

    @rule(ticket=tickets, answered=st.booleans())
    def a_vendor_answers_too_late(self, ticket: str, answered: bool) -> None:
        self.a_person_comes("way in", ticket, Direction.IN, walks=False)
        self.venue.wait(3000)
        if answered and self.venue.asked:
            self.venue.answer(max(self.venue.asked))

    @rule(name=names, direction=directions | st.none())
    def somebody_walks(self, name: str, direction: Direction | None) -> None:
        self.venue.walk(name, direction)

    def possible(self, name: str, direction: Direction) -> Direction:
        return self.venue.setups[name].direction or direction

    # The vendor: in time, late, never, twice.

    @precondition(lambda self: self.venue.asked)
    @rule(data=st.data())
    def an_answer_arrives(self, data: Any) -> None:
        self.venue.answer(data.draw(st.sampled_from(sorted(self.venue.asked))))

    @precondition(lambda self: self.venue.asked)
    @rule()
    def the_newest_ask_is_answered(self) -> None:
        self.venue.answer(max(self.venue.asked))

    @precondition(lambda self: self.venue.asked)
    @rule()
    def an_answer_is_lost_for_now(self) -> None:
        self.venue.hear(max(self.venue.asked))

    @precondition(lambda self: self.venue.asked)
    @rule(data=st.data(), doubt=st.booleans())
    def nobody_will_answer(self, data: Any, doubt: bool) -> None:
        scan = data.draw(st.sampled_from(sorted(self.venue.asked)))
        if doubt:
            self.venue.hear(scan)
        if doubt or scan not in self.venue.vendors_word:
            self.venue.nobody_answers(scan, doubt)

    @rule(ticket=tickets)
    def who_got_a_late_yes_comes_once_more(self, ticket: str) -> None:
        self.venue.calm()
        self.venue.wait(3000)
        self.venue.flush(100)
        must = self.venue.good_credit("way in", ticket, Direction.IN)
        self.venue.scan("way in", ticket, Direction.IN)
        state = self.venue.lanes["way in"].state
        if must and self.venue.settings.route.authority is Authority.VENDOR:
            assert isinstance(state, Recording)
            assert state.verdict is Verdict.ADMITTED_CREDIT, "a yes is a yes"

    # The disk, the power, the clocks.

    @rule(rows=st.sampled_from([1, 2, 100]))
    def the_disk_writes(self, rows: int) -> None:
        self.venue.flush(rows)

    @rule()
    def the_disk_fails(self) -> None:
        self.venue.fail()

    @rule()
    def the_disk_mends_itself(self) -> None:
        self.venue.mend()

    @rule(rows=st.integers(0, 3))
    def the_power_is_cut(self, rows: int) -> None:
        self.venue.crash(rows)

    @rule(ticket=tickets, direction=directions, told=st.booleans())
    def the_power_is_cut_in_the_middle_of_an_opening(
        self, ticket: str, direction: Direction, told: bool
    ) -> None:
        self.venue.calm()
        self.venue.wait(3000)
        self.venue.scan("both ways", ticket, direction)
        if told:
            self.venue.flush(100)
        self.venue.crash(100)

    @rule(ms=times_ms)
    def time_passes(self, ms: int) -> None:
        self.venue.wait(ms)

    @rule(ms=times_ms)
    def the_loop_stalls(self, ms: int) -> None:
        self.venue.oversleep(ms)

    @rule(ms=st.sampled_from([-86_400_000, -1000, 1000, 86_400_000]))
    def the_wall_clock_jumps(self, ms: int) -> None:
        self.venue.utc_ms += ms

    # Orders and the alarm.

    @rule(name=names, order=st.sampled_from(Order), cause=st.sampled_from([*Cause, Cause.OPERATOR]))
    def somebody_orders(self, name: str, order: Order, cause: Cause) -> None:
        self.venue.order(name, order, cause)

    @rule(active=st.booleans())
    def the_alarm_contact_changes(self, active: bool) -> None:
        self.venue.everywhere_alarm(active)

    # Promises 1 (record before relay), 3 (every scan is answered), 4 (the alarm wins) and 7 (same events,
    # same effects) are held against every single step by the venue itself.

    @invariant()
    def one_admission_one_opening(self) -> None:
        if hasattr(self, "venue"):
            self.venue.check_spent()

    def teardown(self) -> None:
        """Honoured deadlines bring every lane to rest, and the tape tells the same story again."""
        if hasattr(self, "venue"):
            self.venue.check_histories()
            self.venue.come_to_rest()
            self.venue.check_spent()
            self.venue.replay()


TestAnyLifeOfAVenueKeepsThePromises = Life.TestCase
TestAnyLifeOfAVenueKeepsThePromises.settings = hypothesis.settings(max_examples=LIVES)
