"""What an account at Ticketmaster Presence has in bridge.toml, and how that becomes `PresenceSettings`."""

from collections.abc import Mapping
from typing import Any

from firmware.bridge.checked import VENDORS_MAX, address_fits, secret_of
from firmware.bridge.presence_replies import REFUSALS, STATUSES
from firmware.bridge.presence_requests import (
    ASK_DEADLINE_MS_MAX,
    ASK_DEADLINE_MS_MIN,
    BATCH_SIZE_MAX,
    CHANNEL,
    DEVICE_SYSTEMS,
    GATE_PARAMETERS,
    INIT_RETRY_MAX_S_MAX,
    INTERNAL_ENTRIES,
    LOOK_PARAMETERS,
    OFFLINE,
    PATH,
    STATUS,
    SUFFIXES,
    UPLOAD_TIMEOUT_S_MAX,
    VENUE_PARAMETERS,
    PresenceSettings,
    check,
)
from firmware.config import Complaints, Table
from firmware.config.keys import SECRET
from firmware.config.values import NAME, Flag, Key, Number, OneOf, Only, Section, Text, Texts, nearest, shown
from firmware.core.ticket import Perimeter

DEFAULTS: Mapping[str, Any] = PresenceSettings._field_defaults
ACCEPTED = ("accept_entry", "accept_internal", "accept_exit")
UPLOADED = Only("offline", ("upload",))

PRESENCE = Section(
    "vendor",
    VENDORS_MAX,
    'What an account at Ticketmaster Presence has besides, with `kind = "presence"`. It has no events: each '
    "scan is asked.",
    (
        Key("apikey_file", SECRET, None, "The file with the partner's API key."),
        Key("venue", Text(1), None, "The venue's id at Ticketmaster, as in KovZpZAFF17J."),
        Key("device_url", Text(1, 255), DEFAULTS["device_url"], "Where devices are configured."),
        Key("ticket_url", Text(1, 255), DEFAULTS["ticket_url"], "Where scans are asked."),
        Key(
            "path_suffix",
            OneOf(SUFFIXES),
            DEFAULTS["path_suffix"],
            "What stands behind each path. Ticketmaster's tables have nothing there, its samples `.json`.",
        ),
        Key(
            "gates",
            Texts(3),
            (),
            'What Ticketmaster calls a gate, as `"north-1=Gate 1"`, and its inner ring, as '
            '`"north-1/inner=Suites"`. Others are called as here, an inner ring `north-1 inner`.',
        ),
        Key(
            "gate_parameter",
            OneOf(GATE_PARAMETERS),
            DEFAULTS["gate_parameter"],
            "Whether that is the gate's name there, or its id.",
        ),
        Key(
            "venue_parameter",
            OneOf(VENUE_PARAMETERS),
            DEFAULTS["venue_parameter"],
            "What the venue is called when a device is read back.",
        ),
        Key(
            "look_parameter",
            OneOf(LOOK_PARAMETERS),
            DEFAULTS["look_parameter"],
            "By what a device is read back.",
        ),
        Key(
            "internal_entry",
            OneOf(INTERNAL_ENTRIES),
            DEFAULTS["internal_entry"],
            "Where entries at an inner ring are asked; `validate` is deprecated since March 2020.",
        ),
        Key(
            "device_os",
            OneOf(DEVICE_SYSTEMS),
            DEFAULTS["device_os"],
            "How a bar code is called in `deviceOs`: as in Ticketmaster's table, or as in its samples.",
        ),
        Key("channel", Text(0, 1), DEFAULTS["channel"], "The sales channel's letter; empty: none is sent."),
        Key(
            "accept_entry",
            Texts(1),
            DEFAULTS["accept_entry"],
            "With which statuses an entry opens. `EXIT`, `INTERNAL_SCAN`, `TRANSFER` and `OPEN_SEAT` sound "
            "friendly and admit nobody, as far as is published.",
        ),
        Key(
            "accept_internal",
            Texts(1),
            DEFAULTS["accept_internal"],
            "The same for an inner ring. Where Ticketmaster still speaks its first revision there (with "
            '`internal_entry = "validate"`), add `INTERNAL_SCAN`.',
        ),
        Key(
            "accept_exit",
            Texts(1),
            DEFAULTS["accept_exit"],
            "With which statuses an exit opens: two revisions say `EXIT`, the third says `OKAY`.",
        ),
        Key(
            "ask_deadline_ms",
            Number(
                ASK_DEADLINE_MS_MIN,
                ASK_DEADLINE_MS_MAX,
                "no network answers sooner; nobody stands longer before a closed lane",
            ),
            DEFAULTS["ask_deadline_ms"],
            "How long an answer may take, from the scan on; Presence's own limit. One that comes later still "
            "counts for the next try.",
        ),
        Key(
            "init_retry_max_s",
            Number(1, INIT_RETRY_MAX_S_MAX, "nobody scans there meanwhile"),
            DEFAULTS["init_retry_max_s"],
            "The longest wait before a scanner that Presence did not take is configured again: the first is "
            "about 1 s, and each twice the one before.",
        ),
        Key(
            "offline",
            OneOf(OFFLINE),
            DEFAULTS["offline"],
            "What gates may do where Presence cannot be reached: `closed`, or `upload` what they let in "
            'unchecked by `without_answer = "open_and_upload"`. Where it fails or is silent, they are shut.',
        ),
        Key(
            "upload_path",
            Text(1),
            DEFAULTS["upload_path"],
            "Where offline scans go, below `ticket_url`. Ticketmaster tells partners only: this is a guess.",
            UPLOADED,
        ),
        Key(
            "batch_size",
            Number(1, BATCH_SIZE_MAX, "no limit is published"),
            DEFAULTS["batch_size"],
            "Scans in one upload. One whose reply is lost leaves as many to a person.",
            UPLOADED,
        ),
        Key(
            "upload_timeout_ms",
            Number(1000, round(UPLOAD_TIMEOUT_S_MAX * 1000), "a given-up reply costs a person's time"),
            round(DEFAULTS["upload_timeout_s"] * 1000),
            "How long an upload may take before its reply counts as lost.",
            UPLOADED,
        ),
        Key(
            "send_again",
            Flag(),
            DEFAULTS["send_again"],
            "Whether an upload whose reply was lost is sent again, so that Presence may have its scans "
            "twice; else each of them is reported to a person as uncertain.",
            UPLOADED,
        ),
    ),
)


def presence(complaints: Complaints, vendor: Table) -> PresenceSettings | None:
    """What the vendor's file needs; `None` where something is wrong, which is noted then."""
    values = vendor.values
    fit = [address_fits(complaints, vendor, name) for name in ("device_url", "ticket_url")]
    fit += [_accepts(complaints, vendor, name) for name in ACCEPTED]
    fit += [_matches(complaints, vendor, "channel", CHANNEL.fullmatch, 'one letter, as in "A"')]
    fit += [_matches(complaints, vendor, "upload_path", PATH.fullmatch, 'a path, as in "ticket/upload"')]
    key = secret_of(complaints, PRESENCE, vendor, "apikey")
    gates = _gates(complaints, vendor)
    if not key or values["name"] is None or values["venue"] is None or gates is None or not all(fit):
        return None
    settings = PresenceSettings(
        key=key,
        venue=values["venue"],
        name=values["name"],
        device_url=values["device_url"],
        ticket_url=values["ticket_url"],
        path_suffix=values["path_suffix"],
        gates=gates,
        venue_parameter=values["venue_parameter"],
        look_parameter=values["look_parameter"],
        gate_parameter=values["gate_parameter"],
        internal_entry=values["internal_entry"],
        device_os=values["device_os"],
        channel=values["channel"],
        accept_entry=values["accept_entry"],
        accept_internal=values["accept_internal"],
        accept_exit=values["accept_exit"],
        ask_deadline_ms=values["ask_deadline_ms"],
        init_retry_max_s=values["init_retry_max_s"],
        offline=values["offline"],
        upload_path=values["upload_path"],
        batch_size=values["batch_size"],
        upload_timeout_s=values["upload_timeout_ms"] / 1000,
        send_again=values["send_again"],
    )
    try:
        check(settings)
    except ValueError as error:  # an address: all else was said above; it shows no value
        name, _, text = str(error).partition(": ")
        complaints.add(f"{vendor.path}.{name}", text)
        return None
    return settings


def _matches(complaints: Complaints, vendor: Table, name: str, fits: Any, what: str) -> bool:
    """Whether a text has its form."""
    if fits(vendor.values[name]):
        return True
    complaints.add(f"{vendor.path}.{name}", f"{shown(vendor.values[name])} is not {what}")
    return False


def _accepts(complaints: Complaints, vendor: Table, name: str) -> bool:
    """Whether these statuses may open: none that says no, and at least one."""
    path, statuses = f"{vendor.path}.{name}", vendor.values[name]
    known = sorted(STATUSES.keys() - REFUSALS)
    odd = [status for status in statuses if not STATUS.fullmatch(status) or status in REFUSALS]
    for status in odd:
        if status in REFUSALS:
            complaints.add(path, f"{shown(status)} is a refusal, and must not open: take it out")
        else:
            mend = f"write it as in OKAY, in capitals{nearest(status, known)}"
            complaints.add(path, f"{shown(status)} is no status: {mend}")
    if not statuses:
        complaints.add(path, "is empty, so nobody would get through: name OKAY at least")
    return bool(statuses) and not odd


def _gates(complaints: Complaints, vendor: Table) -> Mapping[tuple[str, Perimeter], str] | None:
    """What Ticketmaster calls each gate's perimeter; `None` where an entry is wrong."""
    path, found = f"{vendor.path}.gates", dict[tuple[str, Perimeter], str]()
    right = True
    for entry in vendor.values["gates"]:
        ours, _, theirs = (part.strip() for part in entry.partition("="))
        gate, _, ring = ours.partition("/")
        if not (NAME.fullmatch(gate) and ring in ("", *Perimeter) and theirs):
            mend = 'write a gate of ours, "=" and its name there, as in "north-1=Gate 1"'
            complaints.add(path, f'{shown(entry)}: {mend}, or for its inner ring "north-1/inner=Suites"')
            right = False
            continue
        which = gate, Perimeter(ring or Perimeter.OUTER)
        if which in found:
            complaints.add(path, f"{shown(entry)}: {gate} stands there already: take one out")
            right = False
        found[which] = theirs
    return found if right else None
