"""Who may do what at the B.A.M. sandbox: its organizer, its validators, and their sessions."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.bridge.sandbox.bam_keys import Source, Wallet, wallet_of
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.desk import Says, wrong
from firmware.bridge.sandbox.history import Operator

TENANT, ORGANIZER, ORGANIZER_ID = "org1", "nightworks", 17
EMAIL, PASSWORD = "office@example.com", "sandbox-password"
FIRST_VALIDATOR = 501
VALIDATORS_MAX = CHALLENGES_MAX = 1000  # of challenges the oldest makes room


@dataclass(slots=True, eq=False)
class Validator:
    """An identity that may use up the tickets of one event."""

    id: int
    token: str
    event: int
    wallet: Wallet
    expires_ms: int  # 0: never
    public_key: ec.EllipticCurvePublicKey

    @property
    def operator(self) -> Operator:
        """Who it is in the history."""
        return Operator(str(self.id), f"validator {self.id}", "")


@dataclass(frozen=True, slots=True)
class Session:
    """Whose token it is: a validator's, or the organizer's."""

    validator: Validator | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """What has to be signed, and by whom."""

    nonce: str
    enrollment_id: str
    until_ms: int


class People:
    """The caller holds the sandbox's lock."""

    def __init__(self, source: Source) -> None:
        self.validators: dict[str, Validator] = {}  # by the token of its address
        self.organizer = wallet_of(source, "organizer")
        self._source = source
        self._secret = source.bytes("sessions")
        self._nonces = source.uuids("nonce")
        self._sessions = 0
        self._challenges: OrderedDict[str, Challenge] = OrderedDict()

    def validator(self, event: int, expires_ms: int = 0) -> Validator:
        """Make one more. Raises `ValueError` where there are too many."""
        if len(self.validators) >= VALIDATORS_MAX:
            raise ValueError(f"there are {VALIDATORS_MAX} validators already")
        number = FIRST_VALIDATOR + len(self.validators)
        wallet = wallet_of(self._source, f"validator {number}")
        key = x509.load_pem_x509_certificate(wallet.certificate.encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        made = Validator(
            number, self._source.uuid(f"validator {number} token"), event, wallet, expires_ms, key
        )
        self.validators[made.token] = made
        return made

    def enrolled(self, enrollment_id: str, now_ms: int) -> Validator | None:
        """The validator of this enrollment, if it is one still."""
        found = (one for one in self.validators.values() if one.wallet.enrollment_id == enrollment_id)
        return next((one for one in found if not 0 < one.expires_ms <= now_ms), None)

    # --- the challenge -------------------------------------------------------------------------------

    def challenge(self, client_nonce: str, enrollment_id: str, now_ms: int, rules: Rules) -> str:
        """What this enrollment has to sign."""
        if self.enrolled(enrollment_id, now_ms) is None:
            raise Says("enrollment not found", 404)
        nonce = next(self._nonces)
        self._challenges[client_nonce] = Challenge(nonce, enrollment_id, now_ms + round(rules.nonce_s * 1000))
        if len(self._challenges) > CHALLENGES_MAX:
            self._challenges.popitem(last=False)
        return nonce

    def answered(self, client_nonce: str, nonce: str, signed: bytes, now_ms: int) -> Validator:
        """Who signed a challenge. Each is good once."""
        challenge = self._challenges.pop(client_nonce, None)
        if challenge is None or challenge.nonce != nonce or challenge.until_ms <= now_ms:
            raise Says("this challenge is unknown, used or too old", 401)
        validator = self.enrolled(challenge.enrollment_id, now_ms)
        if validator is None:
            raise Says("enrollment not found", 401)
        try:
            validator.public_key.verify(signed, nonce.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise wrong("signed_nonce is not the wallet's signature of the nonce with SHA-256", 401) from None
        return validator

    # --- sessions ------------------------------------------------------------------------------------

    def token(self, validator: Validator | None, now_ms: int, rules: Rules) -> str:
        """A JWT. Each is another, so that one that was exchanged can be told from the new one."""
        self._sessions += 1
        enrollment = self.organizer.enrollment_id if validator is None else validator.wallet.enrollment_id
        claims = {
            "sub": enrollment,
            "iat": now_ms // 1000,
            "exp": (now_ms + round(rules.token_s * 1000)) // 1000,
            "jti": self._sessions,
        }
        text = ".".join(
            packed(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        return f"{text}.{packed(self._mac(text))}"

    def session(self, token: str, now_ms: int, grace_s: float = 0.0) -> Session:
        """Whose token it is; `grace_s` after its end as well."""
        text, _, mac = token.rpartition(".")
        if not hmac.compare_digest(mac.encode(), packed(self._mac(text)).encode()):
            raise Says("jwt malformed", 401)
        claims: Mapping[str, object] = json.loads(unpacked(text.partition(".")[2]))
        ends_s, enrollment = claims["exp"], claims["sub"]
        assert isinstance(ends_s, int)
        if now_ms >= (ends_s + grace_s) * 1000:
            raise Says("jwt expired", 401)
        if enrollment == self.organizer.enrollment_id:
            return Session(None)
        validator = self.enrolled(str(enrollment), now_ms)
        if validator is None:
            raise Says("this validator has expired", 401)
        return Session(validator)

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), sha256().name)


def packed(data: bytes) -> str:
    """Base64 as a JWT has it."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def unpacked(text: str) -> bytes:
    """And back."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
