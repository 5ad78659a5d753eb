"""What a look at one thing found: a value, and how it is shown to people and to programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from firmware.signals import visible

TEXT_LENGTH_MAX = 400  # of a text or mend; names of devices are in it, and those come from the devices


class Verdict(StrEnum):
    """How bad it is. A warning does not keep the gate from its work, a fault does or soon will."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `mend` says what to do, and is empty where nothing need be done."""

    name: str
    verdict: Verdict
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of check, with places such as `{device}` for what was seen; see `findings`."""

    name: str
    verdict: Verdict
    text: str
    mend: str = ""

    def seen(self, **what: object) -> Check:
        """The check, with what was seen in its places. What comes from outside cannot change a terminal."""
        plain = {place: visible(str(value), TEXT_LENGTH_MAX) for place, value in what.items()}
        return Check(self.name, self.verdict, self.text.format(**plain), self.mend.format(**plain))


def worst(checks: Iterable[Check]) -> Verdict:
    """The verdict on all of them together."""
    found = {check.verdict for check in checks}
    return next((verdict for verdict in (Verdict.FAULT, Verdict.WARNING) if verdict in found), Verdict.OK)


def as_json(checks: Sequence[Check]) -> str:
    """One document: the verdict on all, and each check. Plain ASCII."""
    told = [{**asdict(check), "verdict": check.verdict.value} for check in checks]
    return json.dumps({"verdict": worst(checks).value, "checks": told}, indent=1)


def as_lines(checks: Iterable[Check]) -> list[str]:
    """For people: a line a check, and the mend below it."""
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:<8} {check.name:<12} {check.text}")
        if check.mend:
            lines.append(f"{'':<8} {'':<12} mend: {check.mend}")
    return lines


def count(checks: Sequence[Check]) -> str:
    """How many of each: "1 fault, 2 warnings, 12 ok"."""
    number = {verdict: sum(check.verdict is verdict for check in checks) for verdict in Verdict}
    faults, warnings = number[Verdict.FAULT], number[Verdict.WARNING]
    return (
        f"{faults} fault{'' if faults == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}, "
        f"{number[Verdict.OK]} ok"
    )
