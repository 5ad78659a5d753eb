"""The bridge's second connection: asks and answers, births, and how the vendors are.

A broker sends a bridge 64 messages that are not acknowledged, and acknowledgements go out in the order of
arrival (MQTT 5, 4.6). Rows are acknowledged when they are stored: so behind rows that wait for a database
that hangs, no ask would come. What comes here is acknowledged at once, and people are answered meanwhile.
"""

from collections.abc import Callable

from firmware import wire
from firmware.bridge.outbox import Outbox
from firmware.bridge.relay import Relay, shared_by
from firmware.mqtt import Arrived, Session


def ask_subscriptions(venue: str, secret: str) -> tuple[str, ...]:
    """What is listened to here, and nowhere else: asks, shared with other bridges, and who is there."""
    return shared_by(wire.ASK, venue, secret), wire.address(wire.STATUS, venue, "+")


class AskLine:
    """The listener of that connection. The relay's door checks what comes, whichever way it came.

    `outbox` is the connection's own; `connection` is called when there is one, on the connection's thread.
    """

    def __init__(self, relay: Relay, outbox: Outbox, connection: Callable[[], None]) -> None:
        self._relay = relay
        self._outbox = outbox
        self._connection = connection

    def connected(self, session: Session) -> None:
        """A new connection."""
        self._outbox.connected(session)
        self._connection()

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again by itself, and says what is wrong."""
        self._outbox.disconnected(session)

    def acknowledged(self, session: Session) -> None:
        """There is room in the window."""
        self._outbox.pump()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """Check at the door, and hand over."""
        self._relay.arrived(session, arrived)
