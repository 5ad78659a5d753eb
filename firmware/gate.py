"""The loop: one thread owns the lanes, takes what happened, asks the core, and applies what it says.

It waits for nothing but news: the journal's thread writes, readers and sensors have threads of their own.
One turn: gather facts, `step`, hand rows to the journal, apply the other effects in order. The alarm
contact frees the lanes from its own thread before the loop even hears of it, because a loop may stall on a
page of a hung disk, and the alarm may not.
"""

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Literal

from firmware.aftermath import NOTHING_LEFT, Left
from firmware.asks import Asked, Asks, Link, Question
from firmware.catalogue import CatalogueDamaged
from firmware.core.effects import Ask, Effect, Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import (
    Alarm,
    Answered,
    Cause,
    Event,
    Order,
    Ordered,
    Passed,
    Recorded,
    RecordFailed,
    Scanned,
    TimeUp,
)
from firmware.core.lane import begin, step, wake_at
from firmware.core.states import Asking, Free, Lane, Open, Ready, Shut
from firmware.core.ticket import Direction, Moment, Setup, Verdict
from firmware.facts import Clock, Facts
from firmware.inbox import Inbox
from firmware.journal import Journal, Story, Told
from firmware.row import Row
from firmware.shots import Shot, Shots
from firmware.signals import light_and_sound
from firmware.watchdog import Watchdog
from hal.ports import Code, Contact, LaneParts, Read, Way

LATE_TURN_MS = 20  # a person notices 100 ms; news that wait a fifth of that are worth counting
STUCK_MS = 500  # a lane is called within a turn of its time, and a turn takes milliseconds
SPARE_MS = 500  # the loop ends a verdict's light itself; the lamp does so where the loop is later than this
SECOND_MS = 1000  # the clock's state and the catalogue are looked at this often
NEVER_MS = sys.maxsize  # when a lane wants to be woken that waits for nothing
HOUSING = "housing"  # the part whose fault is that somebody opened it
DRIVEN = ("turnstile", "lamp", "buzzer")
EVENTS_MAX = 64  # that a lane may collect before they are written, with a row of their own


Turn = Callable[[], None]


class _Place:
    """One lane with its parts, and what it did since its last row."""

    def __init__(self, setup: Setup, parts: LaneParts) -> None:
        self.parts = parts
        self.lane, self.first_effects = begin(setup)
        self.before = self.lane
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.unlocked_ns = 0
        self.readers = tuple(f"reader {setup.name}/{number}" for number, _ in enumerate(parts.readers, 1))
        self.lost_rows = 0  # since the journal last had room
        self.broken: dict[str, str] = {}  # at most turnstile, lamp, buzzer and link


class Gate:
    """A gate at work. `run` is the loop; every other public method may be called from any thread."""

    def __init__(
        self,
        lanes: Iterable[tuple[Setup, LaneParts]],
        alarm: Contact | None,
        facts: Facts,
        journal: Journal,
        clock: Clock,
        seconds: Callable[[], None] = lambda: None,
        stale: Callable[[Moment], bool] = lambda _: False,
        reader_lost_shuts: bool = False,
        link: Link | None = None,
        watch: Callable[[Shot], None] | None = None,
        changed: Callable[[str], None] | None = None,
        ticks_ns: Callable[[], int] = time.perf_counter_ns,
        tamper: Contact | None = None,
        watchdog: Watchdog | None = None,
        unacknowledged: Collection[str] = (),
        left: Left = NOTHING_LEFT,
    ) -> None:
        """The loop calls `seconds` about once a second, between two turns; `watch` for every finished scan.

        It calls `changed` with the name of a lane after each event that did something to it. `unacknowledged`
        names lanes on which an alarm of an earlier process still has to be acknowledged, and `left` is what
        became of its asks.
        """
        self._places: Mapping[str, _Place] = {setup.name: _Place(setup, parts) for setup, parts in lanes}
        self._alarm, self._tamper = alarm, tamper
        self._watchdog = watchdog or Watchdog({})
        self._unacknowledged = unacknowledged
        self.facts = facts
        self._journal = journal
        self.clock = clock
        self._seconds = seconds
        self._stale = stale
        self._reader_lost_shuts = reader_lost_shuts
        self._link = link
        self._shots = Shots(watch, ticks_ns)
        self._changed = changed
        self._ticks_ns = ticks_ns
        self._inbox: Inbox[Turn] = Inbox(ticks_ns)
        self._edges = threading.Lock()  # turnstiles are driven by the loop and by the alarm's thread
        self._alarmed = self._alarm_untold = False
        self._stopping = False
        self._next_second_ms = 0
        self._left = left
        self._asks = Asks(left.asked)
        self._answers_to_no_ask = 0
        self._said: dict[str, tuple[str, str | None]] = {}  # by part: its lane, and its last word on itself
        self.part_faults: dict[str, str] = {}
        """What parts said is wrong with them and still is, by the part: "reader left/1", "housing"."""
        self.turns = 0
        self.late_turns = 0
        self.slowest_turn_ms = 0.0
        self._dropped = 0
        self.lost_rows = 0
        self.part_failures = 0

    # --- from other threads --------------------------------------------------------------------

    def told(self, news: Told) -> None:
        """The journal's word on a row."""
        self._inbox.put_always(partial(self._on_told, news))

    def order(self, lane: str, order: Order, by: str, direction: Direction = Direction.IN) -> bool:
        """An order that was checked at the door, for one lane or, with "", for all.

        False where the loop is too far behind to take it. Raises KeyError where there is no such lane.
        """
        lanes = [self._places[lane].lane.setup.name] if lane else list(self._places)
        return self._inbox.put(partial(self.obey, lanes, order, Cause.OPERATOR, direction, by))

    def acknowledge(self, by: str) -> bool:
        """The alarm is over, and somebody has looked: lanes that it left free may lock.

        Takes no lock, so a signal handler may call it. False where too many urgent news wait.
        """
        return self._inbox.put_first(partial(self._on_acknowledged, by))

    def answer(
        self, scan: int, verdict: Verdict, text: str, doubt: bool = False, digest: bytes = b"",
        unreached: bool = False,
    ) -> bool:  # fmt: skip
        """The vendor's word on an ask; `Answered` and `Asked` say what the others are.

        False where the loop is too far behind to take it.
        """
        return self._inbox.put(partial(self._on_answer, scan, verdict, text, doubt, digest, unreached))

    def scan(self, lane: str, read: Read, way: Way | None) -> bool:
        """What a reader delivered. False where the loop is too far behind; KeyError without such a lane."""
        return self._inbox.put(partial(self._on_read, self._places[lane], read, way, self._ticks_ns()))

    def do(self, work: Turn) -> None:
        """Have the loop do this between two turns. It must be short; whoever hands it in bounds how much."""
        self._inbox.put_always(work)

    def stop(self) -> None:
        """End the loop after the present turn."""
        self._stopping = True
        self._inbox.put_first(lambda: None)

    def at_rest(self, lane: str) -> bool:
        """Whether the lane serves nobody at the moment."""
        return isinstance(self._places[lane].lane.state, Ready | Free | Shut)

    def lane(self, name: str) -> Lane:
        """The lane as it is at the moment."""
        return self._places[name].lane

    @property
    def broken(self) -> dict[str, str]:
        """What failed when it was driven last, and why, by the part: "turnstile left", "lamp left"."""
        places = self._places.items()
        return {f"{part} {name}": why for name, place in places for part, why in dict(place.broken).items()}

    def parts(self) -> dict[str, str]:
        """Every part of every lane, and what is wrong with it; "" where it works."""
        wrong = {**self.part_faults, **self.broken}
        names = []
        for name, place in self._places.items():
            sensor = () if place.parts.sensor is None else (f"sensor {name}",)
            names += [*place.readers, *sensor, *(f"{part} {name}" for part in DRIVEN)]
        return {part: wrong.get(part, "") for part in names}

    @property
    def waiting(self) -> int:
        """News that the loop has not taken yet."""
        return len(self._inbox)

    @property
    def dropped(self) -> int:
        """News from outside, scans above all, that found the loop too far behind."""
        return self._inbox.dropped

    def _on_alarm_contact(self, active: bool) -> None:
        """In the contact's own thread: free the lanes now, do the paperwork after."""
        with self._edges:
            self._alarmed = active
            for place in self._places.values() if active else ():
                with suppress(Exception):  # the loop does it again, and names the fault
                    place.parts.turnstile.unlock("both")
            self._alarm_untold = not self._inbox.put_first(partial(self._on_alarm, active))

    def _on_passage(self, place: _Place, way: Way | None) -> None:
        self._inbox.put(partial(self._on_passed, place, way))

    def _on_tamper_contact(self, opened: bool) -> None:
        self._on_part_state("", HOUSING, "opened" if opened else None)

    def _on_part_state(self, lane: str, part: str, fault: str | None) -> None:
        """In the part's own thread. Only its last word counts, so a part that flaps fills nothing."""
        self._said[part] = lane, fault
        self._inbox.put(self._on_parts)

    # --- the loop ------------------------------------------------------------------------------

    def start(self) -> None:
        """Lock every lane, light it, and listen to its parts."""
        if self._alarm is not None:  # first of all: lanes that it has freed are not locked
            self._alarm.start(self._on_alarm_contact)
        for name, place in self._places.items():
            self._apply(place, place.first_effects)
            if place.parts.sensor is not None:
                state = partial(self._on_part_state, name, f"sensor {name}")
                place.parts.sensor.start(partial(self._on_passage, place), state)
        if self._tamper is not None:
            self._tamper.start(self._on_tamper_contact)
        if self._unacknowledged:
            self._inbox.put_first(self._on_unacknowledged)
        moment = self.clock.now()
        for doubt in self._left.doubts:
            self._journal.note(doubt.row(moment))
        for name, place in self._places.items():
            for part, (reader, way) in zip(place.readers, place.parts.readers, strict=True):
                reader.start(partial(self._deliver, name, way), partial(self._on_part_state, name, part))

    def _deliver(self, lane: str, way: Way | None, read: Read) -> None:
        self.scan(lane, read, way)

    def run(self) -> None:
        """Take turns until `stop`, then lock the lanes that nothing keeps free.

        A fault of a part is named and lived with. Any other exception ends the loop, lanes locked, and comes
        out of here.
        """
        every_s = self._watchdog.every_s
        longest_ms = SECOND_MS if every_s is None else min(SECOND_MS, int(every_s * 1000))
        try:
            while not self._stopping:
                self.turn(longest_ms)
                self._watchdog.feed(self._alive)
        finally:
            for place in self._places.values():
                if not isinstance(place.lane.state, Free):
                    self._lock(place)
        for place in self._places.values():
            if place.events:
                self._write(place, Row("trail", place.lane.setup.name, self.clock.now()), "")

    def turn(self, longest_ms: int) -> bool:
        """One turn: what is due, or what happened next. False when nothing came within `longest_ms`."""
        moment = self.clock.now()
        if moment.monotonic_ms >= self._next_second_ms:
            self._next_second_ms = moment.monotonic_ms + SECOND_MS
            self._measured(self._on_second, self._ticks_ns())
        place, wake_ms = self._next()
        if place is not None and wake_ms <= moment.monotonic_ms:
            late_ms = moment.monotonic_ms - wake_ms
            self._measured(partial(self._on_time, place), self._ticks_ns() - late_ms * 1_000_000)
            return True
        wait_ms = min(longest_ms, min(wake_ms, self._next_second_ms) - moment.monotonic_ms)
        taken = self._inbox.take(max(0, wait_ms) / 1000)
        if taken is None:
            return False
        self._measured(taken.news, taken.arrived_ns)
        return True

    def _alive(self) -> bool:
        """Whether the lanes are served: turns are made, and none waits for its time since long.

        A broken part is no reason to start the gate anew: it has a name by now, and the next start would
        find it broken as well.
        """
        _, wake_ms = self._next()
        return self.clock.now().monotonic_ms - STUCK_MS < wake_ms

    def _measured(self, work: Turn, arrived_ns: int) -> None:
        """A turn takes as long as somebody waits for it: from the news' arrival to the end of its effects."""
        work()
        took_ms = (self._ticks_ns() - arrived_ns) / 1_000_000
        self.turns += 1
        self.slowest_turn_ms = max(self.slowest_turn_ms, took_ms)
        if took_ms > LATE_TURN_MS:
            self.late_turns += 1

    def _next(self) -> tuple[_Place | None, int]:
        """The lane that wants to be woken first, and when (monotonic milliseconds)."""
        first, first_ms = None, NEVER_MS
        for place in self._places.values():
            wake_ms = wake_at(place.lane)
            if wake_ms is not None and wake_ms < first_ms:
                first, first_ms = place, wake_ms
        return first, first_ms

    def _on_second(self) -> None:
        if changed := self.clock.look():
            self._journal.note(Row("clock", "", self.clock.now(), text=changed))
        if self._alarm_untold:  # the inbox had no room for its last change: it comes behind those before it
            with self._edges:
                self._alarm_untold = not self._inbox.put_first(partial(self._on_alarm, self._alarmed))
        self._on_parts()
        if self.dropped > self._dropped:
            text = f"the loop was too far behind to take {self.dropped - self._dropped} news"
            self._journal.note(Row("fault", "", self.clock.now(), text=text))
            self._dropped = self.dropped
        for place in self._places.values():
            if "turnstile" in place.broken:
                self._hold(place)
        for place in self._places.values() if self._shots else ():
            # A disk that hangs is noticed by the next admission; until then refusals end after the same time.
            self._shots.unsafe(place.lane, place.lane.setup.record_ms)
        self._seconds()

    # --- what happened, made into events -----------------------------------------------------------

    def _on_read(self, place: _Place, read: Read, way: Way | None, read_ns: int) -> None:
        direction = place.lane.setup.direction or Direction(way or "in")
        moment, row = self.clock.now(), self._journal.next_row
        perimeter = place.lane.setup.perimeter
        code, fault, damage = "", "", ""
        if isinstance(read, Code):
            try:
                stale = self._stale(moment)
                scan = self.facts.scanned(read.text, direction, moment, row, stale, perimeter)
                code = read.text
            except CatalogueDamaged as error:  # a bad page must not end the gate
                fault, damage = "its ticket cannot be read from the catalogue", str(error)
            except UnicodeEncodeError:  # half a character, which no file could hold
                fault = "not_text"
        else:
            fault = read.reason
        if fault:
            scan = self.facts.unreadable(fault, direction, moment, row)
        self._take(place, scan, code, read_ns)
        if damage:
            self._journal.note(Row("fault", place.lane.setup.name, moment, row, text=damage))

    def _on_passed(self, place: _Place, way: Way | None) -> None:
        direction = None if way is None else Direction(way)
        self._take(place, Passed(self.clock.now(), self._journal.next_row, direction))

    def _on_alarm(self, active: bool) -> None:
        moment = self.clock.now()
        for place in self._places.values():
            self._take(place, Alarm(moment, self._journal.next_row, active))

    def _on_part(self, place: _Place, part: str, text: str) -> None:
        name = place.lane.setup.name
        self._journal.note(Row("fault", name, self.clock.now(), text=f"{part}: {text}"))

    def obey(self, lanes: Iterable[str], order: Order, cause: Cause, direction: Direction, by: str) -> None:
        """An order for these lanes, at once; for who is in the loop (`do`)."""
        moment = self.clock.now()
        for place in (self._places[lane] for lane in lanes):
            self._take(place, Ordered(moment, self._journal.next_row, order, cause, direction, by))

    def lane_parts(self, lane: str) -> LaneParts:
        """For who shows something beside what the lane says; in the loop only."""
        return self._places[lane].parts

    def _on_acknowledged(self, by: str) -> None:
        lanes = [n for n, p in self._places.items() if Cause.UNACKNOWLEDGED in p.lane.standing.free]
        self.obey(lanes, Order.NORMAL, Cause.UNACKNOWLEDGED, Direction.IN, by)

    def _on_unacknowledged(self) -> None:
        lanes = [name for name in self._unacknowledged if name in self._places]
        by = "an alarm before this start was not acknowledged"
        self.obey(lanes, Order.FREE, Cause.UNACKNOWLEDGED, Direction.IN, by)

    def _on_parts(self) -> None:
        for part, (lane, fault) in list(self._said.items()):
            if fault != self.part_faults.get(part):
                self._on_part_changed(lane, part, fault)

    def _on_part_changed(self, lane: str, part: str, fault: str | None) -> None:
        """What a part says of itself is a fault with a name; a lost reader shuts its lane by policy."""
        if fault is None:
            del self.part_faults[part]
        else:
            self.part_faults[part] = fault
        text = f"{part}: {fault or ('closed again' if part == HOUSING else 'works again')}"
        self._journal.note(Row("fault", lane, self.clock.now(), text=text))
        place = self._places.get(lane)
        if self._reader_lost_shuts and place is not None and part in place.readers:
            order = Order.SHUT if any(r in self.part_faults for r in place.readers) else Order.NORMAL
            self.obey((lane,), order, Cause.READER, Direction.IN, text)

    def _on_answer(
        self, scan: int, verdict: Verdict, text: str, doubt: bool, digest: bytes, unreached: bool = False
    ) -> None:
        asked, moment = self._asks.get(scan), self.clock.now()
        place = self._places.get(asked.lane) if asked else None
        if asked is None or place is None or (digest and asked.digest and digest != asked.digest):
            if not self._answers_to_no_ask:  # one row, however many come: they are not this gate's doing
                self._journal.note(Row("fault", "", moment, scan, verdict, text="answer to no ask"))
            self._answers_to_no_ask += 1
            return
        state = place.lane.state
        awaited = state.scan.digest if isinstance(state, Asking) and state.scan.row == scan else b""
        event = Answered(
            moment,
            self._journal.next_row,
            scan,
            verdict,
            text,
            asked.subject,
            asked.direction,
            asked.opened,
            self.facts.past(asked.subject, awaited),
            doubt,
            asked.at_utc_ms,
            unreached,
        )
        self._take(place, event)

    def _on_time(self, place: _Place) -> None:
        moment, row = self.clock.now(), self._journal.next_row
        state = place.lane.state
        if isinstance(state, Asking):
            history = self.facts.past(state.scan.subject, state.scan.digest)
            self._take(place, TimeUp(moment, row, history))
        else:
            self._take(place, TimeUp(moment, row))

    def _on_told(self, news: Told) -> None:
        moment = self.clock.now()
        if news.safe:
            self._own_up(moment)
            self._asks.safe(news.row, news.digest)
        event: Event = Recorded(moment, news.row) if news.safe else RecordFailed(moment, news.row)
        if not news.row:
            for place in self._places.values():
                self._take(place, event)
        elif news.lane in self._places:
            place = self._places[news.lane]
            self._take(place, event)
            self._shots.durable(place.lane, place.unlocked_ns, news)

    def _own_up(self, moment: Moment) -> None:
        """The journal has room again. Lanes whose rows found none say how many, and go back to work."""
        for name, place in self._places.items():
            if place.lost_rows and self._journal.submit(
                Row("lost", name, moment, text=f"{place.lost_rows} rows")
            ):
                place.lost_rows = 0
                self._take(place, Recorded(moment, 0))

    # --- one event through the core ----------------------------------------------------------------

    def _take(self, place: _Place, event: Event, code: str = "", read_ns: int = 0) -> None:
        """Step, hand rows to the journal, apply the rest, in order."""
        after, effects = step(place.lane, event)
        decided_ns = self._ticks_ns()
        if after is place.lane and not effects:
            return
        place.lane = after
        place.events.append(event)
        place.effects += effects
        lost: list[int] = []
        for effect in effects:
            if not isinstance(effect, Record):
                self._apply(place, (effect,))
            elif number := self._record(place, event, effect, code):
                lost.append(number)
        if isinstance(event, Scanned):  # whoever watches is told when nobody at the lane waits for it
            self._shots.begin(after, event, effects, code, read_ns, decided_ns)
        for number in lost:
            self._shots.lost(number)
        if lost:
            self._take(place, RecordFailed(event.moment, 0))
        elif len(place.events) >= EVENTS_MAX:
            self._write(place, Row("trail", place.lane.setup.name, event.moment), "")
        if self._shots and Cause.JOURNAL in place.lane.standing.free + place.lane.standing.shut:
            self._shots.unsafe(place.lane, 0)
        if self._changed is not None:
            self._changed(place.lane.setup.name)

    def _record(self, place: _Place, event: Event, record: Record, code: str) -> int:
        """Write it. 0, or the number that it would have had where the journal did not take it."""
        kind, scan, verdict, movement, _, text = record
        number = self._journal.next_row
        row = Row(kind, place.lane.setup.name, event.moment, scan, verdict, movement, text)
        if not self._write(place, row, code):
            return number
        if kind is Kind.ASK and isinstance(event, Scanned):
            asked = Asked(row.lane, event.subject, event.direction, code, event.moment.utc_ms)
            self._asks.remember(scan, asked)
        self._shots.row(record, number)
        return 0

    def _write(self, place: _Place, row: Row, code: str) -> bool:
        """A row, with the story of all that happened to the lane since its last one."""
        story = None
        if place.events:
            story = Story(place.before, tuple(place.events), tuple(place.effects), place.lane)
        kept = self._journal.submit(row, story, code)
        place.before, place.events, place.effects = place.lane, [], []
        if not kept:
            self.lost_rows += 1
            place.lost_rows += 1
        return kept

    def _apply(self, place: _Place, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(show, _):
                    self._tell(place, show)
                case Unlock(direction):
                    if self._unlock(place, direction):
                        place.unlocked_ns = self._ticks_ns()
                        self._asks.opened(place.lane.state)
                case Lock():
                    self._lock(place)
                case Ask():
                    self._ask(place, effect)

    def _ask(self, place: _Place, ask: Ask) -> None:
        """Send the question. One that cannot be sent has no answer, and nobody waits for it."""
        link, state, asked = self._link, place.lane.state, self._asks.get(ask.scan)
        assert link is not None, "a lane asked where nobody can be asked"
        assert isinstance(state, Asking)
        assert asked is not None, "an ask is remembered with its row"
        question = Question(ask, state.scan, asked.code, place.lane.setup.perimeter, asked.digest)
        why = ["the way to the vendor failed"]
        self._drive(place, "link", lambda: why.append(link.ask(question)))
        if why[-1]:
            answer = partial(self._on_answer, ask.scan, Verdict.NO_ANSWER, why[-1], False, asked.digest)
            self._inbox.put_always(answer)

    def _unlock(self, place: _Place, direction: Direction | None) -> bool:
        """Release one way, or both; also both where the alarm came a moment ago: it wins."""
        with self._edges:
            way: Literal["in", "out", "both"] = "both"
            if direction is not None and not self._alarmed:
                way = direction.value
            return self._drive(place, "turnstile", partial(place.parts.turnstile.unlock, way))

    def _lock(self, place: _Place) -> None:
        """Take the release away, unless the alarm came a moment ago and the loop has not heard of it."""
        with self._edges:
            if not self._alarmed:
                self._drive(place, "turnstile", place.parts.turnstile.lock)

    def _hold(self, place: _Place) -> None:
        """Try a turnstile that failed once more. An opening is not given twice, so it is passed over."""
        if isinstance(place.lane.state, Free):
            self._unlock(place, None)
        elif not isinstance(place.lane.state, Open) or place.lane.state.locked:
            self._lock(place)

    def _tell(self, place: _Place, show: Verdict | Signal) -> None:
        colour, blink, pattern = light_and_sound(show)
        for_ms = None
        if not isinstance(show, Signal):
            opened = place.lane.shown is None and isinstance(place.lane.state, Open)
            setup = place.lane.setup
            for_ms = (setup.unlock_ms if opened else setup.signal_ms) + SPARE_MS
        self._drive(place, "lamp", partial(place.parts.lamp.show, colour, blink, for_ms))
        self._drive(place, "buzzer", partial(place.parts.buzzer.sound, pattern))

    def _drive(self, place: _Place, part: str, act: Callable[[], None]) -> bool:
        """Move a part, or ask. What fails is a fault with a name: the lane and the gate go on without it."""
        try:
            act()
        except Exception as error:
            self.part_failures += 1
            if part not in place.broken:
                place.broken[part] = f"{type(error).__name__}: {error}"
                self._inbox.put(partial(self._on_part, place, part, place.broken[part]))
            return False
        if place.broken and place.broken.pop(part, None) is not None:
            self._inbox.put(partial(self._on_part, place, part, "works again"))
        return True
