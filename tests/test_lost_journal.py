"""A gate that lost its journal, or its end, and kept its list: the bridge knows what was in it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from firmware import wire
from firmware.catalogue import Catalogue
from firmware.catalogue.folder import writing
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Verdict
from firmware.row import row_id
from firmware.spool import source_of
from firmware.sync import FROM_THE_START, REQUEST_PAGES
from firmware.unit import open_unit
from tests.brokers import RunningBroker, mosquitto_broker
from tests.core.samples import OUTER
from tests.gate_bench import data_directory
from tests.gate_process import SETTINGS
from tests.uplinks import Bridge, RunningGate, bridge_at, gate_at_work, patient_notes  # noqa: F401  a fixture

AT_PRESENT = source_of("f1", 7)
ALL_OF_IT = wire.CatalogueRequest(feed="", cursor=0, pages=REQUEST_PAGES)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def follow(data: Path) -> None:
    """The list comes from a feed and is at its present."""
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        catalogue.apply_changes((), stamp_utc_ms=1, source=AT_PRESENT)


def live(data: Path) -> str:
    """A gate lives for a moment; where its list says that it comes from, then."""
    with open_unit(SETTINGS, data) as unit:
        return unit.catalogue.source


def remove(data: Path) -> None:
    shutil.rmtree(data / "journal")


def damage(data: Path) -> None:
    (data / "journal" / "journal.db").write_bytes(b"no journal" * 1000)
    (data / "journal" / "journal.db-wal").unlink(missing_ok=True)


def put_back(data: Path) -> None:
    shutil.copytree(data / "journal", data / "older")
    live(data)
    shutil.rmtree(data / "journal")
    (data / "older").rename(data / "journal")


@pytest.mark.parametrize("lose", [remove, damage, put_back])
def test_a_gate_that_lost_rows_forgets_how_far_its_list_had_come(
    data: Path, lose: Callable[[Path], None]
) -> None:
    live(data)
    follow(data)
    assert live(data) == AT_PRESENT, "nothing was lost yet"
    (data / "spool").write_bytes(b"pages whose movements the lost journal had")
    lose(data)
    assert live(data) == FROM_THE_START
    assert not (data / "spool").exists()
    assert live(data) == FROM_THE_START, "also where it ended before the bridge told it all"
    follow(data)
    assert live(data) == AT_PRESENT


def test_a_gate_that_is_killed_while_it_begins_a_new_journal_has_forgotten_already(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(data)
    follow(data)
    remove(data)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("firmware.journal.Journal._begin", killed)
        with pytest.raises(KeyboardInterrupt):
            live(data)
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        assert catalogue.source == FROM_THE_START


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def bridge(broker: RunningBroker) -> Iterator[Bridge]:
    with bridge_at(broker.address) as bridge:
        yield bridge


def send_all(bridge: Bridge, gate: RunningGate) -> None:
    """The whole list for each request, with the one movement that the ledger has.

    A gate whose disk is slow asks once more.
    """
    catalogue, row = gate.unit.catalogue, row_id(1, 3)
    listed = wire.Listed(digest=catalogue.digest("let in"), ticket_id="v:in")
    moved = wire.Moved("a", row, bytes(range(16)), row, Act.OPENED, "v:in", Direction.IN, (OUTER,), 1)
    page = wire.CataloguePage("f1", catalogue.key_mark, 0, 8, False, 1, 1, (listed, moved))
    answered = 0

    def has_it() -> bool:
        nonlocal answered
        if (asked := len(bridge.messages(wire.CatalogueRequest))) > answered:
            answered = asked
            bridge.send(wire.PAGE, "a", page)
        return gate.uplink.catalogue_place == ("f1", 8) and catalogue.count == 1

    gate.until(has_it)


@pytest.mark.usefixtures("patient_notes")
@pytest.mark.parametrize("busy", [False, True])
def test_a_ticket_that_the_lost_journal_had_let_in_is_refused_when_the_bridge_has_told_of_it(
    data: Path, broker: RunningBroker, bridge: Bridge, *, busy: bool
) -> None:
    live(data)
    follow(data)
    remove(data)
    with ExitStack() as stack:
        with writing(data / "catalogue") if busy else nullcontext():
            gate = stack.enter_context(gate_at_work(data, "a", broker.port))
        bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
        assert bridge.messages(wire.CatalogueRequest)[0] == ALL_OF_IT
        send_all(bridge, gate)
        assert gate.texts("noted") == ["gate a, row 1.3"]
        assert gate.scan("let in") is Verdict.USED
        assert any("order it to refresh with --whole" in text for text in gate.texts("fault")) is busy
