"""What a setting may be: the kinds of values, and how a setting and a table of them are declared.

`keys` declares the settings of a gate with these, `firmware.bridge.settings` those of the bridge.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

LIST_MAX = 256  # entries of one list; a stadium has below 100 sectors
TEXT_MAX = 128  # characters of an id; the longest of the vendors' have 36
PATH_MAX = 255  # characters; what a device is called is far shorter
HOST_MAX = 253  # characters; no name of the DNS is longer
SHOWN_MAX = 40  # characters of a wrong value or name in a message
NUMBER_BITS_MAX = 64  # a larger number is a mistake, and thousands of digits help nobody to find it
NAME = re.compile(r"[a-z0-9_-]{1,32}")  # names become parts of topics and of file names
LAYOUT = re.compile(r"[A-Za-z0-9_-]{1,32}")
USB_ID = re.compile(r"([0-9a-f]{4})?")
HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|(?=.*:.*:)[0-9A-Fa-f:.]+", re.ASCII)  # or IPv6


# --- kinds of values: `words` for the documents, `fault` for what is wrong with a value --------------


class Flag(NamedTuple):
    """True or false."""

    def words(self) -> str:
        return "true, false"

    def fault(self, value: object) -> str | None:
        return None if isinstance(value, bool) else f"{shown(value)} is neither true nor false"


class Number(NamedTuple):
    """A whole number between bounds, with the reason for them."""

    least: int
    most: int
    why: str

    def words(self) -> str:
        return f"{self.least} to {self.most} ({self.why})"

    def fault(self, value: object) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{shown(value)} is not a whole number"
        if self.least <= value <= self.most:
            return None
        return f"{shown(value)} is not between {self.least} and {self.most} ({self.why})"


class OneOf(NamedTuple):
    """One of a few words."""

    options: tuple[str, ...]

    def words(self) -> str:
        return ", ".join(quoted(str(option)) for option in self.options)

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and value in self.options:
            return None
        return f"{shown(value)} is not one of {self.words()}{nearest(value, self.options)}"


class Name(NamedTuple):
    """A name that may stand in a topic and in a file name."""

    may_be_empty: bool = False

    def words(self) -> str:
        return "1 to 32 of a-z, 0-9, _ and -"

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and (NAME.fullmatch(value) or (self.may_be_empty and not value)):
            return None
        return f"{shown(value)} is not a name: {self.words()}"


class Text(NamedTuple):
    """A text that can be seen."""

    least: int = 0
    most: int = TEXT_MAX

    def words(self) -> str:
        return f"text of {self.least} to {self.most} characters"

    def fault(self, value: object) -> str | None:
        if not isinstance(value, str):
            return f"{shown(value)} is not a text"
        if not self.least <= len(value) <= self.most:
            return f"{shown(value)} has {len(value)} characters, not {self.least} to {self.most}"
        return None if value.isprintable() else f"{shown(value)} has a character that cannot be seen"


class Texts(NamedTuple):
    """A list of texts. What a scanner adds may be a control character, so these need not be visible."""

    least: int = 0
    visible: bool = True

    def words(self) -> str:
        return f"list of up to {LIST_MAX} texts of {self.least} to {TEXT_MAX} characters"

    def fault(self, value: object) -> str | None:
        if not isinstance(value, list | tuple):
            return f'{shown(value)} is not a list of texts: write ["…"]'
        if len(value) > LIST_MAX:
            return f"the list has {len(value)} entries, not at most {LIST_MAX}"
        return next(filter(None, map(self._entry_fault, value)), None)

    def _entry_fault(self, value: object) -> str | None:
        if isinstance(value, str) and not self.visible and self.least <= len(value) <= TEXT_MAX:
            return None
        return Text(self.least).fault(value)


class FullPath(NamedTuple):
    """A path from the root of the file system: nobody knows in which folder the gate is started."""

    or_dash: bool = False
    or_empty: bool = False

    def words(self) -> str:
        dash, empty = ", or -" if self.or_dash else "", ", or empty" if self.or_empty else ""
        return f"path that begins with /{dash}{empty}"

    def fault(self, value: object) -> str | None:
        if (self.or_dash and value == "-") or (self.or_empty and value == ""):
            return None
        if isinstance(value, str) and value.startswith("/"):
            return Text(1, PATH_MAX).fault(value)
        return f"{shown(value)} is not a {self.words()}"


class SecretPath(FullPath):
    """A path to a secret. What stands there instead is perhaps the secret itself, so it is never shown."""

    def fault(self, value: object) -> str | None:
        if super().fault(value) is None:
            return None
        return f"is no {self.words()}: write the secret into a file, and the path of that file here"


class LayoutName(NamedTuple):
    """A keyboard layout of xkb, or a variant of one."""

    may_be_empty: bool = False

    def words(self) -> str:
        return "1 to 32 of A-Z, a-z, 0-9, _ and -" + (", or empty" if self.may_be_empty else "")

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and (LAYOUT.fullmatch(value) or (self.may_be_empty and not value)):
            return None
        return f"{shown(value)} is not a name of xkb: {self.words()}"


class UsbId(NamedTuple):
    """A number of a USB device, as `lsusb` prints it."""

    def words(self) -> str:
        return "4 of 0-9 and a-f, or empty"

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and USB_ID.fullmatch(value):
            return None
        return f'{shown(value)} is not written as lsusb prints it: {self.words()}, such as "05f9"'


class Host(NamedTuple):
    """A machine on the network."""

    def words(self) -> str:
        return "name or address of a machine"

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and len(value) <= HOST_MAX and HOST.fullmatch(value):
            return None
        return f"{shown(value)} is not a {self.words()}: write it without a scheme, port or space"


class Zone(NamedTuple):
    """A time zone of the IANA database."""

    def words(self) -> str:
        return 'IANA name, such as "Europe/Lisbon"'

    def fault(self, value: object) -> str | None:
        if isinstance(value, str) and zone(value) is not None:
            return None
        return f"{shown(value)} is no time zone known here{nearest(value, available_timezones())}"


Rule = Flag | Number | OneOf | Name | Text | Texts | FullPath | LayoutName | UsbId | Host | Zone


def zone(name: str) -> tzinfo | None:
    """The time zone of that name, if this machine knows it. UTC needs no database."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a plain name; a folder of the database
        return None


# --- words of messages -------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """As it would be written in the file."""
    return f'"{text}"'


def shown(value: object) -> str:
    """A value in a message: short, and visible whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > NUMBER_BITS_MAX:
        return "a huge number"
    if not isinstance(value, str):
        return str(value)
    short = value if len(value) <= SHOWN_MAX else value[: SHOWN_MAX - 1] + "…"
    return quoted("".join(c if c.isprintable() else repr(c)[1:-1] for c in short))


def nearest(value: object, known: Iterable[str]) -> str:
    """A hint at the known word that was perhaps meant."""
    if not isinstance(value, str):
        return ""
    by_lower = {word.lower(): word for word in known}
    found = difflib.get_close_matches(value[:TEXT_MAX].lower(), by_lower, n=1)
    return f": did you mean {quoted(by_lower[found[0]])}?" if found else ""


# --- the shape of the file ---------------------------------------------------------------------------


class Only(NamedTuple):
    """A setting that has an effect only with these values of another one in the same table."""

    key: str
    values: tuple[str, ...]

    def words(self) -> str:
        return f"{self.key} = {' or '.join(map(quoted, self.values))}"


class Key(NamedTuple):
    """One setting. A default of `None` means that it has to be given, where it has an effect."""

    name: str
    rule: Rule
    default: Any
    meaning: str
    only: Only | None = None


class Section(NamedTuple):
    """A table of the file, or with `most` above one a list of tables."""

    name: str
    most: int
    meaning: str
    keys: tuple[Key, ...]

    @property
    def header(self) -> str:
        """How it is written in the file."""
        return f"[[{self.name}]]" if self.most > 1 else f"[{self.name}]"
