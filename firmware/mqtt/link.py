"""One connection to one broker: the only file that imports paho, and the one that knows its habits.

One thread turns a link. Any may hand in a publication, which goes out at once where the socket is free, or an
acknowledgement, which goes out at the next turn.
"""

import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from firmware import wire
from firmware.facts import synchronised
from firmware.mqtt.broker import (
    PACKET_BYTES_MAX,
    Broker,
    Fault,
    Pace,
    by_clock,
    clock_before_tls,
    closed_early,
    plain,
    refused,
    tls_context,
    unreachable,
)

RECEIVE_MESSAGES = 64  # sent to us and not yet acknowledged, announced; 4 MiB at most wait for the disk
ACK_S = 0.002  # a broker's window is 20 messages and more: a gate may get 10,000 a second
TURN_S = 1.0  # how often the keepalive is looked at; whatever happens wakes sooner
ANY = 65_535  # a Receive Maximum that the broker does not name (MQTT 5, 3.2.2.3.3)


class Publication(NamedTuple):
    """A message to send. QoS 0 or 1."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Limits(NamedTuple):
    """What a broker takes: unacknowledged messages, and bytes of a packet (0: any)."""

    messages: int
    packet_bytes: int


class Accepted(NamedTuple):
    """The broker takes us."""

    limits: Limits


class Came(NamedTuple):
    """A message came. `packet_id` is 0 where it needs no acknowledgement."""

    topic: str
    payload: bytes
    retained: bool
    packet_id: int


class Taken(NamedTuple):
    """A publication was acknowledged; `refusal` says why it was not taken, if it was not."""

    packet_id: int
    refusal: str


class Subscribed(NamedTuple):
    """The subscriptions were answered; a text for each one, empty where it is granted."""

    refusals: tuple[str, ...]


class Ended(NamedTuple):
    """The connection is over, and why."""

    why: str


Event = Accepted | Came | Taken | Subscribed | Ended


class Wake:
    """Ends the wait of a thread."""

    def __init__(self) -> None:
        self.out, self._in = socket.socketpair()
        self.out.setblocking(False)
        self._in.setblocking(False)

    def __call__(self) -> None:
        """From any thread, also after the end."""
        with suppress(OSError):  # full: it will wake anyway; closed: nobody waits any more
            self._in.send(b"\0")

    def clear(self) -> None:
        """Before looking at what there is to do."""
        with suppress(OSError):
            self.out.recv(4096)

    def close(self) -> None:
        """Twice is fine."""
        self.out.close()
        self._in.close()


class _Ear(logging.Handler):
    """Remembers why the socket failed, which paho tells to its log only."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        self.error = next((each for each in arguments if isinstance(each, OSError)), self.error)


class Link:
    """A paho client. Its callbacks only note what happened, so that no lock of paho's is held around ours."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        pace: Pace,
        wake: Wake,
        closing: threading.Event,
        trusted: Callable[[], bool] = synchronised,
    ) -> None:
        """`closing`, with a wake, breaks off what waits for the broker; `trusted`: our clock is set."""
        self.broker, self._trusted = broker, trusted
        self._pace, self._wake, self._closing = pace, wake, closing
        self._accepted = False
        self._io = threading.Lock()  # a TLS socket is for one thread at a time
        self._owed: deque[int] = deque()  # packet ids to acknowledge
        self._turned_by = 0
        self._events: deque[Event] = deque()
        self._ear = _Ear()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        logger = logging.Logger("paho", logging.ERROR)
        logger.addHandler(self._ear)
        self._client.enable_logger(logger)
        self._client.connect_timeout = pace.connect_s
        self._client.max_inflight_messages_set(0)  # none is held back by paho: the window is ours
        if broker.username or broker.password:
            self._client.username_pw_set(broker.username or None, broker.password or None)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        # Being set, it keeps paho from writing to the socket while another thread reads from it.
        self._client.on_socket_register_write = lambda _client, _userdata, _socket: None

    # --- from any thread, with the lock of the session around it

    def publish(self, publication: Publication) -> int | None:
        """Hand in a message; its packet id, or `None` where the connection is over."""
        info = self._client.publish(*publication)
        if not self._written():
            self._wake()
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def _written(self) -> bool:
        """Whether all that was handed in is written, and nothing came of it that the link's thread must see.

        A question is on its way so before that thread would be awake. It never waits: the socket does not
        block, and where another thread has it, that one or the next turn writes. Nor does it write to a
        broker that has hung up: what that said last is to be read first.
        """
        if not self._io.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(self._client.socket(), select.POLLRDHUP)  # type: ignore[arg-type]  # or it raises
            if poll.poll(0):
                return False
            self._client.loop_write()
        except Exception:  # of a socket that was closed meanwhile: the next turn tells
            return False
        finally:
            self._io.release()
        return not self._events and not self._client.want_write()

    def acknowledge(self, packet_id: int) -> None:
        """Send a PUBACK, within `ACK_S`.

        Nobody waits for it, and somebody may for what the message was about: where the thread that turns the
        link hands that to another, it goes to sleep first, so that the other has the interpreter.
        """
        self._owed.append(packet_id)
        if threading.get_ident() != self._turned_by:
            self._wake()

    @property
    def owes(self) -> bool:
        """Whether acknowledgements wait for the next turn."""
        return bool(self._owed)

    # --- from the thread that turns it

    def connect(self, will: Publication | None = None) -> Limits:
        """Connect and wait for the broker's word. Raises `Fault`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ReceiveMaximum = RECEIVE_MESSAGES
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        if will is not None:
            self._client.will_set(*will)
        if self.broker.tls is not None:
            self._client.tls_set_context(tls_context(self.broker, self.broker.tls))
        try:
            self._client.connect(
                self.broker.host,
                self.broker.port,
                self._pace.keepalive_s,
                clean_start=True,  # session expiry stays 0: the broker keeps nothing of us either
                properties=properties,
            )
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            if by_clock(error) and not self._trusted():
                raise clock_before_tls(self.broker, error) from None
            raise Fault(unreachable(self.broker, error, self._pace)) from None
        if self._closing.is_set():  # perhaps long ago, and nobody waits for us any more
            raise self.broken_off()
        sock: Any = self._client.socket()
        with suppress(OSError):  # a PUBACK before a question would hold it back for 40 ms
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for event in self.until(self._pace.answer_s, "the answer to CONNECT"):
            if isinstance(event, Accepted):
                return event.limits
            if isinstance(event, Ended):
                raise Fault(event.why)
        raise AssertionError("`until` ends in a fault")

    def subscribe(self, filters: Sequence[str]) -> list[Came]:
        """Subscribe to all; what came before the confirmation did. Raises `Fault`."""
        early: list[Came] = []
        if not filters:
            return early
        self._client.subscribe([(each, options(each)) for each in filters])
        for event in self.until(self._pace.answer_s, "the answer to SUBSCRIBE"):
            if isinstance(event, Came):
                early.append(event)
            elif isinstance(event, Ended):
                raise Fault(event.why)
            elif isinstance(event, Subscribed):
                for name, refusal in zip(filters, event.refusals, strict=True):
                    if refusal:
                        mend = "let us read it (the broker's access list)"
                        raise Fault(f"broker {self.broker.name} refuses {name} ({refusal}): {mend}")
                return early
        raise AssertionError("`until` ends in a fault")

    def until(self, limit_s: float, what: str) -> Iterator[Event]:
        """The events up to a limit, which is a fault."""
        deadline_s = time.monotonic() + limit_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            yield from self.turn(min(TURN_S, left_s))
            if self._closing.is_set():
                raise self.broken_off()
        mend = "is it a broker, and is it overloaded?"
        raise Fault(f"broker {self.broker.name} did not send {what} within {limit_s:g} s: {mend}")

    def broken_off(self) -> Fault:
        """What an attempt ends with when we are closing."""
        return Fault(f"broker {self.broker.name}: broken off, because we are closing")

    def turn(self, timeout_s: float) -> Iterator[Event]:
        """Wait for the socket, the wake or the time; read and write; hand out what happened."""
        try:
            self._turn(timeout_s)
        except Exception:  # paho decodes what a stranger sends, and any of its faults may come of that
            with self._io:
                self.abandon()
            self._end(None)
        while self._events:
            yield self._events.popleft()

    def _turn(self, timeout_s: float) -> None:
        client = self._client
        sock: Any = client.socket()  # paho has a type of its own for it
        if sock is None:
            self._end(None)
            return
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        poll.register(self._wake.out, select.POLLIN)
        with self._io:
            buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        self._turned_by = threading.get_ident()
        if self._owed:
            timeout_s = min(timeout_s, ACK_S)
        ready = dict(poll.poll(0 if buffered else timeout_s * 1000))
        if self._wake.out.fileno() in ready:
            self._wake.clear()
        with self._io:
            if buffered or ready.get(sock.fileno(), 0) & ~select.POLLOUT:
                client.loop_read()
            self._pay()
            if client.want_write():
                client.loop_write()
            client.loop_misc()

    def _pay(self) -> None:
        while self._owed:
            self._client.ack(self._owed.popleft(), 1)

    def own_address(self) -> str:
        """Our own address of this connection; "" after its end."""
        sock: Any = self._client.socket()
        with suppress(OSError):
            return str(sock.getsockname()[0]) if sock is not None else ""
        return ""

    def disconnect(self, with_will: bool = False) -> None:
        """Say goodbye, at the next turns; with the will where the farewell was not taken."""
        self._pay()
        reason = "Disconnect with will message" if with_will else "Normal disconnection"
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, reason))

    def abandon(self) -> None:
        """Close the socket without a word; the broker sends the will."""
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # --- what paho calls, on the thread that turns it

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, found: Properties | None
    ) -> None:
        if reason.is_failure:
            self._events.append(Ended(refused(self.broker, reason.value, str(reason))))
        elif getattr(found, "MaximumQoS", 1) < 1:
            text = f"broker {self.broker.name} takes no messages of QoS 1: let it, or use another"
            self._events.append(Ended(text))
        else:
            self._accepted = True
            messages, packet_bytes = (
                getattr(found, "ReceiveMaximum", ANY),
                getattr(found, "MaximumPacketSize", 0),
            )
            self._events.append(Accepted(Limits(messages, packet_bytes)))

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], found: Properties | None
    ) -> None:
        self._events.append(Subscribed(tuple(str(each) if each.is_failure else "" for each in reasons)))

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        packet_id = message.mid if message.qos else 0
        self._events.append(Came(message.topic, bytes(message.payload), bool(message.retain), packet_id))

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, found: Properties | None
    ) -> None:
        self._events.append(Taken(mid, str(reason) if reason.is_failure else ""))

    def _on_disconnect(
        self,
        client: Client,
        userdata: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        found: Properties | None,
    ) -> None:
        self._end(reason if flags.is_disconnect_packet_from_server else None)

    def _end(self, reason: ReasonCode | None) -> None:
        """The connection is over. `reason`: the broker's, where it gave one."""
        name, error = self.broker.name, self._ear.error
        if reason is None and not self._accepted:
            text = closed_early(self.broker, error)
        elif reason is None:
            text = f"broker {name}: the connection is lost{f' ({plain(error)})' if error else ''}"
        else:
            text = f"broker {name} ended the connection ({reason}): look at its log and limits"
        self._events.append(Ended(text))


def options(subscription: str) -> SubscribeOptions:
    """How to subscribe. Only a topic whose messages are kept wants those from before; nobody wants his own.

    A shared subscription never gets kept messages, and must not ask to be spared its own (MQTT 5, 3.8.3.1).
    """
    shared = subscription.startswith("$share/")
    kept = tuple(f"/{topic.name.rpartition('/')[2]}" for topic in wire.TOPICS if topic.retained)
    wanted = subscription.endswith(("#", *kept))
    handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if wanted else SubscribeOptions.RETAIN_DO_NOT_SEND
    return SubscribeOptions(1, noLocal=not shared, retainAsPublished=True, retainHandling=handling)
