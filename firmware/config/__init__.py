"""gate.toml into frozen values, read once at the start. What may stand in it is declared in `keys`."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from firmware.config.keys import (
    ALPHABETS,
    BOARD,
    BROKER,
    CONDITIONS,
    EVENT,
    GATE,
    JOURNAL,
    LANE,
    LENGTH_MAX,
    LENGTH_MIN,
    POLICY,
    READER,
    ROUTE,
    SECTIONS,
)
from firmware.config.routes import LIST_DECIDES as LIST_DECIDES
from firmware.config.routes import Shape, route_for, shape_of
from firmware.config.values import Key, Section, nearest, quoted, shown, zone
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

FILE_BYTES_MAX = 1 << 20  # four lanes and hundreds of events are below 100 kB; more is not a settings file
DEADLINE_MS_MIN = 200  # no network answers sooner
PROBLEMS_MAX = 50  # told at once; a file with more is another file
EVENT_NUMBER = re.compile("[0-9]{1,18}")  # as signed codes name it
MINUTE_MS, HOUR_MS, DAY_MS, MIB = 60_000, 3_600_000, 86_400_000, 1 << 20

Values: TypeAlias = Mapping[str, Any]


# --- what the loop is given --------------------------------------------------------------------------


class ReaderSettings(NamedTuple):
    """A reader of a lane. `direction` is what a scan at it means, also where only the lane says so.

    `options` are those that the kind has, named as in the file.
    """

    kind: str
    direction: Direction
    options: Values


class LaneSettings(NamedTuple):
    """A lane: what the core needs to know of it, and what to read codes with."""

    setup: Setup
    readers: tuple[ReaderSettings, ...] = ()


class BrokerSettings(NamedTuple):
    """An MQTT broker, and who we are to it. `password_file` is read when the connection is made ready."""

    host: str
    port: int = 8883
    tls: bool = True
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""


class Settings(NamedTuple):
    """A whole gate.toml. `catalogue_stale_ms` is the age that makes the catalogue stale, `None` for never."""

    gate_name: str
    venue: str
    timezone: tzinfo
    board: str
    lanes: tuple[LaneSettings, ...]
    policies: Mapping[str, Policy]
    otherwise: Policy
    routes: tuple[Shape, ...]
    reader_lost_shuts: bool
    catalogue_stale_ms: int | None
    journal_keep_ms: int
    journal_keep_bytes: int
    brokers: tuple[BrokerSettings, ...] = ()
    board_file: str = ""

    @property
    def asks(self) -> bool:
        """Whether any vendor is asked."""
        return any(shape.route.authority is Authority.VENDOR for shape in self.routes)

    @property
    def signed(self) -> tuple[tuple[Route, Signing], ...]:
        """The routes whose codes are signed, where signatures are not ignored."""
        found = ((shape.route, shape.signing) for shape in self.routes)
        return tuple((r, s) for r, s in found if s is not None and s.signature is not Signature.IGNORE)

    def policy_for(self, event: str) -> Policy:
        """The policy of an event: the ticket's, or the route's for a code that is not in the catalogue."""
        return self.policies.get(event, self.otherwise)

    def route_for(self, code: str, ticket: Ticket | None) -> Route:
        """Who decides about a code; see `routes.route_for`."""
        return route_for(self.routes, code, ticket)


class SettingsError(Exception):
    """The settings are refused. `problems`: one line each, with file, line, key, what is wrong, the mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load(path: Path | None) -> Settings:
    """Read a file; without one all defaults hold. Raises `SettingsError`."""
    return parse("", "defaults") if path is None else parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of settings. Raises `SettingsError`."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        return data.decode("utf-8-sig")  # some editors put a byte-order mark in front
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read ({error.strerror}): check the path"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: is not UTF-8 text: save it as UTF-8"]) from error


def parse(text: str, source: str) -> Settings:
    """The settings that a text holds; `source` names it in messages. Raises `SettingsError`."""
    if len(text) > FILE_BYTES_MAX:
        raise SettingsError([f"{source}: longer than {FILE_BYTES_MAX} bytes: is this the settings file?"])
    return settle(document_of(text, source), source, lines_of(text))


def document_of(text: str, source: str) -> dict[str, Any]:
    """The tables of a text. Raises `SettingsError`."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and what Python says of a number with 5000 digits
        raise SettingsError([f"{source}: is not TOML: {error}"]) from error
    except RecursionError as error:
        raise SettingsError([f"{source}: is no settings file: its brackets nest too deep"]) from error


def settle(document: Mapping[str, object], source: str, lines: Mapping[str, int] | None = None) -> Settings:
    """The settings that a table as TOML gives it holds. Raises `SettingsError`."""
    complaints = Complaints(source, lines or {})
    tops = [section for section in SECTIONS if section is not READER]
    complaints.unknown("", document, [section.name for section in tops])
    gate, board, policy, conditions, journal = (
        table(complaints, section, document.get(section.name, {}), section.name)
        for section in (GATE, BOARD, POLICY, CONDITIONS, JOURNAL)
    )
    lanes = tables(complaints, LANE, document.get("lane", []), "lane")
    lanes = lanes or [table(complaints, LANE, {"name": "1"}, "lane")]
    events = tables(complaints, EVENT, document.get("event", []), "event", policy.values)
    routes = tables(complaints, ROUTE, document.get("route", []), "route")
    brokers = brokers_of(complaints, document)

    check_lanes(complaints, lanes)
    check_policies(complaints, policy, events, lanes)
    check_routes(complaints, routes, events)
    if conditions.values["catalogue_stale"] == Choice.REFUSE and not conditions.values["catalogue_stale_h"]:
        complaints.add("conditions.catalogue_stale", '"refuse" never comes about: set catalogue_stale_h too')
    if problems := complaints.told():
        raise SettingsError(problems)

    base = policy_of(policy.values, conditions.values)
    policies = {event.values["id"]: policy_of(event.values, conditions.values) for event in events}
    stale_h = conditions.values["catalogue_stale_h"]
    timezone = zone(gate.values["timezone"])
    assert timezone is not None
    return Settings(
        gate_name=gate.values["name"],
        venue=gate.values["venue"],
        timezone=timezone,
        board=board.values["name"],
        lanes=tuple(lane_of(lane, gate.values, conditions.values) for lane in lanes),
        policies=MappingProxyType(policies),
        otherwise=otherwise_of(base, policies),
        routes=tuple(shape_of(route.values) for route in routes),
        reader_lost_shuts=conditions.values["reader_lost"] == "shut",
        catalogue_stale_ms=stale_h * HOUR_MS if stale_h else None,
        journal_keep_ms=journal.values["keep_days"] * DAY_MS,
        journal_keep_bytes=journal.values["keep_mib"] * MIB,
        brokers=brokers,
        board_file=board.values["file"] or "",
    )


# --- one table of the file ---------------------------------------------------------------------------


class Complaints:
    """The problems found so far. A path is a key as in `lane[2].unlock_ms`; `sections` is what there is."""

    def __init__(
        self, source: str, lines: Mapping[str, int], sections: tuple[Section, ...] = SECTIONS
    ) -> None:
        self._found: list[tuple[int, str]] = []
        self._paths: set[str] = set()
        self._source, self._lines, self._sections = source, lines, sections

    def add(self, path: str, message: str) -> None:
        """Note a problem, with the line of the key, or of its table where the key has none."""
        places = (path, path.rpartition(".")[0], path.partition("[")[0])
        line = next((self._lines[place] for place in places if place in self._lines), 0)
        where = f"{self._source}:{line}" if line else self._source
        self._found.append((line, f"{where}: {path}: {message}"))
        self._paths.add(path)

    def missing(self, path: str, what: str) -> None:
        """Note that something is not there, unless it is there and was found wrong."""
        if path not in self._paths:
            self.add(path, f"is missing: {what}")

    def told(self) -> list[str]:
        """The problems in the order of the file; beyond `PROBLEMS_MAX` only how many there are."""
        told = [problem for _, problem in sorted(self._found, key=itemgetter(0))]
        more = len(told) - PROBLEMS_MAX
        return told if more <= 0 else [*told[:PROBLEMS_MAX], f"{self._source}: and {more} more"]

    def unknown(self, path: str, found: Iterable[str], known: list[str]) -> None:
        """Note every name that is not known, with the known one that was perhaps meant."""
        for name in found:
            if name not in known:
                where = f"{path}.{plain(name)}" if path else plain(name)
                self.add(where, f"no such setting{hint(name, known, self._sections)}")


class Table(NamedTuple):
    """One table of the file with every setting in it; `given` are those that the file names."""

    path: str
    values: Values
    given: frozenset[str]
    readers: tuple["Table", ...] = ()


def table(
    complaints: Complaints, section: Section, found: object, path: str, inherited: Values | None = None
) -> Table:
    """Check one table. What is wrong is noted and gets its default, so that the rest can be checked."""
    is_table = isinstance(found, dict)
    if not isinstance(found, dict):
        complaints.add(path, f"{shown(found)} is not a table: write {section.header} above its settings")
        found = {}
    also = ["reader"] if section is LANE else []
    complaints.unknown(path, found, [key.name for key in section.keys] + also)
    values = {key.name: value_of(complaints, key, found, path, inherited or {}) for key in section.keys}
    for key in section.keys:
        setting = values[key.only.key] if key.only else ""
        if key.only and setting is not None and setting not in key.only.values:
            if key.name in found:
                mend = f"take it out, or set {key.only.words()}"
                complaints.add(
                    f"{path}.{key.name}", f"does nothing with {key.only.key} = {quoted(setting)}: {mend}"
                )
        elif setting is not None and key.default is None and key.name not in found and is_table:
            complaints.add(f"{path}.{key.name}", f"is missing: {key.meaning}")
    readers = tables(complaints, READER, found.get("reader", []), f"{path}.reader") if also else []
    return Table(path, MappingProxyType(values), frozenset(found), tuple(readers))


def value_of(complaints: Complaints, key: Key, found: Values, path: str, inherited: Values) -> Any:
    """The checked value of one setting; its default where it is left out or wrong."""
    default = inherited.get(key.name, key.default)
    if key.name not in found:
        return default
    fault = key.rule.fault(found[key.name])
    if fault is not None:
        complaints.add(f"{path}.{key.name}", fault)
        return default
    value = found[key.name]
    return tuple(value) if isinstance(value, list) else value


def tables(
    complaints: Complaints, section: Section, found: object, path: str, inherited: Values | None = None
) -> list[Table]:
    """Check a list of tables."""
    if not isinstance(found, list):
        complaints.add(path, f"{shown(found)} is not a list: write {section.header} for each")
        return []
    if len(found) > section.most:
        complaints.add(path, f"there are {len(found)}, not at most {section.most}")
    return [
        table(complaints, section, entry, f"{path}[{number}]", inherited)
        for number, entry in enumerate(found[: section.most], 1)
    ]


def hint(name: str, known: list[str], sections: tuple[Section, ...]) -> str:
    """What was perhaps meant: a known name like it, the section where it belongs, or what there is."""
    homes = [section.header for section in sections if name in [key.name for key in section.keys]]
    if homes:
        return f" here: it belongs to {' or '.join(homes)}"
    if name == "reader" and READER in sections:
        return f": write {READER.header}, below its lane"
    return nearest(name, known) or f": there are {', '.join(known)}"


def plain(name: str) -> str:
    """A key of the file as a part of a path."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) else shown(name)


# --- what must fit together --------------------------------------------------------------------------


def check_lanes(complaints: Complaints, lanes: list[Table]) -> None:
    """Names and devices are used once, and every reader knows which way it means."""
    names: dict[str, str] = {}
    devices: dict[str, str] = {}
    for lane in lanes:
        once(complaints, lane, "name", names)
        for reader in lane.readers:
            if reader.values["kind"] is not None:
                check_device(complaints, reader, devices)
            check_reader(complaints, reader, lane.values["direction"])


def check_device(complaints: Complaints, reader: Table, seen: dict[str, str]) -> None:
    """The reader's device is named in one way, and is no other reader's."""
    kind, device, *usb = (reader.values[key] for key in ("kind", "device", "vendor", "product", "serial"))
    if kind == "lines":
        once(complaints, reader, "path", seen)
    elif device and any(usb):
        complaints.add(
            f"{reader.path}.device", "names the scanner, and so do vendor and product: take one out"
        )
    elif device:
        once(complaints, reader, "device", seen)
    elif kind == "serial" or not any(usb):
        also = ", or its vendor and product" if kind == "evdev" else ""
        complaints.missing(f"{reader.path}.device", f"the path of the scanner{also}")
    elif not (usb[0] and usb[1]):
        complaints.missing(f"{reader.path}.{'product' if usb[0] else 'vendor'}", "lsusb prints both, as ID")
    else:
        model, serial = f"{usb[0]} {usb[1]} ", usb[2]
        for name, other in seen.items():  # one without a serial is any of the model
            if name.startswith(model) and (not serial or name in (model, model + serial)):
                mend = "write the serial of each, or device"
                complaints.add(f"{reader.path}.vendor", f"this scanner is that of {other}: {mend}")
                break
        seen[model + serial] = reader.path


def check_reader(complaints: Complaints, reader: Table, lane_direction: str) -> None:
    """The reader's direction is one of the lane's, and only one thing ends its codes."""
    direction = reader.values["direction"]
    if lane_direction == "both" and not direction:
        mend = 'the lane works both ways, so write "in" or "out"'
        complaints.add(f"{reader.path}.direction", f"is missing: {mend}")
    if lane_direction != "both" and direction not in ("", lane_direction):
        mend = f'the lane works {quoted(lane_direction)} only: take this out, or set the lane\'s to "both"'
        complaints.add(f"{reader.path}.direction", mend)
    if reader.values["stx_etx"] and reader.values["terminator"] != "any":
        mend = "does nothing with stx_etx = true: take one of the two out"
        complaints.add(f"{reader.path}.terminator", mend)


def check_policies(complaints: Complaints, policy: Table, events: list[Table], lanes: list[Table]) -> None:
    """Events are named once, and a walk spends a ticket only where it can be seen."""
    ids: dict[str, str] = {}
    blind = next((lane.path for lane in lanes if not lane.values["sensor"]), None)
    for event in events:
        once(complaints, event, "id", ids)
    for each in (policy, *events):
        if "spend" in each.given and each.values["spend"] == Spend.PASSAGE and blind:
            mend = 'write "opening", or set sensor = true there'
            complaints.add(f"{each.path}.spend", f'"passage" needs a sensor, and {blind} has none: {mend}')
    for each in events or [policy]:
        never = each.values["reentry"] == Reentry.NONE and each.values["again_after_min"]
        if never and "again_after_min" in each.given:
            mend = "take it out, or let tickets enter again"
            complaints.add(f"{each.path}.again_after_min", f'does nothing with reentry = "none": {mend}')


def check_routes(complaints: Complaints, routes: list[Table], events: list[Table]) -> None:
    """A shape that a code can have, a vendor where one is asked, an event that is played."""
    ids = [event.values["id"] for event in events if event.values["id"] is not None]
    for route in routes:
        values, path = route.values, route.path
        length_min = max(values["length_min"], len(values["starts"]))
        if length_min > values["length_max"]:
            complaints.add(f"{path}.length_max", f"no code fits: it has {length_min} characters at least")
        alphabet = ALPHABETS[values["characters"]].decode()
        if alphabet and not set(values["starts"]) <= set(alphabet):
            complaints.add(f"{path}.starts", f"has characters that are not {values['characters']}")
        if values["authority"] == Authority.VENDOR and not values["vendor"]:
            complaints.add(f"{path}.vendor", "is missing: the vendor that is asked")
        elif values["signed"]:
            check_signed(complaints, route)
        if 0 < values["deadline_ms"] < DEADLINE_MS_MIN:
            complaints.add(f"{path}.deadline_ms", f"is too short: {DEADLINE_MS_MIN} at least, or 0")
        if values["without_answer"] == WithoutAnswer.OPEN_AND_UPLOAD and takes_any(values):
            mend = "say how such codes look, with starts, lengths or characters"
            complaints.add(f"{path}.without_answer", f"would let in whatever is held to a reader: {mend}")
        if ids and values["event"] and values["event"] not in ids:
            near = nearest(values["event"], ids)
            complaints.add(f"{path}.event", f"{shown(values['event'])} is none of the events{near}")
        if ids and not values["event"] and values["check_first"] and "" not in ids:
            mend = "name the event, or every code that is not in the catalogue is of the wrong one"
            complaints.add(f"{path}.event", f"is missing: with check_first = true, {mend}")


def check_signed(complaints: Complaints, route: Table) -> None:
    """Whose key proves signed codes, and of which event."""
    values, path = route.values, route.path
    if not values["vendor"]:
        complaints.add(f"{path}.vendor", "is missing: the account whose event signs these codes")
    if not EVENT_NUMBER.fullmatch(values["event"]):
        complaints.add(f"{path}.event", "is needed with signed codes: the event's number, such as 3334")
    if values["signature"] == Signature.REQUIRE and not values["listed_too"]:
        mend = 'with listed_too = false, listed codes go unchecked: take that out, or write "prefer"'
        complaints.add(f"{path}.signature", mend)


def takes_any(values: Values) -> bool:
    """Whether the codes of a route may look like anything."""
    shapeless = not values["starts"] and values["characters"] == "any"
    return shapeless and values["length_min"] == LENGTH_MIN and values["length_max"] == LENGTH_MAX


def brokers_of(complaints: Complaints, document: Mapping[str, object]) -> tuple[BrokerSettings, ...]:
    """The brokers of a document, each there once and with files that have an effect.

    They stand in the settings of the gate and in those of the bridge.
    """
    found = tables(complaints, BROKER, document.get("broker", []), "broker")
    places: dict[tuple[str, int], str] = {}
    for broker in found:
        values, path = broker.values, broker.path
        place = values["host"], values["port"]
        if place in places:
            complaints.add(f"{path}.host", f"this host and port are those of {places[place]}: take one out")
        elif values["host"] is not None:
            places[place] = path
        for name in ("ca_file", "cert_file", "key_file"):
            if values[name] and not values["tls"]:
                complaints.add(
                    f"{path}.{name}", "does nothing with tls = false: take it out, or set tls = true"
                )
        for name, other in (
            ("cert_file", "key_file"),
            ("key_file", "cert_file"),
            ("password_file", "username"),
        ):
            if values[name] and not values[other]:
                complaints.add(f"{path}.{other}", f"is missing: {name} does nothing without it")
    return tuple(BrokerSettings(**broker.values) for broker in found)


def once(complaints: Complaints, found: Table, key: str, seen: dict[str, str]) -> None:
    """Note a value that another table has already."""
    value = found.values[key]
    if value in seen:
        complaints.add(f"{found.path}.{key}", f"{shown(value)} is taken by {seen[value]}: each has its own")
    elif value is not None:
        seen[value] = found.path


# --- checked values into those of the core -----------------------------------------------------------


def lane_of(lane: Table, gate: Values, conditions: Values) -> LaneSettings:
    """A lane and its readers."""
    values = lane.values
    both = values["direction"] == "both"
    setup = Setup(
        name=values["name"],
        gate=gate["name"],
        direction=None if both else Direction(values["direction"]),
        perimeter=Perimeter(values["perimeter"]),
        sectors=values["sectors"],
        types=values["types"],
        sensor=values["sensor"],
        unlock_ms=values["unlock_ms"],
        relock_ms=values["relock_ms"],
        signal_ms=values["signal_ms"],
        record_ms=values["record_ms"],
        credit_ms=conditions["credit_min"] * MINUTE_MS,
        unwritable_free=conditions["journal_unwritable"] == "free",
        acknowledge=conditions["after_alarm"] == "acknowledge",
    )
    return LaneSettings(
        setup, tuple(reader_of(reader.values, values["direction"]) for reader in lane.readers)
    )


def reader_of(values: Values, lane_direction: str) -> ReaderSettings:
    """A reader with the options that its kind has."""
    kind = values["kind"]
    options = {
        key.name: values[key.name]
        for key in READER.keys
        if key.name not in ("kind", "direction") and (key.only is None or kind in key.only.values)
    }
    return ReaderSettings(kind, Direction(values["direction"] or lane_direction), MappingProxyType(options))


def policy_of(values: Values, conditions: Values) -> Policy:
    """The policy of an event, or the one that all inherit."""
    return Policy(
        event=values.get("id", ""),
        sessions=values["sessions"],
        reentry=Reentry(values["reentry"]),
        exits=Exits(values["exits"]),
        again_after_ms=values["again_after_min"] * MINUTE_MS,
        spend=Spend(values["spend"]),
        unsold=Choice(values["unsold"]),
        unlisted=Choice(values["unlisted"]),
        clock_untrusted=Choice(conditions["clock_untrusted"]),
        catalogue_stale=Choice(conditions["catalogue_stale"]),
    )


def otherwise_of(base: Policy, policies: Mapping[str, Policy]) -> Policy:
    """For tickets of other events. Where one event is played, vendors are asked about that one."""
    if len(policies) == 1:
        (only,) = policies.values()
        base = base._replace(event=only.event, sessions=only.sessions)
    return base._replace(served=not policies)


# --- where a setting stands --------------------------------------------------------------------------

HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]")
KEY = re.compile(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=")


def lines_of(text: str) -> dict[str, int]:
    """The line of every key that stands on one of its own, which is what tomllib does not tell."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    path = ""
    if '"""' in text or "'''" in text:
        return {}  # a text of several lines may look like keys; no line is better than a wrong one
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            *above, last = header[2].split(".")
            path = ""
            for part in above:
                path += part + (f"[{counts[path + part]}]" if path + part in counts else "") + "."
            path += last
            lines.setdefault(path, number)
            if header[1] == "[[":
                counts[path] = counts.get(path, 0) + 1
                path = f"{path}[{counts[path]}]"
            lines[path] = number
        elif key := KEY.match(line):
            lines.setdefault(f"{path}.{key[1]}" if path else key[1], number)
    return lines
