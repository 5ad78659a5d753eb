"""Values of a vendor's JSON and headers, read leniently: ids come as text or number, truth in five ways.

Pure. Whatever does not say what it should is `None` (or 0 for a `Date`), never an error: what that means is
for the vendor's own file.
"""

import math
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

ID_LENGTH_MAX = 200  # with the account's name in front it has to fit a wire text of 256
CODE_LENGTH_MAX = 7089  # the longest that a QR code holds
TYPE_LENGTH_MAX = 256  # a wire text
TEXT_LENGTH_MAX = 200  # of a vendor's own words in ours
# 2001 to 2096: a time in seconds is far below, one in microseconds far above.
MS_MIN, MS_MAX = 10**12, 4 * 10**12


def text_of(value: object) -> str | None:
    """An id or code: text or a whole number, never empty; `None` for what is neither, or no clean text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    text = str(value)
    return text if text and clean(text) else None


def clean(text: str) -> bool:
    """Whether a text can be stored and sent: no half characters, no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def number_of(value: object) -> int | None:
    """A whole number, also as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, str):
        digits = value.strip().removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
            return None
        return int(value.strip())
    return value if isinstance(value, int) else None


def truth_of(value: object) -> bool | None:
    """A bool, number or text as true or false; `None` where it says neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return {0.0: False, 1.0: True}.get(value)
    if isinstance(value, str):
        return {"0": False, "1": True, "false": False, "true": True}.get(value.strip().lower())
    return None


def is_ms(text: str) -> bool:
    """Whether this is a time in milliseconds."""
    number = number_of(text)
    return number is not None and MS_MIN <= number < MS_MAX


def time_of(value: object) -> tuple[int | None, bool]:
    """UTC milliseconds, and whether they are exact; of seconds they are not. A date needs its zone."""
    number = number_of(value)
    if number is None and isinstance(value, str):
        try:
            date = datetime.fromisoformat(value.strip())
        except ValueError:
            return None, False
        if date.tzinfo is None or not 2001 < date.year < 2096:
            return None, False
        return round(date.timestamp() * 1000), bool(date.microsecond)
    if number is not None and MS_MIN <= number < MS_MAX:
        return number, True
    if number is not None and MS_MIN <= number * 1000 < MS_MAX:
        return number * 1000, False
    return None, False


def date_ms(response: httpx.Response) -> int:
    """The vendor's own clock, from the reply's `Date`; 0 where it does not tell."""
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
        stamp = round(date.timestamp() * 1000) if date.tzinfo else 0
    except (ValueError, OverflowError):
        return 0
    return stamp if MS_MIN <= stamp < MS_MAX else 0
