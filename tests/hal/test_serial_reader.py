"""Against real pseudo-terminals: the kernel's own line discipline, hang-up and locks."""

import fcntl
import os
import select
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hal.frames import Framing
from hal.ports import Code, Read, Unreadable
from hal.reopening import Fault
from hal.serial_reader import SerialLine, SerialReader, line_errors, received, settled
from hal.watch import Watch, monotonic_ms
from tests.hal.conftest import PATIENCE_S, Listener
from tests.signed_codes import Signer, genuine

RETRY_MS = 20


class Scanner:
    """A pseudo-terminal behind a link, as a USB scanner is behind its name below /dev/serial/by-id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: list[int] = []

    def plug(self) -> None:
        self.ends = list(os.openpty())
        self.path.symlink_to(os.ttyname(self.ends[1]))

    def send(self, data: bytes) -> None:
        assert os.write(self.ends[0], data) == len(data)

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        while self.ends:
            os.close(self.ends.pop())


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Scanner]:
    scanner = Scanner(tmp_path / "usb-scanner")
    yield scanner
    scanner.unplug()


def reader_of(scanner: Scanner, framing: Framing | None = None) -> SerialReader:
    return SerialReader(SerialLine(str(scanner.path)), framing, retry_ms=RETRY_MS)


@pytest.mark.parametrize(
    ("framing", "sent", "got"),
    [
        (
            Framing(),
            b" A?b.c:d $%*+-/ \x00\x1d\x11\x13\x7f\x1a\xc3\xa9 \r\n",
            " A?b.c:d $%*+-/ \x00\x1d\x11\x13\x7f\x1aé ",
        ),
        (Framing("cr"), b"TICKET\r\n", "TICKET"),
        (Framing("lf"), b"TICKET\n", "TICKET"),
        (Framing("crlf"), b"TIC\rKET\r\n", "TIC\rKET"),
        (Framing("tab"), b"TICKET\t", "TICKET"),
        (Framing("none", idle_ms=20), b"TICKET", "TICKET"),
        (Framing(stx_etx=True), b"noise\x02TIC\r\nKET\x03\r\n", "TIC\r\nKET"),
        (Framing(strip_aim=True, strip_eci=True), b"]Q2\\000026TICKET\r", "TICKET"),
    ],
    ids=["untouched", "cr", "lf", "crlf", "tab", "none", "stx", "strip"],
)
def test_a_scan_arrives_as_the_scanner_sent_it(
    scanner: Scanner, listener: Listener, framing: Framing, sent: bytes, got: str
) -> None:
    scanner.plug()
    with reader_of(scanner, framing) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() is None
        scanner.send(sent)
        assert listener.read() == Code(got)
        scanner.send(sent)
        assert listener.read() == Code(got)
    assert listener.nothing_more()


def test_whole_signed_codes_come_through_unharmed_and_prove_genuine(
    scanner: Scanner, listener: Listener
) -> None:
    signer = Signer()
    scanner.plug()
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        for code in signer.awkward(20):
            scanner.send(code.encode("ascii") + b"\r\n")
            read = listener.read()
            assert read == Code(code)
            assert genuine(signer, read.text)
    assert listener.nothing_more()


def test_scans_arrive_once_and_in_order(scanner: Scanner, listener: Listener) -> None:
    scanner.plug()
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        expected: list[Read] = []
        for number in range(200):
            scanner.send(b"TICKET-%d\r\n" % number)
            expected.append(Code(f"TICKET-{number}"))
        assert [listener.read() for _ in expected] == expected
    assert listener.nothing_more()


def test_a_scanner_that_is_plugged_in_later_works_then(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() == f"{scanner.path} is not there: check the cable; retried every 0.02 s"
        scanner.plug()
        listener.working()
        scanner.send(b"TICKET\r")
        assert listener.read() == Code("TICKET")


def test_a_scanner_that_vanishes_within_a_code_comes_back_without_the_piece(
    scanner: Scanner, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that stands still: however late the cable is pulled after the piece, no silence cuts it.
    monkeypatch.setattr("hal.serial_reader.monotonic_ms", lambda: 1000)
    scanner.plug()
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        for number in range(3):
            listener.working()
            scanner.send(b"TICKET-%d\r" % number)
            assert listener.read() == Code(f"TICKET-{number}")
            scanner.send(b"PIECE")
            scanner.unplug()
            assert "check the cable" in listener.fault(str(scanner.path))
            scanner.plug()
        listener.working()
        scanner.send(b"WHOLE\r")
        assert listener.read() == Code("WHOLE")
    assert listener.nothing_more()


def test_what_was_scanned_while_nobody_listened_is_never_delivered(
    scanner: Scanner, listener: Listener
) -> None:
    scanner.plug()
    scanner.send(b"OLD\n")
    assert select.select([scanner.ends[1]], [], [], PATIENCE_S)[0], "it is on the line before anybody listens"
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.send(b"NEW\n")
        assert listener.read() == Code("NEW")


def test_the_tail_of_a_code_right_after_opening_is_discarded() -> None:
    told, tell = os.pipe()
    with Watch() as watch, os.fdopen(told), os.fdopen(tell, "wb", buffering=0) as scanner:
        scanner.write(b"TAIL\r")
        assert settled(watch, told, silence_ms=1)
        os.set_blocking(told, False)
        with pytest.raises(BlockingIOError):
            os.read(told, 1)
        watch.stop()
        assert not settled(watch, told, silence_ms=1)


def test_a_long_silence_is_waited_for_though_no_code_lasts_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hal.serial_reader.monotonic_ms", lambda: 1000)
    told, tell = os.pipe()
    with Watch() as watch, os.fdopen(told), os.fdopen(tell, "wb", buffering=0) as scanner:
        scanner.write(b"TAIL\r")
        assert settled(watch, told, silence_ms=200, longest_ms=0)


def test_a_device_that_fails_while_it_is_read_is_named(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    told, tell = os.pipe()
    with os.fdopen(told), os.fdopen(tell, "wb"):
        with pytest.raises(Fault, match="is a folder"):
            received(folder)
        with pytest.raises(Fault, match=r"has failed \(Bad file descriptor\): check the cable"):
            received(tell)
    os.close(folder)


def test_a_line_that_is_never_silent_is_a_fault() -> None:
    with (
        Watch() as watch,
        Path("/dev/zero").open("rb") as noise,
        pytest.raises(Fault, match="without a pause"),
    ):
        settled(watch, noise.fileno(), silence_ms=10, longest_ms=20)


def test_a_code_that_the_cable_cut_is_reported_and_the_next_one_is_fine(
    scanner: Scanner, listener: Listener
) -> None:
    scanner.plug()
    with reader_of(scanner, Framing(idle_ms=20)) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.send(b"PIECE")
        assert listener.read() == Unreadable("lost_keys")
        scanner.send(b"WHOLE\r")
        assert listener.read() == Code("WHOLE")


def test_a_code_with_damaged_bytes_is_not_judged_and_the_next_one_is_fine(
    scanner: Scanner, listener: Listener
) -> None:
    """The driver counts what was damaged or dropped; a pseudo-terminal has no counters, so they are given."""
    damaged = 0
    scanner.plug()
    reader = SerialReader(SerialLine(str(scanner.path)), Framing(), RETRY_MS, lambda _: damaged)
    with reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.send(b"FIRST\r")
        assert listener.read() == Code("FIRST")
        damaged = 1
        scanner.send(b"DAMGED\rAND WHAT FOLLOWS\r")
        assert listener.read() == Unreadable("lost_keys")
        scanner.send(b"WHOLE\r")
        assert listener.read() == Code("WHOLE")
    assert listener.nothing_more()


def test_a_loss_ends_with_the_silence_that_no_pause_within_a_code_is_as_long_as(
    scanner: Scanner, listener: Listener
) -> None:
    """After opening and after damage: a scanner that pauses would have its tail taken for a code."""
    damaged = 0
    framing = Framing(idle_ms=300)
    scanner.plug()
    reader = SerialReader(SerialLine(str(scanner.path)), framing, RETRY_MS, lambda _: damaged)
    with reader:
        opened_ms = monotonic_ms()
        reader.start(listener.deliver, listener.state)
        listener.working()
        assert monotonic_ms() - opened_ms >= framing.idle_ms
        damaged = 1
        sent_ms = monotonic_ms()
        scanner.send(b"HE#D")
        assert listener.read() == Unreadable("lost_keys")
        assert monotonic_ms() - sent_ms >= framing.idle_ms


def test_a_break_on_the_line_discards_nothing_whoever_used_the_line_before(
    scanner: Scanner, listener: Listener
) -> None:
    """With BRKINT, as a login leaves it, the kernel throws away what came before the break."""
    scanner.plug()
    before = termios.tcgetattr(scanner.ends[1])
    before[0] |= termios.BRKINT
    termios.tcsetattr(scanner.ends[1], termios.TCSANOW, before)
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        assert not termios.tcgetattr(scanner.ends[1])[0] & (termios.BRKINT | termios.IGNBRK)
        scanner.send(b"WHOLE\r")
        assert listener.read() == Code("WHOLE")


def test_a_line_without_counters_has_no_errors(tmp_path: Path) -> None:
    ends = os.openpty()
    assert line_errors(ends[1]) == 0
    for end in ends:
        os.close(end)
    with pytest.raises(Fault, match="Bad file descriptor"):
        line_errors(ends[1])


def test_a_device_that_another_program_reads_is_named_and_taken_when_free(
    scanner: Scanner, listener: Listener
) -> None:
    scanner.plug()
    fcntl.flock(scanner.ends[1], fcntl.LOCK_EX)
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.fault("is in use: end the other program")
        fcntl.flock(scanner.ends[1], fcntl.LOCK_UN)
        listener.working()


def test_a_path_that_is_no_serial_line_is_named(tmp_path: Path, listener: Listener) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for path, fault in [(plain, "is not a serial line"), (tmp_path, "is a folder")]:
        with SerialReader(SerialLine(str(path)), retry_ms=RETRY_MS) as reader:
            reader.start(listener.deliver, listener.state)
            assert fault in (listener.told() or "")


def test_a_fault_that_stays_is_said_once(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        assert "is not there" in (listener.told() or "")
        scanner.path.mkdir()  # however many tries later, this is the next thing said
        assert "is a folder" in (listener.told() or "")
        scanner.path.rmdir()
        assert "is not there" in (listener.told() or "")


def test_closing_wakes_a_reader_that_waits_and_may_be_repeated(scanner: Scanner, listener: Listener) -> None:
    scanner.plug()
    waiting, absent, idle = reader_of(scanner), SerialReader(SerialLine("/absent")), reader_of(scanner)
    waiting.start(listener.deliver, listener.state)
    absent.start(listener.deliver, listener.state)
    listener.working()
    for reader in (waiting, absent, idle):
        reader.close()
        reader.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reader ")]
    fcntl.flock(scanner.ends[1], fcntl.LOCK_EX | fcntl.LOCK_NB)  # the device is free again


def test_a_reader_may_be_closed_by_what_it_delivers_to(scanner: Scanner, listener: Listener) -> None:
    scanner.plug()
    closed = threading.Event()
    reader = reader_of(scanner)

    def deliver(read: Read) -> None:
        reader.close()
        closed.set()

    reader.start(deliver, listener.state)
    listener.working()
    scanner.send(b"TICKET\r")
    assert closed.wait(PATIENCE_S)
    reader.close()


def test_a_closed_reader_does_not_read_when_it_is_started(scanner: Scanner, listener: Listener) -> None:
    scanner.plug()
    reader = reader_of(scanner)
    reader.close()
    reader.start(listener.deliver, listener.state)
    reader.close()
    assert listener.nothing_more()


def test_a_reader_starts_once(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        with pytest.raises(RuntimeError, match="started already"):
            reader.start(listener.deliver, listener.state)


# The thread ends with the mistake's own traceback, on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_what_a_reader_delivers_to_is_said_and_not_silent(
    scanner: Scanner, listener: Listener
) -> None:
    def deliver(read: Read) -> None:
        raise KeyError(read)

    scanner.plug()
    with reader_of(scanner) as reader:
        reader.start(deliver, listener.state)
        listener.working()
        scanner.send(b"TICKET\r")
        listener.fault("its reader has ended (KeyError")


def test_a_line_out_of_bounds_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="device"):
        SerialLine("ttyUSB0")
    with pytest.raises(ValueError, match="baud_rate"):
        SerialLine("/dev/ttyUSB0", baud_rate=0)
