import re
from collections.abc import Mapping

import pytest

from firmware.catalogue import TICKETS_MAX
from firmware.config.keys import LANES_MAX, READERS_MAX
from firmware.core.effects import Signal
from firmware.core.rules import LAPSES_MAX
from firmware.core.ticket import Verdict
from firmware.journal import KEPT_ROWS_MIN, WAITING_ROWS_MAX
from firmware.lists import CODE_CHARS_MAX, TEXT_CHARS_MAX
from firmware.rows import RESERVED_ROWS
from firmware.signals import SIGNALS, VERDICTS
from firmware.uplink.peers import PEERS_MAX
from hal.frames import LENGTH_MAX
from hal.ports import Pattern
from tests.handbook import HANDBOOK, MEANINGS, SOUNDS, STEWARD, renewed

LIMIT = re.compile(r"^\| [^|]+ \| ([\d,]+) \| `(\w+)` \|$", re.MULTILINE)
LIMITS: Mapping[str, int] = {
    "LANES_MAX": LANES_MAX,
    "READERS_MAX": READERS_MAX,
    "LENGTH_MAX": LENGTH_MAX,
    "CODE_CHARS_MAX": CODE_CHARS_MAX,
    "TEXT_CHARS_MAX": TEXT_CHARS_MAX,
    "TICKETS_MAX": TICKETS_MAX,
    "WAITING_ROWS_MAX": WAITING_ROWS_MAX,
    "RESERVED_ROWS": RESERVED_ROWS,
    "KEPT_ROWS_MIN": KEPT_ROWS_MIN,
    "LAPSES_MAX": LAPSES_MAX,
    "PEERS_MAX": PEERS_MAX,
}


def test_the_handbook_shows_lamp_and_sound_as_the_code_does() -> None:
    text = HANDBOOK.read_text()
    assert renewed(text) == text, "mend with: python -m tests.handbook"


def test_every_verdict_and_signal_has_a_line_for_people() -> None:
    assert set(STEWARD) == set(VERDICTS) == set(Verdict)
    assert set(MEANINGS) == set(SIGNALS) == set(Signal)
    assert set(SOUNDS) == set(Pattern)


def test_a_handbook_without_its_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="signals"):
        renewed("no marks here")


def test_the_limits_in_the_handbook_are_those_of_the_code() -> None:
    told = {name: int(number.replace(",", "")) for number, name in LIMIT.findall(HANDBOOK.read_text())}
    assert told == LIMITS
