"""What a bridge serves over HTTP: metrics for Prometheus, a page for people, and nothing else."""

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from firmware import wire
from firmware.bridge import health_page
from firmware.bridge.asking import AskCounts
from firmware.bridge.gates import GATES_MAX, UP_S, Gates
from firmware.bridge.health_page import HEAD_BYTES_MAX, REQUESTS_MAX, CannotServe, HealthPage
from firmware.bridge.ledger import Counts
from firmware.bridge.metrics import Seen
from firmware.bridge.oddities import Oddity
from firmware.bridge.relay import subscriptions
from firmware.bridge.service import AccountHealth, Health
from firmware.bridge.settings import Listen, parse
from firmware.bridge.work import Fault
from firmware.config import SettingsError
from firmware.core.ticket import Verdict
from firmware.demo.network import free_port
from tests.bridge.relays import TapeSession, desk, topic
from tests.brokers import LIMIT_S, mosquitto_broker, until
from tests.commands import Running, run
from tests.uplinks import fill_catalogue, gate_at_work

get = partial(httpx.get, timeout=LIMIT_S)
ROOT = Path(__file__).parent.parent.parent
NOW_MS = 1_790_000_000_000
HEALTH = Health(
    broker="cloud",
    connections=2,
    counts=Counts(rows=4_321, loose=1, work={("main", "due"): 7}, reports=3),
    counted_utc_ms=NOW_MS,
    rows=99,
    gates={"a": NOW_MS},
    accounts=(AccountHealth("main", {"due": 7, "accepted": 90}, NOW_MS, 5, AskCounts(4, 3, 1, 0), True),),
    faults=(),
    odd={("a", "rows"): Oddity(2, "not taken")},
    dropped=0,
)
TELEMETRY = wire.Telemetry(
    epoch=7,
    utc_ms=NOW_MS,
    trusted=True,
    up_ms=60_000,
    release="0.1.0",
    settings_version=12,
    verdicts={Verdict.ADMITTED: 40, Verdict.UNKNOWN: 2},
    inbox=0,
    late_turns=1,
    decide=wire.Quantiles(18, 90),
    commit=wire.Quantiles(1_800, 6_000),
    tickets=50_000,
    catalogue_age_ms=3_000,
    key_mark=bytes(range(8)),
    backlog_rows=5,
    parts=(wire.PartState("reader north/1", ""), wire.PartState("lamp north", "broken")),
    faults=(
        wire.NamedFault("lamp_failed", NOW_MS, "lamp north: broken"),
        wire.NamedFault("reader_lost", NOW_MS, "a secret place"),
        wire.NamedFault("reader_lost", NOW_MS, "another"),
    ),
    temperature_mc=48_500,
    under_voltage=False,
    memory_free_bytes=1 << 29,
    disk_free_bytes=None,
)


class Bridge:
    """What is looked at, and the page at work."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.said: list[str] = []
        self.gates = Gates(self.said.append, lambda: self.now_s)
        self.health = HEALTH
        self.before: Callable[[], None] = lambda: None
        self.listen = Listen("127.0.0.1", free_port())
        self.page = HealthPage(self.listen, "arena", self.look)

    def look(self) -> Seen:
        self.before()
        return Seen(self.health, self.gates.now())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen.port}"

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        reply = get(f"{self.url}/metrics")
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(reply.text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    monkeypatch.setattr(health_page, "REQUEST_S", LIMIT_S)  # a test may be slow to write its own
    found = Bridge()
    with found.page:
        yield found


def test_prometheus_reads_the_bridge_and_each_gate(bridge: Bridge) -> None:
    bridge.gates.take("a", TELEMETRY)
    found = bridge.metrics()
    assert found["gatepost_bridge_connected", ()] == 1
    assert found["gatepost_ledger_rows", ()] == 4_321
    assert found["gatepost_bridge_odd_messages_total", ()] == 2
    assert found["gatepost_account_work", (("account", "main"), ("state", "due"))] == 7
    assert found["gatepost_account_asks_total", (("account", "main"), ("result", "late"))] == 1
    gate = (("gate", "a"),)
    assert found["gatepost_gate_up", gate] == 1
    assert found["gatepost_gate_backlog_rows", gate] == 5
    assert found["gatepost_gate_temperature_celsius", gate] == 48.5
    assert found["gatepost_gate_under_voltage", gate] == 0
    assert ("gatepost_gate_disk_free_bytes", gate) not in found, "it cannot tell"
    assert found["gatepost_gate_scans_total", (*gate, ("verdict", "admitted"))] == 40
    assert found["gatepost_gate_decide_seconds", (*gate, ("quantile", "0.99"))] == 90e-6
    assert found["gatepost_gate_part_ok", (*gate, ("part", "lamp north"))] == 0
    assert found["gatepost_gate_faults", (("code", "reader_lost"), *gate)] == 2
    info = (*gate, ("key", "00010203"), ("release", "0.1.0"), ("settings_version", "12"))
    assert found["gatepost_gate_info", info] == 1


def test_a_gate_that_is_not_heard_for_a_minute_is_down_and_its_figures_are_gone(bridge: Bridge) -> None:
    bridge.gates.take("a", TELEMETRY)
    bridge.now_s = UP_S
    assert bridge.metrics()["gatepost_gate_up", (("gate", "a"),)] == 1
    bridge.now_s = UP_S + 1
    found = bridge.metrics()
    assert found["gatepost_gate_up", (("gate", "a"),)] == 0
    assert found["gatepost_gate_heard_age_seconds", (("gate", "a"),)] == UP_S + 1
    assert ("gatepost_gate_backlog_rows", (("gate", "a"),)) not in found
    assert "gate a: NOT HEARD" in get(f"{bridge.url}/health").text


def test_people_read_what_is_wrong_and_programs_the_status(bridge: Bridge) -> None:
    bridge.gates.take("a", TELEMETRY)
    reply = get(f"{bridge.url}/health")
    assert reply.status_code == 200
    assert "gate a: lamp_failed, reader_lost; 5 rows to send" in reply.text
    assert "account main: 7 admissions to tell" in reply.text
    assert "secret" not in reply.text, "codes of faults, not their texts"
    fault = Fault("the ledger", "lost", "the ledger is lost: mend it\x1b[2J")
    bridge.health = HEALTH._replace(faults=(fault,), broker="")
    reply = get(f"{bridge.url}/health")
    assert reply.status_code == 503
    assert "fault: the ledger is lost: mend it?[2J" in reply.text
    assert bridge.metrics()["gatepost_bridge_faults", (("thing", "the ledger"),)] == 1


def test_there_is_nothing_else(bridge: Bridge) -> None:
    assert get(f"{bridge.url}/").status_code == 404
    assert get(f"{bridge.url}/metrics/../health/x").status_code == 404
    assert httpx.post(f"{bridge.url}/metrics", content=b"x", timeout=LIMIT_S).status_code == 405
    head = httpx.head(f"{bridge.url}/health", timeout=LIMIT_S)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def connected(bridge: Bridge) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", bridge.listen.port), 30)
    found.settimeout(30)
    return found


@pytest.mark.parametrize(
    "said", [b"GET\r\n\r\n", b"\xff\x00\r\n\r\n", b"GET /health HTTP/2\r\n\r\n", b"A" * (HEAD_BYTES_MAX * 3)]
)
def test_what_is_no_request_is_refused(bridge: Bridge, said: bytes) -> None:
    with connected(bridge) as client:
        client.sendall(said)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert get(f"{bridge.url}/health").status_code == 200


def test_so_many_at_one_time_are_served_and_one_more_is_let_go(bridge: Bridge) -> None:
    waiting, may_go = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        waiting.release()
        assert may_go.wait(30)

    bridge.before = hold
    clients = [connected(bridge) for _ in range(REQUESTS_MAX)]
    for client in clients:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in clients:
        assert waiting.acquire(timeout=30)
    with connected(bridge) as ninth:
        assert ninth.recv(100) == b"", "closed without a word"
    may_go.set()
    for client in clients:
        with client:
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_page_that_cannot_be_made_is_an_answer_without_its_reason(bridge: Bridge) -> None:
    def fail() -> None:
        raise ValueError("secret")

    bridge.before = fail
    reply = get(f"{bridge.url}/health")
    assert (reply.status_code, reply.text) == (500, "the page cannot be made (ValueError)\n")


def test_a_port_that_is_taken_is_named_with_the_mend(bridge: Bridge) -> None:
    other = HealthPage(bridge.listen, "arena", bridge.look)
    with pytest.raises(CannotServe, match=r"127\.0\.0\.1:\d+: .*choose another"), other:
        pass


def test_so_many_gates_are_kept_and_one_that_is_gone_makes_room() -> None:
    bridge = Bridge()
    for number in range(GATES_MAX + 10):
        bridge.gates.take(f"g{number}", TELEMETRY)
    assert len(bridge.gates.now()) == GATES_MAX
    bridge.now_s = UP_S + 1
    bridge.gates.take("new", TELEMETRY)
    assert len(bridge.gates.now()) == GATES_MAX
    assert "new" in bridge.gates.now()
    assert "g0" not in bridge.gates.now()


def test_warnings_of_gates_are_said_at_the_bridge() -> None:
    bridge = Bridge()
    bridge.gates.take("a", wire.Log(lines=(wire.Line(NOW_MS, "disk_full: make room"),), dropped=4))
    assert bridge.said == ["gate a: disk_full: make room"]
    assert bridge.gates.dropped == 4


BRIDGE = """\
[bridge]
venue = "arena"
[[broker]]
host = "cloud.example"
"""


def test_nothing_is_served_without_the_section_and_on_the_loopback_with_it() -> None:
    assert parse(BRIDGE, "bridge.toml").listen is None
    assert parse(BRIDGE + "[health]\n", "bridge.toml").listen == Listen("127.0.0.1", 9464)
    six = parse(BRIDGE + '[health]\nlisten = "[::1]:80"\n', "bridge.toml")
    assert six.listen == Listen("::1", 80)


@pytest.mark.parametrize("listen", ["9464", "host.example:80", "127.0.0.1:0", "127.0.0.1:65536", "1.2.3.4:x"])
def test_an_address_that_cannot_be_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match="write one as in 127"):
        parse(BRIDGE + f'[health]\nlisten = "{listen}"\n', "bridge.toml")


# --- the whole way: gate, broker, bridge, HTTP -----------------------------------------------------------


def bridge_settings(port: int, health: str) -> str:
    return f'[bridge]\nvenue = "arena"\n[[broker]]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n{health}'


def test_a_gates_health_is_served_by_its_bridge_and_its_warnings_are_said(tmp_path: Path) -> None:
    fill_catalogue(tmp_path / "a")
    port, file = free_port(), tmp_path / "bridge.toml"
    with mosquitto_broker(tmp_path) as broker:
        health = f'[health]\nlisten = "127.0.0.1:{port}"\n'
        file.write_text(bridge_settings(broker.port, health), "utf-8")
        with Running("bridge", "--config", file, "--data", tmp_path / "bridge") as bridge:
            assert f"health on 127.0.0.1 port {port}" in bridge.err.expect("ready: ")
            url = f"http://127.0.0.1:{port}"
            until(lambda: get(f"{url}/health").status_code == 200)
            with gate_at_work(tmp_path / "a", "a", broker.port) as gate:
                until(lambda: 'gatepost_gate_up{gate="a"} 1.0' in get(f"{url}/metrics").text)
                gate.board.fakes["north"].readers["in"].fail("no cable")
                said = bridge.err.expect("reader_lost")
                assert said == "gatepost: gate a: reader_lost: reader north/1: no cable"
            bridge.signal(signal.SIGTERM)
            assert bridge.end() == 0


def test_a_port_that_is_taken_is_a_start_refused(tmp_path: Path) -> None:
    with socket.socket() as taken, mosquitto_broker(tmp_path) as broker:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = tmp_path / "bridge.toml"
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(bridge_settings(broker.port, f'[health]\nlisten = "{listen}"\n'), "utf-8")
        found = run("bridge", "--config", file, "--data", tmp_path / "bridge")
        assert found.returncode == 2
        assert f"[health] {listen}: " in found.stderr
        assert "choose another" in found.stderr


def test_telemetry_that_does_not_fit_is_counted_and_without_the_section_none_is_asked_for(
    tmp_path: Path,
) -> None:
    more = set(subscriptions("arena", "5ec", health=True)) - set(subscriptions("arena", "5ec"))
    own = {f"gatepost/v1/arena/gate/+/{name}" for name in ("telemetry", "log")}
    assert more == own, "not shared: every bridge hears every gate"
    with desk(tmp_path) as at:
        at.relay.gates = Gates()
        line = TapeSession()
        line.bring(at.relay, topic(wire.TELEMETRY, "a"), b"\xc1")
        line.bring(at.relay, topic(wire.TELEMETRY, "a"), wire.encode(TELEMETRY), retained=True)
        line.bring(at.relay, topic(wire.TELEMETRY, "a"), wire.encode(TELEMETRY))
        assert [oddity.times for oddity in at.relay.odd.counts().values()] == [2]
        assert list(at.relay.gates.now()) == ["a"]
        assert "a" in at.relay.heard_utc_ms()


def test_every_metric_that_the_hand_book_names_is_served(bridge: Bridge) -> None:
    bridge.gates.take("a", TELEMETRY)
    served = {name for name, _ in bridge.metrics()} | {"gatepost_bridge_faults"}  # none at present
    told = set(re.findall(r"gatepost_[a-z_]+", (ROOT / "deploy" / "fleet.md").read_text("utf-8")))
    told |= set(re.findall(r"gatepost_[a-z_]+", (ROOT / "deploy" / "faults.md").read_text("utf-8")))
    assert len(told) > 5
    assert told <= served
