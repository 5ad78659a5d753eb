"""Devices at a vendor that knows them by their MAC address: which one each has, and when it is configured."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import wire
from firmware.bridge.births import Births
from firmware.bridge.devices import IDLE_S, RETRY_S_MAX, Devices, _own_address
from firmware.bridge.driver import Driver
from firmware.bridge.ledger.configured import Configured
from firmware.bridge.macs import GROUP_BIT, LOCAL_BIT, plain
from firmware.bridge.presence_requests import mac_of
from firmware.bridge.vendor import Device, Flow, Misconfigured, Outage
from firmware.bridge.work import Faults
from firmware.core.ticket import Perimeter
from tests.bridge.model_gate import Books, books
from tests.bridge.offices import Script
from tests.core.samples import NOON_MS

OUTER, INNER = Perimeter.OUTER, Perimeter.INNER
CARD, OTHER = "b8:27:eb:00:00:01", "b8:27:eb:00:00:02"
BIRTH = wire.Presence(
    online=True, epoch=1, connection=1, random="r", perimeters=(OUTER,), mac=CARD, ip="10.0.0.1", trusted=True
)


class Yard(Script):
    """A vendor that keeps devices by their MAC address. Each stands where it was configured last."""

    devices = True

    def __init__(self) -> None:
        super().__init__()
        self.inits: list[Device] = []
        self.stands: dict[str, str] = {}
        self.failures: list[Exception] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        yield from ()
        self.inits.append(device)
        self.meanwhile()
        if self.failures:
            raise self.failures.pop(0)
        mac = mac_of(device)
        self.stands[mac] = f"{device.gate} {device.perimeter}"
        return {"mac": mac}

    @property
    def names(self) -> list[str]:
        """Which gates' devices were configured, in order."""
        return [device.gate for device in self.inits]


class Venue:
    """Births, a ledger and a vendor; and bridges that a test starts and lets take turns."""

    def __init__(self, found: Books, driver: Driver, yard: Yard) -> None:
        self._books, self._driver, self.yard = found, driver, yard
        self.births = Births(lambda: None)
        self.now_s = 0.0
        self.utc_ms = NOON_MS
        self.changes = 0
        self.bridge = self.start()

    def start(self, worker: str = "w", retry_s_max: float = RETRY_S_MAX) -> Devices:
        """A bridge that was started this moment."""
        self.bridge = Devices(
            "hall", self.yard, self._driver, self.births, Configured(self._books.database), Faults(), worker,
            self._changed, lambda: self.utc_ms, lambda _event, _s: None, lambda: self.now_s,
            retry_s_max=retry_s_max,
        )  # fmt: skip
        return self.bridge

    def _changed(self) -> None:
        self.changes += 1

    def born(self, gate: str, **more: object) -> None:
        self.births.take(gate, msgspec.structs.replace(BIRTH, **more))

    def gone(self, gate: str) -> None:
        self.births.take(gate, msgspec.structs.replace(self.births.now()[gate], online=False))

    def settle(self) -> None:
        """Take turns until there is nothing to do at once."""
        for _ in range(100):
            if self.bridge._turn() > 0:
                return
        raise AssertionError("it never rests")

    def mac(self, gate: str, perimeter: Perimeter = OUTER) -> str:
        """Under which address it asks; "" where it may not."""
        return (self.bridge.kept(gate, perimeter) or {}).get("mac", "")


@contextmanager
def venue_at(folder: Path) -> Iterator[Venue]:
    yard = Yard()
    with books(folder) as found, Driver("hall", yard, 1e6) as driver:
        yield Venue(found, driver, yard)


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    with venue_at(tmp_path) as found:
        yield found


# --- gates that share a computer ---------------------------------------------------------------------------


def test_gates_on_one_computer_are_two_devices_and_both_stand_where_they_are(venue: Venue) -> None:
    venue.born("b", perimeters=(OUTER, INNER))
    venue.born("a", perimeters=(OUTER, INNER), mac=CARD.upper().replace(":", "-"))
    venue.born("c", mac=OTHER)
    venue.settle()
    assert (venue.mac("a"), venue.mac("c")) == (CARD, OTHER)
    own = venue.mac("b")
    assert own == _own_address(CARD, "b")
    assert venue.yard.stands == {
        CARD: "a outer",
        venue.mac("a", INNER): "a inner",
        own: "b outer",
        venue.mac("b", INNER): "b inner",
        OTHER: "c outer",
    }
    assert len(venue.yard.inits) == 5, "each of them once"


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_address_of_ones_own_is_a_local_one_of_one_computer_and_always_the_same(
    one: str, other: str
) -> None:
    own = _own_address(CARD, one)
    assert plain(own) == own
    assert int(own[:2], 16) & (LOCAL_BIT | GROUP_BIT) == LOCAL_BIT
    assert own == _own_address(CARD, one)
    assert own != _own_address(OTHER, one)
    assert (own == _own_address(CARD, other)) is (one == other)


@pytest.mark.parametrize("mac", ["", "lo", "00:11:22:33:44"])
def test_what_is_no_address_is_shared_by_nobody(venue: Venue, mac: str) -> None:
    venue.born("a", mac=mac)
    venue.born("b", mac=mac)
    venue.settle()
    assert {device.mac for device in venue.yard.inits} == {mac}


def test_a_second_gate_that_comes_later_gets_its_own_and_disturbs_nobody(venue: Venue) -> None:
    venue.born("a")
    venue.settle()
    venue.born("b")
    venue.settle()
    assert venue.yard.names == ["a", "b"]
    assert (venue.mac("a"), venue.mac("b")) == (CARD, _own_address(CARD, "b"))


def test_where_the_later_one_is_first_by_name_the_other_is_configured_anew(venue: Venue) -> None:
    venue.born("b")
    venue.settle()
    assert venue.mac("b") == CARD
    changes = venue.changes
    venue.born("a")
    venue.yard.failures += [Outage("away"), Outage("away")]
    venue.settle()
    assert (venue.mac("a"), venue.mac("b"), venue.changes) == ("", "", changes + 1), "and its gate hears so"
    venue.now_s += RETRY_S_MAX
    venue.settle()
    assert (venue.mac("a"), venue.mac("b")) == (CARD, _own_address(CARD, "b"))
    assert venue.yard.stands == {CARD: "a outer", _own_address(CARD, "b"): "b outer"}


@pytest.mark.parametrize("failure", [Outage("away"), Misconfigured("no such venue")])
@pytest.mark.parametrize("most_s", [3.0, RETRY_S_MAX])
def test_one_that_the_vendor_does_not_take_is_tried_again_within_the_wait_that_is_set(
    venue: Venue, failure: Exception, most_s: float
) -> None:
    venue.start(retry_s_max=most_s)
    venue.yard.failures += [failure] * 9
    venue.born("a")
    waits: list[float] = []
    while not venue.mac("a"):
        waits.append(venue.bridge._turn())
        venue.now_s += waits[-1]
    assert len(venue.yard.inits) == 10
    assert most_s / 2 <= max(waits[:9]) <= most_s


def test_who_used_the_card_while_its_holder_was_away_gives_it_back(venue: Venue) -> None:
    venue.born("a")
    venue.settle()
    venue.gone("a")
    venue.born("b")
    venue.settle()
    assert venue.yard.stands == {CARD: "b outer"}
    venue.born("a", connection=2)  # no start, so nothing else would configure it
    venue.settle()
    assert venue.yard.stands == {CARD: "a outer", _own_address(CARD, "b"): "b outer"}
    assert venue.yard.names == ["a", "b", "b", "a"]


@pytest.mark.parametrize("restarted", [False, True])
def test_one_that_has_its_own_keeps_it_while_the_others_come_and_go(venue: Venue, restarted: bool) -> None:
    venue.born("a")
    venue.born("b")
    venue.settle()
    venue.gone("a")
    if restarted:
        venue.start()
    venue.settle()
    assert venue.mac("b") == _own_address(CARD, "b")
    venue.born("a", connection=2)
    venue.settle()
    assert (venue.mac("a"), venue.mac("b")) == (CARD, _own_address(CARD, "b"))
    assert len(venue.yard.inits) == (4 if restarted else 2)
    assert CARD not in [device.mac for device in venue.yard.inits if device.gate == "b"]


def test_a_gate_that_moves_to_a_computer_of_its_own_has_that_ones_address(venue: Venue) -> None:
    venue.born("a")
    venue.born("b")
    venue.settle()
    venue.born("b", connection=2, mac=OTHER)
    venue.settle()
    assert venue.mac("b") == OTHER


# --- the start of a bridge ---------------------------------------------------------------------------------


def test_a_bridge_that_starts_configures_each_device_once_more_and_asks_go_on(venue: Venue) -> None:
    venue.born("a", perimeters=(OUTER, INNER))
    venue.born("b", mac=OTHER)
    venue.settle()
    asked: list[tuple[str, ...]] = []
    for start in (1, 2):
        venue.yard.inits.clear()
        venue.start()
        venue.yard.meanwhile = lambda: asked.append((venue.mac("a"), venue.mac("a", INNER), venue.mac("b")))
        venue.settle()
        assert sorted(venue.yard.names) == ["a", "a", "b"], f"start {start}"
        venue.born("a", perimeters=(OUTER, INNER), connection=1 + start)
        venue.settle()
        assert len(venue.yard.inits) == 3, "and not at a connection"
    assert all(all(each) for each in asked)
    assert len(asked) == 6


@pytest.mark.parametrize("failure", [Outage("away"), Misconfigured("no such venue")])
def test_where_that_fails_the_device_is_as_it_was_and_left_alone(venue: Venue, failure: Exception) -> None:
    venue.born("a")
    venue.settle()
    venue.start()
    venue.yard.failures.append(failure)
    venue.settle()
    venue.settle()
    assert venue.mac("a") == CARD
    assert venue.yard.names == ["a", "a"]
    assert not venue.bridge._faults.now()


def test_a_gate_that_is_heard_of_later_is_configured_once_more_then(venue: Venue) -> None:
    venue.born("a")
    venue.settle()
    venue.gone("a")
    venue.start()
    venue.settle()
    assert venue.yard.names == ["a"]
    venue.born("a", connection=2)
    venue.settle()
    venue.settle()
    assert venue.yard.names == ["a", "a"]


def test_a_gate_that_started_too_is_configured_for_that_and_not_twice(venue: Venue) -> None:
    venue.born("a")
    venue.settle()
    venue.start()
    venue.born("a", epoch=2)
    venue.settle()
    venue.settle()
    assert venue.yard.names == ["a", "a"]


def test_one_that_may_not_ask_yet_waits_for_no_more_than_one_of_those(venue: Venue) -> None:
    for gate in "abcdef":
        venue.born(gate, mac=f"b8:27:eb:00:01:0{gate}")
    venue.settle()
    venue.yard.inits.clear()
    venue.start()
    venue.yard.meanwhile = lambda: venue.born("new", mac=OTHER)
    venue.settle()
    assert venue.yard.names.index("new") == 1
    assert len(venue.yard.inits) == 7


def test_two_bridges_that_start_configure_each_device_once_each(venue: Venue) -> None:
    venue.born("a")
    venue.settle()
    for worker in ("v", "w"):
        venue.start(worker)
        venue.settle()
        assert venue.bridge._turn() == IDLE_S
    assert venue.yard.names == ["a"] * 3


# --- scans that are told afterwards ------------------------------------------------------------------------


def test_a_scan_that_is_told_afterwards_is_the_devices_that_made_it(venue: Venue) -> None:
    def then(at_ms: int) -> str:
        return venue.bridge.then("a", OUTER, at_ms).get("mac", "")

    venue.born("a")
    venue.settle()
    venue.utc_ms = NOON_MS + 1000
    venue.born("a", epoch=2, mac=OTHER)
    venue.settle()
    for _ in range(2):
        assert venue.mac("a") == OTHER
        assert [then(NOON_MS + ms) for ms in (0, 999, 1000, 9999)] == [CARD, CARD, OTHER, OTHER]
        assert then(NOON_MS - 1) == CARD, "older than all that is known: the oldest"
        assert not venue.bridge.then("b", OUTER, NOON_MS)
        venue.start()
        venue.settle()
