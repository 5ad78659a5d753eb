"""What each order does. Lanes are told in the loop; what takes long is done aside, and answered later."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from firmware import wire
from firmware.core.events import Cause, Order
from firmware.core.states import Free, Lane, Open, Ready, Recording, Shut
from firmware.core.ticket import Direction
from firmware.gate import Gate
from firmware.managed.managed import Managed
from firmware.managed.rotation import KeyRefused, take_key
from firmware.row import Row
from firmware.wire.remote import REPORT_CHARACTERS_MAX
from hal.ports import Colour, Pattern

LOOP_S = 2.0  # a turn takes milliseconds: a loop that has not come to an order by then is in trouble
LOOK_S = 0.02  # between looks whether a lane has opened, or is at rest
REST_S = 10.0  # before a restart a person who is being served gets so long to walk through
DRILL_S = 120.0  # to walk past every lane of a gate; `normal` ends it sooner
BLINK_MS = 15_000  # to find one gate among forty
DOCTOR_S = 60.0  # what it looks at takes some seconds on a Pi 3; a device that hangs is its own finding
WORDS_MAX = 200  # of what a program said last
OPENED = ("open", "opened")  # the second: a person who stood there was through before anybody looked
ORDERS = {wire.What.FREE: Order.FREE, wire.What.SHUT: Order.SHUT, wire.What.NORMAL: Order.NORMAL}

# Below the root of the system. The unit is enabled by `deploy/install.sh`; the file is gone after a reboot.
REBOOT_UNIT = Path("etc/systemd/system/multi-user.target.wants/gate-reboot.path")
REBOOT_FILE = Path("run/gatepost/reboot")
REBOOT_S = 10.0  # systemd takes the file within a second, and on a busy card within some

Found = TypeVar("Found")


class Outcome(NamedTuple):
    """What came of an order. `recorded`: the lanes have written their rows. `then` comes after the reply."""

    done: wire.Done
    text: str
    report: str = ""
    recorded: bool = False
    then: Callable[[], None] | None = None


Later = Callable[[Outcome], None]


class Behind(Exception):
    """The loop did not come to it in time; then it is not done later either."""


def obeyed(text: str, report: str = "") -> Outcome:
    """It was done."""
    return Outcome(wire.Done.OBEYED, text, report)


def failed(text: str) -> Outcome:
    """It could not be done."""
    return Outcome(wire.Done.FAILED, text)


def in_loop(gate: Gate, work: Callable[[], Found]) -> Found:
    """Have the loop do it between two turns, and wait. Raises `Behind`, and what `work` raises."""
    lock, over = threading.Lock(), threading.Event()
    found: list[Found] = []
    errors: list[Exception] = []
    given_up = False

    def turn() -> None:
        with lock:
            if given_up:
                return
            try:
                found.append(work())
            except Exception as error:  # it is the order's, and must not end the loop
                errors.append(error)
            over.set()

    gate.do(turn)
    if not over.wait(LOOP_S):
        with lock:
            given_up = True
    for error in errors:
        raise error
    if not found:
        raise Behind(f"nothing was done: the gate's loop did not come to it within {LOOP_S:g} s")
    return found[0]


class Obeying:
    """Does what was ordered, on the thread of the orders."""

    def __init__(self, managed: Managed, now_s: Callable[[], float] = time.monotonic) -> None:
        self._managed, self._gate, self._now_s = managed, managed.gate, now_s
        self._setups = {lane.setup.name: lane.setup for lane in managed.settings.lanes}
        self._drill_ends_s: float | None = None
        self._reboot_late_s: float | None = None
        self._closing = threading.Event()
        self._doctor: threading.Thread | None = None

    def obey(self, order: wire.Order, by: str, later: Later) -> Outcome | None:
        """What came of it; `None` where `later` is told that, on another thread."""
        if order.lane and order.lane not in self._setups:
            return failed(f'no lane "{order.lane}": this gate has {", ".join(self._setups)}')
        lanes = [order.lane] if order.lane else list(self._setups)
        try:
            match order.what:
                case wire.What.OPEN_ONCE:
                    return self._open_once(lanes, order.direction, by)
                case wire.What.FREE | wire.What.SHUT | wire.What.NORMAL:
                    return self._stand(lanes, ORDERS[order.what], by)
                case wire.What.ALARM_DRILL:
                    return self._drill(lanes, by)
                case wire.What.IDENTIFY:
                    return in_loop(self._gate, partial(self._blink, lanes))
                case wire.What.REFRESH:
                    self._managed.uplink().refresh(order.whole)
                    return obeyed("asks for the whole list" if order.whole else "asks for changes")
                case wire.What.DOCTOR:
                    return self._examine(later)
                case wire.What.RESTART:
                    return self._restart()
                case wire.What.REBOOT:
                    return self._reboot()
                case wire.What.ROTATE_KEY:
                    return self._rotate(order.sealed)
        except Behind as error:
            return failed(str(error))

    def look(self) -> None:
        """End a drill whose time is over, and the wait for a reboot that does not come."""
        if self._reboot_late_s is not None and self._now_s() >= self._reboot_late_s:
            self._reboot_late_s = None
            self._withdraw_reboot()
        if self._drill_ends_s is not None and self._now_s() >= self._drill_ends_s:
            with suppress(Behind):  # then once more, a little later
                in_loop(self._gate, partial(self._end_drill, "the alarm drill is over", list(self._setups)))
                self._drill_ends_s = None

    def close(self) -> None:
        """End what still looks."""
        self._closing.set()
        if self._doctor is not None:
            self._doctor.join(LOOP_S)

    # --- lanes ---------------------------------------------------------------------------------------------

    def _open_once(self, lanes: Sequence[str], direction: Direction, by: str) -> Outcome:
        """Open each lane for one person, and look whether it did."""
        begun = in_loop(self._gate, lambda: [self._begin_opening(lane, direction, by) for lane in lanes])
        ends_s = self._now_s() + max(self._setups[lane].record_ms for lane in lanes) / 1000 + LOOP_S
        said = [self._opened(lane, row, ends_s) for lane, row in zip(lanes, begun, strict=True)]
        all_open = all(word in OPENED for word in said)
        text = ", ".join(f"lane {lane}: {word}" for lane, word in zip(lanes, said, strict=True))
        return Outcome(wire.Done.OBEYED if all_open else wire.Done.FAILED, text, recorded=True)

    def _begin_opening(self, lane: str, direction: Direction, by: str) -> int:
        """In the loop: the row that the lane waits for; 0 where it serves somebody, or does not open."""
        row = self._managed.journal.next_row
        way = self._setups[lane].direction or direction
        self._gate.obey((lane,), Order.OPEN_ONCE, Cause.OPERATOR, way, by)
        state = self._gate.lane(lane).state
        return row if isinstance(state, Recording) and state.row == row else 0

    def _opened(self, lane: str, row: int, ends_s: float) -> str:
        """Wait for the disk, without which nothing opens."""
        while self._waits(found := self._gate.lane(lane), row) and self._now_s() < ends_s:
            self._closing.wait(LOOK_S)
        with suppress(Behind):  # the lock moves later in the turn: who is told of it finds it so
            in_loop(self._gate, lambda: None)
        if row and isinstance(found.state, Open) and found.state.row == row:
            return "open"
        if Cause.JOURNAL in found.standing.free + found.standing.shut or self._waits(found, row):
            return "not opened: the disk takes no rows"
        if isinstance(found.state, Free):
            return "free already"
        return "opened" if row else "not opened: it serves somebody"

    @staticmethod
    def _waits(lane: Lane, row: int) -> bool:
        return isinstance(lane.state, Recording) and lane.state.row == row

    def _stand(self, lanes: Sequence[str], order: Order, by: str) -> Outcome:
        def stand() -> list[str]:
            self._gate.obey(lanes, order, Cause.OPERATOR, Direction.IN, by)
            if order is Order.NORMAL:
                self._end_drill(by, lanes)
            return [self._state_of(lane) for lane in lanes]

        return Outcome(wire.Done.OBEYED, ", ".join(in_loop(self._gate, stand)), recorded=True)

    def _state_of(self, lane: str) -> str:
        """What a lane is, in the loop; why it is otherwise than ordered is said too."""
        found = self._gate.lane(lane)
        state = found.state
        if not isinstance(state, Ready | Free | Shut):
            return f"lane {lane}: as soon as who is there has been served"
        causes = [*found.standing.free, *found.standing.shut]
        others = [str(cause) for cause in causes if cause is not Cause.OPERATOR]
        why = f" ({', '.join(others)})" if others else ""
        return f"lane {lane}: {type(state).__name__.lower()}{why}"

    def _drill(self, lanes: Sequence[str], by: str) -> Outcome:
        """Free as in an alarm; a lane that serves somebody follows when he is through. The alarm wins."""

        def begin() -> list[str]:
            by_whom = f"{by}, for {DRILL_S:.0f} s"
            self._gate.obey(lanes, Order.FREE, Cause.DRILL, Direction.IN, by_whom)
            for lane in lanes:
                with suppress(Exception):  # a buzzer that fails is a fault with a name already
                    self._gate.lane_parts(lane).buzzer.sound(Pattern.LONG)
            return [self._state_of(lane) for lane in lanes]

        found = in_loop(self._gate, begin)
        self._drill_ends_s = self._now_s() + DRILL_S
        text = f"for {DRILL_S:.0f} s, or until normal: {', '.join(found)}"
        return Outcome(wire.Done.OBEYED, text, recorded=True)

    def _end_drill(self, by: str, lanes: Sequence[str]) -> None:
        """In the loop: what else frees a lane keeps it free."""
        drilled = [lane for lane in lanes if Cause.DRILL in self._gate.lane(lane).standing.free]
        self._gate.obey(drilled, Order.NORMAL, Cause.DRILL, Direction.IN, by)

    def _blink(self, lanes: Sequence[str]) -> Outcome:
        """In the loop: the lamp goes back by itself. One that tells people something goes on telling it."""
        quiet = [
            lane
            for lane in lanes
            if self._gate.lane(lane).shown is None and isinstance(self._gate.lane(lane).state, Ready | Shut)
        ]
        for lane in quiet:
            self._gate.lane_parts(lane).lamp.show(Colour.YELLOW, True, BLINK_MS)
        if not quiet:
            return failed("every lamp tells somebody something at present: try again")
        return obeyed(f"yellow blinks for {BLINK_MS // 1000} s: lane {', '.join(quiet)}")

    # --- the process, the computer, the key ----------------------------------------------------------------

    def _alarmed(self) -> bool:
        standing = [self._gate.lane(lane).standing.free for lane in self._setups]
        return any(Cause.ALARM in free or Cause.UNACKNOWLEDGED in free for free in standing)

    def _restart(self) -> Outcome:
        if self._alarmed():
            return failed("an alarm keeps the lanes free: restart when it is over and acknowledged")
        if not self._managed.supervised:
            return failed("nothing would start the gate again: it was not started by systemd")
        return obeyed("restarts when nobody is served")._replace(then=self._stop)

    def _stop(self) -> None:
        ends_s = self._now_s() + REST_S
        while self._now_s() < ends_s and not all(self._gate.at_rest(lane) for lane in self._setups):
            if self._closing.wait(LOOK_S):
                return
        self._unless_alarmed("restart", self._gate.stop)

    def _reboot(self) -> Outcome:
        if self._alarmed():
            return failed("an alarm keeps the lanes free: reboot when it is over and acknowledged")
        file = self._managed.root / REBOOT_FILE
        if not (self._managed.root / REBOOT_UNIT).exists() or not file.parent.is_dir():
            return failed(
                "this gate may not reboot its computer: run deploy/install.sh of this release there"
            )
        return obeyed("reboots")._replace(then=partial(self._unless_alarmed, "reboot", self._ask_for_reboot))

    def _ask_for_reboot(self) -> None:
        self._reboot_late_s = self._now_s() + REBOOT_S
        (self._managed.root / REBOOT_FILE).touch()

    def _withdraw_reboot(self) -> None:
        """Whoever looks for the file later must not reboot out of nowhere."""
        file = self._managed.root / REBOOT_FILE
        if file.exists():
            file.unlink(missing_ok=True)
            mend = "see to gate-reboot.path and gate-reboot.service (systemctl status), and order it again"
            self._managed.note("order", f"reboot: not done: nobody took it within {REBOOT_S:.0f} s: {mend}")

    def _unless_alarmed(self, what: str, act: Callable[[], None]) -> None:
        """Act in the loop, unless an alarm has come since it was ordered: what it freed must stay free."""

        def look_and_act() -> None:
            if self._alarmed():
                text = f"{what}: not done: an alarm came first; order it when it is over and acknowledged"
                self._managed.journal.note(Row("order", "", self._gate.clock.now(), text=text))
            else:
                act()

        with suppress(Behind):  # a loop that stands still is the watchdog's affair
            in_loop(self._gate, look_and_act)

    def _rotate(self, sealed: bytes) -> Outcome:
        try:
            return obeyed(take_key(self._managed.data, sealed))
        except KeyRefused as error:
            return failed(str(error))

    # --- the doctor ----------------------------------------------------------------------------------------

    def _examine(self, later: Later) -> Outcome | None:
        """In a process of its own, so that the loop has this one's time."""
        if self._doctor is not None and self._doctor.is_alive():
            return failed("the doctor looks already: wait for its reply")
        if self._managed.config is None:
            return failed("this gate was started without a settings file")
        work = (self._managed.config, later)
        self._doctor = threading.Thread(target=self._run_doctor, args=work, name="doctor", daemon=True)
        self._doctor.start()
        return None

    def _run_doctor(self, config: Path, later: Later) -> None:
        arguments = ("doctor", "--config", str(config), "--data", str(self._managed.data), "--json")
        source = Path(__file__).parents[2]  # the same code as this process, from wherever it was started
        try:
            child = subprocess.Popen(  # noqa: S603  this interpreter, this package, and two paths of its own
                [sys.executable, "-P", "-m", "firmware.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(source)},
            )
        except OSError as error:  # no memory for another process, for instance
            later(failed(f"the doctor could not be started: {error.strerror}"))
            return
        ends_s = self._now_s() + DOCTOR_S
        words: tuple[bytes, bytes] | None = None
        while words is None and self._now_s() < ends_s and not self._closing.is_set():
            with suppress(subprocess.TimeoutExpired):
                words = child.communicate(timeout=LOOK_S * 10)
        if words is None:
            child.kill()
            child.communicate()
            words = b"", f"it took longer than {DOCTOR_S:.0f} s".encode()
        if not self._closing.is_set():
            later(examined(*words))


def examined(out: bytes, error: bytes) -> Outcome:
    """What the doctor found, as long as a reply may be: what is well is left out first."""
    try:
        found = json.loads(out)
        verdict, checks = found["verdict"], found["checks"]
    except (ValueError, KeyError, TypeError):
        words = error.decode("utf-8", "replace").strip()[-WORDS_MAX:]
        return failed(f"the doctor could not look: {words or 'it said nothing'}")
    count = {kind: sum(check["verdict"] == kind for check in checks) for kind in ("fault", "warning", "ok")}
    text = ", ".join(f"{number} {kind}" for kind, number in count.items())
    for shown in (checks, [check for check in checks if check["verdict"] != "ok"]):
        report = json.dumps({"verdict": verdict, "checks": shown})
        if len(report) <= REPORT_CHARACTERS_MAX:
            return obeyed(text, report)
    return obeyed(f"{text}; that is too much to send: see gatepost doctor at the gate")
