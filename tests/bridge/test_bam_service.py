"""`gatepost bridge` with an account at B.A.M., whose sandbox has a chain that takes its time."""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge import bam_identity
from firmware.bridge.bam import GONE
from firmware.bridge.bam_identity import Identity
from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.core.ticket import Direction, Perimeter, Status, Verdict
from firmware.mqtt import Line, Publication
from tests import commands
from tests.bridge.model_gate import VENUE, ModelGate
from tests.bridge.relays import topic, walk_in
from tests.bridge.test_presence_service import BIRTH
from tests.bridge.test_service import heard, send, stop
from tests.brokers import QUICK, Ear, RunningBroker, mosquitto_broker, until
from tests.core.samples import NOON_MS

ENTRIES = 30
CONFIG = """
[bridge]
venue = "{venue}"
[[broker]]
host = "127.0.0.1"
port = {port}
tls = false
[[vendor]]
name = "club"
kind = "bam"
poll_s = 1
rate_max = 1000
url = "{url}"
tenant_url = "{tenant_url}"
validator_file = "{folder}/validator"
key_file = "{folder}/validator-key"
[[vendor.event]]
id = "{event}"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


def enrolled(folder: Path, sandbox: Sandbox, broker: RunningBroker) -> Path:
    """The settings of a bridge whose validator was fetched."""
    validator = sandbox.validators[0]
    wallet = validator.wallet
    identity = Identity(
        str(validator.event), sandbox.organizer, wallet.enrollment_id, wallet.certificate, wallet.private_key
    )
    bam_identity.make_key(folder / "validator-key")
    bam_identity.keep(folder / "validator", folder / "validator-key", identity)
    text = CONFIG.format(
        venue=VENUE, port=broker.port, folder=folder, url=sandbox.url, tenant_url=sandbox.tenant_url,
        event=validator.event,
    )  # fmt: skip
    (folder / "bridge.toml").write_text(text, "utf-8")
    return folder / "bridge.toml"


def be_born(line: Line) -> None:
    """The gate's birth, which the broker keeps: the bridge may say that it is ready before it listens."""
    birth = Publication(topic(wire.STATUS, "north"), wire.encode(BIRTH), retain=True)
    until(lambda: line.session is not None and line.session.publish(birth))


def until_it_listens(line: Line, ear: Ear) -> None:
    """Ask the bridge for the list until a page comes: what comes before it listens is lost."""

    def answered() -> bool:
        send(line, wire.REQUEST, "north", wire.CatalogueRequest(feed="", cursor=0, pages=1))
        return bool(heard(ear, wire.PAGE, "north"))

    until(answered)


def test_gates_get_list_and_key_and_every_entry_is_at_the_chain_once(
    tmp_path: Path, broker: RunningBroker
) -> None:
    ear = Ear()
    wanted = [
        wire.address(each, VENUE, "+") for each in (wire.RECEIPT, wire.PAGE, wire.OUTCOME, wire.VENDORS)
    ]
    with (
        Sandbox(tickets=400, rules=Rules(latency_s=0.3, endorsing_s=0.01)) as sandbox,
        Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line,
        commands.Running(
            "bridge", "--config", enrolled(tmp_path, sandbox, broker), "--data", tmp_path / "data"
        ) as bridge,
    ):
        event = sandbox.events[0]
        bridge.err.expect("ready: venue hall; accounts club")
        bridge.err.expect("its codes are signed, and gates get the key")
        be_born(line)

        def keys() -> list[tuple[wire.EventKey, ...]]:
            said = [wire.decode(each, wire.Vendors) for each in heard(ear, wire.VENDORS, "north")]
            return [account.keys for message in said for account in message.accounts]

        until(lambda: (wire.EventKey(str(event.id), event.public_key),) in keys())

        def listed() -> dict[str, Status]:
            send(line, wire.REQUEST, "north", wire.CatalogueRequest(feed="", cursor=0, pages=8))
            pages = [wire.decode(each, wire.CataloguePage) for each in heard(ear, wire.PAGE, "north")]
            items = [item for page in pages for item in page.items if isinstance(item, wire.Listed)]
            return {item.ticket_id: item.status for item in items}

        codes = sandbox.codes(ENTRIES, event=event.id, status="issued")
        names = [sandbox.ticket(code).id for code in codes]
        until(lambda: {f"club:{name}" for name in names} <= listed().keys())
        gate = ModelGate("north")
        for name, code in zip(names, codes, strict=True):
            walk_in(gate, f"club:{name}", code, str(event.id), "")
        send(line, wire.JOURNAL, "north", gate.batch())

        def outcomes() -> list[wire.Outcome]:
            said = [wire.decode(each, wire.Outcomes) for each in heard(ear, wire.OUTCOME, "north")]
            return [outcome for message in said for outcome in message.outcomes]

        until(lambda: len(outcomes()) >= ENTRIES)
        assert {outcome.result for outcome in outcomes()} == {wire.Result.ACCEPTED}
        until(lambda: {listed()[f"club:{name}"] for name in names} == {Status.USED})
        said = stop(bridge)
        assert not any("fault" in text for text in said)
        assert sandbox.books().twice == 0
        assert all(sandbox.ticket(name).inside for name in names)
        assert sandbox.violations == []


def test_a_bridge_that_is_killed_amid_transactions_invalidates_none_twice_and_knows_its_own(
    tmp_path: Path, broker: RunningBroker
) -> None:
    ear = Ear()
    wanted = [wire.address(each, VENUE, "+") for each in (wire.RECEIPT, wire.PAGE, wire.OUTCOME)]
    with (
        Sandbox(tickets=400, rules=Rules(latency_s=0.5, endorsing_s=0.01)) as sandbox,
        Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line,
    ):
        event = sandbox.events[0].id
        arguments = ("bridge", "--config", enrolled(tmp_path, sandbox, broker), "--data", tmp_path / "data")
        codes = sandbox.codes(ENTRIES, event=event, status="issued")
        names = [sandbox.ticket(code).id for code in codes]
        gate = ModelGate("north")
        for name, code in zip(names, codes, strict=True):
            walk_in(gate, f"club:{name}", code, str(event), "")
        with commands.Running(*arguments) as bridge:
            bridge.err.expect("ready: ")
            until_it_listens(line, ear)
            send(line, wire.JOURNAL, "north", gate.batch())
            until(lambda: any(sandbox.ticket(name).inside for name in names))  # replies are under way
            bridge.signal(signal.SIGKILL)
            bridge.end()

        def outcomes() -> dict[int, wire.Result]:
            said = [wire.decode(each, wire.Outcomes) for each in heard(ear, wire.OUTCOME, "north")]
            return {outcome.scan: outcome.result for message in said for outcome in message.outcomes}

        with commands.Running(*arguments) as bridge:
            bridge.err.expect("ready: ")
            until(lambda: len(outcomes()) == ENTRIES)
            stop(bridge)
        assert set(outcomes().values()) == {wire.Result.ACCEPTED}
        assert sandbox.books().twice == 0
        assert all(sandbox.ticket(name).inside for name in names)
        assert sandbox.violations == []


def test_a_gate_that_asks_hears_yes_once_the_chain_has_the_entry_and_no_ever_after(
    tmp_path: Path, broker: RunningBroker
) -> None:
    ear = Ear()
    wanted = [wire.address(each, VENUE, "+") for each in (wire.ANSWER, wire.VENDORS)]
    with (
        Sandbox(tickets=400, rules=Rules(latency_s=0.3, endorsing_s=0.01)) as sandbox,
        Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line,
    ):
        event = str(sandbox.events[0].id)
        config = enrolled(tmp_path, sandbox, broker)
        text = config.read_text("utf-8").replace('kind = "bam"', 'kind = "bam"\nopen_before_commit = false')
        config.write_text(text, "utf-8")
        (code,) = sandbox.codes(1, event=int(event), status="issued")
        name = sandbox.ticket(code).id

        def accounts() -> list[wire.Account]:
            said = [wire.decode(each, wire.Vendors) for each in heard(ear, wire.VENDORS, "north")]
            return [account for message in said for account in message.accounts]

        def answer(scan: int) -> wire.Answer:
            asked = wire.Ask(
                scan=scan, digest=b"d" * 16, account="club", code=code, ticket_id="", event=event, session="",
                direction=Direction.IN, perimeter=Perimeter.OUTER, at_utc_ms=NOON_MS, left_ms=60_000,
            )  # fmt: skip
            send(line, wire.ASK, "north", asked)

            def found() -> list[wire.Answer]:
                said = [wire.decode(each, wire.Answer) for each in heard(ear, wire.ANSWER, "north")]
                return [each for each in said if each.scan == scan]

            until(found)
            return found()[0]

        with commands.Running("bridge", "--config", config, "--data", tmp_path / "data") as bridge:
            bridge.err.expect("ready: ")
            be_born(line)
            until(lambda: any(account.asks and account.deadline_ms == 8000 for account in accounts()))
            assert answer(1).word is wire.Word.ACCEPTED
            assert sandbox.ticket(name).inside, "the chain has it by then"
            second = answer(2)
            assert (second.word, second.verdict) == (wire.Word.REFUSED, Verdict.USED)
            scans = count(3)
            until(lambda: answer(next(scans)).text == GONE)  # the ledger's list has it by then
            stop(bridge)
        assert sandbox.books().twice == 0
        assert sandbox.violations == []
