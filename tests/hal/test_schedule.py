import threading
from collections.abc import Callable

import pytest

from hal.schedule import WAITING_MAX, RealTime, VirtualTime
from tests.hal.conftest import PATIENCE_S


def test_virtual_time_makes_each_call_at_its_own_time_and_in_order() -> None:
    time = VirtualTime(now_ms=1000)
    made: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: made.append((name, time.now_ms()))

    time.after(30, note("c"))
    time.after(10, note("a"))
    time.after(10, note("b"))
    time.after(31, note("d"))
    time.after(20, lambda: time.after(5, note("asked for meanwhile")))
    assert made == []
    time.advance(30)
    assert made == [("a", 1010), ("b", 1010), ("asked for meanwhile", 1025), ("c", 1030)]
    assert time.now_ms() == 1030
    time.advance(1)
    assert made[-1] == ("d", 1031)


def test_what_is_due_at_once_waits_for_the_time_to_be_moved() -> None:
    time = VirtualTime()
    made: list[int] = []
    time.after(0, lambda: made.append(1))
    assert made == []
    time.advance()
    assert made == [1]


def test_a_cancelled_call_is_not_made_and_cancelling_late_does_nothing() -> None:
    time = VirtualTime()
    made: list[int] = []
    cancel = time.after(10, lambda: made.append(1))
    late = time.after(5, lambda: made.append(2))
    time.after(10, lambda: made.append(3))
    cancel()
    time.advance(10)
    late()
    cancel()
    assert made == [2, 3]


def test_what_schedules_without_end_is_refused() -> None:
    time = VirtualTime()
    cancels = [time.after(1, lambda: None) for _ in range(WAITING_MAX)]
    with pytest.raises(RuntimeError, match="without end"):
        time.after(1, lambda: None)
    cancels[0]()
    time.after(1, lambda: None)


def test_a_closed_virtual_time_forgets_its_calls_and_goes_on() -> None:
    made: list[int] = []
    with VirtualTime() as time:
        time.after(1, lambda: made.append(1))
    time.after(2, lambda: made.append(2))
    time.advance(2)
    assert made == [2]


def test_real_time_calls_from_a_thread_of_its_own_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 1000  # it stands still until everything was asked for, however slow this machine is
    monkeypatch.setattr("hal.schedule.monotonic_ms", lambda: now_ms)
    made: list[str] = []
    done = threading.Event()
    with RealTime() as time:
        time.after(40, done.set)
        time.after(30, lambda: made.append(threading.current_thread().name))
        time.after(20, lambda: made.append("second"))
        time.after(0, lambda: made.append("first"))
        time.after(10, lambda: made.append("cancelled"))()
        now_ms += 40
        assert done.wait(PATIENCE_S)
    assert made == ["first", "second", "timers"]


def test_real_time_makes_no_call_before_its_time() -> None:
    made_ms: list[int] = []
    done = threading.Event()
    with RealTime() as time:
        begin_ms = time.now_ms()
        time.after(20, lambda: made_ms.append(time.now_ms()))
        time.after(20, done.set)
        assert done.wait(PATIENCE_S)
    assert made_ms[0] - begin_ms >= 20


def test_closing_real_time_drops_what_waits_and_may_be_repeated_from_a_call() -> None:
    made: list[int] = []
    closed = threading.Event()
    time = RealTime()
    time.after(100_000, lambda: made.append(1))

    def close() -> None:
        time.close()
        closed.set()

    time.after(0, close)
    assert closed.wait(PATIENCE_S)
    time.close()
    time.close()
    time.after(0, lambda: made.append(2))()
    assert made == []
    assert not [thread for thread in threading.enumerate() if thread.name == "fake board"]


def test_what_a_timer_calls_may_fail_without_ending_the_timers(capsys: pytest.CaptureFixture[str]) -> None:
    went_on = threading.Event()

    def fail() -> None:
        raise ValueError("a mistake in what was called")

    with RealTime() as time:
        time.after(0, fail)
        time.after(0, went_on.set)
        assert went_on.wait(PATIENCE_S)
    assert "a mistake in what was called" in capsys.readouterr().err
