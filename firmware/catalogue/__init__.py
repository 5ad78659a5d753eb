"""What this gate was told about tickets: keyed digests of codes, and their tickets, on LMDB.

A gate reads through `Catalogue`, in a microsecond or two, and notices when another list is in use. `Build`
makes a whole list beside the one in use, reads it again and swaps it in. `Catalogue.apply_changes` changes
the one in use. There is one writer at a time, in any process; readers wait for nobody.

    key                        32 random bytes of this venue, read by its owner only
    key.next                   the key that is to come, until a list that was made with it is in use
    lock                       held by the writer, whose process id it holds
    current                    the name of the build in use; replaced in one step
    build-<n>/                 a list: an LMDB environment, see `store`
    damaged-<date>-build-<n>/  a list that could not be read, set aside whole
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Self

import lmdb
import msgspec

from firmware.catalogue.build import Build, Copied
from firmware.catalogue.check import about_fault, build_fault, outside_fault, set_aside_if_damaged
from firmware.catalogue.folder import (
    CatalogueBusy,
    CatalogueDamaged,
    CatalogueError,
    CatalogueFull,
    Mark,
    current_build,
    mark_of_current,
    settle_key_in_use,
    writing,
)
from firmware.catalogue.store import (
    ABOUT,
    TICKETS_MAX,
    About,
    Counts,
    Removal,
    Store,
    Upsert,
    decode_about,
    decode_ticket,
    disk_takes,
)
from firmware.core.ticket import Ticket
from firmware.venue_key import KeyUnusable, digest_of, key_mark, key_with, keyed, keys_of, venue_key

__all__ = [
    "TICKETS_MAX",
    "Build",
    "Catalogue",
    "CatalogueBusy",
    "CatalogueDamaged",
    "CatalogueError",
    "CatalogueFull",
    "Copied",
    "Counts",
    "KeyUnusable",
    "Removal",
    "Upsert",
]

CHANGES_PER_COMMIT = 1000  # one flush for so many, which change at most about 4000 pages
CHANGES_BYTES = 16 << 20  # those pages, for a full disk to say what was needed
OPEN_TRIES_MAX = 3  # lists may be swapped in while one is being opened; not so often that a third try fails


class Catalogue:
    """The list in use. `get`, `digest` and `reload` belong to one thread, which waits for no other.

    `apply_changes` and `about` belong to any one other thread. A process has one `Catalogue` on a folder:
    LMDB does not take two.

    `fault` is empty, or says what is wrong: then the catalogue is empty, or still the older one. `source`
    and `stamp_utc_ms` say where the list came from, and when it was made or last changed.
    """

    def __init__(self, folder: Path, *, now_utc_ms: int) -> None:
        """Open the list in use, after a child process has read all of it. Raises `KeyUnusable`, `OSError`.

        A list that cannot be read is set aside, and the catalogue is empty. `now_utc_ms` dates its name.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.fault = ""
        self.count = 0
        self.stamp_utc_ms = 0
        self.source = ""
        self.folder = folder
        self._have_key(venue_key(folder))
        self._store: Store | None = None
        self._mark: Mark | None = None
        self._growing = threading.Lock()
        self._using = threading.Lock()  # of `_store` by the writing thread: meanwhile it is not exchanged
        self._start(now_utc_ms)

    def digest(self, code: str) -> bytes:
        """What stands for a code in the catalogue."""
        digest = self._keyed.copy()
        digest.update(code.encode())
        return digest.digest()

    def get(self, digest: bytes) -> Ticket | None:
        """The ticket of a code. Raises `CatalogueDamaged` if it cannot be read.

        Nothing holds the transaction beyond its own line, so none is ever long.
        """
        store = self._store
        if store is None:
            return None
        try:
            value = store.begin().get(digest)
        except lmdb.Error:
            value = self._get_while_growing(store, digest)
        try:
            return None if value is None else decode_ticket(value)
        except msgspec.MsgspecError as error:
            raise CatalogueDamaged(
                f"{store.build}: a ticket cannot be read: import the list again"
            ) from error

    def named(self, ticket_id: str) -> Ticket | None:
        """The ticket of an id, whatever its code. Raises `CatalogueDamaged` if it cannot be read.

        Three look-ups, for codes that name their ticket; `get` is the way of all others.
        """
        store = self._store
        if store is None:
            return None
        id_digest = digest_of(self._ids_keyed, ticket_id)
        try:
            digest = store.code_of(id_digest)
        except lmdb.Error:
            digest = self._while_growing(store, partial(store.code_of, id_digest))
        ticket = None if digest is None else self.get(digest)
        return ticket if ticket is not None and ticket.ticket_id == ticket_id else None

    def reload(self) -> bool:
        """Look whether another list is in use: a few microseconds if none is. True when this one is now."""
        try:
            mark = mark_of_current(self.folder)
        except OSError:
            mark = self._mark  # of a card that fails the journal tells; the list in memory goes on
        if mark == self._mark or mark is None or not self._using.acquire(blocking=False):
            self._tell()
            return False
        try:
            return self._exchange(mark)
        finally:
            self._using.release()

    @property
    def follows(self) -> bool:
        """Whether the list that it reads is the one in use; `reload` sees to that."""
        return mark_of_current(self.folder) in (None, self._mark)

    def takes(self, mark: bytes) -> bool:
        """Whether the key of this mark is here, in use or to come: a whole list of it can be put into use."""
        try:
            return key_with(mark, keys_of(self.folder)) is not None
        except KeyUnusable:
            return False

    def about(self) -> About | None:
        """What the list says of itself at this moment; `None` where there is none that can be read."""
        with self._using:
            try:
                return None if self._store is None else self._about(self._store)
            except (CatalogueDamaged, msgspec.MsgspecError):
                return None  # `reload` says so in `fault`

    def _exchange(self, mark: Mark) -> bool:
        """Another list, and with it its key: nobody looks a digest of one up in the other."""
        try:
            store, key = self._open()
        except (CatalogueError, KeyUnusable, lmdb.Error, msgspec.MsgspecError, OSError) as error:
            self._mark = mark
            self.fault = f"a new list could not be opened: {error}"
            return False
        older, self._store, self.fault = self._store, store, ""
        self._have_key(key)
        self._tell()
        if older is not None:
            older.close()
        return True

    def apply_changes(
        self, changes: Iterable[Upsert | Removal], *, stamp_utc_ms: int, source: str = "", mark: bytes = b""
    ) -> Counts:
        """Change the list in use, in order, `CHANGES_PER_COMMIT` at a time, each commit whole and flushed.

        `source` is what the list then says of its source, also where nothing else changes. `mark` is that of
        the key which the digests were made with, where they come from elsewhere.
        Raises `CatalogueBusy` while another writes, or when another list was swapped in that `reload` has
        not seen; `CatalogueFull` where the disk takes no more. What was committed stays: apply all again.
        """
        if mark_of_current(self.folder) is None:
            with Build(self.folder, source=source, stamp_utc_ms=stamp_utc_ms) as build:
                build.swap()
            self.reload()
        total = Counts()
        with writing(self.folder), self._using:
            store = self._store
            other_key = mark not in (b"", self.key_mark)
            if store is None or mark_of_current(self.folder) != self._mark or other_key:
                raise CatalogueBusy(f"{self.folder}: another list is in use: reload, and apply again")
            waiting = iter(changes)
            batch = list(islice(waiting, CHANGES_PER_COMMIT))
            while batch or source:
                with disk_takes(self.folder, CHANGES_BYTES):
                    counts = self._apply(store, batch, stamp_utc_ms, source)
                total = Counts(*map(sum, zip(total, counts, strict=True)))
                if not (batch := list(islice(waiting, CHANGES_PER_COMMIT))):
                    break
        self._tell()
        return total

    def close(self) -> None:
        """Close. From then on no ticket is found."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        """The catalogue itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _start(self, now_utc_ms: int) -> None:
        if mark_of_current(self.folder) is None:
            return
        try:
            with writing(self.folder):
                settle_key_in_use(self.folder)
                self.fault = set_aside_if_damaged(self.folder, keys_of(self.folder), now_utc_ms)
        except CatalogueBusy:  # an import runs: it set aside what was damaged, and may swap at any time
            self.fault = self._fault_beside_a_writer()
        if self.fault:
            self._mark = mark_of_current(self.folder)
            return
        try:
            self._store, key = self._open()
        except (CatalogueError, lmdb.Error, msgspec.MsgspecError, OSError) as error:
            self.fault = f"the list could not be opened: {error}"
        else:
            self._have_key(key)
            self._store.environment.reader_check()  # frees the slots of readers that were killed
            self._tell()

    def _fault_beside_a_writer(self) -> str:
        try:
            build = current_build(self.folder)
        except CatalogueDamaged as error:
            return str(error)
        fault = None if build is None else build_fault(build, keys_of(self.folder), trial=False)
        return "" if fault is None or build is None else f"{build.name} {fault.reason}"

    def _have_key(self, key: bytes) -> None:
        self._key, self.key_mark = key, key_mark(key)
        self._keyed, self._ids_keyed = keyed(key), keyed(key, b"ticket id")

    def _open(self) -> tuple[Store, bytes]:
        """Open the list in use, with its key; `_mark` is then its mark. Another has read all of it before."""
        for _ in range(OPEN_TRIES_MAX):
            self._mark = mark_of_current(self.folder)
            build = current_build(self.folder)
            if build is None or mark_of_current(self.folder) != self._mark:
                continue
            if fault := outside_fault(build):
                raise CatalogueDamaged(f"{build.name} {fault}")
            keys = keys_of(self.folder)
            store = Store(build)
            store.open_ids()
            about = store.about()
            key = key_with(about.key_mark, keys)
            if key is None or about_fault(about, keys):
                store.close()
                raise CatalogueError(f"{build.name} {about_fault(about, keys)}")
            return store, key
        raise CatalogueBusy(f"{self.folder}: lists are swapped in faster than one can be opened")

    def _tell(self) -> None:
        """Say what the list says of itself; another process may have changed it."""
        if self._store is None:
            return
        try:
            about = self._about(self._store)
        except (CatalogueDamaged, msgspec.MsgspecError) as error:
            self.fault = f"{self._store.build.name} does not say what it is: {error}"
        else:
            self.count, self.stamp_utc_ms, self.source = about.tickets, about.stamp_utc_ms, about.source

    def _about(self, store: Store) -> About:
        return decode_about(self._get_while_growing(store, ABOUT) or b"")

    def _get_while_growing(self, store: Store, digest: bytes) -> bytes | None:
        return self._while_growing(store, lambda: store.begin().get(digest))

    def _while_growing(self, store: Store, look: Callable[[], bytes | None]) -> bytes | None:
        """Another thread is replacing the map, or another process has grown it: wait, or follow."""
        try:
            with self._growing:
                with suppress(lmdb.MapResizedError):
                    return look()
                store.environment.set_mapsize(0)
                return look()
        except lmdb.Error as error:
            raise CatalogueDamaged(f"{store.build}: {error}: import the list again") from error

    def _apply(self, store: Store, batch: list[Upsert | Removal], stamp_utc_ms: int, source: str) -> Counts:
        while True:
            try:
                return store.change(batch, self._key, stamp_utc_ms, source)
            except lmdb.MapFullError:
                with self._growing:
                    store.grow()
            except lmdb.MapResizedError:
                with self._growing:
                    store.environment.set_mapsize(0)
            except msgspec.MsgspecError as error:
                raise CatalogueDamaged(f"{store.build}: {error}: import the list again") from error
