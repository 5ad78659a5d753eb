"""The bench of a slow chain, in its short form: its own checks are what is looked at here."""

from pathlib import Path

from tests.bench.chaining import Load, measured

SHORT = Load(scans=24, within_s=1.0, latency_s=0.5)


def test_a_chain_of_half_a_second_drains_and_each_ticket_is_invalidated_once(tmp_path: Path) -> None:
    seen = measured(tmp_path / "short", SHORT)
    assert len(seen.relay_ms) == SHORT.scans
    assert seen.waiting_max > 0, "nobody waited for the chain"
