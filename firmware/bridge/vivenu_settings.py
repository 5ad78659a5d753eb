"""What an account at vivenu has in bridge.toml, and how that becomes `VivenuSettings`."""

from collections.abc import Mapping
from typing import Any

from firmware.bridge.checked import VENDORS_MAX, address_fits, secret_of
from firmware.bridge.vivenu_requests import (
    ADMITTABLE,
    BATCH_SIZE_MAX,
    OVERLAP_S_MAX,
    PAGE_SIZE_MAX,
    VivenuSettings,
    check,
)
from firmware.config import Complaints, Table
from firmware.config.keys import SECRET
from firmware.config.values import Flag, Key, Number, OneOf, Section, Text, Texts, nearest, shown
from firmware.core.ticket import Choice

DEFAULTS: Mapping[str, Any] = VivenuSettings._field_defaults

VIVENU = Section(
    "vendor",
    VENDORS_MAX,
    'What an account at vivenu (an "access user") has besides, with `kind = "vivenu"`.',
    (
        Key("api_url", Text(1, 255), DEFAULTS["api_url"], "The vendor's address."),
        Key("token_file", SECRET, None, "The file with the access user's token."),
        Key(
            "page_size",
            Number(1, PAGE_SIZE_MAX, "more the vendor refuses"),
            DEFAULTS["page_size"],
            "Tickets in one page of the list.",
        ),
        Key(
            "batch_size",
            Number(1, BATCH_SIZE_MAX, "no limit is published"),
            DEFAULTS["batch_size"],
            "Scans in one upload. One whose reply is lost leaves as many to a person.",
        ),
        Key(
            "overlap_s",
            Number(1, OVERLAP_S_MAX, "a day"),
            DEFAULTS["overlap_s"],
            "How far a look at what changed reaches back behind the last one.",
        ),
        Key(
            "online_timeout_ms",
            Number(200, 5000, "no network answers sooner; a batch is not held for longer"),
            round(DEFAULTS["online_timeout_s"] * 1000),
            "How long a question about one ticket, or about the account, may take.",
        ),
        Key(
            "ask_deadline_ms",
            Number(500, 10_000, "no network answers sooner; nobody stands longer before a closed lane"),
            DEFAULTS["ask_deadline_ms"],
            "How long an answer may take where the vendor decides, from the scan on.",
        ),
        Key(
            "upload_timeout_ms",
            Number(1000, 30_000, "a given-up reply costs a person's time; a batch is not held for longer"),
            round(DEFAULTS["upload_timeout_s"] * 1000),
            "How long an upload may take before its reply counts as lost.",
        ),
        Key(
            "admit",
            Texts(1),
            DEFAULTS["admit"],
            f"With which statuses a ticket is let in: {', '.join(ADMITTABLE)}. DETAILSREQUIRED has an effect "
            "only where vivenu's settings of the access user include such tickets.",
        ),
        Key(
            "slots",
            OneOf(tuple(Choice)),
            DEFAULTS["slots"].value,
            "What becomes of tickets while vivenu's settings of the access user check time slots, of which "
            "its list has none: `admit` lets them in at any time, `refuse` blocks them.",
        ),
        Key(
            "send_again",
            Flag(),
            DEFAULTS["send_again"],
            "Whether an upload whose reply was lost is sent again, so that vivenu may have its scans twice; "
            "else each of them is reported to a person as uncertain.",
        ),
    ),
)


def vivenu(complaints: Complaints, vendor: Table, events: list[Table]) -> VivenuSettings | None:
    """What the vendor's file needs; `None` where something is wrong, which is noted then."""
    values = vendor.values
    fits = address_fits(complaints, vendor, "api_url")
    token = secret_of(complaints, VIVENU, vendor, "token")
    known = _check_statuses(complaints, vendor)
    ids = tuple(event.values["id"] for event in events)
    if values["name"] is None or not token or not ids or None in ids or not (fits and known):
        return None
    settings = VivenuSettings(
        token=token,
        events=ids,
        name=values["name"],
        api_url=values["api_url"],
        page_size=values["page_size"],
        batch_size=values["batch_size"],
        overlap_s=values["overlap_s"],
        online_timeout_s=values["online_timeout_ms"] / 1000,
        upload_timeout_s=values["upload_timeout_ms"] / 1000,
        ask_deadline_ms=values["ask_deadline_ms"],
        admit=values["admit"],
        slots=Choice(values["slots"]),
        send_again=values["send_again"],
    )
    try:
        check(settings)
    except ValueError as error:  # about what was told already, or an address; it shows no value
        name = str(error).partition(": ")[0]
        if name != "events":
            complaints.add(f"{vendor.path}.{name}", str(error).removeprefix(f"{name}: "))
    return settings


def _check_statuses(complaints: Complaints, vendor: Table) -> bool:
    """Whether a ticket may be let in with each of these; at least one is named."""
    path, statuses = f"{vendor.path}.admit", vendor.values["admit"]
    odd = [status for status in statuses if status not in ADMITTABLE]
    for status in odd:
        mend = f"write one of {', '.join(ADMITTABLE)}{nearest(status, ADMITTABLE)}"
        complaints.add(path, f"{shown(status)} is no status that lets anybody in: {mend}")
    if not statuses:
        complaints.add(path, "is empty, so nobody would be let in: name VALID at least")
    return bool(statuses) and not odd
