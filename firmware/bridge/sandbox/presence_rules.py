"""How the Presence sandbox reads its vendor's three revisions, and the rules of each gate.

They contradict each other, and leave much open; all of that can be set.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

OKAY, BAD_REQUEST, NOT_FOUND = "OKAY", "BAD_REQUEST", "NOT_FOUND"
HOUR_MS = 3_600_000

# What came of a scan, in the words of the revision in the middle, which has the most of them. An entry at an
# internal gate has no word of its own there.
ENTERED, EXITED, INTERNAL_ENTERED, INTERNAL_EXITED = "OKAY", "EXIT", "INTERNAL_OKAY", "INTERNAL_SCAN_EXIT"
DONE = frozenset({ENTERED, EXITED, INTERNAL_ENTERED, INTERNAL_EXITED})

# Which of these have another word in a revision, and which have another text. What the first one lacks is
# called by the nearest that it has.
REVISIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "V1": {
            INTERNAL_ENTERED: "INTERNAL_SCAN",
            INTERNAL_EXITED: "INTERNAL_SCAN",
            "EXIT_NOT_PERMITTED": "INVALID_TICKET",
            "INTERNAL_SCAN_ALREADY_ENTERED": "ALREADY_ENTERED",
            "INTERNAL_SCAN_EXIT_NOT_PERMITTED": "INVALID_TICKET",
            "ACCESS_GROUP_RESTRICTION": "SECTION_RESTRICTION",
            "XNUM_RESTRICTION": "SECTION_RESTRICTION",
            "MARK_RESTRICTION": "INVALID_TICKET",
        },
        "V2": {INTERNAL_ENTERED: OKAY},
        "V3": {
            EXITED: OKAY,
            INTERNAL_ENTERED: OKAY,
            INTERNAL_EXITED: OKAY,
            "INTERNAL_SCAN_ALREADY_ENTERED": "ALREADY_ENTERED",
        },
    }
)
TEXTS: Mapping[str, str] = MappingProxyType(
    {ENTERED: "ENTERED", EXITED: "EXITED", INTERNAL_ENTERED: "ENTERED", INTERNAL_EXITED: "EXIT INTERNAL"}
)  # of the last revision
STATUSES_HTTP = (200, 299, 400, 499)  # from, to, from, to: a 500 is a trouble, and 300 leads elsewhere

SUFFIXES = ("", ".json")
GATE_PARAMETERS, VENUE_PARAMETERS, LOOK_PARAMETERS = (
    ("gateName", "gateId"),
    ("venueId", "venue"),
    ("mac", "device"),
)
INTERNAL_ENTRIES = ("enter", "validate")
SYSTEMS = (
    "Printed",
    "printed",
    "iOS",
    "Android",
)  # of barcodes as in the tables and as in the samples; of taps
BASE = "presence/v1"


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be set. Each list says which spellings are taken; the others are against the documents."""

    revision: str = "V2"
    device_base: str = (
        BASE  # where devices are, and where tickets are; the samples have two paths of their own
    )
    ticket_base: str = BASE
    suffixes: tuple[str, ...] = SUFFIXES
    gate_parameters: tuple[str, ...] = GATE_PARAMETERS  # of a device that is configured
    venue_parameters: tuple[str, ...] = VENUE_PARAMETERS  # of a look at a device
    look_parameters: tuple[str, ...] = LOOK_PARAMETERS
    internal_entries: tuple[str, ...] = INTERNAL_ENTRIES  # where entries of an internal gate are sent
    systems: tuple[str, ...] = SYSTEMS
    words: Mapping[str, str] = {}  # statuses that are called otherwise, after the revision: {"EXIT": "OKAY"}
    numbers: bool = False  # ids in replies are numbers, as in the tables; else texts, as in the samples
    message: bool = False  # refusals have their tickets too
    refusal_status: int = 200  # of HTTP
    duplicate_ms: int = 2000  # only the revision in the middle knows of it
    before_ms: int = 12 * HOUR_MS  # so long before its start an event's scanning window opens
    after_ms: int = 12 * HOUR_MS
    new_gates: bool = True  # a gate's name that nobody knows becomes a gate; else it is a bad request
    inner: str = "inner"  # where a new gate's name ends so, it is an internal one
    upload_path: str = "ticket/upload"
    upload_max: int = 1000  # the vendor's own limit is not public

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot be; over the control port that is a 400."""
        for name, given, known in (
            ("revision", (self.revision,), tuple(REVISIONS)),
            ("suffixes", self.suffixes, SUFFIXES),
            ("gate_parameters", self.gate_parameters, GATE_PARAMETERS),
            ("venue_parameters", self.venue_parameters, VENUE_PARAMETERS),
            ("look_parameters", self.look_parameters, LOOK_PARAMETERS),
            ("internal_entries", self.internal_entries, INTERNAL_ENTRIES),
            ("systems", self.systems, SYSTEMS),
        ):
            if not given or not set(given) <= set(known):
                raise ValueError(f"{name} {given} is not of {known}")
        low, high, low_refusal, high_refusal = STATUSES_HTTP
        if not (low <= self.refusal_status <= high or low_refusal <= self.refusal_status <= high_refusal):
            raise ValueError(f"refusal_status: from {low} to {high}, or from {low_refusal} to {high_refusal}")
        if min(self.duplicate_ms, self.before_ms, self.after_ms, self.upload_max - 1) < 0:
            raise ValueError("times are not negative, and upload_max is at least 1")

    def said(self, status: str) -> dict[str, str]:
        """The result in a reply: its word and its text."""
        word = REVISIONS[self.revision].get(status, status)
        word = self.words.get(word, word)
        if self.revision == "V3":
            return {"status": word, "message": TEXTS.get(status, status.replace("_", " "))}
        return {"status": word, "message": word.replace("_", " ").capitalize()}


class GateRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one gate. An empty list restricts nothing; times are UTC milliseconds, 0: none.

    An internal gate has the rule "Internal Scans"; with `exit_required` nobody enters it twice in a row.
    """

    internal: bool = False
    exit_required: bool = False
    sections: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    access_groups: tuple[str, ...] = ()
    xnums: tuple[str, ...] = ()
    marks: bool = False  # whoever has a mark is refused
    starts_ms: int = 0
    ends_ms: int = 0

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot be."""
        if self.exit_required and not self.internal:
            raise ValueError("exit_required is an option of an internal gate")
        if min(self.starts_ms, self.ends_ms) < 0:
            raise ValueError("times are UTC milliseconds, or 0 for none")
