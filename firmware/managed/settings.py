"""Settings from elsewhere: checked at the door, put on trial as a whole, and each change is a row.

A thread of its own takes them, because the disk has to be waited for; the uplink's thread only hands them
over. What is desired is retained, so it comes with every connection, and is looked at once.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from firmware import wire
from firmware.managed.managed import Changing, Managed
from firmware.managed.refusals import FROM_ANYBODY, FROM_OPERATOR, Refusals
from firmware.signing import NotSigned, Operator, Role, checked
from firmware.stored_settings import GOOD, LOCAL, REFUSED, ROW_TEXT_MAX, TEXT_MAX, State, Stored, Version
from firmware.uplink.part import Outgoing
from firmware.wire.remote import BOARD_CHARACTERS_MAX, SETTINGS_CHARACTERS_MAX

WAITING_MAX = 4  # not looked at yet: the newest is retained by the broker, and comes again
TURN_S = 0.5  # between looks at what became of a trial
RETRY_S = 5.0  # between two tries to write down what a full disk did not take: somebody waits for it
JOIN_S = 2.0  # a closing gate waits so long for the disk
AHEAD_MAX = 1 << 32  # versions are seconds since 1970 and grow by one at least: in 136 years nobody is as far
MEND = "look at the clock of the computer that signed them"
SEEN_MAX = 64  # digests of what was looked at; a broker that sends more is somebody's mischief


class _Refused(Exception):
    """The text says why; `version` is 0 where nobody knows who sent it."""

    def __init__(self, text: str, version: int = 0) -> None:
        super().__init__(text)
        self.version = version


class DesiredSettings:
    """Takes new settings, and reports those in use. A part of the uplink, and a thread that ends with it."""

    topics: Sequence[wire.Topic] = (wire.DESIRED,)

    def __init__(
        self, managed: Managed, changing: Changing, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._managed, self._changing = managed, changing
        self._refusals = Refusals(partial(managed.note, "settings"), now_s, "settings")
        self._now_s = now_s
        self._waiting: queue.Queue[bytes | None] = queue.Queue(WAITING_MAX)
        self._unwritten: tuple[float, bytes] | None = None  # when it is tried again, and what
        self._unwritten_why = ""
        self._write_again_s = float("-inf")
        self._failure = ""
        self._seen: dict[str, None] = {}
        self._wake: Callable[[], None] = lambda: None
        self._refused: tuple[int, str] | None = None  # since the gate was opened, and not on disk
        self._reported: tuple[State | None, tuple[int, str] | None] = (None, None)
        self._report: wire.ReportedSettings | None = None
        self._sent: wire.ReportedSettings | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="desired settings", daemon=True)

    # --- the uplink's thread -------------------------------------------------------------------------------

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        """Report anew: what was sent may not have arrived."""
        self._sent, self._wake = None, wake

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        """Hand it over. What finds too many is dropped: the last one comes with the next connection."""
        with suppress(queue.Full):
            self._waiting.put_nowait(payload)

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        """The report, where it has changed."""
        report = self._report
        if report is not None and report is not self._sent:
            yield Outgoing(wire.REPORTED, report)
            self._sent = report

    def faults(self) -> dict[str, str]:
        """What is wrong with what is on disk, or keeps new ones from it."""
        fault = self._changing.fault or self._unwritten_why
        return {"settings": fault} if fault else {}

    # --- its own thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._look()
                if (payload := self._next()) is not None:
                    self._on_desired(payload)
            except Exception as error:  # a fault of ours, or of the disk: the next settings must be heard
                failure = f"new settings failed: {type(error).__name__}: {error}"
                if failure != self._failure:
                    self._managed.note("fault", failure)
                self._failure = failure
                self._ending.wait(
                    TURN_S
                )  # what fails each time must not fill the journal, nor take the processor

    def _next(self) -> bytes | None:
        """What came, or what is to be tried again; `None` where nothing is."""
        with suppress(queue.Empty):
            return self._waiting.get(timeout=TURN_S)
        if self._unwritten is None or self._now_s() < self._unwritten[0]:
            return None
        (_, payload), self._unwritten = self._unwritten, None
        return payload

    def _look(self) -> None:
        """What became of a trial, and what has no row yet."""
        self._refusals.look()
        stored = self._changing.stored
        if stored is None:
            return
        untold = stored.state.untold
        for text in untold:
            self._managed.note("settings", text)
        if untold or (stored.unwritten and self._now_s() >= self._write_again_s):
            self._write_again_s = self._now_s() + RETRY_S
            with suppress(OSError):  # they are rows all the same; the next process may tell them once more
                stored.told(len(untold))
        if self._reported != (stored.state, self._refused):
            self._reported = stored.state, self._refused
            self._report = self._present(stored.state)
            self._wake()

    def _on_desired(self, payload: bytes) -> None:
        """One message: known already, refused, or put on trial."""
        mark = _mark(payload)
        if mark in self._seen:
            return
        if len(self._seen) >= SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[mark] = None
        who, most, whose = "somebody", FROM_ANYBODY, ""
        try:
            signed = wire.decode(payload, wire.Signed)
            desired = checked(signed, wire.DesiredSettings, self._managed.operators)
            operator = self._managed.operators[desired.key]
            who, most, whose = operator.name, FROM_OPERATOR, f" of {operator.name}"
            self._on_signed(desired, _mark(signed.signed), operator)
            self._unwritten, self._unwritten_why = None, ""
            return
        except NotSigned as error:
            kind, why = str(error.done), str(error)
        except wire.Unfit as error:
            kind, why = str(wire.Done.MALFORMED), str(error)
        except _Refused as error:
            kind, why = "refused", str(error)
            if error.version:
                self._refused = error.version, why[:TEXT_MAX]
        except OSError as error:
            del self._seen[mark]
            self._unwritten = self._now_s() + RETRY_S, payload
            kind, why = "failed", f"they could not be written ({error.strerror}): see to the disk"
            if self._unwritten_why:  # it is told, and each row would take room
                return
            self._unwritten_why = f"new settings of {who} are not taken yet: {why}"
        if self._unwritten is None:
            self._unwritten_why = ""
        self._refusals.refused(f"{kind}{whose}", f"{who}: new settings: refused: {why}"[:ROW_TEXT_MAX], most)

    def _on_signed(self, desired: wire.DesiredSettings, mark: str, operator: Operator) -> None:
        """Settings whose signature holds. Raises `_Refused`, OSError."""
        own, stored, number = self._managed.settings, self._changing.stored, desired.version
        if (desired.venue, desired.gate) != (own.venue, own.gate_name):
            raise _Refused(f"they are for gate {desired.gate} of venue {desired.venue}")
        if operator.role is not Role.SUPERVISOR:
            raise _Refused(f"{operator.name} is a steward: a supervisor may change settings", number)
        if stored is None:
            raise _Refused("the disk has not told yet which settings are in use: see to it", number)
        state = stored.state
        if (number, mark) == (state.desired, state.mark):
            return  # as the broker keeps it, after a restart
        newest = max(state.newest, self._changing.version)
        if number in state.failed:
            raise _Refused(
                f"version {number} failed here, or was refused: give what you mend a new one", number
            )
        if number <= stored.floor:
            raise _Refused(f"version {number} was sent before this gate's bundle was made", number)
        if number <= newest:
            raise _Refused(f"their version is {number}, and it must be above {newest}: {MEND}", number)
        if number > newest + AHEAD_MAX:
            raise _Refused(
                f"their version is {number}, which is too far above {newest} ever to be reached: {MEND}",
                number,
            )
        problems = self._changing.problems(desired.settings, desired.board, desired.operators)
        self._refused = None
        if problems:
            stored.refuse(number, mark, operator.name, "; ".join(problems))
            return
        version = Version(number, operator.name, mark, desired.settings, desired.board, desired.operators)
        self._changing.accept(version, *self._health(stored))

    def _health(self, stored: Stored) -> tuple[tuple[str, ...], bool]:
        """The parts that work, and whether a broker is connected: both must come back on trial.

        What is on trial already has nothing to show yet, and its successor is held to the same.
        """
        if stored.state.trial is not None:
            return stored.state.well, stored.state.connected
        managed = self._managed
        well = tuple(name for name, fault in managed.gate.parts().items() if not fault)
        return well, bool(managed.uplink().connected_to)

    def _present(self, state: State) -> wire.ReportedSettings:
        settings, board = self._changing.texts()
        desired, word, text = state.desired, state.word, state.text
        if word == GOOD and (passed_over := self._changing.passed_over):
            word, text = LOCAL, passed_over
        if self._refused is not None:
            (desired, text), word = self._refused, REFUSED
        if len(settings) > SETTINGS_CHARACTERS_MAX or len(board) > BOARD_CHARACTERS_MAX:
            settings = board = ""
            text = f"{text} (those in use are too long to be reported)".strip()
        if word == LOCAL:
            text = text or "those of the installation"
        return wire.ReportedSettings(
            version=self._changing.version,
            desired=desired,
            state=wire.SettingsState(word),
            text=text[:TEXT_MAX],
            settings=settings,
            board=board,
            failed=state.failed,
        )

    # --- start and end -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._ending.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(JOIN_S)


def _mark(signed: bytes) -> str:
    return hashlib.blake2b(signed, digest_size=16).hexdigest()
