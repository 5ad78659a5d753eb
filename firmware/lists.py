"""Reads a list of tickets as a box office exports it, CSV or JSON lines, and puts it into use.

`gatepost import` calls `import_list`. A list is whole: what it does not hold is not in the catalogue
afterwards. If a row is bad nothing changes, unless bad rows are to be left out.

CSV: the first line names the columns, in any order and case; fields are parted by comma, semicolon or tab,
and may be quoted as in RFC 4180. JSON lines: one object a line. Only `code` is needed:

    code         as the reader delivers it, untouched: blanks around it are part of it
    ticket_id    what the vendor calls the ticket; without one, the digest of its code
    event, session, type, sector, gate    names, without the blanks around them
    valid_from, valid_until    both inclusive: a date (all of that day), a date and time, Unix seconds in 10
                               digits, or Unix milliseconds in 12 or more. Without a zone the gate's is
                               meant; an hour that comes twice as the clocks go back is the first of the two
    status       valid, cancelled, refunded, blocked, unsold or used; nothing means valid

Other columns, such as the names of people, are neither kept nor an error.
"""

import csv
import json
import os
import re
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from firmware.catalogue import Build
from firmware.core.ticket import Status, Ticket

COLUMNS = (
    "code",
    "ticket_id",
    "event",
    "session",
    "type",
    "sector",
    "gate",
    "valid_from",
    "valid_until",
    "status",
)
STATUSES = {status.value: status for status in Status} | {
    "": Status.VALID,
    "canceled": Status.CANCELLED,
    "not_sold": Status.UNSOLD,
}
NOT_LISTS = {
    b"PK\x03\x04": "this is a spreadsheet or an archive: save the list as CSV",
    b"\x1f\x8b": "this file is compressed: unpack it first",
    b"\xff\xfe": "this file is UTF-16: save it as UTF-8",
    b"\xfe\xff": "this file is UTF-16: save it as UTF-8",
}

CODE_CHARS_MAX = 512  # as a gate takes from its readers
TEXT_CHARS_MAX = 120  # a ticket id is the key of its history: 511 bytes, and a character takes up to 4
COLUMNS_MAX = 256  # beyond a spreadsheet that a person would make
LINE_BYTES_MAX = 64 << 10  # notes and addresses included
ROW_LINES_MAX = 16  # a quoted address; a quote that never closes must not swallow the list
FILE_BYTES_MAX = 4 << 30  # five million rows of 800 bytes; line numbers fit 32 bits
COPIES_MAX = 100_000  # their lines are kept in memory; beyond, the file is not one list
REFUSALS_SHOWN = 100  # more nobody reads; all are counted
IGNORED_SHOWN = 20  # names of unknown columns
DATES_CACHED = 4096  # a list has few different dates, and reading one takes as long as the rest of the row
PROGRESS_ROWS = 5000  # about twenty calls a second
NICE = 5  # the gate goes first, and a busy machine still imports at a third of its speed

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?) ?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.I,
)
UNIX = re.compile(r"\d{10}|\d{12,15}", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)


class Refusal(NamedTuple):
    """Why a row, or the file from this line on, was not taken. `column` is empty where it is about no one."""

    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        """As a sentence for people."""
        return f"line {self.line}: {self.column + ': ' if self.column else ''}{self.reason}"


class ImportReport(NamedTuple):
    """What came of an import. `rows` and `refused` count rows of the file, the rest are tickets by their id.

    Without `applied` nothing was changed, and the counts of tickets are 0. `refusals` are the first ones by
    line. `fault` is empty, or says what was wrong with the list that was in use before.
    """

    applied: bool
    rows: int
    new: int
    changed: int
    unchanged: int
    removed: int
    refused: int
    refusals: tuple[Refusal, ...]
    ignored_columns: tuple[str, ...]
    fault: str

    def sentences(self) -> list[str]:
        """For a person: refusals by line, then what was ignored, and what came of it last."""
        said = [str(refusal) for refusal in self.refusals]
        if self.refused > len(self.refusals):
            said.append(f"... and {self.refused - len(self.refusals):,} more")
        if self.ignored_columns:
            said.append(f"columns not kept: {', '.join(self.ignored_columns)}")
        if self.fault:
            said.append(self.fault)
        refused = f"{self.refused:,} of {self.rows:,} rows refused"
        if not self.applied:
            return [*said, f"{refused}; nothing was changed"]
        counts = f"{self.new:,} new, {self.changed:,} changed, {self.unchanged:,} unchanged"
        return [*said, f"{counts}, {self.removed:,} removed; {refused}"]


class NotAList(Exception):
    """The file as a whole cannot be taken."""

    def __init__(self, line: int, reason: str) -> None:
        """Where it shows, and why."""
        super().__init__(reason)
        self.refusal = Refusal(line, "", reason)


class BadRow(Exception):
    """One row cannot be taken."""

    def __init__(self, column: str, reason: str) -> None:
        """Which column, and why."""
        super().__init__(reason)
        self.column = column
        self.reason = reason


def import_list(
    path: Path,
    catalogue_folder: Path,
    *,
    timezone: tzinfo,
    skip_bad: bool = False,
    allow_empty: bool = False,
    stamp_utc_ms: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Put the list of a file into use instead of the one before, or say why not.

    Bad rows leave everything as it was, unless `skip_bad`: then they are left out, and of rows that share a
    code or a ticket id the first stays. A list without rows would lock everyone out, so it is refused unless
    `allow_empty`. `stamp_utc_ms` says of when the list is; by default of now. `progress` is told how many
    bytes were read, and of how many; a third of the time comes after that. Raises `CatalogueError` (busy,
    disk full, key) and `OSError`; then nothing has changed either.
    """
    stamp = time.time_ns() // 1_000_000 if stamp_utc_ms is None else stamp_utc_ms
    with path.open("rb") as file, Build(catalogue_folder, source=path.name, stamp_utc_ms=stamp) as build:
        importing = _Import(file, build, Dates(timezone), progress)
        try:
            importing.read()
            importing.find_copies()
            if not importing.kept and not allow_empty and (skip_bad or not importing.refused):
                raise NotAList(1, "no good row: with an empty list nobody would get in")
        except NotAList as error:
            importing.refusals.insert(0, error.refusal)
            return importing.report()
        if importing.refused and not skip_bad:
            return importing.report()
        counts = build.swap()
        return importing.report()._replace(applied=True, **counts._asdict())


def make_way() -> None:
    """Let the gate go first from now on, for a process that does nothing but import."""
    os.nice(NICE)


class _Import:
    """One run: rows of a file into a build, and what is wrong with them."""

    def __init__(
        self, file: BinaryIO, build: Build, dates: "Dates", progress: Callable[[int, int], None] | None
    ) -> None:
        self.refusals: list[Refusal] = []  # the first ones by line
        self.refused = 0
        self.rows = 0
        self._file = file
        self._build = build
        self._dates = dates
        self._progress = progress
        self._rows = Rows(file)

    @property
    def kept(self) -> int:
        """How many rows are good."""
        return self.rows - self.refused

    def read(self) -> None:
        """Take every row. Raises `NotAList`."""
        total_bytes = os.fstat(self._file.fileno()).st_size
        if total_bytes > FILE_BYTES_MAX:
            raise NotAList(1, f"larger than {FILE_BYTES_MAX >> 30} GiB: this is no list of tickets")
        build, dates = self._build, self._dates
        for line, row in self._rows:
            self.rows += 1
            if self._progress is not None and self.rows % PROGRESS_ROWS == 0:
                self._progress(self._file.tell(), total_bytes)
            if isinstance(row, BadRow):
                self._refuse(line, row.column, row.reason)
                continue
            try:
                ticket = ticket_of(row, dates)
            except BadRow as bad:
                self._refuse(line, bad.column, bad.reason)
                continue
            digest = build.digest(row[0])
            build.add(line, digest, ticket if ticket.ticket_id else ticket._replace(ticket_id=digest.hex()))
        if self._progress is not None:
            self._progress(total_bytes, total_bytes)

    def find_copies(self) -> None:
        """Refuse rows that share a code or a ticket id with an earlier one. Raises `NotAList`."""
        lines: set[int] = set()
        for copied in self._build.copies():
            if copied.line in lines:
                continue
            if len(lines) == COPIES_MAX:
                raise NotAList(1, f"more than {COPIES_MAX:,} rows share a code or a ticket_id: not one list")
            lines.add(copied.line)
            self._build.leave_out(copied.line)
            self._refuse(copied.line, copied.column, f"the same as in line {copied.first_line}")

    def report(self) -> ImportReport:
        """What is known so far; nothing applied yet."""
        return ImportReport(
            applied=False,
            rows=self.rows,
            new=0,
            changed=0,
            unchanged=0,
            removed=0,
            refused=self.refused,
            refusals=tuple(self.refusals[:REFUSALS_SHOWN]),
            ignored_columns=tuple(_shown(name) for name in self._rows.ignored),
            fault=self._build.fault,
        )

    def _refuse(self, line: int, column: str, reason: str) -> None:
        self.refused += 1
        insort(self.refusals, Refusal(line, column, reason))
        del self.refusals[REFUSALS_SHOWN:]


# --- rows of a file ----------------------------------------------------------------------------------


class Rows:
    """The rows of a CSV or JSON lines file, each with its line: the texts of `COLUMNS`, or why it is bad.

    Raises `NotAList` where the file as a whole is at fault. `ignored` names unknown columns, when read.
    """

    def __init__(self, file: BinaryIO) -> None:
        """The file must stand at its beginning."""
        self.ignored: list[str] = []
        self._lines = _Lines(file)

    def __iter__(self) -> Iterator[tuple[int, list[str] | tuple[str, ...] | BadRow]]:
        """Every row but empty lines."""
        for line, text in self._lines:
            if isinstance(text, BadRow):
                raise NotAList(line, text.reason)
            begin = text.lstrip()[:1]
            if begin == "[":
                raise NotAList(line, "a JSON array: write one object a line")
            if begin == "{":
                self._lines.push_back([(line, text)])
                return self._json_rows()
            if begin:
                return self._csv_rows(line, text)
        return iter(())

    def _csv_rows(self, header_line: int, header: str) -> Iterator[tuple[int, tuple[str, ...] | BadRow]]:
        if "\r" in header:
            raise NotAList(header_line, "lines end with CR alone: save the list with LF or CRLF")
        if len(header) > LINE_BYTES_MAX // 4 or header.count('"') % 2:
            raise NotAList(header_line, "this is no line of column names")
        delimiter, names = _header(header)
        if len(names) > COLUMNS_MAX:
            raise NotAList(header_line, f"more than {COLUMNS_MAX} columns")
        places = {}
        for place, name in enumerate(names):
            column = name.strip().casefold()
            if column in places:
                raise NotAList(header_line, f"the column {column} is there twice")
            if column in COLUMNS:
                places[column] = place
            elif name.strip():
                self._ignore(name.strip())
        if "code" not in places:
            raise NotAList(header_line, _no_code(names))
        width = len(names)
        pick = itemgetter(*(places.get(column, width) for column in COLUMNS))
        for line, text in self._lines:
            if isinstance(text, BadRow):
                yield line, text
            elif text:
                fields = text.split(delimiter) if '"' not in text else self._quoted(line, text, delimiter)
                if isinstance(fields, BadRow):
                    yield line, fields
                elif len(fields) != width:
                    yield line, BadRow("", f"{len(fields)} fields, and the first line names {width}")
                else:
                    fields.append("")  # what a column that is not there holds
                    yield line, pick(fields)

    def _quoted(self, line: int, text: str, delimiter: str) -> "list[str] | BadRow":
        """The fields of a row with quotes, which may go on in the next lines."""
        taken: list[tuple[int, str | BadRow]] = []

        def lines() -> Iterator[str]:
            yield text + "\n"
            for following in self._lines:
                taken.append(following)
                if isinstance(following[1], BadRow) or len(taken) == ROW_LINES_MAX:
                    return
                yield following[1] + "\n"

        try:
            return next(csv.reader(lines(), delimiter=delimiter, strict=True))
        except csv.Error as error:
            self._lines.push_back(taken)  # one open quote must not take good rows with it
            return BadRow("", f"wrong quotes: {error}")

    def _json_rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        places: dict[str, int] = {column: place for place, column in enumerate(COLUMNS)}
        unknown: set[str] = set()
        for line, text in self._lines:
            if isinstance(text, BadRow):
                yield line, text
            elif text and not text.isspace():
                try:
                    yield line, self._json_row(text, places, unknown)
                except BadRow as bad:
                    yield line, bad

    def _json_row(self, text: str, places: dict[str, int], unknown: set[str]) -> list[str]:
        try:
            row = _decode_json(text)
        except (ValueError, RecursionError) as error:
            raise BadRow("", f"no JSON object: {error}") from error
        if not isinstance(row, tuple):
            raise BadRow("", "no JSON object")
        values = [""] * len(COLUMNS)
        found = set()
        for key, value in row:
            place = places.get(key)
            if place is None:
                if key in unknown:
                    continue
                place = places.get(key.strip().casefold())
                if place is None:
                    if len(unknown) < COLUMNS_MAX:
                        unknown.add(key)
                        self._ignore(key)
                    continue
            column = COLUMNS[place]
            if place in found:
                raise BadRow(column, "is there twice")
            found.add(place)
            if value is not None:
                if type(value) is not str:
                    raise BadRow(column, "neither text nor a whole number")
                values[place] = value
        if "\\u" in text:
            _refuse_halves(values)
        if 0 not in found:
            raise BadRow("code", _no_code([key for key, _ in row]))
        return values

    def _ignore(self, name: str) -> None:
        if len(self.ignored) < IGNORED_SHOWN:
            self.ignored.append(name)


class _Lines:
    """The lines of a file, numbered from 1, without their ends: text, or why it is bad. None is long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._line = 0
        self._again: deque[tuple[int, str | BadRow]] = deque()

    def push_back(self, lines: list[tuple[int, str | BadRow]]) -> None:
        """Deliver them once more."""
        self._again.extendleft(reversed(lines))

    def __iter__(self) -> Iterator[tuple[int, str | BadRow]]:
        """From where the last iteration stood."""
        again, readline = self._again, self._file.readline
        while True:
            if again:
                yield again.popleft()
                continue
            raw = readline(LINE_BYTES_MAX)
            if not raw:
                return
            self._line += 1
            if self._line == 1:
                for magic, reason in NOT_LISTS.items():
                    if raw.startswith(magic):
                        raise NotAList(1, reason)
                raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte-order mark
            if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
                while (rest := readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                    pass
                yield self._line, BadRow("", f"longer than {LINE_BYTES_MAX >> 10} KiB")
                continue
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                yield self._line, BadRow("", f"not UTF-8 at byte {error.start + 1}: save the list as UTF-8")
                continue
            yield self._line, text.removesuffix("\n").removesuffix("\r")


def _header(text: str) -> tuple[str, list[str]]:
    """The delimiter of a file and its column names: the one that shows a `code`, else the most columns."""
    found = []
    for delimiter in ",;\t":
        try:
            names = next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        has_code = any(name.strip().casefold() == "code" for name in names)
        found.append((has_code, len(names), delimiter, names))
    if not found:
        return ",", [text]
    _, _, delimiter, names = max(found, key=itemgetter(0, 1))
    return delimiter, names


def _no_code(names: list[str]) -> str:
    """That a list lacks the one column it needs, and which it may be."""
    shown = ", ".join(_shown(name) for name in names[:IGNORED_SHOWN])
    folded = {name.strip().casefold(): name for name in names}
    nearest = get_close_matches("code", folded, 1, 0.5)
    hint = f"; rename {_shown(folded[nearest[0]])} if that is it" if nearest else ""
    return f"no column code, only: {shown or 'nothing'}{hint}"


def _shown(text: str) -> str:
    """Text of the file as it may be printed."""
    return text[:40] if text.isprintable() else ascii(text[:40])


def _refuse_halves(values: list[str]) -> None:
    """JSON can name half a character (a lone surrogate), which no reader can deliver."""
    for column, value in zip(COLUMNS, values, strict=True):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRow(column, "half a character: \\ud800 to \\udfff come in pairs") from error


# Whole numbers stay as they are written, so that a long one loses no digit. Objects become tuples of pairs:
# a key that is there twice is seen, and nothing else becomes a tuple.
_decode_json: Callable[[str], object] = json.JSONDecoder(parse_int=str, object_pairs_hook=tuple).decode


# --- from texts to a ticket --------------------------------------------------------------------------


def ticket_of(row: list[str] | tuple[str, ...], dates: "Dates") -> Ticket:
    """The ticket of a row; the id stays empty where the row has none. Raises `BadRow`."""
    code = row[0]
    if not code:
        raise BadRow("code", "is empty")
    if len(code) > CODE_CHARS_MAX:
        raise BadRow("code", f"longer than {CODE_CHARS_MAX} characters")
    if "\n" in code or "\r" in code:
        raise BadRow("code", "holds a line end, which no reader delivers")
    ticket_id, event, session, kind, sector, gate, valid_from, valid_until, status = texts = [
        text.strip() for text in row[1:]
    ]
    if max(map(len, texts)) > TEXT_CHARS_MAX or CONTROL.search("".join(texts)):
        for column, text in zip(COLUMNS[1:], texts, strict=True):
            if len(text) > TEXT_CHARS_MAX:
                raise BadRow(column, f"longer than {TEXT_CHARS_MAX} characters")
            if CONTROL.search(text):
                raise BadRow(column, "holds a control character")
    known = STATUSES.get(status) or STATUSES.get(status.casefold())
    if known is None:
        nearest = get_close_matches(status.casefold(), list(Status), 1, 0.5)
        hint = f"; is it {nearest[0]}?" if nearest else ""
        raise BadRow("status", f"{_shown(status)} is none of {', '.join(Status)}{hint}")
    from_ms = dates.first_ms(valid_from) if valid_from else None
    until_ms = dates.last_ms(valid_until) if valid_until else None
    if from_ms is not None and until_ms is not None and from_ms > until_ms:
        raise BadRow("valid_from", "later than valid_until")
    return Ticket(ticket_id, known, event, session, kind, sector, gate, from_ms, until_ms)


class Dates:
    """Reads instants as UTC milliseconds. Dates, and times without a zone, are of the gate's time zone.

    Parts of a millisecond are dropped. Raises `BadRow`.
    """

    def __init__(self, timezone: tzinfo) -> None:
        """The gate's time zone."""
        self._timezone = timezone
        self.first_ms = lru_cache(DATES_CACHED)(self._first_ms)
        self.last_ms = lru_cache(DATES_CACHED)(self._last_ms)

    def _first_ms(self, text: str) -> int:
        """The instant, or the first of a day."""
        return self._instant("valid_from", text)[0]

    def _last_ms(self, text: str) -> int:
        """The instant, or the last of a day."""
        return self._instant("valid_until", text)[1]

    def _instant(self, column: str, text: str) -> tuple[int, int]:
        """The first and the last millisecond that the text means."""
        if UNIX.fullmatch(text):
            unix_ms = int(text) * 1000 if len(text) == 10 else int(text)
            return unix_ms, unix_ms
        parts = INSTANT.fullmatch(text)
        if not parts:
            raise BadRow(column, f"{_shown(text)} is no date such as 2026-08-01 or 2026-08-01T22:00+02:00")
        date, clock, zone = parts.groups()
        try:
            moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}{(zone or '').upper()}")
        except ValueError as error:
            raise BadRow(column, f"{_shown(text)} is no date: {error}") from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._timezone)
        first_ms = (moment - EPOCH) // MS
        if clock:
            return first_ms, first_ms
        if date == "9999-12-31":  # written for "for ever"; no day comes after it
            return first_ms, first_ms + DAY // MS - 1
        return first_ms, (moment + DAY - EPOCH) // MS - 1
