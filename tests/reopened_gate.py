"""Gates one after the other in a process of its own: `python -m tests.reopened_gate CONFIG DATA`.

Each command is a JSON object on a line of its standard input, and has one answer on standard output. Each
opening of a board makes a new fake one; what its lanes did so far is kept over all of them.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from firmware import in_force as settings_in_force
from firmware import kept as keeping
from firmware.cli import complain
from firmware.core.events import Cause, Order
from firmware.core.ticket import Direction
from firmware.in_force import InForce, Opening
from firmware.kept import Kept
from firmware.run import Reopen, serve
from firmware.unit import Unit
from firmware.watchdog import Watchdog
from hal import board as boards
from hal.fake import FakeBoard, FakeLaneSettings, Person
from hal.ports import PassageSensor, Pattern, TellState, Way
from hal.schedule import RealTime
from hal.setting_error import SettingError

PATIENCE_S = 60.0  # only a failing test waits this long
PACE_S = 0.002
SETTLE_S = 0.3
HEALTH_S = PATIENCE_S  # a busy machine may keep good settings from their broker for seconds
SOON_S = 3.0  # where a test waits for settings that never get there to be given up
PERSON = Person("through", 5)
NO_CHIP, NO_EDGES = (
    "nochip",
    "noedges",
)  # names of lanes that are not to be had: settings find it out on trial


def hurried() -> float:
    """A clock on which a minute of rush is over soon."""
    return time.monotonic() * 100


class UnwatchedSensor(PassageSensor):
    """On a pin that can be claimed and tells no edges."""

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        """As lgpio says it."""
        raise OSError("gpiochip0 line 7: no edges can be watched")

    def close(self) -> None:
        """Nothing was begun."""


class WatchedReopen(Reopen):
    """Says how many gates there were."""

    opened = 0
    unit: Unit | None = None

    def begin(self, unit: Unit, done: bool) -> None:
        self.unit = unit
        super().begin(unit, done)
        self.opened += 1


class Door:
    """Carries the commands out."""

    def __init__(self, kept: Kept, config: Path) -> None:
        self.config = config
        self.boards: list[FakeBoard] = []
        self.in_force: InForce | None = None
        self.reopen = WatchedReopen(kept, complain, hurried)
        self.pace = threading.Event()
        boards.BOARDS["fake"] = self.build

    def build(self, settings: Mapping[str, object]) -> FakeBoard:
        """A board with these lanes, in the place of the one before."""
        lanes = settings["lanes"]
        assert isinstance(lanes, list)
        made = [FakeLaneSettings(lane["name"], lane["ways"], lane["sensor"]) for lane in lanes]
        if any(lane.name == NO_CHIP for lane in made):
            raise SettingError("board.chip: there is no gpiochip7")
        board = FakeBoard(made, RealTime(), usual=PERSON)
        board.lanes = tuple(
            replace(lane, sensor=UnwatchedSensor()) if lane.name == NO_EDGES else lane for lane in board.lanes
        )
        self.boards.append(board)
        return board

    @property
    def board(self) -> FakeBoard:
        """The one in use."""
        return self.boards[-1]

    def run(self) -> None:
        """Until the input ends."""
        for line in sys.stdin:
            command = json.loads(line)
            found = getattr(self, "do_" + command.pop("do"))(**command)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()

    def until(self, what: object) -> bool:
        """Wait for what has no bell of its own."""
        assert callable(what)
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := what()) and time.monotonic() < deadline_s:
            self.pace.wait(PACE_S)
        return bool(found)

    def do_opened(self, count: int) -> bool:
        """Wait for as many gates."""
        return self.until(lambda: self.reopen.opened >= count and not self.reopen.came_about)

    def do_reopen(self) -> int:
        """Ask for another gate; how many there were."""
        opened = self.reopen.opened
        self.reopen("the test")
        return opened

    def do_scan(self, code: str, lane: str) -> bool:
        """Hold a code to a reader when whoever was let in before is through; see `hold_up`."""
        return self.until(lambda: self.is_free(lane)) and self.hold_up(code, lane)

    def is_free(self, lane: str) -> bool:
        """Whether nobody is served there; between two gates nobody is."""
        unit = self.reopen.unit
        if unit is None or lane not in (each.setup.name for each in unit.settings.lanes):
            return True
        return unit.gate.at_rest(lane)

    def hold_up(self, code: str, lane: str) -> bool:
        """Hold a code to a reader, until something is heard that was not before."""
        seen = self.sounds(lane)
        return self.board.fakes[lane].scan(code) and self.until(lambda: self.sounds(lane) > seen)

    def sounds(self, lane: str) -> int:
        """How many there were. That one before it ends is no answer to a scan."""
        return sum(sound != Pattern.NONE for sound in self.board.tape.values(lane, "buzzer"))

    def do_crowd(self, count: int, lanes: list[str], settings: list[str]) -> int:
        """People at each lane, one after the other, who hold up their codes whatever the lamp shows.

        Meanwhile the gate is opened anew with each of these settings; how many people got an answer.
        """
        answered = [0] * len(lanes)

        def people(number: int, lane: str) -> None:
            for person in range(number, count * len(lanes), len(lanes)):
                answered[number] += self.hold_up(f"T{person}", lane)

        threads = [threading.Thread(target=people, args=(n, lane)) for n, lane in enumerate(lanes)]
        for thread in threads:
            thread.start()
        for number, text in enumerate(settings):
            self.config.write_text(text, "utf-8")
            self.reopen("the test")
            assert self.do_opened(number + 2)
        for thread in threads:
            thread.join()
        return sum(answered)

    def do_stay(self) -> bool:
        """From now on nobody walks."""
        for fake in self.board.fakes.values():
            fake.turnstile.usual = Person("stays")
        return True

    def do_order(self, lane: str, order: str) -> bool:
        """An operator's."""
        assert self.reopen.unit is not None
        return self.reopen.unit.gate.order(lane, Order[order], "the test")

    def do_drill(self, order: str) -> bool:
        """Begin an alarm drill (`FREE`), or end it (`NORMAL`)."""
        assert self.reopen.unit is not None
        gate, lanes = self.reopen.unit.gate, list(self.board.fakes)
        gate.do(lambda: gate.obey(lanes, Order[order], Cause.DRILL, Direction.IN, "the test"))
        wanted = "both" if order == "FREE" else "locked"
        return all(self.until(lambda n=name: self.relay(n) == wanted) for name in lanes)

    def do_press(self) -> bool:
        """Raise the alarm; true when every lane is free."""
        assert self.board.alarm is not None
        self.board.alarm.press()
        return all(self.until(lambda n=name: self.relay(n) == "both") for name in self.board.fakes)

    def do_release(self) -> bool:
        """End it; true when every lane is locked."""
        assert self.board.alarm is not None
        self.board.alarm.release()
        return all(self.until(lambda n=name: self.relay(n) == "locked") for name in self.board.fakes)

    def relay(self, lane: str) -> str:
        """What it did last."""
        return str(self.board.tape.values(lane, "relay")[-1:] or "")[2:-2]

    def do_relays(self) -> dict[str, list[str]]:
        """What they did, on the board in use."""
        return {name: self.board.tape.values(name, "relay") for name in self.board.fakes}

    def do_relays_ever(self) -> list[str]:
        """What those of all boards did."""
        return [
            value
            for board in self.boards
            for name in board.fakes
            for value in board.tape.values(name, "relay")
        ]

    def do_boards(self) -> int:
        """How many there were."""
        return len(self.boards)

    def do_health(self, within_s: float) -> bool:
        """From now on settings on trial have so long to come to health."""
        assert self.in_force is not None
        self.in_force._health_s = within_s
        return True


class Patient(InForce):
    """Lanes wait for the disk as long as the test does."""

    def wanted(self) -> Opening:
        opening = super().wanted()
        lanes = (
            lane._replace(setup=lane.setup._replace(record_ms=int(PATIENCE_S * 1000)))
            for lane in opening.settings.lanes
        )
        return opening._replace(settings=opening.settings._replace(lanes=tuple(lanes)))


def main() -> int:
    """Run the gates on this thread, as the command does, however long the machine takes for it."""
    keeping.WAIT_S = PATIENCE_S  # so long a code may wait for the next gate
    config, data = map(Path, sys.argv[1:])
    settings_in_force.READ_S = PATIENCE_S  # read late, they are one more opening than a test counts
    with Watchdog() as watchdog, Kept(watchdog) as kept:
        door = Door(kept, config)
        in_force = Patient(config, data, door.reopen, complain, settle_s=SETTLE_S, health_s=HEALTH_S)
        door.in_force = in_force
        threading.Thread(target=door.run, daemon=True).start()
        return serve(in_force, data, watchdog, door.reopen, complain)


if __name__ == "__main__":
    sys.exit(main())
