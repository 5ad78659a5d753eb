"""What a gate knows of its vendors: what it was told, for how long that holds, and when it stops asking."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware import wire
from firmware.asks import ASKS_MAX, Question
from firmware.core.effects import Ask
from firmware.core.ticket import (
    Authority,
    History,
    Moment,
    Pending,
    Perimeter,
    Policy,
    Route,
    Spend,
    Ticket,
    Verdict,
    WithoutAnswer,
)
from firmware.proof import EventKeys
from firmware.uplink.vendors import (
    BRIDGES_MAX,
    DEADLINE_MS,
    NO_BROKER,
    NO_CLOCK,
    NOT_ANSWERING,
    NOT_HEARD,
    NOT_SET_UP,
    SENDS_MAX,
    SILENT,
    SILENT_ASKS,
    STALE,
    STALE_S,
    TRIAL_S,
    Vendors,
    verdict_of,
)
from tests.asking import ACME, BOTH
from tests.core.samples import ASKED_SCAN, IN, INNER, OUT, OUTER, at
from tests.signed_codes import Signer

ROUTE = Route("acme", authority=Authority.VENDOR, deadline_ms=0)
LONG_MS = 1000


class FakeSession:
    """Takes what is published, or does not."""

    def __init__(self) -> None:
        self.sent: list[wire.Ask] = []
        self.takes = True
        self.before: Callable[[wire.Ask], object] = lambda _: None

    def publish(self, publication: Any, urgent: bool = False) -> bool:
        assert urgent, "a question waits behind nothing"
        ask = wire.decode(publication.payload, wire.Ask)
        self.before(ask)
        if self.takes:
            self.sent.append(ask)
        return self.takes


class Desk:
    """Vendors with time that a test moves."""

    def __init__(self, account: wire.Account | None = ACME) -> None:
        self.now_s = 1000.0
        self.takes = True
        self.answers: list[tuple[int, Verdict, str, bool, bytes, bool]] = []
        self.vendors = Vendors("arena", "a", self.answer, lambda: self.now_s)
        session: Any = FakeSession()
        self.session: Any = session
        self.vendors.connected(session)
        if account is not None:
            self.tell(account)

    def answer(self, *answer: Any) -> bool:
        self.answers.append(answer)
        return self.takes

    def tell(self, *accounts: wire.Account, bridge: str = "") -> None:
        self.vendors.take(wire.Vendors(accounts=accounts, bridge=bridge))

    def look(self, route: Route = ROUTE, perimeter: Perimeter = OUTER, moment: Moment | None = None) -> Route:
        return self.vendors.look(route, perimeter, moment or at(0))

    def ask(self, scan: int, **changes: Any) -> str:
        ask = Ask(scan, "acme", b"one", IN, int(self.now_s * 1000) + LONG_MS)
        asked = ASKED_SCAN._replace(row=scan, **changes)
        return self.vendors.ask(Question(ask, asked, "V1", OUTER, b"d" * 16))

    def hear(self, scan: int, word: wire.Word = wire.Word.ACCEPTED, **more: Any) -> None:
        answer = wire.Answer(scan=scan, digest=b"d" * 16, word=word)
        assert self.vendors.take_answer(wire.encode(msgspec.structs.replace(answer, **more)))


def account(**changes: Any) -> wire.Account:
    return msgspec.structs.replace(ACME, **changes)


def test_keys_of_events_are_learnt_from_what_the_bridge_says_of_its_vendors(tmp_path: Path) -> None:
    signer, keys = Signer(), EventKeys(tmp_path)
    desk = Desk(None)
    desk.vendors = Vendors("arena", "a", desk.answer, keys=keys)
    desk.tell(account(keys=(wire.EventKey("3334", signer.pem),)))
    assert keys.find("acme", "3334") == (signer.key.public_key(),)


@pytest.mark.parametrize(
    ("told", "perimeter", "configured", "reachable", "trouble"),
    [
        (account(), OUTER, True, True, ""),
        (account(asks=False), OUTER, False, False, "this vendor cannot be asked"),
        (account(asks=False, text="no such thing"), OUTER, False, False, "no such thing"),
        (account(configured=(OUTER,)), OUTER, True, True, ""),
        (account(configured=(OUTER,)), INNER, False, False, NOT_SET_UP),
        (account(configured=(), text="no such venue"), INNER, False, False, "no such venue"),
        (account(reachable=False), OUTER, True, False, NOT_ANSWERING),
        (account(reachable=False, text="503"), OUTER, True, False, "503"),
        (account(account="other"), OUTER, False, True, 'the bridge has no vendor named "acme"'),
        (None, OUTER, True, False, NOT_HEARD),
    ],
)
def test_a_route_carries_what_is_known_of_its_vendor(
    told: wire.Account | None, perimeter: Perimeter, configured: bool, reachable: bool, trouble: str
) -> None:
    found = Desk(told).look(perimeter=perimeter)
    assert (found.configured, found.reachable, found.trouble) == (configured, reachable, trouble)


def test_a_vendor_that_wants_the_time_gets_no_scan_before_the_clock_is_trusted() -> None:
    desk = Desk(account(clock=True))
    untrusted = at(0)._replace(trusted=False)
    found = desk.look(moment=untrusted)
    assert (found.configured, found.trouble) == (False, NO_CLOCK)
    assert desk.look().configured
    assert Desk().look(moment=untrusted).configured, "others do not mind"


def test_nobody_is_let_in_to_be_told_of_later_where_the_vendor_takes_no_such_scans() -> None:
    route = ROUTE._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)
    assert Desk().look(route).without_answer is WithoutAnswer.OPEN_AND_UPLOAD
    assert Desk(account(uploads=False)).look(route).without_answer is WithoutAnswer.CLOSED
    assert Desk(None).look(route).without_answer is WithoutAnswer.CLOSED, "nor where that is not known yet"
    listed = ROUTE._replace(without_answer=WithoutAnswer.LIST)
    assert Desk(account(uploads=False)).look(listed).without_answer is WithoutAnswer.LIST


def test_where_only_a_vendor_out_of_reach_may_be_passed_over_nobody_is_let_in_while_it_fails() -> None:
    route = ROUTE._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)
    strict = account(unreached_only=True)

    def policy(desk: Desk, looked_for: Route = route) -> WithoutAnswer:
        return desk.look(looked_for).without_answer

    assert Desk(strict).look(route).unreached_only
    assert not Desk().look(route).unreached_only
    fails = Desk(msgspec.structs.replace(strict, reachable=False, text="503"))
    assert policy(fails) is WithoutAnswer.CLOSED
    assert policy(fails, ROUTE._replace(without_answer=WithoutAnswer.LIST)) is WithoutAnswer.LIST
    assert policy(Desk(account(reachable=False))) is WithoutAnswer.OPEN_AND_UPLOAD, "others' operators may"
    fails.vendors.disconnected(fails.session)
    assert policy(fails) is WithoutAnswer.OPEN_AND_UPLOAD, "with no broker there is no way to the vendor"
    assert policy(Desk(msgspec.structs.replace(strict, reachable=False, unreached=True))) is (
        WithoutAnswer.OPEN_AND_UPLOAD
    )
    silent = Desk(strict)
    for scan in range(SILENT_ASKS):
        silent.ask(scan)
    silent.now_s += LONG_MS / 1000 + 0.001
    assert silent.look(route).trouble == SILENT
    assert policy(silent) is WithoutAnswer.CLOSED, "the vendor may be slow, and have had the asks"
    silent.now_s += STALE_S
    assert silent.look(route).trouble == STALE
    assert policy(silent) is WithoutAnswer.OPEN_AND_UPLOAD


@pytest.mark.parametrize(
    ("own_ms", "told_ms", "expected_ms"), [(0, 1500, 1500), (800, 1500, 800), (0, 0, DEADLINE_MS)]
)
def test_the_deadline_is_the_routes_or_the_vendors_or_three_seconds(
    own_ms: int, told_ms: int, expected_ms: int
) -> None:
    route = ROUTE._replace(deadline_ms=own_ms)
    assert Desk(account(deadline_ms=told_ms)).look(route).deadline_ms == expected_ms
    assert Desk(None).look(route).deadline_ms == (own_ms or DEADLINE_MS)


def test_a_bridge_that_was_not_heard_for_a_minute_is_gone_and_one_that_was_is_not() -> None:
    desk = Desk()
    desk.now_s += STALE_S
    assert desk.look().reachable
    desk.now_s += 0.001
    assert desk.look().trouble == STALE
    desk.tell(ACME)
    assert desk.look().reachable


def test_a_connection_that_ended_is_known_at_once_and_an_older_ones_end_is_no_news() -> None:
    desk = Desk()
    newer: Any = FakeSession()
    desk.vendors.connected(newer)
    desk.vendors.disconnected(desk.session)
    assert desk.look().reachable
    desk.vendors.disconnected(newer)
    assert (desk.look().reachable, desk.look().trouble) == (False, NO_BROKER)
    assert desk.ask(1) == NO_BROKER


def test_what_is_asked_has_the_tickets_event_and_the_time_that_is_left() -> None:
    desk = Desk()
    ticket = Ticket("main:7", event="gala", session="night")
    history = ASKED_SCAN.history._replace(unsure_until_utc_ms=ASKED_SCAN.moment.utc_ms + 1)
    assert desk.ask(1, ticket=ticket, history=history) == ""
    assert desk.ask(2, ticket=None, route=ROUTE._replace(event="film")) == ""
    first, second = desk.session.sent
    assert (first.ticket_id, first.event, first.session, first.again) == ("main:7", "gala", "night", True)
    assert (second.ticket_id, second.event, second.session, second.again) == ("", "film", "", False)
    assert first.left_ms == second.left_ms == LONG_MS
    desk.now_s += 1
    late = Ask(3, "acme", b"one", IN, int(desk.now_s * 1000))
    assert desk.vendors.ask(Question(late, ASKED_SCAN, "V1", OUTER, b""))
    assert len(desk.session.sent) == 2


def test_an_ask_says_whether_the_clock_of_its_scan_is_trusted() -> None:
    desk = Desk()
    for trusted in (True, False):
        assert desk.ask(int(trusted), moment=ASKED_SCAN.moment._replace(trusted=trusted)) == ""
    assert [ask.trusted for ask in desk.session.sent] == [True, False]


def test_an_entry_without_an_event_is_asked_about_with_all_that_the_gate_lets_in() -> None:
    desk, several = Desk(), Policy(served=False)
    desk.vendors = Vendors("arena", "a", desk.answer, lambda: desk.now_s, events=("gala", "film"))
    desk.vendors.connected(desk.session)
    desk.tell(ACME)
    assert desk.ask(1, ticket=None, policy=several) == ""
    assert desk.ask(2, ticket=None, policy=several, route=ROUTE._replace(event="film")) == ""
    out = Ask(3, "acme", b"one", OUT, int(desk.now_s * 1000) + LONG_MS)
    scan = ASKED_SCAN._replace(row=3, ticket=None, policy=several, direction=OUT)
    assert desk.vendors.ask(Question(out, scan, "V1", OUTER, b"d" * 16)) == ""
    assert [(ask.event, ask.events) for ask in desk.session.sent] == [
        ("", ("gala", "film")), ("film", ()), ("", ()),
    ]  # fmt: skip


def test_a_ticket_that_is_being_let_in_elsewhere_is_in_no_doubt() -> None:
    desk, until_ms = Desk(), ASKED_SCAN.moment.utc_ms + 1
    going_in = Pending(-1, IN, (OUTER,), ASKED_SCAN.moment.utc_ms, Spend.OPENING)
    assert desk.ask(1, history=ASKED_SCAN.history._replace(unsure_until_utc_ms=until_ms)) == ""
    assert desk.ask(2, history=History(pending=(going_in,), unsure_until_utc_ms=until_ms)) == ""
    assert [sent.again for sent in desk.session.sent] == [True, False]


def test_after_some_questions_without_a_word_only_one_now_and_then_is_asked() -> None:
    desk = Desk()
    for scan in range(SILENT_ASKS):
        assert desk.look().reachable
        assert desk.ask(scan) == ""
        desk.now_s += LONG_MS / 1000 + 0.001
    assert desk.look().trouble == SILENT
    desk.now_s += TRIAL_S
    assert desk.look().reachable, "a trial"
    desk.ask(10)
    assert desk.look().trouble == SILENT, "one at a time"
    desk.now_s += TRIAL_S
    assert desk.look().trouble == SILENT, "it was silent too, from its deadline on"
    desk.now_s += TRIAL_S
    assert desk.look().reachable
    desk.ask(11)
    desk.hear(11, wire.Word.UNANSWERED)
    assert desk.look().reachable, "any word says that somebody is there"


def test_a_late_word_closes_the_breaker_too() -> None:
    desk = Desk()
    for scan in range(SILENT_ASKS):
        desk.ask(scan)
        desk.now_s += LONG_MS / 1000 + 0.001
    assert not desk.look().reachable
    desk.hear(0)
    assert desk.look().reachable


def test_an_answer_that_comes_again_is_heard_once_and_one_after_the_word_that_there_is_none_too() -> None:
    desk = Desk()
    desk.ask(1)
    desk.hear(1, wire.Word.UNANSWERED)
    for _ in range(3):
        desk.hear(1)
    desk.hear(1, wire.Word.UNANSWERED)
    assert [verdict for _, verdict, *_ in desk.answers] == [Verdict.NO_ANSWER, Verdict.ADMITTED]
    other = wire.Answer(scan=1, digest=b"e" * 16, word=wire.Word.ACCEPTED)
    assert desk.vendors.take_answer(wire.encode(other))
    assert len(desk.answers) == 3, "the number of another journal's ask"


def test_an_answer_that_the_loop_had_no_room_for_may_come_again() -> None:
    desk = Desk()
    desk.takes = False
    payload = wire.encode(wire.Answer(scan=1, digest=b"d" * 16, word=wire.Word.ACCEPTED))
    assert not desk.vendors.take_answer(payload)
    desk.takes = True
    assert desk.vendors.take_answer(payload)
    assert len(desk.answers) == 2


def test_what_was_heard_is_remembered_for_as_many_asks_as_are() -> None:
    desk = Desk()
    for scan in range(ASKS_MAX + 1):
        desk.hear(scan)
    desk.hear(1)
    assert len(desk.answers) == ASKS_MAX + 1
    desk.hear(0)
    assert len(desk.answers) == ASKS_MAX + 2


def test_an_answer_that_is_quicker_than_the_thread_that_asked_is_no_silence() -> None:
    desk = Desk()
    desk.session.before = lambda ask: desk.hear(ask.scan)
    for scan in range(SILENT_ASKS + 1):
        assert desk.ask(scan) == ""
        desk.now_s += 10
        desk.tell(ACME)
        assert desk.look().reachable


def test_a_question_that_did_not_go_out_is_no_silence() -> None:
    desk = Desk()
    desk.session.takes = False
    for scan in range(SILENT_ASKS + 1):
        assert desk.ask(scan) == NO_BROKER
        desk.now_s += 10
        assert desk.look().reachable


@pytest.mark.parametrize(
    ("word", "verdict", "expected"),
    [
        (wire.Word.ACCEPTED, None, Verdict.ADMITTED),
        (wire.Word.ACCEPTED, Verdict.USED, Verdict.ADMITTED),
        (wire.Word.REFUSED, Verdict.USED, Verdict.USED),
        (wire.Word.REFUSED, None, Verdict.REFUSED),
        (wire.Word.REFUSED, Verdict.ADMITTED, Verdict.REFUSED),
        (wire.Word.REFUSED, Verdict.NO_ANSWER, Verdict.REFUSED),
        (wire.Word.UNANSWERED, Verdict.ADMITTED, Verdict.NO_ANSWER),
    ],
)
def test_only_a_yes_admits(word: wire.Word, verdict: Verdict | None, expected: Verdict) -> None:
    assert verdict_of(wire.Answer(scan=1, digest=b"", word=word, verdict=verdict)) is expected


def test_an_account_of_both_perimeters_serves_both() -> None:
    assert all(Desk().look(perimeter=perimeter).configured for perimeter in BOTH)


# --- several bridges ---------------------------------------------------------------------------------------

THERE = account(unreached_only=True)
CUT_OFF = account(unreached_only=True, reachable=False, unreached=True, text="no way from here")
FAILS = account(unreached_only=True, reachable=False, text="503")
UPLOAD = ROUTE._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)
NO_WAY: dict[str, Any] = {"word": wire.Word.UNANSWERED, "unreached": True}


def two(one: wire.Account, other: wire.Account) -> Desk:
    """A gate that was told this by one bridge, and then that by another."""
    desk = Desk(None)
    desk.tell(one, bridge="one")
    desk.tell(other, bridge="other")
    return desk


def test_a_vendor_is_there_while_any_bridge_has_a_way_to_it_whichever_spoke_last() -> None:
    for desk in (two(THERE, CUT_OFF), two(CUT_OFF, THERE)):
        found = desk.look(UPLOAD)
        assert (found.reachable, found.trouble) == (True, "")
        desk.tell(CUT_OFF, bridge="one")
        desk.tell(CUT_OFF, bridge="other")
        found = desk.look(UPLOAD)
        assert (found.reachable, found.trouble) == (False, "no way from here")
        assert found.without_answer is WithoutAnswer.OPEN_AND_UPLOAD


def test_it_is_out_of_reach_only_where_no_bridge_can_say_that_it_fails() -> None:
    for desk in (two(FAILS, CUT_OFF), two(CUT_OFF, FAILS)):
        found = desk.look(UPLOAD)
        assert (found.reachable, found.without_answer) == (False, WithoutAnswer.CLOSED)


def test_a_bridge_that_was_not_heard_for_a_minute_counts_for_nothing_beside_one_that_is() -> None:
    desk = two(THERE, CUT_OFF)
    desk.now_s += STALE_S
    desk.tell(CUT_OFF, bridge="other")
    assert desk.look(UPLOAD).reachable
    desk.now_s += 0.001
    found = desk.look(UPLOAD)
    assert (found.reachable, found.without_answer) == (False, WithoutAnswer.OPEN_AND_UPLOAD)


def test_the_settings_of_an_account_are_those_that_were_told_last() -> None:
    desk = two(account(deadline_ms=900), account(deadline_ms=1500, uploads=False, reachable=False))
    found = desk.look(UPLOAD)
    assert (found.reachable, found.deadline_ms) == (True, 1500)
    assert found.without_answer is WithoutAnswer.CLOSED
    desk.tell(account(account="another"), bridge="other")
    assert not desk.look().configured, "it was taken out of the settings"


def test_an_ask_that_a_bridge_without_a_way_has_not_tried_is_sent_again_for_another_one() -> None:
    desk = two(THERE, CUT_OFF)
    desk.ask(1)
    desk.now_s += 0.25
    desk.hear(1, bridge="other", untried=True, **NO_WAY)
    first, again = desk.session.sent
    assert (again.scan, again.digest, again.code) == (first.scan, first.digest, first.code)
    assert (first.left_ms, again.left_ms) == (LONG_MS, LONG_MS - 250)
    assert desk.answers == []
    desk.hear(1, bridge="one")
    assert [verdict for _, verdict, *_ in desk.answers] == [Verdict.ADMITTED]


def test_an_ask_is_sent_so_often_and_then_it_is_no_proof_that_the_vendor_is_out_of_reach() -> None:
    desk = two(THERE, CUT_OFF)
    desk.ask(1)
    for _ in range(SENDS_MAX):
        assert desk.answers == []
        desk.hear(1, bridge="other", untried=True, **NO_WAY)
    assert len(desk.session.sent) == SENDS_MAX
    ((_, verdict, *_, unreached),) = desk.answers
    assert (verdict, unreached) == (Verdict.NO_ANSWER, False)


@pytest.mark.parametrize(
    ("changes", "late_s"), [({"untried": False}, 0), ({}, LONG_MS / 1000), ({"digest": b"e" * 16}, 0)]
)
def test_an_ask_that_was_tried_or_is_over_or_another_journals_is_not_sent_again(
    changes: dict[str, Any], late_s: float
) -> None:
    desk = two(THERE, CUT_OFF)
    desk.ask(1)
    desk.now_s += late_s
    desk.hear(1, **{"bridge": "other", "untried": True, **NO_WAY, **changes})
    assert len(desk.session.sent) == 1
    ((*_, unreached),) = desk.answers
    assert not unreached, "another bridge has a way"


def test_where_no_other_bridge_has_a_way_the_answer_of_one_stands() -> None:
    alone = Desk(None)
    alone.tell(THERE, bridge="one")
    for desk, expected in ((alone, True), (two(THERE, CUT_OFF), True), (two(THERE, FAILS), False)):
        desk.ask(1)
        desk.hear(1, bridge="one", untried=True, **NO_WAY)
        assert len(desk.session.sent) == 1
        ((*_, unreached),) = desk.answers
        assert unreached is expected


def test_bridges_of_the_release_before_have_no_name_and_the_last_word_is_theirs() -> None:
    desk = Desk(THERE)
    desk.tell(CUT_OFF)
    assert not desk.look().reachable
    desk.tell(THERE, bridge="of this release")
    desk.ask(1)
    desk.hear(1, **NO_WAY)
    ((*_, unreached),) = desk.answers
    assert not unreached


def test_so_many_bridges_are_remembered() -> None:
    desk = Desk(None)
    for number in range(BRIDGES_MAX + 1):
        desk.tell(CUT_OFF if number else THERE, bridge=str(number))
    assert not desk.look().reachable
