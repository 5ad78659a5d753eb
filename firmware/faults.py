"""What is wrong with a gate at the moment, in words, for those who tell people of it."""

import time
from collections.abc import Callable, Iterator, Mapping

from firmware.gate import HOUSING
from firmware.ration import Ration
from firmware.unit import Unit


def faults_of(unit: Unit) -> dict[str, str]:
    """What is wrong, by the thing, the present before the past; what needs no mend any more stays."""
    gate, journal = unit.gate, unit.journal
    found = {part: f"{part}: {text}" for part, text in list(gate.part_faults.items())}
    noted = list(journal.faults)
    if (fault := journal.fault) and fault not in noted:
        found["the journal"] = f"the journal takes no rows: {fault}"
    if not gate.clock.trusted:
        found["the clock"] = "the clock is not trusted yet: see clock_untrusted for what becomes of dates"
    if unit.catalogue.fault:
        found["the catalogue"] = f"the catalogue: {unit.catalogue.fault}"
    if unit.uplink is not None:
        found.update(unit.uplink.faults())
    found.update({text: text for text in (*noted, *(f"wiring: {hazard}" for hazard in unit.board.hazards))})
    for count, what in (
        (gate.dropped, "scans or orders were not answered: the loop was too far behind"),
        (gate.lost_rows, "rows were lost: the disk hung, and the memory for them was full"),
        (gate.part_failures, "times a turnstile, lamp or buzzer failed: see gatepost journal"),
    ):
        if count:
            found[what] = f"{count:,} {what}"
    return found


class Faults:
    """Looks for faults, and tells what has come and what has gone since the last look.

    `look` says what is wrong, by the thing (`faults_of` a gate). One thread asks for news.
    """

    def __init__(self, look: Callable[[], Mapping[str, str]], now_s: Callable[[], float] = time.monotonic):
        self._look = look
        self._ration = Ration("more faults than are told in a minute: see gatepost journal", now_s)
        self._known: Mapping[str, str] = {}

    def present(self) -> list[str]:
        """Every fault there is; it stays news to those who ask for news."""
        return list(self._look().values())

    def news(self) -> list[str]:
        """A line for each change, but no more in a minute than a person reads."""
        known, self._known = self._known, self._look()
        return self._ration.of(list(_changes(known, self._known)))


def _changes(known: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """A line for each fault that is new, has changed, or is over."""
    for thing, text in found.items():
        if known.get(thing) != text:
            yield f"fault: {text}"
    for thing in known:
        if thing not in found:
            yield f"{thing} {'closed again' if thing == HOUSING else 'works again'}"
