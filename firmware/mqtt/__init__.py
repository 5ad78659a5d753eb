"""MQTT 5: one connection, kept for ever, to the first broker of a list that answers. Gate and bridge use it.

Nothing waits in here. A message is published now, within the window, or refused; each connection is a fresh
client with a clean start, so nothing of an earlier one is sent by it. What must arrive is kept by the caller
until somebody says that it has arrived, and a broker's PUBACK does not say that.
"""

import enum
import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from firmware import wire
from firmware.facts import synchronised
from firmware.mqtt.broker import (
    ENVELOPE_BYTES,
    PACE,
    PACKET_BYTES_MAX,
    Broker,
    ClockBeforeTls,
    Fault,
    Pace,
    Tls,
    opened,
    with_identity,
)
from firmware.mqtt.link import TURN_S, Came, Ended, Limits, Link, Publication, Taken, Wake

__all__ = [
    "PACE",
    "Arrived",
    "Broker",
    "Health",
    "Line",
    "Listener",
    "Pace",
    "Publication",
    "Session",
    "Tls",
    "TooLarge",
    "opened",
    "with_identity",
]

LEAVE_S = 2.0  # for the last acknowledgements and the farewell; whoever closes waits for it
LEFT_BEHIND_S = 0.2  # for an attempt to connect to break off; one that hangs in TCP or TLS cannot
CLOCK = "clock before TLS"  # how a fault of our own clock begins
HEAD_BYTES = 16  # of a packet: its type, lengths and id
STEPS_MAX = 16  # doublings of a wait; more would overflow, and the longest wait is reached long before

_JITTER = random.SystemRandom()  # gates that lost one broker together must not come back together


class Arrived(NamedTuple):
    """A message that came.

    `retained`: its sender wanted it kept, be it fresh or from before. `number`: for `acknowledge`; 0 where
    there is nothing to acknowledge (QoS 0).
    """

    topic: str
    payload: bytes
    retained: bool
    number: int


class TooLarge(Exception):
    """A publication is longer than the broker takes; the text says what to set."""


class Session:
    """One connection. `number` grows with each attempt to connect, so no two have the same.

    `window` is how many publications may be unacknowledged, `payload_bytes_max` how long each may be.
    """

    def __init__(self, number: int, link: Link, limits: Limits, window: int) -> None:
        self.number, self.broker = number, link.broker
        self.window, self._broker_window = min(window, limits.messages), limits.messages
        self.own_address = link.own_address()
        """Our address on the network, as the broker sees it; "" where it is not known."""
        room = limits.packet_bytes - ENVELOPE_BYTES if limits.packet_bytes else wire.PAYLOAD_BYTES_MAX
        self.payload_bytes_max = max(0, min(wire.PAYLOAD_BYTES_MAX, room))
        self._link, self._packet_bytes_max = link, limits.packet_bytes
        self._lock = threading.Lock()
        self._open = True
        self._sent: dict[int, str] = {}  # topics of what is not acknowledged, by packet id
        self._waiting: dict[int, int] = {}  # packet ids of what we have not acknowledged, by our number
        self._done: set[int] = set()  # numbers of these whose PUBACK waits for an earlier one
        self._arrivals = 0

    def publish(self, publication: Publication, urgent: bool = False) -> bool:
        """Send now. False: not connected any more, or the window is full; then it is kept nowhere.

        What is `urgent` may go beyond our window, up to what the broker takes.
        True means sent, not arrived. A message of QoS 0 has a place in the window until it is written.
        Raises `TooLarge`.
        """
        assert publication.qos in (0, 1), "QoS 2 is not used"
        packet_bytes = len(publication.topic.encode()) + len(publication.payload) + HEAD_BYTES
        if 0 < self._packet_bytes_max < packet_bytes:
            raise TooLarge(
                f"broker {self.broker.name} takes packets of {self._packet_bytes_max:,} bytes, and this one "
                f"has {packet_bytes:,}: let it take {PACKET_BYTES_MAX:,} (mosquitto: max_packet_size)"
            )
        with self._lock:
            if not self._open or len(self._sent) >= (self._broker_window if urgent else self.window):
                return False
            packet_id = self._link.publish(publication)
            if packet_id is None:
                return False
            self._sent[packet_id] = publication.topic
            return True

    def acknowledge(self, arrived: Arrived) -> None:
        """Send the PUBACK of a message, which makes room for the next. Twice is fine; so is too late.

        They go out in the order in which the messages came (MQTT 5, 4.6): some brokers end a connection where
        they do not. So a PUBACK may wait until what came before is acknowledged too.
        """
        with self._lock:
            if arrived.number in self._waiting:
                self._done.add(arrived.number)
            while self._waiting and (first := next(iter(self._waiting))) in self._done:
                self._done.remove(first)
                self._link.acknowledge(self._waiting.pop(first))

    @property
    def in_flight(self) -> int:
        """How many publications are not acknowledged."""
        return len(self._sent)

    def _end(self) -> None:
        """Nothing more goes out through this session."""
        with self._lock:
            self._open = False
            self._waiting.clear()
            self._done.clear()

    def _taken(self, packet_id: int) -> str:
        """The topic of a publication that was acknowledged; its place is free."""
        with self._lock:
            return self._sent.pop(packet_id, "")

    def _arrival(self, came: Came) -> Arrived:
        number = 0
        if came.packet_id:
            self._arrivals += 1
            number = self._arrivals
            with self._lock:
                self._waiting[number] = came.packet_id
        return Arrived(came.topic, came.payload, came.retained, number)


class Listener(Protocol):
    """Who is told. All on the line's own thread, which must not be kept waiting."""

    def connected(self, session: Session) -> None:
        """Every subscription is confirmed."""

    def disconnected(self, session: Session, why: str) -> None:
        """It is over; what was not acknowledged may have arrived or not."""

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """A message came. It keeps its place in the broker's window until `acknowledge`."""

    def acknowledged(self, session: Session) -> None:
        """A PUBACK came (or a message of QoS 0 is written): there is room in the window."""


class Health(NamedTuple):
    """How a line is. `broker`: the one in use; `connections`: that stood so far; `fault`: the last one."""

    broker: Broker | None
    connections: int
    fault: str


class _End(enum.Enum):
    NEVER = "no connection came about"
    SHORT = "lost soon"
    LONG = "lost after a steady time"
    LEFT = "left for an earlier broker, or closed"


class Line:
    """Keeps one connection, for ever.

    Brokers are tried in order. One that is not the first is left when one before it answers again.
    """

    def __init__(
        self,
        brokers: Sequence[Broker],
        client_id: str,
        subscriptions: Sequence[str],
        listener: Listener,
        will: Callable[[int], Publication] | None = None,
        farewell: Callable[[int], Publication] | None = None,
        pace: Pace = PACE,
        window: int = wire.WINDOW_MESSAGES,
        trusted: Callable[[], bool] = synchronised,
    ) -> None:
        """`will` and `farewell` are asked with the number of the connection.

        The farewell goes out before a tidy end; where it is not taken, the broker is asked to send the will.
        What we publish does not come back to us, except by a shared subscription. `trusted` says whether our
        clock is set: where it is not, a certificate out of its time is a fault of the clock.
        """
        assert brokers, "a line needs a broker"
        self._brokers, self._client_id, self._listener = tuple(brokers), client_id, listener
        self._subscriptions = tuple(subscriptions)
        self._will, self._farewell, self._pace, self._window = will, farewell, pace, window
        self._trusted = trusted
        self._closing = threading.Event()
        self._attempting = False  # then, once it is closing, nobody of ours is called any more
        self._lock = threading.Lock()  # around both
        self._hurry = threading.Event()  # ends the wait for the next attempt
        self._wake = Wake()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._look: _Look | None = None
        self._attempts = 0
        self._session: Session | None = None
        self._connections = 0
        self._fault = ""
        self._faults: dict[str, str] = {}

    def start(self) -> None:
        """Begin to connect; entering does it too. Twice is fine."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Say farewell and disconnect; the listener hears `disconnected` before. Twice is fine.

        Nobody waits for an attempt to connect that hangs: it is left behind, sends nothing any more, and the
        listener hears nothing of it.
        """
        with self._lock:
            self._closing.set()
            most_s = LEFT_BEHIND_S if self._attempting else self._pace.close_s
        self._hurry.set()
        self._wake()
        if self._thread.ident is None:
            self._wake.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(most_s)

    def hurry(self) -> None:
        """Do not wait for the next attempt: what kept us from connecting is over. From any thread."""
        self._hurry.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def session(self) -> Session | None:
        """The connection that stands, if one does."""
        return self._session

    @property
    def health(self) -> Health:
        """For those who watch."""
        session = self._session
        return Health(session.broker if session else None, self._connections, self._fault)

    def faults(self) -> dict[str, str]:
        """What is wrong now, by the thing: a broker that cannot be used, or one that refuses messages."""
        return dict(self._faults)

    # --- its thread

    def _run(self) -> None:
        tries = 0
        while not self._closing.is_set():
            end = _End.NEVER
            for place, broker in enumerate(self._brokers):
                end = self._visit(place, broker)
                if end is not _End.NEVER or self._closing.is_set():
                    break
            if end in (_End.LONG, _End.LEFT):
                tries = 0
            if end is not _End.LEFT:
                most_s = min(self._pace.retry_most_s, self._pace.retry_least_s * 2.0 ** min(tries, STEPS_MAX))
                self._hurry.wait(_JITTER.uniform(0, most_s))
                self._hurry.clear()
                tries += 1
        self._wake.close()

    def _visit(self, place: int, broker: Broker) -> _End:
        """Connect to a broker, and stay as long as it lasts."""
        self._attempts += 1
        number = self._attempts
        link = Link(broker, self._client_id, self._pace, self._wake, self._closing, self._trusted)
        will = self._will(number) if self._will else None
        if not self._attempt(True):
            return _End.NEVER
        try:
            limits = link.connect(will)
            early = link.subscribe(self._subscriptions)
            if not self._attempt(False):
                raise link.broken_off()
        except Fault as fault:
            link.abandon()
            self._attempt(False)
            self._note(broker, str(fault), isinstance(fault, ClockBeforeTls))
            return _End.NEVER
        session = self._session = Session(number, link, limits, self._window)
        self._faults.pop(f"broker {broker.name}", None)
        self._faults.pop(f"{CLOCK} at broker {broker.name}", None)
        self._faults.pop(f"messages to broker {broker.name}", None)
        self._connections += 1
        began_s = time.monotonic()
        try:
            self._listener.connected(session)
            for came in early:
                self._listener.arrived(session, session._arrival(came))
            why, left = self._attend(link, session, place)
        except (
            Exception
        ) as error:  # a fault of this program: shown whole, and no reason to stay silent for ever
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
            why, left = f"what listens to broker {broker.name} failed ({type(error).__name__})", False
        steady = time.monotonic() - began_s >= self._pace.steady_s
        self._session = None
        session._end()
        if left:  # first: a look that hangs must not cost the farewell
            self._leave(link, session)
        else:
            if not steady:
                why += ", and so soon: do two clients have one name?"  # mosquitto 2.0.11 does not say so
            self._note(broker, why)
        link.abandon()
        self._end_look()
        self._listener.disconnected(session, why)
        if left:
            return _End.LEFT
        return _End.LONG if steady else _End.SHORT

    def _attempt(self, begins: bool) -> bool:
        """An attempt begins or is over; False where we are closing, and nobody may be called any more."""
        with self._lock:
            if self._closing.is_set():
                return False
            self._attempting = begins
            return True

    def _attend(self, link: Link, session: Session, place: int) -> tuple[str, bool]:
        """Until the connection ends: why, and whether it is we who leave."""
        look_s = time.monotonic() + self._pace.look_s
        while True:
            if self._closing.is_set():
                return "closed", True
            if place and self._look is None and time.monotonic() >= look_s:
                before = self._brokers[:place]
                self._look = _Look(before, self._client_id, self._pace, self._wake, self._trusted)
            if self._look is not None and self._look.done:
                for broker, text in self._look.faults:
                    self._note(broker, text)
                if found := self._look.found:
                    return f"broker {found.name} answers again", True
                self._look = None
                look_s = time.monotonic() + self._pace.look_s
            for event in link.turn(min(TURN_S, self._pace.look_s)):
                if isinstance(event, Came):
                    self._listener.arrived(session, session._arrival(event))
                elif isinstance(event, Taken):
                    self._taken(session, event)
                elif isinstance(event, Ended):
                    return event.why, False

    def _taken(self, session: Session, event: Taken) -> None:
        """A PUBACK. One that refuses is a fault until a message of the same topic is taken."""
        topic, name = session._taken(event.packet_id), session.broker.name
        thing = f"messages to broker {name}"
        if event.refusal:
            mend = "let us write it (the broker's access list and limits)"
            self._fault = f"broker {name} refuses messages of {topic} ({event.refusal}): {mend}"
            self._faults[thing] = self._fault
        elif f" {topic} " in self._faults.get(thing, ""):
            del self._faults[thing]
        self._listener.acknowledged(session)

    def _leave(self, link: Link, session: Session) -> None:
        """Wait for what is on its way, say farewell, disconnect; all within `LEAVE_S`."""
        deadline_s = time.monotonic() + LEAVE_S
        waiting = set(session._sent)

        def all_taken() -> bool:
            """Whether all that is waited for was acknowledged in time."""
            while waiting and (left_s := deadline_s - time.monotonic()) > 0:
                for event in link.turn(left_s):
                    if isinstance(event, Taken):
                        waiting.discard(event.packet_id)
                    elif isinstance(event, Ended):
                        return False
            return not waiting

        said = self._will is None
        if all_taken() and self._farewell is not None:
            packet_id = link.publish(self._farewell(session.number))
            waiting.update(() if packet_id is None else (packet_id,))
            said = all_taken()
        link.disconnect(with_will=not said)
        while (left_s := deadline_s - time.monotonic()) > 0:
            if any(isinstance(event, Ended) for event in link.turn(left_s)):
                return

    def _end_look(self) -> None:
        """A look has our name: two connections of one name at one broker would end each other."""
        if self._look is not None:
            self._look.close()
            self._look = None

    def _note(self, broker: Broker, text: str, clock: bool = False) -> None:
        """One thing at a time is wrong with a broker."""
        things = [f"broker {broker.name}", f"{CLOCK} at broker {broker.name}"]
        self._fault = self._faults[things.pop(clock)] = text
        self._faults.pop(things.pop(), None)


class _Look:
    """Looks, on a thread of its own, whether one of the brokers accepts us; without a will, for a moment."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        client_id: str,
        pace: Pace,
        wake: Wake,
        trusted: Callable[[], bool],
    ) -> None:
        self._trusted = trusted
        self.found: Broker | None = None
        self.faults: list[tuple[Broker, str]] = []
        self.done = False
        self._brokers, self._client_id, self._pace, self._tell = brokers, client_id, pace, wake
        self._closing, self._wake = threading.Event(), Wake()
        self._thread = threading.Thread(target=self._run, name="mqtt-look", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break it off. One that hangs in TCP or TLS is left behind, and sends nothing any more."""
        self._closing.set()
        self._wake()
        self._thread.join(LEFT_BEHIND_S)

    def _run(self) -> None:
        for broker in self._brokers:
            link = Link(broker, self._client_id, self._pace, self._wake, self._closing, self._trusted)
            try:
                link.connect()
                self.found = broker
                link.disconnect()
                next(
                    event for event in link.until(self._pace.answer_s, "the end") if isinstance(event, Ended)
                )
                break
            except Fault as fault:
                self.faults.append((broker, str(fault)))
            finally:
                link.abandon()
        self._wake.close()
        self.done = True
        self._tell()
