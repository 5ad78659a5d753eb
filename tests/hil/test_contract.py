"""The contract suite of boards, inside the guest: with the product as installed, on a chip of the kernel."""

from tests.hil.cache import say
from tests.hil.gate import PYTHON
from tests.hil.machine import CONTRACT, Machine

SUITE_SECONDS_MAX = 600


def test_every_board_that_the_machine_offers_keeps_the_contract(machine: Machine) -> None:
    suite = (
        f"{PYTHON} -m pytest --noconftest -rs -q -p no:cacheprovider -k 'gpio-sim' tests/hal/test_boards.py"
    )
    command = f"cd {CONTRACT} && env PYTHONPATH={CONTRACT} TMPDIR=/run/hil {suite}"
    status, said = machine.call("shell.status", command, SUITE_SECONDS_MAX, seconds=SUITE_SECONDS_MAX + 60)
    say(f"the contract suite on gpio-sim: {said.strip().splitlines()[-1]}")
    assert status == 0, said
    assert " passed" in said
