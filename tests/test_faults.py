"""What is told of faults: what has come, what has gone, and not more than a log can hold."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import fault_codes
from firmware.config import parse
from firmware.faults import Fault, Faults, Register, faults_of, found_in
from firmware.gate import HOUSING
from firmware.managed.identity import THING
from firmware.mqtt import CLOCK
from firmware.ration import LINES_MAX, MINUTE_S
from firmware.unit import open_unit
from hal.fake import FakeBoard
from tests.brokers import LIMIT_S
from tests.gate_bench import data_directory

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
SETTINGS = """\
[[lane]]
name = "north"
[[lane.reader]]
kind = "serial"
device = "{folder}/first"
[[lane.reader]]
kind = "serial"
device = "{folder}/second"
"""


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_only_what_has_changed_about_faults_is_told() -> None:
    present = {"reader 1": "reader 1: no cable", "reader 2": "reader 2: no cable", "the journal": "full"}
    faults = Faults(lambda: dict(present))
    assert faults.news() == ["fault: reader 1: no cable", "fault: reader 2: no cable", "fault: full"]
    assert faults.news() == []
    present.update({"reader 2": "reader 2: busy", "the catalogue": "noise"})
    del present["the journal"]
    assert faults.present() == ["reader 1: no cable", "reader 2: busy", "noise"]
    assert faults.news() == ["fault: reader 2: busy", "fault: noise", "the journal works again"]
    assert faults.news() == []


def test_a_housing_does_not_work_again_but_is_closed_again() -> None:
    present = {"housing": "housing: opened"}
    faults = Faults(lambda: dict(present))
    assert faults.news() == ["fault: housing: opened"]
    present.clear()
    assert faults.news() == ["housing closed again"]


def test_a_reader_with_a_loose_plug_does_not_fill_the_log() -> None:
    clock, present = Clock(), dict[str, str]()
    faults = Faults(lambda: dict(present), clock)
    told = []
    for second in range(int(MINUTE_S)):
        clock.s = float(second)
        present = {"reader 1": "lost"} if second % 2 == 0 else {}
        told += faults.news()
    assert len(told) == LINES_MAX
    assert "see gatepost journal" in told[-1]
    clock.s, present = MINUTE_S, {"reader 1": "lost"}
    assert faults.news() == ["fault: lost"]


def test_the_readers_of_the_settings_are_counted_first_and_in_their_order(tmp_path: Path) -> None:
    settings = parse(SETTINGS.format(folder=tmp_path), "gate.toml")
    with data_directory() as data, open_unit(settings, data, trusted=lambda: True) as unit:
        assert isinstance(unit.board, FakeBoard)
        unit.gate.start()
        unit.board.fakes["north"].readers["in"].fail("is asleep")
        found: list[str] = []
        while len(found) < 3:
            unit.gate.turn(100)
            found = sorted(faults_of(unit).values())
        first, second, third = found
        assert first.startswith(f"reader north/1: {tmp_path}/first")
        assert second.startswith(f"reader north/2: {tmp_path}/second")
        assert third == "reader north/3: is asleep"


def test_a_journal_that_takes_nothing_is_told_and_so_is_what_was_lost() -> None:
    with data_directory() as data, open_unit(parse("", "gate.toml"), data, trusted=lambda: True) as unit:
        assert faults_of(unit) == {}
        unit.journal.fault = "no space"
        unit.gate.lost_rows = 1_200
        assert list(faults_of(unit).values()) == [
            "the journal takes no rows: no space",
            "1,200 rows were lost: the disk hung, and the memory for them was full",
        ]
        unit.journal.faults.append("no space")
        assert next(iter(faults_of(unit).values())) == "no space"
        unit.journal.fault = None


# --- codes, and since when -----------------------------------------------------------------------------


class Gates:
    """Faults that a test sets, and what a register makes of them."""

    def __init__(self, written: tuple[str, ...] = ()) -> None:
        self.clock, self.utc_ms = Clock(), 1_000
        self.found: list[Fault] = []
        self.rows: list[str] = []
        self.register = Register(
            lambda: iter(self.found), lambda: self.utc_ms, self.rows.append, written, self.clock
        )

    def turn(self, *found: Fault) -> None:
        self.utc_ms += 1_000
        self.found = list(found)
        self.register.turn()


STALE = Fault(fault_codes.CATALOGUE_STALE, "the catalogue's age", "too old")
LOST = Fault(fault_codes.READER_LOST, "reader north/1", "reader north/1: gone")


def test_a_fault_keeps_the_time_of_its_start_and_has_a_row_at_both_ends() -> None:
    gates = Gates()
    gates.turn(STALE)
    gates.turn(STALE._replace(text="much too old"))
    (standing,) = gates.register.standing
    assert (standing.code.code, standing.since_utc_ms, standing.text) == (
        "catalogue_stale",
        2_000,
        "much too old",
    )
    gates.turn()
    assert gates.register.standing == ()
    assert gates.rows == ["too old", "the catalogue's age works again"]


def test_a_fault_whose_finder_writes_rows_gets_no_second_ones_but_is_warned_of() -> None:
    gates = Gates()
    gates.turn(LOST)
    gates.turn()
    assert gates.rows == []
    lines, dropped = gates.register.take_lines()
    assert [line.text for line in lines] == [
        "reader_lost: reader north/1: gone",
        "reader_lost: reader north/1 works again",
    ]
    assert [line.utc_ms for line in lines] == [2_000, 3_000]
    assert dropped == 0
    assert gates.register.take_lines() == ((), 0)


def test_what_was_a_row_at_the_start_is_not_written_again() -> None:
    noted = Fault(fault_codes.JOURNAL_TROUBLE, "set aside", "set aside")
    gates = Gates(written=("set aside",))
    gates.turn(noted, noted._replace(thing="later", text="later"))
    assert gates.rows == ["later"]


def test_warnings_have_a_ration_and_those_above_it_are_counted() -> None:
    gates = Gates()
    for _ in range(50):
        gates.turn(STALE)
        gates.turn()
    lines, dropped = gates.register.take_lines()
    assert len(lines) == LINES_MAX
    assert "see the journal" in lines[-1].text
    assert dropped == 100 - (LINES_MAX - 1)
    assert len(gates.rows) == LINES_MAX
    gates.clock.s = MINUTE_S
    gates.turn(STALE)
    lines, dropped = gates.register.take_lines()
    assert (len(lines), dropped) == (1, 0)


def test_warnings_that_nobody_fetches_make_room_for_newer_ones() -> None:
    gates = Gates()
    for minute in range(5):
        gates.clock.s = MINUTE_S * minute
        for _ in range(LINES_MAX):
            gates.turn(STALE)
            gates.turn()
    lines, dropped = gates.register.take_lines()
    assert len(lines) == 50
    assert len(lines) + dropped == 5 * (2 * LINES_MAX + 1), "each was sent, pushed out, or held back"
    assert lines[-1].utc_ms > lines[0].utc_ms


def test_a_look_that_fails_is_warned_of_and_does_not_end_the_looking() -> None:
    looks = threading.Semaphore(0)

    def fail() -> Iterator[Fault]:
        looks.release()
        raise RuntimeError

    with Register(fail, lambda: 1_000, lambda _: None) as register:
        assert looks.acquire(timeout=LIMIT_S)
        assert looks.acquire(timeout=LIMIT_S)
        lines, _ = register.take_lines()
    assert lines[0].text == "other: the look for faults failed: RuntimeError"


def test_more_faults_than_a_message_holds_are_cut_and_so_is_a_text_without_end() -> None:
    gates = Gates()
    gates.turn(*(STALE._replace(thing=str(number), text="\udcff" * 1_000) for number in range(100)))
    assert len(gates.register.standing) == 64
    assert {each.text for each in gates.register.standing} == {"?" * 256}


def test_every_code_is_named_once_and_the_page_has_them_all() -> None:
    codes = [each.code for each in fault_codes.CODES]
    assert len(set(codes)) == len(codes)
    assert all(CODE.fullmatch(code) for code in codes)
    assert (ROOT / "deploy" / "faults.md").read_text("utf-8") == fault_codes.page(), (
        "python -m firmware.fault_codes > deploy/faults.md"
    )


@pytest.mark.parametrize(
    ("thing", "code"),
    [
        ("broker 10.0.0.1:8883", "broker_unreachable"),
        ("messages to broker 10.0.0.1:8883", "broker_refuses"),
        (f"{CLOCK} at broker 10.0.0.1:8883", "clock_before_tls"),
        (THING, "certificate"),
        ("settings", "settings"),
        ("gate name", "gate_name_twice"),
        ("catalogue from the bridge", "catalogue_feed"),
        ("inbox full", "messages"),
    ],
)
def test_what_the_uplink_names_has_a_code(thing: str, code: str) -> None:
    assert fault_codes.of_uplink(thing).code == code


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("reader left/1", "reader_lost"),
        ("sensor left", "sensor_failed"),
        ("turnstile left", "relay_failed"),
        ("lamp left", "lamp_failed"),
        ("buzzer left", "buzzer_failed"),
        ("link left", "link_failed"),
        (HOUSING, "tamper"),
    ],
)
def test_every_part_has_a_code(part: str, code: str) -> None:
    assert fault_codes.of_part(part).code == code


def test_a_gate_names_what_is_wrong_with_it_by_code() -> None:
    settings = parse("", "gate.toml")._replace(catalogue_stale_ms=1)
    with data_directory() as data, open_unit(settings, data, trusted=lambda: False) as unit:
        assert isinstance(unit.board, FakeBoard)
        unit.gate.start()
        name = settings.lanes[0].setup.name
        unit.board.fakes[name].readers["in"].fail("is asleep")
        assert unit.board.alarm is not None
        unit.board.alarm.press()
        while unit.gate.turn(100):
            pass
        codes = {fault.code.code: fault.text for fault in found_in(unit)}
        assert codes.keys() >= {"reader_lost", "alarm", "clock_untrusted", "catalogue_stale"}
        assert codes["alarm"] == f"lane {name} is free: alarm"


def test_a_clock_that_no_time_server_keeps_right_any_more_is_named_and_stays_trusted() -> None:
    server = [True]
    settings = parse("", "gate.toml")
    with data_directory() as data, open_unit(settings, data, trusted=lambda: bool(server)) as unit:
        assert faults_of(unit) == {}
        server.clear()
        unit.gate.clock.look()
        (lost,) = found_in(unit)
        assert (lost.code.code, lost.code.noted) == ("time_server_lost", (False, False))
        assert unit.gate.clock.trusted
        server.append(True)
        unit.gate.clock.look()
        assert faults_of(unit) == {}


SIGNED = """\
[[route]]
starts = "MPF"
characters = "base45"
vendor = "fair"
event = "3334"
signed = "bam"
"""


def test_a_gate_without_the_keys_of_signed_codes_names_it() -> None:
    settings = parse(SIGNED, "gate.toml")
    with data_directory() as data, open_unit(settings, data, trusted=lambda: True) as unit:
        found = {fault.code.code: fault.text for fault in found_in(unit)}
        assert list(found) == ["keys_missing"]
        assert found["keys_missing"].startswith("signatures: no key of event 3334 of fair")
