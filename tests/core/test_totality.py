"""Any lane and any event whatever, sensible or not: `step` has an answer, and it is one the table allows."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from firmware.core.effects import Ask, Effect, Lock, Record, Tell, Unlock
from firmware.core.events import Event
from firmware.core.lane import EVENTS, TABLE, permanent, step, wake_at
from firmware.core.movements import Movement, fold, settle_at_start
from firmware.core.states import Lane, Recording, State
from firmware.core.ticket import History, Pending
from tests.core.samples import same

# What a cell may ask for. A lane goes to its rest through both edges, towards free and away from it.
SAYS: frozenset[type[Effect]] = frozenset({Record, Tell})
REST: frozenset[type[Effect]] = SAYS | {Unlock, Lock}
MAY: dict[str, frozenset[type[Effect]]] = {
    "decide": SAYS,
    "busy": SAYS,
    "let_by": SAYS,
    "turn_away": SAYS,
    "answered": REST,
    "late": frozenset({Record}),
    "recorded": REST | {Ask},
    "heal": frozenset({Unlock, Lock, Tell}),
    "failed": REST,
    "fault": frozenset({Unlock, Lock, Tell}),
    "fault_later": frozenset(),
    "stray": frozenset({Record, Tell}),
    "enter": REST,
    "fade": frozenset({Tell}),
    "no_answer": REST,
    "hung": REST,
    "close": REST,
    "obey": REST,
    "obey_later": frozenset({Record}),
    "alarm": REST,
}

lanes = st.from_type(Lane)
events = st.one_of(*(st.from_type(event) for event in EVENTS))


def test_the_table_has_a_cell_for_every_state_and_event_and_each_cell_says_what_it_may_do() -> None:
    assert set(TABLE) == set(get_args(State))
    assert all(list(row) == list(get_args(Event)) for row in TABLE.values())
    assert {cell.__name__ for row in TABLE.values() for cell in row.values()} == set(MAY)


@given(lanes, events)
def test_any_event_at_any_lane_has_an_answer(lane: Lane, event: Event) -> None:
    after, effects = step(lane, event)
    assert type(after) is Lane
    assert type(after.state) in TABLE
    assert after.setup is lane.setup
    cell = TABLE[type(lane.state)][type(event)]
    assert {type(effect) for effect in effects} <= MAY[cell.__name__]
    for effect in effects:
        if isinstance(effect, Unlock) and effect.direction is not None:
            assert cell.__name__ == "recorded"
            assert isinstance(lane.state, Recording)
    assert isinstance(wake_at(after), int | None)
    assert permanent(after)


@given(lanes, events)
def test_same_events_same_effects(lane: Lane, event: Event) -> None:
    assert same(step(lane, event), step(lane, event))


@given(lanes, events)
def test_the_first_row_of_an_event_is_the_only_one_that_is_waited_for(lane: Lane, event: Event) -> None:
    after, effects = step(lane, event)
    records = [effect for effect in effects if isinstance(effect, Record)]
    assert not any(record.wanted for record in records[1:])
    begins = isinstance(after.state, Recording) and after.state is not lane.state
    assert begins is bool(records and records[0].wanted)
    if isinstance(after.state, Recording) and begins:
        assert after.state.row == getattr(event, "row", None)


@given(st.from_type(History), st.from_type(Movement))
def test_any_movement_on_any_history_gives_a_history(history: History, movement: Movement) -> None:
    after = fold(history, movement)
    assert type(after) is History
    assert same(after, fold(history, movement))


@given(st.text(), st.from_type(Pending))
def test_any_unsettled_admission_can_be_settled(subject: str, pending: Pending) -> None:
    movement = settle_at_start(subject, pending)
    assert fold(History(pending=(pending,)), movement).pending == ()
