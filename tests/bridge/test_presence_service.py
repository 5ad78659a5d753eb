"""A bridge at work with Presence behind it: devices at a gate's birth, asks and their answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware import wire
from firmware.bridge.asking import NOT_KNOWN
from firmware.bridge.breaker import FAILURES_IN_A_ROW
from firmware.bridge.presence import PresenceSettings
from firmware.bridge.sandbox.presence import Sandbox
from firmware.bridge.sandbox.presence_rules import GateRules
from firmware.bridge.service import Bridge, now_utc_ms, open_bridge
from firmware.bridge.settings import AccountSettings, BridgeSettings
from firmware.config import BrokerSettings
from firmware.core.ticket import Direction, Perimeter, Verdict
from firmware.mqtt import Line, Publication
from tests.bridge.model_gate import VENUE
from tests.brokers import QUICK, Ear, RunningBroker, mosquitto_broker, until

GATE, KEY = "north", "a-key-that-nobody-may-see"
BIRTH = wire.Presence(
    online=True,
    epoch=1,
    connection=1,
    random="r",
    perimeters=(Perimeter.OUTER, Perimeter.INNER),
    mac="02:00:5e:00:53:01",
    ip="192.0.2.1",
    serial="s1",
    model="m1",
    trusted=True,
)
BOTH = (Perimeter.OUTER, Perimeter.INNER)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


class Venue:
    """One gate's side of the wire, and the sandbox behind the bridge."""

    def __init__(self, folder: Path, broker: RunningBroker, sandbox: Sandbox, line: Line, ear: Ear) -> None:
        self.folder, self.broker, self.sandbox = folder, broker, sandbox
        self._line, self._ear, self._rows = line, ear, count(1)
        self.said: list[str] = []

    @contextmanager
    def bridge(self, **more: Any) -> Iterator[Bridge]:
        """Open a bridge on the same data; `more` is of the account's settings."""
        account = PresenceSettings(
            KEY, self.sandbox.venue, "hall", self.sandbox.base, self.sandbox.base, **more
        )
        settings = BridgeSettings(
            VENUE,
            "",
            (BrokerSettings("127.0.0.1", self.broker.port, tls=False),),
            (AccountSettings("hall", 1, 24, 1000, 1000, account),),
        )
        self._ear.heard.clear()
        with open_bridge(settings, self.folder / "data", self.said.append, QUICK) as bridge:
            until(lambda: bridge.line.session and bridge.ask_line.session)
            yield bridge

    def send(self, topic: wire.Topic, message: wire.Message, retain: bool = False) -> None:
        publication = Publication(wire.address(topic, VENUE, GATE), wire.encode(message), retain=retain)
        until(lambda: self._line.session is not None and self._line.session.publish(publication))

    def heard(self, topic: wire.Topic, shape: Any) -> list[Any]:
        """What the bridge has sent of this, oldest first."""
        address = wire.address(topic, VENUE, GATE)
        return [wire.decode(each.payload, shape) for each in list(self._ear.heard) if each.topic == address]

    def account(self) -> wire.Account | None:
        """How the vendor is, as the gate heard it last."""
        found = self.heard(wire.VENDORS, wire.Vendors)
        return found[-1].accounts[0] if found else None

    def until_configured(self, *perimeters: Perimeter) -> None:
        """Until the bridge has said so, which is more than that it does not know yet."""

        def said() -> bool:
            found = self.account()
            return found is not None and found.text != NOT_KNOWN and set(found.configured) == set(perimeters)

        until(said)

    def ask(self, code: str, way: Direction = Direction.IN, ring: Perimeter = Perimeter.OUTER) -> wire.Answer:
        """Ask, and wait for the answer."""
        scan = next(self._rows)
        self.send(
            wire.ASK,
            wire.Ask(
                scan=scan, digest=b"d" * 16, account="hall", code=code, ticket_id="", event="", session="",
                direction=way, perimeter=ring, at_utc_ms=now_utc_ms(), left_ms=10_000,
            ),
        )  # fmt: skip
        found: list[wire.Answer] = []

        def answered() -> bool:
            found[:] = [each for each in self.heard(wire.ANSWER, wire.Answer) if each.scan == scan]
            return bool(found)

        until(answered)
        return found[0]


@pytest.fixture
def venue(tmp_path: Path, broker: RunningBroker) -> Iterator[Venue]:
    ear = Ear()
    wanted = [wire.address(each, VENUE, "+") for each in (wire.ANSWER, wire.VENDORS)]
    with (
        Sandbox(tickets=80, key=KEY) as sandbox,
        Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line,
    ):
        until(lambda: line.session)
        yield Venue(tmp_path, broker, sandbox, line, ear)


def codes(venue: Venue, count: int) -> list[str]:
    sandbox = venue.sandbox
    return sandbox.codes(count, event=sandbox.events[0].id, sold=True, refunded=False, marked=False)


def test_a_gate_is_configured_at_its_birth_and_each_scan_is_asked(venue: Venue) -> None:
    code, other = codes(venue, 2)
    with venue.bridge() as bridge:
        early = venue.ask(code)
        assert (early.word, early.doubt) == (wire.Word.UNANSWERED, False), "nobody knows this gate yet"
        venue.send(wire.STATUS, BIRTH, retain=True)
        venue.until_configured(*BOTH)
        account = venue.account()
        assert account is not None
        assert (account.asks, account.reachable, account.deadline_ms) == (True, True, 3000)
        assert (account.uploads, account.clock) == (False, True)
        answer = venue.ask(code)
        assert answer.word is wire.Word.ACCEPTED
        assert answer.text.startswith("OKAY: ")
        assert venue.ask(code, ring=Perimeter.INNER).word is wire.Word.ACCEPTED
        assert venue.ask(code, Direction.OUT).word is wire.Word.ACCEPTED
        refused = venue.ask("no such code")
        assert (refused.word, refused.verdict) == (wire.Word.REFUSED, Verdict.REFUSED)
        assert refused.text.startswith("not valid here and now")
        assert venue.ask(other, Direction.OUT).verdict is Verdict.NOT_INSIDE
        assert not bridge.faults()
    assert venue.sandbox.violations == []
    assert [each.named.name for each in venue.sandbox.devices] == ["north", "north inner"]
    assert any("Presence answers" in text for text in venue.said)
    assert not any(KEY in text for text in venue.said)


def test_nobody_is_asked_for_while_the_gates_clock_is_not_trusted(venue: Venue) -> None:
    with venue.bridge():
        venue.send(wire.STATUS, msgspec.structs.replace(BIRTH, trusted=False), retain=True)
        venue.until_configured()
        assert venue.ask(codes(venue, 1)[0]).verdict is Verdict.NOT_CONFIGURED
        venue.send(wire.STATUS, BIRTH, retain=True)
        venue.until_configured(*BOTH)
        assert venue.ask(codes(venue, 1)[0]).word is wire.Word.ACCEPTED


def test_only_where_presence_cannot_be_reached_gates_hear_that_they_may_pass_it_over(venue: Venue) -> None:
    venue.send(wire.STATUS, BIRTH, retain=True)
    with venue.bridge(offline="upload", init_retry_max_s=7) as bridge:
        venue.until_configured(*BOTH)
        assert bridge.asks._devices["hall"]._retry_s_max == 7
        account = venue.account()
        assert account is not None
        assert (account.uploads, account.unreached_only, account.unreached) == (True, True, False)
        code, other = codes(venue, 2)
        for trouble in ("error", "limit", "lost"):
            venue.sandbox.misbehave(trouble, "enter", chance=1.0)
            answer = venue.ask(code)
            assert (answer.word, answer.unreached) == (wire.Word.UNANSWERED, False), trouble
            venue.sandbox.behave()
        with venue.sandbox.refused():
            answers = [venue.ask(other) for _ in range(FAILURES_IN_A_ROW + 1)]
            assert {(each.word, each.doubt, each.unreached) for each in answers} == {
                (wire.Word.UNANSWERED, False, True)
            }
            until(lambda: (found := venue.account()) is not None and not found.reachable)
            account = venue.account()
            assert account is not None
            assert account.unreached
        until(lambda: (found := venue.account()) is not None and found.reachable and not found.unreached)


def test_a_device_that_presence_has_forgotten_is_configured_anew(venue: Venue) -> None:
    code, other = codes(venue, 2)
    venue.send(wire.STATUS, BIRTH, retain=True)
    with venue.bridge() as bridge:
        venue.until_configured(*BOTH)
        venue.sandbox.forget()
        assert venue.ask(code).word is wire.Word.REFUSED
        until(lambda: venue.sandbox.devices)
        assert venue.ask(other).word is wire.Word.ACCEPTED
        assert not bridge.faults()
    assert [each.named.name for each in venue.sandbox.devices] == ["north"]


def test_a_gate_that_is_called_otherwise_is_configured_anew_at_the_next_start(venue: Venue) -> None:
    code, other = codes(venue, 2)
    venue.send(wire.STATUS, BIRTH, retain=True)
    with venue.bridge():
        venue.until_configured(*BOTH)
        assert venue.ask(code).word is wire.Word.ACCEPTED
    requests = len(venue.sandbox.requests)

    def inits() -> int:
        return len([seen for seen in list(venue.sandbox.requests)[requests:] if seen.endpoint == "init"])

    with venue.bridge():
        venue.until_configured(*BOTH)
        assert venue.ask(other).word is wire.Word.ACCEPTED
        until(lambda: inits() == len(BOTH))  # each once more, beside the asks
        told = len(venue.heard(wire.VENDORS, wire.Vendors))
        venue.send(wire.STATUS, msgspec.structs.replace(BIRTH, connection=2), retain=True)
        assert venue.ask("no such code").word is wire.Word.REFUSED
        # The last word of this bridge, which must not come when the next one is waited for.
        until(lambda: len(venue.heard(wire.VENDORS, wire.Vendors)) > told)
    assert inits() == len(BOTH)
    venue.sandbox.gate("Gate 1", GateRules(sections=("none",)))
    with venue.bridge(gates={("north", Perimeter.OUTER): "Gate 1"}):
        venue.until_configured(*BOTH)
        assert venue.ask(codes(venue, 3)[2]).verdict is Verdict.WRONG_SECTOR
    assert venue.sandbox.violations == []


def test_a_request_that_presence_does_not_understand_is_refused_and_a_fault_until_it_does(
    venue: Venue,
) -> None:
    (code,) = codes(venue, 1)
    venue.send(wire.STATUS, BIRTH, retain=True)
    with venue.bridge() as bridge:
        venue.until_configured(*BOTH)
        venue.sandbox.misbehave("status", word="BAD_REQUEST")
        answer = venue.ask(code)
        assert (answer.word, answer.verdict) == (wire.Word.REFUSED, Verdict.REFUSED)
        (fault,) = bridge.faults()
        assert "BAD_REQUEST" in fault.text
        assert venue.ask(code).word is wire.Word.ACCEPTED
        assert not bridge.faults()


def test_a_withdrawn_key_refuses_everybody_and_is_named_without_being_shown(venue: Venue) -> None:
    (code,) = codes(venue, 1)
    venue.send(wire.STATUS, BIRTH, retain=True)
    with venue.bridge() as bridge:
        venue.until_configured(*BOTH)
        venue.sandbox.misbehave("expired", chance=1.0)
        answer = venue.ask(code)
        assert (answer.word, answer.verdict) == (wire.Word.REFUSED, Verdict.NOT_CONFIGURED)
        texts = [fault.text for fault in bridge.faults()]
        assert any("the API key is wrong" in text for text in texts)
        assert not any(KEY in text for text in texts)
        account = venue.account()
        assert account is not None
        assert account.reachable, "a 4xx is no outage"
