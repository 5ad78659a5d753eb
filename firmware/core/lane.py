"""One lane as a state machine: six states, eight events, one table, no clock and no I/O.

`step(lane, event)` gives the lane after the event and the effects that the loop applies in order. Every
cell of the table is named, so an event that comes at a strange time has an answer too. Waiting is done
by `wake_at(lane)` alone.

How an opening comes about: a scan that the rules admit emits `Record` and the lane waits in `Recording`.
Only `Recorded` of that very row leads to `Unlock`. If it does not come, the lane withdraws the admission
with a second row (`VOID`), says "out of order" and takes itself out of service; the first `Recorded` that
arrives later brings it back.
"""

from collections.abc import Callable
from typing import Any

from firmware.core.credit import DOUBT_MS, by_credit, has_just_walked, is_unsure
from firmware.core.effects import Ask, Effect, Kind, Lock, Record, Signal, Tell, Unlock
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
    elsewhere,
)
from firmware.core.movements import Act, Movement, entered_utc_ms, unseen
from firmware.core.rules import LAPSES_MAX, judge, may_enter, may_leave, not_withdrawn
from firmware.core.states import (
    Asking,
    Free,
    Lane,
    Open,
    Ready,
    Recording,
    Shown,
    Shut,
    Standing,
    State,
    including,
    without,
)
from firmware.core.ticket import (
    Authority,
    Direction,
    Moment,
    Perimeter,
    Setup,
    Spend,
    Verdict,
    WithoutAnswer,
)

GRACE_MS = 1000  # after the mechanism has relocked, a rotation already begun may still end within a second


Step = tuple[Lane, tuple[Effect, ...]]


def step(lane: Lane, event: Event) -> Step:
    """What the event does to the lane. Total: any event in any state."""
    return TABLE[type(lane.state)][type(event)](lane, event)


def begin(setup: Setup) -> Step:
    """A lane at the start of the process: locked and ready."""
    return Lane(setup), (Lock(), Tell(Signal.READY))


def wake_at(lane: Lane) -> int | None:
    """When the lane wants a `TimeUp`, in monotonic milliseconds; `None` for never."""
    shown = lane.shown.until_ms if lane.shown else None
    state = lane.state
    if not isinstance(state, Asking | Recording | Open):
        return shown
    return state.until_ms if shown is None else min(shown, state.until_ms)


def permanent(lane: Lane) -> Signal:
    """What the lane shows when no verdict is on."""
    state = lane.state
    if isinstance(state, Asking | Recording):
        return Signal.CHECKING
    if isinstance(state, Open):
        return Signal.READY if state.locked else Signal.GO
    if isinstance(state, Free):
        return Signal.FREE
    if isinstance(state, Shut):
        return Signal.SHUT if Cause.OPERATOR in lane.standing.shut else Signal.OUT_OF_ORDER
    return Signal.READY


# --- scans ---------------------------------------------------------------------------------------


def decide(lane: Lane, scan: Scanned) -> Step:
    """A code at a lane that is ready."""
    asks = scan.route.authority is Authority.VENDOR
    if _shows(lane, scan) and not (asks and by_credit(lane.setup, scan) is Verdict.ADMITTED_CREDIT):
        return _again(lane)
    if asks:
        return _decide_by_vendor(lane, scan)
    return _answer(lane, scan, judge(lane.setup, scan), Kind.SCAN, scan.row)


def _decide_by_vendor(lane: Lane, scan: Scanned) -> Step:
    route = scan.route
    if scan.fault:
        return _answer(lane, scan, Verdict.UNREADABLE, Kind.SCAN, scan.row)
    credit = by_credit(lane.setup, scan)  # the vendor's yes, given when it could be asked
    if not (route.configured or credit):
        return _answer(lane, scan, Verdict.NOT_CONFIGURED, Kind.SCAN, scan.row)
    if route.check_first:
        verdict = judge(lane.setup, scan)
        if not verdict.admits:
            return _answer(lane, scan, verdict, Kind.SCAN, scan.row)
    if elsewhere(scan):
        return _answer(lane, scan, Verdict.WRONG_EVENT, Kind.SCAN, scan.row)
    if credit:
        return _answer(lane, scan, credit, Kind.SCAN, scan.row)
    if not route.reachable:
        return _answer(lane, scan, _without_answer(lane.setup, scan), Kind.SCAN, scan.row)
    if has_just_walked(lane.setup, scan):
        return _answer(lane, scan, Verdict.TOO_SOON, Kind.SCAN, scan.row)
    if scan.direction is Direction.IN and scan.history.lapses >= LAPSES_MAX:  # whatever the vendor would say
        return _answer(lane, scan, Verdict.CALL_STAFF, Kind.SCAN, scan.row)
    until_ms = scan.moment.monotonic_ms + lane.setup.record_ms
    state = Recording(scan.row, scan.direction, until_ms, scan.digest, scan=scan, scan_row=scan.row)
    return lane.to(state), (
        Record(Kind.ASK, scan.row, wanted=True),
        Tell(Signal.CHECKING),
    )


def _answer(
    lane: Lane, scan: Scanned, verdict: Verdict, kind: Kind, row: int, text: str = "", doubt: bool = False,
    granted: bool = False,
) -> Step:  # fmt: skip
    """Record the verdict; an admission waits for the disk, a refusal is shown at once.

    `doubt` says that the vendor was asked and may have spent the ticket without our knowing, also where its
    refusal may be about an ask of our own. An admission after an ask always carries it: if the lane does not
    open after all, the vendor has spent it all the same.
    """
    now_ms = scan.moment.monotonic_ms
    if verdict.admits:
        admission = _movement(lane.setup, scan, Act.OPENED, row, doubt=kind is Kind.ANSWER)
        until_ms = now_ms + lane.setup.record_ms
        state = Recording(
            row, scan.direction, until_ms, scan.digest, verdict, text, admission, None, scan.row, granted
        )
        return lane.to(state), (Record(kind, scan.row, verdict, admission, wanted=True, text=text),)
    shown = Shown(scan.digest, verdict, text, now_ms + lane.setup.signal_ms, scan.direction)
    unsure = _movement(lane.setup, scan, Act.UNSURE, scan.row, doubt=True) if doubt else None
    return lane.to(Ready(), shown), (
        Record(kind, scan.row, verdict, unsure, text=text),
        Tell(verdict, text),
    )


def busy(lane: Lane, scan: Scanned) -> Step:
    """A code while another is being served; the same code again gets the answer it had."""
    state = lane.state
    if _is_served(state, scan):
        if isinstance(state, Open):
            return lane, (Tell(state.verdict, state.text),)
        return lane, (Tell(permanent(lane)),)
    return _refuse(lane, scan, Verdict.BUSY)


def let_by(lane: Lane, scan: Scanned) -> Step:
    """A code at a free lane: recorded, and it spends nothing."""
    return _refuse(lane, scan, Verdict.FREE)


def turn_away(lane: Lane, scan: Scanned) -> Step:
    """A code at a shut lane."""
    return _refuse(lane, scan, _shut_by(lane))


def _shut_by(lane: Lane) -> Verdict:
    return Verdict.SHUT if Cause.OPERATOR in lane.standing.shut else Verdict.OUT_OF_ORDER


def _refuse(lane: Lane, scan: Scanned, verdict: Verdict) -> Step:
    if _shows(lane, scan):
        return _again(lane)
    until_ms = scan.moment.monotonic_ms + lane.setup.signal_ms
    shown = Shown(scan.digest, verdict, "", until_ms, scan.direction)
    return lane.to(lane.state, shown), (Record(Kind.SCAN, scan.row, verdict), Tell(verdict))


def _shows(lane: Lane, scan: Scanned) -> bool:
    shown = lane.shown
    if shown is None or (shown.digest, shown.direction) != (scan.digest, scan.direction):
        return False
    return scan.moment.monotonic_ms < shown.until_ms


def _again(lane: Lane) -> Step:
    assert lane.shown is not None
    return lane, (Tell(lane.shown.verdict, lane.shown.text),)


def _is_served(state: State, scan: Scanned) -> bool:
    """Whether it is this very code, on this side, that the lane is busy with."""
    if isinstance(state, Open) and state.locked:
        return False
    served = state.scan if isinstance(state, Asking) else state
    if not isinstance(served, Scanned | Recording | Open) or not served.digest:
        return False
    return (served.digest, served.direction) == (scan.digest, scan.direction)


# --- the vendor's answer -------------------------------------------------------------------------


def answered(lane: Lane, event: Answered) -> Step:
    """The vendor's word on the scan that this lane asked about."""
    state = lane.state
    assert isinstance(state, Asking)
    if event.scan != state.scan.row:
        return late(lane, event)
    verdict, text = event.verdict, event.text
    scan = state.scan._replace(moment=event.moment, history=event.history)
    if verdict is Verdict.NO_ANSWER:
        return _unanswered(lane, scan, event.row, text, event.doubt, event.unreached)
    if event.moment.monotonic_ms >= state.until_ms:  # whoever stands there is not made to wait any longer
        silent, effects = no_answer(lane, TimeUp(event.moment, event.row, event.history))
        after, rows = late(silent, event)
        return after, effects + rows
    if verdict.admits:
        return _answer(lane, scan, verdict, Kind.ANSWER, event.row, text, granted=True)
    if credit := by_credit(lane.setup, scan):
        verdict, text = credit, ""  # refused because an earlier ask was accepted, and let nobody in
    elif event.doubt or is_unsure(scan):
        verdict = Verdict.CALL_STAFF
    return _at_rest(_answer(lane, scan, verdict, Kind.ANSWER, event.row, text, event.doubt))


def late(lane: Lane, event: Answered) -> Step:
    """An answer to a scan that this lane no longer waits for.

    A yes to a scan that did not open, or opened by policy for nobody, becomes a credit, unless the ticket was
    let in since: by that very credit, if the answer came twice, by policy, or at another gate. Any other late
    answer ends the doubt, but the word that there is none does not, nor a refusal that may be about an ask of
    our own.
    """
    if event.verdict is Verdict.NO_ANSWER or (event.doubt and not event.verdict.admits):
        return lane, (Record(Kind.LATE, event.scan, event.verdict, text=event.text),)
    state, served = lane.state, False
    if isinstance(state, Open | Recording) and state.scan_row == event.scan:
        served = True
        if event.verdict.admits:
            lane = lane._replace(state=state._replace(granted=True))  # where nobody walks, it is a credit
    entered_ms = entered_utc_ms(event.history, lane.setup.perimeter)
    entered_since = event.direction is Direction.IN and 0 < event.asked_utc_ms < entered_ms
    news = event.scan > event.history.settled_row and not entered_since
    walking = event.opened and any(each.row > event.scan for each in event.history.pending)
    credit = event.verdict.admits and news and not (served or walking)
    movement = Movement(
        Act.CREDITED if credit else Act.SURE,
        event.subject,
        event.scan,
        event.direction,
        (lane.setup.perimeter,),
        event.moment.utc_ms,
        until_utc_ms=event.moment.utc_ms + lane.setup.credit_ms if credit else 0,
    )
    return lane, (Record(Kind.LATE, event.scan, event.verdict, movement, text=event.text),)


def _without_answer(setup: Setup, scan: Scanned, unreached: bool = True) -> Verdict:
    """What policy says where a vendor is silent. No policy admits a ticket spent here, or withdrawn."""
    if credit := by_credit(setup, scan):
        return credit
    match scan.route.without_answer:
        case WithoutAnswer.CLOSED:
            return Verdict.NO_ANSWER
        case WithoutAnswer.LIST:
            return judge(setup, scan._replace(route=scan.route._replace(authority=Authority.GATE)))
        case _:
            assert scan.route.without_answer is WithoutAnswer.OPEN_AND_UPLOAD
            if scan.route.unreached_only and not unreached:
                return Verdict.NO_ANSWER
            if scan.direction is Direction.OUT:
                return may_leave(setup, scan) or Verdict.ADMITTED_OFFLINE
            return not_withdrawn(setup, scan) or may_enter(setup, scan) or Verdict.ADMITTED_OFFLINE


def _unanswered(lane: Lane, scan: Scanned, row: int, text: str, doubt: bool, unreached: bool = False) -> Step:
    """The vendor says nothing: policy decides, and an order that came meanwhile takes effect."""
    verdict = _without_answer(lane.setup, scan, unreached)
    return _at_rest(_answer(lane, scan, verdict, Kind.ANSWER, row, text, doubt))


# --- the disk ------------------------------------------------------------------------------------


def recorded(lane: Lane, event: Recorded) -> Step:
    """The row that the lane waited for is safe: ask, or open."""
    state = lane.state
    assert isinstance(state, Recording)
    if event.row != state.row:
        return heal(lane, event)
    lane = _writable(lane)
    now_ms, rest, scan = event.moment.monotonic_ms, lane.standing.rest, state.scan
    for_a_ticket = scan is not None or state.admission is not None
    if for_a_ticket and not isinstance(rest, Ready):
        return _give_up(lane, event.moment, Verdict.FREE if isinstance(rest, Free) else _shut_by(lane))
    if scan is not None:
        until_ms = scan.moment.monotonic_ms + scan.route.deadline_ms
        ask = Ask(scan.row, scan.route.vendor, scan.digest, scan.direction, until_ms)
        return lane._replace(state=Asking(scan, until_ms)), (ask,)
    row, direction, _, digest, verdict, text, admission, _, scan_row, granted = state
    until_ms = now_ms + lane.setup.unlock_ms
    opened = Open(row, direction, until_ms, digest, verdict, text, admission, False, scan_row, granted)
    return lane.to(opened), (
        Unlock(state.direction),
        Tell(state.verdict, state.text),
    )


def failed(lane: Lane, event: RecordFailed) -> Step:
    """The disk does not take rows: withdraw what waits for it, and go out of service."""
    return _give_up(_unwritable(lane), event.moment, Verdict.OUT_OF_ORDER)


def fault(lane: Lane, event: RecordFailed) -> Step:
    """The disk does not take rows, and nobody waits for it. Later tries change nothing."""
    failing = _unwritable(lane)
    return (lane, ()) if failing == lane else _to_rest(failing)


def fault_later(lane: Lane, event: RecordFailed) -> Step:
    """The disk does not take rows while somebody is served: take effect afterwards."""
    return _unwritable(lane), ()


def heal(lane: Lane, event: Recorded) -> Step:
    """The disk takes rows again."""
    healed = _writable(lane)
    if healed is lane:
        return lane, ()
    return _to_rest(healed) if isinstance(lane.state, Ready | Free | Shut) else (healed, ())


def _unwritable(lane: Lane) -> Lane:
    free, shut = lane.standing
    if lane.setup.unwritable_free:
        return lane._replace(standing=Standing(including(free, Cause.JOURNAL), shut))
    return lane._replace(standing=Standing(free, including(shut, Cause.JOURNAL)))


def _writable(lane: Lane) -> Lane:
    free, shut = lane.standing
    if Cause.JOURNAL not in free + shut:
        return lane
    return lane._replace(standing=Standing(without(free, Cause.JOURNAL), without(shut, Cause.JOURNAL)))


def _give_up(lane: Lane, moment: Moment, verdict: Verdict) -> Step:
    """What waited for the disk does not come about."""
    assert isinstance(lane.state, Recording)
    withdrawal = _withdrawal(lane.setup, lane.state, moment, verdict)
    after, signals = _to_rest(lane)
    return after, (*withdrawal, *signals)


def _withdrawal(setup: Setup, state: Recording, moment: Moment, verdict: Verdict) -> tuple[Record, ...]:
    """The row which says that the lane did not open, or did not ask, so that nothing is spent."""
    if state.scan is not None:
        return (Record(Kind.ANSWER, state.scan_row, verdict),)
    void = state.admission and state.admission._replace(act=Act.VOIDED, utc_ms=moment.utc_ms)
    return Record(Kind.VOID, state.scan_row, verdict, void), *_unused(setup, state, moment)


def _unused(setup: Setup, state: Recording | Open, moment: Moment) -> tuple[Record, ...]:
    """The vendor's yes that let nobody in is a credit, as if it had come too late."""
    if not state.granted or state.admission is None:
        return ()
    credit = Movement(
        Act.CREDITED,
        state.admission.subject,
        state.scan_row,
        state.direction,
        (setup.perimeter,),
        moment.utc_ms,
        until_utc_ms=moment.utc_ms + setup.credit_ms,
    )
    return (Record(Kind.LATE, state.scan_row, Verdict.ADMITTED, credit, text=state.text),)


# --- the walk ------------------------------------------------------------------------------------


def enter(lane: Lane, event: Passed) -> Step:
    """A person walks through an open lane, and the opening is over."""
    state = lane.state
    assert isinstance(state, Open)
    if event.direction not in (None, state.direction):
        return stray(lane, event)
    movement = state.admission and state.admission._replace(act=Act.PASSED, utc_ms=event.moment.utc_ms)
    lock: tuple[Effect, ...] = () if state.locked else (Lock(),)
    after, signals = _to_rest(lane.to(lane.state))
    return after, (Record(Kind.PASSAGE, state.scan_row, movement=movement), *lock, *signals)


def stray(lane: Lane, event: Passed) -> Step:
    """A walk that no scan explains: recorded, for a person to think about.

    At a free lane whoever scanned has walked: the next one with that code gets an answer of his own.
    """
    shown = lane.shown
    if isinstance(lane.state, Free) and shown is not None and event.direction in (None, shown.direction):
        plain = lane.to(lane.state)
        return plain, (Record(Kind.PASSAGE, 0), Tell(permanent(plain)))
    return lane, (Record(Kind.PASSAGE, 0),)


# --- time ----------------------------------------------------------------------------------------


def fade(lane: Lane, event: TimeUp) -> Step:
    """The verdict has been shown long enough."""
    if lane.shown is None or event.moment.monotonic_ms < lane.shown.until_ms:
        return lane, ()
    plain = lane.to(lane.state)
    return plain, (Tell(permanent(plain)),)


def no_answer(lane: Lane, event: TimeUp) -> Step:
    """The vendor's time is over: policy decides."""
    state = lane.state
    assert isinstance(state, Asking)
    if event.moment.monotonic_ms < state.until_ms:
        return fade(lane, event)
    scan = state.scan._replace(moment=event.moment, history=event.history)
    return _unanswered(lane, scan, event.row, "", doubt=True)


def hung(lane: Lane, event: TimeUp) -> Step:
    """The disk's time is over: out of order."""
    state = lane.state
    assert isinstance(state, Recording)
    if event.moment.monotonic_ms < state.until_ms:
        return fade(lane, event)
    return _give_up(_unwritable(lane), event.moment, Verdict.OUT_OF_ORDER)


def close(lane: Lane, event: TimeUp) -> Step:
    """The opening's time is over: lock; where a sensor looks, wait for a walk already begun."""
    state = lane.state
    assert isinstance(state, Open)
    now_ms = event.moment.monotonic_ms
    if now_ms < state.until_ms:
        return fade(lane, event)
    if lane.setup.sensor and not state.locked:
        until_ms = now_ms + lane.setup.relock_ms + GRACE_MS
        locked = lane._replace(state=state._replace(locked=True, until_ms=until_ms), shown=None)
        return locked, (Lock(), Tell(permanent(locked)))
    lock: tuple[Effect, ...] = () if state.locked else (Lock(),)
    after, signals = _to_rest(lane)
    return after, (*lock, *_lapse(lane.setup, state, event.moment), *signals)


def _lapse(setup: Setup, state: Open, moment: Moment) -> tuple[Record, ...]:
    admission = state.admission
    if admission is None:
        return (Record(Kind.LAPSE, state.scan_row),)
    spent = admission.spend is Spend.OPENING
    ended = admission._replace(act=Act.SETTLED if spent else Act.LAPSED, utc_ms=moment.utc_ms)
    lapse = Record(Kind.LAPSE, state.scan_row, movement=ended)
    return (lapse,) if spent else (lapse, *_unused(setup, state, moment))


# --- orders and the alarm ------------------------------------------------------------------------


def obey(lane: Lane, event: Ordered) -> Step:
    """An order at a lane that serves nobody."""
    if event.order is Order.OPEN_ONCE:
        return _open_once(lane, event)
    standing = lane.standing.ordered(event)
    after, signals = _to_rest(lane._replace(standing=standing))
    return after, (Record(Kind.ORDER, 0, text=event.by), *signals)


def obey_later(lane: Lane, event: Ordered) -> Step:
    """An order while somebody is served: what stands changes now, the lane afterwards."""
    if event.order is Order.OPEN_ONCE:
        return lane, (Record(Kind.ORDER, 0, Verdict.BUSY, text=event.by),)
    standing = lane.standing.ordered(event)
    return lane._replace(standing=standing), (Record(Kind.ORDER, 0, text=event.by),)


def _open_once(lane: Lane, event: Ordered) -> Step:
    if isinstance(lane.state, Free):
        return lane, (Record(Kind.ORDER, 0, Verdict.FREE, text=event.by),)
    if Cause.JOURNAL in lane.standing.shut:
        return lane, (Record(Kind.ORDER, 0, Verdict.OUT_OF_ORDER, text=event.by),)
    until_ms = event.moment.monotonic_ms + lane.setup.record_ms
    state = Recording(event.row, event.direction, until_ms, scan_row=event.row)
    return lane.to(state), (Record(Kind.ORDER, 0, Verdict.ADMITTED, wanted=True, text=event.by),)


def alarm(lane: Lane, event: Alarm) -> Step:
    """The alarm contact: free at once, in every state, and only then the paperwork."""
    free, shut = lane.standing
    if event.active is (Cause.ALARM in free):
        return lane, ()
    if not event.active:
        calm, text = without(free, Cause.ALARM), "over"
        if lane.setup.acknowledge:  # ends by the order "normal" for this cause, given after this moment
            calm, text = including(calm, Cause.UNACKNOWLEDGED), "over, to be acknowledged"
        after, signals = _to_rest(lane._replace(standing=Standing(calm, shut)))
        return after, (*signals, Record(Kind.ALARM, 0, text=text))
    freed = lane._replace(standing=Standing(including(free, Cause.ALARM), shut), state=Free(), shown=None)
    rows = (Record(Kind.ALARM, 0, text="active"), *_interrupted(lane, event.moment))
    return freed, (Unlock(None), *rows, Tell(Signal.FREE))


def _interrupted(lane: Lane, moment: Moment) -> tuple[Record, ...]:
    """What the alarm leaves of the person who was being served."""
    state = lane.state
    if isinstance(state, Open) and state.admission is not None:
        act = unseen(state.direction, state.admission.spend)
        left = state.admission._replace(act=act, utc_ms=moment.utc_ms)
        return (Record(Kind.LAPSE, state.scan_row, movement=left),)
    if isinstance(state, Recording):
        return _withdrawal(lane.setup, state, moment, Verdict.FREE)
    if isinstance(state, Asking):
        scan = state.scan._replace(moment=moment)
        doubt = _movement(lane.setup, scan, Act.UNSURE, scan.row, doubt=True)
        return (Record(Kind.ANSWER, state.scan.row, Verdict.FREE, doubt),)
    return ()


# --- where a lane goes when nobody is served -----------------------------------------------------


def _to_rest(lane: Lane) -> Step:
    """Go where the standing sends the lane, with the edges and the light that belong to it."""
    after = lane.to(lane.standing.rest)
    is_free, was_free = isinstance(after.state, Free), isinstance(lane.state, Free)
    edges: tuple[Effect, ...] = ()
    if is_free and not was_free:
        edges = (Unlock(None),)
    elif was_free and not is_free:
        edges = (Lock(),)
    return after, (*edges, Tell(permanent(after)))


def _at_rest(done: Step) -> Step:
    """After an ask that was refused: an order that came meanwhile takes effect, the verdict stays on."""
    lane, effects = done
    if not isinstance(lane.state, Ready):
        return done
    after, signals = _to_rest(lane)
    edges = tuple(e for e in signals if isinstance(e, Unlock | Lock))
    return after._replace(shown=lane.shown), effects + edges


def _movement(setup: Setup, scan: Scanned, act: Act, row: int, doubt: bool) -> Movement:
    spend = scan.policy.spend if setup.sensor else Spend.OPENING
    perimeters: tuple[Perimeter, ...] = (setup.perimeter,)
    entering = setup.perimeter is Perimeter.INNER and scan.direction is Direction.IN
    if entering and scan.history.outer.last is not Direction.IN:
        perimeters = (Perimeter.INNER, Perimeter.OUTER)
    until_utc_ms = scan.moment.utc_ms + max(setup.credit_ms, DOUBT_MS) if doubt else 0
    return Movement(
        act, scan.subject, row, scan.direction, perimeters, scan.moment.utc_ms, spend, until_utc_ms
    )


Cell = Callable[[Lane, Any], Step]

EVENTS: tuple[type[Event], ...] = (
    Scanned, Answered, Recorded, RecordFailed, Passed, TimeUp, Ordered, Alarm,
)  # fmt: skip

# fmt: off
ROWS: dict[type[State], tuple[Cell, ...]] = {
    Ready:     (decide,    late,     heal,     fault,       stray, fade,      obey,       alarm),
    Asking:    (busy,      answered, heal,     fault_later, stray, no_answer, obey_later, alarm),
    Recording: (busy,      late,     recorded, failed,      stray, hung,      obey_later, alarm),
    Open:      (busy,      late,     heal,     fault_later, enter, close,     obey_later, alarm),
    Free:      (let_by,    late,     heal,     fault,       stray, fade,      obey,       alarm),
    Shut:      (turn_away, late,     heal,     fault,       stray, fade,      obey,       alarm),
}
# fmt: on

TABLE = {state: dict(zip(EVENTS, cells, strict=True)) for state, cells in ROWS.items()}
