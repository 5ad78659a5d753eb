import os
import pty
import threading
import time
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import pytest

from firmware.config import Settings, parse
from firmware.doctor import findings
from firmware.doctor.bench import Bench, Seen
from firmware.doctor.check import Check, Verdict
from firmware.doctor.codes import News, first_reads, read_codes, shown
from firmware.doctor.readers import Wanted, wanted
from firmware.doctor.watch import line_of, watch, words
from hal.fake import FakeBoard, FakeLaneSettings
from hal.ports import Code, Unreadable
from hal.schedule import VirtualTime
from tests.hal.conftest import PATIENCE_S

PAUSE_S = 0.1  # between two scans: longer than the silence that a reader waits for


class Scanner:
    """A scanner on a terminal line that scans again and again, with pauses, until it is closed."""

    def __init__(self, link: Path, data: bytes) -> None:
        self._ours, self._theirs = pty.openpty()
        link.symlink_to(os.ttyname(self._theirs))
        self._data, self._over = data, threading.Event()
        self._thread = threading.Thread(target=self._scan)
        self._thread.start()

    def _scan(self) -> None:
        while not self._over.wait(PAUSE_S):
            os.write(self._ours, self._data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)


def settings(*devices: Path) -> Settings:
    readers = "".join(
        f'[[lane.reader]]\nkind = "serial"\ndevice = "{device}"\nidle_ms = 20\n' for device in devices
    )
    return parse(f'[[lane]]\nname = "left"\n{readers}', "gate.toml")


def read(readers: Settings) -> list[Check]:
    said: list[str] = []
    found = list(read_codes(readers, PATIENCE_S, said.append))
    assert said[0].startswith("hold a code to each reader: lane left, ")
    return found


def test_one_code_of_each_reader_is_shown_with_its_length_and_whose_it_is(tmp_path: Path) -> None:
    first, second = tmp_path / "usb-A", tmp_path / "usb-B"
    with Scanner(first, b"AB C\x1d1\r"), Scanner(second, b"\xc3\xa9\r\n"):
        found = read(settings(first, second))
    assert set(found) == {
        findings.CODE_READ.seen(lane="left", reader=first, length=6, code="AB\u2423C\u241d1"),
        findings.CODE_READ.seen(lane="left", reader=second, length=1, code="\u00e9"),
    }


def test_what_cannot_be_used_is_a_fault_that_says_why(tmp_path: Path) -> None:
    device = tmp_path / "usb-A"
    with Scanner(device, b"\xff\xfe\r"):
        (check,) = read(settings(device))
    assert check.verdict is Verdict.FAULT
    assert "it is no text" in check.text


def test_a_scanner_that_never_ends_its_codes_is_a_fault(tmp_path: Path) -> None:
    device = tmp_path / "usb-A"
    with Scanner(device, b"ABC"):
        (check,) = read(settings(device))
    assert check.verdict is Verdict.FAULT
    assert "the terminator never came" in check.text


def test_readers_that_are_lost_stay_silent_or_come_back_are_told_apart(tmp_path: Path) -> None:
    lost, silent, back = wanted(settings(*(tmp_path / name for name in ("a", "b", "c"))))
    told: SimpleQueue[tuple[Wanted, News]] = SimpleQueue()
    for news in ((lost, None), (lost, "is not there: check the cable"), (back, "is gone"), (back, None)):
        told.put(news)
    told.put((back, Code("X")))
    told.put((back, Code("Y")))
    found = list(first_reads([lost, silent, back], told, 0.0, lambda _: None))
    assert found == [
        findings.CODE_READ.seen(lane="left", reader=back.named, length=1, code="X"),
        findings.READER_LOST.seen(lane="left", reader=lost.named, problem="is not there: check the cable"),
        findings.CODE_NONE.seen(lane="left", reader=silent.named, seconds="0"),
    ]


# --- watching ----------------------------------------------------------------------------------------


def test_everything_that_is_seen_is_shown_as_it_comes(tmp_path: Path) -> None:
    device = tmp_path / "usb-A"
    lines: list[str] = []
    board = FakeBoard([FakeLaneSettings("left")], VirtualTime(), alarm=True)
    reader = f"lane left, reader {device}"

    until = time.monotonic() + PATIENCE_S

    def over() -> bool:
        return time.monotonic() > until or any(
            line.endswith(f"{reader}: 3 characters: A\u2423B") for line in lines
        )

    with Scanner(device, b"A B\r"), Bench(board) as bench:
        assert board.tamper is not None
        board.fakes["left"].sensor.see("in")  # type: ignore[union-attr]  # a lane of this kind has one
        board.tamper.press()
        watch(bench, settings(device), lines.append, over)
    assert lines[-1].endswith("A\u2423B")
    seen = [line.split(" ", 1)[1] for line in lines]
    assert seen[1:6] == [
        "alarm: at rest",
        "tamper: at rest",
        "lane left, passage: in",
        "tamper: active",
        f"{reader}: works",
    ]


def test_the_lanes_are_free_while_an_alarm_is_watched() -> None:
    board = FakeBoard([FakeLaneSettings("left")], VirtualTime(), alarm=True)
    with Bench(board) as bench:
        assert board.alarm is not None
        board.alarm.press()
        assert bench.alarmed
        assert board.tape.values("left", "relay")[-1:] == ["both"]
        board.alarm.release()
        bench.wait_until_quiet()
        assert board.tape.values("left", "relay")[-1:] == ["locked"]


def test_a_line_has_the_time_and_nothing_that_could_change_a_terminal() -> None:
    at = datetime(2026, 5, 4, 3, 2, 1, 98765)
    assert line_of(Seen("", "alarm", "active"), at) == "03:02:01.098 alarm: active"
    assert line_of(Seen("left", "reader x", "\x1b[2J" * 500), at).isprintable()


def test_what_a_reader_says_is_put_into_words() -> None:
    assert words(None) == "works"
    assert words("is gone") == "is gone"
    assert words(Code("x y")) == "3 characters: x\u2423y"
    assert words(Unreadable("too_long")) == "too many characters"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ABC-123", "ABC-123"),
        ("a b", "a\u2423b"),
        ("\x1d01\x00", "\u241d01\u2400"),
        ("\x7f\u200b\u00e9", "\u2421<U+200B>\u00e9"),
        ("\x1b[2J", "\u241b[2J"),
    ],
)
def test_characters_that_cannot_be_seen_are_shown_by_signs(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert shown(text).isprintable()
