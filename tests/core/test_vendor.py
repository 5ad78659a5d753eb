from firmware.core.effects import Kind, Record
from firmware.core.events import TimeUp
from firmware.core.ticket import Credit, History, Verdict
from tests.core.samples import IN, NO, NOON_MS, admission, asking, at, check

CREDITED = History(credit=Credit(IN, NOON_MS + 600_000))


def test_a_refusal_is_outweighed_by_a_credit_that_came_meanwhile() -> None:
    opened = admission(NO.row)._replace(utc_ms=NOON_MS + 500)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED_CREDIT, opened, wanted=True)
    check(asking(), NO._replace(history=CREDITED), row)


def test_a_silence_is_outweighed_by_a_credit_that_came_meanwhile() -> None:
    opened = admission(5)._replace(utc_ms=NOON_MS + 3000)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED_CREDIT, opened, wanted=True)
    check(asking(), TimeUp(at(3000), 5, CREDITED), row)
