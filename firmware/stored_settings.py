"""Settings that came from elsewhere, on disk: those on trial, the last good ones, and versions that failed.

One file, which appears whole or not at all, holds everything, so a gate that dies at any moment finds either
what was before a change or what is after it. A version is on trial until the gate is in health with it; else
the last good one is in use again, and without one the file that the gate was installed with. Versions only
grow: one that was in use, failed or was refused is never taken again, and none that was sent before the gate
was enrolled.

Operators do not come back with a return: a list that passed its check stays until another one passes, so
nobody who was taken off it comes back by keeping a gate from its broker. That list and the newest version are
in a second file as well, which is read where the first one cannot be.
"""

import hashlib
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from firmware.files import sync_folder, write_whole

FOLDER = "settings"  # in the gate's data
ENROLMENT = Path("identity", "enrol.toml")  # likewise; what belongs to another one counts no more
FILE = "state"
KEPT = "kept"
FILE_BYTES_MAX = 1 << 20  # two versions of 60,000 bytes, escaped
FAILED_MAX = 16  # versions that are told; older ones are below the newest and refused for that
STARTS_MAX = (
    2  # of processes with settings on trial: the second may have had bad luck, and dies no third time
)
TEXT_MAX = 256  # characters, as the wire has it
ROW_TEXT_MAX = 1000  # characters of a row's text: some ten problems

LOCAL, TRIAL, GOOD, REFUSED, RETURNED = "local", "trial", "good", "refused", "returned"  # as on the wire


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings as they came. What is empty is in use as it was installed.

    `mark` is a digest of what was signed.
    """

    version: int
    by: str
    mark: str
    settings: str
    board: str = ""
    operators: str = ""

    def staying(self, used: "Version | None") -> "Version":
        """With what stays of the one in use, where this one does not send it; operators stay in `State`."""
        if used is None:
            return self
        settings, board = self.settings or used.settings, self.board or used.board
        return msgspec.structs.replace(self, settings=settings, board=board)


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on disk.

    `enrolment` marks the enrolment that it belongs to. `well` names the parts that worked before the trial,
    and `starts` is how many processes began with it. `newest` is the highest version that was taken or
    refused; `mark`, `word` and `text` are the digest of `desired`, and what came of it. `untold` are
    sentences for the journal. `operators` is the last list that passed its check, "" where none came.
    """

    enrolment: str = ""
    good: Version | None = None
    trial: Version | None = None
    well: tuple[str, ...] = ()
    connected: bool = False
    starts: int = 0
    failed: tuple[int, ...] = ()
    newest: int = 0
    desired: int = 0
    mark: str = ""
    word: str = LOCAL
    text: str = ""
    untold: tuple[str, ...] = ()
    operators: str = ""

    @property
    def obeyed(self) -> str:
        """The list of operators; "": that of the installation."""
        return self.operators or (self.in_use.operators if self.in_use else "")

    @property
    def in_use(self) -> Version | None:
        """What a gate that is opened now is opened with; `None`: the file that it was installed with."""
        return self.trial or self.good


def found_in(data: Path) -> list[Version]:
    """What a gate of this data is opened with, the first that it can use; after them comes its own file.

    For those who look from beside: nothing is changed. Raises OSError.
    """
    try:
        state = msgspec.json.decode((data / FOLDER / FILE).read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: the gate sets it aside
        return []
    enrolment = data / ENROLMENT
    if state.enrolment != _mark(enrolment.read_bytes() if enrolment.exists() else b""):
        return []
    return [version for version in (state.trial, state.good) if version is not None]


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may not be undone, as `State` has it."""

    enrolment: str
    newest: int
    operators: str


class Stored:
    """The file, and its changes. Any thread; each change is on disk when its call returns. Raises OSError."""

    def __init__(self, folder: Path, enrolment: bytes = b"", floor: int = 0) -> None:
        """`folder` need not be there; `enrolment` is what the present bundle said.

        `floor` is the highest version that was sent before that bundle was made: no lower one is taken. What
        belongs to another enrolment, or cannot be read, is set aside, and `fault` says so.
        """
        self._folder = folder
        self.floor = floor
        self._lock = threading.Lock()
        self._mark = _mark(enrolment)
        self._written: Kept | None = None
        self._unreadable_why = self._unwritable_why = ""
        self.unwritten = False
        """The disk did not take all of `state`: that settings failed, that it was told, or whom to obey."""
        self.state = self._read()

    def _read(self) -> State:
        path = self._folder / FILE
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return State(enrolment=self._mark, newest=self.floor)
        try:
            found = msgspec.json.decode(data, type=State)
        except ValueError as error:
            return self._unreadable(data, error)
        if found.enrolment != self._mark:  # the gate was enrolled anew since, with settings of its own
            path.replace(path.with_name(f"{FILE}.before"))
            return State(enrolment=self._mark, newest=self.floor)
        return found

    def _unreadable(self, data: bytes, error: ValueError) -> State:
        """Settings of the installation, but whom the gate obeys, and what it takes no more, as it was."""
        kept = self._kept()
        text = "are those of the installation; operators are as before: send the settings once more"
        if kept is None:
            text = "and operators are those of the installation, perhaps older ones: send both once more"
        self._unreadable_why = f"{self._folder / FILE}: cannot be read ({error}): settings {text}"
        write_whole(self._folder / f"{FILE}.unreadable", data)
        state = State(
            enrolment=self._mark,
            newest=max(self.floor, kept.newest if kept else 0),
            operators=kept.operators if kept else "",
            text=self._unreadable_why[:TEXT_MAX],
            untold=(self._unreadable_why[:ROW_TEXT_MAX],),
        )
        self._write(state)  # the next start finds whom to obey, too
        return state

    def _kept(self) -> Kept | None:
        """Of this enrolment; `None` where nobody can tell."""
        try:
            with (self._folder / KEPT).open("rb") as file:
                found = msgspec.json.decode(file.read(FILE_BYTES_MAX), type=Kept)
        except (FileNotFoundError, ValueError):
            return None
        return found if found.enrolment == self._mark else None

    @property
    def fault(self) -> str:
        """What is wrong with the files, until others are sent, or the disk takes what it did not; or ""."""
        return self._unwritable_why or self._unreadable_why

    def begin(self) -> None:
        """A process begins. The settings on trial are given up where two have died with them."""
        with self._lock:
            if self.state.trial is None:
                return
            if self.state.starts >= STARTS_MAX:
                self._give_up("the gate ended twice with them")
                return
            try:
                self._write(msgspec.structs.replace(self.state, starts=self.state.starts + 1))
            except OSError as error:  # who cannot count the deaths must not go on dying
                self._give_up(f"the disk cannot be written to ({error.strerror})")

    def accept(self, version: Version, well: tuple[str, ...], connected: bool) -> None:
        """Put these on trial; its operators are obeyed from then on. `well` names the parts that work now."""
        text = f"settings {version.version} of {version.by}: on trial"
        with self._lock:
            self._write(
                msgspec.structs.replace(
                    self.state,
                    trial=version,
                    well=well,
                    connected=connected,
                    starts=0,
                    newest=version.version,
                    desired=version.version,
                    mark=version.mark,
                    word=TRIAL,
                    text="on trial until the gate is in health with them",
                    untold=(*self.state.untold, text),
                    operators=version.operators or self.state.obeyed,
                )
            )
            self._unreadable_why = ""

    def refuse(self, version: int, mark: str, by: str, why: str) -> None:
        """A version that was signed as it has to be, and cannot be used. It is not looked at again."""
        with self._lock:
            self._write(
                msgspec.structs.replace(
                    self.state,
                    failed=_with(self.state.failed, version),
                    newest=max(self.state.newest, version),
                    desired=version,
                    mark=mark,
                    word=REFUSED,
                    text=why[:TEXT_MAX],
                    untold=(*self.state.untold, f"settings {version} of {by}: refused: {why}"[:ROW_TEXT_MAX]),
                )
            )

    def prove(self) -> None:
        """The gate is in health with the settings on trial: they are the last good ones."""
        with self._lock:
            if (trial := self.state.trial) is not None:
                self._write(
                    msgspec.structs.replace(
                        self.state,
                        good=trial,
                        trial=None,
                        starts=0,
                        word=GOOD,
                        text="in use, and the gate is in health with them",
                        untold=(*self.state.untold, f"settings {trial.version} of {trial.by}: good"),
                    )
                )

    def give_up(self, why: str) -> None:
        """The gate is not in health with the settings on trial: the last good ones are in use again.

        They are so in this process also where the disk does not take it, which is a `fault`.
        """
        with self._lock:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        if (trial := self.state.trial) is None:
            return
        back = f"version {self.state.good.version}" if self.state.good else "those of the installation"
        row = f"settings {trial.version} of {trial.by}: returned to {back}: {why}"[:ROW_TEXT_MAX]
        state = msgspec.structs.replace(
            self.state,
            trial=None,
            starts=0,
            failed=_with(self.state.failed, trial.version),
            operators=self.state.obeyed,
            word=RETURNED,
            text=f"returned to {back}: {why}"[:TEXT_MAX],
            untold=(*self.state.untold, row),
        )
        try:
            self._write(state)
        except OSError as error:
            self.state, self.unwritten = state, True  # in this process they are not used again
            self._unwritable_why = (
                f"{self._folder}: that settings failed could not be written: {error.strerror}"
            )

    def told(self, count: int) -> None:
        """So many of `untold` are rows by now. In this process they stay so where the disk does not take it.

        With 0 it writes what is `unwritten` once more.
        """
        with self._lock:
            self.state, self.unwritten = (
                msgspec.structs.replace(self.state, untold=self.state.untold[count:]),
                True,
            )
            self._write(self.state)

    def _write(self, state: State) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with suppress(OSError):  # some file systems cannot, and keep folders all the same
                sync_folder(self._folder.parent)
        write_whole(self._folder / FILE, msgspec.json.encode(state))
        self.state, why = state, ""
        kept = Kept(state.enrolment, state.newest, state.obeyed)
        if kept != self._written:  # after the first file: what that one does not know may come once more
            try:
                write_whole(self._folder / KEPT, msgspec.json.encode(kept))
                self._written = kept
            except OSError as error:  # the change itself is whole
                why = f"{self._folder / KEPT}: could not be written: {error.strerror}: see to the disk"
        self._unwritable_why, self.unwritten = why, bool(why)


def _mark(enrolment: bytes) -> str:
    return hashlib.blake2b(enrolment, digest_size=8).hexdigest()


def _with(failed: tuple[int, ...], version: int) -> tuple[int, ...]:
    return tuple(sorted({*failed, version}))[-FAILED_MAX:]
