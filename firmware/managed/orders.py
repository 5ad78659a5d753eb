"""Orders from elsewhere: checked at the door, done once, answered, and each one a row.

A thread of its own takes them one by one, because the disk has to be waited for; the uplink's thread only
hands them over. Nothing is done before the counter of its order is on disk, and nothing that has waited for
long is done at all: who gave the order does not stand there any more.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Self

import msgspec

from firmware import wire
from firmware.core.ticket import Moment
from firmware.managed.counters import Counters, Last, digest_of
from firmware.managed.managed import Managed
from firmware.managed.obeying import Behind, Obeying, Outcome, in_loop
from firmware.managed.refusals import FROM_ANYBODY, FROM_OPERATOR, MINUTE_S, Refusals
from firmware.signing import NotSigned, Operator, Role, checked
from firmware.uplink.part import Outgoing

WAITING_MAX = 16  # not looked at yet; a person gives one, and one for all gates is one for each
REPLIES_MAX = 64  # not sent yet, of 40 kB at most
REFUSED_REPLIES_MAX = 60  # in a minute; a person who tries again and again gives an order each second
WAITED_S_MAX = 10.0  # an order that waited longer, for the disk above all, is not done any more
REPLY_S = 3.0  # a reply gets so long to leave before its order ends the process
TEXT_MAX = 256  # characters of a reply's text, as the wire has it
TURN_S = 0.5  # between looks at what has its time
JOIN_S = 2.0  # a closing gate waits so long for an order in hand
FILE = "orders"  # in the gate's data

TOO_MANY = "too many orders at once: they were dropped"


class _Came(NamedTuple):
    payload: bytes
    retained: bool
    at_s: float


class _Finished(NamedTuple):
    """An order that took longer than others may wait."""

    order: wire.Order
    digest: bytes
    by: str
    outcome: Outcome


class _Refused(Exception):
    def __init__(self, done: wire.Done, text: str) -> None:
        super().__init__(text)
        self.done = done


class Orders:
    """What a gate is told to do. A part of the uplink, and a thread that ends with it."""

    topics: Sequence[wire.Topic] = (wire.COMMAND,)

    def __init__(
        self, managed: Managed, counters: Counters | None = None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._managed, self._now_s = managed, now_s
        self._counters = counters or Counters(managed.data / FILE)
        self._refusals = Refusals(partial(managed.note, "order"), now_s)
        self._obeying = Obeying(managed, now_s)
        self._connection = 0
        self._ahead_ms: int | None = None
        self._wake: Callable[[], None] = lambda: None
        self._waiting: queue.Queue[_Came | _Finished | None] = queue.Queue(WAITING_MAX)
        self._dropped = self._told_dropped = 0
        self._replies: deque[tuple[wire.Reply, threading.Event]] = deque()
        self._refused_left, self._refused_until_s = 0, float("-inf")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    # --- the uplink's thread -------------------------------------------------------------------------------

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        """Orders for an earlier connection are stale from now on."""
        self._connection, self._wake = connection, wake
        self._ahead_ms = self._managed.gate.clock.ahead_ms

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        """Hand it over. What finds too many is dropped: its sender sees that no reply comes."""
        try:
            self._waiting.put_nowait(_Came(payload, retained, self._now_s()))
        except queue.Full:
            self._dropped += 1

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        """Replies."""
        while self._replies:
            reply, gone = self._replies[0]
            yield Outgoing(wire.REPLY, reply)
            self._replies.popleft()
            gone.set()

    # --- its own thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._counters.fault:
            self._managed.note("fault", self._counters.fault)
        while not self._ending.is_set():
            try:
                with suppress(queue.Empty):
                    self._turn(self._waiting.get(timeout=TURN_S))
                self._look()
            except Exception as error:  # a fault of ours, or of the disk: the next order must be heard
                text = f"an order could not be dealt with: {type(error).__name__}: {error}"
                self._refusals.refused("not dealt with", text, FROM_ANYBODY)

    def _turn(self, item: "_Came | _Finished | None") -> None:
        if isinstance(item, _Came):
            self._on_came(item)
        elif isinstance(item, _Finished):
            self._finish(*item)

    def _look(self) -> None:
        if self._dropped != self._told_dropped:
            self._told_dropped = self._dropped
            self._refusals.refused("too many at once", TOO_MANY, FROM_ANYBODY)
        self._refusals.look()
        self._obeying.look()

    def _on_came(self, came: _Came) -> None:
        """One order: refused, answered as it was before, or done."""
        named = wire.Reply(key="", counter=0, done=wire.Done.MALFORMED)
        who, what, most, whose = "somebody", "an order", FROM_ANYBODY, ""
        try:
            if came.retained:
                raise _Refused(wire.Done.RETAINED, "it was sent as retained: orders are for now")
            signed = wire.decode(came.payload, wire.Signed)
            named = msgspec.structs.replace(named, key=signed.key)
            order = checked(signed, wire.Order, self._managed.operators)
            named = msgspec.structs.replace(named, counter=order.counter)
            operator = self._managed.operators[order.key]
            who, what, most, whose = operator.name, order.what, FROM_OPERATOR, f" of {operator.name}"
            self._on_order(order, operator, digest_of(signed.signed), came.at_s)
            return
        except NotSigned as error:
            done, text = error.done, str(error)
        except wire.Unfit as error:
            done, text = wire.Done.MALFORMED, str(error)
        except _Refused as error:
            done, text = error.done, str(error)
        self._refusals.refused(f"{done}{whose}", f"{who}: {what}: refused ({done}): {text}", most)
        self._refuse(msgspec.structs.replace(named, done=done, text=text))

    def _on_order(self, order: wire.Order, operator: Operator, digest: bytes, at_s: float) -> None:
        """One whose signature holds. Raises `_Refused`."""
        last = self._counters.last(order.key)
        own = self._managed.settings
        if (order.venue, order.gate) != (own.venue, own.gate_name):
            raise _Refused(wire.Done.OTHER_GATE, f"it is for gate {order.gate} of venue {order.venue}")
        if last is not None and (last.counter, last.digest) == (order.counter, digest):
            text = f"{operator.name}: {order.what}: came again ({last.done}): {last.text}"
            self._refusals.refused(f"came again of {operator.name}", text, FROM_OPERATOR)
            self._refuse(_reply_to(order, last.done, last.text))
            return
        self._check_time(order)
        if last is not None and order.counter <= last.counter:
            text = f"its number is {order.counter}, and one of this key with {last.counter} was taken already"
            raise _Refused(wire.Done.REPLAYED, text)
        if operator.role is Role.STEWARD and order.what is not wire.What.OPEN_ONCE:
            text = f"{operator.name} is a steward, who may open once: a supervisor may do this"
            raise _Refused(wire.Done.ROLE_TOO_LOW, text)
        try:
            self._counters.keep(order.key, Last(order.counter, digest))
        except OSError as error:
            text = f"nothing was done: its number could not be written ({error.strerror}): see to the disk"
            raise _Refused(wire.Done.FAILED, text) from None
        by = f"{operator.name}: {order.what}"
        waited_s = self._now_s() - at_s
        if waited_s > WAITED_S_MAX:
            outcome = Outcome(wire.Done.EXPIRED, f"it waited here for {waited_s:.0f} s: is the disk failing?")
            self._finish(order, digest, by, outcome)
            return

        def later(outcome: Outcome) -> None:
            with suppress(queue.Full):  # the gate is being closed, and nobody takes it any more
                self._waiting.put(_Finished(order, digest, by, outcome), timeout=JOIN_S)

        found: Outcome | None
        try:
            found = self._obeying.obey(order, by, later)
        except Exception as error:  # a fault of ours; who gave the order is told all the same
            found = Outcome(wire.Done.FAILED, f"it failed: {type(error).__name__}: {error}")
        if found is not None:
            self._finish(order, digest, by, found)

    def _check_time(self, order: wire.Order) -> None:
        journal = self._managed.journal
        present = (journal.epoch, journal.random, self._connection)
        if (order.epoch, order.random, order.connection) != present:
            text = "it is for an earlier connection of this gate: give it once more"
            raise _Refused(wire.Done.STALE, text)
        try:
            moment: Moment = in_loop(self._managed.gate, self._managed.gate.clock.now)
        except Behind as error:
            raise _Refused(wire.Done.FAILED, str(error)) from None
        now_ms = moment.utc_ms
        if self._ahead_ms is not None:  # a clock that was set back since then brings no old order to life
            now_ms = max(now_ms, moment.monotonic_ms + self._ahead_ms)
        late_ms = now_ms - order.expires_utc_ms
        if moment.trusted and late_ms > 0:
            text = f"it came {late_ms / 1000:.0f} s after its end: is the clock right where it was given?"
            raise _Refused(wire.Done.EXPIRED, text)

    def _finish(self, order: wire.Order, digest: bytes, by: str, outcome: Outcome) -> None:
        """The row, what is kept of the reply, the reply, and what comes after it."""
        if not outcome.recorded:
            self._managed.note("order", f"{by}: {outcome.done}: {outcome.text}")
        last = self._counters.last(order.key)
        if last is not None and last.digest == digest:
            try:
                self._counters.keep(order.key, Last(order.counter, digest, outcome.done, outcome.text))
            except OSError as error:
                self._managed.note("fault", f"what came of {by} could not be written: {error.strerror}")
        gone = self._reply(_reply_to(order, outcome.done, outcome.text, outcome.report))
        if outcome.then is not None:
            gone.wait(REPLY_S)
            if not self._ending.is_set():
                outcome.then()

    def _refuse(self, reply: wire.Reply) -> None:
        """A reply to what was not done; so many in a minute, because a flood must not hold up the rows."""
        now_s = self._now_s()
        if now_s >= self._refused_until_s:
            self._refused_left, self._refused_until_s = REFUSED_REPLIES_MAX, now_s + MINUTE_S
        if self._refused_left:
            self._refused_left -= 1
            self._reply(reply)

    def _reply(self, reply: wire.Reply) -> threading.Event:
        """Have it sent; the event says that it has left."""
        gone = threading.Event()
        if len(self._replies) < REPLIES_MAX:
            self._replies.append((msgspec.structs.replace(reply, text=reply.text[:TEXT_MAX]), gone))
            self._wake()
        return gone

    # --- start and end -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End. An order in hand is finished, or left where it takes too long."""
        self._ending.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(JOIN_S)
        self._obeying.close()


def _reply_to(order: wire.Order, done: wire.Done, text: str, report: str = "") -> wire.Reply:
    return wire.Reply(key=order.key, counter=order.counter, done=done, text=text, report=report)
