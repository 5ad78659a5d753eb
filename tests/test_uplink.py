"""Whole gates on real brokers: rows to a bridge of a few lines, movements to each other, and faults."""

import signal
from collections.abc import Iterator, Sized
from functools import partial
from pathlib import Path

import msgspec
import pytest

from firmware import wire
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Verdict
from firmware.faults import faults_of
from firmware.mqtt import Line, Publication
from firmware.row import row_id
from firmware.rows import RowReader
from firmware.sync import REQUEST_PAGES
from firmware.unit import open_unit
from tests.brokers import ANYBODY, QUICK, Ear, RunningBroker, mosquitto_broker
from tests.commands import Running
from tests.core.samples import OUTER
from tests.gate_bench import data_directory
from tests.uplinks import (
    VENUE,
    Bridge,
    RunningGate,
    admit,
    bridge_at,
    fill_catalogue,
    gate_at_work,
    is_complete,
    patient_notes,  # noqa: F401  a fixture
    patient_receipts,  # noqa: F401  a fixture
    settings_of,
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def data() -> Iterator[Path]:
    """For several gates: a folder each."""
    with data_directory() as folder:
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            fill_catalogue(folder / name)
        yield folder


@pytest.fixture
def bridge(broker: RunningBroker) -> Iterator[Bridge]:
    with bridge_at(broker.address) as bridge:
        yield bridge


@pytest.fixture
def gate(data: Path, broker: RunningBroker) -> Iterator[RunningGate]:
    with gate_at_work(data / "a", "a", broker.port) as gate:
        yield gate


def more_than(items: Sized, count: int) -> bool:
    return len(items) > count


def confirmed(gate: RunningGate) -> bool:
    """Whether every row has its receipt."""
    return gate.uplink.receipt == gate.unit.journal.committed


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts that do not come are missed soon."""
    monkeypatch.setattr("firmware.uplink.rows_up.RECEIPT_S", 0.3)


# --- rows and receipts --------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient_receipts")
def test_promise_5_every_row_reaches_the_ledger_and_counts_once(
    data: Path, bridge: Bridge, gate: RunningGate
) -> None:
    gate.write(*(f"row {number}" for number in range(1000)))
    assert gate.scan("T1") is Verdict.ADMITTED
    gate.until(lambda: confirmed(gate))
    assert is_complete(bridge, "a", data / "a")
    assert set(bridge.ledger.seen.values()) == {1}
    assert gate.uplink.waiting() == 0
    assert gate.uplink.faults() == {}


def test_promise_9_a_clear_code_goes_when_its_row_has_a_receipt(
    data: Path, bridge: Bridge, gate: RunningGate
) -> None:
    held: list[tuple[str, wire.Receipt]] = []
    bridge.answer = lambda name, receipt: held.append((name, receipt))
    gate.scan("T1")
    bridge.wait(lambda: any(row.code == "T1" for batch in bridge.batches for row in batch.rows))
    assert [stored.code for stored, row in gate.rows() if row.kind == "scan"] == ["T1"]
    bridge.answer = bridge.send_receipt
    for name, receipt in held:
        bridge.send_receipt(name, receipt)
    gate.until(lambda: all(stored.code is None for stored, _ in gate.rows()))


@pytest.mark.usefixtures("impatient")
def test_lost_receipts_cost_time_and_nothing_else(
    data: Path, bridge: Bridge, gate: RunningGate, broker: RunningBroker
) -> None:
    lost: list[wire.Receipt] = []
    bridge.answer = lambda _, receipt: lost.append(receipt)
    last = gate.write("one")
    bridge.wait(lambda: any(receipt.upto == last for receipt in lost))
    bridge.answer = bridge.send_receipt
    gate.write("two")  # its receipt tells of all
    gate.until(lambda: confirmed(gate))
    assert is_complete(bridge, "a", data / "a")


def test_repeated_receipts_are_passed_over(data: Path, bridge: Bridge, gate: RunningGate) -> None:
    def thrice(name: str, receipt: wire.Receipt) -> None:
        for _ in range(3):
            bridge.send_receipt(name, receipt)

    bridge.answer = thrice
    gate.write("one")
    gate.until(lambda: confirmed(gate))
    gate.write("two")
    gate.until(lambda: confirmed(gate))
    assert gate.texts("fault") == []


@pytest.mark.parametrize(
    ("receipt", "said"),
    [
        (
            wire.Receipt(upto=row_id(9, 9), digest=bytes(16)),
            "a receipt for row 9.9 came, and this journal ends",
        ),
        (wire.Receipt(upto=row_id(1, 1), digest=bytes(16)), "a receipt came for a row 1.1 that is not this"),
        (
            wire.Receipt(upto=row_id(0, 7), digest=bytes(16)),
            "a receipt for row 0.7 came, and there is no such row",
        ),
    ],
)
def test_a_wrong_receipt_confirms_nothing_and_is_one_row_however_often_it_comes(
    bridge: Bridge, gate: RunningGate, receipt: wire.Receipt, said: str
) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    for _ in range(3):
        bridge.send(wire.RECEIPT, "a", receipt)
    gate.until(lambda: gate.texts("fault"))
    last = gate.write("after it")
    gate.until(lambda: gate.uplink.receipt >= last)
    (text,) = gate.texts("fault")
    assert text.startswith(said)


def test_an_old_receipt_of_an_older_epoch_changes_nothing(
    data: Path, broker: RunningBroker, bridge: Bridge
) -> None:
    with gate_at_work(data / "a", "a", broker.port) as gate:
        gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
        row = gate.uplink.receipt
    with RowReader(data / "a" / "journal") as reader:
        digest = reader.digest(row)
    assert digest
    with gate_at_work(data / "a", "a", broker.port) as gate:
        gate.until(lambda: confirmed(gate))
        bridge.send(wire.RECEIPT, "a", wire.Receipt(upto=row, digest=digest))
        last = gate.write("later")
        gate.until(lambda: gate.uplink.receipt == last)
        assert gate.texts("fault") == []


@pytest.mark.usefixtures("impatient")
def test_rows_wait_for_a_broker_and_go_up_when_it_is_there(data: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    broker = mosquitto_broker(tmp_path)
    with gate_at_work(data / "a", "a", broker.port) as gate:
        gate.write(*(f"row {number}" for number in range(500)))
        assert gate.scan("T1") is Verdict.ADMITTED
        assert gate.uplink.connected_to == ""
        assert gate.uplink.waiting() >= 502
        with broker, bridge_at(broker.address) as bridge:
            gate.until(lambda: confirmed(gate))
            assert gate.uplink.connected_to == f"127.0.0.1:{broker.port}"
            assert is_complete(bridge, "a", data / "a")


KEEPS = ANYBODY + "persistence true\npersistence_location {folder}/\nautosave_interval 1\n"


@pytest.mark.parametrize("config", [ANYBODY, KEEPS], ids=["without", "with"])
@pytest.mark.usefixtures("impatient")
def test_a_broker_that_is_killed_and_restarted_loses_no_row(data: Path, tmp_path: Path, config: str) -> None:
    tmp_path.chmod(0o777)
    broker = mosquitto_broker(tmp_path, config.replace("{folder}", str(tmp_path)))
    with broker, bridge_at(broker.address) as bridge, gate_at_work(data / "a", "a", broker.port) as gate:
        for life in range(4):
            gate.write(*(f"row {life} {number}" for number in range(700)))
            bridge.wait(partial(more_than, bridge.batches, life))
            broker.kill()
            gate.write(*(f"row {life} {number} offline" for number in range(50)))
            broker.start()
        gate.until(lambda: confirmed(gate))
        assert is_complete(bridge, "a", data / "a")
        assert bridge.ledger.gaps == []


@pytest.mark.usefixtures("impatient")
def test_a_bridge_that_is_away_holds_up_no_more_than_a_window_and_gets_all_later(
    data: Path, broker: RunningBroker, gate: RunningGate
) -> None:
    gate.until(lambda: gate.uplink.connected_to)
    gate.write(*(f"row {number}" for number in range(4000)))
    assert gate.uplink.receipt == 0
    with bridge_at(broker.address) as bridge:
        gate.until(lambda: confirmed(gate))
        assert is_complete(bridge, "a", data / "a")


def test_a_broker_that_takes_one_message_at_a_time_gets_all_of_them(data: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with (
        mosquitto_broker(tmp_path, ANYBODY + "max_inflight_messages 1\n") as broker,
        bridge_at(broker.address) as bridge,
        gate_at_work(data / "a", "a", broker.port) as a,
        gate_at_work(data / "b", "b", broker.port) as b,
    ):
        a.until(lambda: a.uplink.connected_to and b.uplink.connected_to)
        a.write(*(f"row {number}" for number in range(1000)))
        assert a.scan("T1") is Verdict.ADMITTED
        b.until(lambda: b.texts("noted"))
        a.until(lambda: confirmed(a))
        assert is_complete(bridge, "a", data / "a")
        bridge.wait(lambda: len(bridge.messages(wire.CatalogueRequest)) >= 2)


def test_a_broker_that_takes_small_messages_gets_small_batches_and_what_is_too_large_is_a_fault(
    data: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    with (
        mosquitto_broker(tmp_path, ANYBODY + "max_packet_size 4000\n") as broker,
        bridge_at(broker.address) as bridge,
        gate_at_work(data / "a", "a", broker.port) as gate,
    ):
        gate.unit.gate.do(lambda: admit(gate.unit, *(f"a:T{number}" for number in range(60))))
        last = gate.write(*(f"row {number}" for number in range(50)))
        gate.until(lambda: gate.uplink.receipt >= last)
        assert all(len(batch.rows) == 1 for batch in bridge.batches)
        gate.write("x" * 5000)
        gate.until(lambda: "message too large" in gate.uplink.faults())
        assert "let it take" in gate.uplink.faults()["message too large"]


def test_a_watcher_that_fails_is_a_fault_and_the_uplink_goes_on(bridge: Bridge, gate: RunningGate) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    gate.outcomes = None  # type: ignore[assignment]  # what is told of next cannot be taken
    (stored,) = [stored for stored, row in gate.rows() if row.kind == "began"]
    told = wire.Outcome(stored.id, stored.digest, wire.Result.ACCEPTED, None, "")
    bridge.send(wire.OUTCOME, "a", wire.Outcomes(outcomes=(told,)))
    gate.until(lambda: gate.texts("fault"))
    assert gate.texts("fault")[0].startswith("what goes between gate and bridge failed: AttributeError")
    last = gate.write("after it")
    gate.until(lambda: gate.uplink.receipt >= last)
    assert "AttributeError" in faults_of(gate.unit)["what goes between gate and bridge failed"]


def test_a_gate_without_a_broker_has_no_uplink_and_drops_rows_that_nobody_will_ask_for(data: Path) -> None:
    settings = settings_of("a", 1)._replace(brokers=())
    with open_unit(settings, data / "a", trusted=lambda: True) as unit:
        assert unit.uplink is None
        assert unit.journal._retention.unconfirmed is True


def test_retention_keeps_rows_for_the_bridge_only_where_there_is_one(
    data: Path, gate: RunningGate, bridge: Bridge
) -> None:
    assert gate.unit.journal._retention.unconfirmed is False


# --- who is there -------------------------------------------------------------------------------------


def test_birth_and_farewell_are_of_one_connection_and_stay_on_the_broker(
    data: Path, broker: RunningBroker
) -> None:
    ear = Ear()
    with gate_at_work(data / "a", "a", broker.port) as gate:
        gate.until(lambda: gate.uplink.connected_to)
        journal = gate.unit.journal
    with Line([broker.address], "late", [wire.address(wire.STATUS, VENUE, "+")], ear, pace=QUICK):
        ear.wait(lambda: ear.heard)
    death = wire.decode(ear.payloads[0], wire.Presence)
    assert (death.online, death.epoch, death.random) == (False, journal.epoch, journal.random)
    assert death.connection >= 1


def test_a_gate_name_used_twice_is_a_fault(broker: RunningBroker, bridge: Bridge, gate: RunningGate) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    other = wire.Presence(online=True, epoch=1, connection=1, random="another one's")
    bridge.send(wire.STATUS, "a", other, retain=True)
    gate.until(lambda: gate.texts("fault"))
    assert gate.texts("fault")[0].startswith('gate name used twice: another gate of this venue is called "a"')


def test_what_the_process_before_left_behind_is_no_second_gate(
    data: Path, broker: RunningBroker, bridge: Bridge
) -> None:
    before = wire.Presence(online=True, epoch=7, connection=3, random="the process before")
    bridge.send(wire.STATUS, "a", before, retain=True)
    with gate_at_work(data / "a", "a", broker.port) as gate:
        gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
        will = wire.Presence(online=False, epoch=7, connection=3, random="the process before")
        bridge.send(wire.STATUS, "a", will, retain=True)
        last = gate.write("after the will")
        gate.until(lambda: gate.uplink.receipt == last)
        assert gate.texts("fault") == []
        born_again = wire.Presence(online=True, epoch=7, connection=4, random="the process before")
        bridge.send(wire.STATUS, "a", born_again, retain=True)
        gate.until(lambda: gate.texts("fault"))


def test_the_command_reports_to_the_bridge_and_says_which_broker_is_gone_and_when_it_is_back(
    data: Path, broker: RunningBroker, bridge: Bridge, tmp_path: Path
) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(
        f'[gate]\nname = "a"\nvenue = "{VENUE}"\n'
        f'[[broker]]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\n'
    )
    with Running("gate", "--config", config, "--data", data / "a") as gate:
        gate.err.expect(f"ready: .*; reports through 127.0.0.1:{broker.port}")
        bridge.wait(lambda: bridge.batches)
        broker.kill()
        gate.err.expect(f"fault: broker 127.0.0.1:{broker.port}")
        broker.start()
        gate.err.expect(f"broker 127.0.0.1:{broker.port} works again")
        bridge.wait(lambda: len(bridge.sessions) > 1)
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
    bridge.wait(lambda: any(not presence.online for presence in presences_of(bridge)))


def presences_of(bridge: Bridge) -> list[wire.Presence]:
    return [found for found in bridge.messages(wire.Presence) if isinstance(found, wire.Presence)]


# --- two gates ----------------------------------------------------------------------------------------


def test_a_copied_ticket_is_refused_at_the_second_gate_with_nothing_but_the_venues_broker(
    data: Path, broker: RunningBroker
) -> None:
    with (
        gate_at_work(data / "a", "a", broker.port) as a,
        gate_at_work(data / "b", "b", broker.port) as b,
    ):
        a.until(lambda: a.uplink.connected_to and b.uplink.connected_to)
        assert a.scan("T1") is Verdict.ADMITTED
        b.until(lambda: b.texts("noted"))
        assert b.scan("T1") is Verdict.USED
        assert b.scan("T2") is Verdict.ADMITTED


def test_a_gate_hears_of_all_that_was_admitted_while_it_was_away(data: Path, broker: RunningBroker) -> None:
    with gate_at_work(data / "a", "a", broker.port) as a:
        with gate_at_work(data / "b", "b", broker.port) as b:
            b.until(lambda: a.uplink.connected_to and b.uplink.connected_to)
            a.scan("T1")
            b.until(lambda: b.texts("noted"))
        a.unit.gate.do(lambda: admit(a.unit, *(f"a:T{number}" for number in range(2, 100))))
        with gate_at_work(data / "b", "b", broker.port) as b:
            b.until(lambda: len(b.texts("noted")) == 99)
            assert b.scan("T50") is Verdict.USED


def test_a_gate_that_was_offline_tells_the_others_when_it_is_back(data: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    broker = mosquitto_broker(tmp_path)
    with (
        gate_at_work(data / "a", "a", broker.port) as a,
        gate_at_work(data / "b", "b", broker.port) as b,
    ):
        assert a.scan("T1") is Verdict.ADMITTED
        assert (
            b.scan("T1") is Verdict.ADMITTED
        )  # the price of a split: both rows are in both journals after it
        with broker:
            a.until(lambda: a.texts("noted") and b.texts("noted"))
        assert len(a.unit.journal.history("a:T1").pending) == 2
        assert len(b.unit.journal.history("a:T1").pending) == 2


def test_a_gate_whose_journal_was_replaced_hears_of_its_own_past_from_nobody_twice(
    data: Path, broker: RunningBroker
) -> None:
    with gate_at_work(data / "b", "b", broker.port) as b:
        with gate_at_work(data / "a", "a", broker.port) as a:
            a.until(lambda: a.uplink.connected_to and b.uplink.connected_to)
            a.unit.gate.do(lambda: admit(a.unit, *(f"a:T{number}" for number in range(5))))
            b.until(lambda: len(b.texts("noted")) == 5)
        (data / "new").mkdir()
        fill_catalogue(data / "new")
        with gate_at_work(data / "new", "a", broker.port) as a:
            a.until(lambda: a.uplink.connected_to)
            a.unit.gate.do(lambda: admit(a.unit, "a:T7", "a:T8"))
            b.until(lambda: len(b.texts("noted")) == 7)
            assert b.scan("T7") is Verdict.USED


# --- what does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload", "retain", "said"),
    [
        (wire.RECEIPT, b"\xc1 no message", False, "no MessagePack map"),
        (wire.RECEIPT, b"\x81\xa1v\x02", False, "version 2; this release knows version 1"),
        (wire.CHANGES, b"\x81\xa1v\x01", False, "missing required field"),
        (wire.PAGE, bytes(60_000), False, "no MessagePack map"),
        (wire.STATUS, b"", True, "no MessagePack map"),
        (
            wire.RECEIPT,
            wire.encode(wire.Receipt(upto=row_id(1, 1), digest=bytes(16))),
            True,
            "retained, and this topic keeps nothing",
        ),
    ],
)
def test_what_does_not_fit_is_counted_said_once_and_holds_nothing_up(
    bridge: Bridge, gate: RunningGate, topic: wire.Topic, payload: bytes, retain: bool, said: str
) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    for _ in range(80):  # more than are taken without an acknowledgement
        gate.until(
            lambda: bridge.sessions[-1].publish(
                Publication(wire.address(topic, VENUE, "a"), payload, 1, retain)
            )
        )
    gate.until(lambda: gate.uplink.odd.total() == 80 and gate.texts("fault"))
    (text,) = gate.texts("fault")
    assert said in text
    assert topic.name in text
    last = gate.write("after it")
    gate.until(lambda: gate.uplink.receipt == last)


def test_a_name_that_is_none_is_no_gate(bridge: Bridge, gate: RunningGate) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    presence = wire.Presence(online=True, epoch=1, connection=1, random="x")
    bridge.send(wire.STATUS, "Not A Name", presence)
    gate.until(lambda: gate.texts("fault"))
    assert "no name of a gate" in gate.texts("fault")[0]
    assert gate.uplink.odd.total() == 1


# --- tickets and outcomes -----------------------------------------------------------------------------


@pytest.mark.usefixtures("patient_notes")
def test_a_gate_asks_for_tickets_when_it_connects_and_takes_what_comes(
    data: Path, bridge: Bridge, gate: RunningGate
) -> None:
    bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
    catalogue = gate.unit.catalogue
    page = wire.CataloguePage(
        feed="f1",
        key_mark=catalogue.key_mark,
        after=0,
        upto=7,
        more=False,
        tickets=1,
        stamp_utc_ms=gate.unit.gate.clock.now().utc_ms,
        items=(
            wire.Listed(digest=catalogue.digest("brand new"), ticket_id="v:new"),
            wire.Moved("", 6, b"", 0, Act.NOTED, "v:other", Direction.IN, (OUTER,), 1),
        ),
    )
    bridge.send(wire.PAGE, "a", page)
    gate.until(lambda: gate.uplink.catalogue_place == ("f1", 7))
    gate.until(lambda: catalogue.count == 1)
    assert gate.texts("noted") == ["vendor, number 6"]
    assert gate.scan("brand new") is Verdict.ADMITTED
    further = wire.CatalogueRequest(feed="f1", cursor=7, pages=REQUEST_PAGES)
    bridge.wait(lambda: further in bridge.messages(wire.CatalogueRequest))
    bridge.send(wire.PAGE, "a", msgspec.structs.replace(page, after=7, items=()))
    sold = wire.Changes(
        feed="f1",
        key_mark=catalogue.key_mark,
        after=7,
        upto=8,
        tickets=2,
        stamp_utc_ms=page.stamp_utc_ms + 1,
        items=(wire.Listed(digest=catalogue.digest("just sold"), ticket_id="v:sold"),),
    )
    bridge.send(wire.CHANGES, "", sold)
    gate.until(lambda: gate.uplink.catalogue_place == ("f1", 8))
    asked = len(bridge.messages(wire.CatalogueRequest))
    behind = wire.Changes(
        feed="f1",
        key_mark=sold.key_mark,
        after=9,
        upto=10,
        tickets=2,
        stamp_utc_ms=sold.stamp_utc_ms,
        items=(),
    )
    bridge.send(wire.CHANGES, "", behind)
    bridge.wait(lambda: len(bridge.messages(wire.CatalogueRequest)) > asked)


@pytest.mark.usefixtures("patient_notes")
def test_a_gate_with_a_new_card_refuses_what_the_old_one_let_in_though_the_ledger_hears_of_it_later(
    bridge: Bridge, gate: RunningGate
) -> None:
    bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
    catalogue = gate.unit.catalogue
    now_ms = gate.unit.gate.clock.now().utc_ms
    listed = wire.Listed(digest=catalogue.digest("let in"), ticket_id="v:in")
    row, digest = row_id(4, 79), bytes(range(16))
    moved = wire.Moved("a", row, digest, row, Act.OPENED, "v:in", Direction.IN, (OUTER,), now_ms)

    def page(after: int, upto: int, item: wire.Change) -> wire.CataloguePage:
        return wire.CataloguePage("f1", catalogue.key_mark, after, upto, False, 1, now_ms, (item,))

    bridge.send(wire.PAGE, "a", page(0, 7, listed))
    gate.until(lambda: gate.uplink.catalogue_place == ("f1", 7) and catalogue.count == 1)
    request = wire.CatalogueRequest(feed="f1", cursor=7, pages=REQUEST_PAGES)
    bridge.wait(lambda: request in bridge.messages(wire.CatalogueRequest))
    bridge.send(wire.PAGE, "a", wire.CataloguePage("f1", catalogue.key_mark, 7, 7, False, 1, now_ms, ()))
    asked = len(bridge.messages(wire.CatalogueRequest))
    bridge.send_receipt("a", wire.Receipt(upto=row, digest=digest))
    bridge.wait(lambda: len(bridge.messages(wire.CatalogueRequest)) > asked)
    assert bridge.messages(wire.CatalogueRequest)[-1] == request
    bridge.send(wire.CHANGES, "", wire.Changes("f1", catalogue.key_mark, 7, 8, 1, now_ms, ()))
    gate.until(lambda: gate.uplink.catalogue_place == ("f1", 8))
    bridge.send(wire.PAGE, "a", page(7, 8, moved))
    gate.until(lambda: gate.texts("noted") == ["gate a, row 4.79"])
    assert gate.scan("let in") is Verdict.USED


def test_a_quiet_bridge_is_asked_for_news_so_that_the_catalogues_stamp_does_not_grow_old(
    bridge: Bridge, gate: RunningGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.uplink.LOOK_S", 0.1)
    bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
    stamp_utc_ms = gate.unit.gate.clock.now().utc_ms - 600_000
    for count in range(1, 4):
        bridge.wait(partial(more_than_requests, bridge, count - 1))
        stamp_utc_ms += 120_000
        page = wire.CataloguePage(
            feed="f1",
            key_mark=gate.unit.catalogue.key_mark,
            after=0 if count == 1 else 7,
            upto=7,
            more=False,
            tickets=0,
            stamp_utc_ms=stamp_utc_ms,
            items=(),
        )
        bridge.send(wire.PAGE, "a", page)
    gate.until(lambda: gate.unit.catalogue.stamp_utc_ms == stamp_utc_ms)


def more_than_requests(bridge: Bridge, count: int) -> bool:
    return len(bridge.messages(wire.CatalogueRequest)) > count


def test_the_vendors_word_is_a_row_where_it_is_no_yes_and_all_of_it_is_watched(
    bridge: Bridge, gate: RunningGate
) -> None:
    gate.scan("T1")
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    (stored,) = [stored for stored, row in gate.rows() if row.kind == "scan"]

    def outcome(result: wire.Result, verdict: Verdict | None, text: str, digest: bytes = b"") -> wire.Outcome:
        return wire.Outcome(stored.id, digest or stored.digest, result, verdict, text)

    told = (
        outcome(wire.Result.ACCEPTED, None, "ok"),
        outcome(wire.Result.REFUSED, Verdict.USED, "ALREADY_IN"),
        outcome(wire.Result.UNSURE, None, ""),
        outcome(wire.Result.REFUSED, Verdict.USED, "of another journal", bytes(16)),
    )
    bridge.send(wire.OUTCOME, "a", wire.Outcomes(outcomes=told))
    gate.until(lambda: gate.texts("outcome") == ["refused: ALREADY_IN", "unsure"])
    assert gate.outcomes == list(told[:3])
    rows = [row for _, row in gate.rows() if row.kind == "outcome"]
    assert [(row.scan, row.verdict) for row in rows] == [(stored.id, Verdict.USED), (stored.id, None)]
