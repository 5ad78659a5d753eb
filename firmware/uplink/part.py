"""What shares the gate's connection with rows and tickets: orders, settings, telemetry, renewals."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from firmware import wire


class Outgoing(NamedTuple):
    """A message of this gate that is due."""

    topic: wire.Topic
    message: wire.Message


class Part(Protocol):
    """Called on the uplink's thread alone. Nothing here may wait, neither for the disk nor for the loop."""

    @property
    def topics(self) -> Sequence[wire.Topic]:
        """Topics of this gate that it wants to hear."""

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        """A new connection, with the number that is in its birth. What was sent may not have arrived.

        `wake` has the uplink look for what is due, from any thread; without, it looks once a second.
        """

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        """A message on one of its topics, also a retained one where the topic keeps nothing.

        Raises `wire.Unfit` for what cannot be answered.
        """

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        """What is due at this monotonic time; a message is on its way where the iterator is resumed."""


@runtime_checkable
class Troubled(Protocol):
    """A part that may have faults of its own."""

    def faults(self) -> dict[str, str]:
        """What is wrong with it, by the thing. Asked on any thread; does not wait."""
