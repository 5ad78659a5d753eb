"""What is said on a gate's own topic: by the process before it, and by another gate of the same name."""

from firmware import wire
from firmware.uplink.presence import Presences


def presences(born: bool = False) -> Presences:
    found = Presences("topic", epoch=8, random="ours", release="1.0")
    found.born = born
    return found


def said(connection: int, online: bool = True, random: str = "another", epoch: int = 7) -> wire.Presence:
    return wire.Presence(online=online, epoch=epoch, connection=connection, random=random)


def test_birth_and_will_are_retained_and_of_one_connection() -> None:
    ours = presences()
    birth, will = ours.birth(3), ours.will(3)
    assert (birth.topic, birth.qos, birth.retain) == ("topic", 1, True) == (will.topic, will.qos, will.retain)
    told = wire.decode(birth.payload, wire.Presence)
    assert told == wire.Presence(online=True, epoch=8, connection=3, random="ours", release="1.0")
    death = wire.decode(will.payload, wire.Presence)
    assert (death.online, death.epoch, death.connection, death.random) == (False, 8, 3, "ours")


def test_what_this_process_said_itself_is_no_stranger() -> None:
    assert not presences(born=True).is_stranger(said(9, random="ours", epoch=8))


def test_a_birth_that_lay_there_and_its_will_are_of_the_process_before() -> None:
    ours = presences()
    assert not ours.is_stranger(said(3))
    ours.born = True
    assert not ours.is_stranger(said(3, online=False))
    assert not ours.is_stranger(said(3))  # from a broker that was restarted with what it had saved


def test_a_will_that_comes_late_is_of_the_process_before() -> None:
    ours = presences(born=True)
    assert not ours.is_stranger(said(3, online=False))


def test_a_birth_after_ours_is_another_gates() -> None:
    assert presences(born=True).is_stranger(said(3))


def test_a_process_before_that_connects_again_is_another_gate() -> None:
    ours = presences()
    assert not ours.is_stranger(said(3))
    assert ours.is_stranger(said(4, online=False))


def test_a_process_before_that_comes_back_to_life_is_another_gate() -> None:
    ours = presences(born=True)
    assert not ours.is_stranger(said(3, online=False))
    assert ours.is_stranger(said(3))


def test_a_third_one_is_another_gate() -> None:
    ours = presences()
    assert not ours.is_stranger(said(3))
    assert ours.is_stranger(said(3, random="a third"))
