"""Another card in a gate, an older one, two gates with one name: both journals are kept, and it is said."""

import shutil

import pytest

from firmware.core.ticket import Verdict
from tests.whole.lives import OUT
from tests.whole.world import world_at_work

pytestmark = pytest.mark.slow

ADMITTED = Verdict.ADMITTED.value


def test_a_new_card_goes_on_where_the_old_one_was_and_the_old_one_comes_back() -> None:
    with world_at_work("a", "b") as world:
        gate = world.gates["a"]
        first, second, left, unsent = world.codes(4)
        assert gate.scan(first) == ADMITTED
        assert gate.scan(left) == ADMITTED
        world.settle()
        gate.cable.cut()
        assert gate.scan(unsent) == ADMITTED  # on the old card alone, until it comes back
        gate.life.kill()
        gate.cable.join()
        old = gate.data
        gate.use(data=world.new_card("a"))
        gate.life.start()
        world.settle()
        assert gate.scan(first) == Verdict.USED
        assert gate.scan(second) == ADMITTED
        assert gate.scan(left, OUT) == ADMITTED
        world.settle()
        gate.life.kill()
        gate.use(data=old)
        gate.life.start()
        world.settle()
        assert gate.scan(second) == Verdict.USED
        assert gate.scan(left) == ADMITTED
        world.settle()
        assert world.audit("new_journal").results() == {"accepted": 6}


def test_an_older_image_of_a_card_is_a_fork_and_both_of_its_ends_are_kept() -> None:
    with world_at_work("a", "b") as world:
        gate, image = world.gates["a"], world.folder / "image"
        before, between, after = world.codes(3)
        assert gate.scan(before) == ADMITTED
        world.settle()
        gate.life.stop()
        shutil.copytree(gate.data, image)
        gate.life.start()
        assert gate.scan(between) == ADMITTED
        world.settle()
        gate.life.kill()
        gate.use(data=image)
        gate.life.start()
        world.settle()
        assert gate.scan(between) == Verdict.USED  # the ledger told it what it has forgotten
        assert gate.scan(after) == ADMITTED
        world.settle()
        assert world.audit("fork").results() == {"accepted": 3}


def test_a_gate_that_lost_its_journal_and_kept_its_list_hears_its_own_past_from_the_ledger() -> None:
    with world_at_work("a") as world:
        gate = world.gates["a"]
        used, left, fresh = world.codes(3)
        assert gate.scan(used) == ADMITTED
        assert gate.scan(left) == ADMITTED
        assert gate.scan(left, OUT) == ADMITTED
        world.settle()
        last = world.ledger().movements[-1].number
        gate.life.stop()
        gate.life.start()
        world.until(lambda: gate.facts().cursor >= last)  # its list has come past those movements
        gate.life.stop()
        shutil.move(gate.data / "journal", world.folder / "lost")
        gate.life.start()
        world.settle()
        assert gate.scan(used) == Verdict.USED
        assert gate.scan(left) == ADMITTED
        assert gate.scan(fresh) == ADMITTED


def test_two_gates_of_one_name_both_say_so_and_every_row_of_both_is_kept() -> None:
    with world_at_work("a") as world:
        one, other = world.gates["a"], world.add_gate("a", known_as="the other a")
        codes = world.codes(20)
        one.life.stop()
        other.life.start()
        world.settle()
        one.life.start()
        for mine, theirs in zip(codes[::2], codes[1::2], strict=True):
            assert one.scan(mine) == ADMITTED
            assert other.scan(theirs) == ADMITTED
        world.until(lambda: all("gate name used twice" in str(gate.facts().faults) for gate in (one, other)))
        other.life.stop()
        one.cable.blink()
        world.settle()
        one.life.stop()
        other.life.start()
        world.settle()
        assert world.audit("new_journal").results() == {"accepted": 20}
