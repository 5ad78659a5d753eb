"""A gate's way to its bridge and to the venue's other gates: the only place on the gate that retries.

One thread with one inbox. Rows go up and are confirmed by receipts; tickets come down; movements go to the
other gates and come from them. The journal is the queue: nothing that matters is kept here alone, so a crash,
a broker that is killed, or a week without network costs time and nothing else. What does not fit is counted,
said once, and acknowledged: a message that nobody can read must not keep the ones behind it. So is what finds
the inbox full: rows, tickets and movements are asked for again, and outcomes stay in the ledger.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self

from firmware import wire
from firmware.catalogue import Catalogue
from firmware.core.ticket import Moment
from firmware.device import Device
from firmware.inbox import Inbox
from firmware.journal import Journal
from firmware.mqtt import PACE, Arrived, Broker, Line, Pace, Publication, Session, TooLarge
from firmware.row import Row
from firmware.rows import RowReader
from firmware.sync import Sync, Taken
from firmware.uplink.notes import Notes
from firmware.uplink.part import Part, Troubled
from firmware.uplink.peers import Peers
from firmware.uplink.presence import Presences
from firmware.uplink.rows_up import ENVELOPE_BYTES, SPARE_MESSAGES, RowsUp
from firmware.uplink.vendors import Vendors

TURN_S = 1.0  # how often what has no bell of its own is looked at
LOOK_S = 60.0  # between questions for news of the catalogue where none came: its stamp must not grow old
LOOK_SPREAD = (0.75, 1.25)  # so that a thousand gates that connected together do not ask together for ever
RETRY_S = 1.0  # after a turn that failed, on a disk that hangs for instance
FAULTS_MAX = 50  # different things to say; a gate with more has one cause for all of them
# Where vendors are asked, so much of rows is on its way at most: a question that comes behind them on a
# connection of 1 Mbit/s waits a quarter of a second. Two pieces a round trip of 20 ms are 1.6 MB a second.
BESIDE_ASKS_BYTES = 16_000
BESIDE_ASKS_MESSAGES = 2
# After a commit nothing goes up for so long: it has woken the loop too, whose question or opening somebody
# waits for, and of two threads that want one interpreter both are late. Nor has a bridge rows to read then.
LOOP_FIRST_S = 0.005  # opening a lane takes 2 ms on a Pi
JOIN_S = 5.0  # a closing gate waits so long for the turn in hand
COUNT = re.compile(r"[0-9][0-9,.]*")
GATE_NAME = re.compile(r"[a-z0-9_-]{1,32}")

WHEN_WRITTEN = Moment(0, 0, False)  # stands for the time at which the loop writes the row
WHAT_FAILED = "what goes between gate and bridge failed"


class Uplink:
    """One gate's uplink; entering starts it. Properties are for those who watch, on any thread."""

    def __init__(
        self,
        venue: str,
        gate: str,
        release: str,
        brokers: Sequence[Broker],
        folder: Path,
        catalogue: Catalogue,
        journal: Journal,
        do: Callable[[Callable[[], None]], None],
        now: Callable[[], Moment],
        watch: Callable[[wire.Outcome], None] = lambda _: None,
        pace: Pace = PACE,
        device: Device = Device(),  # noqa: B008  a named tuple: it cannot change
        trusted: Callable[[], bool] = lambda: False,
        vendors: Vendors | None = None,
        parts: Sequence[Part] = (),
        *,
        whole: bool = False,
        believed: Callable[[int], int] = lambda utc_ms: utc_ms,
    ) -> None:
        """`folder` is the gate's data; `do` has the loop do something; `now` is asked in the loop only.

        `watch` hears of every outcome, on the uplink's thread; `device` and `trusted`, the state of the
        clock, are told with the birth. `vendors` are there where the settings have some asked, and `parts`
        where the gate is managed from elsewhere. `whole`: fetch the whole list, whatever is in use.
        `believed` makes the present of a time that cannot be.
        """
        self._venue, self._gate = venue, gate
        self._journal, self._watch = journal, watch
        self._trusted, self._told_trusted = trusted, False
        self._vendors = vendors
        self._parts = tuple(parts)
        self._inbox: Inbox[Callable[[], None]] = Inbox()
        self._woken = False
        self._quiet_until_s = 0.0
        self._has_room = False  # what is due can go out; without, a PUBACK wakes
        self._ending = threading.Event()
        self._session: Session | None = None
        self._born = False
        self._ask_s = self._look_s = 0.0
        self._connected_to = ""
        self._catalogue_place = ("", 0)
        self._faults: dict[str, str] = {}
        self._unsaid: list[str] = []
        self.odd: Counter[str] = Counter()
        """What came and did not fit, by kind."""
        self._without_receipt = self._overflowed = 0  # counted on the line's thread
        with ExitStack() as undo:
            self._folder = folder / "journal"
            self._rows = undo.enter_context(RowReader(self._folder))
            self._presences = Presences(
                wire.address(wire.STATUS, venue, gate), journal.epoch, journal.random, release, device
            )
            self._notes = Notes(gate, journal, self._rows, do, now)
            self._up = RowsUp(self._rows)
            self._peers = Peers(gate, self._rows, self._notes)
            self._sync = undo.enter_context(Sync(folder, catalogue, self._notes.note, believed=believed))
            if whole:
                self._sync.fetch_whole()
            self._line = Line(
                brokers,
                f"gate-{venue}-{gate}",
                tuple(subscriptions(venue, gate, vendors is not None, parts)),
                self,
                will=self._presences.will,
                farewell=self._presences.will,
                pace=pace,
                trusted=trusted,
            )
            self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
            self._undo = undo.pop_all()

    # --- for those who watch -------------------------------------------------------------------------------

    @property
    def connected_to(self) -> str:
        """The broker that is in use; empty where there is no connection."""
        return self._connected_to

    @property
    def receipt(self) -> int:
        """The last row that the ledger has confirmed."""
        return self._up.cursor.row

    def waiting(self) -> int:
        """How many rows wait for a receipt. Reads the journal: not for the loop."""
        with RowReader(self._folder) as rows:
            return rows.count_after(self._up.cursor.row)

    @property
    def catalogue_place(self) -> tuple[str, int]:
        """The feed that the catalogue comes from, and the number of its last change here."""
        return self._catalogue_place

    def faults(self) -> dict[str, str]:
        """What is wrong, by the thing."""
        found = {**self._line.faults(), **self._faults}
        if fault := self._sync.fault:
            found["catalogue from the bridge"] = fault
        for part in self._parts:
            if isinstance(part, Troubled):
                found.update(part.faults())
        return found

    def refresh(self, whole: bool) -> None:
        """Ask for changes of the catalogue now, or for the whole list. From any thread."""
        self._inbox.put_always(partial(self._on_refresh, whole))

    # --- called by the line, on its thread -----------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Every subscription is confirmed."""
        self._inbox.put_always(partial(self._on_connected, session))

    def disconnected(self, session: Session, why: str) -> None:
        """It is over."""
        if self._vendors is not None:
            self._vendors.disconnected(session)
        self._inbox.put_always(partial(self._on_disconnected, session))

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """A message came. One of QoS 0 is nobody's here, and no window bounds how many of them come."""
        if not arrived.number:
            self._without_receipt += 1
        elif self._is_answer(arrived):
            session.acknowledge(arrived)
        elif not self._inbox.put(partial(self._on_arrived, session, arrived)):
            self._overflowed += 1  # only a broker that heeds no window gets here
            session.acknowledge(arrived)

    def _is_answer(self, arrived: Arrived) -> bool:
        """Whether it was an answer that fits, which goes to the loop by the shortest way."""
        if self._vendors is None or arrived.topic != self._vendors.answers or arrived.retained:
            return False
        with suppress(wire.Unfit):
            self._vendors.take_answer(arrived.payload)
            return True
        return False

    def acknowledged(self, session: Session) -> None:
        """There is room in the window. The first message of a session is the birth."""
        if not self._presences.born:
            self._inbox.put_always(self._on_birth_taken)  # behind what came before it
        self._wake()

    def _on_commit(self, row: int) -> None:
        """On the journal's thread."""
        self._notes.committed(row)
        now_s = time.monotonic()
        if self._quiet_until_s <= now_s:  # one that is kept up by commits would be quiet for ever
            self._quiet_until_s = now_s + LOOP_FIRST_S
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._inbox.put_always(lambda: None)

    # --- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._turn()
            except Exception as error:  # a disk that hangs, or a fault of ours: go on, and say so
                self._complain(WHAT_FAILED, f"{WHAT_FAILED}: {type(error).__name__}: {error}")
                self._ending.wait(RETRY_S)

    def _turn(self) -> None:
        """What came next, then all that is due."""
        now_s = time.monotonic()
        wake_s = min(now_s + TURN_S, self._up.wake_s(self._journal.committed, now_s), self._peers.wake_s())
        if self._session is None or not self._has_room:
            wake_s = now_s + TURN_S
        if now_s < self._quiet_until_s:
            wake_s = self._quiet_until_s
        taken = self._inbox.take(max(0.0, wake_s - now_s))
        self._woken = False
        if taken is not None:
            taken.news()
        self._look_at_dropped()
        self._say_faults()
        now_s = time.monotonic()
        if self._session is not None and now_s >= self._quiet_until_s:
            self._has_room = self._send(self._session, now_s)

    def _look_at_dropped(self) -> None:
        """Count what the line's thread did not let in, and ask again for what may have been in it."""
        if self._without_receipt != self.odd["QoS 0"]:
            self.odd["QoS 0"] = self._without_receipt
            text = "messages of QoS 0 came and were dropped: all of Gatepost sends QoS 1. Who sends them?"
            self._complain("QoS 0", text)
        if self._overflowed != self.odd["inbox full"]:
            self.odd["inbox full"] = self._overflowed
            text = "the broker sent more at once than it was allowed to: what was dropped is asked for again"
            self._complain("inbox full", text)
            self._peers.missed(time.monotonic())
            self._sync.connected()

    def _send(self, session: Session, now_s: float) -> bool:
        """All that is due, the most urgent first, as far as the window goes. False: something did not go."""

        def has_room() -> bool:
            return session.in_flight < session.window

        trusted = self._trusted()
        if not self._born or trusted is not self._told_trusted:
            birth = self._presences.birth(session.number, session.own_address, trusted)
            self._born, self._told_trusted = session.publish(birth), trusted
        if not self._born:
            return False
        if self._vendors is not None:
            self._vendors.connected(session)
        # Before it is, a message of QoS 0 that is written would be taken for the birth's PUBACK.
        told = self._presences.born
        if told and not all(self._send_part(session, part, now_s) for part in self._parts):
            return False
        newest, room = self._journal.committed, session.payload_bytes_max
        for topic, message in self._peers.outgoing(newest, now_s, has_room, room):
            if not self._publish(session, topic, message):
                return False
        if not has_room() or not self._ask_for_tickets(session, now_s):
            return False
        window = session.window
        if self._vendors is not None:
            room = min(room, ENVELOPE_BYTES + BESIDE_ASKS_BYTES)
            window = min(window, SPARE_MESSAGES + BESIDE_ASKS_MESSAGES)
        while (batch := self._up.next_message(newest, window, room, now_s)) is not None:
            if not self._publish(session, wire.JOURNAL, batch):
                return False
            self._up.sent(now_s)
        return True

    def _publish(self, session: Session, topic: wire.Topic, message: wire.Message) -> bool:
        address = wire.address(topic, self._venue, self._gate)
        try:
            return session.publish(Publication(address, wire.encode(message)))
        except TooLarge as error:
            self._complain("message too large", str(error))
            return False

    def _send_part(self, session: Session, part: Part, now_s: float) -> bool:
        """What this part has to say. False where the window is full. Its faults are not the other parts'."""
        try:
            for topic, message in part.outgoing(now_s):
                address = wire.address(topic, self._venue, self._gate)
                publication = Publication(address, wire.encode(message), topic.qos, topic.retained)
                try:
                    if not session.publish(publication):
                        return False
                except TooLarge as error:  # it goes nowhere: what comes behind it does
                    self._complain(f"{topic.name} too large", str(error))
        except Exception as error:
            self._part_failed(part, error)
        return True

    def _part_failed(self, part: Part, error: Exception) -> None:
        name = type(part).__name__.lower()
        self._complain(name, f"what deals with {name} failed: {type(error).__name__}: {error}")

    def _ask_for_tickets(self, session: Session, now_s: float) -> bool:
        """Ask for pages if it is time. False where the window is full."""
        if now_s < self._ask_s:
            return True
        if session.in_flight >= session.window:
            return False
        self._ask_s = now_s + TURN_S
        if self._sync.at_present and now_s >= self._look_s:
            self._sync.connected()
        if (request := self._sync.request()) is not None:
            self._look_s = now_s + LOOK_S * random.uniform(*LOOK_SPREAD)  # noqa: S311  no secret
            self._publish(session, wire.REQUEST, request)
        self._catalogue_place = self._sync.feed, self._sync.cursor
        return True

    # --- news ----------------------------------------------------------------------------------------------

    def _on_connected(self, session: Session) -> None:
        self._session, self._connected_to, self._born = session, session.broker.name, False
        self._up.connected()
        self._peers.connected(self._journal.committed)
        self._sync.connected()
        self._ask_s = 0.0
        for part in self._parts:
            part.connected(session.number, self._wake)

    def _on_disconnected(self, session: Session) -> None:
        if session is self._session:
            self._session, self._connected_to = None, ""
        if self._vendors is not None:  # once more: this thread may have had it connected meanwhile
            self._vendors.disconnected(session)

    def _on_refresh(self, whole: bool) -> None:
        if whole:
            self._sync.fetch_whole()
        self._sync.connected()
        self._ask_s = 0.0

    def _on_birth_taken(self) -> None:
        self._presences.born = True

    def _on_arrived(self, session: Session, arrived: Arrived) -> None:
        """One message, read and acted on; whatever it was, it is acknowledged."""
        try:
            self._read(arrived)
        except wire.Unfit as error:
            found = wire.addressed(arrived.topic, self._venue)
            name = found.topic.name if found else "a topic that was not asked for"
            text = f"a message that does not fit came on {name}: {error}"
            self._odd(f"{type(error).__name__} on {name}", text)
        finally:
            session.acknowledge(arrived)

    def _read(self, arrived: Arrived) -> None:
        found = wire.addressed(arrived.topic, self._venue)
        if found is None:
            raise wire.Unfit("a topic that was not asked for")
        topic, gate = found
        if gate and not GATE_NAME.fullmatch(gate):
            raise wire.Unfit("no name of a gate")
        if gate == self._gate and self._read_part(topic, arrived):
            return
        if arrived.retained and not topic.retained:
            raise wire.Unfit("retained, and this topic keeps nothing")
        now_s = time.monotonic()
        match topic:
            case wire.STATUS:
                self._on_presence(gate, wire.decode(arrived.payload, wire.Presence), now_s)
            case wire.ADMISSIONS:
                self._peers.admissions(gate, wire.decode(arrived.payload, wire.Admissions), now_s)
            case wire.ADMISSIONS_REQUEST:
                self._peers.request(gate, wire.decode(arrived.payload, wire.AdmissionsRequest))
            case wire.CHANGES:
                self._on_taken(self._sync.take_changes(wire.decode(arrived.payload, wire.Changes)))
            case _:
                self._read_own(topic, gate, arrived.payload, now_s)

    def _read_own(self, topic: wire.Topic, gate: str, payload: bytes, now_s: float) -> None:
        """What is for this gate alone."""
        if gate != self._gate:
            raise wire.Unfit("for another gate")
        match topic:
            case wire.RECEIPT:
                receipt, strangers = wire.decode(payload, wire.Receipt), self._up.strangers
                if row := self._up.receipt(receipt, self._journal.committed, now_s):
                    self._journal.confirm(row)
                if (
                    self._up.strangers > strangers
                ):  # what that other card let in is heard from the bridge alone
                    self._sync.connected()
            case wire.OUTCOME:
                self._on_outcomes(wire.decode(payload, wire.Outcomes).outcomes)
            case wire.PAGE:
                self._on_taken(self._sync.take(wire.decode(payload, wire.CataloguePage)))
            case wire.ANSWER:
                wire.decode(payload, wire.Answer)  # one that fits went to the loop by the shortest way
            case wire.VENDORS if self._vendors is not None:
                self._vendors.take(wire.decode(payload, wire.Vendors))
            case _:
                raise wire.Unfit("a topic that was not asked for")

    def _read_part(self, topic: wire.Topic, arrived: Arrived) -> bool:
        """Whether it is for one of the parts."""
        for part in self._parts:
            if topic in part.topics:
                try:
                    part.take(topic, arrived.payload, arrived.retained)
                except wire.Unfit:
                    raise
                except Exception as error:
                    self._part_failed(part, error)
                return True
        return False

    def _on_presence(self, gate: str, presence: wire.Presence, now_s: float) -> None:
        if gate != self._gate:
            self._peers.presence(gate, presence, now_s)
        elif self._presences.is_stranger(presence):
            text = f'gate name used twice: another gate of this venue is called "{gate}": give one a new name'
            self._complain("gate name", text)

    def _on_taken(self, taken: Taken) -> None:
        if taken.ask:
            self._ask_s = 0.0
        if taken.fault:
            kind = COUNT.sub("", taken.fault)  # a list that goes on to change is no other fault
            self._complain(kind, f"the catalogue from the bridge: {taken.fault}")
        self._catalogue_place = self._sync.feed, self._sync.cursor

    def _on_outcomes(self, outcomes: Iterable[wire.Outcome]) -> None:
        """Refused and unsure scans are rows, because somebody was let in who should perhaps not have been."""
        own = [outcome for outcome in outcomes if self._rows.digest(outcome.scan) == outcome.digest]
        told = [outcome for outcome in own if outcome.result is not wire.Result.ACCEPTED]
        if not self._notes.write(map(outcome_row, told)):
            self._odd("outcomes dropped", "outcomes came while the journal took no rows: the ledger has them")
        for outcome in own:
            self._watch(outcome)

    # --- what is wrong -------------------------------------------------------------------------------------

    def _odd(self, kind: str, text: str) -> None:
        """Something that came and does not fit: counted, and said the first time."""
        if kind in self.odd or len(self.odd) < FAULTS_MAX:
            self.odd[kind] += 1
        self._complain(kind, text)

    def _complain(self, kind: str, text: str) -> None:
        """Say it once: as a row, and to those who ask for faults."""
        if len(self._faults) >= FAULTS_MAX and kind not in self._faults:
            kind, text = "more faults", "more is wrong than is told: mend what is told, and restart the gate"
        if kind not in self._faults:
            self._faults[kind] = text
            self._unsaid.append(text)

    def _say_faults(self) -> None:
        while self._up.faults:
            self._complain(*self._up.faults.popleft())
        if self._notes.failure:
            self._complain("not written", self._notes.failure)
        for kind, text in self._peers.faults.items():
            self._complain(kind, text)
        if self._peers.unsent:
            text = "a ticket's name is too long for the venue's other gates to hear of its movements"
            self._complain("ticket name", text)
        faults = [Row("fault", "", WHEN_WRITTEN, text=text) for text in self._unsaid]
        if self._notes.write(faults):
            self._unsaid.clear()

    # --- start and end -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; entering does it too. Twice is fine."""
        if self._thread.ident is None:
            self._journal.listen(self._on_commit)
            self._thread.start()
            self._line.start()

    def hurry(self) -> None:
        """Try to connect now: what kept us from it is over. From any thread."""
        self._line.hurry()

    def close(self) -> None:
        """Say farewell, and end. Rows that are not confirmed go up after the next start. Twice is fine."""
        self._notes.close()
        self._line.close()
        self._ending.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._undo.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def outcome_row(outcome: wire.Outcome) -> Row:
    """The vendor's word on a scan that it did not accept."""
    text = ": ".join(filter(None, (outcome.result, outcome.text)))
    return Row("outcome", "", WHEN_WRITTEN, outcome.scan, outcome.verdict, text=text)


def subscriptions(venue: str, gate: str, asks: bool = False, parts: Sequence[Part] = ()) -> Iterator[str]:
    """What a gate listens to; answers only where its vendors are asked."""
    for topic in (wire.RECEIPT, wire.OUTCOME, wire.PAGE, *((wire.ANSWER, wire.VENDORS) if asks else ())):
        yield wire.address(topic, venue, gate)
    for topic in (topic for part in parts for topic in part.topics):
        yield wire.address(topic, venue, gate)
    for topic in (wire.STATUS, wire.ADMISSIONS, wire.ADMISSIONS_REQUEST):
        yield wire.address(topic, venue, "+")
    yield wire.address(wire.CHANGES, venue)
