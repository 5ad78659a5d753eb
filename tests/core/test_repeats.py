"""A code that is read again: the same answer while it is shown, one of its own afterwards."""

from firmware.core.effects import Kind, Record, Tell
from firmware.core.events import Cause, Order, Ordered, Recorded
from firmware.core.states import Open
from firmware.core.ticket import Status, Verdict
from tests.core.samples import (
    IN,
    NOON_MS,
    OUT,
    SCAN,
    TICKET,
    admission,
    asking,
    at,
    check,
    opened,
    ready,
    recording,
    run,
)

CANCELLED = SCAN._replace(ticket=TICKET._replace(status=Status.CANCELLED))
BEHIND = SCAN._replace(moment=at(100), row=7, direction=OUT)


def test_a_copy_on_the_other_side_gets_an_answer_of_its_own() -> None:
    busy = (Record(Kind.SCAN, 7, Verdict.BUSY), Tell(Verdict.BUSY))
    for lane in (opened(), recording(), asking()):
        check(lane, BEHIND, *busy)
    refused = run(ready(), CANCELLED)
    out = admission(7, OUT)._replace(utc_ms=NOON_MS + 100)
    check(refused, BEHIND, Record(Kind.SCAN, 7, Verdict.ADMITTED, out, wanted=True))


def test_an_unreadable_code_is_not_taken_for_the_order_that_opened_the_lane() -> None:
    order = Ordered(at(0), 1, Order.OPEN_ONCE, Cause.OPERATOR, IN)
    lane = run(ready(), order, Recorded(at(10), 1))
    assert isinstance(lane.state, Open)
    unreadable = SCAN._replace(moment=at(100), row=7, digest=b"", subject="", ticket=None, fault="too long")
    check(lane, unreadable, Record(Kind.SCAN, 7, Verdict.BUSY), Tell(Verdict.BUSY))
