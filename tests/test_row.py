from collections.abc import Sequence
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.effects import Effect
from firmware.core.events import Event
from firmware.core.lane import step
from firmware.core.movements import Movement
from firmware.core.states import Lane, Shown, Standing
from firmware.core.ticket import Moment, Setup, Verdict
from firmware.row import (
    EVENTS,
    STATES,
    Began,
    Row,
    Unreadable,
    chain,
    decode,
    decode_began,
    encode,
    encode_began,
    epoch_and_seq,
    event_of,
    name_of,
    replay,
    row_id,
    tell_story,
)
from tests.core.samples import SCAN, SETUP, at, opened, ready, recording

NUMBERS = st.integers(-(2**61), 2**61)  # MessagePack holds 64 bits, and the core adds some of them up


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Every value that a field of that type may have."""
    if get_origin(hint) in (Union, UnionType):
        return st.one_of([values(arm) for arm in get_args(hint)])
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if hasattr(hint, "_fields"):
        fields = get_type_hints(hint)
        return st.builds(hint, **{name: values(field) for name, field in fields.items()})
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: NUMBERS,
        str: st.text(max_size=8),
        bytes: st.binary(max_size=8),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return known[hint]


def story_row(before: Lane, events: Sequence[Event]) -> tuple[Row, Lane]:
    lane, effects = before, list[Effect]()
    for event in events:
        lane, more = step(lane, event)
        effects += more
    return Row("scan", "north", at(0), story=tell_story(before, events, effects, lane)), lane


@settings(max_examples=settings().max_examples // 2)  # each is some hundred values deep
@given(st.data())
def test_a_row_read_back_tells_the_same_story_with_the_same_effects(data: st.DataObject) -> None:
    state = data.draw(st.one_of([values(state) for state in STATES.values()]))
    before = data.draw(values(Setup).map(Lane))._replace(
        state=state, standing=data.draw(values(Standing)), shown=data.draw(values(Shown | None))
    )
    events = data.draw(st.lists(st.one_of([values(event) for event in EVENTS.values()]), max_size=3))
    row, after = story_row(before, events)
    read = decode(encode(row))
    assert read.story is not None
    assert [repr(event_of(named)) for named in read.story.events] == [repr(event) for event in events]
    replayed = replay(read.story, before.setup)
    assert replayed.same
    next_row, _ = story_row(after, ())
    next_read = decode(encode(next_row))
    assert next_read.story is not None
    assert repr(replayed.after) == repr(next_read.story.before)


@given(values(Moment), values(Movement), st.sampled_from(Verdict), NUMBERS, st.text())
def test_a_row_without_a_story_comes_back_as_it_was(
    moment: Moment, movement: Movement, verdict: Verdict, scan: int, text: str
) -> None:
    row = Row("noted", "north", moment, scan, verdict, movement, text)
    assert repr(decode(encode(row))) == repr(row)


@given(st.lists(values(Setup), max_size=4).map(tuple))
def test_the_first_row_of_an_epoch_carries_the_settings_of_the_lanes(setups: tuple[Setup, ...]) -> None:
    began = Began(7, "00ff", "ff", "0.1.0", setups)
    assert repr(decode_began(encode_began(began))) == repr(began)


def test_other_effects_than_those_that_were_written_are_seen() -> None:
    row, _ = story_row(ready(), [SCAN])
    assert row.story is not None
    read = decode(encode(row._replace(story=row.story._replace(effects=bytes(16)))))
    assert read.story is not None
    assert not replay(read.story, SETUP).same


def test_other_settings_than_those_of_the_epoch_are_seen_in_the_effects() -> None:
    row, _ = story_row(ready(), [SCAN])
    read = decode(encode(row))
    assert read.story is not None
    assert replay(read.story, SETUP).same
    assert not replay(read.story, SETUP._replace(record_ms=1)).same


def with_more(value: object) -> object:
    """Every array has got a field more at its end, as a later release may write it."""
    return [*map(with_more, value), "later"] if isinstance(value, list) else value


def test_a_row_of_a_later_release_with_more_fields_is_read_as_far_as_it_is_known() -> None:
    row, _ = story_row(recording(), [SCAN._replace(moment=at(5))])
    row = row._replace(movement=Movement(*opened().state.admission))  # type: ignore[union-attr, misc]  # an Open
    raw = msgspec.msgpack.decode(encode(row))
    kind, lane, moment, scan, verdict, movement, text, ((standing, state, shown), events, effects) = raw
    moved = [*movement, "later"]
    story = [
        [[*standing, "x"], with_fields(state), shown, "x"],
        [with_fields(e) for e in events],
        effects,
        "x",
    ]
    body = msgspec.msgpack.encode([kind, lane, [*moment, 1], scan, verdict, moved, text, story, "later"])
    read = decode(body)
    assert repr(read._replace(story=None)) == repr(row._replace(story=None))
    assert read.story is not None
    assert replay(read.story, SETUP).same


def with_fields(named: list[Any]) -> list[Any]:
    """A state or an event whose fields, and those of the tuples in it, have got one more."""
    name, fields = named
    return [name, [*(add(part) for part in fields), "later"], "later"]


def add(value: Any) -> Any:
    """Tuples with fields of their own get one more; lists of perimeters and the like stay."""
    if isinstance(value, list) and any(not isinstance(part, str) for part in value):
        return [*map(add, value), "later"]
    return value


def test_a_first_row_of_a_later_release_is_read_as_far_as_it_is_known() -> None:
    began = Began(7, "00ff", "ff", "9.0.0", (SETUP,))
    epoch, random, found, release, (setup,) = msgspec.json.decode(encode_began(began))
    text = msgspec.json.encode([epoch, random, found, release, [[*setup, "later"]], "later"]).decode()
    assert repr(decode_began(text)) == repr(began)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x81\xa1a\x01",
        encode(Row("scan", "north", at(0)))[:-1],
        encode(Row("scan", "north", at(0))) + b"\x00",
        msgspec.msgpack.encode(["scan", "north", [1]]),
        msgspec.msgpack.encode(["scan", "north", [1, 2, True], 0, "a verdict of a later release"]),
    ],
)
def test_a_body_that_is_no_row_names_the_row(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^row 3\.17: "):
        decode(body, row_id(3, 17))


@given(st.data())
def test_a_body_with_a_byte_changed_is_a_row_or_unreadable(data: st.DataObject) -> None:
    row, _ = story_row(recording(), [SCAN])
    body = bytearray(encode(row))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(body))
        if read.story is not None:
            replay(read.story, SETUP)
    except Unreadable:
        pass


@pytest.mark.parametrize("what", ["event", "state"])
def test_an_event_or_a_state_that_this_release_does_not_know_is_unreadable(what: str) -> None:
    row, _ = story_row(ready(), [SCAN])
    story = row.story
    assert story is not None
    if what == "event":
        story = story._replace(events=(story.events[0]._replace(name="Teleported"),))
    else:
        before = story.before
        story = story._replace(before=before._replace(state=before.state._replace(name="Teleported")))
    read = decode(encode(row._replace(story=story)))
    assert read.story is not None
    with pytest.raises(Unreadable, match="knows no 'Teleported'"):
        replay(read.story, SETUP)


def test_an_event_with_the_wrong_fields_is_unreadable() -> None:
    row, _ = story_row(ready(), [SCAN])
    assert row.story is not None
    event = row.story.events[0]
    story = row.story._replace(events=(event._replace(fields=event.fields[:3]),))
    read = decode(encode(row._replace(story=story)))
    assert read.story is not None
    with pytest.raises(Unreadable, match="Scanned: "):
        replay(read.story, SETUP)


@pytest.mark.parametrize("text", ["", "[]", "{", '["7","","","",[]]'])
def test_settings_that_cannot_be_read_are_said_to_be(text: str) -> None:
    with pytest.raises(Unreadable):
        decode_began(text)


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_a_row_id_is_its_epoch_and_its_number_and_grows_with_both(epoch: int, seq: int) -> None:
    row = row_id(epoch, seq)
    assert epoch_and_seq(row) == (epoch, seq)
    assert row < row_id(epoch + 1, 0)
    assert row < 2**63
    assert name_of(row) == f"{epoch}.{seq}"


def test_the_chain_ties_the_body_its_number_and_all_before_it() -> None:
    link = chain(b"before", 7, b"body")
    assert (
        len({link, chain(b"", 7, b"body"), chain(b"before", 8, b"body"), chain(b"before", 7, b"bodi")}) == 4
    )
    assert chain(b"", 7, b"body") != chain(b"", 7, b"\0body")
