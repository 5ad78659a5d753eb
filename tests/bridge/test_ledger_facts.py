"""What the ledger reads of a row is what the row says, however little of it is made into objects."""

import msgspec
import pytest

from firmware.bridge.ledger.facts import Facts, facts_of, read_row
from firmware.core.events import Recorded, Scanned
from firmware.core.states import Asking, Recording, Standing
from firmware.core.ticket import Authority, Moment, Policy, Route, Ticket
from firmware.row import Before, Named, Row, Story, Unreadable, decode, encode
from tests.bridge.model_gate import VENDOR_DECIDES, ModelGate
from tests.core.samples import IN, NOON_MS

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

MOMENT = Moment(1, NOON_MS, True)
SCAN = Scanned(
    MOMENT, 7, b"digest", "acme:t1", IN, Route("acme"), Policy("gala"), Ticket("acme:t1", session="night")
)
READY = Before(Standing(), Named("Ready", ()), None)


def row_with(story: Story | None) -> Row:
    return Row("scan", "north", MOMENT, 7, text="said", story=story)


def named(event: Scanned | Recorded | Asking | Recording) -> Named:
    return Named(type(event).__name__, tuple(event))


def test_all_but_the_story_is_what_the_row_says() -> None:
    gate = ModelGate()
    admission = gate.admit(route=VENDOR_DECIDES)
    gate.settle(admission)
    for kept in gate.rows:
        assert tuple(read_row(kept.body))[:7] == tuple(decode(kept.body))[:7]


@pytest.mark.parametrize(
    "story",
    [
        Story(READY, (named(SCAN),), b""),
        Story(READY, (named(SCAN), named(Recorded(MOMENT, 7))), b""),
        Story(Before(Standing(), named(Asking(SCAN, 9)), None), (named(Recorded(MOMENT, 7)),), b""),
        Story(
            Before(Standing(), named(Recording(7, IN, 9, scan=SCAN)), None),
            (named(Recorded(MOMENT, 7)),),
            b"",
        ),
    ],
    ids=["the only event", "with another behind it", "in the lane before", "while the ask was written"],
)
def test_an_admissions_scan_is_found(story: Story) -> None:
    assert facts_of(read_row(encode(row_with(story)))) == Facts("acme", "gala", "night", "none")


def test_of_two_scans_the_last_one_counts() -> None:
    earlier = SCAN._replace(policy=Policy("matinee"))
    story = Story(READY, (named(earlier), named(SCAN)), b"")
    assert facts_of(read_row(encode(row_with(story)))).event == "gala"


@pytest.mark.parametrize("row", [7, 9], ids=["the same code again", "another code"])
def test_a_code_that_was_read_while_the_vendor_was_asked_is_not_the_one_that_was_answered(row: int) -> None:
    asked = SCAN._replace(route=SCAN.route._replace(authority=Authority.VENDOR))
    other = SCAN._replace(moment=MOMENT._replace(monotonic_ms=900), row=row + 1, policy=Policy("matinee"))
    before = Before(Standing(), named(Asking(asked, 9)), None)
    story = Story(before, (named(other),), b"")
    answered = row_with(story)._replace(kind="answer")
    found = facts_of(read_row(encode(answered)))
    assert (found.event, found.asked, found.asked_at) == ("gala", True, MOMENT)


def test_what_a_later_release_added_is_passed_over() -> None:
    story = Story(READY, (Named("Scanned", (*SCAN, "new")),), b"")
    body = msgspec.msgpack.encode((*row_with(story)[:7], (*story, "new"), "new"))
    assert facts_of(read_row(body)) == Facts("acme", "gala", "night", "none")


def test_a_row_without_a_story_tells_nothing_more() -> None:
    assert facts_of(read_row(encode(row_with(None)))) == Facts()


def test_a_story_that_is_none_is_unreadable() -> None:
    body = msgspec.msgpack.encode((*row_with(None)[:7], "no story"))
    with pytest.raises(Unreadable):
        facts_of(read_row(body))
