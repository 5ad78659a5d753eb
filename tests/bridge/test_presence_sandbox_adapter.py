"""Sandbox and adapter of Presence, each written from the documents alone, understand each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.presence import Presence, PresenceSettings
from firmware.bridge.presence_replies import STATUSES
from firmware.bridge.presence_requests import ASK_DEADLINE_MS_MAX
from firmware.bridge.sandbox.presence import KINDS, Sandbox
from firmware.bridge.sandbox.presence_api import SHAPES
from firmware.bridge.sandbox.presence_rules import GateRules, Rules
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Device,
    Lost,
    Misconfigured,
    Outage,
    Outcome,
    Question,
    Refused,
    Told,
    Unsure,
)
from firmware.core.ticket import Direction, Perimeter, Verdict

MINUTE_MS = 60_000
IN, OUT, OUTER, INNER = Direction.IN, Direction.OUT, Perimeter.OUTER, Perimeter.INNER
SHORT_S = 0.1  # of troubles that take time: long enough to be met, short enough for a test
TRIES_MAX = 50  # of what is tried until it works
TROUBLES = [(kind, "") for kind in KINDS if kind not in ("drift", "status")] + [
    ("drift", shape) for shape in SHAPES
]
V1_INNER: dict[str, Any] = {
    "accept_internal": ("OKAY", "INTERNAL_SCAN"),
    "accept_exit": ("EXIT", "INTERNAL_SCAN"),
}


class Door:
    """A gate with both rings at a sandbox. The clock goes on by a minute with each scan, and not else."""

    def __init__(
        self, sandbox: Sandbox, settings: PresenceSettings, driver: Driver, clock: list[int]
    ) -> None:
        self.sandbox, self.settings, self.driver, self._clock = sandbox, settings, driver, clock
        self.vendor = Presence(settings)
        self.kept: dict[Perimeter, Mapping[str, str]] = {}

    @property
    def now_ms(self) -> int:
        return self._clock[0]

    def pass_time(self, ms: int = MINUTE_MS) -> None:
        self._clock[0] += ms

    def open(self) -> None:
        """Configure both rings, tried until it is done."""
        for ring in (OUTER, INNER):
            device = Device("north", ring, "02:00:5e:00:53:01", "192.0.2.1", "s-1", "")
            self.kept[ring] = self.tried(lambda device=device: self.vendor.configure(device))

    def tried(self, flow: Any) -> Any:
        for _ in range(TRIES_MAX):
            try:
                return self.driver.run(flow())
            except (Outage, Misconfigured):
                self.sandbox.server.accept()  # instead of waiting until it does so by itself
        raise AssertionError("it never worked")

    def ask(self, code: str, way: Direction = IN, ring: Perimeter = OUTER, *, again: bool = False) -> Any:
        question = Question(code, "", "", "", way, ring, self.now_ms, "north", again)
        return self.driver.run(self.vendor.ask(question, self.kept[ring]))

    def scan(self, code: str, way: Direction = IN, ring: Perimeter = OUTER) -> str:
        """What a person gets, a minute later."""
        self.pass_time()
        found = self.ask(code, way, ring)
        return "admitted" if isinstance(found, Accepted) else found.verdict.value


@contextmanager
def door(rules: Rules | None = None, *, open_it: bool = True, **more: Any) -> Iterator[Door]:
    """A gate at a sandbox of its own."""
    clock = [1_900_000_000_000]
    with Sandbox(tickets=80, rules=rules, clock=lambda: clock[0]) as sandbox:
        settings = PresenceSettings(
            key=sandbox.key, venue=sandbox.venue, device_url=sandbox.base, ticket_url=sandbox.base,
            ask_deadline_ms=ASK_DEADLINE_MS_MAX,  # a busy machine may take longer than a person waits
        )  # fmt: skip
        settings = settings._replace(**more)
        with Driver("hall", Presence(settings), 10_000) as driver:
            found = Door(sandbox, settings, driver, clock)
            if open_it:
                found.open()
            yield found
        assert sandbox.violations == []


def tonight(found: Door, count: int = 1) -> list[str]:
    """Tokens that are good tonight."""
    sandbox = found.sandbox
    return sandbox.codes(
        count, event=sandbox.events[0].id, sold=True, refunded=False, marked=False, inside=False
    )


# --- devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("look", ["mac", "device"])
def test_both_rings_of_a_gate_are_devices_of_their_own(numbers: bool, look: str) -> None:
    with door(Rules(numbers=numbers, look_parameters=(look,)), look_parameter=look) as found:
        assert [(each.named.name, each.gate.name) for each in found.sandbox.devices] == [
            ("north", "north"),
            ("north inner", "north inner"),
        ]
        assert [each["gateName"] for each in found.kept.values()] == ["north", "north inner"]
        found.open()
        assert len(found.sandbox.devices) == 2, "a second birth makes no second device"


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
def test_devices_are_configured_through_each_trouble(kind: str, shape: str) -> None:
    with door(open_it=False) as found:
        found.sandbox.misbehave(kind, requests=3, seconds=SHORT_S, shape=shape)
        found.open()
        assert len(found.sandbox.devices) == 2
        found.sandbox.behave()
        assert found.scan(tonight(found)[0]) == "admitted"


def test_what_only_a_person_can_mend_is_said() -> None:
    device = Device("north", OUTER, "02:00:5e:00:53:01", "192.0.2.1", "s-1", "m")
    with door(open_it=False, venue="elsewhere") as found, pytest.raises(Misconfigured, match="`venue`"):
        found.driver.run(found.vendor.configure(device))
    with door(open_it=False, key="wrong-key") as found:
        with pytest.raises(Misconfigured, match="Invalid ApiKey") as wrong:
            found.driver.run(found.vendor.configure(device))
        assert "wrong-key" not in str(wrong.value)
        with pytest.raises(Misconfigured, match="the API key is wrong"):
            found.driver.run(found.vendor.probe())
    with door() as found:
        assert "Presence answers" in found.driver.run(found.vendor.probe())
        found.driver.run(found.vendor.trial())


def test_both_spellings_of_what_contradicts_itself_work_by_setting() -> None:
    rules = Rules(
        suffixes=(".json",),
        gate_parameters=("gateId",),
        venue_parameters=("venue",),
        internal_entries=("validate",),
    )
    more = {
        "path_suffix": ".json",
        "gate_parameter": "gateId",
        "venue_parameter": "venue",
        "internal_entry": "validate",
        "device_os": "printed",
        "channel": "A",
    }
    with door(rules, open_it=False, **more) as found:
        ids = [found.sandbox.gate(name, GateRules(internal="S" in name)).id for name in ("Gate 1", "Suites")]
        named = {("north", OUTER): str(ids[0]), ("north", INNER): str(ids[1])}
        found.vendor = Presence(found.settings._replace(gates=named))
        found.open()
        assert [each["gateName"] for each in found.kept.values()] == ["Gate 1", "Suites"]
        (code,) = tonight(found)
        assert [found.scan(code), found.scan(code, IN, INNER), found.scan(code, OUT, INNER)] == [
            "admitted"
        ] * 3


# --- scans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["V1", "V2", "V3"])
@pytest.mark.parametrize("http", [200, 409])
def test_a_person_goes_in_and_out_of_both_rings_by_each_revision(revision: str, http: int) -> None:
    rules = Rules(revision=revision, refusal_status=http)
    with door(rules, **(V1_INNER if revision == "V1" else {})) as found:
        (code,) = tonight(found)
        walked = [
            found.scan(code, way, ring)
            for ring, way in (
                *((OUTER, IN), (OUTER, IN), (INNER, IN), (INNER, OUT), (INNER, OUT)),
                *((OUTER, OUT), (OUTER, OUT), (OUTER, IN)),
            )
        ]
        not_inside = "refused" if revision == "V1" else "not_inside"
        assert walked == [
            *("admitted", "used", "admitted", "admitted", not_inside),
            *("admitted", not_inside, "admitted"),
        ]
        whats = [change.what for change in found.sandbox.history(code)]
        assert whats == [
            *("checkin", "denied", "inner-in", "inner-out", "denied", "checkout", "denied", "checkin")
        ]


def test_an_inner_ring_that_wants_exits_refuses_a_second_entry() -> None:
    with door() as found:
        found.sandbox.gate("north inner", GateRules(internal=True, exit_required=True))
        (code,) = tonight(found)
        assert [found.scan(code, IN, INNER), found.scan(code, IN, INNER)] == ["admitted", "used"]
        assert found.scan(code) == "used", "the first inner entry is an outer one too"


def test_what_is_not_good_here_and_now_is_refused_and_may_come_again() -> None:
    with door() as found:
        sandbox = found.sandbox
        (tomorrow,) = sandbox.codes(1, event=sandbox.events[1].id, sold=True, refunded=False, marked=False)
        (refunded,) = sandbox.codes(1, event=sandbox.events[0].id, refunded=True)
        (unsold,) = sandbox.codes(1, event=sandbox.events[0].id, sold=False)
        for code in (tomorrow, unsold, "no such code"):
            refused = found.ask(code)
            assert refused.verdict is Verdict.REFUSED
            assert refused.text.startswith("not valid here and now")
        assert found.scan(refunded) == "refused"
        sandbox.play(sandbox.events[1].id, found.now_ms + MINUTE_MS)
        assert found.scan(tomorrow) == "admitted"


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        (GateRules(sections=("none",)), "wrong_sector"),
        (GateRules(events=("none",)), "wrong_event"),
        (GateRules(access_groups=("none",)), "wrong_gate"),
        (GateRules(xnums=("none",)), "wrong_gate"),
        (GateRules(starts_ms=1 << 50), "too_early"),
        (GateRules(ends_ms=1), "too_late"),
    ],
)
def test_a_gates_rules_come_as_verdicts(rules: GateRules, verdict: str) -> None:
    with door() as found:
        found.sandbox.gate("north", rules)
        assert found.scan(tonight(found)[0]) == verdict


def test_an_events_times_and_a_mark_come_as_verdicts() -> None:
    with door() as found:
        sandbox, code = found.sandbox, tonight(found)[0]
        event, hour_ms = sandbox.events[0].id, 60 * MINUTE_MS
        sandbox.play(event, found.now_ms, found.now_ms + hour_ms)
        assert found.scan(code) == "too_early"
        sandbox.play(event, found.now_ms, 0, found.now_ms)
        assert found.scan(code) == "too_late"
        sandbox.play(event, found.now_ms)
        sandbox.gate("north", GateRules(marks=True))
        sandbox.mark(code)
        assert found.scan(code) == "call_staff"


def test_two_people_on_one_code_are_one_opening() -> None:
    with door() as found:
        sandbox = found.sandbox
        pair = next(
            ticket.code
            for ticket in sandbox.tickets.walk()
            if len(ticket.places) == 2 and ticket.event.id == sandbox.events[0].id
        )
        accepted = found.ask(pair)
        assert isinstance(accepted, Accepted)
        assert accepted.text.startswith("OKAY: 2 tickets: ")


@pytest.mark.parametrize("word", [*STATUSES, "NEW_WORD"])
@pytest.mark.parametrize("way", list(Direction))
@pytest.mark.parametrize("ring", list(Perimeter))
def test_each_status_opens_what_it_is_set_to_open_and_nothing_else(
    word: str, way: Direction, ring: Perimeter
) -> None:
    with door(accept_internal=("OKAY", "INTERNAL_SCAN")) as found:
        found.sandbox.misbehave("status", word=word)
        answer = found.ask(tonight(found)[0], way, ring)
        entry = found.settings.accept_entry if ring is OUTER else found.settings.accept_internal
        opens = word in (entry if way is IN else found.settings.accept_exit)
        assert isinstance(answer, Accepted) is opens
        assert word in answer.text


# --- troubles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
@pytest.mark.parametrize("ring", list(Perimeter))
def test_nobody_is_let_in_whom_presence_did_not_and_nobody_is_sent_away_as_used(
    kind: str, shape: str, ring: Perimeter
) -> None:
    with door() as found:
        sandbox = found.sandbox
        sandbox.misbehave(kind, requests=1, seconds=SHORT_S, shape=shape)
        for code in tonight(found, 3):
            unsure, answer = False, None
            for _ in range(TRIES_MAX):  # a person tries again and again, as the gate's own ask each time
                found.pass_time()
                try:
                    answer = found.ask(code, IN, ring, again=unsure)
                except Outage as error:
                    unsure = unsure or isinstance(error, Lost)
                    sandbox.server.accept()
                    continue
                if not (isinstance(answer, Refused) and answer.verdict is Verdict.NOT_CONFIGURED):
                    break
            entered = [change for change in sandbox.history(code) if change.what != "denied"]
            assert answer is not None
            if isinstance(answer, Accepted):
                assert len(entered) == 1 or ring is INNER
            else:
                assert answer.verdict is Verdict.CALL_STAFF
                assert len(entered) == 1
        assert sandbox.books().twice == 0


@pytest.mark.parametrize("kind", ["lost", "cut", "short", "page"])
def test_a_reply_that_was_lost_is_asked_for_again_with_the_same_time(kind: str) -> None:
    with door() as found:
        (code,) = tonight(found)
        found.sandbox.misbehave(kind, "enter")
        answer = found.ask(code)
        assert answer.verdict is Verdict.CALL_STAFF
        assert "DUPLICATE" in answer.text
        assert {change.said_ms for change in found.sandbox.history(code)} == {found.now_ms}
        assert [change.what for change in found.sandbox.history(code)] == ["checkin", "denied"]


def test_an_answer_that_comes_after_the_deadline_is_still_heard() -> None:
    with door(ask_deadline_ms=500) as found:
        found.sandbox.misbehave("slow", "enter", seconds=0.7)
        assert isinstance(found.ask(tonight(found)[0]), Accepted)


# --- uploads -----------------------------------------------------------------------------------------------


def upload(found: Door, scan: Told) -> Outcome:
    """Tell of one admission as a bridge does: again where it may be, with doubt where there is some."""
    for _ in range(TRIES_MAX):
        try:
            (outcome,) = found.driver.run(found.vendor.tell([scan]))
        except Misconfigured:
            continue
        except Outage as error:
            outcome = Again("an outage", isinstance(error, Lost))
        if not isinstance(outcome, Again):
            return outcome
        scan = scan._replace(doubt=scan.doubt or outcome.doubt)
        found.sandbox.server.accept()
    raise AssertionError(f"no outcome of {scan}")


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
@pytest.mark.parametrize("send_again", [False, True])
def test_each_offline_admission_is_uploaded_once_or_a_person_looks(
    kind: str, shape: str, send_again: bool
) -> None:
    with door(offline="upload", send_again=send_again) as found:
        sandbox = found.sandbox
        codes = [*tonight(found, 3), "a code that nobody knows"]
        sandbox.misbehave(kind, "upload", requests=2, seconds=SHORT_S, shape=shape)
        outcomes = {}
        for number, code in enumerate(codes):
            for way in (IN, OUT):
                ring = INNER if number == 1 else OUTER
                found.pass_time()
                scan = Told("", code, "", "", way, found.now_ms, "north", perimeter=ring)
                outcomes[scan.at_utc_ms] = upload(found, scan._replace(kept=found.kept[ring]))
        there = {change.said_ms: change for change in sandbox.history()}
        accepted = {at_ms for at_ms, outcome in outcomes.items() if isinstance(outcome, Accepted)}
        unsure = {at_ms for at_ms, outcome in outcomes.items() if isinstance(outcome, Unsure)}
        assert accepted | unsure == set(outcomes)
        assert accepted <= there.keys() <= accepted | unsure
        assert not (send_again and unsure)
        if not send_again:
            assert sandbox.books().twice == 0
        assert {change.how for change in there.values()} == {"uploaded"}
