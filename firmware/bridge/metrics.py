"""The bridge and its gates as Prometheus metrics. The only file that imports prometheus_client.

Everything is read from memory when it is scraped; of a gate that is not heard only that is told, for its last
figures say nothing of now.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from firmware import wire
from firmware.bridge.gates import LastHeard
from firmware.bridge.service import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GATE = ("gate",)
KEY_MARK_BYTES = 4  # of the mark of a key, to tell whether all gates have the same


class Seen(NamedTuple):
    """What one scrape tells of."""

    bridge: Health
    gates: Mapping[str, LastHeard]


class _Bridge(Collector):
    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        seen = self._look()
        yield from of_bridge(seen.bridge)
        yield from of_gates(seen.gates)


class Metrics:
    """`text` is what Prometheus reads."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Bridge(look))

    def text(self) -> bytes:
        """The page of metrics as of now."""
        return bytes(generate_latest(self._registry))


def of_bridge(health: Health) -> Iterator[Metric]:
    """What the bridge says of itself."""
    counts = health.counts
    yield _gauge("bridge_connected", "Whether a broker is connected.", int(bool(health.broker)))
    yield _counter("bridge_connections", "Connections that stood so far.", health.connections)
    yield _counter("bridge_rows", "New rows that this process has stored.", health.rows)
    yield _counter("bridge_outbox_dropped", "Messages that were not sent.", health.dropped)
    odd = sum(oddity.times for oddity in health.odd.values())
    yield _counter("bridge_odd_messages", "Messages of gates that were not taken.", odd)
    yield _gauge("ledger_rows", "Rows in the ledger.", counts.rows)
    yield _gauge("ledger_loose_batches", "Batches that wait for rows in front of them.", counts.loose)
    yield _gauge("ledger_reports", "Reports for a person.", counts.reports)
    yield _gauge(
        "ledger_counted_timestamp_seconds", "When the ledger was counted.", health.counted_utc_ms / 1000
    )
    faults = GaugeMetricFamily("gatepost_bridge_faults", "Faults of the bridge, by thing.", labels=("thing",))
    for thing, count in Counter(fault.thing for fault in health.faults).items():
        faults.add_metric((thing,), count)
    yield faults
    yield from _of_accounts(health)


def _of_accounts(health: Health) -> Iterator[Metric]:
    account = ("account",)
    work = GaugeMetricFamily(
        "gatepost_account_work", "Admissions by what the vendor was told.", labels=("account", "state")
    )
    asks = CounterMetricFamily(
        "gatepost_account_asks", "Asks of gates, by what became of them.", labels=("account", "result")
    )
    reachable = GaugeMetricFamily(
        "gatepost_account_reachable", "Whether it is worth asking now.", labels=account
    )
    heard = GaugeMetricFamily(
        "gatepost_account_heard_timestamp_seconds", "When the vendor last answered.", labels=account
    )
    lists = CounterMetricFamily("gatepost_account_lists", "Lists read to the end.", labels=account)
    for each in health.accounts:
        for state, count in each.backlog.items():
            work.add_metric((each.name, state), count)
        for result, count in each.asks._asdict().items():
            asks.add_metric((each.name, result), count)
        reachable.add_metric((each.name,), int(each.reachable))
        heard.add_metric((each.name,), each.heard_utc_ms / 1000)
        lists.add_metric((each.name,), each.runs)
    yield from (work, asks, reachable, heard, lists)


def of_gates(gates: Mapping[str, LastHeard]) -> Iterator[Metric]:
    """What gates say of themselves."""
    up = GaugeMetricFamily("gatepost_gate_up", "Whether its telemetry came in the last minute.", labels=GATE)
    age = GaugeMetricFamily("gatepost_gate_heard_age_seconds", "Age of its last telemetry.", labels=GATE)
    for gate, heard in gates.items():
        up.add_metric((gate,), int(heard.up))
        age.add_metric((gate,), round(heard.age_s, 3))
    yield from (up, age)
    present = {gate: heard.telemetry for gate, heard in gates.items() if heard.up}
    for name, meaning, value in FIGURES:
        family = GaugeMetricFamily(f"gatepost_gate_{name}", meaning, labels=GATE)
        for gate, telemetry in present.items():
            if (figure := value(telemetry)) is not None:
                family.add_metric((gate,), figure)
        yield family
    scans = CounterMetricFamily("gatepost_gate_scans", "Scans, by verdict.", labels=("gate", "verdict"))
    late = CounterMetricFamily("gatepost_gate_late_turns", "Turns that took too long.", labels=GATE)
    decide = _times("decide", "Time of a decision, of the last thousand scans.")
    commit = _times("commit", "Time from a decision until it is on disk.")
    parts = GaugeMetricFamily("gatepost_gate_part_ok", "Whether a part works.", labels=("gate", "part"))
    faults = GaugeMetricFamily("gatepost_gate_faults", "Faults, by code.", labels=("gate", "code"))
    about = GaugeMetricFamily(
        "gatepost_gate_info", "Versions.", labels=("gate", "release", "settings_version", "key")
    )
    for gate, telemetry in present.items():
        for verdict, count in telemetry.verdicts.items():
            scans.add_metric((gate, verdict), count)
        late.add_metric((gate,), telemetry.late_turns)
        for family, found in ((decide, telemetry.decide), (commit, telemetry.commit)):
            family.add_metric((gate, "0.5"), found.p50_us / 1e6)
            family.add_metric((gate, "0.99"), found.p99_us / 1e6)
        for part in telemetry.parts:
            parts.add_metric((gate, part.part), int(not part.fault))
        for code, count in Counter(fault.code for fault in telemetry.faults).items():
            faults.add_metric((gate, code), count)
        key = telemetry.key_mark[:KEY_MARK_BYTES].hex()
        about.add_metric((gate, telemetry.release, str(telemetry.settings_version), key), 1)
    yield from (scans, late, decide, commit, parts, faults, about)


# Figures with one value a gate; `None` where its computer cannot tell.
FIGURES: tuple[tuple[str, str, Callable[[wire.Telemetry], float | None]], ...] = (
    ("started_age_seconds", "How long it has been at work.", lambda t: t.up_ms / 1000),
    ("clock_trusted", "Whether it knows the time.", lambda t: int(t.trusted)),
    ("inbox", "News that its loop has not taken.", lambda t: t.inbox),
    ("tickets", "Tickets in its catalogue.", lambda t: t.tickets),
    ("catalogue_age_seconds", "Age of its catalogue.", lambda t: t.catalogue_age_ms / 1000),
    ("backlog_rows", "Rows without a receipt.", lambda t: t.backlog_rows),
    (
        "temperature_celsius",
        "Of its hottest part.",
        lambda t: None if t.temperature_mc is None else t.temperature_mc / 1000,
    ),
    (
        "under_voltage",
        "Whether its supply is too weak.",
        lambda t: None if t.under_voltage is None else int(t.under_voltage),
    ),
    ("memory_free_bytes", "Memory that is free.", lambda t: t.memory_free_bytes),
    ("disk_free_bytes", "Room on its disk.", lambda t: t.disk_free_bytes),
)


def _times(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gatepost_gate_{name}_seconds", meaning, labels=("gate", "quantile"))


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gatepost_{name}", meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"gatepost_{name}", meaning, value=value)
