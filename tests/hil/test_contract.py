"""The contract suite of boards, inside the guest: with the product as installed, on a chip of the kernel."""

from tests.hil.cache import say
from tests.hil.gate import PYTHON
from tests.hil.machine import CONTRACT, Machine

SUITE_SECONDS_MAX = 1200


def test_every_board_that_the_machine_offers_keeps_the_contract(machine: Machine) -> None:
    chip = machine.hardware.chip
    bench, named = ("own and chip", f"GATEPOST_TEST_CHIP={chip.label}") if chip else ("gpio-sim", "")
    suite = f"-m pytest --noconftest -rs -q -p no:cacheprovider -k '{bench}' tests/hal/test_boards.py"
    command = f"cd {CONTRACT} && env PYTHONPATH={CONTRACT} TMPDIR=/run/hil {named} {PYTHON} {suite}"
    status, said = machine.call("shell.status", command, SUITE_SECONDS_MAX, seconds=SUITE_SECONDS_MAX + 60)
    for line in said.strip().splitlines():
        if line.startswith("SKIPPED"):
            say(line)
    board = chip.label if chip else "gpio-sim"
    say(f"the contract suite on {board}: {said.strip().splitlines()[-1]}")
    assert status == 0, said
    assert " passed" in said
