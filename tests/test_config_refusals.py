from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config import FILE_BYTES_MAX, PROBLEMS_MAX, SettingsError, load, parse
from firmware.config.keys import SECTIONS
from firmware.config.values import Key, Number, SecretPath, Section
from firmware.core.ticket import Direction
from tests.test_config import KEYS, LANE, LINES, SERIAL, beginning, problems

BOTH = LANE + 'direction = "both"\n'
NUMBERS = [(s, k) for s in SECTIONS for k in s.keys if isinstance(k.rule, Number)]

# A file, and after "!" the one thing that is said about it.
REFUSALS = """
[gate]
nmae = 1
! 2: gate.nmae: no such setting: did you mean "name"?

[polcy]
! 1: polcy: no such setting: did you mean "policy"?

[[lanes]]
! 1: lanes: no such setting: did you mean "lane"?

[[lane]]
name = "1"
unlokc_ms = 1
! 3: lane[1].unlokc_ms: no such setting: did you mean "unlock_ms"?

[[lane]]
name = "1"
[[lane]]
name = "2"
Sensor = true
! 5: lane[2].Sensor: no such setting: did you mean "sensor"?

[[lane]]
name = "1"
[[lane.reader]]
kind = "serial"
device = "/dev/ttyS0"
baud = 9
! 6: lane[1].reader[1].baud: no such setting: did you mean "baud_rate"?

[gate]
credit_min = 3
! 2: gate.credit_min: no such setting here: it belongs to [conditions]

timezone = "UTC"
! 1: timezone: no such setting here: it belongs to [gate]

[[reader]]
! 1: reader: no such setting: write [[lane.reader]], below its lane

[board]
zzz = 1
! 2: board.zzz: no such setting: there are name, file

[board]
"a.b\\n" = 1
! board."a.b\\n": no such setting: there are name, file

gate = 3
! 1: gate: 3 is not a table: write [gate] above its settings

[lane]
! 1: lane: a table is not a list: write [[lane]] for each

lane = [1]
! 1: lane[1]: 1 is not a table: write [[lane]] above its settings

[[lane]]
name = "1"
reader = 1
! 3: lane[1].reader: 1 is not a list: write [[lane.reader]] for each

[[event]]
id = 7
! 2: event[1].id: 7 is not a text

[[lane]]
name = "1"
sensor = 1
! 3: lane[1].sensor: 1 is neither true nor false

[[lane]]
name = "1"
relock_ms = true
! 3: lane[1].relock_ms: true is not a whole number

[[lane]]
name = "1"
relock_ms = 1.0
! 3: lane[1].relock_ms: 1.0 is not a whole number

[[lane]]
name = "1"
relock_ms = 2026-05-01
! 3: lane[1].relock_ms: 2026-05-01 is not a whole number

[[lane]]
name = "1"
sectors = "A"
! 3: lane[1].sectors: "A" is not a list of texts: write ["…"]

[[lane]]
name = "1"
sectors = ["A", 2]
! 3: lane[1].sectors: 2 is not a text

[[lane]]
name = "1"
sectors = ["A\\u0007"]
! 3: lane[1].sectors: "A\\x07" has a character that cannot be seen

[gate]
name = 7
! 2: gate.name: 7 is not a name: 1 to 32 of a-z, 0-9, _ and -

[gate]
name = ""
! 2: gate.name: "" is not a name: 1 to 32 of a-z, 0-9, _ and -

[gate]
venue = "a/+"
! 2: gate.venue: "a/+" is not a name: 1 to 32 of a-z, 0-9, _ and -

[[lane]]
name = "Nord"
! 2: lane[1].name: "Nord" is not a name: 1 to 32 of a-z, 0-9, _ and -

[gate]
timezone = "Europe/Lisabon"
! 2: gate.timezone: "Europe/Lisabon" is no time zone known here: did you mean "Europe/Lisbon"?

[gate]
timezone = "../x"
! 2: gate.timezone: "../x" is no time zone known here

[policy]
reentry = "afterexit"
! 2: policy.reentry: "afterexit" is not one of "none", "after_exit", "unlimited": did you mean
!   "after_exit"?

[policy]
spend = 1
! 2: policy.spend: 1 is not one of "opening", "passage"

[[lane]]
! 1: lane[1].name: is missing: The lane's name, unique at this gate.

[[lane]]
name = "1"
[[lane]]
name = "1"
! 4: lane[2].name: "1" is taken by lane[1]: each has its own

[[event]]
id = "a"
[[event]]
id = "a"
! 4: event[2].id: "a" is taken by event[1]: each has its own

[[lane]]
name = "1"
[[lane.reader]]
kind = "serial"
device = "/dev/ttyS0"
[[lane.reader]]
kind = "serial"
device = "/dev/ttyS0"
! 8: lane[1].reader[2].device: "/dev/ttyS0" is taken by lane[1].reader[1]: each has its own

[[lane]]
name = "1"
[[lane.reader]]
kind = "lines"
[[lane.reader]]
kind = "lines"
! 5: lane[1].reader[2].path: "-" is taken by lane[1].reader[1]: each has its own

[[lane]]
name = "1"
[[lane.reader]]
kind = "serial"
device = "ttyS0"
! 5: lane[1].reader[1].device: "ttyS0" is not a path that begins with /, or empty

[[lane]]
name = "1"
[[lane.reader]]
kind = "serial"
! 3: lane[1].reader[1].device: is missing: the path of the scanner

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
layout = "de"
! 3: lane[1].reader[1].device: is missing: the path of the scanner, or its vendor and product

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
device = "/dev/input/by-id/usb-scanner-event-kbd"
vendor = "05f9"
! 5: lane[1].reader[1].device: names the scanner, and so do vendor and product: take one out

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
! 3: lane[1].reader[1].product: is missing: lsusb prints both, as ID

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
serial = "A1"
product = "2206"
! 3: lane[1].reader[1].vendor: is missing: lsusb prints both, as ID

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
vendor = "05F9"
product = "2206"
! 5: lane[1].reader[1].vendor: "05F9" is not written as lsusb prints it: 4 of 0-9 and a-f, or empty, such
!   as "05f9"

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
! 9: lane[1].reader[2].vendor: this scanner is that of lane[1].reader[1]: write the serial of each, or device

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
serial = "A1"
! 9: lane[1].reader[2].vendor: this scanner is that of lane[1].reader[1]: write the serial of each, or device

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
serial = "A1"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
serial = "A2"
[[lane.reader]]
kind = "evdev"
vendor = "05f9"
product = "2206"
! 15: lane[1].reader[3].vendor: this scanner is that of lane[1].reader[1]: write the serial of each, or device

[[lane]]
name = "1"
[[lane.reader]]
kind = "evdev"
device = "/dev/input/by-id/usb-scanner-event-kbd"
layout = "us,de"
! 6: lane[1].reader[1].layout: "us,de" is not a name of xkb: 1 to 32 of A-Z, a-z, 0-9, _ and -

[[lane]]
name = "1"
[[lane.reader]]
kind = "lines"
layout = "de"
! 5: lane[1].reader[1].layout: does nothing with kind = "lines": take it out, or set kind = "evdev"

[[lane]]
name = "1"
[[lane.reader]]
kind = "lines"
baud_rate = 9600
! 5: lane[1].reader[1].baud_rate: does nothing with kind = "lines": take it out, or set kind =
!   "serial"

[[lane]]
name = "1"
[[lane.reader]]
kind = "serial"
device = "/dev/ttyS0"
stx_etx = true
terminator = "cr"
! 7: lane[1].reader[1].terminator: does nothing with stx_etx = true: take one of the two out

[[lane]]
name = "1"
direction = "both"
[[lane.reader]]
kind = "lines"
! 4: lane[1].reader[1].direction: is missing: the lane works both ways, so write "in" or "out"

[[lane]]
name = "1"
[[lane.reader]]
kind = "lines"
direction = "out"
! 5: lane[1].reader[1].direction: the lane works "in" only: take this out, or set the lane's to "both"

[[lane]]
name = "1"
direction = "out"
sectors = ["A"]
! 4: lane[1].sectors: does nothing with direction = "out": take it out, or set direction = "in" or
!   "both"

[[lane]]
name = "1"
sensor = false
[policy]
spend = "passage"
! 5: policy.spend: "passage" needs a sensor, and lane[1] has none: write "opening", or set sensor =
!   true there

[[lane]]
name = "1"
[[lane]]
name = "2"
sensor = false
[[event]]
id = "a"
spend = "passage"
! 8: event[1].spend: "passage" needs a sensor, and lane[2] has none: write "opening", or set sensor =
!   true there

[policy]
again_after_min = 1
! 2: policy.again_after_min: does nothing with reentry = "none": take it out, or let tickets enter
!   again

[[event]]
id = "a"
again_after_min = 1
! 3: event[1].again_after_min: does nothing with reentry = "none": take it out, or let tickets enter
!   again

[[route]]
vendor = "v"
authority = "vendor"
deadline_ms = 199
! 4: route[1].deadline_ms: is too short: 200 at least, or 0

[[route]]
vendor = "v"
authority = "vendor"
without_answer = "open_and_upload"
! 4: route[1].without_answer: would let in whatever is held to a reader: say how such codes look, with
!   starts, lengths or characters

[[route]]
deadline_ms = 500
! 2: route[1].deadline_ms: does nothing with authority = "gate": take it out, or set authority =
!   "vendor"

[[route]]
authority = "vendor"
! 1: route[1].vendor: is missing: the vendor that is asked

[[route]]
length_min = 4
length_max = 3
! 3: route[1].length_max: no code fits: it has 4 characters at least

[[route]]
starts = "1234"
length_max = 3
! 3: route[1].length_max: no code fits: it has 4 characters at least

[[route]]
starts = "A1"
characters = "digits"
! 2: route[1].starts: has characters that are not digits

[[event]]
id = "friday"
[[route]]
event = "fryday"
! 4: route[1].event: "fryday" is none of the events: did you mean "friday"?

[[route]]
event = "3334"
signed = "bam"
! 1: route[1].vendor: is missing: the account whose event signs these codes

[[route]]
vendor = "v"
event = "gala"
signed = "bam"
! 3: route[1].event: is needed with signed codes: the event's number, such as 3334

[[route]]
vendor = "v"
event = "3334"
signed = "bam"
listed_too = false
signature = "require"
! 6: route[1].signature: with listed_too = false, listed codes go unchecked: take that out, or write "prefer"

[[route]]
signature = "require"
! 2: route[1].signature: does nothing with signed = "": take it out, or set signed = "bam"

[[event]]
id = "a"
[[route]]
authority = "vendor"
vendor = "v"
check_first = true
! 3: route[1].event: is missing: with check_first = true, name the event, or every code that is not in
!   the catalogue is of the wrong one

[conditions]
catalogue_stale = "refuse"
! 2: conditions.catalogue_stale: "refuse" never comes about: set catalogue_stale_h too
"""


def refusals() -> Iterator[tuple[str, str]]:
    """Each file above with its problem."""
    for entry in REFUSALS.strip().split("\n\n"):
        text, _, told = entry.partition("\n! ")
        told = told.replace("\n!   ", " ")
        yield text, f"gate.toml:{told}" if told[0].isdigit() else f"gate.toml: {told}"


@pytest.mark.parametrize(("text", "problem"), list(refusals()))
def test_a_mistake_is_refused_with_its_line_its_key_and_the_mend(text: str, problem: str) -> None:
    assert problems(text) == (problem,)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_setting_refuses_a_table_and_a_misspelt_name_finds_it(section: Section, key: Key) -> None:
    start, path = beginning(section, key)
    (told, *_) = problems(f"{start}{key.name} = {{}}")
    refused = "is no path " if isinstance(key.rule, SecretPath) else "a table is "
    assert f": {path}.{key.name}: {refused}" in told
    misspelt = next(p for p in problems(f"{start}{key.name}x = 1") if "no such setting" in p)
    assert misspelt.endswith(f'{path}.{key.name}x: no such setting: did you mean "{key.name}"?')


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_every_number_has_bounds_and_keeps_them(section: Section, key: Key) -> None:
    rule = key.rule
    assert isinstance(rule, Number)
    assert rule.fault(rule.least) is None
    assert rule.fault(rule.most) is None
    assert rule.least <= key.default <= rule.most
    start, path = beginning(section, key)
    for value in (rule.least - 1, rule.most + 1):
        told = problems(f"{start}{key.name} = {value}")
        bounds = f"{value} is not between {rule.least} and {rule.most} ({rule.why})"
        assert told[0].endswith(f": {path}.{key.name}: {bounds}")


@pytest.mark.parametrize(
    ("name", "most", "text"),
    [
        ("lane", 4, '[[lane]]\nname = "{}"\n'),
        ("lane[1].reader", 4, LINES + 'path = "/dev/tty{}"\n'),
        ("event", 256, '[[event]]\nid = "{}"\n'),
        ("route", 16, '[[route]]\nstarts = "{}"\n'),
        ("broker", 4, '[[broker]]\nhost = "b{}"\n'),
    ],
)
def test_a_list_of_tables_has_its_length(name: str, most: int, text: str) -> None:
    start = LANE if "reader" in name else ""
    parse(start + "".join(text.format(n) for n in range(most)), "x")
    (told,) = problems(start + "".join(text.format(n) for n in range(most + 1)))
    assert told.endswith(f": {name}: there are {most + 1}, not at most {most}")


@pytest.mark.parametrize("name", ["Europe", "../UTC", "/etc/localtime", "utc ", "Moon/Base"])
def test_what_is_no_time_zone_is_refused_whatever_lies_there(name: str) -> None:
    (told,) = problems(f'[gate]\ntimezone = "{name}"')
    assert told.startswith(f'gate.toml:2: gate.timezone: "{name}" is no time zone known here')


def test_a_text_and_a_list_have_their_lengths() -> None:
    parse(f'[[event]]\nid = "{"x" * 128}"\nsessions = {["s"] * 256}', "x")
    (told,) = problems(f'[[event]]\nid = "{"x" * 129}"')
    assert told.endswith("has 129 characters, not 0 to 128")
    (told,) = problems(f"[policy]\nsessions = {['s'] * 257}")
    assert told.endswith("the list has 257 entries, not at most 256")
    (told,) = problems(LANE + SERIAL + 'strip_prefix = [""]')
    assert told.endswith('strip_prefix: "" has 0 characters, not 1 to 128')


def test_what_a_scanner_adds_may_be_a_control_character() -> None:
    (lane,) = parse(LANE + SERIAL + r'strip_suffix = ["\u001d", "\u0004"]', "x").lanes
    assert lane.readers[0].options["strip_suffix"] == ("\x1d", "\x04")


def test_a_lane_both_ways_takes_one_reader_each_way() -> None:
    readers = LINES + 'direction = "in"\n' + SERIAL + 'direction = "out"\n'
    (lane,) = parse(BOTH + readers, "x").lanes
    assert lane.setup.direction is None
    assert [reader.direction for reader in lane.readers] == [Direction.IN, Direction.OUT]


def test_a_policy_that_no_event_uses_may_name_minutes() -> None:
    text = '[policy]\nagain_after_min = 1\n[[event]]\nid = "a"\nreentry = "unlimited"'
    assert parse(text, "x").policy_for("a").again_after_ms == 60_000


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order() -> None:
    text = '[conditions]\ncredit_mn = 1\n[gate]\nname = ""\n' + LANE + "signal_ms = 1999\n[[event]]\n"
    told = [problem.split(": ")[:2] for problem in problems(text)]
    assert told == [
        ["gate.toml:2", "conditions.credit_mn"],
        ["gate.toml:4", "gate.name"],
        ["gate.toml:7", "lane[1].signal_ms"],
        ["gate.toml:8", "event[1].id"],
    ]


def test_a_hopeless_file_is_told_in_short() -> None:
    told = problems("\n".join(f"x{n} = 1" for n in range(PROBLEMS_MAX + 3)))
    assert len(told) == PROBLEMS_MAX + 1
    assert told[-1] == "gate.toml: and 3 more"


def test_a_wrong_value_is_shown_in_short() -> None:
    (told,) = problems(f'[gate]\nname = "{"x" * 10_000}"')
    assert len(told) < 150
    (told,) = problems(f"[journal]\nkeep_days = 0x{'f' * 10_000}")
    assert "a huge number is not between" in told


def test_no_line_is_told_where_a_long_text_could_mislead() -> None:
    assert problems('[gate]\nvenue = """\nname = 1"""\nname = 1')[0].startswith("gate.toml: gate.name: ")


def test_a_quoted_or_dotted_key_is_found_too() -> None:
    assert problems('[gate]\n"name" = 1')[0].startswith("gate.toml:2: gate.name: ")
    assert problems("gate.name = 1")[0].startswith("gate.toml: gate.name: ")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"name = ", "is not TOML: "),
        (b"\xff\xfe", "is not UTF-8 text: save it as UTF-8"),
        (b"a = 1" + b"0" * 5000, "is not TOML: "),
        (b"a = " + b"[" * 5000, "is no settings file: its brackets nest too deep"),
        (b"#" * (FILE_BYTES_MAX + 1), f"longer than {FILE_BYTES_MAX} bytes: is this the settings file?"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        load(path)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path}: {told}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    with pytest.raises(SettingsError) as refused:
        load(path)
    assert refused.value.problems == (f"{path}: cannot be read (No such file or directory): check the path",)


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_loads(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(b'\xef\xbb\xbf[gate]\r\nname = "north"\r\n')
    assert load(path).gate_name == "north"
