"""Every setting of gate.toml, declared once: how it is written, its bounds, its default, what it means.

The checks, the defaults and `deploy/settings.md` are all made from `SECTIONS`.
"""

from firmware.config.values import (
    Flag,
    FullPath,
    Host,
    Key,
    LayoutName,
    Name,
    Number,
    OneOf,
    Only,
    SecretPath,
    Section,
    Text,
    Texts,
    UsbId,
    Zone,
)
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
    WithoutAnswer,
)
from firmware.signed_code import CHARACTERS, Signature

LANES_MAX = 4  # what one Pi has pins for
READERS_MAX = 4  # a lane has no room for more
EVENTS_MAX = 256  # a festival's days and halls, with room
BROKERS_MAX = 4  # the venue's and the cloud's, and a spare of each
ROUTES_MAX = 16  # each costs every scan some 0.1 µs; a venue has a few vendors with a shape or two each
CODE_MAX = 7089  # characters; no bar code holds more (digits in a QR code of the largest size)

# Bytes, because deleting from bytes is the fastest way to ask whether a text has other characters.
DIGITS = b"0123456789"
CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALPHABETS = {
    "any": b"",
    "digits": DIGITS,
    "alphanumeric": DIGITS + CAPITALS + CAPITALS.lower(),
    "base45": CHARACTERS,
}

SETUP, POLICY_DEFAULT, ROUTE_DEFAULT = Setup(""), Policy(), Route()
ADMIT_OR_REFUSE = OneOf(tuple(Choice))
ENTRIES = Only("direction", ("in", "both"))  # nobody is held inside for a sector or a type
SERIAL, LINES, EVDEV = (Only("kind", (kind,)) for kind in ("serial", "lines", "evdev"))
GPIO = Only("name", ("gpio",))
SCANNER = Only("kind", ("serial", "evdev"))
ASKED, DECIDED = Only("authority", ("vendor",)), Only("authority", ("gate",))
SIGNED = Only("signed", ("bam",))
LENGTH_MIN, LENGTH_MAX = 1, 512  # of a code, where a route does not say
NO_NAME = '`""` stands for tickets that name none.'
FILE_OR_NONE = FullPath(or_empty=True)
SECRET, SECRET_OR_NONE = SecretPath(), SecretPath(or_empty=True)
CODE_LENGTH = Number(1, CODE_MAX, "no bar code holds more")

GATE = Section(
    "gate",
    1,
    "Which gate this is.",
    (
        Key("name", Name(), "gate", "The gate's name, unique within the venue; tickets may be bound to it."),
        Key("venue", Name(), "venue", "The venue's name, the same at all its gates."),
        Key("timezone", Zone(), "UTC", "For times that people read, and for imported dates without a zone."),
    ),
)

LANE = Section(
    "lane",
    LANES_MAX,
    'A passage that the gate controls. Without any there is one, `name = "1"`, with the defaults below.',
    (
        Key("name", Name(), None, "The lane's name, unique at this gate."),
        Key("direction", OneOf(("in", "out", "both")), "in", "Which way people walk, seen from outside."),
        Key(
            "perimeter",
            OneOf(tuple(Perimeter)),
            SETUP.perimeter.value,
            "The ring that it guards; inner lanes keep a history of their own.",
        ),
        Key("sectors", Texts(), (), f"Sectors that enter here; empty: all. {NO_NAME}", ENTRIES),
        Key("types", Texts(), (), f"Ticket types that enter here; empty: all. {NO_NAME}", ENTRIES),
        Key("sensor", Flag(), SETUP.sensor, "Whether a passage sensor sees people walk through."),
        Key(
            "unlock_ms",
            Number(1000, 30_000, "a person with a suitcase needs a second; every opening must end"),
            SETUP.unlock_ms,
            "How long an admitted person may take.",
        ),
        Key(
            "relock_ms",
            Number(0, 5000, "no turnstile takes longer"),
            SETUP.relock_ms,
            "How long the mechanism needs to lock again, from its data sheet.",
        ),
        Key(
            "signal_ms",
            Number(2000, 10_000, "vendors refuse a code read again within 2 s; the next person waits"),
            SETUP.signal_ms,
            "How long a verdict is shown, and the same code not judged again.",
        ),
        Key(
            "record_ms",
            Number(100, 5000, "a good card pauses for some 10 ms; nobody waits in the dark for 5 s"),
            SETUP.record_ms,
            "How long the lane waits for the disk before it is out of order.",
        ),
    ),
)

READER = Section(
    "lane.reader",
    READERS_MAX,
    "A reader of the lane above it.",
    (
        Key(
            "kind",
            OneOf(("serial", "evdev", "lines")),
            None,
            "`serial`: a scanner on a serial line. `evdev`: one that plays a keyboard. "
            "`lines`: lines of a terminal, a pipe or a file.",
        ),
        Key(
            "direction",
            OneOf(("", *Direction)),
            "",
            'What a scan here means. Needed at a lane with direction "both", else the lane\'s own.',
        ),
        Key(
            "device",
            FullPath(or_empty=True),
            "",
            "The scanner, best named below `/dev/serial/by-id` or `/dev/input/by-id`. "
            "An `evdev` scanner may have `vendor` and `product` instead.",
            SCANNER,
        ),
        Key("vendor", UsbId(), "", "The first half of what `lsusb` prints as ID.", EVDEV),
        Key("product", UsbId(), "", "The second half.", EVDEV),
        Key("serial", Text(), "", "Its serial number, where two have the same vendor and product.", EVDEV),
        Key(
            "layout",
            LayoutName(),
            "us",
            "The keyboard that it plays, as xkb names it: `us`, `de`, `fr`.",
            EVDEV,
        ),
        Key(
            "variant",
            LayoutName(may_be_empty=True),
            "",
            "The layout's variant, such as `fr` of layout `ch`.",
            EVDEV,
        ),
        Key("caps_lock", Flag(), False, "Whether it reckons with caps lock on.", EVDEV),
        Key("path", FullPath(or_dash=True), "-", "Where the lines are; `-` is the standard input.", LINES),
        Key(
            "baud_rate",
            Number(50, 4_000_000, "the slowest line, the fastest USB bridge"),
            9600,
            "Bits a second; most scanners on USB ignore it.",
            SERIAL,
        ),
        Key("data_bits", Number(7, 8, "what scanners send"), 8, "Bits of a character.", SERIAL),
        Key("parity", OneOf(("none", "even", "odd")), "none", "The parity bit.", SERIAL),
        Key("stop_bits", Number(1, 2, "what scanners send"), 1, "Bits after a character.", SERIAL),
        Key(
            "terminator",
            OneOf(("any", "cr", "lf", "crlf", "tab", "none")),
            "any",
            "What ends a code. `any`: CR (Enter on a keyboard), LF, CR LF or Tab; `none`: silence does.",
            SCANNER,
        ),
        Key("stx_etx", Flag(), False, "Codes stand between STX and ETX instead.", SCANNER),
        Key(
            "idle_ms",
            Number(1, 10_000, "more would glue the codes of two persons"),
            200,
            "The silence that ends a code without terminator, and cuts one with.",
            SCANNER,
        ),
        Key(
            "strip_prefix",
            Texts(1, visible=False),
            (),
            "Texts, of which the first that fits is taken off the front.",
            SCANNER,
        ),
        Key(
            "strip_suffix",
            Texts(1, visible=False),
            (),
            "Texts, of which the first that fits is taken off the end.",
            SCANNER,
        ),
        Key("strip_aim", Flag(), False, "Take an AIM identifier, such as `]Q1`, off the front.", SCANNER),
        Key("strip_eci", Flag(), False, r"Take ECI escapes, such as `\000026`, out of the text.", SCANNER),
        Key("encoding", OneOf(("utf-8", "latin-1", "ascii")), "utf-8", "What the scanner sends.", SERIAL),
        Key("length_max", CODE_LENGTH, 512, "Characters; a longer text is unreadable."),
    ),
)

POLICY = Section(
    "policy",
    1,
    "What every event inherits. Without any `[[event]]`, every event is let in under it.",
    (
        Key("sessions", Texts(), (), f"Sessions let in now; empty: all. {NO_NAME}"),
        Key(
            "reentry",
            OneOf(tuple(Reentry)),
            POLICY_DEFAULT.reentry.value,
            "Whether a ticket may enter again: never, after an exit, always.",
        ),
        Key(
            "exits",
            OneOf(tuple(Exits)),
            POLICY_DEFAULT.exits.value,
            "Who may leave: every known ticket, or only one that is inside.",
        ),
        Key(
            "again_after_min",
            Number(0, 1440, "what takes longer than a day is another session"),
            0,
            'Minutes after an entry in which the same ticket may not enter again. Not with reentry = "none".',
        ),
        Key(
            "spend",
            OneOf(tuple(Spend)),
            POLICY_DEFAULT.spend.value,
            "What uses a ticket up: the opening, or the walk (needs a sensor at every lane).",
        ),
        Key("unsold", ADMIT_OR_REFUSE, POLICY_DEFAULT.unsold.value, "Tickets printed and not sold yet."),
        Key(
            "unlisted",
            ADMIT_OR_REFUSE,
            POLICY_DEFAULT.unlisted.value,
            "Codes that a signature proves and the catalogue does not have.",
        ),
    ),
)

EVENT = Section(
    "event",
    EVENTS_MAX,
    "An event that is played here. With any, only these are let in. What is left out is as in `[policy]`.",
    (Key("id", Text(), None, f"The event's id as tickets carry it. {NO_NAME}"), *POLICY.keys),
)

ROUTE = Section(
    "route",
    ROUTES_MAX,
    "Who decides about codes of a shape. Tried in order, the first that fits wins; without one the gate "
    "decides from its catalogue.",
    (
        Key("starts", Text(), "", "How the code begins."),
        Key("length_min", CODE_LENGTH, LENGTH_MIN, "Characters at least."),
        Key("length_max", CODE_LENGTH, LENGTH_MAX, "Characters at most."),
        Key("characters", OneOf(tuple(ALPHABETS)), "any", "All that occur; letters and digits are ASCII."),
        Key(
            "listed_too",
            Flag(),
            True,
            "Whether codes of the catalogue go this way too; with false the gate decides about them.",
        ),
        Key(
            "event",
            Text(),
            ROUTE_DEFAULT.event,
            "The event of such codes. A ticket of the catalogue that names another passes this route by.",
        ),
        Key("vendor", Name(may_be_empty=True), ROUTE_DEFAULT.vendor, "The vendor that is asked or told."),
        Key(
            "authority",
            OneOf(tuple(Authority)),
            ROUTE_DEFAULT.authority.value,
            "Who decides: the gate at once, or the vendor when asked.",
        ),
        Key(
            "deadline_ms",
            Number(0, 10_000, "0 or 200 at least: no network answers sooner; nobody waits longer"),
            0,
            "How long the vendor has to answer; 0 for what its own rules say, or else 3000.",
            ASKED,
        ),
        Key(
            "without_answer",
            OneOf(tuple(WithoutAnswer)),
            ROUTE_DEFAULT.without_answer.value,
            "Then: decide from the catalogue, admit nobody, or admit and tell the vendor later (for codes of "
            "a shape, at a vendor that takes such scans).",
            ASKED,
        ),
        Key(
            "check_first",
            Flag(),
            ROUTE_DEFAULT.check_first,
            "Whether the gate's own rules may refuse before the vendor is asked.",
            ASKED,
        ),
        Key(
            "signed",
            OneOf(("", "bam")),
            "",
            "How such codes are signed. `bam`: as B.A.M. Ticketing does; then `vendor` is the account and "
            "`event` the event's number.",
            DECIDED,
        ),
        Key(
            "signature",
            OneOf(tuple(Signature)),
            Signature.PREFER.value,
            "`require`: codes of the catalogue must be signed too. `prefer`: a signature proves those that "
            "are not in it; `unlisted` of the event says whether they enter. `ignore`: it is not checked.",
            SIGNED,
        ),
    ),
)

CONDITIONS = Section(
    "conditions",
    1,
    "What happens when something is not as it should be.",
    (
        Key(
            "journal_unwritable",
            OneOf(("shut", "free")),
            "free" if SETUP.unwritable_free else "shut",
            "What the lanes are while no row can be written.",
        ),
        Key("after_alarm", OneOf(("lock", "acknowledge")), "lock", "Lock at its end, or when acknowledged."),
        Key(
            "clock_untrusted",
            ADMIT_OR_REFUSE,
            POLICY_DEFAULT.clock_untrusted.value,
            "Tickets with dates while the time is not known: dates not checked, or refused.",
        ),
        Key(
            "catalogue_stale_h",
            Number(0, 8760, "a year; 0 for never"),
            0,
            "Hours without news of the catalogue after which it is stale.",
        ),
        Key(
            "catalogue_stale",
            ADMIT_OR_REFUSE,
            POLICY_DEFAULT.catalogue_stale.value,
            "Tickets of a stale catalogue.",
        ),
        Key(
            "reader_lost",
            OneOf(("stay", "shut")),
            "stay",
            "What a lane does while one of its readers is lost: stay as it is, or shut.",
        ),
        Key(
            "credit_min",
            Number(0, 120, "who was sent away is back within minutes; 0 for never"),
            SETUP.credit_ms // 60_000,
            "Minutes in which a vendor's yes that came too late admits without asking again.",
        ),
    ),
)

JOURNAL = Section(
    "journal",
    1,
    "How much of the journal is kept. Both bounds hold; the oldest rows go first.",
    (
        Key("keep_days", Number(1, 3650, "today's are needed; ten years"), 30, "Days that rows are kept."),
        Key(
            "keep_mib",
            Number(64, 65_536, "the space reserved for 50,000 rows; a card"),
            512,
            "MiB that rows may take.",
        ),
    ),
)

BROKER = Section(
    "broker",
    BROKERS_MAX,
    "An MQTT broker (MQTT 5). Tried in order, the venue's first; one that is not the first is left when one "
    "before it answers again. Without any, nothing is sent.",
    (
        Key("host", Host(), None, "Its name or address; with TLS, as it stands in its certificate."),
        Key("port", Number(1, 65_535, "what TCP has"), 8883, "Its port; usually 8883 with TLS, else 1883."),
        Key("tls", Flag(), True, "Whether to use TLS; without it everybody on the network reads along."),
        Key(
            "ca_file",
            FILE_OR_NONE,
            "",
            "The authorities that its certificate may come from; empty: the fleet's at a gate that was "
            "enrolled, else the system's.",
        ),
        Key(
            "cert_file",
            FILE_OR_NONE,
            "",
            "Our certificate for it, where it asks for one; a gate that was enrolled has its own.",
        ),
        Key("key_file", SECRET_OR_NONE, "", "The key of that certificate."),
        Key("username", Text(), "", "Our user name, where it asks for one."),
        Key("password_file", SECRET_OR_NONE, "", "The file whose first line is the user's password."),
    ),
)

BOARD = Section(
    "board",
    1,
    "What the lanes are made of.",
    (
        Key(
            "name",
            Name(),
            "fake",
            "`gpio`: relays, lamps and contacts on pins. `fake`: plays turnstiles and people, to try.",
        ),
        Key("file", FullPath(), None, "The board file: which pin drives or sees what.", GPIO),
    ),
)

SECTIONS = (GATE, BOARD, LANE, READER, POLICY, EVENT, ROUTE, CONDITIONS, JOURNAL, BROKER)
