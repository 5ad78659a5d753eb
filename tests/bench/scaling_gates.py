"""Some hundred simulated gates in one process, for `tests.bench.scaling`: told what to do by lines of JSON.

The gates are those of `tests.sim.gates`: rows, chain, batches, movements and presence are made by the gate's
own code. Here they follow the catalogue besides, as `firmware.sync` does, though they keep no ticket of it.

A movement of another gate that a real gate hears of, from that gate or with the list, is a row of its own,
which goes up as well. Gates that `hear` do so too. The others write down what the vendor tells alone: so the
rows that they are told to bring are the rows that there are.
"""

import heapq
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random, uniform
from typing import Self

import msgspec

from firmware import wire
from firmware.core.ticket import Ticket, Verdict
from firmware.facts import Clock
from firmware.mqtt import Arrived, Broker, Session
from firmware.sync import ANSWER_S, REQUEST_PAGES
from firmware.uplink import LOOK_S, LOOK_SPREAD, outcome_row
from tests.bench import site
from tests.bench.scaling_lines import Lines
from tests.bench.sending import people
from tests.sim.gates import PLACES_MAX, WALK_S, Gate, Person

DUE_S = 0.1  # between two looks at gates with rows on their way: half of the time that rows gather
TURN_S = 1.0  # and at the others, as the uplink has it
LOOK_AGAIN_S = 0.02  # for people, and for what is waited for
CONNECTED_S = 120.0


class Follower:
    """How far one gate's list has come: what `firmware.sync` asks for and when, without the tickets."""

    def __init__(self) -> None:
        self.feed, self.cursor = "", 0
        self.pages = self.bytes_in = self.gaps = 0
        self._heard = self._pages_due = 0
        self._behind = True
        self._answer_ends_s = self._look_s = float("-inf")

    @property
    def at_present(self) -> bool:
        """Whether it has all that was heard of."""
        return not self._behind

    def connected(self) -> None:
        """What was asked for on the last connection may not come."""
        self._behind, self._pages_due = True, 0

    def request(self, now_s: float) -> wire.CatalogueRequest | None:
        """What to ask for now."""
        if not self._behind and now_s >= self._look_s:
            self.connected()
        if not self._behind or (self._pages_due > 0 and now_s < self._answer_ends_s):
            return None
        self._pages_due, self._answer_ends_s = REQUEST_PAGES, now_s + ANSWER_S
        self._look_s = now_s + LOOK_S * uniform(*LOOK_SPREAD)
        return wire.CatalogueRequest(feed=self.feed, cursor=self.cursor, pages=REQUEST_PAGES)

    def page(self, page: wire.CataloguePage, now_s: float) -> bool:
        """Take a page; whether its items are news."""
        self.pages += 1
        if page.feed != self.feed and page.after == 0:
            self.feed, self.cursor, self._heard = page.feed, 0, 0
        if page.feed != self.feed or page.after > self.cursor or page.upto < self.cursor:
            return False
        self.cursor = page.upto
        self._pages_due, self._answer_ends_s = self._pages_due - 1, now_s + ANSWER_S
        if not page.more:
            self._pages_due, self._behind = 0, self._heard > page.upto
            self._heard = 0
        return True

    def changes(self, changes: wire.Changes) -> bool:
        """Take live changes; whether their items are news."""
        if changes.feed == self.feed:
            self._heard = max(self._heard, changes.upto)
        if changes.feed != self.feed or changes.after > self.cursor:
            self.gaps += not self._behind
            self._behind = True
            return False
        if changes.upto < self.cursor:
            return False
        self.cursor = changes.upto
        return True


class ScaledGate(Gate):
    """A gate that follows the catalogue. `sold` has when each ticket that it watches for was there."""

    def __init__(self, name: str, broker: Broker, clock: Clock, lines: Lines, hears: bool = False) -> None:
        super().__init__(site.VENUE, name, [broker], clock, hears, line=lines.line)
        self._hears = hears
        self.follower = Follower()
        self.watched: frozenset[str] = frozenset()
        self.sold: dict[str, int] = {}

    def connected(self, session: Session) -> None:
        """Begin at the last receipt, and at the list's cursor."""
        self.follower.connected()
        super().connected(session)

    @property
    def is_born(self) -> bool:
        """Whether the broker has taken its birth."""
        return self._presences.born

    @property
    def waited_s(self) -> list[float]:
        """How long each row has waited so far that has no receipt."""
        now_s = time.monotonic()
        return [now_s - written_s for written_s in self._written_s.values()]

    @property
    def rows(self) -> int:
        """How many it has written."""
        return self._memory.seq

    def _pump(self) -> None:
        super()._pump()
        session = self._session
        if session is not None and self._born and session.in_flight < session.window:
            request = self.follower.request(time.monotonic())
            if request is not None:
                self._publish(session, wire.REQUEST, request)

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """One message."""
        self.follower.bytes_in += len(arrived.topic) + len(arrived.payload)
        super().arrived(session, arrived)

    def _read(self, found: wire.Addressed, payload: bytes) -> None:
        match found.topic:
            case wire.PAGE:
                page = wire.decode(payload, wire.CataloguePage)
                if self.follower.page(page, time.monotonic()):
                    self._take_items(page.items)
            case wire.CHANGES:
                changes = wire.decode(payload, wire.Changes)
                if self.follower.changes(changes):
                    self._take_items(changes.items)
            case wire.OUTCOME:
                outcomes = wire.decode(payload, wire.Outcomes).outcomes
                self.outcomes.update(each.result for each in outcomes)
                told = [each for each in outcomes if each.result is not wire.Result.ACCEPTED]
                self._notes.write(map(outcome_row, told))
            case _:
                super()._read(found, payload)

    def _take_items(self, items: Sequence[wire.Change]) -> None:
        moved = [item for item in items if isinstance(item, wire.Moved)]
        self._notes.offer([item for item in moved if self._hears or not item.gate])
        if not self.watched:
            return
        for item in items:
            if isinstance(item, wire.Listed) and item.ticket_id in self.watched:
                self.sold.setdefault(item.ticket_id, time.perf_counter_ns())


class Gates:
    """All gates of this process, the people in front of them, and the loop."""

    def __init__(self, port: int, names: Sequence[str], hears: bool = False) -> None:
        self.lines = Lines()
        clock = Clock(lambda: True)
        self.gates = [
            ScaledGate(name, Broker("127.0.0.1", port, username=name), clock, self.lines, hears)
            for name in names
        ]
        self._random = Random(names[0])
        self._coming: deque[tuple[float, Person]] = deque()
        self._walks: list[tuple[float, int]] = []
        self._due_s = self._turn_s = 0.0
        self.busy = 0
        """People whom no gate had time for."""
        self.behind_s = 0.0
        """By how much a person came too late at most: this process had no time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.lines.close()

    def connect(self) -> None:
        """Connect one after the other, while those before work."""
        for gate in self.gates:
            gate.line.__enter__()
            self.turn(0.0)
        self.until(lambda: all(gate.is_born for gate in self.gates), CONNECTED_S)

    def bring(self, persons: Iterator[Person], count: int, seconds: float) -> None:
        """Let so many of them come at random moments from now on, each to a gate that is free."""
        began_s = time.monotonic()
        moments = sorted(began_s + self._random.uniform(0, seconds) for _ in range(count))
        self._coming.extend(zip(moments, persons, strict=False))

    @property
    def is_over(self) -> bool:
        """Whether everybody has come and walked."""
        return not self._coming and not self._walks

    def turn(self, timeout_s: float) -> None:
        """Messages, people, walks, and what is due."""
        self.lines.turn(timeout_s)
        now_s = time.monotonic()
        while self._coming and self._coming[0][0] <= now_s:
            moment_s, person = self._coming.popleft()
            self.behind_s = max(self.behind_s, now_s - moment_s)
            self._admit(person, now_s)
        while self._walks and self._walks[0][0] <= now_s:
            self.gates[heapq.heappop(self._walks)[1]].walk()
        if now_s >= self._due_s:
            self._due_s = now_s + DUE_S
            every = now_s >= self._turn_s
            if every:
                self._turn_s = now_s + TURN_S
            for gate in self.gates:
                if every or gate.waiting:
                    gate.look()

    def until(self, what: Callable[[], bool], limit_s: float) -> None:
        """Turn until it is so, or for so long."""
        ends_s = time.monotonic() + limit_s
        while not what() and time.monotonic() < ends_s:
            self.turn(LOOK_AGAIN_S)

    def _admit(self, person: Person, now_s: float) -> None:
        for _ in range(PLACES_MAX):
            at = self._random.randrange(len(self.gates))
            if self.gates[at].is_ready:
                if self.gates[at].scan(person):
                    heapq.heappush(self._walks, (now_s + self._random.uniform(*WALK_S), at))
                return
        self.busy += 1

    @property
    def waiting(self) -> int:
        """Rows without a receipt."""
        return sum(gate.waiting for gate in self.gates)


# --- the process -------------------------------------------------------------------------------------------


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What to do. `names`, `port` and `hears` make the gates; the rest is as the commands need it."""

    do: str
    port: int = 0
    names: list[str] = []
    hears: bool = False
    first: int = 0
    people: int = 0
    listed: int = 0
    seconds: float = 0.0
    feed: str = ""
    cursor: int = 0
    tickets: list[str] = []


class Desk:
    """Carries the commands out. One that waits for something lets the gates work meanwhile."""

    def __init__(self) -> None:
        self._made: Gates | None = None
        self._folk: list[tuple[str, Ticket]] = []

    @property
    def gates(self) -> Gates:
        """Those that were made."""
        assert self._made is not None
        return self._made

    def turn(self) -> None:
        """Let them work."""
        if self._made is None or self._made.lines.closed:
            select.select([sys.stdin], [], [])
        else:
            self._made.turn(LOOK_AGAIN_S)

    def close(self) -> None:
        """Say farewell."""
        if self._made is not None:
            self._made.lines.close()

    def make(self, said: Said) -> dict[str, object]:
        """The gates, at the place of a feed where they have been before, and the people."""
        self._folk = people(said.people, said.listed)[said.first :] if said.people else []
        self._made = Gates(said.port, said.names, said.hears)
        self._made.lines.listen(sys.stdin.fileno())
        for gate in self._made.gates:
            gate.follower.feed, gate.follower.cursor = said.feed, said.cursor
        return {}

    def connect(self, said: Said) -> dict[str, object]:
        """Until all are born, and have the present of the list."""
        began_s = time.monotonic()
        self.gates.connect()
        connected_s = time.monotonic() - began_s
        self.gates.until(lambda: all(gate.follower.at_present for gate in self.gates.gates), said.seconds)
        followers = [gate.follower for gate in self.gates.gates]
        assert all(each.at_present for each in followers), "the list did not come"
        return {
            "connected_s": connected_s,
            "list_s": time.monotonic() - began_s,
            "bytes": sum(each.bytes_in for each in followers),
            "feed": followers[0].feed,
            "cursor": followers[0].cursor,
        }

    def bring(self, said: Said) -> dict[str, object]:
        """Begin to let people come. Rows from before waited for the connection, and are no load."""
        for gate in self.gates.gates:
            gate.lateness_s.clear()
        self.gates.bring(map(Person._make, self._folk), len(self._folk), said.seconds)
        return {}

    def settle(self, said: Said) -> dict[str, object]:
        """Until everybody has walked and each row has its receipt, but no longer; how many were let in."""
        gates = self.gates
        gates.until(lambda: gates.is_over and not gates.waiting, said.seconds)
        return {"scans": sum(gate.verdicts[Verdict.ADMITTED] for gate in gates.gates)}

    def leave(self, said: Said) -> dict[str, object]:
        """The last rows get their receipts, and all say farewell; how it went."""
        gates = self.gates
        gates.until(lambda: not gates.waiting, said.seconds)
        lost = gates.lines.lost.copy()
        gates.lines.close()
        late_s = [each for gate in gates.gates for each in (*gate.lateness_s, *gate.waited_s)]
        return {
            "waiting": gates.waiting,
            "rows": sum(gate.rows for gate in gates.gates),
            "late_ms": [round(each * 1000) for each in late_s],
            "accepted": sum(gate.outcomes[wire.Result.ACCEPTED] for gate in gates.gates),
            "busy": gates.busy,
            "behind_s": gates.behind_s,
            "gaps": sum(gate.follower.gaps for gate in gates.gates),
            "pages": sum(gate.follower.pages for gate in gates.gates),
            "bytes": sum(gate.follower.bytes_in for gate in gates.gates),
            "lost": lost,
        }

    def watch(self, said: Said) -> dict[str, object]:
        """Watch for these tickets."""
        for gate in self.gates.gates:
            gate.watched, gate.sold = frozenset(said.tickets), {}
        return {"bytes": sum(gate.follower.bytes_in for gate in self.gates.gates)}

    def seen(self, said: Said) -> dict[str, object]:
        """Until every gate has all of them; when each had each."""
        gates = self.gates.gates
        self.gates.until(lambda: all(len(gate.sold) == len(gate.watched) for gate in gates), said.seconds)
        found = {
            ticket: [gate.sold[ticket] for gate in gates if ticket in gate.sold] for ticket in said.tickets
        }
        return {"seen": found, "bytes": sum(gate.follower.bytes_in for gate in gates)}


def main() -> int:
    """Until the input ends."""
    desk = Desk()
    read, left = sys.stdin.fileno(), b""
    os.set_blocking(read, False)
    try:
        while True:
            try:
                chunk = os.read(read, 1 << 20)
            except BlockingIOError:
                desk.turn()
                continue
            if not chunk:
                return 0
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                said = msgspec.json.decode(line, type=Said)
                print(json.dumps(getattr(desk, said.do)(said)), flush=True)
    finally:
        desk.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
