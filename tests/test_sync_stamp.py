"""A bridge whose clock is ahead: a gate that knows the time takes no list for one of tomorrow."""

from pathlib import Path

from firmware import wire
from firmware.sync import STAMP_MS, Taken
from tests.brokers import mosquitto_broker
from tests.feeds import NOW_MS, Bridge, opened
from tests.gate_bench import data_directory
from tests.uplinks import bridge_at, gate_at_work

AHEAD_MS = 6 * 3_600_000


def no_later(utc_ms: int) -> int:
    return min(utc_ms, NOW_MS)


def ahead() -> Bridge:
    bridge = Bridge(stamp_utc_ms=NOW_MS + AHEAD_MS)
    bridge.sell("a")
    return bridge


def test_a_whole_list_from_the_future_is_of_now_and_a_fault(tmp_path: Path) -> None:
    for gate in opened(tmp_path, no_later):
        bridge = ahead()
        for page in bridge.pages(gate.ask()):
            gate.sync.take(page)
        assert gate.ask().cursor == 1
        assert gate.holds(bridge)
        assert gate.catalogue.stamp_utc_ms == NOW_MS
        assert gate.sync.fault.startswith("the bridge's list is dated 360 minutes ahead of this gate's")


def test_changes_from_the_future_are_of_now_until_the_bridge_knows_the_time(tmp_path: Path) -> None:
    for gate in opened(tmp_path, no_later):
        bridge = Bridge(stamp_utc_ms=NOW_MS - 10 * STAMP_MS)
        gate.follow(bridge)
        bridge.stamp_utc_ms = NOW_MS + AHEAD_MS
        bridge.sell("a")
        taken = gate.sync.take_changes(bridge.changes(0))
        assert taken.done
        assert "360 minutes ahead" in taken.fault
        assert gate.catalogue.stamp_utc_ms == NOW_MS
        bridge.stamp_utc_ms = NOW_MS
        assert gate.sync.take_changes(bridge.changes(1)) == Taken(done=True)
        assert gate.sync.fault == ""


def test_a_stamp_that_came_before_the_gate_knew_the_time_is_put_right(tmp_path: Path) -> None:
    bridge = ahead()
    for gate in opened(tmp_path):
        gate.follow(bridge)
        assert (gate.catalogue.stamp_utc_ms, gate.sync.fault) == (NOW_MS + AHEAD_MS, "")
    bridge.stamp_utc_ms = NOW_MS - 1
    for gate in opened(tmp_path, no_later):
        assert gate.follow(bridge) == Taken(done=True)
        assert gate.catalogue.stamp_utc_ms == NOW_MS - 1


def test_a_gate_at_work_goes_by_its_own_clock_and_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with (
        data_directory() as data,
        mosquitto_broker(tmp_path) as broker,
        bridge_at(broker.address) as bridge,
        gate_at_work(data, "a", broker.port) as gate,
    ):
        bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
        clock, catalogue = gate.unit.gate.clock, gate.unit.catalogue
        future_ms = clock.now().utc_ms + AHEAD_MS
        listed = wire.Listed(digest=catalogue.digest("A"), ticket_id="v:a")
        page = wire.CataloguePage("f1", catalogue.key_mark, 0, 1, False, 1, future_ms, (listed,))
        bridge.send(wire.PAGE, "a", page)
        gate.until(lambda: catalogue.count == 1)
        assert catalogue.stamp_utc_ms <= clock.now().utc_ms < future_ms
        assert "minutes ahead of this gate's" in gate.uplink.faults()["catalogue from the bridge"]
