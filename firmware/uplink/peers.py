"""Movements between the gates of a venue: ours for the others, theirs for our histories.

Each gate tells its own movements after their commit, in order; each message says after which row it begins.
Whoever has not heard up to that row asks for the rest, from where it stands. So the venue's broker alone is
enough for a copied ticket to be refused at the second gate.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from firmware import wire
from firmware.row import Unreadable, decode
from firmware.rows import Stored
from firmware.uplink.notes import Notes
from firmware.uplink.rows_up import Place

LIVE_ROWS = 200  # looked at for one message: what one commit takes at most
ANSWER_ROWS = 2000  # looked at for an answer: 30 ms, in which nothing else goes up
# Gates of one venue that are known here. All gates hear all questions, though only the gate that is meant
# answers: after a broker's restart N gates hear N * N of them. That is 2,450 for the fifty measured.
PEERS_MAX = 256
TEXT_LENGTH_MAX = 256  # of `wire.Text`
ITEM_BYTES = 140  # of an item at most, besides the name of its ticket
HEAD_BYTES = 256  # of a message at most, besides its items
ASK_S = 5.0  # without an answer for so long, it or the request was lost
ASK_S_MAX = 60.0
LATER_S = 1.0  # until the loop has room for what a peer told
# What a gate tells is a row here, and may be a ticket that nobody has heard of yet, whose history stays for
# ever. Four lanes with 40 scans a minute and an opening, a walk and a lapse each make 8 movements a second:
# so many are taken for ever, and more where a gate was away. A gate that does not keep to it costs 700,000
# rows and histories a day (400 MB, which a receipt lets go, and 100 MB) after the first night's, and no more.
MOVEMENTS_A_SECOND = 8.0
MOVEMENTS_OF_A_NIGHT = 250_000.0  # of eight hours at that rate, once; it grows again with time
CATCH_UP_A_SECOND = 200.0  # fifty gates at once are what a journal takes; a busy night is here in minutes
CATCH_UP_MOVEMENTS = 2.0 * wire.ITEMS_MAX  # without waiting

Outgoing = tuple[wire.Topic, wire.Message]


class Rows(Protocol):
    """The journal, as it is read here."""

    def after(self, row: int, limit: int) -> list[Stored]:
        """Up to `limit` rows after this one, in order."""

    def digest(self, row: int) -> bytes | None:
        """The chain digest of one row, `None` where it is not here."""

    def peers(self) -> dict[str, tuple[int, bytes]]:
        """The last row that each gate told of itself, and that row's digest there."""


class _Allowance:
    """How many movements may come: so many at once, and so many more with each second."""

    def __init__(self, most: float, a_second: float) -> None:
        self._most, self._a_second = most, a_second
        self._left, self._at_s = most, float("-inf")

    def wait_s(self, now_s: float) -> float:
        """How long until a message may come; 0 for now."""
        self._left = min(self._most, self._left + max(0.0, now_s - self._at_s) * self._a_second)
        self._at_s = now_s
        return max(0.0, -self._left / self._a_second)

    def spend(self, count: int) -> None:
        """A message is taken whole, and what it has too much comes off the next."""
        self._left -= count


class _Peer:
    """Another gate: how far it was heard, and whether to ask it for more."""

    def __init__(self, heard: Place) -> None:
        self.heard = heard
        self.proven = False
        """Whether it has answered since its last birth, so that `heard` is a row of the journal it has now.

        With another card in it, its rows have other numbers, and these say nothing of what was heard.
        """
        self.of_a_night = _Allowance(MOVEMENTS_OF_A_NIGHT, MOVEMENTS_A_SECOND)
        self.catching_up = _Allowance(CATCH_UP_MOVEMENTS, CATCH_UP_A_SECOND)
        self.newest = (0, 0)  # of its births
        self.online = True
        self.ask = False
        self.due_s = 0.0
        self.wait_s = ASK_S

    def want(self, now_s: float, wait_s: float = 0.0) -> None:
        """Ask, unless that was done a moment ago."""
        if not self.ask:
            self.ask, self.due_s, self.wait_s = True, now_s + wait_s, ASK_S


class _Told(NamedTuple):
    items: tuple[wire.Moved, ...]
    upto: Place


class Peers:
    """The venue's other gates. No thread, no network; `outgoing` is what to send, one after the other."""

    def __init__(self, gate: str, rows: Rows, notes: Notes) -> None:
        self._gate, self._rows, self._notes = gate, rows, notes
        self._peers = {name: _Peer(Place(*found)) for name, found in rows.peers().items()}
        self._requests: dict[str, wire.AdmissionsRequest] = {}
        self._looked = self._told = Place()  # how far our rows were looked at, and the last one that was told
        self._drops = notes.drops
        self.unsent = 0
        """Movements of tickets with names that are too long for a message, or for this broker."""
        self.faults: dict[str, str] = {}
        """What is wrong with other gates, by kind."""

    def connected(self, newest: int) -> None:
        """Others ask for what they missed when they hear of our birth, so we go on at the present."""
        digest = self._rows.digest(newest) if newest else b""
        assert digest is not None
        self._looked = self._told = Place(newest, digest)
        self._requests.clear()
        for peer in self._peers.values():
            peer.ask = peer.proven = False

    # --- what came -----------------------------------------------------------------------------------------

    def presence(self, gate: str, presence: wire.Presence, now_s: float) -> None:
        """A birth, or a death that is not older than the newest birth."""
        peer = self._peer(gate)
        if peer is None:
            return
        age = (presence.epoch, presence.connection)
        if presence.online:
            peer.newest, peer.online = age, True
            peer.ask = peer.proven = False
            peer.want(now_s)
        elif age >= peer.newest:
            peer.online = False

    def missed(self, now_s: float) -> None:
        """Something was not heard, and nobody knows of whom."""
        for peer in self._peers.values():
            peer.want(now_s)

    def request(self, asker: str, request: wire.AdmissionsRequest) -> None:
        """Another gate asks; its last question counts."""
        if request.of == self._gate and asker != self._gate and self._peer(asker) is not None:
            self._requests[asker] = request

    def admissions(self, gate: str, told: wire.Admissions, now_s: float) -> None:
        """What a gate tells of itself. Raises `wire.Unfit`."""
        peer = self._peer(gate)
        if peer is None or told.to not in ("", self._gate):
            return
        if any(item.gate != gate for item in told.items):
            raise wire.Unfit("movements of another gate than its sender")
        if told.upto < told.after:
            raise wire.Unfit("it ends before it begins")
        if told.after > peer.heard.row:
            peer.want(now_s)
            return
        if self._put_off(gate, peer, now_s):
            return
        answered = told.to == self._gate
        proven = answered or peer.proven
        if not self._notes.offer(told.items, heard=proven):
            peer.ask = False
            peer.want(now_s, LATER_S)
            return
        peer.of_a_night.spend(len(told.items))
        peer.catching_up.spend(len(told.items))
        if proven and (told.upto > peer.heard.row or (answered and not told.after)):
            peer.heard = Place(told.upto, told.digest)
        if answered:
            peer.ask, peer.proven = False, True
            if told.more:
                peer.want(now_s)

    def _put_off(self, gate: str, peer: _Peer, now_s: float) -> bool:
        """Whether it has told more than may come now: then it is asked for the rest when more may."""
        night_s, catching_up_s = peer.of_a_night.wait_s(now_s), peer.catching_up.wait_s(now_s)
        if night_s:
            self.faults[f"gate {gate} tells too much"] = (
                f'gate "{gate}" tells of more admissions than four lanes can make, so they come here late: '
                "is it that gate? Its certificate can be withdrawn at the broker"
            )
        if not night_s and not catching_up_s:
            return False
        peer.ask = False
        peer.want(now_s, max(LATER_S, night_s, catching_up_s))
        return True

    def _peer(self, gate: str) -> _Peer | None:
        if gate == self._gate:
            return None
        if gate not in self._peers and len(self._peers) >= PEERS_MAX:
            self.faults["too many gates"] = (
                f'the venue has more than {PEERS_MAX} names of gates, and "{gate}" is not heard: its tickets '
                "can be used here again. Fewer gates, or a new journal where old names fill the list"
            )
        elif gate not in self._peers:
            self._peers[gate] = _Peer(Place())
        return self._peers.get(gate)

    # --- what to send --------------------------------------------------------------------------------------

    def outgoing(
        self,
        newest: int,
        now_s: float,
        has_room: Callable[[], bool] = lambda: True,
        bytes_max: int = wire.PAYLOAD_BYTES_MAX,
    ) -> Iterator[Outgoing]:
        """Messages in the order of their haste. Each counts as sent when the next one is asked for.

        None is made that there is no room for: an answer takes 30 ms. `bytes_max` is what the broker takes.
        """
        yield from self._live(newest, has_room, bytes_max)
        if self._notes.drops != self._drops:
            self._begin_again(now_s)
        yield from self._answers(has_room, bytes_max)
        yield from self._asks(now_s, has_room)

    def _live(self, newest: int, has_room: Callable[[], bool], bytes_max: int) -> Iterator[Outgoing]:
        while self._looked.row < newest and has_room():
            found = self._movements(self._looked, LIVE_ROWS, bytes_max)
            if found.items:
                yield wire.ADMISSIONS, self._message("", self._told.row, found, more=False)
                self._told = found.upto
            self._looked = found.upto

    def _answers(self, has_room: Callable[[], bool], bytes_max: int) -> Iterator[Outgoing]:
        for asker, request in list(self._requests.items()):
            if not has_room():
                return
            start = Place(request.after, request.digest)
            if request.after and self._rows.digest(request.after) != request.digest:
                start = Place()
            found = self._movements(start, ANSWER_ROWS, bytes_max)
            more = bool(self._rows.after(found.upto.row, 1))
            yield wire.ADMISSIONS, self._message(asker, start.row, found, more)
            del self._requests[asker]

    def _asks(self, now_s: float, has_room: Callable[[], bool]) -> Iterator[Outgoing]:
        for gate, peer in self._peers.items():
            if not has_room():
                return
            if peer.ask and peer.online and now_s >= peer.due_s:
                row, digest = peer.heard
                yield wire.ADMISSIONS_REQUEST, wire.AdmissionsRequest(of=gate, after=row, digest=digest)
                peer.due_s = now_s + peer.wait_s
                peer.wait_s = min(2 * peer.wait_s, ASK_S_MAX)

    def wake_s(self) -> float:
        """When a question is due."""
        return min((p.due_s for p in self._peers.values() if p.ask and p.online), default=float("inf"))

    def _begin_again(self, now_s: float) -> None:
        """What was offered was dropped: go back to what is on disk."""
        self._drops = self._notes.drops
        kept = self._rows.peers()
        for gate, peer in self._peers.items():
            peer.heard = Place(*kept.get(gate, ()))
            peer.ask = False
            peer.want(now_s, LATER_S)

    def _message(self, to: str, after: int, found: _Told, more: bool) -> wire.Admissions:
        row, digest = found.upto
        return wire.Admissions(to=to, after=after, upto=row, digest=digest, more=more, items=found.items)

    def _movements(self, start: Place, rows: int, bytes_max: int) -> _Told:
        """Own movements in the rows after this one, as many as one message holds."""
        items, size, upto = list[wire.Moved](), 0, start
        most = min(wire.BATCH_BYTES_MAX, bytes_max - HEAD_BYTES)
        for stored in self._rows.after(start.row, rows):
            moved = self._moved(stored, most)
            if moved is not None:
                size += _bytes_of(moved.subject)
                if len(items) == wire.ITEMS_MAX or size > most:
                    break
                items.append(moved)
            upto = Place(stored.id, stored.digest)
        return _Told(tuple(items), upto)

    def _moved(self, stored: Stored, bytes_max: int) -> wire.Moved | None:
        try:
            movement = decode(stored.body).movement
        except Unreadable:  # of another release; the bridge gets it as it is
            return None
        if movement is None or movement.row <= 0:
            return None
        if len(movement.subject) > TEXT_LENGTH_MAX or _bytes_of(movement.subject) > bytes_max:
            self.unsent += 1
            return None
        return wire.Moved(
            gate=self._gate,
            row=stored.id,
            digest=stored.digest,
            admission=movement.row,
            act=movement.act,
            subject=movement.subject,
            direction=movement.direction,
            perimeters=movement.perimeters,
            utc_ms=movement.utc_ms,
            spend=movement.spend,
            until_utc_ms=movement.until_utc_ms,
        )


def _bytes_of(subject: str) -> int:
    """How much of a message a movement of this ticket takes at most."""
    return ITEM_BYTES + len(subject.encode())
