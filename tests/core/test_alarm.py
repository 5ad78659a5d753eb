"""Promise 4: an active alarm frees every lane from every state, and only then comes the paperwork."""

import pytest

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import Alarm, Cause, Event, Order, Ordered, Passed, Recorded, RecordFailed, TimeUp
from firmware.core.lane import step, wake_at
from firmware.core.movements import Act
from firmware.core.states import Free, Ready, Recording, Shut
from firmware.core.ticket import Policy, Spend, Verdict
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NOON_MS,
    OUT,
    SCAN,
    SETUP,
    YES,
    admission,
    asking,
    at,
    check,
    free,
    opened,
    ready,
    recording,
    run,
    same,
    shut,
)

ALARM = Alarm(at(900), 9, True)
OVER = Alarm(at(9000), 12, False)
OVER_ROW = Record(Kind.ALARM, 0, text="over")
FREED_BY_DISK = run(ready(SETUP._replace(unwritable_free=True)), RecordFailed(at(0), 0))
LANES = {
    "ready": ready(),
    "ready, with an answer on": run(ready(), SCAN._replace(fault="too long")),
    "asking": asking(),
    "recording an admission": recording(),
    "recording an ask": recording(ASKED_SCAN),
    "recording an order": run(ready(), Ordered(at(0), 1, Order.OPEN_ONCE, Cause.OPERATOR, IN)),
    "open": opened(),
    "open, for an order": run(
        ready(), Ordered(at(0), 1, Order.OPEN_ONCE, Cause.OPERATOR, IN), Recorded(at(10), 1)
    ),
    "open, locked again": run(opened(), TimeUp(at(5010), 2)),
    "free": free(),
    "free by its disk": FREED_BY_DISK,
    "shut": shut(),
    "shut by its disk": run(ready(), RecordFailed(at(0), 0)),
}


@pytest.mark.parametrize("name", LANES)
def test_the_alarm_wins(name: str) -> None:
    after, effects = step(LANES[name], ALARM)
    assert same(effects[0], Unlock(None))
    assert same(effects[1], Record(Kind.ALARM, 0, text="active"))
    assert same(effects[-1], Tell(Signal.FREE))
    assert all(isinstance(effect, Record) for effect in effects[1:-1])
    assert isinstance(after.state, Free)
    assert wake_at(after) is None


DURING: dict[str, tuple[Event, ...]] = {
    "a scan": (SCAN, TimeUp(at(2500), 20)),
    "an answer": (YES,),
    "a failing disk": (RecordFailed(at(1000), 0),),
    "a disk that mends itself": (RecordFailed(at(1000), 0), Recorded(at(2000), 9)),
    "a walk": (Passed(at(1000), 20, OUT),),
    "an order to shut": (Ordered(at(1000), 20, Order.SHUT, Cause.OPERATOR, IN),),
    "an order to open": (Ordered(at(1000), 20, Order.OPEN_ONCE, Cause.OPERATOR, IN),),
    "a lost reader": (Ordered(at(1000), 20, Order.SHUT, Cause.READER, IN),),
    "back to normal": (Ordered(at(1000), 20, Order.NORMAL, Cause.OPERATOR, IN),),
    "an order in the alarm's name": (Ordered(at(1000), 20, Order.NORMAL, Cause.ALARM, IN),),
    "the alarm again": (ALARM,),
}


@pytest.mark.parametrize("what", DURING)
@pytest.mark.parametrize("name", LANES)
def test_a_lane_stays_free_until_the_alarm_ends(name: str, what: str) -> None:
    lane = run(LANES[name], ALARM)
    for event in DURING[what]:
        lane, effects = step(lane, event)
        assert isinstance(lane.state, Free)
        assert not any(isinstance(effect, Lock) for effect in effects)


def test_a_scan_during_an_alarm_is_recorded_and_spends_nothing() -> None:
    row = Record(Kind.SCAN, 1, Verdict.FREE)
    check(run(ready(), ALARM), SCAN, row, Tell(Verdict.FREE))


def test_the_end_of_an_alarm_locks_the_lane_again() -> None:
    after = check(run(opened(), ALARM), OVER, Lock(), Tell(Signal.READY), OVER_ROW)
    assert same(after, ready())


@pytest.mark.parametrize(
    ("order", "state", "effects"),
    [
        (Order.SHUT, Shut, (Lock(), Tell(Signal.SHUT))),
        (Order.FREE, Free, (Tell(Signal.FREE),)),
        (Order.NORMAL, Ready, (Lock(), Tell(Signal.READY))),
    ],
)
def test_an_order_during_an_alarm_says_what_follows(
    order: Order, state: type, effects: tuple[Lock | Tell, ...]
) -> None:
    lane = run(ready(), ALARM, Ordered(at(1000), 20, order, Cause.OPERATOR, IN))
    assert isinstance(check(lane, OVER, *effects, OVER_ROW).state, state)


def test_a_disk_that_failed_during_an_alarm_shuts_the_lane_after_it() -> None:
    lane = run(recording(), ALARM, RecordFailed(at(1000), 0))
    assert isinstance(check(lane, OVER, Lock(), Tell(Signal.OUT_OF_ORDER), OVER_ROW).state, Shut)


@pytest.mark.parametrize("name", LANES)
def test_an_alarm_that_is_over_or_still_on_is_no_news(name: str) -> None:
    assert same(check(LANES[name], OVER), LANES[name])
    alarmed = run(LANES[name], ALARM)
    assert same(check(alarmed, ALARM), alarmed)


def test_the_lane_that_waited_for_an_order_or_an_ask_says_what_became_of_it() -> None:
    texts = (Unlock(None), Record(Kind.ALARM, 0, text="active"))
    check(LANES["recording an order"], ALARM, *texts, Record(Kind.VOID, 1, Verdict.FREE), Tell(Signal.FREE))
    check(LANES["recording an ask"], ALARM, *texts, Record(Kind.ANSWER, 1, Verdict.FREE), Tell(Signal.FREE))
    check(LANES["open, for an order"], ALARM, *texts, Tell(Signal.FREE))


# --- where the end of an alarm has to be acknowledged ----------------------------------------------

CAREFUL = SETUP._replace(acknowledge=True)
ACKNOWLEDGED = Ordered(at(9500), 15, Order.NORMAL, Cause.UNACKNOWLEDGED, IN, "ann")
WAITS_ROW = Record(Kind.ALARM, 0, text="over, to be acknowledged")


def test_a_lane_stays_free_after_the_alarm_until_somebody_acknowledges_it() -> None:
    lane = run(opened(setup=CAREFUL), ALARM)
    lane = check(lane, OVER, Tell(Signal.FREE), WAITS_ROW)
    for what in DURING.values():
        assert isinstance(run(lane, *what).state, Free)
    after = check(lane, ACKNOWLEDGED, Record(Kind.ORDER, 0, text="ann"), Lock(), Tell(Signal.READY))
    assert same(after, ready(CAREFUL))


def test_what_is_said_before_the_contact_is_closed_acknowledges_nothing() -> None:
    lane = run(ready(CAREFUL), ALARM)
    lane = check(lane, ACKNOWLEDGED, Record(Kind.ORDER, 0, text="ann"), Tell(Signal.FREE))
    lane = check(lane, OVER, Tell(Signal.FREE), WAITS_ROW)
    assert isinstance(lane.state, Free)


def test_an_order_given_meanwhile_says_what_follows_the_acknowledgement() -> None:
    lane = run(ready(CAREFUL), ALARM, OVER, Ordered(at(9100), 13, Order.SHUT, Cause.OPERATOR, IN))
    assert isinstance(lane.state, Free)
    assert isinstance(run(lane, ACKNOWLEDGED).state, Shut)


def test_a_second_alarm_wants_an_acknowledgement_of_its_own() -> None:
    lane = run(ready(CAREFUL), ALARM, OVER, ALARM._replace(moment=at(9200), row=14))
    assert isinstance(run(lane, ACKNOWLEDGED).state, Free)
    over = OVER._replace(moment=at(9900), row=17)
    lane = run(lane, ACKNOWLEDGED, over)
    assert isinstance(lane.state, Free)
    assert same(run(lane, ACKNOWLEDGED), ready(CAREFUL))


def test_an_alarm_of_an_earlier_process_still_has_to_be_acknowledged() -> None:
    before = Ordered(at(0), 1, Order.FREE, Cause.UNACKNOWLEDGED, IN, "an alarm")
    lane = check(
        ready(CAREFUL), before, Record(Kind.ORDER, 0, text="an alarm"), Unlock(None), Tell(Signal.FREE)
    )
    assert same(run(lane, ACKNOWLEDGED), ready(CAREFUL))


def test_an_alarm_during_a_way_out_that_the_walk_spends_leaves_the_ticket_inside() -> None:
    scan = SCAN._replace(direction=OUT, policy=Policy(spend=Spend.PASSAGE))
    dropped = admission(direction=OUT)._replace(act=Act.VOIDED, spend=Spend.PASSAGE, utc_ms=NOON_MS + 900)
    check(
        opened(scan),
        ALARM,
        Unlock(None),
        Record(Kind.ALARM, 0, text="active"),
        Record(Kind.LAPSE, 1, movement=dropped),
        Tell(Signal.FREE),
    )


def test_no_order_begins_or_ends_an_alarm() -> None:
    alarmed = run(ready(), ALARM)
    for order in (Order.NORMAL, Order.SHUT):
        ordered = Ordered(at(950), 10, order, Cause.ALARM, IN, "ann")
        check(alarmed, ordered, Record(Kind.ORDER, 0, text="ann"), Tell(Signal.FREE))
    freed = run(opened(), Ordered(at(20), 3, Order.FREE, Cause.ALARM, IN))
    assert isinstance(run(freed, ALARM).state, Free)


def test_a_row_that_becomes_safe_during_an_alarm_opens_nothing() -> None:
    lane = run(recording(), ALARM)
    assert same(check(lane, Recorded(at(1000), 1)), lane)
    later = run(lane, OVER)
    assert same(check(later, Recorded(at(9100), 1)), later)
    assert not isinstance(later.state, Recording)
