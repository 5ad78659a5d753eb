"""The gate's own certificate: asked for with the token of its bundle, kept, and renewed before its end.

The gate makes its key itself, and the key never leaves it. Until the certificate is here the gate works as
one without a broker. What must be safe on disk is written on a thread of its own, never on the uplink's.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from firmware import wire
from firmware.bundle import BundleUnusable, Enrolment, enrolment_of, proof_of, token_digest
from firmware.facts import synchronised
from firmware.files import write_whole
from firmware.managed.rotation import KeyRefused, take_key
from firmware.mqtt import PACE, Arrived, Broker, Line, Pace, Publication, Session, Tls
from firmware.row import Row
from firmware.sealing import SealBroken, check_signed
from firmware.uplink.part import Outgoing

if TYPE_CHECKING:
    from firmware.managed.managed import Managed

RENEW_AT: Final = 1 / 3  # of a life left: months, in which `gatepost fleet serve` need run once
ENDS_SOON: Final = 1 / 6  # of a life left: a fault, because nobody has answered for months
ASK_S: Final = 15.0  # for an answer; then the gate asks again
ASK_SPREAD: Final = (0.75, 1.25)  # forty gates that were switched on together do not ask together for ever
RENEW_S: Final = 600.0  # between questions for a renewal
LOOK_S: Final = 1.0  # between looks at the time
ANSWERS_MAX: Final = 4  # that wait to be written; the answer to a lost one is asked for again
THING: Final = "certificate"


class NotOurs(Exception):
    """An answer holds no certificate for this gate; the text says why."""


class Certificate(NamedTuple):
    """This gate's certificate: its PEM, and from when to when it is valid."""

    pem: bytes
    since: datetime
    until: datetime

    def left(self, utc_ms: int) -> float:
        """How much of its life is left at this time: 1 to 0, and less after its end."""
        now = datetime.fromtimestamp(utc_ms / 1000, UTC)
        return (self.until - now) / (self.until - self.since)


class Folder(NamedTuple):
    """`identity` in the gate's data."""

    path: Path

    def enrolment(self) -> Enrolment | None:
        """Who this gate is; `None` where it was not enrolled, or where that cannot be read."""
        try:
            return enrolment_of((self.path / "enrol.toml").read_text("utf-8"))
        except (OSError, ValueError, BundleUnusable):
            return None

    def token(self) -> str:
        """The token of the bundle; "" once it was used."""
        path = self.path / "token"
        return path.read_text("ascii", "replace").strip() if path.exists() else ""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The gate's own key, made where there is none. Raises `OSError`, `ValueError`."""
        path = self.path / "gate.key"
        if not path.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            found = load_pem_private_key(path.read_bytes(), password=None)
        except (TypeError, UnsupportedAlgorithm) as error:  # it has a password, or is of a kind of its own
            raise ValueError(f"{path}: {error}: enrol this gate anew") from None
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path}: is no key of ours: enrol this gate anew")
        return found

    def certificate(self, gate: str) -> Certificate | None:
        """The one in use; `None` where there is none, or none that fits."""
        try:
            return self.checked((self.path / "gate.pem").read_bytes(), gate)
        except (OSError, ValueError, NotOurs):
            return None

    def checked(self, pem: bytes, gate: str) -> Certificate:
        """A certificate for our key and name, of our authority. Raises `NotOurs`, `OSError`, `ValueError`."""
        try:
            found = x509.load_pem_x509_certificate(pem)
            authority = x509.load_pem_x509_certificate((self.path / "ca.pem").read_bytes())
            names = [each.value for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            found.verify_directly_issued_by(authority)
            public_key = found.public_key()
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise NotOurs(f"what came is no certificate of our authority ({type(error).__name__})") from None
        if public_key != self.key().public_key() or names != [gate]:
            raise NotOurs("the certificate that came is for another key or name")
        return Certificate(pem, found.not_valid_before_utc, found.not_valid_after_utc)

    def check_sealed(self, answer: wire.IdentityAnswer, gate: str) -> None:
        """Whether our authority sealed what came. Raises `SealBroken`, `NotOurs`, `OSError`, `ValueError`."""
        authority = x509.load_pem_x509_certificate((self.path / "ca.pem").read_bytes()).public_key()
        if not isinstance(authority, ec.EllipticCurvePublicKey):
            raise NotOurs("the authority's key is not on an elliptic curve: enrol this gate anew")
        check_signed(authority, gate, self.key().public_key(), answer.sealed, answer.signature)

    def request(self, gate: str) -> wire.IdentityRequest:
        """What to ask for a certificate with. Raises `OSError`, `ValueError`."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gate)])
        made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key(), SHA256())
        request, token = made.public_bytes(Encoding.DER), self.token()
        return wire.IdentityRequest(request, proof_of(token_digest(token), request) if token else b"")

    def keep(self, certificate: Certificate) -> None:
        """Put it into use, safe on disk; what was good for asking goes. Raises `OSError`."""
        write_whole(self.path / "gate.pem", certificate.pem)
        for name in ("token", "enrol.key", "enrol.pem"):
            (self.path / name).unlink(missing_ok=True)


class Identity:
    """A part of the gate. Entering starts its thread."""

    def __init__(
        self,
        data: Path,
        gate: str,
        utc_ms: Callable[[], int],
        note: Callable[[str], None] = lambda _: None,
        trusted: Callable[[], bool] = synchronised,
        pace: Pace = PACE,
        ask_s: float = ASK_S,
        came: Callable[[], None] = lambda: None,
    ) -> None:
        """`utc_ms` is asked for the time, `note` has the loop write a row of what came of it.

        `came` is called when there is a certificate where there was none.
        """
        self._data, self._gate = data, gate
        self._folder = Folder(data / "identity")
        self._utc_ms, self._note, self._trusted = utc_ms, note, trusted
        self._pace, self._ask_s, self._came = pace, ask_s, came
        self._answers: Queue[bytes | None] = Queue(ANSWERS_MAX)  # `None`: it is over
        self._over = threading.Event()
        self._trouble = self._end = ""
        self._line_faults: dict[str, str] = {}
        self._certificate = self._folder.certificate(gate)
        self._renewal: wire.IdentityRequest | None = None
        self._renew_s = float("-inf")
        self._wake: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="identity", daemon=True)

    # --- as a part, on the uplink's thread ----------------------------------------------------------------

    @property
    def topics(self) -> Sequence[wire.Topic]:
        """Answers to renewals."""
        return (wire.IDENTITY_ANSWER,)

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        """A renewal that was asked for may be lost: ask once more."""
        self._wake, self._renew_s = wake, float("-inf")

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        """An answer; what nobody asked for is checked like any other, and a full queue asks again."""
        if not retained:
            self._put(payload)

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        """The request for a renewal, when it is due."""
        renewal = self._renewal
        if renewal is not None and now_s >= self._renew_s:
            yield Outgoing(wire.IDENTITY_REQUEST, renewal)
            self._renew_s = now_s + RENEW_S * random.uniform(*ASK_SPREAD)  # noqa: S311  no secret

    def faults(self) -> dict[str, str]:
        """What is wrong with the certificate, or with the way to get one."""
        trouble = {THING: text} if (text := self._end or self._trouble) else {}
        return {**trouble, **self._line_faults}

    # --- its thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                if self._certificate is None:
                    self._enrol()
                else:
                    self._look_after(self._certificate)
            except (OSError, ValueError) as error:  # a disk that is full, a file that somebody damaged
                self._trouble = f"the certificate cannot be had: {error}"
                self._over.wait(self._ask_s)
            except Exception as error:  # nothing that somebody sends ends this thread, for no other renews
                self._trouble = f"the certificate cannot be had: {type(error).__name__}: {error}"
                self._over.wait(self._ask_s)

    def _enrol(self) -> None:
        """Ask with the bundle's token until there is a certificate."""
        enrolment = self._folder.enrolment()
        own = self._folder.path.absolute()
        if enrolment is None or not self._folder.token() or not (own / "enrol.pem").exists():
            self._trouble = (
                f"this gate has no certificate, and nothing to ask for one with ({own}): enrol it anew"
            )
            self._over.wait(self._ask_s)
            return
        request = self._folder.request(self._gate)
        tls = Tls(str(own / "ca.pem"), str(own / "enrol.pem"), str(own / "enrol.key"))
        broker = Broker(enrolment.host, enrolment.port, tls)
        asking = _Asking(enrolment, request, self._put)
        answers = wire.address(wire.IDENTITY_ANSWER, enrolment.venue, enrolment.gate)
        line = Line([broker], enrolment.gate, [answers], asking, pace=self._pace, trusted=self._trusted)
        self._trouble = self._trouble or "no certificate yet: the gate asks for it"
        with line:
            while self._certificate is None and not self._over.is_set():
                self._wait_for_answer(line)
                if self._certificate is None and asking.ask() and not self._over.is_set():
                    self._trouble = self._trouble or "no certificate yet: does gatepost fleet serve run?"
        self._line_faults = {}

    def _wait_for_answer(self, line: Line) -> None:
        """Until there is a certificate, or it is time to ask again."""
        again_s = time.monotonic() + self._ask_s * random.uniform(*ASK_SPREAD)  # noqa: S311  no secret
        while time.monotonic() < again_s and self._certificate is None and not self._over.is_set():
            self._line_faults = line.faults()
            self._take_answer(min(LOOK_S, self._ask_s))

    def _look_after(self, certificate: Certificate) -> None:
        """Answers to renewals, and the time to ask for one."""
        self._take_answer(LOOK_S)
        certificate = self._certificate or certificate
        left = certificate.left(self._utc_ms())
        if left > RENEW_AT:
            self._renewal, self._trouble = None, ""
        elif self._renewal is None:
            self._renewal = self._folder.request(self._gate)
            self._wake()
        end = ""
        if left <= ENDS_SOON:
            ends = "has ended" if left <= 0 else "ends soon"
            mend = "run gatepost fleet serve" if left > 0 else "revoke the gate, and enrol it anew"
            end = f"the gate's certificate {ends} ({certificate.until:%Y-%m-%d %H:%M} UTC): {mend}"
        self._end = end  # also none any more, where the clock was ahead and is right now

    def _put(self, payload: bytes | None) -> None:
        """From any thread."""
        with suppress(Full):  # asked for again
            self._answers.put_nowait(payload)

    def _take_answer(self, within_s: float) -> None:
        """Wait for an answer; a good one is in use when this returns. Raises `OSError`, `ValueError`."""
        try:
            payload = self._answers.get(timeout=within_s)
            if payload is None:
                return
            answer = wire.decode(payload, wire.IdentityAnswer)
        except Empty:
            return
        except wire.Unfit as error:
            self._trouble = f"the answer to our request does not fit: {error}"
            return
        if answer.refused:
            self._trouble = f"no certificate: {answer.refused}"
            return
        try:
            found = self._folder.checked(answer.certificate.encode(), self._gate)
            known = self._certificate
            if known is not None and found.until <= known.until:
                return  # an older one, or the same: the newest is in use
            if known is None:  # later ones bring no key: another comes in an order that an operator signed
                self._folder.check_sealed(answer, self._gate)
                self._note(take_key(self._data, answer.sealed))
        except (NotOurs, KeyRefused, SealBroken) as error:
            self._trouble = str(error)
            return
        self._folder.keep(found)
        self._certificate, self._trouble, self._renewal = found, "", None
        if known is None:
            self._came()
        self._note(f"the gate's certificate is here, valid until {found.until:%Y-%m-%d %H:%M} UTC")

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._over.set()
        self._put(None)  # nobody waits for this thread with the lanes locked
        self._thread.join(self._pace.close_s + LOOK_S)


class _Asking:
    """Listens on the enrolment connection, and asks each time that it stands."""

    def __init__(
        self, enrolment: Enrolment, request: wire.IdentityRequest, put: Callable[[bytes], None]
    ) -> None:
        self._topic = wire.address(wire.IDENTITY_REQUEST, enrolment.venue, enrolment.gate)
        self._payload, self._put = wire.encode(request), put
        self._session: Session | None = None

    def ask(self) -> bool:
        """Whether the question went out."""
        session = self._session
        return session is not None and session.publish(Publication(self._topic, self._payload))

    def connected(self, session: Session) -> None:
        """Every subscription is confirmed."""
        self._session = session
        self.ask()

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again."""
        self._session = None

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """An answer."""
        session.acknowledge(arrived)
        if not arrived.retained:
            self._put(arrived.payload)

    def acknowledged(self, session: Session) -> None:
        """The question is at the broker."""


def identity_of(managed: "Managed") -> Identity:
    """That of a gate at work."""
    gate, journal, clock = managed.gate, managed.journal, managed.gate.clock

    def note(text: str) -> None:
        gate.do(lambda: journal.note(Row("fault", "", clock.now(), text=text)))

    return Identity(
        managed.data,
        managed.settings.gate_name,
        lambda: clock.floor_utc_ms,
        note,
        lambda: clock.trusted,
        came=lambda: gate.do(lambda: managed.uplink().hurry()),  # the loop begins when the uplink is there
    )
