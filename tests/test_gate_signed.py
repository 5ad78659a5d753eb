"""Signed codes at a gate: what a list and a signature together decide, and a start without network."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from firmware.core.ticket import Choice, Perimeter, Policy, Proof, Route, Status, Ticket, Verdict
from firmware.proof import FILE, EventKeys, Proofs
from firmware.signed_code import Signature, Signing
from tests.asking import answering
from tests.brokers import RunningBroker, mosquitto_broker
from tests.gate_bench import Bench, data_directory
from tests.signed_codes import EVENT, TICKET, Signer, to_base45
from tests.uplinks import gate_at_work

ROUTE = Route("fair", EVENT)
ADMITS = Policy(unlisted=Choice.ADMIT)
LISTED, REFUNDED = "E3334TC23T13", "E3334TC23T14"
SETTINGS = f"""
[[lane]]
name = "north"
[[lane]]
name = "south"
[[lane]]
name = "west"

[policy]
unlisted = "admit"

[[route]]
starts = "MPF"
characters = "base45"
vendor = "fair"
event = "{EVENT}"
signed = "bam"
"""


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


@pytest.fixture
def signer() -> Signer:
    return Signer()


def account(*keys: wire.EventKey) -> wire.Account:
    return wire.Account("fair", False, True, (Perimeter.OUTER,), 0, keys=keys)


def proving(bench: Bench, data: Path, signer: Signer, signature: Signature = Signature.PREFER) -> Bench:
    """The gate with the event's key."""
    keys = EventKeys(data)
    keys.take((account(wire.EventKey(EVENT, signer.pem)),))
    proofs = Proofs(((bench.rules.routes["MPF"], Signing("fair", EVENT, signature)),), keys)
    bench.gate.facts = bench.gate.facts._replace(prove=proofs.prove)
    return bench


def test_a_genuine_code_on_no_list_enters_once_by_policy_however_often_it_was_signed(
    data: Path, signer: Signer
) -> None:
    with Bench(data, policy=ADMITS, routes={"MPF": ROUTE}) as bench:
        proving(bench, data, signer)
        shot = bench.enter(signer.code())
        assert (shot.verdict, shot.scan.proof) == (Verdict.ADMITTED_UNLISTED, Proof.VALID)
        assert shot.scan.subject == f"fair:{TICKET}", "as the list will call it, and the ledger"
        assert bench.enter(signer.code()).verdict is Verdict.USED
        assert bench.openings() == 1


def test_a_genuine_code_on_no_list_is_refused_under_a_verdict_of_its_own_where_policy_says_so(
    data: Path, signer: Signer
) -> None:
    with Bench(data, routes={"MPF": ROUTE}) as bench:
        assert proving(bench, data, signer).enter(signer.code()).verdict is Verdict.UNLISTED


def test_forged_codes_and_those_of_another_event_are_told_apart(data: Path, signer: Signer) -> None:
    with Bench(data, policy=ADMITS, routes={"MPF": ROUTE}) as bench:
        proving(bench, data, signer)
        assert bench.enter(Signer().code()).verdict is Verdict.FORGED
        assert bench.enter(signer.code("E3335TC23T12")).verdict is Verdict.WRONG_EVENT
        assert bench.enter(to_base45(b'{"id":"E3334TC23T12"}')).verdict is Verdict.UNKNOWN
        assert bench.openings() == 0


def test_a_genuine_code_is_the_listed_ticket_that_it_names_with_its_status_and_its_past(
    data: Path, signer: Signer
) -> None:
    in_list = signer.code(LISTED)
    listed = {
        in_list: Ticket(f"fair:{LISTED}", event=EVENT),
        signer.code(REFUNDED): Ticket(f"fair:{REFUNDED}", Status.REFUNDED, EVENT),
    }
    with Bench(data, listed=listed, policy=ADMITS, routes={"MPF": ROUTE}) as bench:
        proving(bench, data, signer)
        assert bench.enter(signer.code(LISTED)).verdict is Verdict.ADMITTED
        assert bench.enter(in_list).verdict is Verdict.USED
        assert bench.enter(signer.code(REFUNDED)).verdict is Verdict.REFUNDED


def test_a_listed_code_without_a_genuine_signature_enters_only_where_none_is_required(
    data: Path, signer: Signer
) -> None:
    codes = [Signer().code(f"E3334TC23T{number}") for number in range(2)]
    listed = {code: Ticket(f"fair:{code[:20]}{number}") for number, code in enumerate(codes)}
    with Bench(data, listed=listed, routes={"MPF": ROUTE}) as bench:
        assert proving(bench, data, signer).enter(codes[0]).verdict is Verdict.ADMITTED
        shot = proving(bench, data, signer, Signature.REQUIRE).enter(codes[1])
        assert (shot.verdict, shot.scan.proof) == (Verdict.FORGED, Proof.LACKING)


def test_other_codes_are_not_looked_at(data: Path, signer: Signer) -> None:
    with Bench(data, routes={"MPF": ROUTE}) as bench:
        shot = proving(bench, data, signer, Signature.REQUIRE).enter("A")
        assert (shot.verdict, shot.scan.proof) == (Verdict.ADMITTED, Proof.NONE)


# --- the whole way ------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


def test_the_key_comes_from_the_bridge_and_proves_codes_after_a_start_without_network(
    data: Path, broker: RunningBroker, signer: Signer
) -> None:
    data.mkdir()
    told = account(wire.EventKey(EVENT, signer.pem))
    with (
        answering(broker.address, told),
        gate_at_work(data, "a", broker.port, SETTINGS) as gate,
    ):
        gate.until(partial((data / FILE).exists))
        assert gate.scan(signer.code()) is Verdict.ADMITTED_UNLISTED
        gate.write("every second has passed")
    with gate_at_work(data, "a", 1, SETTINGS) as gate:
        assert gate.scan(signer.code("E3334TC23T20")) is Verdict.ADMITTED_UNLISTED
        assert gate.scan(signer.code(), "south") is Verdict.USED
        assert gate.scan(Signer().code("E3334TC23T21"), "west") is Verdict.FORGED


def test_a_gate_that_never_heard_a_key_says_so_and_lets_nobody_in_for_a_signature(
    data: Path, signer: Signer
) -> None:
    data.mkdir()
    with gate_at_work(data, "a", 1, SETTINGS) as gate:
        assert gate.scan(signer.code()) is Verdict.UNKNOWN
        faults = [row.text for _, row in gate.rows() if row.kind == "fault"]
        assert [text for text in faults if text.startswith(f"no key of event {EVENT} of fair")]
    required = SETTINGS + 'signature = "require"\n'
    with gate_at_work(data, "a", 1, required) as gate:
        assert gate.scan(signer.code()) is Verdict.NOT_CONFIGURED
