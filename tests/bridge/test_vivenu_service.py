"""`gatepost bridge` with two vendors in its settings, each a sandbox that runs as a command."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from firmware import wire
from tests import commands
from tests.bridge.model_gate import VENUE, ModelGate
from tests.bridge.relays import walk_in
from tests.bridge.test_service import gates_at, heard, send, stop
from tests.brokers import RunningBroker, mosquitto_broker, until

CONFIG = """
[bridge]
venue = "{venue}"
[[broker]]
host = "127.0.0.1"
port = {port}
tls = false
[[vendor]]
name = "hall"
kind = "ingresse"
poll_s = 1
key_file = "{folder}/key"
login = "password"
email = "{email}"
password_file = "{folder}/password"
unsold = "refuse"
api_url = "{ingresse}"
[[vendor.event]]
id = "28180"
sessions = ["43058"]
[[vendor]]
name = "fest"
kind = "vivenu"
poll_s = 1
token_file = "{folder}/token"
api_url = "{vivenu}"
[[vendor.event]]
id = "{event}"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


def said(url: str, **query: str) -> Any:
    """What a control port says."""
    return httpx.get(url, params=query, trust_env=False, timeout=60).json()


def test_one_bridge_tells_each_of_two_vendors_of_its_own_people(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with (
        commands.Running("sandbox", "ingresse", "--port", "0", "--tickets", "50") as one,
        commands.Running("sandbox", "vivenu", "--port", "0", "--tickets", "50") as other,
        gates_at(broker) as (line, ear),
    ):
        ingresse = one.out.expect("Ingresse sandbox at ").split()[3].rstrip(",")
        email = one.out.expect("^login ").split()[1]
        vivenu = other.out.expect("vivenu sandbox at ").split()[3].rstrip(",")
        control = other.out.expect("^control ").split()[1].removesuffix("/state")
        token = other.out.expect("^token ").split()[1]
        event = other.out.expect("^event ").split()[1]
        (code,) = said(f"{control}/codes", count="1", event=event, valid="true")
        ticket = said(f"{control}/ticket", ticket=code)["_id"]
        for name, text in (("key", "sandbox-key"), ("password", "sandbox-password"), ("token", token)):
            (tmp_path / name).write_text(text, "utf-8")
        (tmp_path / "bridge.toml").write_text(
            CONFIG.format(
                venue=VENUE, port=broker.port, folder=tmp_path, email=email, ingresse=ingresse,
                vivenu=vivenu, event=event,
            ),
            "utf-8",
        )  # fmt: skip
        with commands.Running(
            "bridge", "--config", tmp_path / "bridge.toml", "--data", tmp_path / "data"
        ) as bridge:
            bridge.err.expect("ready: venue hall; accounts hall, fest; 0 rows in the ledger, 0 reports")
            bridge.err.expect("fest: access user Gates, seller s1, 1 events, ")

            def listed() -> bool:
                send(line, wire.REQUEST, "north", wire.CatalogueRequest(feed="", cursor=0, pages=8))
                pages = [wire.decode(each, wire.CataloguePage) for each in heard(ear, wire.PAGE, "north")]
                names = {
                    item.ticket_id for page in pages for item in page.items if hasattr(item, "ticket_id")
                }
                return {name.partition(":")[0] for name in names} == {"hall", "fest"}

            until(listed)
            gate = ModelGate("north")
            walk_in(gate, f"fest:{ticket}", code, event, "")
            send(line, wire.JOURNAL, "north", gate.batch())
            ear.wait(lambda: heard(ear, wire.OUTCOME, "north"))
            (outcome,) = wire.decode(heard(ear, wire.OUTCOME, "north")[0], wire.Outcomes).outcomes
            assert (outcome.result, outcome.text) == (wire.Result.ACCEPTED, "OK, for an array of 1")
            lines = stop(bridge)
        assert not any("fault" in text or token in text for text in lines)
        assert said(f"{control}/ticket", ticket=code)["inside"]
        assert said(f"{control}/violations") == []
