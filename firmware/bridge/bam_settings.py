"""What an account at B.A.M. Ticketing has in bridge.toml, and how that becomes `BamSettings`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firmware.bridge.bam_identity import Identity, IdentityUnusable, read
from firmware.bridge.bam_requests import (
    ADMITTABLE,
    ASK_DEADLINE_MS_MAX,
    ASK_DEADLINE_MS_MIN,
    CHAIN_TIMEOUT_S_MAX,
    MARGIN_MIN_MAX,
    BamSettings,
    check,
)
from firmware.bridge.checked import VENDORS_MAX, address_fits
from firmware.config import Complaints, Table
from firmware.config.keys import SECRET
from firmware.config.values import Flag, Key, Number, Section, Text, Texts, nearest, shown

DEFAULTS: Mapping[str, Any] = BamSettings._field_defaults
FILES = ("validator_file", "key_file")

BAM = Section(
    "vendor",
    VENDORS_MAX,
    'What an account at B.A.M. Ticketing (a "validator" of one event) has besides, with `kind = "bam"`.',
    (
        Key(
            "url",
            Text(1, 255),
            None,
            "The address for log-ins, as in https://api.example.",
        ),
        Key(
            "tenant_url",
            Text(1, 255),
            None,
            "The address of the organizer's tenant, as in https://tenant.api.example: for all the rest.",
        ),
        Key(
            "validator_file",
            SECRET,
            None,
            "The validator's identity, encrypted; `gatepost bam enrol` fetches it and writes it there.",
        ),
        Key(
            "key_file",
            SECRET,
            None,
            "The key that it is encrypted with; `gatepost bam enrol` makes one. Back both up apart.",
        ),
        Key(
            "accept",
            Texts(1),
            DEFAULTS["accept"],
            f"With which states a ticket is let in: some of {', '.join(ADMITTABLE)}. One that is reserved or "
            "confirmed is not on the chain yet, and cannot be invalidated.",
        ),
        Key(
            "slots",
            Flag(),
            DEFAULTS["slots"],
            "Whether a ticket's time slot bounds when it is let in.",
        ),
        Key(
            "margin_min",
            Number(0, MARGIN_MIN_MAX, "a day"),
            DEFAULTS["margin_min"],
            "By how many minutes a time slot is longer here, before and after.",
        ),
        Key(
            "used_words",
            Texts(1),
            DEFAULTS["used_words"],
            "What the chain's refusal of a used ticket has in it; B.A.M. publishes none of its texts.",
        ),
        Key(
            "chain_timeout_ms",
            Number(1000, round(CHAIN_TIMEOUT_S_MAX * 1000), "a scan is not held for longer"),
            round(DEFAULTS["chain_timeout_s"] * 1000),
            "How long each of a transaction's three steps may take before its reply counts as lost.",
        ),
        Key(
            "open_before_commit",
            Flag(),
            DEFAULTS["open_before_commit"],
            "Whether gates open before the chain has the entry. With false they may ask instead, with "
            '`authority = "vendor"` in their routes, and open when it has been written.',
        ),
        Key(
            "ask_deadline_ms",
            Number(
                ASK_DEADLINE_MS_MIN,
                ASK_DEADLINE_MS_MAX,
                "no network answers sooner; nobody stands longer before a closed lane",
            ),
            DEFAULTS["ask_deadline_ms"],
            "How long the three steps may take together where gates ask, from the scan on. After it no "
            "further step is sent.",
        ),
    ),
)


def bam(complaints: Complaints, vendor: Table, events: list[Table]) -> BamSettings | None:
    """What the vendor's file needs; `None` where something is wrong, which is noted then."""
    values = vendor.values
    fit = [address_fits(complaints, vendor, name) for name in ("url", "tenant_url") if values[name]]
    known = _check_states(complaints, vendor)
    identity = _identity(complaints, vendor)
    given = [
        *(values[name] for name in ("name", "url", "tenant_url")),
        *(each.values["id"] for each in events),
    ]
    if len(events) > 1:
        mend = "a validator is of one event: write a [[vendor]] for each"
        complaints.add(f"{events[1].path}", f"is one too many: {mend}")
    if identity is None or not known or None in given or len(events) != 1 or not all(fit):
        return None
    settings = BamSettings(
        identity=identity,
        url=values["url"],
        tenant_url=values["tenant_url"],
        event=events[0].values["id"],
        name=values["name"],
        accept=values["accept"],
        slots=values["slots"],
        margin_min=values["margin_min"],
        used_words=values["used_words"],
        chain_timeout_s=values["chain_timeout_ms"] / 1000,
        open_before_commit=values["open_before_commit"],
        ask_deadline_ms=values["ask_deadline_ms"],
    )
    try:
        check(settings)
    except ValueError as error:
        name, _, text = str(error).partition(": ")
        complaints.add(f"{events[0].path}.id" if name == "event" else f"{vendor.path}.{name}", text)
    return settings


def _check_states(complaints: Complaints, vendor: Table) -> bool:
    path, states = f"{vendor.path}.accept", vendor.values["accept"]
    odd = [state for state in states if state not in ADMITTABLE]
    for state in odd:
        mend = f"write some of {', '.join(ADMITTABLE)}{nearest(state, ADMITTABLE)}"
        complaints.add(path, f"{shown(state)} is no state that lets anybody in: {mend}")
    if not states:
        complaints.add(path, "is empty, so nobody would be let in: name issued at least")
    return bool(states) and not odd


def _identity(complaints: Complaints, vendor: Table) -> Identity | None:
    path, key_path = (vendor.values[name] for name in FILES)
    if not path or not key_path:
        return None  # noted already
    try:
        return read(Path(path), Path(key_path))
    except IdentityUnusable as error:
        complaints.add(f"{vendor.path}.validator_file", str(error))
    return None
