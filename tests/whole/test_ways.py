"""The whole way, without a fault: from a scan to the vendor, and from a sale to the door."""

from tests.whole.lives import OUT
from tests.whole.world import world_at_work


def test_a_scan_reaches_the_vendor_and_its_word_comes_back() -> None:
    with world_at_work("a") as world:
        gate = world.gates["a"]
        (code,) = world.codes(1)
        assert gate.scan(code) == "admitted"
        world.until(lambda: world.sandbox.ticket(code).inside)
        assert gate.scan(code) == "used"
        assert gate.scan(code, OUT) == "admitted"
        world.settle()
        assert not world.sandbox.ticket(code).inside
        assert [result for _, result, _ in gate.outcomes()] == ["accepted", "accepted"]
        ledger = world.audit()
        assert ledger.results() == {"accepted": 2}
