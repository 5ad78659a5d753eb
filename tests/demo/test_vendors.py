"""The whole demo with each vendor: scans that open, scans that do not, a vendor that is away, and healing."""

from pathlib import Path
from typing import NamedTuple

import pytest

from firmware.bridge.sandbox.history import ELSEWHERE, Change
from firmware.demo.plays import PLAYS
from firmware.demo.whole import BOOKS, WHOLE
from tests.demo.process import Terminal, at_terminal, run
from tests.demo.test_whole import UP, history, venue


class Journey(NamedTuple):
    """What is refused and how; the verdict on a good code without the vendor; the word on a used one."""

    word: str
    verdict: str
    reason: str
    away: str
    used: str


JOURNEYS = {
    "ingresse": Journey("refunded", "refunded", "refunded", "admitted", "used: entered"),
    "vivenu": Journey("cancelled", "cancelled", "cancelled", "admitted", "used: entered"),
    "presence": Journey(
        "invalid",
        "refused",
        'the vendor says "INVALID_TICKET',
        "no_answer",
        'the vendor says "ALREADY_ENTERED',
    ),
    "bam": Journey("blocked", "blocked", "blocked", "admitted", "used: entered"),
}


def test_every_vendor_of_the_demo_has_its_journey_here() -> None:
    assert JOURNEYS.keys() == PLAYS.keys()


def ours(change: Change) -> bool:
    """Whether somebody came in at a gate of ours."""
    return change.what == "checkin" and change.operator != ELSEWHERE


@pytest.mark.parametrize("vendor", JOURNEYS)
def test_a_night_with_each_vendor(vendor: str, tmp_path: Path) -> None:
    data, journey, asks = tmp_path / "data", JOURNEYS[vendor], PLAYS[vendor].asks
    with venue(data, "--vendor", vendor) as here:
        demo, (good, second) = here.demo, here.good
        (bad, *_) = here.codes(journey.word)
        scan = here.scan(good)
        assert scan["opened"], scan
        if asks:
            assert demo.told(told="checking")["lane"] == "1"
        else:
            demo.told(told="vendor", code=good, result="accepted")
        scan = here.scan(bad)
        assert (scan["opened"], scan["verdict"]) == (False, journey.verdict), scan
        assert journey.reason in scan["reason"]

        used = good
        if asks:  # a code that enters again within seconds is too soon, and nobody is asked
            demo.type("/sell")
            used = demo.told(told="sell")["code"]
            demo.type(f"/elsewhere {used}")
            demo.told(told="check-in", code=used)

        demo.type("/vendor stop")
        demo.told(told="status", vendor="down")
        scan = here.scan(second)
        assert (scan["verdict"], scan["opened"]) == (journey.away, not asks), scan
        demo.type("/vendor start")
        if not asks:
            demo.told(told="vendor", code=second, result="accepted")
        demo.stands(**UP, rows=0, scans=0)

        demo.type("/sell")
        sold = demo.told(told="sell")
        if not asks:
            demo.told(told="change", what="sold", ticket=sold["ticket"])
        scan = here.scan(sold["code"])
        assert scan["opened"], scan
        scan = here.scan(used)
        assert (scan["opened"], scan["verdict"]) == (False, "used"), scan
        assert journey.used in scan["reason"]
        if not asks:
            demo.told(told="vendor", code=sold["code"], result="accepted")
        ended = demo.end()
    assert "every row is in the ledger" in ended.said
    entered = [change.code for change in history(data) if ours(change)]
    assert entered == [code for code in (good, second, sold["code"]) if code != second or not asks]


def test_a_chain_whose_last_reply_was_lost_has_used_each_ticket_up_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with venue(data, "--vendor", "bam") as here:
        demo = here.demo
        demo.type("/vendor lossy")
        demo.hears("transactions get lost from now on")
        for code in here.good:
            assert here.scan(code)["opened"]
        for code in here.good:
            demo.told(told="vendor", code=code, result="accepted")
        demo.end()
    entered = [change.code for change in history(data) if ours(change)]
    assert sorted(entered) == sorted(here.good)
    assert "already" in [change.how for change in history(data)], "at least one reply was lost"


def test_a_vendor_that_is_asked_shows_the_checking_light_and_says_what_it_has_not(tmp_path: Path) -> None:
    with (
        Terminal(columns=100) as terminal,
        at_terminal(
            terminal,
            *("--vendor", "presence", "--data", tmp_path / "data"),
            environment={"TERM": "xterm-256color"},
        ) as demo,
    ):
        seen = terminal.sees("lane 1 in> ")
        assert "Presence has no list: it is asked about each scan" in seen
        good, other = seen.partition("  good")[2].split()[:2]
        terminal.sees("broker connected   bridge up   vendor up")
        terminal.type("/vendor slow\r")
        terminal.sees("vendor slow")
        terminal.type(f"{good}\r")
        terminal.sees("CHECKING  the vendor is asked")
        terminal.sees("blue blinking")
        terminal.sees("ADMITTED")
        terminal.sees("answered 1")
        terminal.type(f"/refund {other}\r")
        terminal.sees("so nothing comes to the gate")
        terminal.type("/net cut\r")
        terminal.sees("nobody is let in meanwhile")
        terminal.type("/quit\r")
        terminal.sees("admitted 1, refused 0")
        assert demo.wait() == 0


def test_a_data_directory_keeps_its_vendor(tmp_path: Path) -> None:
    (tmp_path / WHOLE).write_text("vivenu")
    demo = run("", "--vendor", "presence", "--data", tmp_path)
    assert (demo.code, demo.scans) == (2, [])
    assert "has vivenu for its vendor" in demo.said
    demo = run("", "--vendor", "vivenu", "--alone")
    assert (demo.code, "a gate alone has none" in demo.said) == (2, True)
    (tmp_path / WHOLE).write_text("nobody")
    demo = run("", "--data", tmp_path)
    assert (demo.code, "names no vendor of the demo" in demo.said) == (2, True)
    assert not (tmp_path / BOOKS).exists()
