"""A row of the journal: what happened to one lane, with the facts that the core was given.

A row carries the state of its lane before, the events since the lane's last row, and a digest of all
effects that they had. So each row can be replayed by itself, whatever older rows retention has dropped,
and the state after one row must be the state before the next.

Bodies are MessagePack arrays in the order of the fields below. A later release may add fields at the end of
any of them, each with a default: this one then reads the fields that it knows. A word that it does not know
(a verdict, an act) it cannot read; such a row stays as it is, and whoever meets it says so.
"""

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

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
NUMBER_BYTES = 8  # of a row id inside the chain

Shape = TypeVar("Shape")
Data = TypeVar("Data", bytes, str)

EVENTS = {cls.__name__: cls for cls in get_args(Event)}
STATES = {cls.__name__: cls for cls in get_args(State)}
EFFECTS = (Record, Ask, Unlock, Lock, Tell)


def row_id(epoch: int, seq: int) -> int:
    """One number for (epoch, seq), in the order of both."""
    return epoch << SEQ_BITS | seq


def epoch_and_seq(row: int) -> tuple[int, int]:
    """The two numbers that a row id is made of."""
    return row >> SEQ_BITS, row & SEQ_MAX


def name_of(row: int) -> str:
    """What a row is called in messages: its epoch and its number in it."""
    return "{}.{}".format(*epoch_and_seq(row))


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
    `noted`, `outcome`, `fault`, `settings`.
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


def decode(body: bytes, number: int = 0) -> Row:
    """The row of a body. Raises `Unreadable`, which names the row where its number is given."""
    try:
        return read(body, _row_decoder.decode, msgspec.msgpack.decode, Row)
    except Unreadable as error:
        if not number:
            raise
        raise Unreadable(f"row {name_of(number)}: {error}") from error


def read(
    data: Data, known: Callable[[Data], Shape], raw: Callable[[Data], object], shape: type[Shape]
) -> Shape:
    """What is written there, without fields of a later release. Raises `Unreadable`."""
    try:
        try:
            return known(data)
        except msgspec.ValidationError:
            return fit(raw(data), shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def chain(previous: bytes, number: int, body: bytes) -> bytes:
    """The digest that ties a row and its number to all rows before it; nothing comes before the first."""
    said = previous.rjust(DIGEST_BYTES, b"\0") + number.to_bytes(NUMBER_BYTES) + body
    return blake2b(said, digest_size=DIGEST_BYTES).digest()


def fit(value: object, shape: type[Shape]) -> Shape:
    """A value of this shape, without what a later release has added at the end of its arrays.

    Raises `msgspec.ValidationError`.
    """
    try:
        return msgspec.convert(value, shape, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return msgspec.convert(_cut(value, shape), shape, strict=True, builtin_types=(bytes,))


def _cut(value: object, shape: Any) -> object:
    if not isinstance(value, list | tuple):
        return value
    if get_origin(shape) in (UnionType, Union):
        shape = next((arm for arm in get_args(shape) if hasattr(arm, "_fields")), shape)
    if hasattr(shape, "_fields"):
        return [_cut(part, field) for part, field in zip(value, _fields(shape), strict=False)]
    if get_origin(shape) is tuple:
        return [_cut(part, get_args(shape)[0]) for part in value]
    return value


@cache
def _fields(shape: Any) -> tuple[Any, ...]:
    return tuple(get_type_hints(shape).values())


def encode_began(began: Began) -> str:
    """The text of an epoch's first row."""
    return msgspec.json.encode(began).decode()


def decode_began(text: str) -> Began:
    """What an epoch's first row says. Raises `Unreadable`."""
    return read(text, _began_decoder.decode, msgspec.json.decode, Began)


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


def lane_of(story: Story, setup: Setup, events: int | None = None) -> Lane:
    """The lane after so many events of a row that was decoded, or all. Raises `Unreadable`."""
    lane = _lane_before(story, setup)
    for named in story.events[:events]:
        lane, _ = step(lane, event_of(named))
    return lane


def _lane_before(story: Story, setup: Setup) -> Lane:
    return Lane(setup, story.before.standing, _state(story.before.state), story.before.shown)


def replay(story: Story, setup: Setup) -> Replayed:
    """Run the events of a row that was decoded through the core once more. Raises `Unreadable`."""
    lane = _lane_before(story, setup)
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
    shape = types.get(named.name)
    if shape is None:
        raise Unreadable(f"this release knows no {named.name!r}")
    try:
        return fit(named.fields, shape)
    except msgspec.ValidationError as error:
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
