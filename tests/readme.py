"""The parts of the README that are made from the code: `python -m tests.readme` writes them anew."""

import re
import sys
from pathlib import Path

from firmware.core.lane import TABLE

README = Path(__file__).parent.parent / "README.md"
MARKED = r"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"


def lane_table() -> str:
    """The lane's states and events, each cell with the name of its function in firmware/core/lane.py."""
    events = [event.__name__ for event in next(iter(TABLE.values()))]
    lines = [f"| | {' | '.join(events)} |", "| --- " * (len(events) + 1) + "|"]
    for state, cells in TABLE.items():
        names = (f"`{cell.__name__}`" for cell in cells.values())
        lines.append(f"| **{state.__name__}** | {' | '.join(names)} |")
    return "\n".join(lines)


def renewed(text: str) -> str:
    """The README's text with its made parts as the code has them now."""
    return replaced(text, "lane table", lane_table())


def replaced(text: str, name: str, part: str) -> str:
    """The text with one marked part exchanged."""
    pattern = re.compile(MARKED.format(name=name), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the README has no part marked <!-- {name} -->")
    return pattern.sub(lambda found: found[1] + part + found[2], text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
    sys.stderr.write(f"written: {README.name}\n")
