"""What systemd hears of a gate: a socket of the test stands for it, and in the end the gate is a process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest

from firmware.watchdog import FEEDS, LINE_MAX, Watchdog
from tests.commands import PATIENCE_S, Lines, environment
from tests.gate_bench import SETUP, Bench, data_directory

PERIOD_S = 0.4  # of the watchdogs here
RARE = {"WATCHDOG_USEC": str(600 * 1_000_000)}  # no feeds fill the socket before the word that is waited for
WORDS_MAX = 300  # before the one that is waited for, or before silence
SILENCE_S = 1.0  # ten times the pause between two feeds; a busy machine can only make a check too kind


class Systemd:
    """The socket, and what came over it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear(self, within_s: float = PATIENCE_S) -> str:
        """The next word; "" where none came in time."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(4096).decode()
        except (TimeoutError, BlockingIOError):
            return ""

    def expect(self, word: str) -> None:
        """Wait for this word; others may come before it."""
        for _ in range(WORDS_MAX):
            if (heard := self.hear()) == word:
                return
            assert heard, f"no {word}"
        raise AssertionError(f"{WORDS_MAX} other words and no {word}")

    def expect_feeds(self) -> None:
        """Wait for as many feeds as two periods have."""
        for _ in range(2 * FEEDS):
            self.expect("WATCHDOG=1")

    def expect_silence(self) -> None:
        """Wait until nothing comes any more."""
        assert any(not self.hear(SILENCE_S) for _ in range(WORDS_MAX)), "somebody goes on and on"

    def environment(self, **more: str) -> dict[str, str]:
        """What systemd gives a service to find it by."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(PERIOD_S * 1e6)), **more}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    with TemporaryDirectory() as folder, Systemd(f"{folder}/notify") as there:
        yield there


class Time:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


# --- the words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_said_reaches_systemd(tmp_path: Path, abstract: bool) -> None:
    address = f"@gatepost-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with Systemd(address) as systemd, Watchdog(systemd.environment()) as watchdog:
        watchdog.ready()
        watchdog.status("one\nline  only" + "x" * LINE_MAX)
        watchdog.stopping()
        assert systemd.hear() == "READY=1"
        said = systemd.hear()
        assert said.startswith("STATUS=one line only")
        assert len(said) == len("STATUS=") + LINE_MAX
        assert systemd.hear() == "STOPPING=1"


def test_without_systemd_nothing_is_said_and_nothing_fails() -> None:
    for address in ({}, {"WATCHDOG_USEC": "1000000"}, {"NOTIFY_SOCKET": "/nobody/is/here"}):
        with Watchdog(address) as watchdog:
            assert watchdog.every_s is None
            watchdog.ready()
            watchdog.feed(lambda: True)
            watchdog.alarm(True)
            watchdog.close()


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, True),
        ({"WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": ""}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
    ],
)
def test_only_whom_systemd_means_feeds_its_watchdog(
    systemd: Systemd, more: Mapping[str, str], wanted: bool
) -> None:
    with Watchdog(systemd.environment(**more)) as watchdog:
        assert (watchdog.every_s == PERIOD_S / FEEDS) is wanted
        watchdog.feed(lambda: True)
        watchdog.ready()
        assert systemd.hear() == ("WATCHDOG=1" if wanted else "READY=1")


def test_it_is_fed_four_times_in_a_period_and_only_while_the_lanes_live(systemd: Systemd) -> None:
    time, alive = Time(), True
    with Watchdog(systemd.environment(), time) as watchdog:
        fed = 0
        for _ in range(1000):  # a loop that turns every millisecond
            time.now_s += 0.001
            watchdog.feed(lambda: alive)
            fed += systemd.hear(0) != ""
        assert fed == FEEDS / PERIOD_S
        alive = False
        time.now_s += 10
        watchdog.feed(lambda: alive)
        assert systemd.hear(0) == ""
        alive = True
        watchdog.feed(lambda: alive)
        assert systemd.hear(0) == "WATCHDOG=1", "as soon as they live again"


def test_in_an_alarm_it_is_fed_without_the_loop_and_no_longer(systemd: Systemd) -> None:
    with Watchdog(systemd.environment()) as watchdog:
        watchdog.feed(lambda: True)
        watchdog.alarm(True)
        systemd.expect_feeds()
        watchdog.alarm(False)
        systemd.expect_silence()
        watchdog.alarm(True)
        systemd.expect("WATCHDOG=1")
    systemd.expect_silence()


def test_after_an_alarm_that_no_loop_has_seen_it_is_fed_until_one_begins(systemd: Systemd) -> None:
    with Watchdog(systemd.environment()) as watchdog:
        watchdog.alarm(True)
        watchdog.alarm(False)
        systemd.expect_feeds()
        watchdog.feed(lambda: True)
        systemd.expect_silence()


def test_after_an_alarm_a_loop_that_does_not_begin_is_not_waited_for_for_ever(systemd: Systemd) -> None:
    with Watchdog(systemd.environment(), opening_s=2 * PERIOD_S) as watchdog:
        watchdog.alarm(True)
        watchdog.alarm(False)
        systemd.expect("WATCHDOG=1")
        systemd.expect_silence()


def test_a_systemd_that_does_not_listen_holds_nobody_up(systemd: Systemd) -> None:
    with Watchdog(systemd.environment()) as watchdog:
        for _ in range(10_000):
            watchdog.status("x" * LINE_MAX)
        assert systemd.hear().startswith("STATUS=x")


# --- what "alive" means ------------------------------------------------------------------------------------


@pytest.fixture
def bench(systemd: Systemd) -> Iterator[Bench]:
    time = Time()
    with (
        data_directory() as data,
        Watchdog(systemd.environment(), time) as watchdog,
        Bench(data, watchdog=watchdog) as bench,
    ):
        yield bench


def test_a_loop_that_comes_round_feeds_it(bench: Bench, systemd: Systemd) -> None:
    bench.gate.do(bench.gate.stop)
    bench.gate.run()
    assert systemd.hear(0) == "WATCHDOG=1"


@pytest.mark.parametrize("part", ["turnstile", "lamp", "buzzer"])
def test_a_broken_part_does_not_start_the_gate_anew(bench: Bench, systemd: Systemd, part: str) -> None:
    bench.breakable["north", part].broken = True
    bench.scan("A")
    bench.settle()
    bench.gate.do(bench.gate.stop)
    bench.gate.run()
    assert bench.gate.part_failures
    assert systemd.hear(0) == "WATCHDOG=1"


@pytest.mark.parametrize(("late_ms", "fed"), [(0, True), (499, True), (500, False), (60_000, False)])
def test_a_lane_that_waits_too_long_for_its_time_leaves_it_hungry(
    bench: Bench, systemd: Systemd, late_ms: int, fed: bool
) -> None:
    """The loop comes round, but something keeps it from the lane: here the clock moves while it is asked."""
    bench.scan("A")
    bench.settle()
    turn, asked = (lambda: None), (lambda: bench.time.advance(SETUP.unlock_ms + late_ms))
    bench.gate.do(bench.gate.stop)
    bench.when_time_is_asked.extend((turn, asked))
    bench.gate.run()
    assert (systemd.hear(0) == "WATCHDOG=1") is fed


# --- the gate as a process ---------------------------------------------------------------------------------


class Watched:
    """`gatepost gate` under a watchdog, on a board that the test moves (`tests.watched_gate`)."""

    def __init__(
        self,
        systemd: Systemd,
        data: Path,
        board: str = "",
        settings: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        config = data.with_name("gate.toml")
        config.write_text(f'[[lane]]\nname = "north"\n{settings}')
        command = [sys.executable, "-m", "tests.watched_gate", "gate", "--config", str(config)]
        self.process = subprocess.Popen(
            [*command, "--data", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **systemd.environment(**(more or {})), "GATE_BOARD": board},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def tell(self, word: str) -> list[str]:
        """Have the board moved; what relay and lamp did until then."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.out.expect(f"^{word}").split(",")[1:]

    def wait_for(self, value: str) -> None:
        """Wait until relay or lamp did this last."""
        while value not in self.tell("look")[-2:]:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.out.close()
        self.err.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def test_ready_is_said_when_the_lanes_are_locked_and_lit(systemd: Systemd, data: Path) -> None:
    with Watched(systemd, data, more=RARE) as gate:
        assert systemd.hear() == "READY=1"
        assert gate.tell("look") == ["red blink", "blue"], "out of order until there is a gate"
        systemd.expect("WATCHDOG=1")
        gate.process.send_signal(signal.SIGTERM)
        systemd.expect("STOPPING=1")
        assert gate.process.wait(PATIENCE_S) == 0
        assert gate.out.expect("^end") == "end,red blink,blue"


def test_a_loop_that_stands_still_feeds_no_watchdog_and_goes_on_when_it_can(
    systemd: Systemd, data: Path
) -> None:
    with Watched(systemd, data) as gate:
        systemd.expect("WATCHDOG=1")
        gate.tell("hang")
        systemd.expect_silence()
        gate.tell("go_on")
        systemd.expect("WATCHDOG=1")


def test_promise_4_in_an_alarm_a_loop_that_stands_still_ends_no_gate(systemd: Systemd, data: Path) -> None:
    with Watched(systemd, data) as gate:
        systemd.expect("WATCHDOG=1")
        gate.tell("hang")
        systemd.expect_silence()
        assert gate.tell("press")[-1] == "both", "the contact's own thread does it"
        systemd.expect_feeds()
        gate.tell("release")
        systemd.expect_silence()


def test_promise_4_a_gate_that_starts_in_an_alarm_frees_the_lanes_before_a_disk_that_hangs(
    systemd: Systemd, data: Path
) -> None:
    (data / "catalogue").mkdir(parents=True, mode=0o700)
    os.mkfifo(data / "catalogue" / "key", 0o600)  # opening it to read takes for ever
    with Watched(systemd, data, board="pressed") as gate:
        systemd.expect("READY=1")  # else systemd would end it when the time to start is over
        assert gate.tell("look") == ["red blink", "both", "green blink"]
        systemd.expect_feeds()
        assert gate.tell("release")[-2:] == ["locked", "red blink"]
        systemd.expect_feeds()  # ready was said, so it would be ended while it opens its stores
        assert gate.tell("press")[-2:] == ["both", "green blink"], "it still listens"
        gate.process.send_signal(signal.SIGTERM)
        assert gate.process.wait(PATIENCE_S) == 0


def test_promise_4_a_gate_whose_stores_cannot_be_opened_keeps_the_lanes_free_while_the_alarm_lasts(
    systemd: Systemd, data: Path
) -> None:
    data.write_text("no folder")
    with Watched(systemd, data, board="pressed") as gate:
        gate.err.expect("alarm: the lanes are kept free; the gate does not start until it is over: .*data")
        systemd.expect_feeds()
        assert gate.tell("look") == ["red blink", "both", "green blink"]
        gate.tell("release")
        assert gate.process.wait(PATIENCE_S) == 2
        data.unlink()


def test_promise_6_stores_that_cannot_be_opened_unlock_nothing(systemd: Systemd, data: Path) -> None:
    data.write_text("no folder")
    with Watched(systemd, data) as gate:
        assert gate.process.wait(PATIENCE_S) == 2
        assert systemd.hear(0) == "", "never ready"
        assert gate.out.expect("^end") == "end,red blink"
        data.unlink()


def test_promise_4_a_gate_that_is_stopped_in_an_alarm_locks_nothing(systemd: Systemd, data: Path) -> None:
    with Watched(systemd, data, more=RARE) as gate:
        systemd.expect("READY=1")
        gate.tell("press")
        gate.wait_for("green blink")
        gate.process.send_signal(signal.SIGTERM)
        systemd.expect("STOPPING=1")
        assert gate.process.wait(PATIENCE_S) == 0
        assert gate.out.expect("^end").split(",")[1:] == ["red blink", "blue", "both", "green blink"]


def test_an_alarm_is_acknowledged_by_a_signal(systemd: Systemd, data: Path) -> None:
    with Watched(systemd, data, settings='[conditions]\nafter_alarm = "acknowledge"') as gate:
        systemd.expect("READY=1")
        gate.tell("press")
        gate.wait_for("green blink")
        gate.tell("release")
        systemd.expect("WATCHDOG=1")
        assert gate.tell("look")[-2:] == ["both", "green blink"]
        gate.process.send_signal(signal.SIGUSR1)
        gate.wait_for("locked")
