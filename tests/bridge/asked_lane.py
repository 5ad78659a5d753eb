"""A lane whose vendor decides, as the ledger sees it: the real core, and every row that it writes."""

from firmware.core.effects import Record
from firmware.core.events import Answered, Event, Passed, Recorded, Scanned, TimeUp
from firmware.core.lane import step
from firmware.core.movements import fold
from firmware.core.ticket import (
    NO_HISTORY,
    Direction,
    History,
    Moment,
    Policy,
    Route,
    Setup,
    Spend,
    Ticket,
    Verdict,
    WithoutAnswer,
)
from firmware.row import Row, tell_story
from tests.bridge.model_gate import VENDOR_DECIDES, Kept, ModelGate
from tests.core.samples import IN, SETUP, ready

CLOSED = VENDOR_DECIDES
BY_LIST = VENDOR_DECIDES._replace(without_answer=WithoutAnswer.LIST)
OPEN = VENDOR_DECIDES._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)


class AskedLane:
    """One lane of a gate, and what it knows of its one ticket."""

    def __init__(
        self, gate: ModelGate, setup: Setup = SETUP, subject: str = "acme:t1", code: str = "CODE"
    ) -> None:
        self.gate = gate
        self.lane = ready(setup)
        self.subject, self.code = subject, code
        self.history: History = NO_HISTORY
        self.now_ms = 0

    @property
    def moment(self) -> Moment:
        """A second after the last one."""
        self.now_ms = max(self.now_ms, self.gate.at_ms) + 1000
        return self.gate.moment._replace(monotonic_ms=self.now_ms, utc_ms=self.gate.boot_ms + self.now_ms)

    def take(self, event: Event, code: str | None = None) -> list[Kept]:
        """Something happens; the rows that follow, the wanted one safe at once."""
        before = self.lane
        self.lane, effects = step(before, event)
        story = tell_story(before, [event], effects, self.lane)
        kept, wanted = [], 0
        for effect in effects:
            if isinstance(effect, Record):
                row = Row(
                    effect.kind.value, "north", event.moment, effect.scan, effect.verdict, effect.movement,
                    effect.text, story,
                )  # fmt: skip
                kept.append(self.gate.write(row, code))
                wanted = wanted or (kept[-1].number if effect.wanted else 0)
                if effect.movement is not None:
                    self.history = fold(self.history, effect.movement)
        if wanted:
            self.take(Recorded(self.moment, wanted))
        return kept

    def scan(self, route: Route = CLOSED, direction: Direction = IN, spend: Spend = Spend.OPENING) -> int:
        """Somebody shows the ticket; the row of the scan."""
        row = self.gate.next_row
        listed = Ticket(self.subject, event="gala", session="night")
        scanned = Scanned(
            self.moment, row, b"digest", self.subject, direction, route, Policy("gala", spend=spend), listed,
            self.history,
        )  # fmt: skip
        self.take(scanned, self.code)
        return row

    def answer(
        self,
        scan: int,
        verdict: Verdict = Verdict.ADMITTED,
        *,
        doubt: bool = False,
        opened: bool = False,
        direction: Direction = IN,
    ) -> None:
        """The vendor's word, or with `NO_ANSWER` that there is none."""
        self.take(
            Answered(
                self.moment, self.gate.next_row, scan, verdict, "word", self.subject, direction, opened,
                self.history, doubt,
            )
        )  # fmt: skip

    def silence(self) -> None:
        """The lane's patience is over."""
        self.now_ms += 10_000
        self.take(TimeUp(self.moment, self.gate.next_row, self.history))

    def walk(self) -> None:
        """The person walks through, and the lane shows nothing any more."""
        self.take(Passed(self.moment, self.gate.next_row, IN))
        self.silence()
