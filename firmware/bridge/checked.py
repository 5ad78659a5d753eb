"""What the settings of every vendor have: the same names, an address, and secrets in files of their own."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx

from firmware.bridge.addresses import LOOPBACK
from firmware.config import Complaints, Table
from firmware.config.values import Key, Name, Number, OneOf, Only, Section, Text

KIND_NAMES = ("ingresse", "vivenu", "presence", "bam")
LISTED = Only("kind", ("ingresse", "vivenu", "bam"))  # the others have no list
VENDORS_MAX = 16  # accounts of one venue: a vendor or two, each with an organiser or two
EVENTS_MAX = 256  # of one account; a festival's days and halls, with room
BAM_POLL_S = 60  # some megabytes of a large event each time, and as many signed codes to read
SECRET_BYTES_MAX = 8192  # of a file with a password or token; the longest tokens have some 2 kB


VENDOR = Section(
    "vendor",
    VENDORS_MAX,
    "An account at a ticketing vendor. What every one has:",
    (
        Key("name", Name(), None, "What the account is called; ticket ids begin with it and a colon."),
        Key("kind", OneOf(KIND_NAMES), None, "Which vendor it is."),
        Key(
            "poll_s",
            Number(1, 3600, "a vendor's patience; an hour is as good as never"),
            10,
            f"Seconds between two looks at what changed in the vendor's list. With `bam` {BAM_POLL_S} where "
            "it is left out, for each look is the whole list.",
            LISTED,
        ),
        Key(
            "whole_every_h",
            Number(1, 168, "a list of a million takes minutes; a week"),
            24,
            "Hours between two readings of the whole list, which find what changes did not tell.",
            LISTED,
        ),
        Key(
            "rate_max",
            Number(1, 1000, "requests a second"),
            10,
            "Requests a second at most; ask the vendor what it allows.",
        ),
        Key(
            "ask_rate_max",
            Number(1, 1000, "requests a second"),
            100,
            "The same for asks alone, which have connections of their own: as many as there are scans in a "
            "rush. `rate_max` is for all the rest.",
        ),
    ),
)

EVENT = Section(
    "vendor.event",
    EVENTS_MAX,
    "An event of the account above it that is played here.",
    (Key("id", Text(1), None, "The event's id at the vendor."),),
)


def address_fits(complaints: Complaints, vendor: Table, name: str) -> bool:
    """Whether the vendor can be asked there, as far as an address tells."""
    try:
        url, _ = httpx.URL(vendor.values[name]), urlsplit(vendor.values[name]).port  # httpx takes any port
    except (httpx.InvalidURL, ValueError):
        complaints.add(f"{vendor.path}.{name}", "is no address: write https://host")
        return False
    own = url.scheme == "http" and url.host in LOOPBACK
    plain = not (url.userinfo or url.query or url.fragment)
    if vendor.values[name] and not (url.host and plain and (own or url.scheme == "https")):
        mend = "write https://host, without user or query; http is for this machine only"
        complaints.add(f"{vendor.path}.{name}", f"is no address that can be used: {mend}")
        return False
    return True


def secret_of(complaints: Complaints, section: Section, vendor: Table, name: str) -> str | None:
    """The first line of the file; "" where the setting has no effect, `None` where it is wrong."""
    name += "_file"
    key = next(key for key in section.keys if key.name == name)
    path: str | None = vendor.values[name]
    if key.only is not None and vendor.values[key.only.key] not in key.only.values:
        return ""
    if not path:
        return path  # left out: noted already where it is needed
    where = f"{vendor.path}.{name}"
    try:
        with Path(path).open("rb") as file:
            first, end, _ = file.read(SECRET_BYTES_MAX).partition(b"\n")
        secret = first.decode("utf-8-sig").strip()
    except OSError as error:
        complaints.add(where, f"{path}: cannot be read ({error.strerror}): check the path")
        return None
    except UnicodeDecodeError:  # its text would quote the secret
        complaints.add(where, f"{path}: is not UTF-8 text: save it as UTF-8")
        return None
    if not end and len(first) == SECRET_BYTES_MAX:
        complaints.add(
            where, f"{path}: its first line is longer than {SECRET_BYTES_MAX} bytes: is it this file?"
        )
    elif not secret:
        complaints.add(where, f"{path}: its first line is empty: write the secret there")
    elif not secret.isprintable() or not (secret.isascii() or name == "password_file"):
        complaints.add(where, f"{path}: has a character that no key and no token has: copy it again")
    else:
        return secret
    return None
