"""Compares what gates wrote down of their asks with what Presence says that it did.

Presence has no numbers for scans: a scan there is a code, a way, a ring, and a time in milliseconds, which is
the time of the ask in the journal of the gate.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from firmware.bridge.sandbox.history import Change
from firmware.bridge.sandbox.presence import Sandbox
from firmware.core.movements import Act
from firmware.core.ticket import ADMITTING, Direction, Perimeter, Verdict
from firmware.venue_key import digest_of, keyed
from tests.uplinks import rows_of
from tests.whole.books import SETTLING, Ledger, scan_in
from tests.whole.lives import INNER_IN, INNER_OUT

WAYS = {
    (Perimeter.OUTER, Direction.IN): "checkin",
    (Perimeter.OUTER, Direction.OUT): "checkout",
    (Perimeter.INNER, Direction.IN): "inner-in",
    (Perimeter.INNER, Direction.OUT): "inner-out",
}
NOBODY_KNOWS = (None, Verdict.NO_ANSWER, Verdict.CALL_STAFF, Verdict.FREE, Verdict.OUT_OF_ORDER)

# The lane serves another person, or nobody at all: his late yes stands, and he comes again.
NOT_HIS_TURN = (Verdict.BUSY, Verdict.NOT_CONFIGURED)

Scan = tuple[str, str, str, int]  # gate, digest of the code, way, time
Person = tuple[bytes, Direction, str]  # a code, and the lane at which it is held


class Asked(NamedTuple):
    """An ask in a journal. `verdict` is what the lane did in row `decided`; `late` is said afterwards."""

    key: Scan
    gate: str
    row: int
    decided: int = 0
    verdict: Verdict | None = None
    late: Verdict | None = None
    dropped: bool = False  # the lane did not open after all, or nobody walked

    @property
    def accepted(self) -> bool:
        """Whether the vendor said yes, in time or late."""
        return Verdict.ADMITTED in (self.verdict, self.late)

    @property
    def refused(self) -> bool:
        """Whether the vendor said a no that is not perhaps about our own scan."""
        words = [word for word in (self.verdict, self.late) if word not in NOBODY_KNOWS]
        return bool(words) and not any(word.admits for word in words if word)


class Story(NamedTuple):
    """What the journals say: asks, people let in offline with their rows, and how often which verdict."""

    asks: Sequence[Asked]
    offline: Mapping[Scan, int]
    verdicts: Counter[str]


def story_of(journals: Mapping[str, Sequence[Path]]) -> Story:
    """Of all gates."""
    asks: list[Asked] = []
    offline: dict[Scan, int] = {}
    verdicts: Counter[str] = Counter()
    for gate, folders in journals.items():
        for folder in folders:
            found: dict[int, Asked] = {}
            for stored, row in rows_of(folder):
                if row.movement is not None and row.movement.act in (Act.VOIDED, Act.LAPSED):
                    about = [scan for scan, ask in found.items() if ask.decided == row.movement.row]
                    found |= {scan: found[scan]._replace(dropped=True) for scan in about}
                ring = Perimeter.INNER if row.lane in (INNER_IN, INNER_OUT) else Perimeter.OUTER
                scan = scan_in(row)
                if row.kind == "ask":
                    assert scan is not None
                    way = WAYS[ring, scan.direction]
                    key = (gate, scan.digest.hex(), way, row.moment.utc_ms)
                    found[stored.id] = Asked(key, gate, stored.id)
                elif row.kind == "answer" and row.scan in found:
                    found[row.scan] = found[row.scan]._replace(decided=stored.id, verdict=row.verdict)
                    if row.verdict is Verdict.ADMITTED_OFFLINE:
                        offline[found[row.scan].key] = stored.id
                    verdicts[str(row.verdict)] += 1
                elif row.kind == "unsettled" and row.scan in found and not found[row.scan].decided:
                    found[row.scan] = found[row.scan]._replace(decided=stored.id)  # its gate died meanwhile
                elif row.kind == "late" and row.scan in found:
                    found[row.scan] = found[row.scan]._replace(late=row.verdict)
                elif row.kind == "scan":
                    verdicts[str(row.verdict)] += 1
                    if row.verdict is Verdict.ADMITTED_OFFLINE:
                        assert scan is not None
                        way = WAYS[ring, scan.direction]
                        offline[gate, scan.digest.hex(), way, row.moment.utc_ms] = stored.id
            asks += found.values()
    return Story(asks, offline, verdicts)


def moves_of(sandbox: Sandbox, key: bytes, how: str) -> dict[Scan, Change]:
    """What Presence has of our gates, online or uploaded; refusals are none."""
    begun = keyed(key)
    return {
        (
            change.operator.name.partition(" ")[0],
            digest_of(begun, change.code).hex(),
            change.what,
            change.said_ms,
        ): change
        for change in sandbox.history()
        if change.what in WAYS.values() and change.how == how
    }


def compare(story: Story, ledger: Ledger, sandbox: Sandbox, key: bytes) -> None:
    """Raise where the books do not tell the same story, other than where a person is told to look."""
    assert sandbox.violations == []
    moves = moves_of(sandbox, key, "online")
    uncertain = {work.admission for work in ledger.works if work.result == "uncertain"}
    assert len(ledger.texts("uncertain")) == len(uncertain)
    marked = {(gate, row) for (gate, row, _), each in ledger.admissions.items() if each.id in uncertain}
    for ask in story.asks:
        move = moves.pop(ask.key, None)
        if ask.accepted:
            assert move is not None, f"Presence let nobody in: {ask}"
            told = (ask.gate, ask.decided) in marked
            assert told or not ask.dropped, f"Presence let somebody in, nobody walked, nobody is told: {ask}"
        elif ask.refused:
            assert move is None, f"Presence let somebody in: {ask}, {move}"
        elif move is not None:
            assert (ask.gate, ask.decided) in marked, f"Presence let somebody in, nobody is told: {ask}"
    assert not moves, f"nobody asked that: {moves}"
    uploads = moves_of(sandbox, key, "uploaded")
    for scan, row in story.offline.items():
        if uploads.pop(scan, None) is None:
            assert (scan[0], row) in marked, f"let in offline, not uploaded, and nobody is told: {scan}"
    assert not uploads, f"uploaded, and not let in offline: {uploads}"
    assert sandbox.books().twice == 0


def turned_away(journals: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """Whoever had a late yes, came again the same way, and was not let through."""
    for gate, folders in journals.items():
        for folder in folders:
            asked: dict[int, Person] = {}
            credits: dict[Person, int] = {}
            for stored, row in rows_of(folder):
                scan, movement = scan_in(row), row.movement
                if movement is not None and movement.act in SETTLING:  # a walk anywhere uses a credit up
                    credits = {who: late for who, late in credits.items() if who[0].hex() != movement.subject}
                if row.kind == "late" and movement is not None and movement.act is Act.CREDITED:
                    credits[asked[row.scan]] = stored.id
                elif row.kind == "ask" and scan is not None:
                    asked[stored.id] = scan.digest, scan.direction, row.lane
                elif row.kind == "answer" or (row.kind == "scan" and scan is not None):
                    person = (scan.digest, scan.direction, row.lane) if scan else asked[row.scan]
                    late = credits.get(person) if row.verdict not in NOT_HIS_TURN else None
                    if late is not None and row.verdict not in ADMITTING:
                        yield f"gate {gate}, row {stored.id}: {row.verdict}, after a late yes in row {late}"
