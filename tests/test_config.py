import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from datetime import time as day_time
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware.config import (
    LIST_DECIDES,
    LaneSettings,
    Settings,
    SettingsError,
    load,
    parse,
    settle,
)
from firmware.config.__main__ import page
from firmware.config.keys import ALPHABETS, READER, ROUTE, SECTIONS
from firmware.config.values import Key, Number, OneOf, Section, Texts
from firmware.core.ticket import (
    Authority,
    Choice,
    Direction,
    Exits,
    Perimeter,
    Policy,
    Reentry,
    Route,
    Setup,
    Spend,
    Ticket,
    WithoutAnswer,
)
from firmware.signed_code import Signature, Signing
from hal import board, evdev_reader, frames, keys, serial_reader
from tests.signed_codes import to_base45

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "deploy" / "gate.toml"

LANE = '[[lane]]\nname = "1"\n'
SERIAL = '[[lane.reader]]\nkind = "serial"\ndevice = "/dev/ttyS0"\n'
EVDEV = '[[lane.reader]]\nkind = "evdev"\ndevice = "/dev/input/event0"\n'
USB = EVDEV.replace('device = "/dev/input/event0"', 'vendor = "05f9"\nproduct = "2206"')
LINES = '[[lane.reader]]\nkind = "lines"\n'
ASK = '[[route]]\nauthority = "vendor"\nvendor = "v"\n'

BAM = '[[route]]\nvendor = "v"\nevent = "3334"\nsigned = "bam"\n'
SIGNED = next(key for key in ROUTE.keys if key.name == "signed")

KEYS = [pytest.param(s, k, id=f"{s.name}.{k.name}") for s in SECTIONS for k in s.keys]


def problems(text: str) -> tuple[str, ...]:
    """What is said of a text that is refused."""
    with pytest.raises(SettingsError) as refused:
        parse(text, "gate.toml")
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


def beginning(section: Section, key: Key) -> tuple[str, str]:
    """A file that ends in the section, where the key has an effect and is not there yet; and its path."""
    if section is READER:
        kinds = key.only.values if key.only else ("serial",)
        start = LANE + {"lines": LINES, "evdev": EVDEV, "serial": SERIAL}[kinds[0]]
        if key.name == "kind":
            start = start.replace('\nkind = "serial"', "")
        if key.name == "device":
            start = LANE + USB
        return start, "lane[1].reader[1]"
    if section.name == "lane":
        return ("[[lane]]\n" if key.name == "name" else LANE), "lane[1]"
    if section.name == "broker":
        return ("[[broker]]\n" if key.name == "host" else '[[broker]]\nhost = "a"\n'), "broker[1]"
    if section.name == "event":
        return ("[[event]]\n" if key.name == "id" else '[[event]]\nid = "a"\n'), "event[1]"
    if section.name == "route":
        starts = {"authority": ASK, "signed": BAM}
        return (starts[key.only.key] if key.only and key is not SIGNED else "[[route]]\n"), "route[1]"
    if key.name == "file":
        return '[board]\nname = "gpio"\n', "board"
    return f"{section.header}\n", section.name


def documented(section: Section, key: Key) -> str:
    """The default of a setting as the page shows it."""
    chapter = page().split(f"## `{section.header}`")[1].split("\n## ")[0]
    row = re.search(rf"^\| `{key.name}` \|.*?\| ([^|]+) \| [^|]+ \|$", chapter, re.MULTILINE)
    assert row
    return row[1]


# --- defaults and documents --------------------------------------------------------------------------


def test_without_a_file_there_is_one_lane_in_with_the_defaults_of_the_core() -> None:
    assert load(None) == Settings(
        gate_name="gate",
        venue="venue",
        timezone=UTC,
        board="fake",
        lanes=(LaneSettings(Setup("1", "gate")),),
        policies={},
        otherwise=Policy(),
        routes=(),
        reader_lost_shuts=False,
        catalogue_stale_ms=None,
        journal_keep_ms=30 * 24 * 3_600_000,
        journal_keep_bytes=512 << 20,
    )
    (shape,) = parse("[[route]]", "x").routes
    assert shape.route == Route()._replace(deadline_ms=0) == LIST_DECIDES._replace(deadline_ms=0)


def test_the_page_of_all_settings_is_the_one_in_the_repository() -> None:
    command = [sys.executable, "-m", "firmware.config"]
    written = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert written == page() == (ROOT / "deploy" / "settings.md").read_text("utf-8")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_the_default_on_the_page_is_the_one_that_holds(section: Section, key: Key) -> None:
    default = documented(section, key)
    start, path = beginning(section, key)
    if default == "must be given":
        assert problems(start)[0].partition(": ")[2].startswith(f"{path}.{key.name}: is missing: ")
    elif default == "as in `[policy]`":
        assert parse(start, "x").policies["a"] == Policy("a")
    else:
        assert parse(f"{start}{key.name} = {default.strip('`')}", "x") == parse(start, "x")


def test_the_example_loads_and_is_what_it_says() -> None:
    settings = load(EXAMPLE)
    assert [lane.setup.direction for lane in settings.lanes] == [Direction.IN, Direction.IN, Direction.OUT]
    assert settings.timezone == ZoneInfo("Europe/Lisbon")
    reentries = [policy.reentry for policy in settings.policies.values()]
    assert reentries == [Reentry.AFTER_EXIT, Reentry.UNLIMITED, Reentry.NONE]
    assert [signing for _, signing in settings.signed] == [Signing("fair", "3334", Signature.REQUIRE)]
    assert settings.route_for("123456789012", None).vendor == "boxoffice"


def test_the_example_has_every_setting_and_its_comments_show_the_defaults() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    assert parse(text, "x") == load(EXAMPLE)
    document = tomllib.loads(text)
    document["lane.reader"] = [reader for lane in document["lane"] for reader in lane.pop("reader")]
    document["event"].append(document["policy"])
    document["policy"] = document["event"]
    for section in SECTIONS:
        found = document[section.name]
        names = {name for table in (found if isinstance(found, list) else [found]) for name in table}
        assert names - {"id"} == {key.name for key in section.keys} - {"id"}, section.name


def test_readers_are_set_as_hal_has_them() -> None:
    (lane,) = parse(LANE + SERIAL + EVDEV + LINES, "x").lanes
    serial, keyboard, lines = lane.readers
    line = serial_reader.SerialLine("/dev/ttyS0")
    framing = frames.Framing()
    names = board.names_of(serial_reader.SerialLine, frames.Framing)
    assert serial.options == {name: getattr(line, name, getattr(framing, name, None)) for name in names}
    assert serial.options.keys() == names
    key_device, layout = evdev_reader.KeyDevice("/dev/input/event0"), keys.Layout()
    names = board.names_of(evdev_reader.KeyDevice, keys.Layout, frames.Framing) - {"encoding"}
    parts = (key_device, layout, framing)
    assert keyboard.options == {
        name: next(getattr(part, name) for part in parts if hasattr(part, name)) for name in names
    }
    defaults = board.LinesSettings()
    assert lines.options == {"path": defaults.path, "length_max": defaults.length_max}
    assert {serial.kind, keyboard.kind, lines.kind} == board.READERS.keys() == set(rule_of("kind").options)
    assert set(rule_of("terminator").options) == set(get_args(frames.Terminator))
    assert set(rule_of("encoding").options) == set(get_args(frames.Encoding))
    assert set(rule_of("parity").options) == serial_reader.PARITIES.keys()


def rule_of(name: str) -> OneOf:
    """The words that a reader's setting may have."""
    (rule,) = (key.rule for key in READER.keys if key.name == name)
    assert isinstance(rule, OneOf)
    return rule


@pytest.mark.parametrize("name", ["baud_rate", "idle_ms", "length_max", "data_bits", "stop_bits"])
def test_the_bounds_of_a_reader_are_those_of_hal(name: str) -> None:
    (rule,) = (key.rule for key in READER.keys if key.name == name)
    assert isinstance(rule, Number)
    for value in (rule.least, rule.most):
        text = LANE + SERIAL + f"{name} = {value}"
        (reader,) = parse(text, "x").lanes[0].readers
        board.open_reader(reader.kind, reader.options).close()
        for beyond in {rule.least - 1, rule.most + 1}:
            with pytest.raises(board.SettingError):
                board.open_reader(reader.kind, {**reader.options, name: beyond})


# --- from the file into the core ---------------------------------------------------------------------


def test_a_lane_is_what_the_file_says() -> None:
    text = """
        gate.name = "north"
        conditions = { credit_min = 0, journal_unwritable = "free", reader_lost = "shut" }
        journal = { keep_days = 1, keep_mib = 64 }
        [[lane]]
        name = "vip"
        direction = "both"
        perimeter = "inner"
        sectors = ["A", ""]
        types = ["vip"]
        sensor = false
        unlock_ms = 1000
        relock_ms = 0
        signal_ms = 2000
        record_ms = 100
        reader = [{ kind = "lines", direction = "out", path = "/dev/tty1" }]
    """
    settings = parse(text, "x")
    (lane,) = settings.lanes
    assert lane.setup == Setup(
        "vip", "north", None, Perimeter.INNER, ("A", ""), ("vip",), False, 1000, 0, 2000, 100, 0, True
    )
    (reader,) = lane.readers
    assert (reader.kind, reader.direction, reader.options["path"]) == ("lines", Direction.OUT, "/dev/tty1")
    assert settings.reader_lost_shuts
    assert (settings.journal_keep_ms, settings.journal_keep_bytes) == (86_400_000, 64 << 20)


def test_a_reader_without_a_direction_means_the_lanes_own() -> None:
    (lane,) = parse(LANE + 'direction = "out"\n' + LINES, "x").lanes
    assert lane.readers[0].direction is Direction.OUT


def test_an_event_inherits_what_it_does_not_say() -> None:
    text = """
        [policy]
        reentry = "after_exit"
        again_after_min = 2
        sessions = ["friday"]
        unsold = "admit"
        [conditions]
        clock_untrusted = "refuse"
        catalogue_stale = "refuse"
        catalogue_stale_h = 2
        [[event]]
        id = "a"
        [[event]]
        id = "b"
        reentry = "unlimited"
        again_after_min = 0
        exits = "only_if_inside"
        spend = "passage"
        sessions = []
        unlisted = "admit"
        unsold = "refuse"
    """
    settings = parse(text, "x")
    refuse, admit = Choice.REFUSE, Choice.ADMIT
    conditions = (refuse, refuse)
    inherited = (Reentry.AFTER_EXIT, Exits.FREE, 120_000, Spend.OPENING, admit, refuse)
    assert settings.policy_for("a") == Policy("a", True, ("friday",), *inherited, *conditions)
    own = (Reentry.UNLIMITED, Exits.ONLY_IF_INSIDE, 0, Spend.PASSAGE, refuse, admit)
    assert settings.policy_for("b") == Policy("b", True, (), *own, *conditions)
    assert settings.catalogue_stale_ms == 2 * 3_600_000


def test_without_events_every_event_is_let_in_under_the_policy() -> None:
    settings = parse('[policy]\nexits = "only_if_inside"', "x")
    assert settings.policy_for("a") == settings.policy_for("") == Policy(exits=Exits.ONLY_IF_INSIDE)


def test_with_events_only_these_are_let_in_and_others_may_still_leave() -> None:
    settings = parse('[policy]\nexits = "only_if_inside"\n[[event]]\nid = "a"', "x")
    assert settings.policy_for("a").served
    other = Policy("a", served=False, exits=Exits.ONLY_IF_INSIDE)  # the one that vendors are asked about
    assert settings.policy_for("b") == settings.policy_for("") == other
    two = parse('[[event]]\nid = "a"\nsessions = ["x"]\n[[event]]\nid = "b"', "x")
    assert two.policy_for("c") == Policy(served=False)


def test_an_event_without_a_name_is_that_of_tickets_that_name_none() -> None:
    settings = parse('[[event]]\nid = ""', "x")
    assert settings.policy_for("").served
    assert not settings.policy_for("a").served


def test_a_route_is_what_the_file_says() -> None:
    text = ASK + 'event = "e"\ndeadline_ms = 200\nwithout_answer = "open_and_upload"\ncheck_first = true'
    text += "\nlength_min = 4"
    assert parse(text, "x").route_for("code", None) == Route(
        "v", "e", Authority.VENDOR, 200, WithoutAnswer.OPEN_AND_UPLOAD, True
    )


def vendor_of(lines: str, code: str, ticket: Ticket | None = None) -> str:
    """The vendor of a code where there is one route, with these settings; "" where it does not fit."""
    return parse(f'[[route]]\nvendor = "v"\n{lines}', "x").route_for(code, ticket).vendor


@pytest.mark.parametrize(
    ("lines", "fits", "fits_not"),
    [
        ('starts = "MPF"', ["MPF", "MPFx"], ["MP", "mpf", " MPF"]),
        ("length_min = 3", ["123", "1234"], ["12"]),
        ("length_max = 3", ["1", "123"], ["1234"]),
        ('characters = "digits"', ["0123456789"], ["12a", "1 2", "\u0661\u0662", "-1", "1\n"]),
        ('characters = "alphanumeric"', ["azAZ09"], ["a-z", "\u00e9", "a\0"]),
        ('characters = "base45"', ["AZ09 $%*+-./:"], ["a", "A_", "\u00c9", "A\r"]),
        ('characters = "any"', ["\0\ud800 \u00e9"], []),
        ('starts = "1"\nlength_max = 2\ncharacters = "digits"', ["1", "12"], ["2", "123", "1a"]),
    ],
)
def test_a_route_serves_the_codes_of_its_shape(lines: str, fits: list[str], fits_not: list[str]) -> None:
    assert [code for code in fits + fits_not if vendor_of(lines, code)] == fits


@given(st.text(max_size=20), st.sampled_from(sorted(ALPHABETS)))
def test_an_alphabet_is_the_set_of_its_characters(code: str, name: str) -> None:
    allowed = set(ALPHABETS[name].decode())
    fits = len(code) >= 1 and (name == "any" or set(code) <= allowed)
    assert bool(vendor_of(f'characters = "{name}"', code)) is fits


def test_the_first_route_that_fits_wins() -> None:
    routes = ('vendor = "a"\nstarts = "1"', 'vendor = "b"\nstarts = "12"', 'vendor = "c"')
    settings = parse("".join(f"[[route]]\n{lines}\n" for lines in routes), "x")
    assert [settings.route_for(code, None).vendor for code in ("12", "2")] == ["a", "c"]
    assert settings.route_for("x" * 513, None) is LIST_DECIDES


def test_a_ticket_of_the_catalogue_passes_by_the_routes_of_other_events() -> None:
    lines = 'event = "a"'
    assert vendor_of(lines, "1", Ticket("t", event="a"))
    assert vendor_of(lines, "1", Ticket("t")), "it may well be for that event"
    assert not vendor_of(lines, "1", Ticket("t", event="b"))
    assert vendor_of("", "1", Ticket("t", event="b")), "a route of no event is for all"


def test_a_route_for_unlisted_codes_leaves_the_catalogue_to_the_gate() -> None:
    assert vendor_of("listed_too = false", "1", None)
    assert not vendor_of("listed_too = false", "1", Ticket("t"))


# --- signed codes ------------------------------------------------------------------------------------


def test_codes_are_signed_only_where_a_route_says_so_and_ignored_signatures_are_not_checked() -> None:
    assert parse(ASK, "x").signed == ()
    assert parse(f'{BAM}signature = "ignore"', "x").signed == ()
    settings = parse(BAM, "x")
    ((route, signing),) = settings.signed
    assert signing == Signing("v", "3334", Signature.PREFER)
    assert settings.route_for("any code", None) is route, "that is how a proof finds its route"


def signed(ticket_id: str) -> str:
    """A code of this ticket, with a signature that nobody made."""
    return to_base45(f'{{"id":"{ticket_id}"}}'.encode()) + ":::" + to_base45(b"signature")


def test_a_signed_code_on_no_list_takes_the_route_of_the_event_that_it_names() -> None:
    settings = parse(BAM + BAM.replace("3334", "33341") + '[[route]]\nvendor = "all"\n', "x")
    first, second, last = (shape.route for shape in settings.routes)
    assert settings.route_for(signed("E3334TC1T1"), None) is first
    assert settings.route_for(signed("E33341TC1T1"), None) is second
    assert settings.route_for(signed("E4TC1T1"), None) is first, "and is called wrong there"
    assert settings.route_for("no signed code", None) is first
    assert settings.route_for(signed("E4TC1T1"), Ticket("t", event="33341")) is second
    assert settings.route_for("x", Ticket("t", event="9")) is last


# --- anything at all ---------------------------------------------------------------------------------

words = st.sampled_from(sorted({key.name for section in SECTIONS for key in section.keys} | {"reader", "x"}))
options = sorted({option for s in SECTIONS for k in s.keys for option in getattr(k.rule, "options", ())})
scalars = st.one_of(
    st.sampled_from([*options, "a", "UTC", "/dev/ttyS0"]),
    st.text(max_size=5),
    st.booleans(),
    st.integers(0, 10_000),
    st.integers(),
    st.floats(),
    st.sampled_from([date(2026, 5, 1), day_time(18), datetime(2026, 5, 1, 18, tzinfo=UTC)]),
)
names = words | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from([section.name for section in SECTIONS]) | st.text(max_size=5),
    values | st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=4),
    max_size=6,
)


def right(section: Section) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of a section with settings that are mostly right."""

    def fitting(key: Key) -> st.SearchStrategy[Any]:
        if isinstance(key.rule, Number):
            return st.integers(key.rule.least, key.rule.most)
        if isinstance(key.rule, Texts):
            return st.just(["A"])
        return scalars.filter(lambda value: key.rule.fault(value) is None)

    return st.fixed_dictionaries(
        {key.name: fitting(key) for key in section.keys if key.default is None and not key.only},
        optional={key.name: fitting(key) for key in section.keys if key.default is not None or key.only},
    )


def whole() -> st.SearchStrategy[dict[str, Any]]:
    """Documents that are mostly right."""
    by_name = {section.name: section for section in SECTIONS}
    readers = st.lists(right(by_name["lane.reader"]), max_size=2)
    lanes = st.tuples(right(by_name["lane"]), readers).map(lambda both: {**both[0], "reader": both[1]})
    lists = {name: st.lists(right(by_name[name]), max_size=2) for name in ("event", "route", "broker")}
    single = {name: right(by_name[name]) for name in ("gate", "board", "policy", "conditions", "journal")}
    return st.fixed_dictionaries({}, optional={"lane": st.lists(lanes, max_size=2), **lists, **single})


def settings_or_none(document: dict[str, Any] | str) -> Settings | None:
    """The settings of a document or a text, or none where it is refused with words that a person can read."""
    try:
        return parse(document, "x") if isinstance(document, str) else settle(document, "x")
    except SettingsError as error:
        told = error.problems
    assert told
    assert all(len(problem) < 600 and problem.isprintable() for problem in told)
    return None


@given(documents | whole())
@example({"lane": [{"name": "1", "reader": [{"kind": "serial", "device": "/a", "strip_aim": True}]}]})
@example({"lane": [], "event": [{"id": ""}], "route": [{"event": ""}]})
def test_any_document_is_either_settings_that_hold_or_a_refusal(document: dict[str, Any]) -> None:
    settings = settings_or_none(document)
    if settings is None:
        return
    lanes = [lane.setup.name for lane in settings.lanes]
    assert 1 <= len(set(lanes)) == len(lanes) <= 4
    for setup, readers in settings.lanes:
        assert setup.signal_ms >= 2000
        assert all(setup.direction in (None, reader.direction) for reader in readers)
        for policy in (settings.otherwise, *settings.policies.values()):
            assert policy.spend is Spend.OPENING or setup.sensor
        for reader in readers:
            if reader.kind == "serial":
                board.open_reader(reader.kind, reader.options).close()
            if reader.kind == "evdev":
                for shape in (evdev_reader.KeyDevice, keys.Layout, frames.Framing):
                    board.built("evdev reader", shape, reader.options)
    assert all(settings.policy_for(event).event == event for event in settings.policies)
    assert settings.policy_for("nowhere").served is not bool(settings.policies)
    assert settings.route_for("code", None) in (LIST_DECIDES, *(shape.route for shape in settings.routes))


@given(st.text() | st.text(alphabet="[]{}=\"'.,#\n_ abgtelanruoimcy0123456789"))
def test_any_text_is_either_settings_or_a_refusal(text: str) -> None:
    settings_or_none(text)


@given(st.data())
def test_the_example_with_a_hole_is_either_settings_or_a_refusal(data: st.DataObject) -> None:
    text = EXAMPLE.read_text("utf-8")
    begin = data.draw(st.integers(0, len(text)))
    end = begin + data.draw(st.integers(1, 40))
    settings_or_none(text[:begin] + data.draw(st.text(max_size=3)) + text[end:])
