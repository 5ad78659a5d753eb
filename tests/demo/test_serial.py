"""The demo with a scanner on a serial line, for which a pseudo-terminal stands in."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.process import Piped, Scan, Terminal, at_terminal

READING_S = 0.5  # after its start a scanner is not listened to for a moment; then it shows the code again


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal() as held:
        plug(tmp_path, held)
        yield held


def plug(folder: Path, scanner: Terminal) -> None:
    """The scanner's name stays the same, whichever line it is on."""
    (folder / "next").symlink_to(scanner.name)
    (folder / "next").rename(folder / "scanner")


def first_scan(demo: Piped, scanner: Terminal, code: str) -> Scan:
    """Show a code until it is read at a lane that is free. One from before may be read once more."""
    while True:
        scanner.type(code)
        while scan := demo.scan(READING_S):
            if scan["code"] == code.strip() and scan["verdict"] != "busy":
                return scan


def test_a_scanner_feeds_the_first_lane(scanner: Terminal, tickets: Path, tmp_path: Path) -> None:
    with Piped("--tickets", tickets, "--serial", tmp_path / "scanner", "--baud", "115200") as demo:
        assert first_scan(demo, scanner, "X\r")["verdict"] == "unknown"
        for code, end, verdict in (
            ("A1", "\r", "admitted"),
            ("A2", "\r\n", "admitted"),
            ("USED", "\t", "used"),
        ):
            scanner.type(code + end)
            scan = demo.sure_scan()
            while scan["code"] == "X" or scan["verdict"] == "busy":
                if scan["verdict"] == "busy":  # whoever came before is still walking
                    scanner.type(code + end)
                scan = demo.sure_scan()  # X was shown more than once
            assert (scan["code"], scan["lane"], scan["verdict"]) == (code, "1", verdict)
        demo.type("A3")
        assert demo.sure_scan()["verdict"] == "admitted"
        ended = demo.end(signal.SIGTERM)
        assert (ended.code, ended.scans) == (0, [])


def test_the_end_of_the_lines_is_not_the_end_of_the_scanner(
    scanner: Terminal, tickets: Path, tmp_path: Path
) -> None:
    with Piped("--tickets", tickets, "--serial", tmp_path / "scanner") as demo:
        demo.type("A1")
        assert demo.process.stdin
        demo.process.stdin.close()
        demo.process.stdin = None
        assert demo.sure_scan()["verdict"] == "admitted"
        assert first_scan(demo, scanner, "A1\r")["verdict"] == "used"
        assert demo.end(signal.SIGINT).code == 0


def test_a_scanner_that_goes_and_comes_back_is_read_again(
    scanner: Terminal, tickets: Path, tmp_path: Path
) -> None:
    with Piped("--tickets", tickets, "--serial", tmp_path / "scanner") as demo, Terminal() as other:
        first_scan(demo, scanner, "A1\r")
        scanner.close()
        (tmp_path / "scanner").unlink()
        assert "check the cable" in demo.hears("reader 1/1: ")
        plug(tmp_path, other)
        demo.hears("reader 1/1 works again")
        assert first_scan(demo, other, "A2\r")["verdict"] == "admitted"


def test_a_scanner_that_is_not_there_is_told(tickets: Path, tmp_path: Path) -> None:
    with Piped("--tickets", tickets, "--serial", tmp_path / "scanner") as demo:
        assert "is not there: check the cable" in demo.hears("reader 1/1: ")
        demo.type("A1")
        assert demo.sure_scan()["verdict"] == "admitted"


def test_a_scanner_and_the_keyboard_work_together(scanner: Terminal, tickets: Path, tmp_path: Path) -> None:
    arguments = ("--tickets", tickets, "--serial", tmp_path / "scanner")
    with Terminal() as terminal, at_terminal(terminal, *arguments, environment={"TERM": "xterm"}) as demo:
        terminal.sees("lane 1 in> ")
        terminal.type("A1\r")
        terminal.sees("A1  admitted")
        terminal.sees("relay locked", len(terminal.seen))
        while "X  unknown code" not in terminal.drained():
            scanner.type("X\r")
            terminal.sees("lane 1 in> ", len(terminal.seen))
        terminal.type("/quit\r")
        assert demo.wait() == 0


def test_a_scanner_of_the_settings_is_read_too(scanner: Terminal, tickets: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gate.toml"
    settings.write_text(
        f'[[lane]]\nname = "1"\n[[lane.reader]]\nkind = "serial"\ndevice = "{tmp_path / "scanner"}"\n'
    )
    with Piped("--tickets", tickets, "--config", settings) as demo:
        assert first_scan(demo, scanner, "A1\r")["verdict"] == "admitted"
        assert demo.end(signal.SIGTERM).code == 0


def test_a_device_that_is_no_scanner_is_told(tickets: Path, tmp_path: Path) -> None:
    with Piped("--tickets", tickets, "--serial", tmp_path) as demo:
        assert "is a folder" in demo.hears("reader 1/1: ")
        assert demo.end(signal.SIGTERM).code == 0
