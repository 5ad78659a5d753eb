"""One machine for the whole run, and the gate set up on it. Plain pytest leaves this folder to `make hil`."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.hil import hardware, site
from tests.hil.bare_times import bare_times
from tests.hil.cache import say
from tests.hil.gate import DATA, Gate
from tests.hil.hardware import HERE
from tests.hil.machine import Machine

ASKED = hardware.ASKED in os.environ
collect_ignore_glob = [] if ASKED else ["test_*.py"]

# Codes that the gate lets in. Cut anywhere, a long one leaves a short one that is let in as well.
LONG = [f"{row}7531902468{row}8642" for row in range(1, 9)]
CODES = ["GOOD-1", "GOOD-2", "ZYX-yz_9", "Zy-ß{4@}/x", "AQZ-wa17@é"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ASKED:
        terminalreporter.write_line(
            "tests/hil: not run here; `make hil` runs it on a machine of its own", yellow=True
        )


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A machine with its chip, its disk and its scanners, and the kernel's trace running."""
    with Machine(HERE) as machine:
        if HERE.chip:
            machine.call("trace.begin", machine.call("chip.base", HERE.chip.label), "gpiochip_generic_free")
            machine.sh(f"install -d -o gatepost -g gatepost -m 700 {DATA}")
            machine.scanners = machine.call("scanners.make", 1)
            machine.plug_keyboard()
            machine.call("shell.wait_for", [site.KEYBOARD])
            yield machine
            return
        machine.call("chip.add", site.SPARE, site.SPARE_LABEL, site.SPARE_LINES)
        machine.call("chip.add", site.CHIP, site.LABEL, site.LINES)
        machine.call("trace.begin", machine.call("chip.base", site.LABEL), "gpio_sim_free")
        pulls = {str(line): towards for line, towards in site.AT_REST.items()} | site.TOWARDS_LOCKED
        machine.call("chip.pull", site.CHIP, pulls)
        machine.call("disk.prepare")
        machine.scanners = machine.call("scanners.make", site.SCANNERS)
        machine.plug_keyboard()
        machine.plug_serial()
        machine.call("shell.wait_for", [site.KEYBOARD, site.SERIAL])
        yield machine


@pytest.fixture(scope="session")
def site_gate(machine: Machine) -> Iterator[Gate]:
    """The gate, set up and running, with its journal followed."""
    if HERE.chip:
        pytest.skip(f"{HERE.name}: contacts are moved on gpio-sim only, and its chip is {HERE.chip.label}")
    gate = Gate(machine)
    gate.measure()
    gate.settle(machine.scanners)
    cut = {code[at:] for code in LONG for at in range(1, len(code) - 3)}
    cut |= {code[:at] for code in LONG for at in range(4, len(code))}
    gate.bring([*CODES, *LONG, *sorted(cut)])
    gate.floor = bare_times(gate)
    mark = gate.mark()
    gate.start()
    gate.started = gate.events(mark)
    machine.call("rows.follow", DATA)
    say("the gate is ready")
    yield gate
    machine.call("rows.stop")
    gate.stop()


@pytest.fixture
def gate(site_gate: Gate, request: pytest.FixtureRequest) -> Gate:
    """The gate at rest: running, its lanes locked, no alarm, nobody in front."""
    say(request.node.name)
    site_gate.rest()
    return site_gate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A check that fails shows what the gate and the kernel said."""
    report = yield
    if report.failed:
        say(f"{item.name} failed: {report.longreprtext[-3000:]}")
        site_gate, machine = item.funcargs.get("site_gate"), item.funcargs.get("machine")
        if isinstance(site_gate, Gate):
            report.sections.append(("the gate's log", site_gate.log()))
            say(f"the last rows: {site_gate.rows_since(max(0, site_gate.rows() - 6))}")
        if isinstance(machine, Machine):
            report.sections.append(("the serial log", machine.console()[-4000:]))
    return report
