"""bridge.toml into frozen values: every setting declared once, as for a gate.

`python -m firmware.bridge.settings > deploy/bridge-settings.md` writes the operator's page from it.
"""

import re
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from firmware.bridge.bam_requests import BamSettings
from firmware.bridge.bam_settings import BAM, bam
from firmware.bridge.checked import (
    BAM_POLL_S,
    EVENT,
    EVENTS_MAX,
    KIND_NAMES,
    VENDOR,
    VENDORS_MAX,
    address_fits,
    secret_of,
)
from firmware.bridge.ingresse_requests import (
    BATCH_MAX,
    KEY_PARAMETERS,
    LOGIN_PATHS,
    LOGINS,
    OVERLAP_S_MAX,
    PAGE_SIZE_MAX,
    IngresseSettings,
    check,
)
from firmware.bridge.presence_requests import PresenceSettings
from firmware.bridge.presence_settings import PRESENCE, presence
from firmware.bridge.vivenu_requests import VivenuSettings
from firmware.bridge.vivenu_settings import VIVENU, vivenu
from firmware.config import (
    FILE_BYTES_MAX,
    BrokerSettings,
    Complaints,
    SettingsError,
    Table,
    brokers_of,
    document_of,
    lines_of,
    once,
    read_text,
    table,
    tables,
)
from firmware.config.__main__ import page
from firmware.config.keys import BROKER, SECRET, SECRET_OR_NONE
from firmware.config.values import Key, Name, Number, OneOf, Only, Section, Text, Texts, nearest, shown
from firmware.core.ticket import Choice, Verdict

DATABASES = {"sqlite": "sqlite:////folder/file", "postgresql": "postgresql+psycopg://user@host/name"}
DRIVER = '"psycopg[binary]"'  # as pip has it: with the library of PostgreSQL that it needs
OWN_MEANING = frozenset({0, 1, 3})  # status numbers of Ingresse that are no refusals, or not always
SECRETS = ("key", "token", "jwt", "password")
PORT_MAX, PORT_DIGITS = 65_535, 5
STATUS = re.compile(r"[0-9]{1,3}")  # Ingresse knows 0 to 6
REFUSALS = tuple(verdict for verdict in Verdict if not verdict.admits)


class QuietText(Text):
    """A text that may hold a password, so it is never shown."""

    def fault(self, value: object) -> str | None:
        """What is wrong."""
        return None if super().fault(value) is None else f"is no {self.words()}, all of them visible"


DEFAULTS: Mapping[str, Any] = IngresseSettings._field_defaults
UNSOLD = (
    "Codes that are listed and not sold yet: `refuse` blocks them at every gate; `admit` sends them down as "
    "unsold, and `unsold` in each gate's `[policy]` has the last word."
)

INTRODUCTION = """\
# Settings of a bridge

Made from the table in `firmware/bridge/settings.py` by `python -m firmware.bridge.settings`: change it there.
`deploy/bridge.toml` is an example. The file is read once, at the start. A file with a mistake is refused
whole, and all its mistakes are told at once, where `vendor[2]` means the second `[[vendor]]`. Secrets stand
in files of their own, each on the first line, readable by the bridge's user only; spaces around one do not
count.
"""

BRIDGE = Section(
    "bridge",
    1,
    "Which venue this bridge is for, and where its ledger is.",
    (
        Key("venue", Name(), "venue", "The venue's name, as in the settings of its gates."),
        Key(
            "ledger",
            QuietText(0, 255),
            "",
            "URL of the ledger's database, SQLite or PostgreSQL, as SQLAlchemy writes it; empty: SQLite in "
            "the data folder. Bridges of one venue share one in PostgreSQL, two venues never do. A password "
            "is best left to PostgreSQL's own password file.",
        ),
    ),
)

TOKEN, PASSWORD = Only("login", ("token",)), Only("login", ("password",))
INGRESSE = Section(
    "vendor",
    VENDORS_MAX,
    'What an account at Ingresse has besides, with `kind = "ingresse"`.',
    (
        Key("api_url", Text(1, 255), DEFAULTS["api_url"], "The vendor's address."),
        Key("search_url", Text(0, 255), "", "The producer search; empty: below `api_url`."),
        Key(
            "key_parameter",
            OneOf(KEY_PARAMETERS),
            DEFAULTS["key_parameter"],
            "What the application's key is called in a request.",
        ),
        Key("key_file", SECRET, None, "The file with the application's key."),
        Key(
            "login",
            OneOf(LOGINS),
            None,
            "How to log in: with a user token, or with e-mail and password.",
        ),
        Key("token_file", SECRET, None, "The file with the user token.", TOKEN),
        Key("jwt_file", SECRET_OR_NONE, "", "The file with the JWT, for the search.", TOKEN),
        Key("email", Text(1), None, "The user's e-mail address.", PASSWORD),
        Key("password_file", SECRET, None, "The file with the user's password.", PASSWORD),
        Key("login_path", OneOf(LOGIN_PATHS), DEFAULTS["login_path"], "Where users log in.", PASSWORD),
        Key("unsold", OneOf(tuple(Choice)), None, UNSOLD),
        Key(
            "page_size",
            Number(1, PAGE_SIZE_MAX, "1500 is what the vendor recommends"),
            DEFAULTS["page_size"],
            "Tickets in one page of the list.",
        ),
        Key(
            "batch_size",
            Number(1, BATCH_MAX, "more the vendor refuses"),
            DEFAULTS["batch_size"],
            "Movements that are told in one call.",
        ),
        Key(
            "overlap_s",
            Number(1, OVERLAP_S_MAX, "a day"),
            DEFAULTS["overlap_s"],
            "How far a look at what changed reaches back behind the last one.",
        ),
        Key(
            "check_in_timeout_ms",
            Number(200, 10_000, "no network answers sooner; the exits of a hall wait for it"),
            round(DEFAULTS["check_in_timeout_s"] * 1000),
            "How long a check-in may take before the bridge looks whether it was made.",
        ),
        Key(
            "look_timeout_ms",
            Number(200, 3000, "no network answers sooner; twenty looks must end while a batch is held"),
            round(DEFAULTS["look_timeout_s"] * 1000),
            "How long such a look may take; then the check-in stays in doubt, and is looked up later.",
        ),
        Key(
            "ask_deadline_ms",
            Number(500, 10_000, "no network answers sooner; nobody stands longer before a closed lane"),
            DEFAULTS["ask_deadline_ms"],
            "How long an answer may take where the vendor decides, from the scan on.",
        ),
        Key(
            "refusals",
            Texts(3),
            tuple(f"{number}={verdict}" for number, verdict in DEFAULTS["status_map"].items()),
            "What a status number that refuses means to a gate, as number=verdict; others are `refused`.",
        ),
    ),
)

INGRESSE_EVENT = Section(
    "vendor.event",
    EVENTS_MAX,
    "What an event of Ingresse has besides.",
    (Key("sessions", Texts(1), None, "Its sessions that are played here: at least one."),),
)

HEALTH = Section(
    "health",
    1,
    "How a bridge and its gates are, over HTTP: `/metrics` for Prometheus, `/health` for people. Without "
    "this section it serves nothing, and hears no telemetry.",
    (
        Key(
            "listen",
            Text(3, 60),
            "127.0.0.1:9464",
            "Address and port, as in 127.0.0.1:9464 or [::1]:9464. There is no password and no encryption: "
            "from elsewhere, let a proxy stand before it.",
        ),
    ),
)

SECTIONS = (BRIDGE, HEALTH, VENDOR, INGRESSE, VIVENU, PRESENCE, BAM, EVENT, INGRESSE_EVENT, BROKER)

# What each kind of account has besides, and each of its events.
KINDS: Mapping[str, tuple[tuple[Key, ...], tuple[Key, ...]]] = MappingProxyType(
    {
        "ingresse": (INGRESSE.keys, INGRESSE_EVENT.keys),
        "vivenu": (VIVENU.keys, ()),
        "presence": (PRESENCE.keys, ()),
        "bam": (BAM.keys, ()),
    }
)
assert tuple(KINDS) == KIND_NAMES
EVENTLESS = ("presence",)  # these have no list, so nobody need say of which events


def _any_kind(section: Section, at: int) -> Section:
    """With the settings of all kinds, each once."""
    keys = {key.name: key for own in KINDS.values() for key in (*section.keys, *own[at])}
    return section._replace(keys=tuple(keys.values()))


# Where a setting that stands in the wrong place belongs.
HOMES = (BRIDGE, HEALTH, _any_kind(VENDOR, 0), _any_kind(EVENT, 1), BROKER)


class Listen(NamedTuple):
    """An address of this computer, and a port."""

    host: str
    port: int


class AccountSettings(NamedTuple):
    """One account: how often it is read, and what its vendor's file needs."""

    name: str
    poll_s: int
    whole_every_h: int
    rate_max: int
    ask_rate_max: int
    vendor: IngresseSettings | VivenuSettings | PresenceSettings | BamSettings


class BridgeSettings(NamedTuple):
    """A whole bridge.toml. `ledger` empty: SQLite in the data folder; `listen` `None`: nothing is served."""

    venue: str
    ledger: str
    brokers: tuple[BrokerSettings, ...]
    accounts: tuple[AccountSettings, ...]
    listen: Listen | None = None


def load(path: Path) -> BridgeSettings:
    """Read a file and the secrets that it names. Raises `SettingsError`, whose text holds no secret."""
    return parse(read_text(path), str(path))


def parse(text: str, source: str) -> BridgeSettings:
    """The settings that a text holds; `source` names it in messages. Raises `SettingsError`."""
    if len(text) > FILE_BYTES_MAX:
        raise SettingsError([f"{source}: longer than {FILE_BYTES_MAX} bytes: is this the settings file?"])
    return settle(document_of(text, source), source, lines_of(text))


def settle(
    document: Mapping[str, object], source: str, lines: Mapping[str, int] | None = None
) -> BridgeSettings:
    """The settings that a table as TOML gives it holds. Raises `SettingsError`."""
    complaints = Complaints(source, lines or {}, HOMES)
    complaints.unknown("", document, [section.name for section in HOMES if section.name != EVENT.name])
    bridge = table(complaints, BRIDGE, document.get("bridge", {}), "bridge")
    _check_ledger(complaints, bridge.values["ledger"])
    health = table(complaints, HEALTH, document.get("health", {}), "health")
    listen = _listen(complaints, health.values["listen"])
    brokers = brokers_of(complaints, document)
    if not brokers:
        complaints.add("broker", "is missing: write [[broker]], for the bridge hears of gates through one")
    accounts = _accounts(complaints, document.get("vendor", []))
    if problems := complaints.told():
        raise SettingsError(problems)
    values = bridge.values
    served = listen if "health" in document else None
    return BridgeSettings(values["venue"], values["ledger"], brokers, tuple(accounts), served)


def _listen(complaints: Complaints, text: str | None) -> Listen | None:
    """An address and a port; `None` where it is wrong, which is noted then."""
    host, _, port = (text or "").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ip_address(host)
        if not (port.isascii() and port.isdigit() and len(port) <= PORT_DIGITS and 0 < int(port) <= PORT_MAX):
            raise ValueError
    except ValueError:
        if text is not None:
            complaints.add("health.listen", "is no address and port: write one as in 127.0.0.1:9464")
        return None
    return Listen(host, int(port))


def _check_ledger(complaints: Complaints, url: str) -> None:
    """A database that there is a driver for, and that keeps what it is given. The URL is not shown."""
    if not url:
        return
    choice = f"write {' or '.join(DATABASES.values())}, or leave it out"
    try:
        found = make_url(url)
        if found.get_backend_name() not in DATABASES:
            raise ArgumentError(choice)
        found.get_dialect().import_dbapi()
    except ImportError:  # also a driver that is there, and lacks the library under it
        driver = found.get_driver_name()
        mend = f"install {DRIVER}, and write {DATABASES['postgresql']}"
        complaints.add("bridge.ledger", f"its driver {driver} cannot be used here: {mend}")
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        complaints.add("bridge.ledger", f"is no URL of a database that can be used: {choice}")
    else:
        if found.get_backend_name() == "sqlite" and not str(found.database or "").startswith("/"):
            complaints.add("bridge.ledger", f"names no file from the root of the file system: {choice}")


def _accounts(complaints: Complaints, found: object) -> list[AccountSettings]:
    if not isinstance(found, list) or len(found) > VENDORS_MAX:
        tables(complaints, VENDOR, found, "vendor")  # says so
        return []
    names: dict[str, str] = {}
    accounts = []
    for number, entry in enumerate(found, 1):
        path = f"vendor[{number}]"
        vendor = _of_kind(complaints, VENDOR, 0, _without_events(entry), path, entry)
        once(complaints, vendor, "name", names)
        played = _events(complaints, entry, path)
        values = vendor.values
        settings: IngresseSettings | VivenuSettings | PresenceSettings | BamSettings | None = None
        if values["kind"] == "ingresse":
            settings = _ingresse(complaints, vendor, played)
        elif values["kind"] == "vivenu":
            settings = vivenu(complaints, vendor, played)
        elif values["kind"] == "presence":
            settings = presence(complaints, vendor)
        elif values["kind"] == "bam":
            settings = bam(complaints, vendor, played)
        if settings is not None:
            whole_each_time = values["kind"] == "bam" and "poll_s" not in entry
            accounts.append(
                AccountSettings(
                    values["name"],
                    BAM_POLL_S if whole_each_time else values["poll_s"],
                    values["whole_every_h"],
                    values["rate_max"],
                    values["ask_rate_max"],
                    settings,
                )
            )
    return accounts


def _without_events(entry: object) -> object:
    return {n: v for n, v in entry.items() if n != "event"} if isinstance(entry, dict) else entry


def _of_kind(
    complaints: Complaints, section: Section, at: int, found: object, path: str, entry: object
) -> Table:
    """Check a table against what its kind of account has. Where that is none, only what all have."""
    kind = entry.get("kind") if isinstance(entry, dict) else None
    own = KINDS[kind][at] if isinstance(kind, str) and kind in KINDS else None
    keys = (*section.keys, *(own or ()))
    if isinstance(found, dict):
        named = {name: {key.name for key in each[at]} for name, each in KINDS.items()}
        others = {
            key.name: Only("kind", tuple(n for n, keys_of in named.items() if key.name in keys_of))
            for each in KINDS.values()
            for key in each[at]
        }
        strange = [name for name in found if name in others and name not in {key.name for key in keys}]
        for name in strange if own is not None else ():
            mend = f"take it out, or set {others[name].words()}"
            complaints.add(f"{path}.{name}", f'does nothing with kind = "{kind}": {mend}')
        found = {name: value for name, value in found.items() if name not in strange}
    return table(complaints, section._replace(keys=keys), found, path)


def _events(complaints: Complaints, entry: object, path: str) -> list[Table]:
    """The events of an account."""
    listed = entry.get("event", []) if isinstance(entry, dict) else []
    if isinstance(entry, dict) and entry.get("kind") in EVENTLESS:
        if "event" in entry:
            kind = entry["kind"]
            complaints.add(f"{path}.event", f'does nothing with kind = "{kind}": take it out')
        return []
    if isinstance(entry, dict) and listed == []:
        complaints.add(f"{path}.event", f"is missing: write {EVENT.header} for each played here")
    if not isinstance(listed, list) or len(listed) > EVENTS_MAX:
        tables(complaints, EVENT, listed, f"{path}.event")  # says so
        return []
    events = [
        _of_kind(complaints, EVENT, 1, each, f"{path}.event[{number}]", entry)
        for number, each in enumerate(listed, 1)
    ]
    ids: dict[str, str] = {}
    for event in events:
        once(complaints, event, "id", ids)
    return events


def _ingresse(complaints: Complaints, vendor: Table, events: list[Table]) -> IngresseSettings | None:
    """What the vendor's file needs; `None` where something is wrong, which is noted then."""
    values = vendor.values
    _check_sessions(complaints, events)
    fit = [address_fits(complaints, vendor, name) for name in ("api_url", "search_url")]
    read = {name: secret_of(complaints, INGRESSE, vendor, name) for name in SECRETS}
    secrets = {name: secret for name, secret in read.items() if secret is not None}
    refusals = _refusals(complaints, vendor)
    given: tuple[object, ...] = (
        values["name"],
        values["kind"],
        values["login"],
        values["unsold"],
        *read.values(),
    )
    given += tuple(event.values[name] for event in events for name in ("id", "sessions"))
    if None in given or (values["login"] == "password" and not values["email"]) or not (events and all(fit)):
        return None
    settings = IngresseSettings(
        name=values["name"],
        login=values["login"],
        events=tuple((event.values["id"], event.values["sessions"]) for event in events),
        unsold=Choice(values["unsold"]),
        api_url=values["api_url"],
        search_url=values["search_url"],
        key_parameter=values["key_parameter"],
        email=values["email"] or "",
        login_path=values["login_path"],
        page_size=values["page_size"],
        batch_size=values["batch_size"],
        overlap_s=values["overlap_s"],
        check_in_timeout_s=values["check_in_timeout_ms"] / 1000,
        look_timeout_s=values["look_timeout_ms"] / 1000,
        ask_deadline_ms=values["ask_deadline_ms"],
        status_map=refusals,
        key=secrets["key"],
        token=secrets["token"],
        jwt=secrets["jwt"],
        password=secrets["password"],
    )
    try:
        check(settings)
    except ValueError as error:  # about what was told already, or an address; it shows no value
        name = str(error).partition(": ")[0]
        if name not in ("events", "status_map"):
            complaints.add(f"{vendor.path}.{name}", str(error).removeprefix(f"{name}: "))
    return settings


def _check_sessions(complaints: Complaints, events: list[Table]) -> None:
    """Each session once, and no event without one."""
    sessions: dict[str, str] = {}
    for event in events:
        if event.values["sessions"] == ():
            complaints.add(f"{event.path}.sessions", "is empty: a code is for one session, so name them")
        for session in event.values["sessions"] or ():
            if session in sessions:
                complaints.add(
                    f"{event.path}.sessions",
                    f"{shown(session)} is in {sessions[session]} already: each session once",
                )
            sessions.setdefault(session, event.path)


def _refusals(complaints: Complaints, vendor: Table) -> Mapping[int, Verdict]:
    """The status numbers that refuse, each with its verdict."""
    found: dict[int, Verdict] = {}
    for entry in vendor.values["refusals"]:
        number, _, verdict = entry.partition("=")
        path = f"{vendor.path}.refusals"
        if not STATUS.fullmatch(number) or verdict not in set(Verdict) or Verdict(verdict).admits:
            mend = 'write a number, "=" and a verdict that refuses, as in "4=wrong_session"'
            complaints.add(path, f"{shown(entry)}: {mend}{nearest(verdict, REFUSALS)}")
        elif int(number) in OWN_MEANING:
            complaints.add(path, f"{shown(entry)}: {number} is no refusal: take it out")
        elif int(number) in found:
            complaints.add(path, f"{shown(entry)}: {number} stands there already: take one out")
        else:
            found[int(number)] = Verdict(verdict)
    return found


if __name__ == "__main__":
    sys.stdout.write(page(INTRODUCTION, SECTIONS))
