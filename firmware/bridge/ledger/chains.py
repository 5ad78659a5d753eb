"""Where the rows of one gate belong: which continue its chain, which wait, which tell of a second journal.

All rows of a batch are stored first, whatever they turn out to be. Those that follow a row of a known branch
join it; those whose predecessors are missing stay loose until these come. A row that follows a row which
another one follows already is a fork: it gets a branch of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import insert_many, insert_new
from firmware.bridge.ledger.reports import Reports
from firmware.row import chain, name_of

# Of a gate. A fork, a new card or a gap makes one; all of them are looked at for each batch.
TIPS_MAX = 64
# Of a gate: batches that wait for rows in front of them. A gate sends some dozen ahead, cut anew a few times.
LOOSE_MAX = 512
DIGEST_BYTES = 16
DIGEST_CHARACTERS = 8  # of a digest in a report: enough to tell two apart

Key = tuple[int, bytes]
START: Key = (0, b"")


class TooMany(Exception):
    """These rows would begin another branch at a gate that has very many; the text names the mend."""


class Link(NamedTuple):
    """A row in its place in a chain."""

    number: int
    digest: bytes
    body: bytes
    code: str


@dataclass(slots=True)
class Tip:
    """The end of a branch, and where it begins."""

    id: int
    end: Key
    began: Key
    parent: int | None
    moved: bool = False


class Stretch(NamedTuple):
    """A batch of loose rows: after which row, and up to which."""

    after: Key
    upto: Key


class Joined(NamedTuple):
    """A row that has just become part of a branch."""

    branch: int
    link: Link


class Placed(Protocol):
    """What came of a row: where that is, and the ticket that it is about."""

    @property
    def branch(self) -> int:
        """The row's."""

    @property
    def row(self) -> int:
        """Its number, which a row of another journal may have as well."""

    @property
    def subject(self) -> str:
        """As in a movement."""


P = TypeVar("P", bound=Placed)


class Chains:
    """The rows of one gate in one transaction, which holds the lock on the gate."""

    def __init__(
        self, connection: Connection, gate: int, name: str, now_utc_ms: int, reports: Reports
    ) -> None:
        """Without what is in the database: see `chains_of`."""
        self.gate, self.name = gate, name
        self.tips: dict[int, Tip] = {}
        self.loose: set[Stretch] = set()
        self.joined: list[Joined] = []
        self.merged: list[Tip] = []  # branches that began in the middle, until what is before them came
        self.new_rows = 0
        self._connection = connection
        self._now_utc_ms = now_utc_ms
        self._reports = reports
        self.inserts: list[dict[str, object]] = []

    def add(self, batch: wire.Journal) -> wire.Receipt | None:
        """Take a batch that was checked; what may be confirmed to its sender after the commit.

        Raises `TooMany`, and then takes nothing of it.
        """
        after = (batch.after, batch.previous)
        links = _links(batch)
        tip = next((tip for tip in self.tips.values() if tip.end == after), None)
        if not self.tips and not self.loose and after == START:  # a new gate: there is nothing to compare
            tip = self.tips[self._begin(START, None, links[0])]
        first, last = links[0].number, links[-1].number
        anchored = any(first <= other.began[0] <= last for other in self.tips.values())
        if tip is None or self.loose or anchored or not self._is_whole(tip.id, batch.cursor):
            return self._add_anywhere(batch, after, links)
        self._insert(links, tip.id)
        self.joined += [Joined(tip.id, link) for link in links]
        tip.end, tip.moved = (links[-1].number, links[-1].digest), True
        return _receipt(tip.end)

    def is_before(self, branch: int, row: int, later_branch: int) -> bool:
        """Whether the row on the first branch is in front of (the end of) the other branch."""
        tip = self.tips[later_branch]
        while tip.id != branch:
            if tip.parent is None or row > tip.began[0]:
                return False
            tip = self.tips[tip.parent]
        return True

    def meant(self, found: Sequence[P], subject: str, branch: int) -> list[P]:
        """Those that a row of this branch can speak of: in front of it, or the only one before a gap."""
        there = [each for each in found if self.is_before(each.branch, each.row, branch)]
        if there:
            return there
        began_row, _ = self.tips[self.ancestry(branch)[-1]].began
        fitting = [each for each in found if each.row <= began_row and each.subject == subject]
        return fitting if len(fitting) == 1 else []

    def ancestry(self, branch: int) -> list[int]:
        """The branch, the one that it forked off, and so on."""
        found = [branch]
        while (parent := self.tips[found[-1]].parent) is not None:
            found.append(parent)
        return found

    def release(self, stretches: Iterable[Stretch]) -> None:
        """Let loose rows begin a branch of their own: what is in front of them will not come."""
        for stretch in stretches:
            if len(self.tips) >= TIPS_MAX:
                return
            if self._branch_of(stretch.after) is None:
                self._begin_after_gap(stretch.after)
            self._hang_loose({})

    # --- the slow way ----------------------------------------------------------------------------

    def _add_anywhere(self, batch: wire.Journal, after: Key, links: Sequence[Link]) -> wire.Receipt | None:
        self._write_rows()
        known = self._known(links[0].number, links[-1].number)
        new = [link for link in links if (link.number, link.digest) not in known]
        if new:
            self._check_room(after, links, known)
        self._insert(new, None)
        self._write_rows()
        known.update({(link.number, link.digest): None for link in new})
        last = (links[-1].number, links[-1].digest)
        cursor = (batch.cursor, batch.cursor_digest)
        if any(known[link.number, link.digest] is None for link in links):
            parts = self._parts(after, links, known)
            for stretch in parts.keys() - self.loose:
                self._keep_loose(stretch)
            if START not in (after, cursor) and self._branch_of(after) is None is self._branch_of(cursor):
                self._begin_after_gap(min(cursor, after))
            self._hang_loose(parts)
        branch = self._branch_of(last)
        if branch is not None and self._is_whole(branch, batch.cursor):
            # To the tip only where the batch brought something: of an older copy of a journal, every row of
            # which is known already, the sender does not have the rows that followed.
            return _receipt(self.tips[branch].end if new else last)
        branch = self._branch_of(cursor)
        if branch is not None and cursor != START and self._is_whole(branch, batch.cursor):
            return _receipt(self.tips[branch].end)
        return None

    def _check_room(self, after: Key, links: Sequence[Link], known: dict[Key, int | None]) -> None:
        """What follows on a branch is always taken. Raises `TooMany`."""
        if len(self.tips) < TIPS_MAX and len(self.loose) < LOOSE_MAX:
            return
        before = after
        for link in links:
            key = (link.number, link.digest)
            if key not in known:
                break
            before = key
        if len(self.tips) >= TIPS_MAX:
            fits = any(tip.end == before for tip in self.tips.values())
        else:
            fits = before == START or self._branch_of(before) is not None
        if fits:
            return
        text = (
            f"gate {self.name}: its rows go {len(self.tips)} ways, and {len(self.loose)} batches wait for "
            "rows in front of them: what begins yet another way is not taken. See the reports of forks and "
            "gaps, and give the gate a new name"
        )
        self._reports.say("too_many_branches", self.name, text)
        raise TooMany(text)

    def _parts(
        self, after: Key, links: Sequence[Link], known: dict[Key, int | None]
    ) -> dict[Stretch, Sequence[Link]]:
        """The rows in stretches, cut behind each row that others may follow although its own are missing."""
        anchors = {tip.began for tip in self.tips.values()}
        parts: dict[Stretch, Sequence[Link]] = {}
        at, start = after, 0
        for end, link in enumerate(links, 1):
            key = (link.number, link.digest)
            if end == len(links) or key in anchors or known[key] is not None:
                parts[Stretch(at, key)] = links[start:end]
                at, start = key, end
        joined = [part for part in parts if known[part.upto] is not None and len(parts[part]) == 1]
        for part in joined:
            del parts[part]
        return parts

    def _is_whole(self, branch: int, cursor: int) -> bool:
        """Whether all rows of a branch are there, but those that the sender has a receipt for.

        What waited too long for the rows in front of it counts, and yet may not be confirmed: the gate would
        never send those rows again.
        """
        return self.tips[self.ancestry(branch)[-1]].began[0] <= cursor

    def _hang_loose(self, at_hand: dict[Stretch, Sequence[Link]]) -> None:
        """Join every loose stretch whose predecessor is in a branch, until there is none."""
        while ready := self._ready():
            for stretch in ready:
                self._hang(stretch.after, at_hand.get(stretch) or self._read(stretch))
                self._drop_loose(stretch)

    def _ready(self) -> list[Stretch]:
        """The loose stretches whose predecessors are there by now."""
        loose, rows = schema.loose.c, schema.row.c
        joined = select(loose.after, loose.previous).where(
            loose.gate == self.gate,
            rows.gate == loose.gate,
            rows.row == loose.after,
            rows.digest == loose.previous,
            rows.branch.is_not(None),
        )
        there = {START} | {(after, previous) for after, previous in self._connection.execute(joined)}
        there |= {tip.began for tip in self.tips.values()}
        return sorted(stretch for stretch in self.loose if stretch.after in there)

    def _hang(self, at: Key, links: Sequence[Link]) -> None:
        """Let the rows join, one after the other."""
        branches = self._known(links[0].number, links[-1].number)
        changed: list[dict[str, object]] = []
        branch = self._branch_of(at)
        for link in links:
            key = (link.number, link.digest)
            if (there := branches.get(key)) is not None:
                branch = there
            else:
                if branch is None or self.tips[branch].end != at:
                    branch = self._begin(at, branch, link)
                tip = self.tips[branch]
                tip.end, tip.moved = key, True
                self.joined.append(Joined(branch, link))
                changed.append({"at_row": link.number, "at_digest": link.digest, "in_branch": branch})
                for later in [other for other in self.tips.values() if other.began == key]:
                    if later.parent is None:
                        self._write_branches(changed)
                        changed = []
                        self._merge(tip, later)
                        branches = self._known(links[0].number, links[-1].number)
            at = key
        self._write_branches(changed)

    def _begin(self, at: Key, parent: int | None, link: Link) -> int:
        """A branch where another row follows already, or the first one of a journal."""
        first = not self.tips and not self.joined
        digest = link.digest.hex()[:DIGEST_CHARACTERS]
        key = f"{self.name}:{link.number}:{link.digest.hex()}"
        if parent is not None:
            other = self._follower(at, parent)
            there = f"digest {other[1].hex()[:DIGEST_CHARACTERS]}, row {name_of(other[0])}" if other else "?"
            self._reports.say(
                "fork",
                key,
                f"gate {self.name}: two rows follow row {name_of(at[0])}: row {name_of(link.number)} with "
                f"digest {digest}, and before it one with {there}. Two gates use this name, or an old card "
                "or an image of one was put back. Both are kept: give each gate a name of its own, and look "
                "at the reports of double admissions",
                self.name,
            )
        elif not first:
            self._reports.say(
                "new_journal",
                key,
                f"gate {self.name}: a new journal begins with row {name_of(link.number)}, digest {digest}, "
                "under a name that has rows already. A new card, a journal that was set aside, or a second "
                "gate with this name. Both are kept",
                self.name,
            )
        return self._new_tip(at, parent)

    def _begin_after_gap(self, at: Key) -> None:
        digest = at[1].hex()[:DIGEST_CHARACTERS]
        self._reports.say(
            "gap",
            f"{self.name}:{at[0]}:{at[1].hex()}",
            f"gate {self.name}: rows up to {name_of(at[0])} (digest {digest}) are missing here, and were "
            "confirmed once, or did not come for too long: the ledger was put back from an older copy, or "
            "rows were lost. Those after them are kept and count; what still comes goes in front",
            self.name,
        )
        self._new_tip(at, None)
        for stretch in list(self.loose):
            inside = stretch.after[0] < at[0] < stretch.upto[0]
            if inside and any((link.number, link.digest) == at for link in self._read(stretch)):
                self._keep_loose(Stretch(at, stretch.upto))

    def _new_tip(self, at: Key, parent: int | None) -> int:
        line = {
            "gate": self.gate, "row": at[0], "digest": at[1],
            "parent": parent, "began_row": at[0], "began_digest": at[1],
        }  # fmt: skip
        made = self._connection.execute(insert(schema.tip), line).inserted_primary_key
        assert made is not None
        self.tips[made[0]] = Tip(made[0], at, at, parent)
        return int(made[0])

    def _merge(self, tip: Tip, later: Tip) -> None:
        """What was missing in front of a branch has come: the two are one."""
        tip.end, tip.moved = later.end, True
        for table in (schema.row, schema.epoch, schema.admission):
            self._connection.execute(
                update(table)
                .where(table.c.gate == self.gate, table.c.branch == later.id)
                .values(branch=tip.id)
            )
        self._connection.execute(
            update(schema.tip).where(schema.tip.c.parent == later.id).values(parent=tip.id)
        )
        self._connection.execute(delete(schema.tip).where(schema.tip.c.id == later.id))
        del self.tips[later.id]
        for other in self.tips.values():
            if other.parent == later.id:
                other.parent = tip.id
        for other in self.merged:
            if other.id == later.id:
                other.id = tip.id
        self.joined = [
            Joined(tip.id, link) if id == later.id else Joined(id, link) for id, link in self.joined
        ]
        self.merged.append(Tip(tip.id, later.end, later.began, None))

    # --- what is in the database -----------------------------------------------------------------

    def _known(self, first: int, last: int) -> dict[Key, int | None]:
        """The rows that are stored between the two, and the branch of each."""
        columns = schema.row.c
        query = select(columns.row, columns.digest, columns.branch).where(
            columns.gate == self.gate, columns.row >= first, columns.row <= last
        )
        return {(row, digest): branch for row, digest, branch in self._connection.execute(query)}

    def _branch_of(self, key: Key) -> int | None:
        """The branch that the row is in, or that begins behind it; `None` where it is not known or loose."""
        for tip in self.tips.values():
            if key == tip.end and key != START:
                return tip.id
        columns = schema.row.c
        found = self._connection.execute(
            select(columns.branch).where(
                columns.gate == self.gate, columns.row == key[0], columns.digest == key[1]
            )
        ).scalar_one_or_none()
        if found is not None:
            return int(found)
        return next((tip.id for tip in self.tips.values() if tip.began == key and key != START), None)

    def _follower(self, at: Key, branch: int) -> Key | None:
        """The row behind that one in its branch."""
        columns = schema.row.c
        query = select(columns.row, columns.digest).where(
            columns.gate == self.gate, columns.branch == branch, columns.row > at[0]
        )
        found = self._connection.execute(query.order_by(columns.row).limit(1)).one_or_none()
        return None if found is None else (found[0], found[1])

    def _read(self, stretch: Stretch) -> list[Link]:
        """The rows of a stretch, found from its end: rows of a fork lie between them, and fit on as well."""
        columns = schema.row.c
        query = (
            select(columns.row, columns.digest, columns.body, columns.code)
            .where(columns.gate == self.gate, columns.row > stretch.after[0], columns.row <= stretch.upto[0])
            .order_by(columns.row)
        )
        heads, before = [stretch.after[1]], dict[bytes, tuple[bytes, Link]]()
        for line in self._connection.execute(query):
            for head in reversed(heads):  # nearly always the last one
                if chain(head, line.row, line.body) == line.digest:
                    before[line.digest] = (head, Link(line.row, line.digest, line.body, line.code or ""))
                    heads.append(line.digest)
                    break
        found, digest = list[Link](), stretch.upto[1]
        while digest in before:
            digest, link = before[digest]
            found.append(link)
        return found[::-1]

    def _insert(self, links: Sequence[Link], branch: int | None) -> None:
        self.new_rows += len(links)
        self.inserts += [
            {
                "gate": self.gate, "row": link.number, "digest": link.digest, "body": link.body,
                "code": link.code or None, "received_ms": self._now_utc_ms, "branch": branch,
            }
            for link in links
        ]  # fmt: skip

    def _write_rows(self) -> None:
        insert_many(self._connection, schema.row, self.inserts)
        self.inserts = []

    def _write_branches(self, changed: list[dict[str, object]]) -> None:
        columns = schema.row.c
        if changed:
            self._connection.execute(
                update(schema.row)
                .where(
                    columns.gate == self.gate,
                    columns.row == bindparam("at_row"),
                    columns.digest == bindparam("at_digest"),
                )
                .values(branch=bindparam("in_branch")),
                changed,
            )

    def _keep_loose(self, stretch: Stretch) -> None:
        (after, previous), (upto, digest) = stretch
        line = {
            "gate": self.gate, "after": after, "previous": previous, "upto": upto, "digest": digest,
            "received_ms": self._now_utc_ms,
        }  # fmt: skip
        self._connection.execute(insert_new(self._connection, schema.loose), line)
        self.loose.add(stretch)

    def _drop_loose(self, stretch: Stretch) -> None:
        (after, previous), (upto, digest) = stretch
        columns = schema.loose.c
        self._connection.execute(
            delete(schema.loose).where(
                columns.gate == self.gate,
                columns.after == after,
                columns.previous == previous,
                columns.upto == upto,
                columns.digest == digest,
            )
        )
        self.loose.discard(stretch)


def chains_of(
    connection: Connection, gates: Mapping[int, str], now_utc_ms: int, reports: Reports
) -> list[Chains]:
    """The chains of these gates, by id and name. One look for all: most gates send a row or two at a time."""
    found = {id: Chains(connection, id, name, now_utc_ms, reports) for id, name in gates.items()}
    tip, loose = schema.tip.c, schema.loose.c
    tips = select(tip.gate, tip.id, tip.row, tip.digest, tip.began_row, tip.began_digest, tip.parent)
    for gate, id, row, digest, began_row, began_digest, parent in connection.execute(
        tips.where(tip.gate.in_(gates)).order_by(tip.id)
    ):
        found[gate].tips[id] = Tip(id, (row, digest), (began_row, began_digest), parent)
    stretches = select(loose.gate, loose.after, loose.previous, loose.upto, loose.digest)
    for gate, after, previous, upto, digest in connection.execute(stretches.where(loose.gate.in_(gates))):
        found[gate].loose.add(Stretch((after, previous), (upto, digest)))
    return list(found.values())


def write(connection: Connection, gates: Sequence[Chains]) -> None:
    """Write what is still in memory, with one statement for each table."""
    insert_many(connection, schema.row, [line for chains in gates for line in chains.inserts])
    moved = [tip for chains in gates for tip in chains.tips.values() if tip.moved]
    if moved:
        to = {"row": "to_row", "digest": "to_digest", "began_row": "from_row", "began_digest": "from_digest"}
        connection.execute(
            update(schema.tip)
            .where(schema.tip.c.id == bindparam("of"))
            .values({column: bindparam(name) for column, name in to.items()}),
            [dict(zip(("of", *to.values()), (tip.id, *tip.end, *tip.began), strict=True)) for tip in moved],
        )
    grown = [{"of": chains.gate, "more": chains.new_rows} for chains in gates if chains.new_rows]
    if grown:
        rows = schema.gate.c.rows
        connection.execute(
            update(schema.gate)
            .where(schema.gate.c.id == bindparam("of"))
            .values(rows=rows + bindparam("more", type_=rows.type)),
            grown,
        )
    for chains in gates:
        chains.inserts = []
    for tip in moved:
        tip.moved = False


def check(batch: wire.Journal) -> None:
    """Raise `wire.Unfit` where no journal could have sent these rows."""
    for name, number, digest in (
        ("after", batch.after, batch.previous),
        ("cursor", batch.cursor, batch.cursor_digest),
    ):
        if len(digest) != (DIGEST_BYTES if number else 0):
            raise wire.Unfit(f"{name} {name_of(number)} with a digest of {len(digest)} bytes")
    if not batch.rows:
        raise wire.Unfit("a batch without rows")
    last = batch.after
    for sent in batch.rows:
        if sent.row <= last:
            raise wire.Unfit(f"row {name_of(sent.row)} stands behind row {name_of(last)}")
        last = sent.row


def _receipt(end: Key) -> wire.Receipt:
    return wire.Receipt(upto=end[0], digest=end[1])


def _links(batch: wire.Journal) -> list[Link]:
    links, digest = list[Link](), batch.previous
    for number, body, code in ((sent.row, sent.body, sent.code) for sent in batch.rows):
        digest = chain(digest, number, body)
        links.append(Link(number, digest, body, storable(code or "")))
    return links


def storable(text: str) -> str:
    """PostgreSQL has no zero character in a text; no code of a ticket has one either."""
    return text.replace("\0", "\\x00") if "\0" in text else text
