"""Random lives of a whole gate: people, codes, orders, alarms, bad disks, restarts and power cuts.

Whatever happens, the promises hold at every moment: no ticket gets more openings than its policy allows, no
relay moves before its row is on the disk, an alarm frees, and every row replays.
"""

from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware.core.events import Cause, Order
from firmware.core.ticket import (
    Authority,
    Direction,
    Policy,
    Reentry,
    Route,
    Setup,
    Spend,
    Verdict,
    WithoutAnswer,
)
from hal.fake import Person
from tests.gate_bench import SETUP, Bench, FakeLink, data_directory

LANES = ("north", "south")
CODES = ("A", "B", "V1", "nobody")
VENDOR = Route(
    "acme", authority=Authority.VENDOR, deadline_ms=800, without_answer=WithoutAnswer.OPEN_AND_UPLOAD
)
QUICK = SETUP._replace(unlock_ms=1500, relock_ms=200, signal_ms=600, record_ms=400)

lanes, codes = st.sampled_from(LANES), st.sampled_from(CODES)
ways = st.sampled_from(("in", "out"))
people = st.builds(
    Person, st.sampled_from(("through", "late", "backwards", "stays")), st.sampled_from((0, 300))
)


class Life(RuleBasedStateMachine):
    """One gate of two lanes, in one data directory, through all its starts."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.data = self.stack.enter_context(data_directory())
        self.disk: ExitStack | None = None

    @initialize(
        spend=st.sampled_from(Spend),
        reentry=st.sampled_from((Reentry.NONE, Reentry.AFTER_EXIT)),
        generous=st.booleans(),
        careful=st.booleans(),
    )
    def begin(self, spend: Spend, reentry: Reentry, generous: bool, careful: bool) -> None:
        self.link = FakeLink()
        setups: tuple[Setup, ...] = tuple(
            QUICK._replace(
                name=name,
                unwritable_free=generous and name == "south",
                acknowledge=careful and name == "north",
            )
            for name in LANES
        )
        self.bench = self.stack.enter_context(
            Bench(
                self.data,
                setups=setups,
                policy=Policy(spend=spend, reentry=reentry),
                routes={"V": VENDOR},
                link=self.link,
            )
        )

    # --- what happens --------------------------------------------------------------------------

    @rule(code=codes, lane=lanes, way=ways)
    def scan(self, code: str, lane: str, way: str) -> None:
        before = len(self.bench.signals(lane)), self.bench.state(lane)
        assert self.bench.fake(lane).scan(code, "in" if way == "in" else "out")
        self.bench.turn()
        answered = len(self.bench.signals(lane)) > before[0]
        assert answered or self.bench.state(lane) in ("Recording", "Asking"), "promise 3"

    @rule(lane=lanes, who=people)
    def queue_up(self, lane: str, who: Person) -> None:
        self.bench.fake(lane).expect(who)

    @precondition(lambda self: self.disk is None)
    @rule(ms=st.sampled_from((50, 400, 2_500)))
    def time_passes(self, ms: int) -> None:
        self.bench.pass_time(ms)

    @rule(ms=st.sampled_from((50, 400, 1_500)))
    def time_passes_and_the_disk_says_nothing(self, ms: int) -> None:
        self.bench.let_time_pass(ms)

    @precondition(lambda self: self.disk is None)
    @rule()
    def the_disk_speaks(self) -> None:
        self.bench.settle()

    @rule(order=st.sampled_from(Order), lane=st.sampled_from(("", *LANES)))
    def an_order(self, order: Order, lane: str) -> None:
        self.bench.order(order, lane)

    @rule()
    def the_alarm_changes(self) -> None:
        contact = self.bench.contact
        if contact.active:
            contact.release()
        else:
            contact.press()
            assert all(self.bench.relay(lane)[-1] == "both" for lane in LANES), "promise 4"

    @rule()
    def somebody_acknowledges(self) -> None:
        self.bench.gate.acknowledge("ann")
        self.bench.turn()
        assert not self.left_free() or self.bench.contact.active

    def left_free(self) -> list[str]:
        """Lanes whose alarm has to be acknowledged, if it is over."""
        causes = {Cause.ALARM, Cause.UNACKNOWLEDGED}
        lanes = (self.bench.lane(name) for name in LANES)
        return [x.setup.name for x in lanes if x.setup.acknowledge and causes & set(x.standing.free)]

    @rule(verdict=st.sampled_from((Verdict.ADMITTED, Verdict.USED)), which=st.integers(0, 3))
    def the_vendor_answers(self, verdict: Verdict, which: int) -> None:
        if self.link.asks:
            self.bench.gate.answer(self.link.asks[-1 - which % len(self.link.asks)][0].scan, verdict, "")
            self.bench.turn()

    @rule(hours=st.sampled_from((-25, -1, 1)))
    def somebody_sets_the_clock(self, hours: int) -> None:
        self.bench.utc_offset_ms += hours * 3_600_000

    @precondition(lambda self: self.disk is None)
    @rule()
    def the_disk_refuses(self) -> None:
        self.bench.settle()
        self.disk = ExitStack()
        self.disk.enter_context(self.bench.refusing_disk())
        self.told = False

    @precondition(lambda self: self.disk is not None and not self.told and self.bench.journal.waiting)
    @rule()
    def the_disk_says_that_it_refuses(self) -> None:
        self.told = True
        while self.bench.hear().safe:
            pass  # news of an earlier mend come first

    @precondition(lambda self: self.disk is not None)
    @rule()
    def the_disk_is_mended(self) -> None:
        assert self.disk
        self.disk.close()
        self.disk = None
        self.bench.order(Order.NORMAL, "north")  # a row, so that the journal need not wait to try again
        self.bench.settle()

    @precondition(lambda self: self.disk is None)
    @rule()
    def a_restart(self) -> None:
        self.bench.turn()
        left_free = self.left_free()
        self.bench.restart()
        assert self.left_free() == left_free, "no start acknowledges an alarm"

    @precondition(lambda self: self.disk is None)
    @rule()
    def a_power_cut(self) -> None:
        self.bench.crash()

    # --- what holds ----------------------------------------------------------------------------

    @invariant()
    def an_alarm_frees_every_lane(self) -> None:
        if self.bench.contact.active:
            assert all(self.bench.fake(lane).turnstile.relay == "both" for lane in LANES)
        assert all(self.bench.fake(lane).turnstile.relay == "both" for lane in self.left_free())

    def teardown(self) -> None:
        if self.disk:
            self.the_disk_is_mended()
        if hasattr(self, "bench"):
            self.bench.settle()
            self.check_openings()
        self.stack.close()  # and every row is replayed

    def check_openings(self) -> None:
        bench = self.bench
        on_tape = sum(bench.openings(lane) for lane in LANES)
        allowed = [row for _, row, _ in bench.rows() if row.verdict is not None and row.verdict.admits]
        assert on_tape <= len(allowed), "promise 1: an opening has a row that survived every power cut"
        shots = [shot for shot in bench.shots if shot.relay_ns is not None]
        opened = Counter((shot.code, shot.scan.direction) for shot in shots)
        policy = bench.rules.policy
        for code in ("A", "B"):
            entered, left = opened[code, Direction.IN], opened[code, Direction.OUT]
            history = bench.journal.history(f"id-{code}")
            if policy.reentry is Reentry.AFTER_EXIT:
                assert history.outer.entries <= left + 1, "promise 2"
            else:
                assert history.outer.entries <= 1, "promise 2"
            if policy.spend is Spend.OPENING:
                assert entered <= (left + 1 if policy.reentry is Reentry.AFTER_EXIT else 1), "promise 2"
        assert opened["nobody", Direction.IN] == opened["nobody", Direction.OUT] == 0


TestLives = pytest.mark.slow(Life.TestCase)
TestLives.settings = settings(max_examples=40, stateful_step_count=40)
