"""The catalogue follows the bridge: from nothing, by pages, by live changes, through every break."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware import sync, wire
from firmware.catalogue import CHANGES_PER_COMMIT
from firmware.catalogue.folder import writing
from firmware.core.ticket import Status
from firmware.sync import ANSWER_S, FOLLOW_S, GAP_S, RETRY_S, STAMP_MS, WHOLE_AGAIN_S, Taken
from firmware.venue_key import digest_of, key_mark
from tests.feeds import CODES, KEY, NOW_MS, Bridge, Gate, moved, opened, until, until_fault


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    yield from opened(tmp_path / "data")


@pytest.fixture
def bridge() -> Bridge:
    one = Bridge()
    for name in "abcdefgh":
        one.sell(name, sector=name.upper())
    return one


# --- the way to the present -----------------------------------------------------------------------------


def test_a_new_gate_fetches_the_whole_list_page_by_page(gate: Gate, bridge: Bridge) -> None:
    assert gate.ask() == wire.CatalogueRequest(feed="", cursor=0, pages=sync.REQUEST_PAGES)
    assert gate.follow(bridge) == Taken(ask=False, done=True, fault="")
    assert gate.holds(bridge)
    assert (gate.sync.feed, gate.sync.cursor, gate.sync.at_present) == ("f1", 8, True)
    assert gate.catalogue.stamp_utc_ms == NOW_MS
    assert (gate.data / "spool").stat().st_size == 0
    assert gate.sync.request() is None, "at the present nothing is asked for"


def test_the_list_in_use_stays_until_the_whole_new_one_is_there(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    other = Bridge(feed="f2")
    other.sell("z")
    other.sell("y")
    other.page_items = 1
    gate.sync.connected()
    first, second = other.pages(gate.ask())
    gate.sync.take(first)
    assert gate.holds(bridge)
    gate.sync.take(second)
    gate.ask()
    assert gate.holds(other)
    assert gate.catalogue.get(digest_of(CODES, "CODE-a")) is None


def test_after_a_connection_only_what_changed_is_asked_for(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.refund("a")
    bridge.sell("b", code="ANOTHER")
    bridge.sell("i", status=Status.USED)
    gate.sync.connected()
    request = gate.ask()
    assert (request.feed, request.cursor) == ("f1", 8)
    assert gate.sync.request() is None, "the answer is on its way"
    (page,) = bridge.pages(request)
    assert gate.sync.take(page) == Taken(done=True)
    assert gate.holds(bridge)
    assert gate.catalogue.get(digest_of(CODES, "CODE-b")) is None


def test_live_changes_that_follow_go_in_at_once(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("live")
    assert gate.sync.take_changes(bridge.changes(8)) == Taken(done=True)
    assert gate.holds(bridge)
    assert gate.sync.cursor == 9


def test_a_gap_in_the_live_changes_is_asked_for(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("missed")
    bridge.sell("heard")
    assert gate.sync.take_changes(bridge.changes(9)) == Taken(ask=True)
    assert gate.sync.cursor == 8
    (page,) = bridge.pages(gate.ask())
    assert gate.sync.take(page).done
    assert gate.holds(bridge)


def test_changes_that_began_before_a_page_and_go_on_behind_it_are_taken(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("in the page")
    (page,) = bridge.pages(wire.CatalogueRequest(feed="f1", cursor=8, pages=1))
    assert gate.sync.take(page).done
    bridge.sell("behind it")
    assert gate.sync.take_changes(bridge.changes(8)) == Taken(done=True)
    assert gate.holds(bridge)
    assert gate.sync.cursor == 10


def test_live_changes_that_overtake_a_page_are_asked_for_once_more(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    gate.sync.connected()
    pages = bridge.pages(gate.ask())
    bridge.sell("one")
    bridge.sell("two")
    assert gate.sync.take_changes(bridge.changes(9)) == Taken(), "pages are on their way"
    assert gate.sync.take(pages[0]) == Taken(ask=True)
    (page,) = bridge.pages(gate.ask())
    assert gate.sync.take(page).done
    assert gate.holds(bridge)


def test_pages_and_changes_that_come_twice_change_nothing(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("a", sector="new")
    page = bridge.pages(wire.CatalogueRequest(feed="f1", cursor=8, pages=1))[0]
    changes = bridge.changes(8)
    assert gate.sync.take(page).done
    bridge.sell("a", sector="newer")
    gate.sync.take_changes(bridge.changes(9))
    for _ in range(2):
        gate.sync.take(page)
        gate.sync.take_changes(changes)
    assert gate.holds(bridge)
    assert gate.sync.cursor == 10


def test_a_page_out_of_order_is_not_applied_and_asked_for_again(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    for name in "klmnop":
        bridge.sell(name)
    gate.sync.connected()
    first, second = bridge.pages(gate.ask())
    assert not gate.sync.take(second).ask
    assert gate.sync.cursor == 8
    assert gate.sync.take(first) == Taken(), "ignored too: everything is asked for again"
    gate.wait(GAP_S)
    assert gate.ask().cursor == 8
    assert gate.follow(bridge).done
    assert gate.holds(bridge)


def test_an_answer_that_does_not_come_is_asked_for_again(gate: Gate) -> None:
    gate.ask()
    gate.wait(ANSWER_S - 1)
    assert gate.sync.request() is None
    gate.wait(1)
    assert gate.ask().cursor == 0


def test_the_next_pages_are_asked_for_when_those_of_a_request_are_through(gate: Gate, bridge: Bridge) -> None:
    bridge.page_items = 1
    for number in range(sync.REQUEST_PAGES + 2):
        bridge.sell(f"n{number}")
    *others, last = bridge.pages(gate.ask())
    assert not any(gate.sync.take(page).ask for page in others)
    assert gate.sync.take(last) == Taken(ask=True)
    assert gate.ask().cursor == last.upto
    assert gate.follow(bridge).done


def test_a_feed_without_tickets_is_an_empty_list_and_then_follows_live(gate: Gate) -> None:
    bridge = Bridge()
    assert gate.follow(bridge).done
    assert gate.sync.feed == "f1"
    bridge.sell("a")
    assert gate.sync.take_changes(bridge.changes(0)).done
    assert gate.holds(bridge)
    assert gate.follow(bridge).done
    assert not (gate.data / "catalogue" / "build-2").exists()


def test_an_imported_list_is_replaced_by_the_feed_again(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    script = "import sys; from tests.feeds import import_one; import_one(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(gate.data / "catalogue")], check=True)
    bridge.sell("i")
    assert gate.sync.take_changes(bridge.changes(8)) == Taken(), "the gate has not seen the import yet"
    gate.wait(GAP_S)
    assert gate.catalogue.reload()
    assert (gate.sync.feed, gate.sync.cursor) == ("", 0)
    assert gate.follow(bridge).done
    assert gate.holds(bridge)


def test_a_stamp_alone_is_written_once_a_minute(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.stamp_utc_ms += STAMP_MS - 1
    gate.sync.take_changes(bridge.changes(8))
    assert gate.catalogue.stamp_utc_ms == NOW_MS
    bridge.stamp_utc_ms += 1
    assert gate.sync.take_changes(bridge.changes(8)).done
    assert gate.catalogue.stamp_utc_ms == NOW_MS + STAMP_MS
    bridge.stamp_utc_ms = 0
    bridge.sell("i")
    gate.sync.take_changes(bridge.changes(8))
    assert gate.catalogue.stamp_utc_ms == NOW_MS + STAMP_MS, "a stamp never goes back"


def test_a_page_is_one_commit() -> None:
    assert wire.ITEMS_MAX <= CHANGES_PER_COMMIT


# --- movements ------------------------------------------------------------------------------------------


def test_movements_are_noted_before_the_cursor_passes_them(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    bridge.sell("i")
    gate.takes_notes[0] = False
    assert gate.sync.take_changes(bridge.changes(8)) == Taken()
    assert gate.sync.cursor == 8
    assert gate.sync.request() is None, "not in a storm"
    gate.takes_notes[0] = True
    gate.wait(sync.NOTE_S)
    assert gate.follow(bridge).done
    assert gate.noted == [moved(1)]
    assert gate.holds(bridge)


def test_movements_alone_move_the_cursor(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    assert gate.sync.take_changes(bridge.changes(8)).done
    assert (gate.sync.cursor, gate.noted) == (9, [moved(1)])


def test_movements_of_a_whole_list_are_noted_before_its_page_is_kept(gate: Gate, bridge: Bridge) -> None:
    bridge.say(moved(1))
    gate.takes_notes[0] = False
    pages = bridge.pages(gate.ask())
    for page in pages:
        gate.sync.take(page)
    gate.wait(sync.NOTE_S)
    assert gate.ask().cursor == pages[-1].after
    gate.takes_notes[0] = True
    assert gate.follow(bridge).done
    assert gate.noted == [moved(1)]


# --- faults, each with its mend -------------------------------------------------------------------------


def test_pages_made_with_another_key_are_refused_and_the_mend_is_named(gate: Gate, bridge: Bridge) -> None:
    bridge.mark = key_mark(bytes(32))
    taken = gate.sync.take(bridge.pages(gate.ask())[0])
    assert "different venue keys: copy the bridge's key file to" in taken.fault
    assert str(gate.data / "catalogue" / "key") in gate.sync.fault
    assert gate.sync.take_changes(bridge.changes(0)).fault == taken.fault
    assert gate.sync.request() is None
    gate.wait(RETRY_S)
    bridge.mark = key_mark(KEY)
    assert gate.follow(bridge) == Taken(done=True)


def test_a_wrong_number_of_tickets_is_a_fault_and_mended_by_a_whole_list(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    lost = bridge.entries["a:a"]
    del bridge.entries["a:a"]  # and no change says so
    gate.sync.connected()
    taken = gate.sync.take(bridge.pages(gate.ask())[0])
    assert taken.ask
    assert "the catalogue has 8 tickets and the bridge 7" in taken.fault
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)
    bridge.entries["a:a"] = lost
    gate.sync.connected()
    taken = gate.sync.take(bridge.pages(gate.ask())[0])
    assert "7 tickets and the bridge 8" in taken.fault
    assert not taken.ask, "at most once an hour"
    assert gate.sync.request() is None
    gate.wait(WHOLE_AGAIN_S)
    gate.sync.connected()
    assert gate.sync.take(bridge.pages(gate.ask())[0]).ask
    assert gate.ask().cursor == 0
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


@pytest.mark.parametrize("page_items", [3, 1000])
def test_a_ledger_that_was_put_back_is_fetched_whole(gate: Gate, bridge: Bridge, page_items: int) -> None:
    gate.follow(bridge)
    bridge.page_items = page_items
    bridge.number = 6
    del bridge.entries["a:g"], bridge.entries["a:h"]
    bridge.refund("c")
    gate.sync.connected()
    (page, *rest) = bridge.pages(gate.ask())
    assert page.after == 0
    assert "put back to an older one" in gate.sync.take(page).fault
    for late in rest:
        gate.sync.take(late)
    gate.wait(RETRY_S)
    assert gate.ask().cursor == 0
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)
    bridge.sell("i")
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


def test_a_ledger_that_was_put_back_while_its_list_comes_is_fetched_whole(gate: Gate, bridge: Bridge) -> None:
    bridge.page_items = 1
    request = gate.ask()
    for page in bridge.pages(request)[:7]:
        gate.sync.take(page)
    bridge.number = 6
    del bridge.entries["a:g"], bridge.entries["a:h"]
    gate.sync.connected()
    assert "put back to an older one" in gate.sync.take(bridge.pages(gate.ask())[0]).fault
    gate.wait(RETRY_S)
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


def test_a_page_of_the_beginning_that_comes_late_is_no_ledger_put_back(gate: Gate, bridge: Bridge) -> None:
    pages = bridge.pages(gate.ask())
    gate.sync.take(pages[0])
    gate.sync.take(pages[0])
    assert gate.follow(bridge) == Taken(done=True)
    bridge.sell("i")
    gate.sync.connected()
    (page,) = bridge.pages(gate.ask())
    assert gate.sync.take(page) == Taken(done=True)
    assert gate.sync.take(pages[0]).fault == ""
    assert gate.sync.at_present


@pytest.mark.parametrize("upto", [7, 8])
def test_a_page_that_leads_nowhere_changes_nothing(gate: Gate, bridge: Bridge, upto: int) -> None:
    gate.follow(bridge)
    bridge.sell("i")
    gate.sync.connected()
    (page,) = bridge.pages(gate.ask())
    taken = gate.sync.take(msgspec.structs.replace(page, upto=upto, more=True))
    assert "leads nowhere" in taken.fault
    gate.wait(RETRY_S)
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


def test_a_bridge_without_a_whole_list_of_its_own_does_not_empty_the_gate(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    young = Bridge(feed="f2", stamp_utc_ms=0)
    gate.sync.connected()
    assert "no whole list of a vendor yet" in gate.sync.take(young.pages(gate.ask())[0]).fault
    assert gate.holds(bridge)
    gate.wait(RETRY_S)
    young.sell("z")
    young.stamp_utc_ms = NOW_MS
    assert gate.follow(young) == Taken(done=True)
    assert gate.holds(young)


def test_while_an_import_runs_changes_wait_with_their_cursor(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("i")
    with writing(gate.data / "catalogue"):
        assert "is writing; wait for it" in gate.sync.take_changes(bridge.changes(8)).fault
    assert gate.sync.cursor == 8
    gate.wait(RETRY_S)
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


def test_while_an_import_runs_a_whole_list_waits_in_its_spool(gate: Gate, bridge: Bridge) -> None:
    with writing(gate.data / "catalogue"):
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)
        until_fault(gate)
        assert "is writing; wait for it" in gate.sync.fault
    gate.wait(RETRY_S)
    assert gate.ask().cursor == 8
    assert gate.holds(bridge)
    assert gate.follow(bridge) == Taken(done=True)


def test_a_child_that_hangs_is_ended(gate: Gate, bridge: Bridge) -> None:
    for page in bridge.pages(gate.ask()):
        gate.sync.take(page)
    gate.wait(sync.BUILD_S_MAX)
    gate.sync.request()
    gate.wait(RETRY_S)  # the child may have been quicker: then there is nothing to mend
    assert gate.follow(bridge) == Taken(done=True)
    assert gate.holds(bridge)


def test_a_new_list_that_the_gate_never_takes_into_use_is_made_again(gate: Gate, bridge: Bridge) -> None:
    for page in bridge.pages(gate.ask()):
        gate.sync.take(page)
    folder = gate.data / "catalogue"
    until(lambda: (gate.sync.request(), (folder / "current").exists())[1])
    until(lambda: (gate.sync.request(), (folder / "lock").read_bytes() == b"")[1])
    gate.sync.request()
    gate.wait(FOLLOW_S)
    assert gate.ask().cursor == 8
    assert gate.holds(bridge)


def test_a_folder_that_cannot_be_written_is_a_fault_and_not_the_end(gate: Gate, bridge: Bridge) -> None:
    request = wire.CatalogueRequest(feed="", cursor=0, pages=9)
    (gate.data / "spool").mkdir()
    assert gate.sync.request() is None
    assert gate.sync.fault == f"{gate.data / 'spool'}: Is a directory"
    gate.wait(RETRY_S)
    assert gate.sync.take(bridge.pages(request)[0]).fault == gate.sync.fault
    gate.wait(RETRY_S)
    assert gate.sync.take_changes(bridge.changes(0)).fault == gate.sync.fault
    (gate.data / "spool").rmdir()
    gate.wait(RETRY_S)
    assert gate.follow(bridge) == Taken(done=True)


@pytest.mark.parametrize("live", [True, False])
def test_what_comes_while_a_list_is_being_made_waits_until_it_is_in_use(
    gate: Gate, bridge: Bridge, live: bool
) -> None:
    pages = bridge.pages(gate.ask())
    for page in pages:
        gate.sync.take(page)
    bridge.sell("i")
    if live:
        assert gate.sync.take_changes(bridge.changes(8)) == Taken()
    else:
        assert gate.sync.take(pages[0]) == Taken()
    (page,) = bridge.pages(gate.ask())
    assert gate.sync.take(page).done
    assert gate.holds(bridge)


def test_live_changes_that_took_the_place_of_a_page_end_the_request(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    gate.sync.connected()
    request = gate.ask()
    bridge.sell("i")
    (page,) = bridge.pages(request)
    gate.sync.take_changes(bridge.changes(8))
    assert gate.sync.take(page) == Taken(done=True)
    assert gate.holds(bridge)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "gatepost-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a full disk needs root, to mount a small one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_the_sync_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, bridge: Bridge
) -> None:
    for gate in opened(small_disk / "data"):
        first, *_ = bridge.pages(gate.ask())
        gate.sync.take(first)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(36 << 20))
        for page in bridge.pages(wire.CatalogueRequest(feed="f1", cursor=first.upto, pages=9)):
            taken = gate.sync.take(page)
        assert "the disk is full" in taken.fault
        ballast.unlink()
        gate.wait(RETRY_S)
        assert gate.ask().cursor == first.upto
        assert gate.follow(bridge) == Taken(done=True)
        assert gate.holds(bridge)


def test_the_gate_reads_on_while_lists_are_exchanged_and_changed(gate: Gate, bridge: Bridge) -> None:
    """The sync's thread writes while the gate's looks up and reloads."""
    gate.follow(bridge)
    gate.reloads = False
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        try:
            while not stop.is_set():
                if gate.catalogue.get(digest_of(CODES, "CODE-a")) is None:
                    wrong.append("not found")
                gate.catalogue.reload()
        except BaseException as error:  # a thread's end would not fail the test
            wrong.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for turn in range(3):
            bridge.feed = f"feed-{turn}"
            assert gate.follow(bridge).done
            for number in range(20):
                bridge.sell(f"{turn}-{number}")
                assert gate.sync.take_changes(bridge.changes(bridge.number - 1)).done
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert gate.holds(bridge)


def test_a_gate_with_a_new_venue_key_fetches_the_list_anew(tmp_path: Path, bridge: Bridge) -> None:
    data = tmp_path / "data"
    for gate in opened(data):
        gate.follow(bridge)
    (data / "catalogue" / "key").write_bytes(bytes(32))
    bridge.mark = key_mark(bytes(32))
    for gate in opened(data):
        assert "made with another key" in gate.catalogue.fault
        assert gate.follow(bridge) == Taken(done=True)
        assert (gate.catalogue.fault, gate.catalogue.count) == ("", 8)


def test_a_list_that_was_set_aside_is_fetched_anew(tmp_path: Path, bridge: Bridge) -> None:
    data = tmp_path / "data"
    for gate in opened(data):
        gate.follow(bridge)
    with (data / "catalogue" / "build-1" / "data.mdb").open("r+b") as file:
        file.truncate(5000)
    for gate in opened(data):
        assert "was set aside" in gate.catalogue.fault
        assert gate.follow(bridge) == Taken(done=True)
        assert gate.catalogue.fault == ""
        assert gate.holds(bridge)


def test_a_sync_closes_twice_and_leaves_no_child(tmp_path: Path, bridge: Bridge) -> None:
    for gate in opened(tmp_path / "data"):
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)
        gate.sync.close()
        gate.sync.close()
        with writing(gate.data / "catalogue"):  # which a living child would hold
            assert (gate.data / "spool").stat().st_size > 0, "the next start makes the list of it"
