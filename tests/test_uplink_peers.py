"""What gates tell each other: rows that become movements, gaps, questions and answers."""

from collections.abc import Iterable

import pytest

from firmware import wire
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Moment
from firmware.row import Row, chain, encode, row_id
from firmware.rows import Stored
from firmware.uplink.notes import Notes
from firmware.uplink.peers import (
    ANSWER_ROWS,
    ASK_S,
    ASK_S_MAX,
    CATCH_UP_A_SECOND,
    CATCH_UP_MOVEMENTS,
    LATER_S,
    MOVEMENTS_A_SECOND,
    MOVEMENTS_OF_A_NIGHT,
    PEERS_MAX,
    Peers,
)
from firmware.uplink.rows_up import Place
from tests.core.samples import NOON_MS, OUTER


class KeptRows:
    """A journal as a list, with the movements of the rows that have one."""

    def __init__(self, epoch: int = 1) -> None:
        self.stored: list[Stored] = []
        self.heard: dict[str, tuple[int, bytes]] = {}
        self.epoch = epoch
        self.reads = 0

    def write(self, *movements: Movement | None) -> int:
        for movement in movements:
            last = self.stored[-1] if self.stored else Stored(row_id(self.epoch, 0), b"", b"", None)
            body = encode(Row("scan", "north", Moment(0, NOON_MS, True), movement=movement))
            number = last.id + 1
            self.stored.append(Stored(number, body, chain(last.digest, number, body), None))
        return self.stored[-1].id

    def enter(self, count: int, subject: str = "t") -> int:
        for number in range(count):
            row = len(self.stored) + 1
            self.write(Movement(Act.OPENED, f"{subject}{number}", row, Direction.IN, (OUTER,), NOON_MS))
        return self.stored[-1].id

    @property
    def newest(self) -> int:
        return self.stored[-1].id if self.stored else 0

    def after(self, row: int, limit: int) -> list[Stored]:
        self.reads += 1
        return [stored for stored in self.stored if stored.id > row][:limit]

    def digest(self, row: int) -> bytes | None:
        return next((stored.digest for stored in self.stored if stored.id == row), None)

    def peers(self) -> dict[str, tuple[int, bytes]]:
        return self.heard


class KeptNotes(Notes):
    """Takes what is offered, or has no room."""

    def __init__(self) -> None:
        self.noted: list[wire.Moved] = []
        self.unproven: list[wire.Moved] = []  # not known to come without a gap
        self.has_room = True
        self.drops = 0

    def offer(self, movements: Iterable[wire.Moved], heard: bool = False) -> bool:
        movements = list(movements)
        if self.has_room:
            self.unproven += [] if heard else movements
            self.noted += [moved for moved in movements if moved not in self.noted]
        return self.has_room


class Side:
    """One gate of two."""

    def __init__(self, name: str, epoch: int = 1) -> None:
        self.name, self.rows, self.notes = name, KeptRows(epoch), KeptNotes()
        self.rows.write(None)
        self.restart()

    def restart(self) -> None:
        self.peers = Peers(self.name, self.rows, self.notes)
        self.peers.connected(self.rows.newest)

    def birth(self, epoch: int = 1, connection: int = 1, online: bool = True) -> wire.Presence:
        return wire.Presence(online=online, epoch=epoch, connection=connection, random=self.name)

    def says(self, now_s: float = 0.0) -> list[wire.Message]:
        return [message for _, message in self.peers.outgoing(self.rows.newest, now_s)]

    def hears(self, other: "Side", messages: Iterable[wire.Message], now_s: float = 0.0) -> None:
        for message in messages:
            if isinstance(message, wire.Admissions):
                self.peers.admissions(other.name, message, now_s)
            elif isinstance(message, wire.AdmissionsRequest):
                self.peers.request(other.name, message)


def talk(*sides: Side, now_s: float = 0.0) -> int:
    """Let them tell each other all they have to say; how many messages that took."""
    count = 0
    while said := [(side, side.says(now_s)) for side in sides]:
        if not any(messages for _, messages in said):
            break
        for side, messages in said:
            count += len(messages)
            for other in sides:
                if other is not side:
                    other.hears(side, messages, now_s)
    return count


@pytest.fixture
def a() -> Side:
    return Side("a")


@pytest.fixture
def b() -> Side:
    return Side("b")


def meet(a: Side, b: Side) -> None:
    """Both hear of each other's birth, and ask."""
    a.peers.presence(b.name, b.birth(), 0.0)
    b.peers.presence(a.name, a.birth(), 0.0)
    talk(a, b)


def subjects(side: Side) -> list[str]:
    return [moved.subject for moved in side.notes.noted]


def test_a_movement_is_told_after_its_commit_and_only_once(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(2)
    (message,) = a.says()
    assert isinstance(message, wire.Admissions)
    assert [item.subject for item in message.items] == ["t0", "t1"]
    assert (message.to, message.upto, message.more) == ("", a.rows.newest, False)
    assert a.says() == []
    b.hears(a, [message])
    assert subjects(b) == ["t0", "t1"]
    assert b.says() == []


def test_a_message_that_did_not_go_out_is_made_again(a: Side) -> None:
    a.rows.enter(1)
    unsent = next(a.peers.outgoing(a.rows.newest, 0.0))
    assert next(a.peers.outgoing(a.rows.newest, 0.0)) == unsent


@pytest.mark.parametrize("room", range(4))
def test_nothing_is_made_that_there_is_no_room_for_and_nothing_is_said_twice(
    a: Side, b: Side, room: int
) -> None:
    said = list[wire.Message]()

    def say(room: int) -> None:
        most = len(said) + room
        said.extend(m for _, m in a.peers.outgoing(a.rows.newest, 0.0, lambda: len(said) < most))

    a.peers.presence("b", b.birth(), 0.0)
    a.hears(b, [wire.AdmissionsRequest(of="a", after=0, digest=b"")])
    a.rows.enter(1)
    read = a.rows.reads
    say(0)
    assert (said, a.rows.reads) == ([], read)
    say(room)
    assert len(said) == room
    say(9)
    shapes = [(type(message), getattr(message, "to", "")) for message in said]
    assert shapes == [(wire.Admissions, ""), (wire.Admissions, "b"), (wire.AdmissionsRequest, "")]
    say(9)
    assert len(said) == 3


def test_rows_without_an_own_movement_are_nobody_elses_business(a: Side) -> None:
    noted = Movement(Act.OPENED, "t", -5, Direction.IN, (OUTER,), NOON_MS)
    a.rows.write(None, noted, noted._replace(act=Act.CREDITED, row=0))
    assert a.says() == []


def test_every_end_of_an_admission_is_told_with_all_that_a_history_needs(a: Side, b: Side) -> None:
    meet(a, b)
    opened = Movement(Act.OPENED, "t", 2, Direction.OUT, (OUTER,), NOON_MS)
    acts = (Act.OPENED, Act.LAPSED, Act.PASSED, Act.SETTLED, Act.VOIDED)
    a.rows.write(*(opened._replace(act=act) for act in acts))
    talk(a, b)
    assert [moved.act for moved in b.notes.noted] == list(acts)
    first = b.notes.noted[0]
    assert (first.gate, first.row, first.digest) == ("a", a.rows.stored[1].id, a.rows.stored[1].digest)
    assert (first.admission, first.direction, first.perimeters) == (2, Direction.OUT, (OUTER,))


def test_what_was_missed_is_asked_for_and_nothing_is_noted_before_it(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(1, "missed")
    a.says()
    a.rows.enter(1, "heard")
    (late,) = a.says()
    b.hears(a, [late])
    assert subjects(b) == []
    talk(a, b)
    assert subjects(b) == ["missed0", "heard0"]
    a.rows.enter(1, "next")
    assert talk(a, b) == 1
    assert subjects(b)[-1] == "next0"


def test_many_movements_are_told_in_several_answers(a: Side, b: Side) -> None:
    a.rows.enter(2 * wire.ITEMS_MAX)
    a.rows.write(*[None] * ANSWER_ROWS)
    a.restart()
    meet(a, b)
    assert len(subjects(b)) == 2 * wire.ITEMS_MAX
    assert talk(a, b) == 0


def test_a_full_answer_fits_into_a_message(a: Side, b: Side) -> None:
    for number in range(wire.ITEMS_MAX):
        movement = Movement(Act.SETTLED, f"{number:0256}", 1 << 60, Direction.OUT, (OUTER,) * 2, 1 << 52)
        a.rows.write(movement._replace(until_utc_ms=1 << 52))
    b.peers.presence("a", a.birth(), 0.0)
    a.hears(b, b.says())
    (answer,) = a.says()[-1:]
    assert len(wire.encode(answer)) <= wire.PAYLOAD_BYTES_MAX


def test_a_broker_that_takes_small_messages_gets_many(a: Side, b: Side) -> None:
    def says(side: Side) -> list[wire.Message]:
        said = [m for _, m in side.peers.outgoing(side.rows.newest, 0.0, bytes_max=1000)]
        assert all(len(wire.encode(message)) <= 1000 for message in said)
        return said

    b.peers.presence("a", a.birth(), 0.0)
    a.rows.enter(20, "away")
    a.restart()
    while asked := says(b):
        a.hears(b, asked)
        b.hears(a, says(a))
    assert subjects(b) == [f"away{number}" for number in range(20)]
    opened = Movement(Act.OPENED, "\N{TICKET}" * 256, 2, Direction.IN, (OUTER,), NOON_MS)
    a.rows.write(opened)
    a.rows.enter(20, "live")
    b.hears(a, says(a))
    assert subjects(b)[20:] == [f"live{number}" for number in range(20)]
    assert a.peers.unsent == 1


def test_a_name_that_is_too_long_is_left_out_and_counted(a: Side, b: Side) -> None:
    meet(a, b)
    opened = Movement(Act.OPENED, "t" * 257, 2, Direction.IN, (OUTER,), NOON_MS)
    a.rows.write(opened, opened._replace(subject="t" * 256))
    talk(a, b)
    assert subjects(b) == ["t" * 256]
    assert a.peers.unsent == 1


def test_rows_of_a_later_release_are_left_out(a: Side, b: Side) -> None:
    meet(a, b)
    body = b"\xc1"
    last = a.rows.stored[-1]
    a.rows.stored.append(Stored(last.id + 1, body, chain(last.digest, last.id + 1, body), None))
    a.rows.enter(1)
    talk(a, b)
    assert subjects(b) == ["t0"]


def test_a_gate_that_was_away_asks_where_it_stands_when_it_is_back(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(3)
    talk(a, b)
    first = b.notes.noted[-1]
    a.rows.enter(2, "meanwhile")
    a.says()
    b.rows.heard = {"a": (first.row, first.digest)}
    b.restart()
    b.peers.presence("a", a.birth(), 0.0)
    (request,) = b.says()
    assert request == wire.AdmissionsRequest(of="a", after=first.row, digest=first.digest)
    a.hears(b, [request])
    (answer,) = a.says()
    assert isinstance(answer, wire.Admissions)
    assert [item.subject for item in answer.items] == ["meanwhile0", "meanwhile1"]


def test_a_peer_with_a_new_journal_tells_all_from_its_beginning(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(3)
    talk(a, b)
    other = Side("a")
    other.rows.enter(2, "new")
    other.restart()
    b.peers.presence("a", other.birth(connection=1), 0.0)
    talk(other, b)
    assert subjects(b)[3:] == ["new0", "new1"]
    other.rows.enter(1, "later")
    assert talk(other, b) == 1
    assert subjects(b)[-1] == "later0"


def test_what_a_gate_with_another_card_tells_at_once_does_not_hide_what_else_is_on_that_card(
    a: Side, b: Side
) -> None:
    meet(a, b)
    a.rows.enter(4)
    talk(a, b)
    other = Side("a")
    other.rows.enter(2, "older")
    other.restart()
    b.peers.presence("a", other.birth(connection=2), 0.0)
    other.rows.enter(4, "fresh")  # its last row is behind the last that was heard from the other card
    b.hears(other, other.says())
    assert [moved.subject for moved in b.notes.unproven] == ["fresh0", "fresh1", "fresh2", "fresh3"]
    talk(other, b)
    assert set(subjects(b)[4:]) == {"older0", "older1", "fresh0", "fresh1", "fresh2", "fresh3"}


def test_a_question_without_an_answer_is_asked_again_less_and_less_often(a: Side, b: Side) -> None:
    b.peers.presence("a", a.birth(), 0.0)
    now_s, waits = 0.0, []
    assert len(b.says(now_s)) == 1
    for _ in range(6):
        due_s = b.peers.wake_s()
        assert b.says(due_s - 0.01) == []
        assert len(b.says(due_s)) == 1
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == [ASK_S, 10.0, 20.0, 40.0, ASK_S_MAX, ASK_S_MAX]
    b.peers.presence("a", a.birth(online=False), now_s)
    assert b.peers.wake_s() == float("inf")
    assert b.says(now_s + 1000) == []


def test_where_something_was_missed_every_gate_is_asked(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(1)
    a.says()
    b.peers.missed(0.0)
    talk(a, b)
    assert subjects(b) == ["t0"]


def test_a_death_that_is_older_than_the_newest_birth_is_passed_over(a: Side, b: Side) -> None:
    b.peers.presence("a", a.birth(connection=2), 0.0)
    b.peers.presence("a", a.birth(connection=1, online=False), 0.0)
    assert len(b.says()) == 1
    b.peers.presence("a", a.birth(connection=2, online=False), 0.0)
    assert b.peers.wake_s() == float("inf")


def test_answers_to_others_and_own_questions_back_are_passed_over(a: Side, b: Side) -> None:
    a.rows.enter(1)
    a.hears(b, [wire.AdmissionsRequest(of="c", after=0, digest=b"")])
    a.peers.request("a", wire.AdmissionsRequest(of="a", after=0, digest=b""))
    a.peers.admissions("a", wire.Admissions(to="", after=0, upto=0, digest=b"", more=False, items=()), 0.0)
    (message,) = a.says()
    assert isinstance(message, wire.Admissions)
    b.hears(a, [wire.Admissions(to="c", after=0, upto=9, digest=b"", more=False, items=message.items)])
    assert subjects(b) == []
    assert b.says() == []


def test_what_found_no_room_is_asked_for_again_a_little_later(a: Side, b: Side) -> None:
    meet(a, b)
    b.notes.has_room = False
    a.rows.enter(1)
    talk(a, b)
    assert subjects(b) == []
    b.notes.has_room = True
    assert b.says(LATER_S - 0.01) == []
    talk(a, b, now_s=LATER_S)
    assert subjects(b) == ["t0"]


def test_after_a_drop_all_is_asked_for_that_is_not_on_disk(a: Side, b: Side) -> None:
    meet(a, b)
    a.rows.enter(2)
    talk(a, b)
    kept = b.notes.noted.pop(0)
    b.rows.heard = {"a": (kept.row, kept.digest)}
    b.notes.drops += 1
    talk(a, b)
    assert b.says(LATER_S) == [wire.AdmissionsRequest(of="a", after=kept.row, digest=kept.digest)]


@pytest.mark.parametrize("spoilt", ["gate", "order"])
def test_a_message_that_contradicts_itself_does_not_fit(a: Side, b: Side, spoilt: str) -> None:
    meet(a, b)
    a.rows.enter(1)
    (message,) = a.says()
    assert isinstance(message, wire.Admissions)
    told = wire.Admissions(to="", after=9, upto=8, digest=b"", more=False, items=())
    sender, wrong = ("c", message) if spoilt == "gate" else ("a", told)
    with pytest.raises(wire.Unfit):
        b.peers.admissions(sender, wrong, 0.0)


def test_more_gates_than_a_venue_has_fill_nothing(b: Side) -> None:
    for number in range(PEERS_MAX + 10):
        b.peers.presence(f"gate{number}", b.birth(), 0.0)
    assert len(b.says()) == PEERS_MAX
    (text,) = b.peers.faults.values()
    assert text.startswith(f'the venue has more than {PEERS_MAX} names of gates, and "gate265" is not heard')


class CountingNotes(KeptNotes):
    """Counts what is offered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def offer(self, movements: Iterable[wire.Moved], heard: bool = False) -> bool:
        self.count += len(list(movements))
        return True


class Teller:
    """A gate that tells as much as it likes; what it tells does not matter."""

    ITEM = wire.Moved("a", 1, bytes(16), 1, Act.OPENED, "t", Direction.IN, (OUTER,), NOON_MS)

    def __init__(self) -> None:
        self.notes, self.row = CountingNotes(), 0
        self.peers = Peers("b", KeptRows(), self.notes)

    def tell(self, count: int, now_s: float) -> bool:
        """Whether the message was taken."""
        items = (self.ITEM,) * count
        told = wire.Admissions(
            to="b", after=self.row, upto=self.row + count, digest=b"", more=True, items=items
        )
        self.peers.admissions("a", told, now_s)
        taken, self.row = self.notes.count > self.row, self.notes.count
        return taken


def test_a_gate_that_was_away_for_a_night_at_full_rush_is_caught_up_with_and_no_fault() -> None:
    teller, now_s = Teller(), 0.0
    for _ in range(8 * 60 * 60 * 8 // 400):
        if not teller.tell(400, now_s):
            now_s = teller.peers.wake_s()
            assert teller.tell(400, now_s)
    assert now_s < 8 * 60 * 60 * 8 / CATCH_UP_A_SECOND
    assert teller.peers.faults == {}


def test_four_lanes_at_full_rush_for_ever_are_noted_as_they_come() -> None:
    teller = Teller()
    for minute in range(60 * 72):
        assert teller.tell(4 * 40 * 3, now_s=minute * 60.0)
    assert teller.peers.faults == {}


def test_a_gate_that_tells_without_end_is_a_fault_and_gets_its_share_and_no_more() -> None:
    teller, now_s, day_s = Teller(), 0.0, 86_400.0
    while now_s < day_s:
        assert not teller.tell(wire.ITEMS_MAX, now_s) or teller.row <= (
            CATCH_UP_MOVEMENTS + wire.ITEMS_MAX + CATCH_UP_A_SECOND * now_s
        )
        now_s += 3.0 if now_s < 3600.0 else 60.0  # each time more than it may tell, fast or slow
    assert teller.row <= MOVEMENTS_OF_A_NIGHT + wire.ITEMS_MAX + MOVEMENTS_A_SECOND * day_s
    (text,) = teller.peers.faults.values()
    assert text.startswith('gate "a" tells of more admissions than four lanes can make')
    now_s = teller.peers.wake_s()
    ((_, request),) = teller.peers.outgoing(0, now_s)
    assert isinstance(request, wire.AdmissionsRequest)
    assert request.after == teller.row, "nothing that was put off is passed over"


def test_no_row_at_all_is_a_place_to_begin(a: Side) -> None:
    empty = KeptRows()
    peers = Peers("a", empty, a.notes)
    peers.connected(0)
    empty.enter(1)
    ((_, message),) = list(peers.outgoing(empty.newest, 0.0))
    assert isinstance(message, wire.Admissions)
    assert Place(message.after) == Place()
