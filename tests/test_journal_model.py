"""The journal against a list and a fold: whatever happens to disk and process, it knows what they know."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware.core.movements import Act, Movement, fold, settle_at_start
from firmware.core.ticket import NO_HISTORY, Direction, History, Spend
from firmware.row import Row, decode
from firmware.rows import RowReader
from tests.core.samples import NOON_MS, OUTER, at
from tests.journals import FULL, Disk, News, faults_of, histories_of, open_journal

SUBJECTS = ("t1", "t2", "t3")
LANES = ("north", "south")


class JournalLikeAList(RuleBasedStateMachine):
    """`rows` are all rows in order, `told` says up to which one the journal said that they are safe."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        self.lives = 0
        self.rows: list[tuple[int, Movement | None]] = []
        self.coded: set[int] = set()
        self.confirmed = 0

    @property
    def folder(self) -> Path:
        return self.scratch / str(self.lives) / "journal"

    @initialize()
    def first_start(self) -> None:
        self.start()

    def start(self) -> None:
        self.news, self.disk = News(), Disk()
        past = self.past()
        self.journal = open_journal(self.folder, self.news, self.disk)
        assert self.journal.faults == []
        pending = [settle_at_start(subject, one) for subject, known in past.items() for one in known.pending]
        assert sorted(self.journal.unsettled) == sorted(pending)
        self.told = self.journal.next_row - 1
        first = self.told - len(pending)
        self.rows.append((first, None))
        self.rows += [(first + at, found) for at, found in enumerate(self.journal.unsettled, 1)]
        self.lanes: dict[str, Movement | None] = dict.fromkeys(LANES)

    def past(self) -> dict[str, History]:
        found: dict[str, History] = {}
        for _, movement in self.rows:
            if movement is not None:
                known = found.get(movement.subject, NO_HISTORY)
                found[movement.subject] = fold(known, movement)
        return found

    def submit(self, movement: Movement | None, lane: str) -> None:
        number = self.journal.next_row
        assert self.journal.submit(Row("scan", lane, at(0), 1, movement=movement), None, "CODE")
        self.rows.append((number, movement))
        self.coded.add(number)

    @rule(
        lane=st.sampled_from(LANES),
        subject=st.sampled_from(SUBJECTS),
        direction=st.sampled_from(Direction),
        spend=st.sampled_from(Spend),
    )
    def admit(self, lane: str, subject: str, direction: Direction, spend: Spend) -> None:
        """A lane that serves nobody admits somebody; a lane that does settles that first."""
        opened = self.lanes[lane]
        if opened is not None:
            self.submit(opened._replace(act=Act.SETTLED), lane)
        row = self.journal.next_row
        self.lanes[lane] = Movement(Act.OPENED, subject, row, direction, (OUTER,), NOON_MS, spend)
        self.submit(self.lanes[lane], lane)

    @rule(lane=st.sampled_from(LANES), act=st.sampled_from([Act.PASSED, Act.LAPSED, Act.VOIDED]))
    def end(self, lane: str, act: Act) -> None:
        opened = self.lanes[lane]
        if opened is not None:
            self.submit(opened._replace(act=act), lane)
            self.lanes[lane] = None

    @rule(lane=st.sampled_from(LANES), subject=st.sampled_from(SUBJECTS), act=st.sampled_from(
        [Act.NOTED, Act.CREDITED, Act.UNSURE, Act.SURE]
    ))  # fmt: skip
    def hear(self, lane: str, subject: str, act: Act) -> None:
        movement = Movement(act, subject, 0, Direction.IN, (OUTER,), NOON_MS, until_utc_ms=NOON_MS + 5)
        self.submit(movement, lane)

    @rule(lane=st.sampled_from(LANES))
    def refuse(self, lane: str) -> None:
        self.submit(None, lane)

    @rule()
    def disk_fails(self) -> None:
        self.disk.fault = FULL

    @rule()
    def disk_heals(self) -> None:
        self.disk.fault = None

    @precondition(lambda self: self.disk.fault is None)
    @rule()
    def all_safe(self) -> None:
        if self.told < self.rows[-1][0]:
            self.told = self.news.safe(self.rows[-1][0]).row
            assert self.journal.waiting == 0

    @rule(back=st.integers(0, 5))
    def confirm(self, back: int) -> None:
        self.confirmed = max(self.confirmed, self.told - back)
        self.journal.confirm(self.told - back)

    @rule()
    def stop(self) -> None:
        """A tidy stop; on a disk that refuses, what waits is lost, and nobody was told otherwise."""
        self.hear_all()
        self.close()
        self.hear_all()
        self.rows = self.stored()
        self.start()

    @rule()
    def kill(self) -> None:
        """The files as they are now, with nothing closed."""
        self.disk.fault = FULL
        self.disk.forget()
        self.journal.note(Row("fault", "", at(0)))
        self.disk.until_refused()  # a commit that was under way has come to its end: a copy takes its time
        self.hear_all()
        before = self.folder.parent
        self.lives += 1
        shutil.copytree(before, self.folder.parent)
        self.close()
        self.rows = self.stored()
        self.start()

    def close(self) -> None:
        self.disk.hopeless = True
        self.journal.close()

    def hear_all(self) -> None:
        while self.news.queue.qsize():
            said = self.news.queue.get()
            if said.safe and said.row:
                self.told = said.row

    def stored(self) -> list[tuple[int, Movement | None]]:
        """The rows in the file: a prefix of all, with every row that was told safe."""
        with RowReader(self.folder) as reader:
            found = [(stored.id, decode(stored.body).movement) for stored in reader.all()]
            codes = {stored.id for stored in reader.all() if stored.code is not None}
            coded = {row for row, _ in found if row in self.coded}
        assert found == self.rows[: len(found)]
        assert found[-1][0] >= self.told
        assert {row for row in coded if row > self.confirmed} <= codes, "a code goes after its receipt only"
        assert histories_of(self.folder) == self.folded(found)
        assert faults_of(self.folder) == []
        return found

    @staticmethod
    def folded(rows: list[tuple[int, Movement | None]]) -> dict[str, History]:
        found: dict[str, History] = {}
        for _, movement in rows:
            if movement is not None:
                found[movement.subject] = fold(found.get(movement.subject, NO_HISTORY), movement)
        return found

    @invariant()
    def knows_every_history_at_once(self) -> None:
        if self.rows:
            past = self.past()
            for subject in SUBJECTS:
                assert self.journal.history(subject) == past.get(subject, NO_HISTORY)

    def teardown(self) -> None:
        if self.rows:
            self.disk.fault = None
            self.journal.close()
            self.hear_all()
            assert self.stored() == self.rows
        shutil.rmtree(self.scratch)


TestJournalLikeAList = JournalLikeAList.TestCase
TestJournalLikeAList.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=30)
