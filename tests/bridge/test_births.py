"""Which gates are there, by births and deaths in any order; and that answers to them go first."""

import pytest

from firmware import wire
from firmware.bridge.births import GATES_MAX, Births, name_of
from firmware.bridge.outbox import ANSWERS_WAITING_MAX, Outbox
from firmware.bridge.work import Faults
from tests.bridge.relays import TapeSession


class Watch:
    """Births, and how often there was one."""

    def __init__(self) -> None:
        self.born = 0
        self.births = Births(self._born)

    def _born(self) -> None:
        self.born += 1

    def take(
        self, epoch: int, connection: int, *, online: bool = True, gate: str = "north", mac: str = ""
    ) -> None:
        presence = wire.Presence(online=online, epoch=epoch, connection=connection, random="r", mac=mac)
        self.births.take(gate, presence)


@pytest.fixture
def at() -> Watch:
    return Watch()


def test_a_birth_counts_once_and_a_change_of_it_again(at: Watch) -> None:
    at.take(1, 1)
    at.take(1, 1)
    assert at.born == 1
    at.take(1, 1, mac="m")
    assert at.born == 2
    assert at.births.now().keys() == {"north"}


def test_a_death_ends_its_own_connection_and_those_before_it(at: Watch) -> None:
    at.take(1, 1)
    at.take(1, 1, online=False)
    assert at.births.of("north") is None
    at.take(1, 2)
    at.take(2, 1, online=False)
    assert at.births.now() == {}, "it was born and died while we heard nothing"


@pytest.mark.parametrize(("epoch", "connection"), [(1, 9), (2, 1)])
def test_a_stale_death_ends_nothing(at: Watch, epoch: int, connection: int) -> None:
    at.take(2, 2)
    at.take(epoch, connection, online=False)
    assert at.births.of("north") is not None


def test_the_will_of_a_card_that_was_taken_out_ends_nothing(at: Watch) -> None:
    at.take(1, 1)
    old = wire.Presence(online=False, epoch=57, connection=3, random="another card's")
    at.births.take("north", old)
    assert at.births.now().keys() == {"north"}


def test_two_lives_have_two_names() -> None:
    names = {
        name_of(wire.Presence(online=True, epoch=epoch, connection=connection, random=random))
        for epoch in (1, 2)
        for connection in (1, 2)
        for random in ("a", "b")
    }
    assert len(names) == 8


def test_more_names_than_a_venue_has_gates_are_passed_over(at: Watch) -> None:
    for number in range(GATES_MAX + 1):
        at.take(1, 1, gate=f"g{number}")
    assert len(at.births.now()) == GATES_MAX
    at.take(1, 2, gate="g0")
    assert at.births.now()["g0"].connection == 2


def test_an_answer_overtakes_receipts_and_neither_waits_without_a_bound() -> None:
    outbox, line = Outbox(Faults()), TapeSession(window=1)
    answer = wire.Answer(scan=1, digest=b"", word=wire.Word.ACCEPTED)
    assert not outbox.put_answer("answer", answer), "nobody is connected"
    assert not outbox.is_connected
    outbox.connected(line.session)
    for _ in range(3):
        outbox.put_receipt("receipt", wire.Receipt(upto=1, digest=b""))
    outbox.put_answer("answer", answer)
    line.take(outbox, 4)
    assert line.link.tape == ["receipt", "answer", "receipt", "receipt"]
    sent = [outbox.put_answer("answer", answer) for _ in range(ANSWERS_WAITING_MAX + 2)]
    assert sent == [True] * (ANSWERS_WAITING_MAX + 1) + [False]
