"""What is not public about B.A.M., and so can be set at its sandbox."""

from typing import Literal

import msgspec

from firmware.bridge.sandbox.bam_tickets import ACTIVATED, CONFIRMED, ISSUED, RESERVED, STATES

LATENCY_S_MAX = 600.0


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be set."""

    latency_s: float = 2.0  # until the chain answers the last step, and an issue
    endorsing_s: float = 0.2  # until it answers the two steps before
    digest_s: float = 300.0  # so long a digest is good for its step
    token_s: float = 3600.0  # so long a JWT is good
    refresh_s: float = 86_400.0  # so long after its end it can be exchanged for another; 0: not at all
    nonce_s: float = 60.0  # so long a challenge is good
    refuse_at: Literal["endorse", "commit"] = "endorse"  # where the chain first looks at the ticket
    # How the chain says no: an HTTP status with an error, or 200 with a status that is not SUCCESS.
    refusal_status: int = 409
    already: str = "ticket has already been invalidated"
    not_issued: str = "ticket is not issued"
    unknown: str = "ticket does not exist"
    other_event: str = "validator may not invalidate tickets of this event"
    listed: tuple[str, ...] = (RESERVED, CONFIRMED, ISSUED, ACTIVATED)  # states that the code list has
    time_required: bool = True  # `validation_time`, which the manual's sample has left out

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot be; over the control port that is a 400."""
        if not set(self.listed) <= set(STATES):
            raise ValueError(f"listed: of {', '.join(STATES)}")
        if not (self.refusal_status == 200 or 400 <= self.refusal_status < 500):
            raise ValueError("refusal_status: 200, or from 400 to 499")
        times = (self.latency_s, self.endorsing_s, self.digest_s, self.token_s, self.refresh_s, self.nonce_s)
        if min(times) < 0 or max(times[:2]) > LATENCY_S_MAX:
            raise ValueError(f"times are not negative, and nobody waits longer than {LATENCY_S_MAX:.0f} s")

    def said(self, reason: str) -> str:
        """The chain's words."""
        return {
            "already": self.already,
            "not issued": self.not_issued,
            "unknown": self.unknown,
            "event": self.other_event,
        }[reason]
