"""Which ticket of B.A.M. an id or a code is for. Pure.

Whether a code's signature is right is for a gate to find out, where the gate decides: then a code comes from
B.A.M., or from a gate that let it in. Where gates ask, it is found out here.
"""

import re
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from firmware.signed_code import payload_of, signature_of

TICKET = re.compile(r"E([0-9]{1,18})TC([0-9]{1,18})T([0-9]{1,18})")


class TicketName(NamedTuple):
    """What tells a ticket from all others, as the chain has it."""

    event: int
    config: int
    number: int

    def __str__(self) -> str:
        """As a code says it."""
        return f"E{self.event}TC{self.config}T{self.number}"


def named(text: str) -> TicketName | None:
    """The ticket of such an id; `None` where it is none, or has anything before or behind it."""
    found = TICKET.fullmatch(text)
    return TicketName(*map(int, found.groups())) if found else None


def ticket_of(code: str) -> TicketName | None:
    """The ticket that a code is for, whoever signed it; `None` where it is no such code."""
    payload = payload_of(code)
    return named(payload.ticket_id) if payload is not None else None


def is_genuine(code: str, public_key: str) -> bool:
    """Whether the owner of this key (PEM, of P-256) signed the code."""
    payload, signature = payload_of(code), signature_of(code)
    key = load_pem_public_key(public_key.encode())
    assert isinstance(key, EllipticCurvePublicKey), "`public_key` has looked at it"
    if payload is None or signature is None:
        return False
    try:
        key.verify(signature, payload.signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
