"""What the bridge sends to gates: in which order, how much of it waits, and what is dropped."""

from firmware import wire
from firmware.bridge.outbox import LONG_WAITING_MAX, RECEIPTS_WAITING_MAX, Outbox
from firmware.bridge.work import Faults
from tests.bridge.relays import TapeSession

RECEIPT = wire.Receipt(upto=1, digest=b"d" * 16)
PAGE = wire.CataloguePage(
    feed="f", key_mark=b"m" * 16, after=0, upto=1, more=False, tickets=1, stamp_utc_ms=1, items=()
)


def test_a_receipt_overtakes_pages_and_pages_take_half_of_the_window() -> None:
    outbox, line = Outbox(Faults()), TapeSession(window=4)
    outbox.connected(line.session)
    for _ in range(5):
        assert outbox.put("page", PAGE)
    assert line.link.tape == ["page", "page"]
    for _ in range(3):
        assert outbox.put_receipt("receipt", RECEIPT)
    assert line.link.tape == ["page", "page", "receipt", "receipt"], "the window is full"
    line.take(outbox)
    assert line.link.tape[4:] == ["receipt"]
    line.take(outbox, 2)
    assert line.link.tape[5:] == []
    line.take(outbox)
    assert line.link.tape[5:] == ["page"]


def test_a_window_of_one_still_takes_pages() -> None:
    outbox, line = Outbox(Faults()), TapeSession(window=1)
    outbox.connected(line.session)
    for _ in range(3):
        outbox.put("page", PAGE)
        line.take(outbox)
    assert line.link.tape == ["page"] * 3


def test_nothing_waits_without_a_bound_or_across_connections() -> None:
    outbox, line = Outbox(Faults()), TapeSession(window=1)
    assert not outbox.put_receipt("receipt", RECEIPT)
    outbox.connected(line.session)
    outbox.put_receipt("receipt", RECEIPT)
    taken = [outbox.put("page", PAGE) for _ in range(LONG_WAITING_MAX + 1)]
    assert taken == [True] * LONG_WAITING_MAX + [False]
    receipts = [outbox.put_receipt("receipt", RECEIPT) for _ in range(RECEIPTS_WAITING_MAX + 1)]
    assert receipts == [True] * RECEIPTS_WAITING_MAX + [False]
    assert outbox.dropped == 3
    outbox.disconnected(line.session)
    after = TapeSession(number=2)
    outbox.connected(after.session)
    assert after.link.tape == []
    outbox.put("page", PAGE)
    outbox.put("page", PAGE)
    outbox.disconnected(line.session)  # late: it was another one
    assert outbox.put("page", PAGE)
    assert after.link.tape == ["page"] * 3


def test_who_found_no_room_is_woken_once_when_there_is() -> None:
    outbox, line, woken = Outbox(Faults()), TapeSession(window=1), [0]

    def wake() -> None:
        woken[0] += 1

    assert not outbox.has_room(wake), "nobody is connected"
    outbox.connected(line.session)
    assert woken == [1]
    outbox.put_receipt("receipt", RECEIPT)
    while outbox.has_room(wake):
        outbox.put("page", PAGE)
    assert woken == [1]
    line.take(outbox, 3)
    assert woken == [2]


def test_a_message_that_the_broker_never_takes_blocks_nothing_and_is_a_fault() -> None:
    faults = Faults()
    outbox, line = Outbox(faults), TapeSession(packet_bytes=60)
    outbox.connected(line.session)
    assert outbox.put("p" * 60, PAGE)
    assert outbox.put_receipt("r", RECEIPT)
    assert line.link.tape == ["r"]
    (fault,) = faults.now()
    assert "let it take" in fault.text
    outbox.connected(TapeSession().session)
    assert faults.now() == []
