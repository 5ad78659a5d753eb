"""Which settings a gate is opened with: those that came from elsewhere, else those of its file.

New ones are on trial. They are good once the board is open, the parts that worked before work, and a broker
is connected if one was before; where that does not come about in time, the last good ones are in use again.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from firmware.bundle import BundleUnusable, enrolment_of
from firmware.config import Settings, SettingsError, load, parse, read_text
from firmware.config.sparse import plain_text
from firmware.files import write_whole
from firmware.hold import Held
from firmware.stored_settings import ENROLMENT, FOLDER, Stored, Version
from firmware.unit import OPERATORS, Unit

BOARD = "board.toml"
READ_S = 2.0  # for a small file; a disk that takes longer hangs, and must not keep the alarm waiting
SETTLE_S = 5.0  # a scanner that is not there, and a broker that refuses, have said so by then
HEALTH_S = 120.0  # for a broker to be connected again, where the network is slow to come
# Between two times in which another gate is asked for that brings in what is wanted: twice as long each time,
# because each of them closes the lanes for a moment, and what keeps the settings out may last for days.
AGAIN_S, AGAIN_S_MAX = 1.0, 600.0

Complain = Callable[[str], None]


class Opening(NamedTuple):
    """What a gate is opened with.

    `named` is `settings` as they name their board file; `used` is `None` for the gate's own file.
    """

    settings: Settings
    named: Settings
    used: Version | None


class InForce:
    """The settings of one process. `wanted` is for between two gates, `look` for each second of one."""

    def __init__(
        self,
        config: Path,
        data: Path,
        reopen: Callable[[str], None],
        complain: Complain,
        *,
        runtime: str = "",
        settle_s: float = SETTLE_S,
        health_s: float = HEALTH_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`runtime` is a folder that is gone with the process, where `gatepost release` finds the board."""
        self.config, self.reopen = config, reopen
        self._data, self._folder = data, data / FOLDER
        self._place = Path(runtime) if runtime else self._folder
        self._complain, self._now_s = complain, now_s
        self._settle_s, self._health_s = settle_s, health_s
        self._stored: Stored | None = None
        self._unread = ""
        self._passed: Version | None = None
        self._since_s = 0.0
        self._ask_at_s, self._ask_again_s = float("-inf"), AGAIN_S
        self._own: Settings | None = None
        self._unproved = False
        self._obeyed = ""
        self.passed_over = ""
        """Why the last good ones are not in use in this process; empty: they are."""
        self.opening: Opening | None = None
        """What the present gate is opened with."""
        reading = threading.Thread(target=self._read, name="settings", daemon=True)
        reading.start()
        reading.join(READ_S)

    def _read(self) -> None:
        """On a thread of its own, because a disk may hang; then the gate begins with its file."""
        try:
            enrolment, floor = _enrolment(self._data / ENROLMENT)
            stored = Stored(self._folder, enrolment, floor)
            stored.begin()
        except NotADirectoryError:  # the data is no folder: the gate says so where it opens it
            return
        except (OSError, BundleUnusable) as error:  # nobody knows what may be taken, so nothing is
            why = str(error) if isinstance(error, BundleUnusable) else f"{error.filename}: {error.strerror}"
            self._unread = f"{why}: the settings of {self.config} are in use, and no others are taken"
            self._complain(self._unread)
            return
        self._stored = stored

    # --- between two gates ----------------------------------------------------------------------------

    def wanted(self) -> Opening:
        """What the next gate is to be opened with.

        Raises `SettingsError` where its file is wrong, and was never right in this process.
        """
        stored, before = self._stored, self._passed
        self._passed, self.passed_over = None, ""
        while stored is not None and (used := stored.state.in_use) is not None:
            try:
                return self._opening(self._named(used), used)
            except SettingsError as error:
                if not self._gives_up(used, str(error.problems[0])):  # those of a later release, for instance
                    self._passed = used
                    self.passed_over = f"settings {used.version} are not used: {error.problems[0]}"
                    if used != before:
                        self._complain(self.passed_over)
                    break
        return self._opening(self._of_file(), None)

    def _named(self, used: Version) -> Settings:
        return parse(used.settings, f"settings {used.version}") if used.settings else self._of_file()

    def _of_file(self) -> Settings:
        """What the gate's own file says; while somebody edits it, what it said before."""
        try:
            self._own = load(self.config)
        except SettingsError as error:
            if self._own is None:
                raise
            for problem in error.problems:
                self._complain(f"the settings stay as they were: {problem}")
        return self._own

    def _opening(self, named: Settings, used: Version | None) -> Opening:
        if used is None or not used.board or not named.board_file:
            return Opening(named, named, used)
        return Opening(named._replace(board_file=str(self._board(used))), named, used)

    def _board(self, used: Version) -> Path:
        """Another content has another name, so the board that is open is known by it."""
        mark = hashlib.blake2b(used.board.encode(), digest_size=8).hexdigest()
        return self._place / f"board-{mark}.toml"

    def lay_out(self, opening: Opening) -> None:
        """Put the board file there that the gate reads, and take away what it does not. Raises OSError."""
        used, self.opening = opening.used, opening
        board = self._board(used) if used is not None and used.board and opening.named.board_file else None
        for old in self._place.glob("board*.toml"):
            if board is None or old not in (board, self._place / BOARD):
                old.unlink()
        if used is not None and board is not None:
            _put(board, used.board)
            _put(self._place / BOARD, used.board)  # for `gatepost release`
        operators, stored = self._folder / OPERATORS.name, self._stored
        if stored is None:  # whoever was obeyed is: the bundle's list may be an older one
            self._obeyed = operators.read_text("utf-8") if operators.is_file() else ""
        else:
            self._obeyed = stored.state.obeyed  # also where its settings are not in use

    def not_opened(self, error: Exception) -> bool:
        """The gate did not open; whether others are tried instead."""
        used = self.opening.used if self.opening else None
        if used is None or isinstance(error, Held):
            return False
        return self._gives_up(used, f"the gate does not open: {error or type(error).__name__}")

    def _gives_up(self, used: Version, why: str) -> bool:
        stored = self._stored
        if stored is None or stored.state.trial != used:
            return False
        why = " ".join(why.split())
        stored.give_up(why)
        self._complain(f"settings {used.version} of {used.by} failed: {why}")
        return True

    # --- while a gate works ---------------------------------------------------------------------------

    def began(self) -> None:
        """The gate is open: from now on it has time to come back to health."""
        self._since_s = self._now_s()

    def look(self, unit: Unit) -> None:
        """Each second, on a thread that may wait for the disk: whether a trial is over."""
        stored, opening = self._stored, self.opening
        if stored is None or opening is None:
            return
        trial, lasted_s = stored.state.trial, self._now_s() - self._since_s
        state = stored.state
        if opening.used != state.in_use or self._obeyed != state.obeyed:
            same = self._obeyed == state.obeyed
            passed = opening.used is None and state.in_use == self._passed and same  # it was asked for once
            if not passed:  # read late, a return that was put off, or new ones while this gate was opened
                self._ask(f"settings {state.desired}")
            return
        self._ask_at_s, self._ask_again_s = float("-inf"), AGAIN_S
        if trial is not None:
            lacking = next(_lacking(unit, stored.state.well, connected=stored.state.connected), "")
            if lacking and lasted_s >= self._health_s:
                self._gives_up(trial, lacking)
                self.reopen(f"settings {trial.version} failed")
            elif not lacking and lasted_s >= self._settle_s:
                self._prove(stored, trial)

    def _ask(self, why: str) -> None:
        """Ask for another gate, less and less often where that does not bring it about."""
        now_s = self._now_s()
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + self._ask_again_s
            self._ask_again_s = min(2 * self._ask_again_s, AGAIN_S_MAX)
            self.reopen(why)

    def _prove(self, stored: Stored, trial: Version) -> None:
        """Where the disk does not take it now, it may in a second."""
        try:
            stored.prove()
        except OSError as error:
            if not self._unproved:
                self._complain(
                    f"settings {trial.version} are well, which cannot be written: {error.strerror}"
                )
            self._unproved = True
        else:
            self._complain(f"settings {trial.version} of {trial.by} are good")
            self._unproved = False

    # --- for the part that takes new ones -------------------------------------------------------------

    @property
    def stored(self) -> Stored | None:
        """What is on disk; `None` while a disk that hangs has not told it."""
        return self._stored

    @property
    def fault(self) -> str:
        """What is wrong with what is on disk, or why it is not in use; empty: nothing."""
        return self._unread or self.passed_over or (self._stored.fault if self._stored else "")

    @property
    def version(self) -> int:
        """Of the settings in use; 0 for those of the gate's file."""
        return self.opening.used.version if self.opening and self.opening.used else 0

    def lay_out_operators(self) -> Path:
        """Put the list of those whose signatures count in its place, and say where. Raises OSError.

        Once the board is open: a disk that does not take it must not keep the alarm waiting.
        """
        came = self._folder / OPERATORS.name
        if self._stored is not None and self._obeyed:
            _put(came, self._obeyed)
        elif self._stored is not None and came.is_file():  # a read-only disk refuses even what is not there
            came.unlink()
        return came if came.is_file() else self._data / OPERATORS

    def problems(self, settings: str, board: str, operators: str) -> list[str]:
        """What is wrong with new ones, one line each."""
        from firmware.check_settings import problems_of  # with cryptography, which others do not need

        assert self.opening is not None, "a gate is at work"
        return problems_of(settings, board, operators, self.opening.named, self.texts()[1])

    def accept(self, version: Version, well: tuple[str, ...], connected: bool) -> None:
        """Put these on trial, and have the gate opened anew. What is not sent stays. Raises OSError."""
        stored, used = self._stored, self.opening.used if self.opening else None
        assert stored is not None, "new settings are taken where the old ones are known"
        stored.accept(version.staying(used), well, connected)
        self.reopen(f"settings {version.version} of {version.by}")

    def texts(self) -> tuple[str, str]:
        """Settings and board file that are in use, without comments, which may hold anything."""
        assert self.opening is not None, "a gate is at work"
        used, file = self.opening.used, self.opening.settings.board_file
        settings, board = "", ""
        with suppress(SettingsError, ValueError):
            came = used.settings if used is not None else ""
            settings = plain_text(came or read_text(self.config))
        with suppress(SettingsError, ValueError):
            board = plain_text(read_text(Path(file))) if file else ""
        return settings, board


def _enrolment(path: Path) -> tuple[bytes, int]:
    """The present enrolment, and the highest version that was sent before it; nothing where there is none.

    Raises OSError, `BundleUnusable`.
    """
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return b"", 0
    return found, enrolment_of(found.decode("utf-8", "replace")).newest


def _put(path: Path, text: str) -> None:
    """Write a file that is not there, or says something else: a full disk need not take what it has."""
    data = text.encode()
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data)


def _lacking(unit: Unit, well: tuple[str, ...], *, connected: bool) -> Iterator[str]:
    """What worked before the trial and does not now."""
    parts = unit.gate.parts()
    yield from (f"{name}: {parts[name]}" for name in well if parts.get(name))
    if connected and (unit.uplink is None or not unit.uplink.connected_to):
        told = "; ".join(unit.uplink.faults().values()) if unit.uplink is not None else ""
        yield f"no broker is connected: {told}" if told else "no broker is connected"
    if unit.journal.fault:
        yield f"the journal takes no rows: {unit.journal.fault}"
