"""A venue in the small: three lanes of one gate, their journal, a vendor and two clocks, all without I/O.

It does what the loop and the journal do around the core, as plainly as can be, and holds every step
against the promises. A row is a number and its `Record`; `durable` survives a crash, `waiting` may not.
"""

from collections import Counter
from functools import reduce
from typing import NamedTuple

from firmware.core.effects import Ask, Effect, Kind, Lock, Record, Tell, Unlock
from firmware.core.events import (
    Alarm,
    Answered,
    Cause,
    Event,
    Order,
    Ordered,
    Passed,
    Recorded,
    RecordFailed,
    Scanned,
    TimeUp,
)
from firmware.core.lane import begin, step, wake_at
from firmware.core.movements import Act, Movement, fold, settle_at_start
from firmware.core.rules import LAPSES_MAX
from firmware.core.states import Asking, Free, Lane, Open, Ready, Recording, Shut
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Direction,
    History,
    Moment,
    Perimeter,
    Policy,
    Reentry,
    Route,
    Setup,
    Spend,
    Ticket,
    Verdict,
    WithoutAnswer,
)

TICKETS = ("t1", "t2")
UNKNOWN = "nobody's"
TURNS_MAX = 50  # a lane comes to rest in far fewer; a loop that never ends would hang the test
EPOCH_ROWS = 1_000_000  # rows of a new process begin beyond all numbers of the old one


class Settings(NamedTuple):
    """What the operator decided."""

    policy: Policy
    route: Route
    sensors: bool = True
    unwritable_free: bool = False
    acknowledge: bool = False


class Asked(NamedTuple):
    """An ask that was sent."""

    lane: str
    subject: str
    direction: Direction
    utc_ms: int


class Venue:
    """The lanes `way in`, `both ways` and `inner`, with the facts that a loop would gather for them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        common = Setup(
            "",
            sensor=settings.sensors,
            unwritable_free=settings.unwritable_free,
            acknowledge=settings.acknowledge,
        )
        self.setups = {
            "way in": common._replace(name="way in"),
            "both ways": common._replace(name="both ways", direction=None),
            "inner": common._replace(name="inner", direction=None, perimeter=Perimeter.INNER),
        }
        self.monotonic_ms = 0
        self.utc_ms = self.newest_utc_ms = 1_800_000_000_000
        self.next_row = 1
        self.durable: list[tuple[int, Record]] = []
        self.waiting: list[tuple[str, int, Record]] = []
        self.safe: set[int] = set()
        self.disk_fails = False
        self.histories: dict[str, History] = {}
        self.safe_histories: dict[str, History] = {}
        self.asked: dict[int, Asked] = {}  # those that were sent
        self.to_ask: dict[int, Asked] = {}  # and those that were handed to the disk
        self.opened_scans: set[int] = set()
        self.vendors_word: dict[int, Verdict] = {}
        self.vendors_inside: set[str] = set()
        self.vendors_yes: Counter[str] = Counter()
        self.alarmed = False
        self.opened: Counter[tuple[str, Direction, Perimeter]] = Counter()
        self.walked: Counter[tuple[str, Direction, Perimeter]] = Counter()
        self.unanswered: dict[str, int] = {}
        self.lanes: dict[str, Lane] = {}
        self.tape: dict[str, list[Event]] = {}
        self.start()

    def start(self) -> None:
        """A new process: every lane begins anew, and what the old one left unsettled is settled."""
        self.next_row = (self.next_row // EPOCH_ROWS + 1) * EPOCH_ROWS
        self.histories = dict(self.safe_histories)
        self.unanswered = {}
        for name, setup in self.setups.items():
            self.lanes[name], _ = begin(setup)
            self.tape[name] = []
        for subject, history in self.safe_histories.items():
            for pending in history.pending:
                self.write("", Record(Kind.LAPSE, 0, movement=settle_at_start(subject, pending)))
        decided = {record.scan for _, record in self.durable if record.kind is Kind.ANSWER}
        for scan in [record.scan for _, record in self.durable if record.kind is Kind.ASK]:
            if scan not in decided:
                self.write("", Record(Kind.ANSWER, scan, movement=self.doubt(scan)))
        if self.alarmed:
            self.everywhere_alarm(True)

    def doubt(self, scan: int) -> Movement:
        """An ask that the old process did not live to see the answer of."""
        asked, utc_ms = self.to_ask[scan], self.now().utc_ms
        setup = self.setups[asked.lane]
        until_ms = utc_ms + setup.credit_ms
        return Movement(
            Act.UNSURE,
            asked.subject,
            scan,
            asked.direction,
            (setup.perimeter,),
            utc_ms,
            until_utc_ms=until_ms,
        )

    # --- time ------------------------------------------------------------------------------------

    def now(self) -> Moment:
        """Both clocks. UTC is never given as earlier than before."""
        self.newest_utc_ms = max(self.newest_utc_ms, self.utc_ms)
        return Moment(self.monotonic_ms, self.newest_utc_ms, True)

    def wait(self, ms: int) -> None:
        """Let time pass, waking every lane when it asks for it."""
        until_ms = self.monotonic_ms + ms
        while True:
            wakes = [
                (at_ms, name) for name, lane in self.lanes.items() if (at_ms := wake_at(lane)) is not None
            ]
            soonest_ms, name = min(wakes, default=(until_ms + 1, ""))
            if soonest_ms > until_ms:
                self.sleep_until(until_ms)
                return
            self.sleep_until(max(soonest_ms, self.monotonic_ms))
            self.wake(name)

    def oversleep(self, ms: int) -> None:
        """The loop stalls: time passes, and every lane is woken too late."""
        self.sleep_until(self.monotonic_ms + ms)
        self.wait(0)

    def sleep_until(self, monotonic_ms: int) -> None:
        self.utc_ms += monotonic_ms - self.monotonic_ms
        self.monotonic_ms = monotonic_ms

    def wake(self, name: str) -> None:
        before = self.lanes[name]
        state = before.state
        history = self.history(state.scan.subject) if isinstance(state, Asking) else NO_HISTORY
        self.happen(name, TimeUp(self.now(), self.next_row, history))
        assert wake_at(self.lanes[name]) != wake_at(before), "a lane that is woken in vain is woken for ever"

    # --- what happens at the door ------------------------------------------------------------------

    def scan(self, name: str, subject: str, direction: Direction) -> None:
        """A code is read."""
        ticket = Ticket(subject) if subject in TICKETS else None
        route, policy = self.settings.route, self.settings.policy
        digest, history = subject.encode(), self.history(subject)
        scanned = Scanned(
            self.now(), self.next_row, digest, subject, direction, route, policy, ticket, history
        )
        self.happen(name, scanned)

    def walk(self, name: str, direction: Direction | None) -> None:
        """A person walks through, if there is a sensor to see it."""
        if self.settings.sensors:
            self.happen(name, Passed(self.now(), self.next_row, direction))

    def order(self, name: str, order: Order, cause: Cause) -> None:
        """An order, or a condition in the operator's name."""
        self.happen(name, Ordered(self.now(), self.next_row, order, cause, Direction.IN, "ann"))

    def everywhere_alarm(self, active: bool) -> None:
        """The alarm contact changes, or bounces."""
        self.alarmed = active
        for name in self.lanes:
            self.happen(name, Alarm(self.now(), self.next_row, active))

    def answer(self, scan: int) -> None:
        """The vendor's word arrives: for the first time, or once more."""
        self.say(scan, self.hear(scan), doubt=False)

    def nobody_answers(self, scan: int, doubt: bool) -> None:
        """The bridge says that no answer will come; with doubt the vendor may have decided all the same."""
        self.say(scan, Verdict.NO_ANSWER, doubt)

    def say(self, scan: int, verdict: Verdict, doubt: bool) -> None:
        """A word on an ask."""
        asked = self.asked[scan]
        self.happen(
            asked.lane,
            Answered(
                self.now(),
                self.next_row,
                scan,
                verdict,
                "",
                asked.subject,
                asked.direction,
                scan in self.opened_scans,
                self.history(asked.subject),
                doubt,
                asked.utc_ms,
            ),
        )

    def good_credit(self, name: str, subject: str, direction: Direction) -> bool:
        """Whether a yes that let nobody in must let this ticket in at the next scan at this lane."""
        history, route, lane = self.history(subject), self.settings.route, self.lanes[name]
        credit = history.credit
        if credit is None or history.pending or route.check_first or history.lapses >= LAPSES_MAX:
            return False
        if not isinstance(lane.state, Ready) or credit.perimeter is not lane.setup.perimeter:
            return False
        return credit.direction is direction and self.now().utc_ms < credit.until_utc_ms

    def hear(self, scan: int) -> Verdict:
        """The vendor decides, once; whether its word gets through is another matter."""
        if scan not in self.vendors_word:
            self.vendors_word[scan] = self.vendor_decides(self.asked[scan])
        return self.vendors_word[scan]

    def vendor_decides(self, asked: Asked) -> Verdict:
        """The vendor lets a ticket in once, and out whenever it is in."""
        if asked.subject not in TICKETS:
            return Verdict.UNKNOWN
        if (asked.direction is Direction.IN) is (asked.subject in self.vendors_inside):
            return Verdict.USED if asked.direction is Direction.IN else Verdict.NOT_INSIDE
        if asked.direction is Direction.IN:
            self.vendors_inside.add(asked.subject)
            self.vendors_yes[asked.subject] += 1
        else:
            self.vendors_inside.remove(asked.subject)
        return Verdict.ADMITTED

    # --- the disk ----------------------------------------------------------------------------------

    def history(self, subject: str) -> History:
        """What is known of the ticket, rows on their way included."""
        return self.histories.get(subject, NO_HISTORY)

    def write(self, name: str, record: Record) -> None:
        """Hand a row to the disk. The loop sees at once what it did."""
        self.waiting.append((name, self.next_row, record))
        self.next_row += 1
        if record.movement:
            remember(self.histories, record.movement)

    def flush(self, rows: int) -> None:
        """The disk takes the oldest of its rows, and says so after they are safe."""
        if self.disk_fails:
            return
        written, self.waiting = self.waiting[:rows], self.waiting[rows:]
        for _, row, record in written:
            self.durable.append((row, record))
            self.safe.add(row)
            if record.movement:
                remember(self.safe_histories, record.movement)
        for name, row, _ in written:
            if name:
                self.happen(name, Recorded(self.now(), row))

    def fail(self) -> None:
        """The disk takes no rows from now on, and every lane is told."""
        self.disk_fails = True
        for name in self.lanes:
            self.happen(name, RecordFailed(self.now(), 0))

    def mend(self) -> None:
        """The disk takes what waits, and every lane is told."""
        self.disk_fails = False
        self.flush(len(self.waiting))
        for name in self.lanes:
            self.happen(name, Recorded(self.now(), 0))

    def calm(self) -> None:
        """Nothing stands against the next scan; who is being served still is, and rows still wait."""
        if self.disk_fails:
            self.mend()
        if self.alarmed:
            self.everywhere_alarm(False)
        for name, lane in list(self.lanes.items()):
            for cause in lane.standing.free + lane.standing.shut:
                self.order(name, Order.NORMAL, cause)

    def crash(self, rows: int) -> None:
        """The power is cut after the disk took so many more rows, and nobody was told of them."""
        if not self.disk_fails:
            for _, row, record in self.waiting[:rows]:
                self.durable.append((row, record))
                if record.movement:
                    remember(self.safe_histories, record.movement)
        self.waiting = []
        admitted = {r.scan for _, r in self.durable if r.movement and r.movement.act is Act.OPENED}
        withdrawn = {r.scan for _, r in self.durable if r.kind is Kind.VOID}
        self.opened_scans |= admitted - withdrawn
        self.start()

    # --- one event through the core ----------------------------------------------------------------

    def happen(self, name: str, event: Event) -> None:
        """Step, apply the effects in order, and hold them against the promises."""
        before = self.lanes[name]
        after, effects = step(before, event)
        assert repr(step(before, event)) == repr((after, effects)), "same events, same effects"
        self.tape[name].append(event)
        self.lanes[name] = after
        told = False
        for effect in effects:
            match effect:
                case Record():
                    self.recorded(name, before, effect)
                case Unlock(direction):
                    self.unlocked(before, after, event, direction)
                case Ask():
                    assert effect.scan in self.safe, "an ask is recorded before it is sent"
                    assert isinstance(after.state, Asking)
                    self.asked[effect.scan] = self.to_ask[effect.scan]
                case Tell():
                    told = True
        self.check_answered(name, event, after, told)
        self.check_alarm(before, event, after, effects)

    def recorded(self, name: str, before: Lane, record: Record) -> None:
        """Hand the row over, and count what it means."""
        movement = record.movement
        if movement is not None and movement.act is Act.PASSED:
            assert isinstance(before.state, Open)
            self.walked[movement.subject, movement.direction, before.setup.perimeter] += 1
        state = self.lanes[name].state
        if record.kind is Kind.ASK and isinstance(state, Recording) and state.scan is not None:
            scan = state.scan
            asked = Asked(name, scan.subject, scan.direction, scan.moment.utc_ms)
            self.to_ask[record.scan] = asked
        self.write(name, record)

    def unlocked(self, before: Lane, after: Lane, event: Event, direction: Direction | None) -> None:
        """Promises 1 and 2, at the moment when the relay fires."""
        if direction is None:
            assert isinstance(after.state, Free), "both ways are opened by a free lane only"
            return
        assert isinstance(before.state, Recording)
        assert isinstance(event, Recorded)
        assert before.state.row in self.safe, "record before relay"
        assert isinstance(after.state, Open)
        admission = before.state.admission
        if admission is None:
            return
        self.opened_scans.add(before.state.scan_row)
        self.opened[admission.subject, direction, before.setup.perimeter] += 1

    # --- promises ----------------------------------------------------------------------------------

    def check_answered(self, name: str, event: Event, lane: Lane, told: bool) -> None:
        """Promise 3: a scan is answered at once, or the lane owes an answer and knows by when."""
        if isinstance(event, Scanned) and not told:
            assert isinstance(lane.state, Recording)
            assert lane.state.scan_row == event.row
        serving = isinstance(lane.state, Asking | Recording)
        if serving:
            assert wake_at(lane) is not None
            self.unanswered.setdefault(name, lane_scan(lane))
        elif name in self.unanswered:
            del self.unanswered[name]
            assert told, "a scan that was being served ended without a light"

    def check_alarm(self, before: Lane, event: Event, after: Lane, effects: tuple[Effect, ...]) -> None:
        """Promise 4: free, from the moment that the lane hears of the alarm until it hears of its end."""
        alarmed = event.active if isinstance(event, Alarm) else Cause.ALARM in before.standing.free
        assert (Cause.ALARM in after.standing.free) is alarmed
        if alarmed:
            assert isinstance(after.state, Free)
            assert not any(isinstance(effect, Lock) for effect in effects)
            if Cause.ALARM not in before.standing.free:
                assert isinstance(effects[0], Unlock)
        elif self.settings.acknowledge and Cause.ALARM in before.standing.free:
            assert isinstance(after.state, Free), "over, and nobody has acknowledged it"
        elif Cause.UNACKNOWLEDGED in before.standing.free and isinstance(before.state, Free):
            acknowledged = isinstance(event, Ordered) and event.cause is Cause.UNACKNOWLEDGED
            assert acknowledged or isinstance(after.state, Free)

    def check_spent(self) -> None:
        """Promise 2: what was opened, or walked, is what the policy and the vendor allow."""
        reentry, spend = self.settings.policy.reentry, self.settings.policy.spend
        by_walk = spend is Spend.PASSAGE and self.settings.sensors
        done = self.walked if by_walk else self.opened
        for subject in (*TICKETS, UNKNOWN):
            for perimeter in Perimeter:
                entered = done[subject, Direction.IN, perimeter]
                left = self.left(subject, perimeter, by_walk)
                allowed = {Reentry.NONE: 1, Reentry.AFTER_EXIT: 1 + left, Reentry.UNLIMITED: entered}[reentry]
                if self.settings.route.authority is Authority.VENDOR:
                    closed = self.settings.route.without_answer is WithoutAnswer.CLOSED
                    allowed = self.vendors_yes[subject] + (0 if closed else allowed)
                assert entered <= allowed

    def left(self, subject: str, perimeter: Perimeter, by_walk: bool) -> int:
        """Ways out, each as it is spent: by a walk, or by an admission that nobody withdrew."""
        if by_walk:
            return self.walked[subject, Direction.OUT, perimeter]
        rows = [*((row, record) for row, record in self.durable), *((row, r) for _, row, r in self.waiting)]
        moves = [r.movement for _, r in rows if r.movement and r.movement.subject == subject]
        outs = [m for m in moves if m.direction is Direction.OUT and perimeter in m.perimeters]
        withdrawn = {m.row for m in outs if m.act is Act.VOIDED}
        return sum(m.act is Act.OPENED and m.row not in withdrawn for m in outs)

    def check_histories(self) -> None:
        """The overlay is the fold of all rows, and at rest nothing that opened is left pending for ever."""
        movements = [r.movement for _, r in self.durable] + [r.movement for _, _, r in self.waiting]
        for subject in self.histories:
            of_ticket = (m for m in movements if m and m.subject == subject)
            assert reduce(fold, of_ticket, NO_HISTORY) == self.history(subject)

    def come_to_rest(self) -> None:
        """Every deadline honoured, every lane ends where nobody is served, and wants nothing more."""
        for _ in range(TURNS_MAX):
            wakes = [at_ms for lane in self.lanes.values() if (at_ms := wake_at(lane)) is not None]
            if not wakes:
                break
            self.wait(max(0, min(wakes) - self.monotonic_ms))
        for lane in self.lanes.values():
            assert isinstance(lane.state, Ready | Free | Shut)
            assert wake_at(lane) is None
        assert self.unanswered == {}
        assert all(history.pending == () for history in self.histories.values())

    def replay(self) -> None:
        """Promise 7: the tape of every lane leads to the same lane once more."""
        for name, events in self.tape.items():
            lane, _ = begin(self.setups[name])
            for event in events:
                lane, _ = step(lane, event)
            assert repr(lane) == repr(self.lanes[name])


def lane_scan(lane: Lane) -> int:
    """The scan, or the order, that the lane serves."""
    state = lane.state
    assert isinstance(state, Asking | Recording)
    return state.scan.row if isinstance(state, Asking) else state.scan_row


def remember(histories: dict[str, History], movement: Movement) -> None:
    """What the movement makes of its ticket's history."""
    subject = movement.subject
    histories[subject] = fold(histories.get(subject, NO_HISTORY), movement)
