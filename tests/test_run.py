"""A gate that is opened anew in its own process: between two scans, and with everybody answered."""

import json
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from firmware.config import parse
from firmware.core.ticket import Verdict
from firmware.kept import READS_MAX, WAIT_S, KeptReader
from firmware.row import decode_began
from firmware.run import told_of_faults
from firmware.standby import Standby
from firmware.unit import open_unit
from firmware.watchdog import FEEDS, Watchdog
from hal.fake import FakeBoard, FakeLaneSettings
from hal.fake_parts import FakeReader
from hal.ports import Code, Read
from hal.schedule import VirtualTime
from tests.commands import PATIENCE_S, Lines, environment
from tests.gate_bench import data_directory, read_rows
from tests.gate_process import fill_catalogue
from tests.test_watchdog import Systemd, systemd  # noqa: F401  a fixture

LANES = (
    '[[lane]]\nname = "north"\nunlock_ms = {unlock_ms}\n[[lane]]\nname = "south"\nunlock_ms = {unlock_ms}\n'
)
FIRST = LANES.format(unlock_ms=1000)
SECOND = LANES.format(unlock_ms=2000) + '[[event]]\nid = "another"\n'  # tickets of no event are refused
VERDICTS = {1000: Verdict.ADMITTED, 2000: Verdict.WRONG_EVENT}


class Gates:
    """The process. Leaving the block kills it if it is still there."""

    def __init__(
        self, folder: Path, data: Path, more: Mapping[str, str] | None = None, first: str = "ready: lanes"
    ) -> None:
        self.config = folder / "gate.toml"
        if not self.config.exists():
            self.config.write_text(FIRST, "utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reopened_gate", str(self.config), str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **(more or {})},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        self.err.expect(first)

    def do(self, name: str, **arguments: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.out.expect("."))

    def reopen(self) -> None:
        """Ask, and wait for the next gate."""
        assert self.do("opened", count=self.do("reopen") + 1)
        self.err.expect("ready: lanes")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.out.close()
        self.err.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        fill_catalogue(folder)
        yield folder


def test_a_gate_is_opened_anew_in_its_process_with_a_new_epoch_on_the_same_board(
    tmp_path: Path, data: Path
) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("scan", code="T0", lane="north")
        gates.reopen()
        assert gates.do("scan", code="T1", lane="north")
        assert gates.do("boards") == 1
        assert gates.end() == 0
    kinds = [found.row.kind for found in read_rows(data)]
    assert kinds.count("began") == 2
    assert [found.row.verdict for found in read_rows(data) if found.row.kind == "scan"] == [
        Verdict.ADMITTED
    ] * 2


def test_nobody_of_a_crowd_is_left_unanswered_or_judged_under_half_of_each_settings(
    tmp_path: Path, data: Path
) -> None:
    with Gates(tmp_path, data) as gates:
        people = 60
        settings = [SECOND, FIRST, SECOND, FIRST]
        lanes = ["north", "south"]
        assert gates.do("crowd", count=people, lanes=lanes, settings=settings) == people * len(lanes)
        assert gates.end() == 0
    unlock_ms, codes = 0, set()
    for found in read_rows(data):
        if found.row.kind == "began":
            (unlock_ms,) = {setup.unlock_ms for setup in decode_began(found.row.text).setups}
        elif found.code and found.row.verdict is not Verdict.BUSY:
            assert found.row.verdict is VERDICTS[unlock_ms]
        codes |= {found.code} if found.code else set()
    assert len(codes) == people * len(lanes)


def test_somebody_who_is_served_is_served_to_the_end_first(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("stay")
        assert gates.do("scan", code="T0", lane="south")  # the lane stays open until it lapses
        gates.reopen()
        assert gates.end() == 0
    kinds = [found.row.kind for found in read_rows(data) if found.row.kind != "fault"]
    assert kinds[:4] == ["began", "scan", "lapse", "began"]


def test_promise_4_an_alarm_keeps_the_gate_as_it_is_until_it_is_over(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("press")
        opened = gates.do("reopen")
        assert gates.do("scan", code="T0", lane="north")
        assert gates.do("relays") == {"north": ["both"], "south": ["both"]}
        gates.err.expect("the test: waits for a moment in which no lane is in use, since 60 s")
        assert gates.do("release")
        assert gates.do("opened", count=opened + 1)
        assert gates.end() == 0


def test_a_drill_is_tried_to_its_end_first(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("drill", order="FREE")
        opened = gates.do("reopen")
        assert gates.do("scan", code="T0", lane="north")
        assert gates.do("relays") == {"north": ["both"], "south": ["both"]}
        assert gates.do("drill", order="NORMAL")
        assert gates.do("opened", count=opened + 1)
        assert gates.end() == 0


def test_what_an_operator_ordered_stands_after_it(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("order", lane="north", order="SHUT")
        gates.reopen()
        assert gates.do("scan", code="T0", lane="north")
        assert gates.do("scan", code="T0", lane="south")
        assert gates.end() == 0
    scans = [found.row for found in read_rows(data) if found.row.kind == "scan"]
    assert [(row.lane, row.verdict) for row in scans] == [
        ("north", Verdict.SHUT),
        ("south", Verdict.ADMITTED),
    ]


def test_other_lanes_come_on_a_board_that_is_opened_anew(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        gates.config.write_text('[[lane]]\nname = "west"\n', "utf-8")
        gates.reopen()
        assert gates.do("boards") == 2
        assert gates.do("scan", code="T0", lane="west")
        assert gates.end() == 0


def test_the_watchdog_is_fed_while_the_gate_is_opened_anew(
    tmp_path: Path,
    data: Path,
    systemd: Systemd,  # noqa: F811  the fixture
) -> None:
    with Gates(tmp_path, data, systemd.environment()) as gates:
        systemd.expect("READY=1")
        for _ in range(3):
            gates.reopen()
            for _ in range(2 * FEEDS):
                systemd.expect("WATCHDOG=1")
        assert gates.end() == 0


@pytest.mark.parametrize("over", [False, True])
def test_promise_4_between_two_gates_the_alarm_frees_the_lanes_and_the_next_hears_it(
    over: bool,
) -> None:
    board = FakeBoard([FakeLaneSettings("north")], VirtualTime())
    standby = Standby(board, Watchdog({}))
    first: list[bool] = []
    second: list[bool] = []
    standby.start(first.append)
    standby.take_back()
    assert board.alarm is not None
    board.alarm.press()
    assert board.tape.values("north", "relay")[-1] == "both"
    if over:
        board.alarm.release()
        assert board.tape.values("north", "relay")[-1] == "locked"
    standby.start(second.append)
    assert first == [False]
    assert second == ([True, False] if over else [True])
    board.close()


def test_promise_6_an_alarm_that_no_loop_has_heard_of_leaves_no_lane_unlocked_and_is_heard_of() -> None:
    board = FakeBoard([FakeLaneSettings("north")], VirtualTime())
    standby, second = Standby(board, Watchdog({})), list[bool]()
    assert board.alarm is not None

    def freed(active: bool) -> None:
        """As a gate whose loop has not begun."""
        if active:
            board.lanes[0].turnstile.unlock("both")

    for _ in range(2):  # what was missed is missed again by a gate that does not begin either
        standby.start(freed)
        board.alarm.press()
        board.alarm.release()
        assert board.tape.values("north", "relay")[-1] == "both"
        standby.take_back()
        assert board.tape.values("north", "relay")[-1] == "locked"
    standby.start(freed)
    standby.take_back()
    assert board.tape.values("north", "relay")[-1] == "locked"
    standby.start(second.append)
    assert second == [True, False]
    standby.heard()
    standby.take_back()
    assert not standby.missed, "once"
    board.close()


def test_promise_4_who_takes_the_lanes_back_in_an_alarm_locks_none() -> None:
    board = FakeBoard([FakeLaneSettings("north")], VirtualTime())
    standby, heard = Standby(board, Watchdog({})), list[bool]()
    standby.start(heard.append)
    assert board.alarm is not None
    board.alarm.press()
    seen = len(board.tape.values("north", "relay"))
    standby.take_back()
    assert set(board.tape.values("north", "relay")[seen:]) == {"both"}
    board.close()


def test_an_alarm_that_the_loop_has_heard_of_is_no_news_for_the_next_gate(tmp_path: Path, data: Path) -> None:
    with Gates(tmp_path, data) as gates:
        assert gates.do("press")
        assert gates.do("release")
        gates.reopen()
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    alarms = [found.row.lane for found in read_rows(data) if found.row.kind == "alarm"]
    assert sorted(alarms) == ["north", "north", "south", "south"], "it came, and it went"


# --- readers that stay open ------------------------------------------------------------------------


def test_codes_that_are_read_between_two_gates_wait_for_the_next_but_not_for_long() -> None:
    now_s = 0.0
    inner = FakeReader()
    reader = KeptReader(inner, lambda: now_s)
    first: list[Read] = []
    second: list[Read] = []
    states: list[str | None] = []
    reader.start(first.append, lambda _: None)
    assert inner.scan("A")
    reader.hold()
    assert inner.scan("B")
    reader.go_on()
    reader.close()
    assert inner.scan("too old")
    now_s = WAIT_S + 0.1
    assert inner.scan("C")
    reader.start(second.append, states.append)
    assert inner.scan("D")
    assert first == [Code("A"), Code("B")]
    assert second == [Code("C"), Code("D")]
    assert states == [None]
    reader.end()
    assert not inner.scan("E")


def test_a_reader_keeps_no_more_than_a_few_codes_for_the_next_gate() -> None:
    inner = FakeReader()
    reader = KeptReader(inner, lambda: 0.0)
    reader.start(lambda _: None, lambda _: None)
    reader.close()
    for number in range(READS_MAX + 1):
        assert inner.scan(f"{number}")
    found: list[Read] = []
    reader.start(found.append, lambda _: None)
    assert found == [Code(f"{number}") for number in range(1, READS_MAX + 1)]
    reader.end()


def test_a_fault_of_ours_in_one_look_ends_no_later_one(data: Path) -> None:
    looks, said = queue.Queue[int](), queue.Queue[str]()

    def look() -> None:
        looks.put(0)
        raise RuntimeError("a trial")

    with (
        open_unit(parse(FIRST, "the test"), data) as unit,
        Watchdog({}) as watchdog,
        told_of_faults(unit, watchdog, look, said.put),
    ):
        for _ in range(3):
            looks.get(timeout=PATIENCE_S)
    lines = [said.get_nowait() for _ in range(said.qsize())]
    assert [line for line in lines if "RuntimeError" in line] == [
        "the look for faults and settings failed, and is repeated: RuntimeError: a trial"
    ]
