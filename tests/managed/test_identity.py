"""A gate gets its certificate, keeps it, and renews it: real brokers from the deploy files, real TLS."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import structs

from firmware import wire
from firmware.config import parse
from firmware.files import write_whole
from firmware.fleet import folder as stored
from firmware.fleet import init
from firmware.fleet.certificates import Use, authority, issued, key_pem, new_key, pem
from firmware.fleet.enrol import GATE_LIFE, bundle_for, decide, revoke_gate
from firmware.fleet.serve import Serving
from firmware.managed.identity import Folder, Identity
from firmware.mqtt import Broker, Line, Publication, opened, with_identity
from firmware.ration import LINES_MAX
from firmware.sealing import seal, signed_by
from firmware.signing import Role
from firmware.take_up import take_up
from firmware.venue_key import NEXT, read_key, venue_key
from tests.brokers import QUICK, Ear, until
from tests.fleet.fleets import DAY, request, settings
from tests.test_deploy_brokers import Place, make_fleet, set_up

NOW = datetime.now(UTC)
ASK_S = 0.3
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Venue(NamedTuple):
    """A broker at work from the deploy files, and the fleet that it belongs to."""

    fleet: Path
    place: Place
    said: list[str]
    complained: list[str]

    def serving(self, now: Callable[[], datetime] = lambda: NOW, life: timedelta = GATE_LIFE) -> Serving:
        return Serving(self.fleet, self.said.append, self.complained.append, QUICK, now, life)


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    fleet = make_fleet(tmp_path / "fleet", cloud="", now=NOW - 100 * DAY)
    init.add_operator(fleet, "ann", Role.SUPERVISOR, NOW)
    place = set_up(fleet, "venue", tmp_path / "venue")
    with place.broker:
        yield Venue(fleet, place, [], [])


def new_gate(venue: Venue, data: Path, gate: str = "north") -> Path:
    """The data folder of a gate that has taken its bundle up."""
    text = settings(gate, broker=f'[[broker]]\nhost = "127.0.0.1"\nport = {venue.place.broker.port}\n')
    made = bundle_for(venue.fleet, gate, text, "", data / "etc", NOW)
    (data / "boot").mkdir(parents=True)
    (data / "boot" / "gatepost.tar").write_bytes(made)
    take_up(data / "boot" / "gatepost.tar", data / "etc", data / "data")
    return data / "data"


def identity(
    data: Path, notes: list[str], now: Callable[[], datetime] = lambda: NOW, gate: str = "north"
) -> Identity:
    return Identity(
        data,
        gate,
        lambda: int(now().timestamp() * 1000),
        notes.append,
        trusted=lambda: True,
        pace=QUICK,
        ask_s=ASK_S,
    )


@contextmanager
def at_work(serving: Serving) -> Iterator[None]:
    """`gatepost fleet serve`, on a thread."""
    over = threading.Event()
    thread = threading.Thread(target=serving.run, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def normal_connection(data: Path) -> Broker:
    """With which the gate's rows go up."""
    (found,) = parse((data.parent / "etc" / "gate.toml").read_text("utf-8"), "gate.toml").brokers
    return opened(with_identity(found, data))


def test_a_new_gate_gets_its_certificate_and_the_venues_key_and_is_let_in(
    venue: Venue, tmp_path: Path
) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    ear = Ear()
    with Line([normal_connection(data)], "gate-arena-north", (), ear, pace=QUICK) as line:
        until(line.faults)
        (fault,) = line.faults().values()
        assert "there is no certificate" in fault
        with at_work(venue.serving()), identity(data, notes):
            ear.session()  # by itself, as soon as the certificate is there
            until(lambda: len(notes) == 2)
    assert "venue key" in notes[0]
    assert "certificate is here" in notes[1]
    assert read_key(data / "catalogue" / "key") == venue_key(venue.fleet / "bridge")
    own = data / "identity"
    assert {path.name for path in own.iterdir()} == {
        "ca.pem",
        "enrol.toml",
        "gate.key",
        "gate.pem",
        "operators.toml",
    }
    assert (own / "gate.key").stat().st_mode & 0o077 == 0
    assert any('gate "north" has its certificate' in line for line in venue.said)


def test_the_key_of_a_gate_that_has_one_waits_for_its_list(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    (data / "catalogue").mkdir()
    old = venue_key(data / "catalogue")
    with at_work(venue.serving()), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    assert read_key(data / "catalogue" / "key") == old
    assert read_key(data / "catalogue" / NEXT) == venue_key(venue.fleet / "bridge")


def test_a_gate_waits_for_the_fleet_and_says_so(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with identity(data, notes) as part:
        until(lambda: "no certificate yet" in part.faults().get("certificate", ""))
        with at_work(venue.serving()):
            until(lambda: part.faults() == {})
    assert Folder(data / "identity").certificate("north")


def test_a_copied_bundle_gets_nothing_and_the_engineer_hears_of_it(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    copy = tmp_path / "thief"
    shutil_copy(data, copy)
    with at_work(venue.serving()):
        with identity(data, notes):
            until((data / "identity" / "gate.pem").exists)
        with identity(copy, notes) as thief:
            until(lambda: "the token was used already" in thief.faults().get("certificate", ""))
    assert not (copy / "identity" / "gate.pem").exists()
    assert any('gate "north" was refused: its token is used already' in line for line in venue.complained)


def shutil_copy(data: Path, to: Path) -> None:
    to.mkdir()
    (to / "identity").mkdir()
    for path in (data / "identity").iterdir():
        (to / "identity" / path.name).write_bytes(path.read_bytes())


def test_an_answer_that_was_lost_is_had_by_asking_again(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    folder = Folder(data / "identity")
    asked = folder.request("north")  # the gate asked, the fleet answered, and the gate lost its power
    topic, serving = wire.address(wire.IDENTITY_REQUEST, "arena", "north"), venue.serving()
    with at_work(serving):
        until(lambda: serving.line.session)  # what is sent before, nobody gets
        ear = Ear()
        with venue.place.new_gate("north", ear):
            ear.session().publish(Publication(topic, wire.encode(asked)))
            until(lambda: stored.gate(venue.fleet, "north").serials)  # type: ignore[union-attr]  # it is known
        with identity(data, notes):
            until((data / "identity" / "gate.pem").exists)
    assert any("sent the same certificate" in line for line in venue.said)


def test_a_gate_renews_when_a_third_of_the_life_is_left_and_not_before(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    life, then = 30 * DAY, NOW - 20 * DAY
    with at_work(venue.serving(lambda: then, life)), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    first = Folder(data / "identity").certificate("north")
    assert first
    whole = first.until - first.since
    early, late = first.since + whole * 0.66, first.since + whole * 0.67
    clock = [early]
    with identity(data, notes, lambda: clock[0]) as part:
        part.connected(1, lambda: None)
        woken = threading.Event()
        part.connected(2, woken.set)
        assert not woken.wait(3 * ASK_S)
        assert [*part.outgoing(0.0)] == []
        clock[0] = late
        assert woken.wait(30)
        (due,) = part.outgoing(0.0)
        assert due.topic is wire.IDENTITY_REQUEST
        assert [*part.outgoing(1.0)] == [], "asked once, and again only after a while"
        with at_work(venue.serving(lambda: late, life)):
            answer = asked_normally(data, due.message)
        part.take(wire.IDENTITY_ANSWER, answer, False)
        until(lambda: Folder(data / "identity").certificate("north") != first)
        until(lambda: [*part.outgoing(1e9)] == [])
    second = Folder(data / "identity").certificate("north")
    assert second
    assert second.until > first.until
    ear = Ear()
    with Line([normal_connection(data)], "gate-arena-north", (), ear, pace=QUICK):
        ear.session()


def asked_normally(data: Path, message: wire.Message) -> bytes:
    """Ask over the gate's own connection."""
    ear = Ear()

    def answered() -> list[bytes]:
        """Without a venue key: that is for a question with the bundle, put twice where the fleet was slow."""
        return [each for each in ear.payloads if not wire.decode(each, wire.IdentityAnswer).sealed]

    topic, answers = (
        wire.address(t, "arena", "north") for t in (wire.IDENTITY_REQUEST, wire.IDENTITY_ANSWER)
    )
    with Line([normal_connection(data)], "gate-arena-north", [answers], ear, pace=QUICK):
        session = ear.session()
        while not (found := answered()):  # the fleet may not be connected yet
            session.publish(Publication(topic, wire.encode(message)))
            until(lambda: answered() or session.in_flight == 0)
        return found[0]


def test_a_revoked_gate_gets_no_renewal(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with at_work(venue.serving()):
        with identity(data, notes):
            until((data / "identity" / "gate.pem").exists)
        revoke_gate(venue.fleet, "north", NOW)
        late = NOW + GATE_LIFE * 0.9
        with identity(data, notes, lambda: late) as part:
            until(lambda: [*part.outgoing(0.0)])
            part.connected(1, lambda: None)
            (due,) = part.outgoing(0.0)
            answer = asked_normally(data, due.message)
            assert "revoked" in wire.decode(answer, wire.IdentityAnswer).refused
            part.take(wire.IDENTITY_ANSWER, answer, False)
            until(
                lambda: (
                    "revoked" in part.faults().get("certificate", "")
                    or "ends soon" in part.faults()["certificate"]
                )
            )


def test_a_certificate_that_ends_is_a_fault_with_its_mend(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with at_work(venue.serving()), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    for left, told in ((0.15, "ends soon"), (-0.01, "has ended")):
        at = NOW + GATE_LIFE * (1 - left)
        with identity(data, notes, lambda at=at: at) as part:  # type: ignore[misc]  # bound now
            until(lambda told=told: told in part.faults().get("certificate", ""))  # type: ignore[misc]  # bound now


def test_a_certificate_that_has_ended_by_a_clock_that_ran_ahead_has_not_once_it_is_right(
    venue: Venue, tmp_path: Path
) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with at_work(venue.serving()), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    clock = [NOW + GATE_LIFE * 2]
    with identity(data, notes, lambda: clock[0]) as part:
        until(lambda: "has ended" in part.faults().get("certificate", ""))
        clock[0] = NOW + GATE_LIFE * 0.75  # when it is asked anew already
        until(lambda: not part.faults())


def answers_that_are_not_ours(venue: Venue, data: Path) -> Iterator[wire.IdentityAnswer]:
    """What somebody who may write the topic might send."""
    ours = stored.issuer(venue.fleet)
    key = Folder(data / "identity").key()
    stranger = authority("arena gates", NOW)
    for issuer, public, name in (
        (stranger, key.public_key(), "north"),
        (ours, new_key().public_key(), "north"),
        (ours, key.public_key(), "south"),
    ):
        made = issued(issuer, public, name, Use.CLIENT, NOW, GATE_LIFE * 2)
        yield wire.IdentityAnswer(pem(made).decode())
    good = issued(ours, key.public_key(), "north", Use.CLIENT, NOW, GATE_LIFE * 2).public_bytes(Encoding.DER)
    for there, instead in (
        ("a003020102", "a003020107"),  # a version that does not exist
        ("06082a8648ce3d040302", "06082a8648ce3d04037f"),  # signed in a way that nobody knows
        ("06072a8648ce3d0201", "06072a8648ce3d027f"),  # a key of an unknown kind
        ("06082a8648ce3d030107", "06082a8648ce3d03017f"),  # on an unknown curve
    ):
        odd = good.replace(bytes.fromhex(there), bytes.fromhex(instead))
        assert odd != good
        yield wire.IdentityAnswer(f"{BEGIN}\n{b64encode(odd).decode()}\n{END}\n")
    yield wire.IdentityAnswer("x")
    yield wire.IdentityAnswer()


def test_a_forged_certificate_is_not_taken(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with at_work(venue.serving()), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    before = (data / "identity" / "gate.pem").read_bytes()
    for forged in answers_that_are_not_ours(venue, data):
        with identity(data, notes) as part:
            part.take(wire.IDENTITY_ANSWER, wire.encode(forged), False)
            until(part._answers.empty)
            part.take(wire.IDENTITY_ANSWER, wire.encode(wire.IdentityAnswer()), False)
            until(part._answers.empty)  # it goes on, and takes the next
        assert (data / "identity" / "gate.pem").read_bytes() == before


EVIL = b"EVIL" * 8


def test_a_venue_key_that_the_fleet_has_not_signed_comes_with_no_first_certificate(
    venue: Venue, tmp_path: Path
) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    folder = Folder(data / "identity")
    public = folder.key().public_key()
    good = decide(venue.fleet, "north", folder.request("north"), NOW).answer
    evil, ours, stranger = seal(public, EVIL), stored.issuer(venue.fleet).key, new_key()
    for sealed, signature in (
        (evil, b""),
        (evil, good.signature),
        (evil, signed_by(stranger, "north", public, evil)),
        (evil, signed_by(ours, "south", public, evil)),
        (evil, signed_by(ours, "north", stranger.public_key(), evil)),
        (good.sealed, b""),
        (b"", b""),
        (b"", good.signature),
    ):
        forged = structs.replace(good, sealed=sealed, signature=signature)
        with identity(data, notes) as part:
            part.take(wire.IDENTITY_ANSWER, wire.encode(forged), False)
            until(lambda: "not signed by the fleet's authority" in part.faults().get("certificate", ""))
        assert not (data / "identity" / "gate.pem").exists()
        assert not (data / "catalogue" / "key").exists()
    with identity(data, notes) as part:
        part.take(wire.IDENTITY_ANSWER, wire.encode(good), False)
        until((data / "identity" / "gate.pem").exists)
    assert read_key(data / "catalogue" / "key") == venue_key(venue.fleet / "bridge")


def test_no_venue_key_comes_with_a_renewal(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    with at_work(venue.serving()), identity(data, notes):
        until((data / "identity" / "gate.pem").exists)
    public, issuer = Folder(data / "identity").key().public_key(), stored.issuer(venue.fleet)
    renewed = pem(issued(issuer, public, "north", Use.CLIENT, NOW, GATE_LIFE * 1.5))
    evil = seal(public, EVIL)
    forged = wire.IdentityAnswer(renewed.decode(), evil, signed_by(issuer.key, "north", public, evil))
    with identity(data, notes) as part:
        part.take(wire.IDENTITY_ANSWER, wire.encode(forged), False)
        until(lambda: (data / "identity" / "gate.pem").read_bytes() == renewed)
        until(lambda: len(notes) == 3)
    assert read_key(data / "catalogue" / "key") == venue_key(venue.fleet / "bridge")
    assert not (data / "catalogue" / NEXT).exists()


def test_a_fault_of_ours_is_told_and_the_gate_asks_again(venue: Venue, tmp_path: Path) -> None:
    data, told, go_on = new_gate(venue, tmp_path / "north"), list[str](), threading.Event()

    def note(text: str) -> None:
        if not go_on.is_set():
            raise RuntimeError("a fault of ours")
        told.append(text)

    part = Identity(data, "north", lambda: int(NOW.timestamp() * 1000), note, lambda: True, QUICK, ASK_S)
    with at_work(venue.serving()), part:
        until(lambda: "RuntimeError: a fault of ours" in part.faults().get("certificate", ""))
        go_on.set()
        until(lambda: part.faults() == {})
        until(lambda: told and "certificate is here" in told[-1])  # the fault ends a moment before


def test_a_damaged_file_of_one_gate_keeps_no_other_from_its_certificate(venue: Venue, tmp_path: Path) -> None:
    north, south = (new_gate(venue, tmp_path / gate, gate) for gate in ("north", "south"))
    folder = Folder(north / "identity")
    asked = wire.encode(folder.request("north"))
    ear, topic = Ear(), wire.address(wire.IDENTITY_REQUEST, "arena", "north")
    with at_work(venue.serving()):
        with identity(north, []):
            until((north / "identity" / "gate.pem").exists)
        (venue.fleet / "gates" / "north.pem").write_text("x")
        with venue.place.new_gate("north", ear):
            ear.session().publish(Publication(topic, asked))
            ear.wait(lambda: ear.taken)
        until(lambda: any("arena/gate/north" in line and "ValueError" in line for line in venue.complained))
        with identity(south, [], gate="south"):
            until((south / "identity" / "gate.pem").exists)


def test_what_is_no_request_is_told_and_keeps_nobody_from_a_certificate(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    topic = wire.address(wire.IDENTITY_REQUEST, "arena", "west")
    ear = Ear()
    serving = venue.serving()
    with at_work(serving), venue.place.new_gate("west", ear):
        until(lambda: serving.line.session)
        good = wire.encode(request(new_key(), "x" * 43, "west"))
        for payload in (b"", b"noise", good[:-1], bytes(wire.PAYLOAD_BYTES_MAX), good):
            ear.session().publish(Publication(topic, payload))
        ear.session().publish(Publication(topic, good, retain=True))
        with identity(data, notes):
            until((data / "identity" / "gate.pem").exists)
        until(lambda: sum('"west"' in line for line in venue.complained) == 5)
    assert not any("x" * 43 in line for line in venue.complained), "no token stands in a log"
    known = [wire.decode(arrived.payload, wire.IdentityAnswer) for arrived in ear.heard]
    assert all(answer.refused and not answer.certificate for answer in known)


def test_a_flood_of_requests_is_told_within_reason(venue: Venue) -> None:
    topic = wire.address(wire.IDENTITY_REQUEST, "arena", "west")
    payload = wire.encode(request(new_key(), "x" * 43, "west"))
    ear, answers = Ear(), wire.address(wire.IDENTITY_ANSWER, "arena", "west")
    serving = venue.serving()
    with at_work(serving), venue.place.new_gate("west", ear, answers):
        until(lambda: serving.line.session)
        for _ in range(100):
            ear.wait(lambda: ear.session().in_flight < ear.session().window)
            ear.session().publish(Publication(topic, payload))
        ear.wait(lambda: ear.taken == 100)
        until(lambda: any("somebody keeps asking" in line for line in venue.complained))
        until(serving._queue.empty)
    assert len(venue.complained) <= LINES_MAX


def test_a_gate_with_a_damaged_key_says_what_to_do(venue: Venue, tmp_path: Path) -> None:
    data, notes = new_gate(venue, tmp_path / "north"), list[str]()
    (data / "identity" / "gate.key").write_text("x")
    with identity(data, notes) as part:
        until(lambda: "cannot be had" in part.faults().get("certificate", ""))


# --- the clock ---------------------------------------------------------------------------------------------


@contextmanager
def broker_of_tomorrow(folder: Path) -> Iterator[tuple[Place, Path]]:
    """A broker whose certificate is not valid yet: to a clock that stands in the past, all are like that."""
    fleet = make_fleet(folder / "fleet", cloud="")
    key = new_key()
    made = issued(
        stored.issuer(fleet), key.public_key(), "Broker", Use.SERVER, NOW + 30 * DAY, DAY, ["127.0.0.1"]
    )
    write_whole(fleet / "broker" / "broker.key", key_pem(key))
    write_whole(fleet / "broker" / "broker.pem", pem(made))
    place = set_up(fleet, "venue", folder / "venue")
    with place.broker:
        yield place, fleet


def fault_that_says(line: Line, what: str) -> tuple[str, str]:
    """Thing and text. A broker that was slow to answer is another fault, until the next try."""
    found = list[tuple[str, str]]()

    def said() -> bool:
        found.extend(each for each in line.faults().items() if what in each[1])
        return bool(found)

    until(said)
    return found[0]


def test_a_certificate_of_tomorrow_is_a_fault_of_a_clock_that_nobody_has_set(tmp_path: Path) -> None:
    with broker_of_tomorrow(tmp_path) as (place, _), ExitStack() as stack:
        ears = Ear(), Ear()
        lines = [
            stack.enter_context(Line([place.as_user("north")], "north", (), ear, pace=QUICK, trusted=trusted))
            for ear, trusted in zip(ears, (lambda: False, lambda: True), strict=True)
        ]
        thing, text = fault_that_says(lines[0], "not set")
        assert thing.startswith("clock before TLS")
        assert "NTP" in text
        thing, text = fault_that_says(lines[1], "certificate is not trusted")
        assert thing.startswith("broker ")
        assert ears[0].sessions == ears[1].sessions == [], "and verified it stays"


def test_a_gate_whose_clock_is_set_later_connects_by_itself(tmp_path: Path) -> None:
    with broker_of_tomorrow(tmp_path) as (place, fleet):
        ear = Ear()
        line = Line([place.as_user("north")], "north", (), ear, pace=QUICK, trusted=lambda: False)
        with line:
            until(line.faults)
            init.renew(fleet, ["127.0.0.1"], NOW)  # here the certificate changes, not the clock
            for name in ("broker.pem", "broker.key"):
                write_whole(tmp_path / "venue" / name, (fleet / "broker" / name).read_bytes())
            place.broker.stop()
            place.broker.start()
            ear.session()
            assert line.faults() == {}
