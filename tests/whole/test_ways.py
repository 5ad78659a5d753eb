"""The whole way, from a scan to the vendor and from a sale to the door, with the network there or away."""

import signal
import time

from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.core.ticket import Verdict
from tests.brokers import ANYBODY, mosquitto_broker
from tests.commands import Running
from tests.uplinks import rows_of
from tests.whole.books import noted_in
from tests.whole.cables import Cable
from tests.whole.lives import IN, OUT
from tests.whole.world import TICKETS, World, WorldGate, world_at_work

ADMITTED = Verdict.ADMITTED.value

# As in deploy/mosquitto/venue-cloud.conf, but with all topics both ways and without TLS.
BRIDGED = (
    ANYBODY
    + """
connection other
address 127.0.0.1:{other}
bridge_protocol_version mqttv50
cleansession true
notifications false
bridge_attempt_unsubscribe false
restart_timeout 1
topic gatepost/# both 1
"""
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def results(gate: WorldGate) -> list[str]:
    """What vendors said, as the gate has heard it. The bridge has sent it by then, and no more is known."""
    return [result for _, result, _ in gate.outcomes()]


def refusals(gate: WorldGate) -> list[Verdict | None]:
    """The verdicts of vendors that the gate has written down."""
    return [row.verdict for _, row in rows_of(gate.data) if row.kind == "outcome"]


def test_a_scan_reaches_the_vendor_and_its_word_comes_back() -> None:
    with world_at_work("a") as world:
        gate = world.gates["a"]
        (code,) = world.codes(1)
        assert gate.scan(code) == ADMITTED
        world.until(lambda: world.sandbox.ticket(code).inside)
        assert gate.scan(code) == Verdict.USED
        assert gate.scan(code, OUT) == ADMITTED
        world.settle()
        assert not world.sandbox.ticket(code).inside
        world.until(lambda: results(gate) == ["accepted", "accepted"])
        assert world.audit().results() == {"accepted": 2}


def test_a_person_who_left_may_enter_again_at_any_gate_and_the_vendor_hears_it_in_order() -> None:
    with world_at_work("a", "b") as world:
        a, b = world.gates.values()
        (code,) = world.codes(1)
        for inside, outside in ((a, b), (b, a), (a, a)):
            assert inside.scan(code) == ADMITTED
            world.settle()
            assert outside.scan(code, OUT) == ADMITTED
            world.settle()
        assert [change.what for change in world.sandbox.history(code)] == ["checkin", "checkout"] * 3
        world.audit()


def test_a_sale_at_the_vendor_lets_a_person_in() -> None:
    with world_at_work("a") as world:
        gate = world.gates["a"]
        code, other = world.sandbox.codes(2, sold=False, refunded=False)
        assert gate.scan(code) == Verdict.NOT_SOLD
        assert gate.scan(other) == Verdict.NOT_SOLD  # the lane answers the same code again from memory
        world.sandbox.sell(code)
        world.settle()
        assert gate.scan(code) == ADMITTED
        world.settle()
        assert world.audit().results() == {"accepted": 1}


def test_who_entered_elsewhere_is_refused_at_every_gate_until_he_has_left() -> None:
    with world_at_work("a", "b") as world:
        (code,), sandbox = world.codes(1), world.sandbox
        assert isinstance(sandbox, Sandbox)
        sandbox.check_in(code)
        world.settle()
        for gate in world.gates.values():
            assert gate.scan(code) == Verdict.USED
        sandbox.check_out(code)
        world.settle()
        a, b = world.gates.values()
        (other,) = sandbox.codes(1, sold=False)
        assert b.scan(other) == Verdict.NOT_SOLD
        assert b.scan(code) == ADMITTED
        world.settle()
        assert a.scan(other) == Verdict.NOT_SOLD
        assert a.scan(code) == Verdict.USED
        world.settle()
        assert world.audit().results() == {"accepted": 1}


def test_what_the_vendor_changed_while_gates_were_offline_is_found_when_they_come_back() -> None:
    with world_at_work("a", "b") as world:
        refunded, printed, unused = world.codes(3)
        ids = {code: world.sandbox.ticket(code).id for code in (refunded, printed, unused)}
        for gate in world.gates.values():
            gate.cable.cut()
        world.sandbox.refund(refunded)
        world.sandbox.change_code(printed)
        world.sandbox.change_code(unused)
        a, b = world.gates.values()
        assert a.scan(refunded) == ADMITTED  # nobody could tell the gates
        assert b.scan(printed) == ADMITTED
        for gate in world.gates.values():
            gate.cable.join()
        world.settle()
        new = {code: world.sandbox.ticket(id).code for code, id in ids.items()}
        assert a.scan(unused) == Verdict.UNKNOWN
        assert a.scan(new[unused]) == ADMITTED
        assert a.scan(new[refunded]) == Verdict.REFUNDED
        assert a.scan(new[printed]) == Verdict.USED
        world.settle()
        world.until(lambda: results(a) == ["refused", "accepted"])
        world.until(lambda: results(b) == ["refused"])
        world.until(lambda: [refusals(gate) for gate in (a, b)] == [[Verdict.REFUNDED], [Verdict.UNKNOWN]])
        assert world.audit().results() == {"accepted": 1, "refused": 2}


def test_two_vendors_share_a_gate_and_one_that_is_down_holds_up_nothing_of_the_other() -> None:
    with world_at_work("a", accounts=("hall", "guests")) as world:
        gate = world.gates["a"]
        hall, guests = world.sandboxes["hall"], world.sandboxes["guests"]
        codes = {account: world.codes(4, account) for account in world.sandboxes}
        (unsold,) = guests.codes(1, sold=False, refunded=False)
        with hall.refused():
            for pair in zip(*codes.values(), strict=True):
                for code in pair:
                    assert gate.scan(code) == ADMITTED
            guests.sell(unsold)
            world.settle(vendors=False)
            world.until(lambda: all(guests.ticket(code).inside for code in codes["guests"]))
            world.until(lambda: gate.scan(unsold) == ADMITTED)
            world.until(lambda: guests.ticket(unsold).inside)
            assert not any(hall.ticket(code).inside for code in codes["hall"])
        world.settle()
        assert world.audit().results() == {"accepted": 9}


def test_a_copied_ticket_is_refused_at_the_other_gate_while_the_bridge_is_away() -> None:
    with world_at_work("a", "b") as world:
        a, b = world.gates.values()
        world.bridge.kill()
        (code,) = world.codes(1)
        assert a.scan(code) == ADMITTED
        told = {("a", stored.id, stored.digest) for stored, row in rows_of(a.data) if row.movement}
        assert len(told) == 2  # the admission, and the walk
        world.until(lambda: told <= set(noted_in(b.data)))
        assert b.scan(code) == Verdict.USED
        world.bridge.start()
        world.settle()
        assert world.audit().results() == {"accepted": 1}


CONFIG = """
[bridge]
venue = "arena"
[[broker]]
host = "127.0.0.1"
port = {port}
tls = false
[[vendor]]
name = "hall"
kind = "ingresse"
poll_s = 1
rate_max = 1000
api_url = "{url}"
key_file = "{folder}/key"
login = "password"
email = "{email}"
password_file = "{folder}/password"
unsold = "admit"
check_in_timeout_ms = 10000
"""


def test_the_command_that_is_killed_and_started_again_goes_on_and_ends_in_order() -> None:
    with world_at_work("a", start=False) as world:
        sandbox, gate = world.sandbox, world.gates["a"]
        assert isinstance(sandbox, Sandbox)
        text = CONFIG.format(
            port=world.broker.port, url=sandbox.url, folder=world.folder, email=sandbox.email
        )
        for event in sandbox.events:
            sessions = [str(session.id) for session in event.sessions]
            text += f'[[vendor.event]]\nid = "{event.id}"\nsessions = {sessions}\n'
        for name, content in (("key", sandbox.key), ("password", sandbox.password), ("bridge.toml", text)):
            (world.folder / name).write_text(content, "utf-8")
        bridge = ("bridge", "--config", world.folder / "bridge.toml", "--data", world.bridge_data)
        codes = world.codes(4)
        with Running(*bridge) as first:
            first.err.expect("ready")
            world.until(lambda: len(world.ledger().tickets) == TICKETS)
            gate.life.start()
            world.settle()
            for code in codes[:2]:
                assert gate.scan(code) == ADMITTED
            first.process.kill()
        for code in codes[2:]:
            assert gate.scan(code) == ADMITTED
        with Running(*bridge) as second:
            world.settle()
            second.signal(signal.SIGTERM)
            assert second.end() == 0
        assert world.audit().results() == {"accepted": 4}


# --- a split ----------------------------------------------------------------------------------------------


def admitted_twice(world: World, code: str, accepted: int = 1) -> None:
    """Both gates have let it in, and the split has healed: all is known, and told to a person once."""
    world.settle()
    ledger = world.audit("double")
    (text,) = ledger.texts("double")
    for gate in world.gates.values():
        assert f"gate {gate.name}, lane {IN}, row" in text
    assert ledger.results() == {"accepted": accepted, "refused": 1}
    (refused,) = [work for work in ledger.works if work.result == "refused"]
    assert refused.verdict == Verdict.USED
    for gate in world.gates.values():
        assert gate.scan(code) == Verdict.USED
    world.settle()
    assert len(world.audit("double").texts("double")) == 1


def test_gates_on_two_brokers_that_lost_each_other_report_a_double_admission_once() -> None:
    with world_at_work("a") as world, Cable(world.broker.port) as between:
        config = BRIDGED.replace("{other}", str(between.port))
        with mosquitto_broker(world.folder, config) as second:
            b = world.add_gate("b", second.port)
            b.life.start()
            world.settle()
            common, copied = world.codes(2)
            assert world.gates["a"].scan(common) == ADMITTED
            world.settle()
            assert b.scan(common) == Verdict.USED
            between.cut()
            for gate in world.gates.values():
                assert gate.scan(copied) == ADMITTED
            between.join()
            admitted_twice(world, copied, accepted=2)
            world.close()


def test_a_gate_that_lost_the_broker_and_one_that_did_not_report_a_double_admission_once() -> None:
    with world_at_work("a", "b") as world:
        (code,) = world.codes(1)
        world.gates["b"].cable.cut()
        for gate in world.gates.values():
            assert gate.scan(code) == ADMITTED
        world.gates["b"].cable.join()
        admitted_twice(world, code)
