"""The catalogue as a gate reads it: against a plain dict, growing, and swapped under load."""

import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware.catalogue import (
    TICKETS_MAX,
    Build,
    Catalogue,
    CatalogueBusy,
    CatalogueError,
    CatalogueFull,
    Counts,
    KeyUnusable,
    Removal,
    Upsert,
)
from firmware.catalogue.folder import current_build
from firmware.catalogue.store import Store
from firmware.core.ticket import Status, Ticket

NOW_MS = 1_790_000_000_000
CODES = [*(f"CODE-{number}" for number in range(8)), " CODE-0", "code-0", "?$%*+-/.:", "Zoë 入場", "x" * 512]
IDS = [f"T{number}" for number in range(6)]

tickets = st.builds(
    Ticket,
    ticket_id=st.sampled_from(IDS),
    status=st.sampled_from(Status),
    event=st.text(max_size=5),
    session=st.just(""),
    type=st.just(""),
    sector=st.sampled_from(["", "A", "B"]),
    gate=st.just(""),
    valid_from_ms=st.none() | st.integers(-(2**40), 2**40),
    valid_until_ms=st.none(),
)
upserts = st.tuples(st.sampled_from(CODES), tickets)
removals = st.sampled_from([*IDS, "nobody's"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "catalogue"


def swap_in(
    folder: Path, listed: dict[str, Ticket], source: str = "list", stamp_utc_ms: int = NOW_MS
) -> Counts:
    """Put a whole list into use, by code."""
    with Build(folder, source=source, stamp_utc_ms=stamp_utc_ms) as build:
        for line, (code, ticket) in enumerate(listed.items(), 1):
            build.add(line, build.digest(code), ticket)
        return build.swap()


class Model:
    """The catalogue as two lines of Python."""

    def __init__(self) -> None:
        self.tickets: dict[str, tuple[str, Ticket]] = {}

    def upsert(self, code: str, ticket: Ticket) -> None:
        self.tickets = {one: kept for one, kept in self.tickets.items() if kept[0] != code}
        self.tickets[ticket.ticket_id] = (code, ticket)

    def get(self, code: str) -> Ticket | None:
        return next((ticket for known, ticket in self.tickets.values() if known == code), None)


def same(catalogue: Catalogue, model: Model) -> None:
    """Every code gets the same answer from both."""
    for code in CODES:
        found = catalogue.get(catalogue.digest(code))
        assert found == model.get(code)
        assert found is None or type(found) is Ticket
    for ticket_id in ("nobody", *model.tickets):
        assert catalogue.named(ticket_id) == model.tickets.get(ticket_id, ("", None))[1]
    assert catalogue.count == len(model.tickets)


class CatalogueAgainstADict(RuleBasedStateMachine):
    """Changes in place, in any order, with codes that move between tickets and tickets that change codes."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.catalogue = Catalogue(Path(self.place.name), now_utc_ms=NOW_MS)
        self.model = Model()
        self.stamp_utc_ms = 0

    @rule(changes=st.lists(upserts | removals, max_size=6))
    def change(self, changes: list[tuple[str, Ticket] | str]) -> None:
        self.stamp_utc_ms += 1
        before = self.model.tickets.copy()
        counts = self.catalogue.apply_changes(
            [
                Removal(change)
                if isinstance(change, str)
                else Upsert(self.catalogue.digest(change[0]), change[1])
                for change in changes
            ],
            stamp_utc_ms=self.stamp_utc_ms,
        )
        for change in changes:
            if isinstance(change, str):
                self.model.tickets.pop(change, None)
            else:
                self.model.upsert(*change)
        assert len(self.model.tickets) - len(before) == counts.new - counts.removed
        if changes:
            assert self.catalogue.stamp_utc_ms == self.stamp_utc_ms

    @precondition(lambda self: self.model.tickets)
    @rule()
    def close_and_open(self) -> None:
        self.catalogue.close()
        self.catalogue.close()
        self.catalogue = Catalogue(Path(self.place.name), now_utc_ms=NOW_MS)
        assert self.catalogue.fault == ""

    @invariant()
    def answers_are_the_same(self) -> None:
        same(self.catalogue, self.model)

    def teardown(self) -> None:
        self.catalogue.close()
        self.place.cleanup()


# Few examples, for every opening starts a process that reads the whole file.
CatalogueAgainstADict.TestCase.settings = settings(max_examples=25, stateful_step_count=12)
test_changes_leave_the_catalogue_as_they_would_a_dict = CatalogueAgainstADict.TestCase


@settings(max_examples=12)
@given(st.lists(st.dictionaries(st.sampled_from(CODES), tickets, max_size=6), min_size=1, max_size=3))
def test_a_list_replaces_all_that_was_there_before(lists: list[dict[str, Ticket]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        before: dict[str, tuple[str, Ticket]] = {}
        for number, drawn in enumerate(lists):
            unique = {ticket.ticket_id: (code, ticket) for code, ticket in drawn.items()}
            counts = swap_in(folder, dict(unique.values()), stamp_utc_ms=number)
            known = before.keys() & unique.keys()
            unchanged = sum(before[one] == unique[one] for one in known)
            assert counts == (
                len(unique) - len(known),
                len(known) - unchanged,
                unchanged,
                len(before) - len(known),
            )
            model = Model()
            model.tickets = before = unique
            with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
                same(catalogue, model)
                assert (catalogue.fault, catalogue.stamp_utc_ms, catalogue.source) == ("", number, "list")


def test_an_empty_catalogue_knows_no_code(folder: Path) -> None:
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.get(catalogue.digest("CODE")) is None
        assert (catalogue.fault, catalogue.count, catalogue.stamp_utc_ms) == ("", 0, 0)
        assert not catalogue.reload()


def test_a_closed_catalogue_knows_no_code(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")
    assert catalogue.get(catalogue.digest("CODE")) is None


def test_what_lies_on_the_disk_is_a_keyed_digest_and_no_code(folder: Path) -> None:
    swap_in(folder, {"SECRET-CODE": Ticket("T-17")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        digest = catalogue.digest("SECRET-CODE")
    key = (folder / "key").read_bytes()
    assert digest == blake2b(b"SECRET-CODE", key=key, digest_size=16).digest()
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert digest in everything
    assert b"T-17" in everything
    assert b"SECRET-CODE" not in everything


# --- the key -----------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_its_owner_reads_it(folder: Path) -> None:
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        digest = catalogue.digest("CODE")
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len((folder / "key").read_bytes()) == 32
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.digest("CODE") == digest
    with Catalogue(folder.with_name("elsewhere"), now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.digest("CODE") != digest


def test_everything_of_a_list_is_read_by_its_owner_only(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    build = current_build(folder)
    assert build is not None
    assert stat.S_IMODE(build.stat().st_mode) == 0o700
    assert stat.S_IMODE((build / "data.mdb").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_can_reach_is_refused_with_the_mend(folder: Path, mode: int) -> None:
    Catalogue(folder, now_utc_ms=NOW_MS).close()
    (folder / "key").chmod(mode)
    with pytest.raises(KeyUnusable, match=f"chmod 600 {folder}/key"):
        Catalogue(folder, now_utc_ms=NOW_MS)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        Build(folder, source="list", stamp_utc_ms=NOW_MS)


@pytest.mark.parametrize("key", [b"", b"short", bytes(33)])
def test_a_key_of_another_length_is_refused(folder: Path, key: bytes) -> None:
    Catalogue(folder, now_utc_ms=NOW_MS).close()
    (folder / "key").write_bytes(key)
    with pytest.raises(KeyUnusable, match=f"{len(key)} bytes instead of 32"):
        Catalogue(folder, now_utc_ms=NOW_MS)


def test_a_list_of_another_key_is_not_used_but_kept_for_its_key(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    key = (folder / "key").read_bytes()
    (folder / "key").write_bytes(bytes(32))
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert "made with another key" in catalogue.fault
        assert catalogue.get(catalogue.digest("CODE")) is None
    (folder / "key").write_bytes(key)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")


def test_a_list_with_a_new_key_takes_the_place_of_one_with_an_older(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    (folder / "key").write_bytes(bytes(32))
    assert swap_in(folder, {"CODE": Ticket("T")}) == Counts(new=1)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")


# --- one writer --------------------------------------------------------------------------------------

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Started]:
    """Start Python with a script and arguments; what is left at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        process.kill()
        with process:
            pass


WRITER = """
import sys
from pathlib import Path
from firmware.catalogue import Build
with Build(Path(sys.argv[1]), source="other", stamp_utc_ms=1):
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_processes_that_start_at_once_agree_on_one_key(folder: Path, start: Started) -> None:
    folder.mkdir()
    script = "import sys, pathlib\nfrom firmware.venue_key import venue_key\nsys.stdin.read()\n"
    script += "print(venue_key(pathlib.Path(sys.argv[1])).hex())"
    makers = [start(script, folder) for _ in range(4)]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.close()
    assert {maker.stdout.read() for maker in makers if maker.stdout is not None} == {
        (folder / "key").read_bytes().hex() + "\n"
    }
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_a_second_writer_is_refused_with_the_process_of_the_first(folder: Path, start: Started) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        writer = start(WRITER, folder)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        with pytest.raises(CatalogueBusy, match=f"process {writer.pid} is writing"):
            Build(folder, source="list", stamp_utc_ms=NOW_MS)
        with pytest.raises(CatalogueBusy, match=f"process {writer.pid} is writing"):
            catalogue.apply_changes([Removal("T")], stamp_utc_ms=NOW_MS)
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")
        writer.communicate("")
        assert catalogue.apply_changes([Removal("T")], stamp_utc_ms=NOW_MS) == Counts(removed=1)


def test_a_gate_starts_beside_a_writer(folder: Path, start: Started) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    writer = start(WRITER, folder)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")


def test_a_writer_that_is_killed_leaves_the_place_free_and_nothing_behind(
    folder: Path, start: Started
) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    writer = start(WRITER, folder)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.kill()
    writer.wait()
    assert {path.name for path in folder.glob("build-*")} == {"build-1", "build-2"}
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.get(catalogue.digest("CODE")) == Ticket("T")
    assert swap_in(folder, {"CODE": Ticket("T")}) == Counts(unchanged=1)
    assert {path.name for path in folder.glob("build-*")} == {"build-1", "build-2"}
    assert (folder / "current").read_text() == "build-2\n"


def test_the_list_in_use_and_the_one_before_are_kept(folder: Path) -> None:
    for number in range(1, 5):
        swap_in(folder, {"CODE": Ticket(f"T{number}")})
        kept = {path.name for path in folder.glob("build-*")}
        assert kept == {f"build-{one}" for one in (number - 1, number) if one}


def test_a_build_without_a_swap_changes_nothing(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        build.add(1, build.digest("OTHER"), Ticket("U"))
    build.close()
    assert {path.name for path in folder.glob("build-*")} == {"build-1"}
    assert (folder / "current").read_text() == "build-1\n"


def test_a_list_with_copies_is_not_taken_until_they_are_left_out(folder: Path) -> None:
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        for line, (code, ticket_id) in enumerate([("A", "1"), ("A", "2"), ("B", "1"), ("C", "3")], 1):
            build.add(line, build.digest(code), Ticket(ticket_id))
        assert set(build.copies()) == {(2, "code", 1), (3, "ticket_id", 1)}
        with pytest.raises(CatalogueError, match="leave one out"):
            build.swap()
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        for line, (code, ticket_id) in enumerate([("A", "1"), ("A", "2"), ("B", "1"), ("C", "3")], 1):
            build.add(line, build.digest(code), Ticket(ticket_id))
        for copied in build.copies():
            build.leave_out(copied.line)
        assert build.swap() == Counts(new=2)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        found = [catalogue.get(catalogue.digest(code)) for code in "ABC"]
    assert found == [Ticket("1"), None, Ticket("3")]


def test_more_tickets_than_the_limit_are_refused(folder: Path) -> None:
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        build.rows = TICKETS_MAX - 1
        build.add(1, build.digest("A"), Ticket("1"))
        with pytest.raises(CatalogueFull, match="5,000,000"):
            build.add(2, build.digest("B"), Ticket("2"))
    swap_in(folder, {"A": Ticket("1")})
    with Store(folder / "build-1") as store:
        store.describe(store.about()._replace(tickets=TICKETS_MAX - 1))
        key = (folder / "key").read_bytes()
        assert store.change([Upsert(b"b" * 16, Ticket("2"))], key, 1, "") == Counts(new=1)
        with pytest.raises(CatalogueFull, match="5,000,000"):
            store.change([Upsert(b"c" * 16, Ticket("3"))], key, 1, "")
        assert store.begin().get(b"c" * 16) is None


# --- swapped and grown under load --------------------------------------------------------------------

SWAPPER = """
import sys
from pathlib import Path
from firmware.catalogue import Build
from firmware.core.ticket import Ticket
for number in range(int(sys.argv[2])):
    with Build(Path(sys.argv[1]), source=str(number), stamp_utc_ms=number) as build:
        for line in range(2000):
            build.add(line, build.digest(f"CODE-{line}"), Ticket(f"T{line}", session=str(number)))
        build.swap()
"""


def test_a_ticket_of_both_lists_is_found_at_every_instant_of_a_swap(folder: Path, start: Started) -> None:
    swap_in(folder, {f"CODE-{line}": Ticket(f"T{line}") for line in range(2000)})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        digests = [catalogue.digest(f"CODE-{line}") for line in range(2000)]
        seen = []
        swapper = start(SWAPPER, folder, 5)
        while swapper.poll() is None:
            for digest in digests[::40]:
                ticket = catalogue.get(digest)
                assert ticket is not None
                if ticket.session not in seen:
                    seen.append(ticket.session)
            catalogue.reload()
        assert swapper.returncode == 0
        catalogue.reload()
        assert catalogue.fault == ""
        assert (catalogue.source, catalogue.count) == ("4", 2000)
        found = [catalogue.get(digest) for digest in digests]
        assert all(ticket is not None and ticket.session == "4" for ticket in found)
    assert seen == sorted(seen), "an older list came back"
    assert seen[0] == ""


def test_a_gate_that_did_not_notice_two_swaps_still_reads_its_list(folder: Path, start: Started) -> None:
    swap_in(folder, {"CODE-0": Ticket("T0", session="mine")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert start(SWAPPER, folder, 2).wait() == 0
        assert not (folder / "build-1").exists()
        assert catalogue.get(catalogue.digest("CODE-0")) == Ticket("T0", session="mine")
        assert catalogue.reload()
        assert catalogue.get(catalogue.digest("CODE-0")) == Ticket("T0", session="1")


def test_changes_wait_until_the_newest_list_was_noticed(folder: Path, start: Started) -> None:
    swap_in(folder, {"CODE-0": Ticket("T0")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert start(SWAPPER, folder, 1).wait() == 0
        with pytest.raises(CatalogueBusy, match="reload"):
            catalogue.apply_changes([Removal("T0")], stamp_utc_ms=NOW_MS)
        catalogue.reload()
        assert catalogue.apply_changes([Removal("T0")], stamp_utc_ms=NOW_MS) == Counts(removed=1)
        assert catalogue.count == 1999


# Larger than the spare address space of a new list, so that the map has to grow.
GROWTH_TICKETS = 30_000
GROWER = """
import sys
from pathlib import Path
from firmware.catalogue import Catalogue, Upsert
from firmware.core.ticket import Ticket
with Catalogue(Path(sys.argv[1]), now_utc_ms=0) as catalogue:
    ticket = Ticket("", event="e" * 120, session="s" * 120, type="t" * 120, sector="x" * 120, gate="g" * 120)
    numbers = range(int(sys.argv[2]))
    changes = (Upsert(catalogue.digest(f"NEW-{n}"), ticket._replace(ticket_id=f"N{n}")) for n in numbers)
    print(catalogue.apply_changes(changes, stamp_utc_ms=7))
"""


def test_a_map_grown_by_another_process_is_followed(folder: Path, start: Started) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue, Catalogue(folder, now_utc_ms=NOW_MS) as second:
        assert "already open in this process" in second.fault
        grower = start(GROWER, folder, GROWTH_TICKETS)
        while grower.poll() is None:
            assert catalogue.get(catalogue.digest("CODE")) == catalogue.named("T") == Ticket("T")
        assert grower.returncode == 0
        assert catalogue.get(catalogue.digest(f"NEW-{GROWTH_TICKETS - 1}")) is not None
        assert not catalogue.reload()
        assert (catalogue.count, catalogue.stamp_utc_ms) == (GROWTH_TICKETS + 1, 7)


def test_a_map_is_grown_under_a_reading_thread(folder: Path) -> None:
    swap_in(folder, {"CODE": Ticket("T")})
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        digest = catalogue.digest("CODE")
        stop = threading.Event()
        wrong: list[object] = []

        def read() -> None:
            try:
                while not stop.is_set():
                    if not catalogue.get(digest) == catalogue.named("T") == Ticket("T"):
                        wrong.append("not found")
            except BaseException as error:  # a thread's end would not fail the test
                wrong.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        ticket = Ticket(
            "", event="e" * 120, session="s" * 120, type="t" * 120, sector="x" * 120, gate="g" * 120
        )
        changes = (
            Upsert(catalogue.digest(f"NEW-{number}"), ticket._replace(ticket_id=f"N{number}"))
            for number in range(GROWTH_TICKETS)
        )
        assert catalogue.apply_changes(changes, stamp_utc_ms=7) == Counts(new=GROWTH_TICKETS)
        stop.set()
        reader.join()
        assert wrong == []
        assert catalogue.count == GROWTH_TICKETS + 1
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert (catalogue.fault, catalogue.count) == ("", GROWTH_TICKETS + 1)
