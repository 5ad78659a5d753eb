from firmware.core.effects import Kind, Record, Signal, Tell, Unlock
from firmware.core.events import Alarm, Cause, Order, Ordered
from firmware.core.movements import Act
from firmware.core.states import Free
from firmware.core.ticket import Policy, Spend
from tests.core.samples import IN, NOON_MS, OUT, SCAN, admission, at, check, opened, ready, run

ALARM = Alarm(at(900), 9, True)


def test_an_alarm_during_a_way_out_that_the_walk_spends_leaves_the_ticket_inside() -> None:
    scan = SCAN._replace(direction=OUT, policy=Policy(spend=Spend.PASSAGE))
    dropped = admission(direction=OUT)._replace(act=Act.VOIDED, spend=Spend.PASSAGE, utc_ms=NOON_MS + 900)
    after = check(
        opened(scan),
        ALARM,
        Unlock(None),
        Record(Kind.ALARM, 0, text="active"),
        Record(Kind.LAPSE, 1, movement=dropped),
        Tell(Signal.FREE),
    )
    assert isinstance(after.state, Free)


def test_no_order_begins_or_ends_an_alarm() -> None:
    alarmed = run(ready(), ALARM)
    for order in (Order.NORMAL, Order.SHUT):
        ordered = Ordered(at(950), 10, order, Cause.ALARM, IN, "ann")
        after = check(alarmed, ordered, Record(Kind.ORDER, 0, text="ann"), Tell(Signal.FREE))
        assert isinstance(after.state, Free)
    freed = run(opened(), Ordered(at(20), 3, Order.FREE, Cause.ALARM, IN))
    assert isinstance(run(freed, ALARM).state, Free)
