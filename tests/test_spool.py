"""A whole list on its way: what becomes of it, and what a power cut or a kill leaves of it."""

import random
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import spool, wire
from firmware.catalogue import Catalogue, CatalogueFull
from firmware.catalogue.folder import writing
from firmware.core.ticket import Status, Ticket
from firmware.spool import Spool
from firmware.sync import RETRY_S, Taken
from firmware.venue_key import digest_of
from tests.feeds import (
    CODES,
    KEY,
    NOW_MS,
    PATIENCE_S,
    Bridge,
    Gate,
    moved,
    opened,
    page_of,
    until,
    until_fault,
)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    yield from opened(tmp_path / "data")


@pytest.fixture
def bridge() -> Bridge:
    one = Bridge()
    for name in "abcdefgh":
        one.sell(name, sector=name.upper())
    return one


# --- of one ticket, the newest word ---------------------------------------------------------------------

NAMES = "abcd"
words = st.one_of(
    st.tuples(st.just("sell"), st.sampled_from(NAMES), st.sampled_from("123"), st.sampled_from("XY")),
    st.tuples(st.just("refund"), st.sampled_from(NAMES), st.just(""), st.just("")),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, max_size=24), st.integers(1, 5))
def test_a_whole_list_ends_as_the_same_words_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, str, str]], page_items: int
) -> None:
    """The pages hold every word, as they do when tickets change while they are fetched."""
    data = tmp_path_factory.mktemp("words")
    folder = data / "catalogue"
    items: list[wire.Change] = [
        wire.Gone(f"a:{name}")
        if word == "refund"
        else wire.Listed(digest_of(CODES, code), f"a:{name}", sector=sector)
        for word, name, code, sector in said
    ]
    tickets: dict[str, wire.Listed] = {}
    for item in items:
        tickets.pop(item.ticket_id, None)  # type: ignore[union-attr]  # no movements among them
        if isinstance(item, wire.Listed):
            tickets = {name: kept for name, kept in tickets.items() if kept.digest != item.digest}
            tickets[item.ticket_id] = item
    folder.mkdir(mode=0o700)
    (folder / "key").touch(0o600)
    (folder / "key").write_bytes(KEY)
    cuts = [*range(0, len(items), page_items), len(items)] if items else [0, 0]
    with Spool(data / "spool") as pages:
        for after, upto in pairwise(cuts):
            pages.append(page_of(after, upto, items[after:upto], more=upto < len(items)))
    spool.build(data / "spool", folder)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        for code in "123":
            digest = digest_of(CODES, code)
            expected = [spool.ticket_of(item) for item in tickets.values() if item.digest == digest]
            assert catalogue.get(digest) == (expected[0] if expected else None)
        assert (catalogue.fault, catalogue.count) == ("", len(tickets))
        assert catalogue.source == f"bridge f1 {len(items)}"
    shutil.rmtree(data)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
times = st.none() | st.integers(0, (1 << 53) - 1)


@given(
    st.builds(
        wire.Listed,
        digest=st.binary(min_size=16, max_size=16),
        ticket_id=texts
        | st.sampled_from(["", "x" * 31, "x" * 32, "é" * 127, "é" * 128, "x" * 255, "x" * 256]),
        status=st.sampled_from(Status),
        event=texts,
        valid_from_ms=times,
        valid_until_ms=times,
    )
)
def test_a_ticket_cut_out_of_a_page_has_the_bytes_of_a_decoded_one(item: wire.Listed) -> None:
    encoded = msgspec.msgpack.encode(item)
    assert encoded.startswith(spool.LISTED)
    ticket = spool.ticket_of(item)
    cut = spool.encoded(encoded)
    assert cut == (item.digest, item.ticket_id.encode(), msgspec.msgpack.encode(ticket))
    assert msgspec.msgpack.decode(cut[2], type=Ticket) == ticket


def test_tickets_of_one_id_in_a_whole_list_with_movements_between_come_in_once(
    gate: Gate, bridge: Bridge
) -> None:
    request = gate.ask()
    pages = bridge.pages(request)
    bridge.sell("a", code="CHANGED")
    bridge.say(moved(1))
    bridge.refund("b")
    bridge.sell("thief", code="CODE-c")
    bridge.refund("c")
    for page in pages[:2]:
        gate.sync.take(page)
    rest = bridge.pages(wire.CatalogueRequest(feed="f1", cursor=pages[1].upto, pages=9))
    for page in rest:
        gate.sync.take(page)
    assert gate.follow(bridge).done
    assert gate.holds(bridge)
    assert gate.noted == [moved(1)]


def test_a_spool_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(0, 1, [wire.Listed(bytes(16), "a:1")], more=True)
    monkeypatch.setattr(spool, "SPOOL_BYTES_MAX", 2 * (spool.HEAD_BYTES + len(wire.encode(page))))
    with Spool(tmp_path / "spool") as pages:
        pages.append(page)
        pages.append(page)
        with pytest.raises(CatalogueFull, match="split it between gates"):
            pages.append(page)
    assert (tmp_path / "spool").stat().st_size == spool.SPOOL_BYTES_MAX


# --- power cuts and kills -------------------------------------------------------------------------------


def spooled(gate: Gate, bridge: Bridge, pages: int) -> list[wire.CataloguePage]:
    """The first pages of the whole list in the spool."""
    bridge.page_items = 1
    taken = bridge.pages(gate.ask())[:pages]
    for page in taken:
        gate.sync.take(page)
    return taken


@pytest.mark.parametrize("seed", range(12))
def test_a_spool_torn_anywhere_goes_on_from_its_last_whole_page(
    tmp_path: Path, bridge: Bridge, seed: int
) -> None:
    chance = random.Random(seed)
    data = tmp_path / "data"
    for gate in opened(data):
        spooled(gate, bridge, 5)
    path = data / "spool"
    whole = path.read_bytes()
    ends = [0]
    while ends[-1] < len(whole):
        ends.append(ends[-1] + spool.HEAD_BYTES + int.from_bytes(whole[ends[-1] : ends[-1] + 4]))
    assert len(ends) == 6
    cut = chance.randrange(len(whole))
    tail = chance.choice([0, 1, 8, 300])
    path.write_bytes(whole[:cut] + chance.choice([bytes(tail), chance.randbytes(tail)]))
    for gate in opened(data):
        assert gate.ask().cursor == max(number for number, end in enumerate(ends) if end <= cut)
        assert gate.follow(bridge) == Taken(done=True)
        assert gate.holds(bridge)


def test_zeros_behind_a_spool_are_cut_off(tmp_path: Path, bridge: Bridge) -> None:
    """A file system may have lengthened the file before the cut, and not written what belongs there."""
    data = tmp_path / "data"
    for gate in opened(data):
        (*_, last) = spooled(gate, bridge, 5)
    kept = (data / "spool").read_bytes()
    (data / "spool").write_bytes(kept + bytes(4096))
    for gate in opened(data):
        assert gate.ask().cursor == last.upto
        assert (data / "spool").read_bytes() == kept


LIMITED = """
import resource, signal, sys
from pathlib import Path
from firmware import wire
from firmware.spool import Spool
from tests.feeds import PATIENCE_S, page_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
page = page_of(0, 1, [wire.Gone("a:1")], more=True)
with Spool(Path(sys.argv[1])) as pages:
    pages.append(page)
    size = Path(sys.argv[1]).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
    try:
        pages.append(page_of(1, 2, [wire.Gone("a:2")], more=True))
    except OSError as error:
        print(error.strerror)
    print(Path(sys.argv[1]).stat().st_size - size, pages.last.upto)
"""


def test_a_page_that_goes_in_by_half_is_taken_out_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "spool")]
    written = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert written.stdout == "File too large\n0 1\n"


def test_a_spool_of_another_release_or_of_noise_begins_anew(tmp_path: Path, bridge: Bridge) -> None:
    data = tmp_path / "data"
    data.mkdir()
    payload = msgspec.msgpack.encode({"v": 2, "later": 1})
    (data / "spool").write_bytes(len(payload).to_bytes(4) + zlib.crc32(payload).to_bytes(4) + payload)
    for gate in opened(data):
        assert gate.follow(bridge) == Taken(done=True)
        assert gate.holds(bridge)


def test_a_spool_that_changes_under_the_child_is_fetched_anew(gate: Gate, bridge: Bridge) -> None:
    with writing(gate.data / "catalogue"):
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)
        until_fault(gate)
    with (gate.data / "spool").open("r+b") as file:
        file.seek(spool.HEAD_BYTES + 3)
        file.write(b"\x00\x00\x00")
    gate.wait(RETRY_S)
    until(lambda: (gate.sync.request(), "does not hold a whole list" in gate.sync.fault)[1])
    gate.wait(RETRY_S)
    assert gate.ask().cursor == 0
    assert gate.follow(bridge) == Taken(done=True)


def test_a_whole_spool_is_made_into_a_list_after_a_restart(tmp_path: Path, bridge: Bridge) -> None:
    data = tmp_path / "data"
    for gate in opened(data):
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)  # and the gate stops while the child is at work
    for gate in opened(data):
        assert gate.ask().cursor == 8
        assert gate.holds(bridge)


def test_a_cut_between_the_new_list_and_the_end_of_its_spool_makes_no_second_list(
    tmp_path: Path, bridge: Bridge
) -> None:
    data = tmp_path / "data"
    for gate in opened(data):
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)
        kept = (data / "spool").read_bytes()
        gate.ask()
    (data / "spool").write_bytes(kept)
    current = (data / "catalogue" / "current").read_bytes()
    for gate in opened(data):
        assert gate.ask().cursor == 8
        assert (data / "catalogue" / "current").read_bytes() == current
        assert (data / "spool").stat().st_size == 0


KILLED = """
import sys
from pathlib import Path
from tests.feeds import PATIENCE_S, Bridge, opened
bridge = Bridge(page_items=50)
for number in range(int(sys.argv[2])):
    bridge.sell(str(number))
for gate in opened(Path(sys.argv[1])):
    gate.follow(bridge)
    print("there", flush=True)
    for turn in range(1000):
        before = bridge.number
        for number in range(20):
            bridge.sell(str(number), sector=str(turn))
        assert gate.sync.take_changes(bridge.changes(before)).done
        print(turn, flush=True)
"""
SOLD = 3000


@pytest.mark.parametrize("lines", [0, 1, 2, 12])
def test_a_gate_killed_at_any_moment_has_one_list_with_its_cursor(tmp_path: Path, lines: int) -> None:
    data = tmp_path / "data"
    bridge = Bridge(page_items=50)
    for number in range(SOLD):
        bridge.sell(str(number))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(data), str(SOLD)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        if lines == 0:  # a late look may find the list in use, and its spool empty again
            begun = (data / "spool", data / "catalogue" / "current")
            until(lambda: any(path.exists() and path.stat().st_size > 0 for path in begun))
        for _ in range(lines):
            assert child.stdout.readline()
        child.kill()
    for gate in opened(data):
        assert gate.catalogue.fault == ""
        about = gate.catalogue.about()
        if about is None:
            assert lines == 0
            assert gate.sync.cursor == 0
            continue
        assert about.tickets == SOLD
        turns, odd = divmod(gate.sync.cursor - SOLD, 20)
        assert (gate.sync.feed, odd) == ("f1", 0), "a page goes in whole"
        assert turns >= lines - 1
        for number in range(20):
            ticket = gate.catalogue.get(digest_of(CODES, f"CODE-{number}"))
            assert ticket == Ticket(f"a:{number}", sector=str(turns - 1) if turns else "")
