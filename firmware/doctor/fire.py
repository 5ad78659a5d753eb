"""Fires relay, lamp and buzzer of each lane one by one, and judges by the sensor and by what a person says.

A relay board that is active low and set to high lets people pass while nothing is fired, so the first thing
tried in a lane is to pass it at rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from firmware.doctor import findings
from firmware.doctor.bench import Alarmed, Bench, Seen
from firmware.doctor.check import Check
from hal.ports import Colour, LaneParts, Pattern, Way

WALK_S = 5.0  # for somebody to pass where nobody is asked; an opening may be held as long by default
REST_S = 1.0  # to see that nobody passes
LOOK_S = 1.0  # a colour stays on where nobody is asked
HEAR_S = 1.0  # the longest sound, and a little


class Person(Protocol):
    """Who stands at the gate."""

    def goes_on(self, what: str) -> bool:
        """Whether this may be done now."""

    def says(self, question: str) -> bool | None:
        """Yes or no; None where nobody is asked."""


class Patience(NamedTuple):
    """How long is waited where nobody is asked, in seconds."""

    walk_s: float = WALK_S
    rest_s: float = REST_S
    look_s: float = LOOK_S
    hear_s: float = HEAR_S


PATIENCE = Patience()


class Wired(NamedTuple):
    """What there is to fire in a lane."""

    ways: tuple[Way, ...]
    colours: tuple[Colour, ...]
    buzzer: bool


def fire(
    bench: Bench, wired: Mapping[str, Wired], person: Person, patience: Patience = PATIENCE
) -> Iterator[Check]:
    """Fire every part. Ends at once when the alarm comes."""
    try:
        yield from _contacts(bench)
        for lane in bench.board.lanes:
            if person.goes_on(f"lane {lane.name}: keep it closed for people, stand clear. Fire its parts?"):
                yield from _lane(bench, lane, wired[lane.name], person, patience)
            else:
                yield findings.SKIPPED.seen(lane=lane.name, part="all")
    except Alarmed:
        yield findings.ALARM_ACTIVE.seen()


def _contacts(bench: Bench) -> Iterator[Check]:
    """How the contacts are at this moment. Raises `Alarmed`."""
    if bench.alarmed:
        raise Alarmed
    seen = bench.news(0)
    state = {one.part: one.what for one in seen if not one.lane}
    if state.get("tamper") == "active":
        yield findings.TAMPER_ACTIVE.seen()
    quiet = [part for part, what in state.items() if what == "at rest"]
    if quiet:
        yield findings.CONTACTS_QUIET.seen(contacts=" and ".join(quiet))
    yield from _sensor_faults(seen)


def _lane(bench: Bench, lane: LaneParts, wired: Wired, person: Person, patience: Patience) -> Iterator[Check]:
    for part, checks in (
        ("relay", _relay(bench, lane, wired.ways, person, patience)),
        ("lamp", _lamp(bench, lane, wired.colours, person, patience)),
        ("buzzer", _buzzer(bench, lane, wired.buzzer, person, patience)),
    ):
        try:
            yield from checks
        except (OSError, RuntimeError) as error:
            yield findings.PART_FAILS.seen(lane=lane.name, part=part, problem=error)


def _relay(
    bench: Bench, lane: LaneParts, ways: Sequence[Way], person: Person, patience: Patience
) -> Iterator[Check]:
    name = lane.name
    answer, seen = _tried(
        bench, person, f"lane {name}: nothing is fired. Push: could you pass?", patience.rest_s
    )
    yield from _sensor_faults(seen)
    if answer or _passages(seen, name):
        yield findings.FREE_AT_REST.seen(lane=name)
    elif answer is False:
        yield findings.HOLDS_AT_REST.seen(lane=name)
    for way in ways:
        if person.goes_on(f"lane {name}: fire {way}?"):
            yield from _opening(bench, lane, way, person, patience)
        else:
            yield findings.SKIPPED.seen(lane=name, part=f"relay {way}")


def _opening(bench: Bench, lane: LaneParts, way: Way, person: Person, patience: Patience) -> Iterator[Check]:
    name = lane.name
    bench.news(0)
    try:
        bench.unlock(lane, way)
        question = f"lane {name}: fired {way}. Pass once: could you?"
        answer, seen = _tried(bench, person, question, patience.walk_s, stop_at=name)
    finally:
        bench.lock(lane)
    yield from _sensor_faults(seen)
    yield _judged(lane, way, answer, _passages(seen, name))
    if not answer and not _passages(seen, name):
        return  # some turnstiles remember a pulse until somebody has walked
    question = f"lane {name}: it has ended. Push once more: could you still pass?"
    answer, seen = _tried(bench, person, question, patience.rest_s)
    if answer or _passages(seen, name):
        yield findings.STAYS_OPEN.seen(lane=name, way=way)


def _judged(lane: LaneParts, way: Way, answer: bool | None, passages: list[str]) -> Check:
    """The sensor is believed before the person, who may have walked past it."""
    name = lane.name
    if passages and passages[0] not in (way, "either way"):
        return findings.WRONG_WAY.seen(lane=name, way=way, seen=passages[0])
    if passages:
        return findings.PASSED.seen(lane=name, way=way, seen="the sensor saw somebody pass")
    if answer is False:
        return findings.LOCKED_WHEN_FIRED.seen(lane=name, way=way)
    if lane.sensor is not None:
        return findings.NO_PASSAGE.seen(lane=name, way=way)
    if answer:
        return findings.PASSED.seen(lane=name, way=way, seen="you could pass")
    return findings.FIRED.seen(lane=name, way=way)


def _tried(
    bench: Bench, person: Person, question: str, wait_s: float, stop_at: str | None = None
) -> tuple[bool | None, list[Seen]]:
    """What the person says, and what was seen meanwhile. Raises `Alarmed`.

    Where nobody is asked this waits, at most until somebody passes in the lane `stop_at`.
    """
    answer = person.says(question)
    if answer is None:
        seen = bench.news(wait_s, lambda one: (one.lane, one.part) == (stop_at, "passage") or bench.alarmed)
    else:
        seen = bench.news(0)
    if bench.alarmed:
        raise Alarmed
    return answer, seen


def _passages(seen: Sequence[Seen], lane: str) -> list[str]:
    return [one.what for one in seen if (one.lane, one.part) == (lane, "passage")]


def _sensor_faults(seen: Sequence[Seen]) -> Iterator[Check]:
    for one in seen:
        if one.part == "sensor" and one.what != "works again":
            yield findings.SENSOR_FAULT.seen(lane=one.lane, problem=one.what)


def _lamp(
    bench: Bench, lane: LaneParts, colours: Sequence[Colour], person: Person, patience: Patience
) -> Iterator[Check]:
    shown = []
    try:
        for colour in colours:
            lane.lamp.show(colour, False)
            answer, _ = _tried(bench, person, f"lane {lane.name}: is the lamp {colour}?", patience.look_s)
            if answer is None:
                shown.append(colour)
            else:
                finding = findings.LAMP_RIGHT if answer else findings.LAMP_WRONG
                yield finding.seen(lane=lane.name, colour=colour)
    finally:
        lane.lamp.show(Colour.OFF, False)
    if shown:
        yield findings.LAMP_SHOWN.seen(lane=lane.name, colours=", ".join(shown))


def _buzzer(
    bench: Bench, lane: LaneParts, wired: bool, person: Person, patience: Patience
) -> Iterator[Check]:
    if not wired:
        return
    lane.buzzer.sound(Pattern.LONG)
    answer, _ = _tried(bench, person, f"lane {lane.name}: did you hear the buzzer?", patience.hear_s)
    if answer is None:
        yield findings.BUZZER_SOUNDED.seen(lane=lane.name)
    else:
        yield (findings.BUZZER_RIGHT if answer else findings.BUZZER_WRONG).seen(lane=lane.name)
