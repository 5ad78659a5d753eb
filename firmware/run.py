"""`gatepost gate`: one process, and one gate after the other in it, each with the settings that are in force.

A gate is opened anew where somebody asked for it (`Reopen`): new settings, a new certificate. That happens
between two scans, when nobody is served, and takes part of a second: lanes are locked, the alarm frees them
all the same, the watchdog is fed, and codes that are held to a reader meanwhile wait for the next gate.
"""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from firmware.command_line import DONE, INTERRUPTED
from firmware.config import SettingsError
from firmware.config.board import board_settings
from firmware.core.events import Cause, Order
from firmware.core.states import FREED
from firmware.faults import Faults, faults_of
from firmware.gate import Gate
from firmware.in_force import InForce, Opening
from firmware.kept import Kept
from firmware.row import Row
from firmware.rows import Unwritable
from firmware.unit import Unit, open_unit
from firmware.watchdog import Watchdog

LOOK_S = 1.0  # between two looks for faults, and for a moment to open the gate anew
RUSH_S = 60.0  # without a moment between two scans; then somebody is told that it is still waited for
DISK_S = 1.0  # between two tries on a disk that takes nothing, as systemd has it between two starts
AS_BEFORE = "as before the gate was opened anew"

# What is said of a disk that is full, gone read-only or failing. Other errors are of the settings, or of who
# started the gate, and to wait would only hide them.
DISK_TAKES_NOTHING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

Complain = Callable[[str], None]


class Reopen:
    """Whether the gate is to be opened anew, and why. Any thread may ask."""

    def __init__(self, kept: Kept, complain: Complain, now_s: Callable[[], float] = time.monotonic) -> None:
        self.kept, self._complain, self._now_s = kept, complain, now_s
        self._unit: Unit | None = None
        self._asked_s = 0.0
        self._told = False
        self.why = ""
        """What it is asked for; empty: it is not."""
        self.came_about = False
        """The loop ended for it."""

    def __call__(self, why: str) -> None:
        """Ask for it. Asked twice, it is done once, and has been waited for since the first time."""
        if not self.why:
            self._asked_s, self._told = self._now_s(), False
        self.why = why
        self.look()

    def begin(self, unit: Unit, done: bool) -> None:
        """This gate is at work now; `done` says whether what was asked for has come about."""
        self._unit, self.came_about = unit, False
        if done:
            self.why = ""

    def look(self) -> None:
        """Have the loop look whether it is time, if it was asked for."""
        if self.why and (unit := self._unit) is not None:
            unit.gate.do(self.changed)

    def changed(self, lane: str = "") -> None:
        """In the loop, after each event that did something: end it where nobody is served at this moment."""
        unit = self._unit
        if lane and unit is not None and Cause.ALARM in unit.gate.lane(lane).standing.free:
            self.kept.heard()
        if not self.why or unit is None or self.came_about:
            return
        if self._is_quiet(unit):
            self.kept.hold()
            if self._is_quiet(unit):  # nothing was on its way either
                self.came_about = True
                unit.gate.stop()
                return
            self.kept.go_on()
        if not self._told and self._now_s() - self._asked_s >= RUSH_S:
            self._told = True
            text = f"{self.why}: waits for a moment in which no lane is in use, since {RUSH_S:.0f} s"
            unit.journal.note(Row("fault", "", unit.gate.clock.now(), text=text))
            self._complain(text)

    @staticmethod
    def _is_quiet(unit: Unit) -> bool:
        """Nobody is served, sees a verdict, or is on the way out of an alarm or a drill; and no news wait.

        Nor do rows: those that a disk does not take now are lost with this gate, and the next one could not
        begin without it, nor free its lanes where that is the policy.
        """
        gate = unit.gate
        if unit.journal.fault or unit.journal.waiting:
            return False
        for setup in (lane.setup for lane in unit.settings.lanes):
            lane = gate.lane(setup.name)
            alarmed = not FREED.isdisjoint(lane.standing.free)
            if alarmed or lane.shown is not None or not gate.at_rest(setup.name):
                return False
        return not gate.waiting


def run(config: Path, data: Path, complain: Complain) -> int:
    """Run until SIGTERM or Ctrl-C; then lanes are locked and the journal is written to its end."""
    with Watchdog() as watchdog, Kept(watchdog) as kept:
        reopen = Reopen(kept, complain)
        runtime = os.environ.get("RUNTIME_DIRECTORY", "")  # systemd.exec(5)
        in_force = InForce(config, data, reopen, complain, runtime=runtime)
        return serve(in_force, data, watchdog, reopen, complain)


def serve(in_force: InForce, data: Path, watchdog: Watchdog, reopen: Reopen, complain: Complain) -> int:
    """One gate after the other, each with the settings that are in force when it is opened."""
    opening = in_force.wanted()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))  # while there are no lanes to lock
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # nor is there anything to acknowledge
    kept, standing, done, waits = reopen.kept, dict[str, Order](), True, ""
    while True:
        with ExitStack() as stack:
            try:
                in_force.lay_out(opening)
                unit = stack.enter_context(
                    open_unit(
                        opening.settings,
                        data,
                        watchdog=watchdog,
                        complain=complain,
                        kept=kept,
                        changed=reopen.changed,
                        config=in_force.config,
                        changing=in_force,
                    )
                )
                begin(unit, standing)
            except Exception as error:
                kept.between()
                stack.close()  # a gate that did not begin reports nothing of what comes now
                waiting = kept.listens and takes_nothing(error)
                if (not waiting or may_be_a_reader(error)) and in_force.not_opened(error):
                    opening = in_force.wanted()
                elif waiting:  # no settings are to blame: those on trial stay on trial
                    waits = wait_for_disk(error, waits, watchdog, complain)
                else:
                    raise
                continue
            waits = ""
            caught = stack.enter_context(heard_signals(unit.gate))
            reopen.begin(unit, done)
            in_force.began()
            watchdog.ready()

            def look(unit: Unit = unit) -> None:
                reopen.look()
                in_force.look(unit)

            with told_of_faults(unit, watchdog, look, complain):
                unit.gate.run()
            if caught or not reopen.came_about:
                watchdog.stopping()
                return INTERRUPTED if signal.SIGINT in caught else DONE
            kept.between()
            watchdog.opening()
            watchdog.status(f"is opened anew: {reopen.why}")
            standing = orders_of(unit)
        opening, done = next_opening(in_force, opening, kept, complain)


def next_opening(in_force: InForce, before: Opening, kept: Kept, complain: Complain) -> tuple[Opening, bool]:
    """What to open the gate with after this one, and whether that is what was asked for.

    An alarm keeps the board that is open, and so the settings that go with it.
    """
    try:
        wanted = in_force.wanted()
    except SettingsError as error:  # somebody is editing the gate's own file
        for problem in error.problems:
            complain(f"the settings stay as they were: {problem}")
        return before, True
    if kept.alarmed and not kept.same_board(wanted.settings.board, board_settings(wanted.settings)):
        return before, False
    return wanted, True


def takes_nothing(error: Exception) -> bool:
    """Whether the disk is what keeps the gate from opening: that can be mended beside a gate that waits."""
    in_need = isinstance(error, OSError) and error.errno in DISK_TAKES_NOTHING
    return in_need or isinstance(error, Unwritable)


def may_be_a_reader(error: Exception) -> bool:
    """Whether it may come from a device that settings name, and with others would not."""
    return isinstance(error, OSError) and error.errno == errno.EIO


def wait_for_disk(error: Exception, told: str, watchdog: Watchdog, complain: Complain) -> str:
    """Wait a moment; what was told of it, once. The board is open: the lanes are locked, or free in an alarm.

    Ending the process would let go of the board, and the alarm would wait for the next start.
    """
    text = f"the disk takes nothing, and the gate waits until it does: make room on it, or mend it: {error}"
    if text != told:
        complain(text)
        watchdog.status(text)
    time.sleep(DISK_S)
    return text


def orders_of(unit: Unit) -> dict[str, Order]:
    """What an operator ordered and still stands, by the lane."""
    lanes = {each.setup.name: unit.gate.lane(each.setup.name).standing for each in unit.settings.lanes}
    free = {name: Order.FREE for name, standing in lanes.items() if Cause.OPERATOR in standing.free}
    return free | {name: Order.SHUT for name, standing in lanes.items() if Cause.OPERATOR in standing.shut}


def begin(unit: Unit, standing: dict[str, Order]) -> None:
    """Start the loop's parts. What was ordered before the gate was opened anew comes before any scan."""
    lanes = {lane.setup.name for lane in unit.settings.lanes}
    for lane, order in standing.items():
        if lane in lanes:
            unit.gate.order(lane, order, AS_BEFORE)
    unit.gate.start()


@contextmanager
def heard_signals(gate: Gate) -> Iterator[list[int]]:
    """SIGTERM and SIGINT end the loop after its present turn; the list is of those that came.

    SIGUSR1 acknowledges an alarm that is over.
    """
    caught: list[int] = []

    def stop(number: int, *_: object) -> None:
        caught.append(number)
        gate.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: gate.acknowledge("at the gate"))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def told_of_faults(
    unit: Unit, watchdog: Watchdog, look: Callable[[], None], complain: Complain
) -> Iterator[None]:
    """Say that the gate is ready, then each fault, on a thread: perhaps nobody reads standard error.

    The thread calls `look` each second.
    """
    over = threading.Event()
    work = (unit, watchdog, look, complain, over)
    thread = threading.Thread(target=tell, args=work, name="faults", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LOOK_S)


def tell(
    unit: Unit, watchdog: Watchdog, look: Callable[[], None], complain: Complain, over: threading.Event
) -> None:
    """The thread's work, until the gate stops."""
    faults = Faults(partial(faults_of, unit))
    complain(ready_line(unit, faults.news()))
    watchdog.status(status_line(faults.present()))
    told = ""
    while not over.wait(LOOK_S):
        wrong = ""
        try:
            for line in (news := faults.news()):
                complain(line)
            if news:
                watchdog.status(status_line(faults.present()))
            look()
        except Exception as error:  # of ours, or of the disk: faults, trials and reopening must go on
            why = f"{type(error).__name__}: {error}"
            wrong = f"the look for faults and settings failed, and is repeated: {why}"
        if wrong and wrong != told:
            complain(wrong)
        told = wrong


def status_line(faults: list[str]) -> str:
    """What `systemctl status gate` shows."""
    return f"faults: {len(faults)}; {'; '.join(faults)}" if faults else "no fault"


def ready_line(unit: Unit, faults: list[str]) -> str:
    """What a person wants to know at the start."""
    lanes = ", ".join(lane.setup.name for lane in unit.settings.lanes)
    parts = [f"ready: lanes {lanes}; {unit.catalogue.count:,} tickets; epoch {unit.journal.epoch}"]
    if brokers := ", ".join(f"{broker.host}:{broker.port}" for broker in unit.settings.brokers):
        parts.append(f"reports through {brokers}")
    if unsettled := len(unit.journal.unsettled):
        parts.append(f"admissions that the last run did not settle, and that count as used: {unsettled}")
    return "; ".join([*parts, *faults])
