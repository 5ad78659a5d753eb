"""The whole demo as a user drives it through a pipe: ways, cuts, kills, and books that agree in the end."""

import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import sqlalchemy

from firmware.bridge import schema
from firmware.bridge.database import Database
from firmware.bridge.sandbox.history import ELSEWHERE, Change
from firmware.bridge.sandbox.ingresse import KEY, PASSWORD
from firmware.core.movements import Act
from firmware.demo.whole import BOOKS
from firmware.row import decode
from firmware.rows import RowReader
from tests.brokers import until
from tests.demo.process import Piped, Scan, Terminal, at_terminal, run

PROCESSES = re.compile(r"broker (\d+), bridge (\d+), vendor (\d+)")
SIGNED = ":::"  # in a code that is signed
UP = {"broker": "connected", "bridge": "up", "vendor": "up"}


class Venue:
    """A whole demo under way: its process ids, and good codes nobody has used."""

    def __init__(self, demo: Piped) -> None:
        self.demo = demo
        found = PROCESSES.search(demo.hears("processes: "))
        assert found
        self.ids = dict(zip(("broker", "bridge", "vendor"), map(int, found.groups()), strict=True))
        self.good = self.codes("good")
        if SIGNED in self.good[0]:
            self.good += self.codes("good")

    def codes(self, word: str) -> list[str]:
        """Codes to try of which this is said. Signed ones have blanks in them, and each a line of its own."""
        found = self.demo.hears(f"  {word}  ").partition(f"  {word}  ")[2].strip()
        return [found] if SIGNED in found else found.split()

    def scan(self, code: str) -> Scan:
        """Hold a code to the gate."""
        self.demo.type(code)
        return self.demo.told(code=code, lane="1")

    def enters_elsewhere(self) -> str:
        """Let any good ticket in at another company's door; its code."""
        self.demo.type("/elsewhere")
        code: str = self.demo.told(told="check-in")["code"]
        return code


@contextmanager
def venue(data: Path, *arguments: str) -> Iterator[Venue]:
    with Piped("--data", data, *arguments) as demo:
        yield Venue(demo)


def history(data: Path) -> list[Change]:
    """All that happened at the vendor."""
    _, *lines = (data / BOOKS).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Change) for line in lines]


def books_agree(data: Path) -> None:
    """Every walk of the journal is in the ledger and at the vendor once, and nothing else is there."""
    with RowReader(data / "journal") as reader:
        rows = {stored.id: decode(stored.body) for stored in reader.all()}
        receipt = reader.receipt()
    movements = {number: row.movement for number, row in rows.items() if row.movement and row.kind != "noted"}
    opened = {m.row: m for m in movements.values() if m.act is Act.OPENED}
    walked = Counter(
        (opened[m.row].subject.partition(":")[2], str(opened[m.row].direction))
        for m in movements.values()
        if m.act in (Act.PASSED, Act.SETTLED)
    )
    with Database(f"sqlite:///{data / 'bridge' / 'ledger.db'}") as database, database.look() as connection:
        gates = connection.execute(sqlalchemy.select(schema.gate.c.name, schema.gate.c.rows)).all()
        stored = dict(map(tuple, gates))
        results = Counter(connection.execute(sqlalchemy.select(schema.work.c.result)).scalars())
    # What a gate writes at its very end may be stored while nobody waits for the receipt any more.
    assert sum(number <= receipt for number in rows) <= stored["gate-1"] <= len(rows)
    assert max(movements, default=0) <= receipt
    ways = {"checkin": "in", "checkout": "out"}
    told = Counter(
        (change.ticket_id, ways[change.what])
        for change in history(data)
        if change.what in ways and change.operator != ELSEWHERE
    )
    assert told == walked
    assert results == {"accepted": walked.total()}


def test_a_scan_goes_to_the_vendor_and_back_and_a_sale_comes_to_the_gate(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data) as here:
        demo, (good, second) = here.demo, here.good
        wrong = here.codes("wrong session")[0]
        scan = here.scan(good)
        assert (scan["verdict"], scan["opened"]) == ("admitted", True)
        receipt = demo.told(told="receipt", code=good)
        assert 0 < receipt["sent_ms"] <= receipt["receipt_ms"]
        word = demo.told(told="vendor", code=good, result="accepted")
        assert (word["epoch"], word["seq"]) == (scan["epoch"], scan["seq"])
        assert here.scan(wrong)["verdict"] == "wrong_session"
        demo.told(told="receipt", code=wrong)

        demo.type("/sell")
        sold = demo.told(told="sell")
        demo.told(told="change", what="sold", ticket=sold["ticket"])
        assert here.scan(sold["code"])["verdict"] == "admitted"
        demo.told(told="vendor", code=sold["code"], result="accepted")

        demo.type(f"/refund {second}")  # by its name: any good one could be the one that enters elsewhere
        demo.told(told="change", what="refunded")
        assert here.scan(second)["opened"] is False

        elsewhere = here.enters_elsewhere()
        demo.told(told="change", what="entered elsewhere")
        assert here.scan(elsewhere)["verdict"] == "used"

        demo.type("/out", good, "/in")
        assert demo.told(code=good, lane="1")["direction"] == "out"
        demo.told(told="vendor", code=good, result="accepted")
        ended = demo.end()
    assert ended.code == 0
    assert "every row is in the ledger, and the vendor was told of every admission" in ended.said
    books_agree(data)

    before = history(data)
    with venue(data) as again:
        assert again.scan(good)["verdict"] == "admitted"  # it was outside
        again.demo.told(told="vendor", code=good, result="accepted")
        assert again.scan(sold["code"])["verdict"] == "used"
        assert not {good, elsewhere, second, sold["code"]} & set(again.good[1:])
        again.demo.end()
    assert history(data)[: len(before)] == before
    books_agree(data)


def test_a_copy_is_refused_at_the_second_gate(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data) as here:
        demo, (good, other) = here.demo, here.good
        demo.type("/copy")
        demo.hears("no code was held to the first gate yet: /copy CODE")
        here.scan(good)
        (ticket,) = {change.ticket_id for change in until_told(demo, good, data)}
        until_it_knows(data / "second" / "journal", f"ingresse:{ticket}")
        demo.type("/copy")
        copy = demo.told(told="copy", code=good)
        assert (copy["opened"], copy["verdict"]) == (False, "used")
        demo.type(f"/copy {other}")
        assert demo.told(told="copy", code=other)["opened"] is True


def until_told(demo: Piped, code: str, data: Path) -> list[Change]:
    """Wait for the vendor's word; what its books have of the ticket."""
    demo.told(told="vendor", code=code, result="accepted")
    return [change for change in history(data) if change.code == code]


def until_it_knows(journal: Path, ticket: str) -> None:
    """Wait until a gate has written down what another one told it of this ticket."""
    with RowReader(journal) as reader:

        def noted() -> bool:
            rows = [decode(stored.body) for stored in reader.all()]
            return any(r.kind == "noted" and r.movement and r.movement.subject == ticket for r in rows)

        until(noted)


def test_a_script_that_cannot_wait_sees_it_heal(tmp_path: Path) -> None:
    demo = run("/sell\n/net cut\nA1\n/net mend\n", "--data", tmp_path / "data")
    kinds = [scan.get("told", "scan") for scan in demo.scans if scan.get("told") != "status"]
    assert Counter(kinds) == Counter(("report", "sell", "scan", "receipt", "change"))
    assert "every row is in the ledger" in demo.said
    assert demo.code == 0


def test_what_was_cut_heals_and_meanwhile_people_get_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data) as here:
        demo, codes = here.demo, list(here.good)
        demo.type("/sell")
        codes.append(demo.told(told="sell")["code"])
        demo.told(told="change", what="sold")
        for cut, mend, shows in (
            ("/net cut", "/net mend", {"broker": "cut"}),
            ("/bridge kill", "/bridge start", {"bridge": "down"}),
            ("/vendor stop", "/vendor start", {"vendor": "down"}),
        ):
            demo.type(cut)
            demo.told(told="status", **shows)
            code = codes.pop()
            scan = here.scan(code)
            assert scan["opened"], scan
            if cut == "/vendor stop":
                demo.stands(scans=1)  # it may have been told before the scan was
            demo.type(mend)
            demo.told(told="vendor", code=code, result="accepted")
            demo.stands(rows=0, scans=0, **UP)
        ended = demo.end()
    assert "every row is in the ledger" in ended.said
    books_agree(data)


def test_a_vendor_that_loses_replies_is_told_once_all_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data) as here:
        demo = here.demo
        for manner, code in zip(("lossy", "slow"), here.good, strict=True):
            demo.type(f"/vendor {manner}")
            demo.told(told="status", vendor=manner)
            here.scan(code)
            demo.told(told="vendor", code=code, result="accepted")
        demo.type("/vendor well")
        demo.told(told="status", rows=0, scans=0, **UP)
        demo.end()
    books_agree(data)


def test_each_process_killed_in_turn_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data) as here:
        demo, (first, second) = here.demo, here.good
        for name, shows in (("vendor", {"vendor": "down"}), ("bridge", {"bridge": "down"})):
            os.kill(here.ids[name], signal.SIGKILL)
            demo.told(told="status", **shows)
            assert "signal 9" in demo.told(told="ended")["text"]
        assert here.scan(first)["opened"] is True
        demo.type("/vendor start", "/bridge start")
        demo.told(told="vendor", code=first, result="accepted")
        os.kill(here.ids["broker"], signal.SIGKILL)
        demo.told(told="status", broker="cut")
        assert here.scan(second)["opened"] is True
        ended = demo.end(signal.SIGKILL)
        assert ended.code == -signal.SIGKILL
    with venue(data) as again:
        again.demo.told(told="vendor", result="accepted")
        assert again.scan(second)["verdict"] == "used"
        again.demo.told(told="receipt", code=second)
        ended = again.demo.end()
    assert "every row is in the ledger" in ended.said
    books_agree(data)


def test_parts_do_not_outlive_a_demo_that_was_killed(tmp_path: Path) -> None:
    with venue(tmp_path / "data") as here:
        watched = [os.pidfd_open(number) for number in here.ids.values()]
        here.demo.end(signal.SIGKILL)
        for descriptor in watched:
            ended(descriptor)


def ended(descriptor: int) -> None:
    """Wait until this process has ended."""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(20_000), "a part outlives the demo"
    finally:
        os.close(descriptor)


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Piped("--data", data) as demo:
        demo.type("/status", "/sell", "/vendor stop", "/bridge stop", "/bridge start", "/help", "nothing")
        demo.told(code="nothing")
        demo.type("/vendor start")
        demo.told(told="status", rows=0, scans=0, **UP)
        ended = demo.end()
    logs = b"".join(path.read_bytes() for path in data.glob("*.log"))
    shown = (repr(ended.scans) + ended.said).encode() + logs
    venue_key = (data / "bridge" / "key").read_bytes()
    token = re.compile(rb"\d+-[0-9a-f]{40}|eyJ[\w-]+\.")
    for secret in (KEY.encode(), PASSWORD.encode(), venue_key, venue_key.hex().encode()):
        assert secret not in shown
    assert not token.search(shown)
    assert {path.name: path.stat().st_mode & 0o077 for path in data.rglob("key")} == {"key": 0}


def test_a_terminal_shows_the_way_and_what_is_cut(tmp_path: Path) -> None:
    with (
        Terminal(columns=100) as terminal,
        at_terminal(terminal, "--data", tmp_path / "data", environment={"TERM": "xterm-256color"}) as demo,
    ):
        seen = terminal.sees("lane 1 in> ")
        good = seen.partition("  good")[2].split()[0]
        terminal.sees("broker connected   bridge up   vendor up")
        terminal.type(f"{good}\r")
        terminal.sees("ADMITTED")
        terminal.sees("vendor: accepted")
        for command, words in (
            ("/help", "/vendor slow, lossy, well"),
            ("/net cut", "broker cut"),
            ("/net mend", "broker connected"),
            ("/net about", "/net is followed by cut, mend"),
            ("/bridge start", "the bridge runs already"),
            ("/vendor stop", "vendor down"),
            ("/sell", "the vendor is down: /vendor start"),
            ("/vendor start", "vendor up"),
            ("/sell", "the gate knows"),
            ("/refund nothing", "the vendor says"),
        ):
            drawn = len(terminal.seen)
            terminal.type(f"{command}\r")
            terminal.sees(words, drawn)
        terminal.type("/quit\r")
        terminal.sees("admitted 1, refused 0")
        assert demo.wait() == 0


def test_a_data_directory_goes_on_as_it_began(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "demo-whole").touch()
    demo = run("", "--alone", "--data", data)
    assert (demo.code, demo.scans) == (2, [])
    assert "belongs to a whole demo: choose another --data" in demo.said

    alone = tmp_path / "alone"
    assert run("", "--alone", "--count", "10", "--data", alone).code == 0
    demo = run("", "--data", alone)
    assert (demo.code, "are used as they are" in demo.said) == (0, True)


@pytest.mark.parametrize("library", ["iotcore", "httpx", "sqlalchemy"])
def test_without_a_library_it_says_so_in_one_line_and_offers_a_gate_alone(library: str) -> None:
    missing = f"import sys; sys.modules['{library}'] = None"
    code = f"{missing}; from firmware.cli import main; sys.exit(main(['demo']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert f"the whole demo needs {library}" in line
    assert "add --alone" in line
