"""A venue key is exchanged while people come in: list and key change places together, or not at all."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import spool, wire
from firmware.catalogue import Build, Catalogue, KeyUnusable
from firmware.catalogue.folder import current_build, settle_key_in_use, writing
from firmware.core.ticket import Ticket
from firmware.sync import GAP_S, RETRY_S, Taken
from firmware.venue_key import digest_of, key_mark, keyed, keys_of, put_next_key, read_key
from tests.feeds import KEY, NOW_MS, PATIENCE_S, Bridge, Gate, opened, until_fault

NEW_KEY = bytes(range(100, 132))
NEW_CODES = keyed(NEW_KEY)
NAMES = "abcdefgh"


def rekeyed(bridge: Bridge, feed: str = "f2") -> Bridge:
    """The same bridge after `gatepost rekey`: the same tickets in another feed, and numbers go on."""
    other = Bridge(feed=feed, mark=key_mark(NEW_KEY), number=bridge.number, page_items=bridge.page_items)
    for name, (number, item) in bridge.entries.items():
        if isinstance(item, wire.Listed):
            code = f"CODE-{item.ticket_id.removeprefix('a:')}"
            ticket = spool.ticket_of(item)
            other.entries[name] = (number, wire.Listed(digest_of(NEW_CODES, code), *ticket))
        else:
            other.entries[name] = (number, item)
    return other


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    yield from opened(tmp_path / "data")


@pytest.fixture
def bridge() -> Bridge:
    one = Bridge()
    for name in NAMES:
        one.sell(name, sector=name.upper())
    return one


def admits(catalogue: Catalogue, name: str) -> bool:
    """As the gate's loop looks a code up."""
    return catalogue.get(catalogue.digest(f"CODE-{name}")) == Ticket(f"a:{name}", sector=name.upper())


# --- the gate's list and key ----------------------------------------------------------------------------


def test_list_and_key_come_into_use_together_and_the_old_key_is_gone(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    folder = gate.catalogue.folder
    put_next_key(folder, NEW_KEY)
    assert (folder / "key.next").stat().st_mode & 0o777 == 0o600
    assert all(admits(gate.catalogue, name) for name in NAMES)
    assert gate.catalogue.key_mark == key_mark(KEY), "until its list is there the new key is of no use"

    new = rekeyed(bridge)
    assert gate.follow(new) == Taken(done=True)
    assert gate.catalogue.key_mark == key_mark(NEW_KEY)
    assert all(admits(gate.catalogue, name) for name in NAMES)
    assert gate.holds(new)
    assert (folder / "key").read_bytes() == NEW_KEY
    assert not (folder / "key.next").exists()
    assert KEY not in {path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_what_an_old_key_digests_is_in_no_list_any_more(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    stolen = keyed((gate.catalogue.folder / "key").read_bytes())
    assert gate.catalogue.get(digest_of(stolen, "CODE-a")) is not None
    put_next_key(gate.catalogue.folder, NEW_KEY)
    gate.follow(rekeyed(bridge))
    assert [gate.catalogue.get(digest_of(stolen, f"CODE-{name}")) for name in NAMES] == [None] * len(NAMES)


def test_a_ticket_is_found_at_every_instant_of_a_rotation(gate: Gate, bridge: Bridge) -> None:
    for number in range(500):
        bridge.sell(f"x{number}")
    bridge.page_items = 50
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    new, scans, lost = rekeyed(bridge), 0, []
    gate.sync.connected()
    done = threading.Event()

    def sync() -> None:  # as the uplink's thread does, beside the loop
        while not done.is_set():
            request = gate.sync.request()
            for page in new.pages(request) if request else ():
                if gate.sync.take(page).done:
                    done.set()
            done.wait(0.005)

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        while not done.is_set():
            gate.catalogue.reload()
            for name in NAMES:
                scans += 1
                if not admits(gate.catalogue, name):
                    lost.append(name)
    finally:
        done.set()
        thread.join()
    assert (lost, gate.catalogue.key_mark) == ([], key_mark(NEW_KEY))
    assert scans > len(NAMES)


def test_tickets_named_by_their_id_are_found_after_a_rotation(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    gate.follow(rekeyed(bridge))
    assert gate.catalogue.named("a:b") == Ticket("a:b", sector="B")


def test_after_a_rotation_changes_go_on_in_place(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    new = rekeyed(bridge)
    gate.follow(new)
    new.say(wire.Gone("a:a"))
    new.say(wire.Listed(digest_of(NEW_CODES, "CODE-z"), *Ticket("a:z", sector="Z")))
    assert gate.sync.take_changes(new.changes(new.number - 2)) == Taken(done=True)
    assert (admits(gate.catalogue, "a"), admits(gate.catalogue, "z")) == (False, True)
    assert current_build(gate.catalogue.folder) == gate.catalogue.folder / "build-2"


# --- without the new key --------------------------------------------------------------------------------


def test_a_gate_without_the_new_key_keeps_its_list_says_why_and_takes_it_when_it_has_the_key(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    new = rekeyed(bridge)
    taken = gate.follow(new)
    assert "different venue keys" in taken.fault
    assert "gatepost order GATE rotate_key" in gate.sync.fault
    assert gate.sync.take_changes(new.changes(new.number)).fault == taken.fault
    assert all(admits(gate.catalogue, name) for name in NAMES)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    gate.wait(RETRY_S)
    assert gate.follow(new) == Taken(done=True)
    assert gate.holds(new)
    assert gate.sync.fault == ""


def test_live_changes_of_the_new_key_lead_to_the_whole_list(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    new = rekeyed(bridge)
    assert gate.sync.take_changes(new.changes(new.number)) == Taken(ask=True)
    assert gate.follow(new) == Taken(done=True)
    assert gate.catalogue.key_mark == key_mark(NEW_KEY)


def test_no_digest_of_another_key_goes_into_a_list_even_under_the_same_name(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    new = rekeyed(bridge, feed=bridge.feed)
    new.say(wire.Listed(digest_of(NEW_CODES, "CODE-z"), *Ticket("a:z", sector="Z")))
    assert gate.sync.take_changes(new.changes(new.number - 1)) == Taken(ask=True)
    (page,) = new.pages(gate.ask())
    assert page.after == bridge.number
    assert not gate.sync.take(page).done
    assert gate.catalogue.count == len(NAMES), "nothing of it is in the list"
    gate.wait(GAP_S)
    assert gate.follow(new) == Taken(done=True)
    assert (admits(gate.catalogue, "a"), admits(gate.catalogue, "z")) == (True, True)


def test_a_list_half_fetched_with_a_key_that_was_withdrawn_is_fetched_anew(
    tmp_path: Path, bridge: Bridge
) -> None:
    data, third = tmp_path / "data", bytes(range(150, 182))
    for gate in opened(data):
        gate.follow(bridge)
        put_next_key(gate.catalogue.folder, NEW_KEY)
        gate.sync.connected()
        first, *_, last = rekeyed(bridge).pages(gate.ask())
        gate.sync.take(first)
        put_next_key(gate.catalogue.folder, third)  # a second gate was lost meanwhile
        assert "different venue keys" in gate.sync.take(last).fault
        newest = Bridge(feed="f3", mark=key_mark(third))
        newest.say(wire.Listed(digest_of(keyed(third), "CODE-a"), *Ticket("a:a", sector="A")))
        gate.wait(RETRY_S)
        assert gate.follow(newest) == Taken(done=True)
        assert admits(gate.catalogue, "a")
        assert keys_of(gate.catalogue.folder) == (third,)


def test_a_spool_whose_key_is_gone_is_thrown_away(tmp_path: Path, bridge: Bridge) -> None:
    data = tmp_path / "data"
    new = rekeyed(bridge)
    new.page_items = 100
    for gate in opened(data):
        gate.follow(bridge)
        put_next_key(gate.catalogue.folder, NEW_KEY)
        gate.sync.connected()
        with writing(gate.catalogue.folder):  # so that no child can make the list yet
            (page,) = new.pages(gate.ask())
            gate.sync.take(page)
            until_fault(gate)
    (data / "catalogue" / "key.next").unlink()
    for gate in opened(data):
        until_fault(gate)
        assert "a venue key that is not here any more" in gate.sync.fault
        assert (data / "spool").stat().st_size == 0
        assert all(admits(gate.catalogue, name) for name in NAMES)


def test_a_key_to_come_that_cannot_be_read_does_not_keep_a_gate_from_its_list(
    tmp_path: Path, bridge: Bridge
) -> None:
    data = tmp_path / "data"
    for gate in opened(data):
        gate.follow(bridge)
    coming = data / "catalogue" / "key.next"
    for content, mode in ((b"short", 0o600), (NEW_KEY, 0o644)):
        coming.write_bytes(content)
        coming.chmod(mode)
        for gate in opened(data):
            assert all(admits(gate.catalogue, name) for name in NAMES)
            assert "different venue keys" in gate.sync.take(rekeyed(bridge).pages(gate.ask())[0]).fault


# --- cuts -----------------------------------------------------------------------------------------------


def swapped_and_cut(folder: Path, code: str) -> None:
    """What a cut leaves between the swap of a list of the new key and the exchange of the key files."""
    put_next_key(folder, NEW_KEY)
    with Build(folder, source="list", stamp_utc_ms=NOW_MS, mark=key_mark(NEW_KEY)) as build:
        build.add(1, digest_of(NEW_CODES, code), Ticket("T"))
        build.swap()
    (folder / "key").write_bytes(KEY)
    put_next_key(folder, NEW_KEY)


def test_a_cut_between_the_swap_and_the_end_of_the_old_key_is_mended_at_the_next_start(
    tmp_path: Path, bridge: Bridge
) -> None:
    for gate in opened(tmp_path / "data"):
        gate.follow(bridge)
    folder = tmp_path / "data" / "catalogue"
    swapped_and_cut(folder, "CODE-a")
    with writing(folder), Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:  # beside a writer it only reads
        assert (catalogue.fault, catalogue.get(catalogue.digest("CODE-a"))) == ("", Ticket("T"))
        assert read_key(folder / "key") == KEY
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert (catalogue.fault, catalogue.get(catalogue.digest("CODE-a"))) == ("", Ticket("T"))
        assert keys_of(folder) == (NEW_KEY,)


def test_a_list_imported_after_such_a_cut_is_made_with_the_new_key(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        build.swap()
    (folder / "key").write_bytes(KEY)
    swapped_and_cut(folder, "OLD")
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        build.add(1, build.digest("CODE"), Ticket("U"))
        build.swap()
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.key_mark == key_mark(NEW_KEY)
        assert catalogue.get(digest_of(NEW_CODES, "CODE")) == Ticket("U")


def test_an_import_leaves_a_key_to_come_alone(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    put_next_key(gate.catalogue.folder, NEW_KEY)
    with Build(gate.catalogue.folder, source="list.csv", stamp_utc_ms=NOW_MS) as build:
        build.add(1, build.digest("LOCAL"), Ticket("local"))
        build.swap()
    assert gate.catalogue.reload()
    assert gate.catalogue.get(gate.catalogue.digest("LOCAL")) == Ticket("local")
    assert keys_of(gate.catalogue.folder) == (KEY, NEW_KEY)


def test_a_list_of_an_older_release_names_no_key_and_keeps_the_one_there_was(
    tmp_path: Path, bridge: Bridge
) -> None:
    for gate in opened(tmp_path / "data"):
        gate.follow(bridge)
    folder = tmp_path / "data" / "catalogue"
    (folder / "build-1" / "key-mark").unlink()
    put_next_key(folder, NEW_KEY)
    with writing(folder):
        settle_key_in_use(folder)
    for gate in opened(tmp_path / "data"):
        assert all(admits(gate.catalogue, name) for name in NAMES)
        assert keys_of(folder) == (KEY, NEW_KEY)
        assert gate.follow(rekeyed(bridge)) == Taken(done=True)


def test_a_list_is_not_made_with_a_key_that_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="of another venue key: give this gate that one"):
        Build(tmp_path / "catalogue", source="list", stamp_utc_ms=NOW_MS, mark=key_mark(NEW_KEY))


ROTATOR = """
import sys
from pathlib import Path
from firmware.catalogue import Build
from firmware.core.ticket import Ticket
from firmware.venue_key import digest_of, key_mark, keyed, keys_of, put_next_key
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(1_000_000):
    key = bytes([turn % 251]) * 32
    put_next_key(folder, key)
    with Build(folder, source=f"turn {turn}", stamp_utc_ms=1, mark=key_mark(key)) as build:
        for number in range(20):
            build.add(number, digest_of(keyed(key), f"CODE-{number}"), Ticket(f"T{number}"))
        build.swap()
    print(turn, flush=True)
"""


@pytest.mark.parametrize("kill", range(12))
def test_killed_at_any_moment_of_a_rotation_the_list_in_use_has_its_key(tmp_path: Path, kill: int) -> None:
    folder = tmp_path / "catalogue"
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        for number in range(20):
            build.add(number, build.digest(f"CODE-{number}"), Ticket(f"T{number}"))
        build.swap()
    environment = {**os.environ, "PYTHONPATH": str(Path(spool.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", ROTATOR, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as rotator:
        assert rotator.stdin is not None
        assert rotator.stdout is not None
        assert rotator.stdout.readline() == b"ready\n"
        rotator.stdin.write(b"\n")
        rotator.stdin.flush()
        rotator.stdout.readline()
        threading.Event().wait(kill * 0.017)  # a turn takes some 100 ms: the kills fall all over it
        rotator.send_signal(signal.SIGKILL)
        rotator.wait(PATIENCE_S)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert (catalogue.fault, catalogue.count) == ("", 20)
        found = [catalogue.get(catalogue.digest(f"CODE-{number}")) for number in range(20)]
        assert found == [Ticket(f"T{number}") for number in range(20)]
        assert key_mark(read_key(folder / "key")) == catalogue.key_mark
