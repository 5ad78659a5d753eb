"""The chain of the B.A.M. sandbox: a transaction in three steps, and the signatures of two of them."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from firmware.bridge.sandbox.bam_keys import ORDER
from firmware.bridge.sandbox.bam_people import Validator
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.bam_tickets import Refused, Tickets
from firmware.bridge.sandbox.desk import Says, wrong
from firmware.bridge.sandbox.history import Change

DIGESTS_MAX = 10_000  # that are kept; the oldest makes room
PROPOSED, ENDORSED = "proposal", "endorsed proposal"  # what a digest is of


@dataclass(slots=True, eq=False)
class Step:
    """A digest, and what it is of."""

    of: str
    ticket_id: str
    said_ms: int
    validator: Validator
    until_ms: int
    used: bool = False


class Chain:
    """Transactions under way. The caller holds the sandbox's lock."""

    def __init__(self, tickets: Tickets) -> None:
        self.tickets = tickets
        self._steps: OrderedDict[str, Step] = OrderedDict()
        self._count = 0

    def propose(self, ticket_id: str, said_ms: int, validator: Validator, rules: Rules) -> str:
        """The first step: what has to be signed."""
        return self._digest(PROPOSED, ticket_id, said_ms, validator, rules)

    def endorse(self, digest: str, signature: bytes, validator: Validator, rules: Rules) -> str:
        """The second step: what has to be signed then. Raises `Refused` where the chain looks here."""
        step = self._signed(PROPOSED, digest, signature, validator)
        if rules.refuse_at == "endorse":
            try:
                self.tickets.may_invalidate(step.ticket_id, validator.event)
            except Refused as refused:
                self.tickets.refuse(step.ticket_id, step.said_ms, validator.operator, refused.reason)
                raise
        return self._digest(ENDORSED, step.ticket_id, step.said_ms, validator, rules)

    def commit(self, digest: str, signature: bytes, validator: Validator) -> Change:
        """The last step: the ticket is used up. Raises `Refused`."""
        step = self._signed(ENDORSED, digest, signature, validator)
        return self.tickets.invalidate(step.ticket_id, validator.event, step.said_ms, validator.operator)

    def fail(self, digest: str, signature: bytes, validator: Validator) -> None:
        """The last step, of which nothing comes by order."""
        self._signed(ENDORSED, digest, signature, validator)

    def _digest(self, of: str, ticket_id: str, said_ms: int, validator: Validator, rules: Rules) -> str:
        self._count += 1
        text = f"{of} {self._count} {ticket_id} {said_ms} {validator.wallet.enrollment_id}"
        digest = sha256(self.tickets.source.bytes(text)).hexdigest()
        until_ms = self.tickets.log.now() + round(rules.digest_s * 1000)
        self._steps[digest] = Step(of, ticket_id, said_ms, validator, until_ms)
        if len(self._steps) > DIGESTS_MAX:
            self._steps.popitem(last=False)
        return digest

    def _signed(self, of: str, digest: str, signature: bytes, validator: Validator) -> Step:
        """The step that a digest is of, which is over now."""
        step = self._steps.get(digest)
        if step is None or step.until_ms <= self.tickets.log.now():
            raise Says("transaction not found", 404)
        if step.validator is not validator:
            raise wrong("this transaction is of another wallet", 403)
        if step.of != of:
            raise wrong(f"this digest is of a{'n' if step.of == ENDORSED else ''} {step.of}", 409)
        if step.used:
            raise Says("this digest was signed already", 409)
        verify(bytes.fromhex(digest), signature, validator.public_key)
        step.used = True
        return step


def verify(digest: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """Whether a signature is one of the digest itself, in DER, with S in the lower half."""
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        raise wrong("the signature is no DER", 400) from None
    if encode_dss_signature(r, s) != signature:
        raise wrong("the signature is no DER in its one form", 400)
    if s > ORDER // 2:
        raise wrong("S of the signature is in the upper half of the curve's order", 400)
    if signed(key, signature, digest):
        return
    for what, hashed in (("digest", digest), ("text of the digest", digest.hex().encode())):
        if signed(key, signature, sha256(hashed).digest()):
            raise wrong(f"the {what} was hashed again before signing: the digest is signed as it is", 400)
    raise wrong("the signature is not the wallet's signature of this digest", 400)


def signed(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether the key has signed these 32 bytes."""
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True
