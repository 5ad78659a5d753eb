"""`gatepost gate` in a process of its own, on a fake board that a test moves.

`python -m tests.watched_gate ARGUMENTS`: each word on its standard input is a command, and has one answer on
standard output: the word, and what relay and lamp did so far. At its end it says so once more. `pressed` in
the environment (`GATE_BOARD`) raises the alarm before the gate starts.
"""

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace

from firmware import cli
from hal import board as boards
from hal.fake import FakeBoard, FakeLaneSettings, Person
from hal.ports import Buzzer, Pattern
from hal.schedule import RealTime


class HangingBuzzer(Buzzer):
    """Silent, until it is told to hang: then the loop, which sounds it, hangs with it."""

    def __init__(self) -> None:
        self.free, self.hangs = threading.Event(), threading.Event()
        self.free.set()

    def sound(self, pattern: Pattern) -> None:
        if not self.free.is_set():
            self.hangs.set()
        self.free.wait()

    def close(self) -> None:
        self.free.set()


class Door:
    """The board, and who stands at it."""

    def __init__(self) -> None:
        self.fake = FakeBoard([FakeLaneSettings("north")], RealTime(), usual=Person("stays"))
        self.buzzer = HangingBuzzer()
        self.fake.lanes = tuple(replace(lane, buzzer=self.buzzer) for lane in self.fake.lanes)

    def obey(self) -> None:
        """Carry out what comes on standard input; its end is no order."""
        for line in sys.stdin:
            word = line.strip()
            if word == "hang":
                self.buzzer.free.clear()
                self.fake.fakes["north"].scan("nobody")
                self.buzzer.hangs.wait()  # the loop has come to it, and to nothing that follows
            elif word == "go_on":
                self.buzzer.free.set()
            elif word == "press" and self.fake.alarm:
                self.fake.alarm.press()
            elif word == "release" and self.fake.alarm:
                self.fake.alarm.release()
            self.say(word)

    def say(self, word: str) -> None:
        """The answer."""
        edges = [edge.value for edge in self.fake.tape.edges if edge.part in ("relay", "lamp")]
        sys.stdout.write(",".join([word, *edges]) + "\n")
        sys.stdout.flush()


def main() -> int:
    """Run the command as the unit does."""
    door = Door()
    if os.environ.get("GATE_BOARD") == "pressed" and door.fake.alarm:
        door.fake.alarm.press()

    def build(settings: Mapping[str, object]) -> FakeBoard:
        return door.fake

    boards.BOARDS["fake"] = build
    threading.Thread(target=door.obey, daemon=True).start()
    try:
        return cli.main()
    finally:
        door.say("end")


if __name__ == "__main__":
    sys.exit(main())
