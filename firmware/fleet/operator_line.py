"""An operator's connection to the venue's broker: which gates there are, what they say, what is sent them.

Nothing is kept here. An operator who has had no answer asks once more, with a new signature.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from firmware import wire
from firmware.mqtt import PACE, Arrived, Broker, Line, Pace, Publication, Session, TooLarge

CONNECT_S = 10.0  # to the broker, TLS included: a person waits in front of a terminal
QUIET_S = 0.5  # births come one after the other right behind the subscription: a pause says that it was all
LOOK_S = 0.05  # between looks at what has no bell of its own; a person does not notice it
STEP_S = 0.25  # of a wait; a longer one by the clock is a pause of this process, or of its whole machine
GATES_MAX = 2_000  # of one venue, as at the bridge; a name more is somebody's mischief

Found = TypeVar("Found")


class NoConnection(Exception):
    """The broker cannot be used; the text names it and the mend."""


class Heard(NamedTuple):
    """What a gate said. `retained`: it is kept by the broker, and may be from before."""

    gate: str
    topic: wire.Topic
    message: wire.Message
    retained: bool


class OperatorLine:
    """Entered, it is connected, or has raised `NoConnection`."""

    def __init__(
        self,
        broker: Broker,
        venue: str,
        operator: str,
        topics: Sequence[wire.Topic] = (),
        hear: Callable[[Heard], None] = lambda _: None,
        pace: Pace = PACE,
    ) -> None:
        """Listen to these topics of all gates. `hear` is called on a thread of the line's, and must not wait.

        What it changes is seen by the function that `wait` is given.
        """
        self._broker, self._venue, self._hear = broker, venue, hear
        self._topics = frozenset((wire.STATUS, *topics))
        self._news = threading.Condition()
        self._session: Session | None = None
        self._births: dict[str, wire.Presence] = {}
        self._born_s = 0.0
        self.odd = 0
        """Messages that did not fit."""
        self._line = Line(
            (broker,),
            f"operator-{venue}-{operator}-{secrets.token_hex(4)}",  # one person may give two commands at once
            sorted(wire.address(topic, venue, "+") for topic in self._topics),
            self,
            pace=pace,
        )

    # --- for whoever gives the command --------------------------------------------------------------------

    @property
    def faults(self) -> list[str]:
        """What is wrong with the connection, such as messages that the broker refuses."""
        return list(self._line.faults().values())

    def births(self) -> dict[str, wire.Presence]:
        """What the gates that are connected said of themselves."""
        with self._news:
            return dict(self._births)

    def gate(self, name: str, within_s: float) -> wire.Presence | None:
        """The birth of this gate, waited for so long; `None` where it is not connected."""
        return self.wait(lambda: self._births.get(name), within_s)

    def gates(self, known: Collection[str], within_s: float) -> dict[str, wire.Presence]:
        """The births of all gates, waited for until those that are known have come, or no more come."""
        quiet_s, last_s, last_born_s = 0.0, time.monotonic(), self._born_s

        def complete() -> bool | None:
            nonlocal quiet_s, last_s, last_born_s
            now_s = time.monotonic()
            quiet_s = quiet_s + min(now_s - last_s, LOOK_S) if self._born_s == last_born_s else 0.0
            last_s, last_born_s = now_s, self._born_s
            all_here = bool(known) and self._births.keys() >= set(known)
            return True if all_here or quiet_s >= QUIET_S else None

        self.wait(complete, within_s, look_s=LOOK_S)
        return self.births()

    def wait(
        self, look: Callable[[], Found | None], within_s: float, look_s: float | None = None
    ) -> Found | None:
        """What `look` finds, which is asked after each message (and each `look_s`); `None` after the time.

        A process that stood still has not waited: what came meanwhile lies in its socket, and is read first.
        """
        left_s = within_s
        with self._news:
            while (found := look()) is None:
                if left_s <= 0:
                    return None
                step_s, began_s = min(left_s, look_s or STEP_S), time.monotonic()
                self._news.wait(step_s)
                left_s -= min(step_s, time.monotonic() - began_s)
            return found

    def send(self, topic: wire.Topic, gate: str, message: wire.Message, within_s: float = CONNECT_S) -> None:
        """Send it to the broker, waiting for room in its window. Raises `NoConnection`."""
        address = wire.address(topic, self._venue, gate)
        publication = Publication(address, wire.encode(message), topic.qos, topic.retained)

        def sent() -> bool | None:
            session = self._session
            return True if session is not None and session.publish(publication) else None

        try:
            if self.wait(sent, within_s):
                return
        except TooLarge as error:
            raise NoConnection(str(error)) from None
        raise NoConnection(self._why("takes no messages at present"))

    def _why(self, otherwise: str) -> str:
        return "; ".join(self.faults) or f"broker {self._broker.name} {otherwise}: look at its log"

    # --- called by the line, on its thread ------------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Every subscription is confirmed."""
        with self._news:
            self._session = session
            self._news.notify_all()

    def disconnected(self, session: Session, why: str) -> None:
        """It is over; the line connects again."""
        with self._news:
            self._session = None
            self._births.clear()  # the broker tells them again
            self._news.notify_all()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """A gate said something."""
        session.acknowledge(arrived)
        found = wire.addressed(arrived.topic, self._venue)
        with self._news:
            if found is None or found.topic not in self._topics:
                self.odd += 1
                return
            try:
                message = wire.decode(arrived.payload, found.topic.message)
            except wire.Unfit:
                self.odd += 1
                return
            if isinstance(message, wire.Presence):
                self._take_presence(found.gate, message)
            self._hear(Heard(found.gate, found.topic, message, arrived.retained))
            self._news.notify_all()

    def acknowledged(self, session: Session) -> None:
        """There is room in the window, or the broker refused a message."""
        with self._news:
            self._news.notify_all()

    def _take_presence(self, gate: str, presence: wire.Presence) -> None:
        """A death counts only for the connection that it belongs to."""
        known = self._births.get(gate)
        if presence.online:
            if known is not None or len(self._births) < GATES_MAX:
                self._births[gate] = presence
                self._born_s = time.monotonic()
        elif known is not None and _ends(presence, known):
            del self._births[gate]

    # --- start and end --------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Connect. Raises `NoConnection`."""
        self._line.start()

        def done() -> bool | None:
            return True if self._session is not None or self.faults else None

        self.wait(done, CONNECT_S, look_s=LOOK_S)
        if self._session is None:
            why = self._why("does not answer")
            self._line.close()
            raise NoConnection(why)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()


def _ends(death: wire.Presence, birth: wire.Presence) -> bool:
    """Whether it is this birth's connection that is over, or a later one."""
    later = (death.epoch, death.connection) >= (birth.epoch, birth.connection)
    return later and death.random == birth.random
