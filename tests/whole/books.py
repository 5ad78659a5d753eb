"""Compares what everybody wrote down: the gates' journals, the bridge's ledger, the vendors' histories."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import NullPool, create_engine, make_url

from firmware.bridge.ledger.facts import ABOUT_A_CODE
from firmware.bridge.sandbox import bam, ingresse, presence, vivenu
from firmware.bridge.sandbox.history import Change
from firmware.core.events import Scanned
from firmware.core.movements import Act
from firmware.row import Row, event_of, name_of
from firmware.rows import Damaged, RowReader, Stored
from tests.uplinks import rows_of

Sandbox = ingresse.Sandbox | vivenu.Sandbox | presence.Sandbox | bam.Sandbox
Key = tuple[str, int, bytes]  # gate, row, digest; of a vendor's movement its number, and no digest

SETTLING = {
    Act.PASSED: "settled",
    Act.SETTLED: "settled",
    Act.LAPSED: "dropped",
    Act.VOIDED: "dropped",
}
REFUSED = "refused"
CHANGES = {"in": "checkin", "out": "checkout"}


class Admission(NamedTuple):
    """As the ledger has it."""

    id: int
    account: str
    subject: str
    direction: str
    state: str
    utc_ms: int


class Work(NamedTuple):
    """What a vendor is told of."""

    id: int
    admission: int
    account: str
    subject: str
    direction: str
    at_utc_ms: int
    state: str
    result: str
    verdict: str
    text: str
    told: bool
    refused: bool
    """A ticket that a gate did not let through, of which some vendors are told."""


class Listed(NamedTuple):
    """A ticket in the feed."""

    number: int
    digest: bytes
    code: str
    status: str
    event: str
    session: str
    inside: bool
    gone: bool


class Moved(NamedTuple):
    """A movement in the feed; `gate` is empty for a vendor's."""

    number: int
    gate: str
    row: int
    digest: bytes
    subject: str
    direction: str


class Ledger(NamedTuple):
    """All that stands in it, but for the bodies of rows."""

    feed: str
    newest: int
    """The highest number that gates hear of from the feed."""
    loose: int
    admissions: Mapping[Key, Admission]
    works: Sequence[Work]
    reports: Sequence[tuple[str, str]]
    tickets: Mapping[str, Listed]
    movements: Sequence[Moved]

    def texts(self, kind: str) -> list[str]:
        """Of the reports of a kind."""
        return [text for found, text in self.reports if found == kind]

    def results(self) -> Counter[str]:
        """How often vendors said what of those who walked."""
        return Counter(work.result or work.state for work in self.works if not work.refused)

    def movements_elsewhere(self, gate: str, data: Path) -> set[Key]:
        """What this gate must have noted: all that its own journal did not do."""
        there = [move for move in self.movements if move.gate == gate]
        own = {(stored.id, stored.digest) for stored, _ in rows_of(data)} if there else set()
        return {
            (move.gate, move.row, move.digest) if move.gate else ("", move.number, b"")
            for move in self.movements
            if move.gate != gate or (move.row, move.digest) not in own
        }


def look(path: Path) -> closing[sqlite3.Connection]:
    """Read a database that others write."""
    return closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30))


def is_made(data: Path) -> bool:
    """Whether a card has a journal: a gate that dies in its first moments leaves none, or an empty one."""
    if not (data / "journal" / "journal.db").exists():
        return False
    try:
        with RowReader(data / "journal"):
            return True
    except Damaged as error:
        if "no such table" in str(error):
            return False
        raise


def noted_in(data: Path) -> Iterator[Key]:
    """What a gate has noted, as often as it stands there. Two cards of a gate have rows of one number."""
    with look(data / "journal" / "journal.db") as journal:
        for gate, row, digest in journal.execute('SELECT gate, "row", digest FROM noted').fetchall():
            yield gate, row, digest if gate else b""


@contextmanager
def look_at_ledger(url: str) -> Iterator[Callable[[str], list[Any]]]:
    """All of a ledger at one moment, while bridges write to it: what a query finds."""
    is_postgresql = make_url(url).get_backend_name() == "postgresql"
    engine = create_engine(
        url, poolclass=NullPool, isolation_level="REPEATABLE READ" if is_postgresql else "AUTOCOMMIT"
    )
    with engine.connect() as connection:
        if not is_postgresql:  # Python's module for it begins none before a query
            connection.exec_driver_sql("BEGIN")
        yield lambda query: [tuple(line) for line in connection.exec_driver_sql(query)]


def read_ledger(url: str) -> Ledger:
    """Everything at one moment."""
    with look_at_ledger(url) as rows:
        state = dict(rows("SELECT name, value FROM state"))
        moved = rows(
            "SELECT number, coalesce(gate.name, ''), movement.row, digest, subject, direction "
            "FROM movement LEFT JOIN gate ON gate.id = movement.gate ORDER BY number"
        )
        tickets = {
            name: Listed(*listed)
            for name, *listed in rows(
                "SELECT ticket_id, number, digest, code, status, event, session, inside, gone FROM ticket"
            )
        }
        movements = [Moved(*found) for found in moved]
        numbers = [ticket.number for ticket in tickets.values()]
        return Ledger(
            feed=state.get("feed", ""),
            newest=max([*numbers, *(move.number for move in movements if not move.gate)], default=0),
            loose=len(rows("SELECT 1 FROM loose")),
            admissions={
                (gate, row, digest): Admission(*found)
                for gate, row, digest, *found in rows(
                    "SELECT gate.name, row, digest, admission.id, account, subject, direction, state, utc_ms "
                    "FROM admission JOIN gate ON gate.id = admission.gate"
                )
            },
            works=[
                Work(*found)
                for found in rows(
                    "SELECT work.id, admission, work.account, work.subject, direction, at_utc_ms, work.state,"
                    " result, work.verdict, text, told, admission.state = 'refused' "
                    "FROM work JOIN admission ON admission.id = work.admission ORDER BY work.id"
                )
            ],
            reports=rows("SELECT kind, text FROM report ORDER BY id"),
            tickets=tickets,
            movements=movements,
        )


def audit(
    url: str,
    journals: Mapping[str, Sequence[Path]],
    sandboxes: Mapping[str, Sandbox],
    uncertain: int,
    ends: Mapping[Path, int],
) -> Ledger:
    """Raise where the books do not agree. The ledger is read first: nobody may invent a row.

    `ends` are the last rows that it must have, for journals that may have more.
    """
    with look_at_ledger(url) as rows:
        stored = rows('SELECT gate.name, "row", digest, body FROM journal_row JOIN gate ON gate.id = gate')
        counted = dict(rows("SELECT name, rows FROM gate"))
    ledger = read_ledger(url)
    compare_rows(stored, counted, journals, ends)
    _compare_admissions(ledger, journals)
    hear = {account for account, sandbox in sandboxes.items() if isinstance(sandbox, vivenu.Sandbox)}
    _compare_refusals(ledger, journals, hear, ends)
    for account, sandbox in sandboxes.items():
        if not isinstance(sandbox, bam.Sandbox):  # a chain has its own books
            _compare_vendor(ledger, account, sandbox)
    doubtful = [work for work in ledger.works if work.result == "uncertain"]
    assert len(ledger.texts("uncertain")) == len(doubtful)
    assert len(doubtful) <= uncertain, doubtful
    return ledger


def compare_rows(
    stored: Sequence[tuple[str, int, bytes, bytes]],
    counted: Mapping[str, int],
    journals: Mapping[str, Sequence[Path]],
    ends: Mapping[Path, int],
) -> None:
    """Every row of every journal is in the ledger once, as it was written, and there is no other."""
    kept = {(gate, row, digest): body for gate, row, digest, body in stored}
    assert len(kept) == len(stored), "a row is there twice"
    written = {
        (gate, row.id, row.digest): row.body
        for gate, folders in journals.items()
        for folder in folders
        for row, _ in rows_of(folder)
    }
    for gate, row, digest in kept.keys() - written.keys():
        raise AssertionError(f"row {name_of(row)} {digest.hex()} of gate {gate} was never written")
    lost = written.keys() - kept.keys()
    waiting = {
        (gate, row.id, row.digest)
        for gate, folders in journals.items()
        for folder in folders
        for row in after(ends, folder)
    }
    assert not lost - waiting, _lost(lost - waiting, journals)
    assert all(kept[key] == written[key] for key in kept)
    assert counted == Counter(gate for gate, _, _ in kept)


def after(ends: Mapping[Path, int], folder: Path) -> list[Stored]:
    """The rows of a journal that the ledger need not have."""
    if folder not in ends:
        return []
    with RowReader(folder / "journal") as reader:
        return [row for row in reader.all() if row.id > ends[folder]]


def receipt_of(folder: Path) -> int:
    """The row up to which a journal was confirmed."""
    with RowReader(folder / "journal") as reader:
        return reader.receipt()


def _lost(lost: Set[Key], journals: Mapping[str, Sequence[Path]]) -> str:
    """Where they are, and what was confirmed there."""
    found = [f"{len(lost)} rows are lost:"]
    for gate, folders in journals.items():
        for folder in folders:
            with RowReader(folder / "journal") as reader:
                rows = [row for row in reader.all() if (gate, row.id, row.digest) in lost]
                if rows:
                    first, last = name_of(rows[0].id), name_of(rows[-1].id)
                    upto, end = name_of(reader.receipt()), name_of(reader.last_id())
                    found.append(f"{first} to {last} of {folder.name}, confirmed to {upto}, ends at {end}")
    return "\n  ".join(found)


def admissions_of(folder: Path) -> dict[tuple[int, bytes], tuple[str, str, str]]:
    """What a journal says of its own admissions: subject, direction, state."""
    found: dict[tuple[int, bytes], tuple[str, str, str]] = {}
    open_rows: dict[int, tuple[int, bytes]] = {}
    for stored, row in rows_of(folder):
        movement = row.movement
        if movement is None or movement.row <= 0:
            continue
        if movement.act is Act.OPENED:
            open_rows[stored.id] = (stored.id, stored.digest)
            found[stored.id, stored.digest] = (movement.subject, movement.direction.value, "open")
        elif movement.act in SETTLING and movement.row in open_rows:
            key = open_rows.pop(movement.row)
            found[key] = (*found[key][:2], SETTLING[movement.act])
    return found


def _compare_admissions(ledger: Ledger, journals: Mapping[str, Sequence[Path]]) -> None:
    """The ledger has the admissions of the journals; of each that was settled, one vendor is told once."""
    expected: dict[Key, tuple[str, str, str]] = {}
    for gate, folders in journals.items():
        for folder in folders:
            for (row, digest), found in admissions_of(folder).items():
                if expected.get((gate, row, digest), found)[2] != "settled" or found[2] == "settled":
                    expected[gate, row, digest] = found
    known = {
        key: (found.subject, found.direction, found.state)
        for key, found in ledger.admissions.items()
        if found.state != REFUSED
    }
    assert known == expected
    told = Counter(work.admission for work in ledger.works)
    for key, admission in ledger.admissions.items():
        times = 1 if admission.state in ("settled", REFUSED) and admission.account else 0
        assert told.pop(admission.id, 0) == times, (key, admission)
        front, listed, _ = admission.subject.partition(":")
        assert admission.account == front or (admission.state == REFUSED and not listed), admission
    assert not told, "work without an admission"


def _compare_refusals(
    ledger: Ledger, journals: Mapping[str, Sequence[Path]], hear: Set[str], ends: Mapping[Path, int]
) -> None:
    """Vendors that hear of refused scans hear of each ticket's, once; others of none. Of codes they may."""
    known = {key: found.subject for key, found in ledger.admissions.items() if found.state == REFUSED}
    written: dict[Key, str] = {}
    unlisted: dict[Key, str] = {}
    waiting: set[Key] = set()
    for gate, folders in journals.items():
        for folder in folders:
            waiting |= {(gate, row.id, row.digest) for row in after(ends, folder)}
            for stored, row in rows_of(folder):
                scan = scan_in(row) if row.kind == "scan" and row.verdict in ABOUT_A_CODE else None
                if scan and not scan.ticket:
                    unlisted[gate, stored.id, stored.digest] = scan.subject
                elif scan and scan.subject.partition(":")[0] in hear:
                    written[gate, stored.id, stored.digest] = scan.subject
    missing = {key: name for key, name in written.items() if key not in known and key not in waiting}
    assert not missing, f"not derived: {missing}"
    assert known.items() <= {**written, **unlisted}.items(), "made up"


def scan_in(row: Row) -> Scanned | None:
    """The scan that a row tells of: the last event of its story."""
    for named in reversed(row.story.events) if row.story else ():
        event = event_of(named)
        if isinstance(event, Scanned):
            return event
    return None


def _compare_vendor(
    ledger: Ledger, account: str, sandbox: ingresse.Sandbox | vivenu.Sandbox | presence.Sandbox
) -> None:
    """Each movement is at the vendor once, or marked; nothing is there that did not happen, nor astray."""
    assert sandbox.violations == []
    scans = [work for work in ledger.works if work.account == account and work.refused]
    refused = [work for work in scans if ":" in work.subject]
    # Of a code that the gate did not know the vendor keeps what it knows: only the time tells.
    unlisted_ms = {work.at_utc_ms for work in scans if ":" not in work.subject}
    keys = {(work.subject.partition(":")[2], work.at_utc_ms): work for work in refused}
    # One ticket refused at two gates in one millisecond is told twice, and looks as if one scan was.
    apart = len(keys) + len(unlisted_ms - {ms for _, ms in keys})
    assert sandbox.books().twice <= len(scans) - apart, f"told twice: {sandbox.books()}"
    assert not isinstance(sandbox, presence.Sandbox), "asked, and not told: its own books"
    ours: dict[tuple[str, str, int], list[Change]] = {}
    for change in sandbox.history():
        if change.what in CHANGES.values() and change.operator.id == sandbox.operator.id:
            ours.setdefault((change.ticket_id, change.what, change.said_ms), []).append(change)
    told: dict[tuple[str, str, int], list[Work]] = {}
    for work in ledger.works:
        if work.account == account and not work.refused:
            ticket = work.subject.partition(":")[2]
            # Two gates in one millisecond are one movement: nobody can tell them apart at the vendor.
            told.setdefault((ticket, CHANGES[work.direction], work.at_utc_ms), []).append(work)
    order: dict[str, int] = {}
    for key, works in told.items():
        changes, results = ours.pop(key, []), {work.result for work in works}
        least = int("accepted" in results)
        most = int(bool(results & {"accepted", "uncertain"}))
        assert least <= len(changes) <= most, _contradiction(ledger, works[0], sandbox)
        for change in changes:
            assert change.number > order.get(key[0], 0), (
                f"overtaken: {_contradiction(ledger, works[0], sandbox)}"
            )
            order[key[0]] = change.number
    assert not ours, f"nobody moved so: {ours}"
    denied = {(change.ticket_id, change.said_ms) for change in sandbox.history() if change.what == "denied"}
    for scan, work in keys.items():
        assert scan in denied or work.result != "accepted", _contradiction(ledger, work, sandbox)
    strange = {scan for scan in denied - keys.keys() if scan[1] not in unlisted_ms}
    assert not strange, f"nobody was refused so: {strange}"


def _contradiction(ledger: Ledger, work: Work, sandbox: Sandbox) -> str:
    """All that both sides know of a ticket."""
    told = [str(each) for each in ledger.works if each.subject == work.subject]
    history = map(str, sandbox.history(work.subject.partition(":")[2]))
    return "\n  ".join((f"{work} is not so at the vendor; told:", *told, "the vendor:", *history))
