"""The drawings for the installer, held against the board files that they show."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hal.wiring import HEADER_PINS, parse, read
from hal.wiring_svg import SUPPLY, WIDTH, drawing

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
BOARDS = sorted((DEPLOY / "boards").glob("*.toml"))
TEXT = "{http://www.w3.org/2000/svg}text"


def texts(drawn: str) -> list[str]:
    """All that can be read in a drawing."""
    return [each.text or "" for each in ET.fromstring(drawn).iter(TEXT)]


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_the_hand_book_shows_each_board_file_as_it_is(board: Path) -> None:
    shown = DEPLOY / "wiring" / f"{board.stem}.svg"
    mend = f"mend with: gatepost wiring --board {board.relative_to(DEPLOY.parent)} > {shown.name}"
    assert shown.read_text("utf-8") == drawing(read(str(board)), board.name), mend


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_every_part_stands_beside_its_pin_and_no_other(board: Path) -> None:
    wiring = read(str(board))
    root = ET.fromstring(drawing(wiring, board.name))
    beside: dict[float, list[str]] = {}
    for each in root.findall(TEXT):  # rows of the header: what stands at the same height belongs together
        beside.setdefault(float(each.attrib["y"]), []).append(each.text or "")
    for line in wiring.lines:
        (row,) = [row for row in beside.values() if f"GPIO{line.pin}" in row]
        assert str(HEADER_PINS[line.pin]) in row
        assert any(f"lane {line.lane}: {line.part} " in text and line.active in text for text in row)
    drawn = [text for text in texts(drawing(wiring, board.name)) if " — " in text]
    assert len(drawn) == len(wiring.lines) + len(wiring.inputs)


def test_the_header_has_forty_places_and_each_pin_one() -> None:
    assert sorted([*SUPPLY, *HEADER_PINS]) == list(range(1, 41))


@pytest.mark.parametrize("pull", ["up", "down", "none"])
@pytest.mark.parametrize("active", ["high", "low"])
def test_what_holds_a_line_inactive_goes_the_other_way(active: str, pull: str) -> None:
    text = f"""
    [board]
    factory = "mock"
    [alarm]
    pin = 17
    pull = "{pull}"
    [[lane]]
    name = "<left> & right"
    without_power = "open"
    free_by = "hold"
    [lane.both]
    pin = 22
    active = "{active}"
    drive = "hold"
    """
    read_back = texts(drawing(parse(text, "board.toml"), "a & b"))
    other = "GND" if active == "high" else "3.3 V"
    assert f"10 kΩ to {other}: a line that nobody drives lets nobody in." in read_back
    assert f"Contact to {'3.3 V' if pull == 'down' else 'GND'}: GPIO17" in read_back
    assert "a & b" in read_back
    assert any(text.startswith("lane <left> & right: ") for text in read_back)


def test_long_notes_are_broken_and_nothing_leaves_the_sheet() -> None:
    wiring = read(str(BOARDS[0]))
    root = ET.fromstring(drawing(wiring, BOARDS[0].name))
    assert root.attrib["width"] == str(WIDTH)
    assert max(len(text) for text in texts(drawing(wiring, "t"))) <= 130


def test_the_command_draws_a_board_file_and_names_what_is_wrong_with_one(tmp_path: Path) -> None:
    drawn = command("wiring", "--board", BOARDS[0])
    assert (drawn.returncode, drawn.stdout) == (0, drawing(read(str(BOARDS[0])), BOARDS[0].name))
    (tmp_path / "board.toml").write_text("[board]\nfactory = 'lgpoi'\n")
    refused = command("wiring", "--board", tmp_path / "board.toml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert 'board.factory: "lgpoi" is not' in refused.stderr


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "firmware.cli", *map(str, words)]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
