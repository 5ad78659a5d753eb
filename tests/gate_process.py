"""A gate in a process of its own, told what to do on its standard input.

`python -m tests.gate_process DATA [patient]`: a patient one has all the time that a busy machine needs.

A test that hangs or kills a gate must not be in it. Each command is a JSON object on a line, and each has one
answer, a JSON object on standard output; news of finished scans (`shot`) stand between the answers. It ends
with status 2 and a sentence where it cannot start, and by SIGTERM as the command line's does.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from firmware.catalogue import Catalogue, Upsert
from firmware.config import Settings, parse
from firmware.config.board import board_settings
from firmware.core.ticket import Ticket
from firmware.hold import Held
from firmware.row import Row
from firmware.shots import Shot
from firmware.unit import Unit, open_unit
from hal.board import open_board
from hal.fake import FakeBoard, Person
from hal.tape import Edge

PATIENCE_S = 60.0  # only a failing test waits this long
FLOOD_ROWS = 1000  # on their way to the disk: its commits are full, and the journal's memory is not
FLOOD_PACE_S = 0.01  # about what the disk takes for a commit of 200 rows
VALID = tuple(f"T{number}" for number in range(1000))
SETTINGS = parse('[[lane]]\nname = "north"\n[[lane]]\nname = "south"\n', "gate.toml")


def patient(settings: Settings) -> Settings:
    """With lanes that wait for a busy machine's disk, and for people, as long as the test does."""
    ms = int(PATIENCE_S * 1000)
    lanes = (lane._replace(setup=lane.setup._replace(record_ms=ms, unlock_ms=ms)) for lane in settings.lanes)
    return settings._replace(lanes=tuple(lanes))


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def tell(shot: Shot) -> None:
    say(shot=shot.code, verdict=shot.verdict, safe=shot.durable_ns is not None, row=shot.row)


def fill_catalogue(data: Path) -> None:
    """Let in every code of `VALID`."""
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        listed = (Upsert(catalogue.digest(code), Ticket(f"id-{code}")) for code in VALID)
        catalogue.apply_changes(listed, stamp_utc_ms=1)


class GateProcess:
    """Carries the commands out."""

    def __init__(self, unit: Unit, board: FakeBoard) -> None:
        self.unit, self.board = unit, board
        self.pace = threading.Event()
        self.commands: dict[str, Callable[..., dict[str, object]]] = {
            "scan": self.scan,
            "press": self.press,
            "release": self.release,
            "flood": self.flood,
            "lamp": self.lamp,
            "nobody_walks": self.nobody_walks,
            "figures": self.figures,
        }

    def run(self) -> None:
        """Work until the input ends."""
        for line in sys.stdin:
            command = json.loads(line)
            name = command.pop("do")
            say(done=name, **self.commands[name](**command))
        self.unit.gate.stop()

    def _after(self, act: Callable[[], object], seen: Callable[[Edge], bool]) -> dict[str, object]:
        """Do it, and wait for an edge on the tape: whether it came, and how long both took."""
        tape = self.board.tape
        before = len(tape.edges) + tape.dropped
        started_ns = time.perf_counter_ns()
        act()
        acted_ns = time.perf_counter_ns()
        came = tape.wait_for(lambda edges: any(map(seen, edges[before - tape.dropped :])), PATIENCE_S)
        done_ns = time.perf_counter_ns()
        return {"came": came, "acted_ms": (acted_ns - started_ns) / 1e6, "ms": (done_ns - started_ns) / 1e6}

    def scan(self, code: str, lane: str) -> dict[str, object]:
        """Hold a code to a reader, and wait for light or sound."""
        parts = ("lamp", "buzzer")
        reader = self.board.fakes[lane]
        return self._after(lambda: reader.scan(code), lambda e: e.lane == lane and e.part in parts)

    def flood(self) -> dict[str, object]:
        """Write rows as fast as the disk takes them, until the journal finds no more room; how many it was.

        They are of no scan, which would take the loop ten times as long, and larger than those of scans.
        """
        gate, journal = self.unit.gate, self.unit.journal
        row = Row("catalogue", "", gate.clock.now(), text="catalogue of 1,000 tickets" + " " * 400)

        def write() -> None:
            for _ in range(FLOOD_ROWS):
                journal.note(row)

        count = 0
        while journal.fault is None:
            upto = journal.next_row - 1 + FLOOD_ROWS
            gate.do(write)
            count += FLOOD_ROWS
            while journal.committed < upto and journal.fault is None:
                self.pace.wait(FLOOD_PACE_S)
        return {"count": count, "fault": journal.fault}

    def press(self) -> dict[str, object]:
        """Raise the alarm; `acted_ms` is over when the contact's own thread has freed the lanes."""
        assert self.board.alarm
        return self._after(self.board.alarm.press, lambda edge: edge.value == "both")

    def release(self) -> dict[str, object]:
        """End the alarm, and wait until a lane is locked."""
        assert self.board.alarm
        return self._after(self.board.alarm.release, lambda edge: edge.value == "locked")

    def nobody_walks(self) -> dict[str, object]:
        """From now on openings lapse."""
        for fake in self.board.fakes.values():
            fake.turnstile.usual = Person("stays")
        return {}

    def lamp(self, lane: str, shows: str) -> dict[str, object]:
        """Wait until a lamp shows this."""

        def showing(edges: tuple[Edge, ...]) -> bool:
            lamps = [edge.value for edge in edges if (edge.lane, edge.part) == (lane, "lamp")]
            return lamps[-1:] == [shows]

        return {"came": self.board.tape.wait_for(showing, PATIENCE_S)}

    def figures(self) -> dict[str, object]:
        """What the gate says of itself."""
        gate, journal = self.unit.gate, self.unit.journal
        return {
            "late_turns": gate.late_turns,
            "slowest_turn_ms": gate.slowest_turn_ms,
            "lost_rows": gate.lost_rows,
            "waiting_rows": journal.waiting,
            "fault": journal.fault,
            "relays": {name: self.board.tape.values(name, "relay") for name in self.board.fakes},
        }


def main() -> None:
    """Run it. The loop has this thread, as it has in the command line; the commands have one of their own."""
    settings = patient(SETTINGS) if sys.argv[2:] else SETTINGS
    board = open_board("fake", board_settings(settings))
    assert isinstance(board, FakeBoard)
    try:
        with open_unit(settings, Path(sys.argv[1]), board=board, watch=tell) as unit:
            signal.signal(signal.SIGTERM, lambda *_: unit.gate.stop())
            unit.gate.start()
            say(ready=True)
            threading.Thread(target=GateProcess(unit, board).run, daemon=True).start()
            unit.gate.run()
        say(ended=True, relays={name: board.tape.values(name, "relay") for name in board.fakes})
    except Held as held:
        sys.exit(str(held))


if __name__ == "__main__":
    main()
