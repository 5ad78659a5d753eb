"""bridge.toml into frozen values: every setting declared once, as for a gate.

`python -m firmware.bridge.settings > deploy/bridge-settings.md` writes the operator's page from it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
from firmware.config import (
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
from firmware.config.keys import (
    BROKER,
    FullPath,
    Key,
    Name,
    Number,
    OneOf,
    Only,
    Section,
    Text,
    Texts,
    quoted,
)
from firmware.core.ticket import Choice, Verdict

VENDORS_MAX = 16  # accounts of one venue: a vendor or two, each with an organiser or two
EVENTS_MAX = 256  # of one account; a festival's days and halls, with room
SECRET_BYTES_MAX = 8192  # of a file with a password or token; the longest tokens have some 2 kB
SECRET = FullPath()
DEFAULTS: Mapping[str, Any] = IngresseSettings._field_defaults
UNSOLD = (
    "Codes that are listed and not sold yet: `refuse` blocks them at every gate; `admit` sends them down as "
    "unsold, and `unsold` in each gate's `[policy]` has the last word."
)

INTRODUCTION = """\
# Settings of a bridge

Made from the table in `firmware/bridge/settings.py` by `python -m firmware.bridge.settings`; change it there.
`deploy/bridge.toml` is an example. The file is read once, at the start. A file with a mistake is refused
whole, and all its mistakes are told at once, where `vendor[2]` means the second `[[vendor]]`. Secrets stand
in files of their own, each on the first line, readable by the bridge's user only.
"""

BRIDGE = Section(
    "bridge",
    1,
    "Which venue this bridge is for, and where its ledger is.",
    (
        Key("venue", Name(), "venue", "The venue's name, as in the settings of its gates."),
        Key(
            "ledger",
            Text(0, 255),
            "",
            "URL of the ledger's database, as SQLAlchemy writes it; empty: SQLite in the data folder.",
        ),
    ),
)

INGRESSE = Only("kind", ("ingresse",))
TOKEN, PASSWORD = Only("login", ("token",)), Only("login", ("password",))
VENDOR = Section(
    "vendor",
    VENDORS_MAX,
    "An account at a ticketing vendor.",
    (
        Key("name", Name(), None, "What the account is called; ticket ids begin with it and a colon."),
        Key("kind", OneOf(("ingresse",)), None, "Which vendor it is."),
        Key(
            "poll_s",
            Number(1, 3600, "a vendor's patience; an hour is as good as never"),
            10,
            "Seconds between two looks at what changed in the vendor's list.",
        ),
        Key(
            "whole_every_h",
            Number(1, 168, "a list of a million takes minutes; a week"),
            24,
            "Hours between two readings of the whole list, which find what changes did not tell.",
        ),
        Key(
            "rate_max",
            Number(1, 1000, "requests a second"),
            10,
            "Requests a second at most; ask the vendor what it allows.",
        ),
        Key("api_url", Text(1, 255), DEFAULTS["api_url"], "The vendor's address.", INGRESSE),
        Key("search_url", Text(0, 255), "", "The producer search; empty: below `api_url`.", INGRESSE),
        Key(
            "key_parameter",
            OneOf(KEY_PARAMETERS),
            DEFAULTS["key_parameter"],
            "What the application's key is called in a request.",
            INGRESSE,
        ),
        Key("key_file", SECRET, None, "The file with the application's key.", INGRESSE),
        Key(
            "login",
            OneOf(LOGINS),
            None,
            "How to log in: with a user token, or with e-mail and password.",
            INGRESSE,
        ),
        Key("token_file", SECRET, None, "The file with the user token.", TOKEN),
        Key("jwt_file", FullPath(or_empty=True), "", "The file with the JWT, for the search.", TOKEN),
        Key("email", Text(1), None, "The user's e-mail address.", PASSWORD),
        Key("password_file", SECRET, None, "The file with the user's password.", PASSWORD),
        Key("login_path", OneOf(LOGIN_PATHS), DEFAULTS["login_path"], "Where users log in.", PASSWORD),
        Key("unsold", OneOf(tuple(Choice)), None, UNSOLD, INGRESSE),
        Key(
            "page_size",
            Number(1, PAGE_SIZE_MAX, "1500 is what the vendor recommends"),
            DEFAULTS["page_size"],
            "Tickets in one page of the list.",
            INGRESSE,
        ),
        Key(
            "batch_size",
            Number(1, BATCH_MAX, "more the vendor refuses"),
            DEFAULTS["batch_size"],
            "Movements that are told in one call.",
            INGRESSE,
        ),
        Key(
            "overlap_s",
            Number(1, OVERLAP_S_MAX, "a day"),
            DEFAULTS["overlap_s"],
            "How far a look at what changed reaches back behind the last one.",
            INGRESSE,
        ),
        Key(
            "check_in_timeout_ms",
            Number(200, 60_000, "no network answers sooner; a minute"),
            round(DEFAULTS["check_in_timeout_s"] * 1000),
            "How long a check-in may take before the bridge looks whether it was made.",
            INGRESSE,
        ),
        Key(
            "refusals",
            Texts(3),
            tuple(f"{number}={verdict}" for number, verdict in DEFAULTS["status_map"].items()),
            "What a status number that refuses means to a gate, as number=verdict; others are `refused`.",
            INGRESSE,
        ),
    ),
)

EVENT = Section(
    "vendor.event",
    EVENTS_MAX,
    "An event of the account above it that is played here.",
    (
        Key("id", Text(1), None, "The event's id at the vendor."),
        Key("sessions", Texts(1), (), "Its sessions that are played here: at least one."),
    ),
)

SECTIONS = (BRIDGE, VENDOR, EVENT, BROKER)


class AccountSettings(NamedTuple):
    """One account: how often it is read, and what its vendor's file needs."""

    name: str
    poll_s: int
    whole_every_h: int
    rate_max: int
    vendor: IngresseSettings


class BridgeSettings(NamedTuple):
    """A whole bridge.toml. `ledger` empty: SQLite in the data folder."""

    venue: str
    ledger: str
    brokers: tuple[BrokerSettings, ...]
    accounts: tuple[AccountSettings, ...]


def load(path: Path) -> BridgeSettings:
    """Read a file and the secrets that it names. Raises `SettingsError`, whose text holds no secret."""
    return parse(read_text(path), str(path))


def parse(text: str, source: str) -> BridgeSettings:
    """The settings that a text holds; `source` names it in messages. Raises `SettingsError`."""
    document = document_of(text, source)
    complaints = Complaints(source, lines_of(text), SECTIONS)
    complaints.unknown("", document, [section.name for section in SECTIONS if section is not EVENT])
    bridge = table(complaints, BRIDGE, document.get("bridge", {}), "bridge")
    brokers = brokers_of(complaints, document)
    if not brokers:
        complaints.add("broker", "is missing: write [[broker]], for the bridge hears of gates through one")
    accounts = _accounts(complaints, document.get("vendor", []))
    if problems := complaints.told():
        raise SettingsError(problems)
    return BridgeSettings(bridge.values["venue"], bridge.values["ledger"], brokers, tuple(accounts))


def _accounts(complaints: Complaints, found: object) -> list[AccountSettings]:
    entries = found if isinstance(found, list) else []
    events = [each.get("event", []) if isinstance(each, dict) else [] for each in entries]
    plain = [
        {name: value for name, value in each.items() if name != "event"} if isinstance(each, dict) else each
        for each in entries
    ]
    names: dict[str, str] = {}
    accounts = []
    vendors = tables(complaints, VENDOR, plain if isinstance(found, list) else found, "vendor")
    for vendor, listed in zip(vendors, events, strict=False):
        once(complaints, vendor, "name", names)
        played = tables(complaints, EVENT, listed, f"{vendor.path}.event")
        settings = _ingresse(complaints, vendor, played)
        if settings is not None:
            values = vendor.values
            accounts.append(
                AccountSettings(
                    values["name"], values["poll_s"], values["whole_every_h"], values["rate_max"], settings
                )
            )
    return accounts


def _ingresse(complaints: Complaints, vendor: Table, events: list[Table]) -> IngresseSettings | None:
    """What the vendor's file needs; `None` where something is wrong, which is noted then."""
    values = vendor.values
    if not events:
        complaints.add(f"{vendor.path}.event", f"is missing: write {EVENT.header} for each event played here")
    ids: dict[str, str] = {}
    for event in events:
        once(complaints, event, "id", ids)
        if not event.values["sessions"]:
            complaints.add(f"{event.path}.sessions", "is missing: codes are for one session each")
    found = {name: _secret(complaints, vendor, name) for name in ("key", "token", "jwt", "password")}
    secrets = {name: secret for name, secret in found.items() if secret is not None}
    refusals = _refusals(complaints, vendor)
    if None in (values["name"], values["login"], values["unsold"], *found.values()) or not events:
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
        status_map=refusals,
        **secrets,
    )
    try:
        check(settings)
    except ValueError as error:
        complaints.add(vendor.path, str(error))
    return settings


def _secret(complaints: Complaints, vendor: Table, name: str) -> str | None:
    """The first line of the file; "" where the setting has no effect, `None` where it is wrong."""
    name += "_file"
    key = next(key for key in VENDOR.keys if key.name == name)
    path: str | None = vendor.values[name]
    if key.only is not None and vendor.values[key.only.key] not in key.only.values:
        return ""
    if not path:
        return path  # left out: noted already where it is needed
    try:
        with Path(path).open("rb") as file:
            first, _, _ = file.read(SECRET_BYTES_MAX).partition(b"\n")
        secret = first.decode().strip()
    except OSError as error:
        complaints.add(f"{vendor.path}.{name}", f"{path}: cannot be read ({error.strerror}): check the path")
        return None
    except UnicodeDecodeError:  # its text would quote the secret
        complaints.add(f"{vendor.path}.{name}", f"{path}: is not UTF-8 text: save it as UTF-8")
        return None
    if not secret:
        complaints.add(f"{vendor.path}.{name}", f"{path}: its first line is empty: write the secret there")
        return None
    return secret


def _refusals(complaints: Complaints, vendor: Table) -> Mapping[int, Verdict]:
    """The status numbers that refuse, each with its verdict."""
    found: dict[int, Verdict] = {}
    for entry in vendor.values["refusals"]:
        number, _, verdict = entry.partition("=")
        if not number.isdecimal() or verdict not in set(Verdict) or Verdict(verdict).admits:
            mend = 'write a number, "=" and a verdict that refuses, as in "4=wrong_session"'
            complaints.add(f"{vendor.path}.refusals", f"{quoted(entry)}: {mend}")
            continue
        found[int(number)] = Verdict(verdict)
    return found


if __name__ == "__main__":
    sys.stdout.write(page(INTRODUCTION, SECTIONS))
