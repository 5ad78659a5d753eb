"""A row of the journal: what happened to one lane, with the facts that the core was given.

A row carries the state of its lane before, the events since the lane's last row, and a digest of all
effects that they had. So each row can be replayed by itself, whatever older rows retention has dropped,
and the state after one row must be the state before the next.

Bodies are MessagePack arrays in the order of the fields below. Fields may be added at the end only, each
with a default: the previous release reads what it knows.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, get_args

import msgspec

from firmware.core.effects import Ask, Effect, Lock, Record, Tell, Unlock
from firmware.core.events import Event
from firmware.core.lane import step
from firmware.core.movements import Movement
from firmware.core.states import Lane, Shown, Standing, State
from firmware.core.ticket import Moment, Setup, Verdict

SEQ_BITS = 32  # a row's id is its epoch and its number in it: 2**31 starts of 4 billion rows each
SEQ_MAX = 2**SEQ_BITS - 1
DIGEST_BYTES = 16

EVENTS = {cls.__name__: cls for cls in get_args(Event)}
STATES = {cls.__name__: cls for cls in get_args(State)}
EFFECTS = (Record, Ask, Unlock, Lock, Tell)


def row_id(epoch: int, seq: int) -> int:
    """One number for (epoch, seq), in the order of both."""
    return epoch << SEQ_BITS | seq


def epoch_and_seq(row: int) -> tuple[int, int]:
    """The two numbers that a row id is made of."""
    return row >> SEQ_BITS, row & SEQ_MAX


class Named(NamedTuple):
    """A state or an event on its way into bytes: its type's name and its fields."""

    name: str
    fields: tuple[Any, ...]


class Before(NamedTuple):
    """A lane without its settings, which the first row of the epoch carries."""

    standing: Standing
    state: Named
    shown: Shown | None


class Story(NamedTuple):
    """How a row came about: the lane before, the events since, and the digest of all their effects."""

    before: Before
    events: tuple[Named, ...]
    effects: bytes


class Row(NamedTuple):
    """One entry. `story` is `None` in the second row of one event, and in rows that no event made.

    `kind` is one of `core.effects.Kind`, or of the journal's own: `began`, `unsettled`, `clock`,
    `noted`, `fault`.
    """

    kind: str
    lane: str
    moment: Moment
    scan: int = 0
    verdict: Verdict | None = None
    movement: Movement | None = None
    text: str = ""
    story: Story | None = None


class Began(NamedTuple):
    """What the first row of an epoch says, as the text of a row of kind `began`."""

    epoch: int
    random: str
    found: str
    release: str
    setups: tuple[Setup, ...]


class Unreadable(Exception):
    """A row's bytes are not what this release or an older one writes."""


_encoder = msgspec.msgpack.Encoder()
_row_decoder = msgspec.msgpack.Decoder(Row)
_began_decoder = msgspec.json.Decoder(Began)


def encode(row: Row) -> bytes:
    """The body of a row."""
    return _encoder.encode(row)


def decode(body: bytes) -> Row:
    """The row of a body. Raises `Unreadable`."""
    try:
        return _row_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)) from error


def chain(previous: bytes, body: bytes) -> bytes:
    """The digest that ties a row to all rows before it."""
    return blake2b(previous + body, digest_size=DIGEST_BYTES).digest()


def encode_began(began: Began) -> str:
    """The text of an epoch's first row."""
    return msgspec.json.encode(began).decode()


def decode_began(text: str) -> Began:
    """What an epoch's first row says. Raises `Unreadable`."""
    try:
        return _began_decoder.decode(text)
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)) from error


def tell_story(before: Lane, events: Sequence[Event], effects: Sequence[Effect], after: Lane) -> Story:
    """The story of the events that led from one lane to the other."""
    return Story(
        _before(before),
        tuple(Named(type(event).__name__, tuple(event)) for event in events),
        _digest(effects, after),
    )


class Replayed(NamedTuple):
    """What the core makes of a row today: whether the effects are the same, and the lane afterwards."""

    same: bool
    before: Before
    after: Before
    effects: tuple[Effect, ...]


def replay(story: Story, setup: Setup) -> Replayed:
    """Run the row's events through the core once more. Raises `Unreadable`."""
    lane = Lane(setup, story.before.standing, _state(story.before.state), story.before.shown)
    effects: list[Effect] = []
    for named in story.events:
        lane, more = step(lane, event_of(named))
        effects += more
    same = _digest(effects, lane) == story.effects
    return Replayed(same, story.before, _plain(lane), tuple(effects))


def event_of(named: Named) -> Event:
    """The event that was written. Raises `Unreadable`."""
    event: Event = _restored(named, EVENTS)
    return event


def _state(named: Named) -> State:
    state: State = _restored(named, STATES)
    return state


def _restored(named: Named, types: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(named.fields, types[named.name], strict=True, builtin_types=(bytes,))
    except (KeyError, msgspec.ValidationError) as error:
        raise Unreadable(f"{named.name}: {error}") from error


def _before(lane: Lane) -> Before:
    return Before(lane.standing, Named(type(lane.state).__name__, tuple(lane.state)), lane.shown)


def _plain(lane: Lane) -> Before:
    """A lane as it comes back from bytes, so that the two can be compared."""
    return msgspec.msgpack.decode(_encoder.encode(_before(lane)), type=Before)


def _digest(effects: Sequence[Effect], after: Lane) -> bytes:
    """Of every effect in order, names included, and of the lane that they leave behind."""
    said = [Named(type(effect).__name__, tuple(effect)) for effect in effects]
    return blake2b(_encoder.encode((said, _before(after))), digest_size=DIGEST_BYTES).digest()
