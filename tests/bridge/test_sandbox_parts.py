"""What every sandbox is made of, apart from any vendor."""

from firmware.bridge.sandbox.desk import UNKNOWN, VIOLATIONS_MAX, Desk, Due, Vendor, json_reply, wrong
from firmware.bridge.sandbox.history import SELLER, Log
from firmware.bridge.sandbox.server import Request
from firmware.bridge.sandbox.trouble import Trouble, Troubles

SHAPES = ("numbers", "fewer", "more")


def test_the_time_of_a_vendor_never_goes_back() -> None:
    times = iter([500, 2000, 1500, 2500])
    log = Log(lambda: next(times), 1000)
    changes = [log.keep("1", "sold", "A", 0, SELLER) for _ in range(4)]
    assert [change.at_ms for change in changes] == [1000, 2000, 2000, 2500]
    assert log.all() == changes


def test_violations_are_all_counted_and_only_the_first_are_kept() -> None:
    def refuse(_: Due) -> object:
        raise wrong("this is not here", 404)

    log = Log(lambda: 0, 0)
    vendor = Vendor(
        lambda _: (UNKNOWN, refuse), lambda *_: None, lambda _, error: json_reply(error.status, "no"), {}
    )
    desk = Desk(vendor, log.lock, log.clock, Troubles(1, (), ()), None)
    request = Request("GET", "/nowhere", (), {}, b"")
    for _ in range(VIOLATIONS_MAX + 5):
        assert desk.answer(request).status == 404
    assert (desk.violations_count, len(desk.violations)) == (VIOLATIONS_MAX + 5, VIOLATIONS_MAX)


def test_a_reply_that_drifts_has_one_of_the_shapes_and_in_time_each() -> None:
    troubles = Troubles(1, (), SHAPES)
    due = {"drift": Trouble("drift")}
    assert {troubles.shape(due) for _ in range(100)} == set(SHAPES)
    assert troubles.shape({"drift": Trouble("drift", shape="more")}) == "more"
    assert troubles.shape({}) == ""
