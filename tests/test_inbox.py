"""What waits for the loop: who goes first, what has room, and what is counted."""

import threading

from firmware.inbox import URGENT_MAX, WAITING_MAX, Inbox

PATIENCE_S = 60.0  # only a failing test waits this long


def taken(inbox: Inbox[str]) -> list[str]:
    """Everything that waits, in the order in which the loop gets it."""
    found = []
    while (one := inbox.take(0)) is not None:
        found.append(one.news)
    return found


def test_news_are_taken_in_the_order_in_which_they_came() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("scan")
    inbox.put_always("row is safe")
    inbox.put("passage")
    assert taken(inbox) == ["scan", "row is safe", "passage"]


def test_an_alarm_goes_before_all_that_waits_and_hides_nothing() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("scan")
    inbox.put_first("alarm")
    inbox.put_first("alarm over")
    inbox.put("another scan")
    assert taken(inbox) == ["alarm", "alarm over", "scan", "another scan"]


def test_news_behind_an_alarm_that_was_taken_already_are_not_missed() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put_first("alarm")
    assert taken(inbox) == ["alarm"]
    inbox.put("scan")
    assert taken(inbox) == ["scan"]
    assert len(inbox) == 0


def test_the_loop_waits_for_news_and_is_woken_by_an_alarm() -> None:
    inbox: Inbox[str] = Inbox()
    alarm = threading.Thread(target=inbox.put_first, args=("alarm",))
    alarm.start()
    found = inbox.take(PATIENCE_S)
    alarm.join()
    assert found is not None
    assert found.news == "alarm"


def test_the_loop_waits_no_longer_than_it_wants_to() -> None:
    inbox: Inbox[str] = Inbox()
    assert inbox.take(0) is None
    assert inbox.take(0.001) is None


def test_a_full_inbox_refuses_and_counts() -> None:
    inbox: Inbox[str] = Inbox()
    assert all(inbox.put(f"scan {number}") for number in range(WAITING_MAX))
    assert not inbox.put("one too many")
    assert inbox.dropped == 1
    assert inbox.take(0) is not None
    assert inbox.put("and there is room again")
    assert len(taken(inbox)) == WAITING_MAX


def test_a_full_inbox_has_room_for_the_alarm_and_for_the_journal() -> None:
    inbox: Inbox[str] = Inbox()
    for number in range(WAITING_MAX + 1):
        inbox.put(f"scan {number}")
    inbox.put_always("row is safe")
    assert inbox.put_first("alarm")
    assert taken(inbox)[0] == "alarm"


def test_news_of_many_rows_leave_room_for_scans() -> None:
    inbox: Inbox[str] = Inbox()
    for number in range(WAITING_MAX * 10):
        inbox.put_always(f"row {number} is safe")
    assert inbox.put("scan")


def test_a_contact_that_chatters_is_bounded_too() -> None:
    inbox: Inbox[str] = Inbox()
    assert all(inbox.put_first(f"edge {number}") for number in range(URGENT_MAX))
    assert not inbox.put_first("one too many")
    assert len(taken(inbox)) == URGENT_MAX


def test_news_carry_the_time_of_their_arrival() -> None:
    ticks = iter((10, 20, 30))
    inbox: Inbox[str] = Inbox(lambda: next(ticks))
    inbox.put("scan")
    inbox.put_always("row is safe")
    inbox.put_first("alarm")
    found = [inbox.take(0) for _ in range(3)]
    assert [one and (one.news, one.arrived_ns) for one in found] == [
        ("alarm", 30),
        ("scan", 10),
        ("row is safe", 20),
    ]
