"""What is wrong with the gate at the moment, in words, for those who show it."""

from collections.abc import Iterator

from firmware.unit import Unit

FAULTS_TOLD_MAX = 100  # lines; a cable that works loose every second shall not fill a disk with complaints


class Faults:
    """Looks for faults, and tells what has come and what has gone since the last look."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._known: dict[str, str] = {}
        self._noted = 0  # of what the journal found and got over
        self._told = 0

    def present(self) -> dict[str, str]:
        """Every fault there is, by what it is about."""
        found = {f"reader {name}": fault for name, fault in dict(self._unit.gate.reader_faults).items()}
        if self._unit.journal.fault:
            found["journal"] = self._unit.journal.fault
        if self._unit.gate.lost_rows:
            found["journal's memory"] = "full, while the disk hangs: rows were lost"
        if self._unit.catalogue.fault:
            found["catalogue"] = self._unit.catalogue.fault
        return found

    def news(self) -> Iterator[str]:
        """One sentence for each change; none after `FAULTS_TOLD_MAX` of them."""
        for sentence in self._changes():
            self._told += 1
            if self._told > FAULTS_TOLD_MAX:
                self._told = FAULTS_TOLD_MAX
                return
            yield sentence

    def _changes(self) -> Iterator[str]:
        noted = self._unit.journal.faults[self._noted :]
        self._noted += len(noted)
        yield from noted
        present, known = self.present(), self._known
        self._known = present
        for name in sorted({*present, *known}):
            if present.get(name) != known.get(name):
                yield f"{name}: {present.get(name, 'works again')}"
