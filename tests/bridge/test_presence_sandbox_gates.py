"""The Presence sandbox decides scans: by ticket, time and gate, in the words of each revision."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.sandbox.presence import Sandbox
from firmware.bridge.sandbox.presence_rules import HOUR_MS, GateRules, Rules
from firmware.bridge.sandbox.presence_tickets import IN, INNER_IN, INNER_OUT, OUT, Scan, Tickets
from firmware.bridge.sandbox.presence_venue import Device, Gate, Named
from tests.bridge.presence_client import AT_MS, Client, Clock, status, violated


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(tickets=80, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox, clock: Clock) -> Iterator[Client]:
    client = Client(sandbox, clock)
    with client.http:
        client.init()
        yield client


# --- external gates ----------------------------------------------------------------------------------------


def test_a_ticket_enters_once_leaves_once_and_enters_again(sandbox: Sandbox, client: Client) -> None:
    code = client.code()
    words = [client.word(way, code) for way in ("exit", "enter", "enter", "exit", "exit", "enter")]
    assert words == ["EXIT_NOT_PERMITTED", "OKAY", "ALREADY_ENTERED", "EXIT", "EXIT_NOT_PERMITTED", "OKAY"]
    assert [(change.what, change.how) for change in sandbox.history(code)] == [
        ("denied", "EXIT_NOT_PERMITTED"),
        ("checkin", "online"),
        ("denied", "ALREADY_ENTERED"),
        ("checkout", "online"),
        ("denied", "EXIT_NOT_PERMITTED"),
        ("checkin", "online"),
    ]
    books = sandbox.books()
    assert (books.check_ins, books.check_outs, books.inside) == (2, 1, 1)
    assert sandbox.violations == []


def test_a_scan_that_is_let_in_names_every_place_of_its_token(sandbox: Sandbox, client: Client) -> None:
    pair = next(ticket for ticket in sandbox.tickets.walk() if len(ticket.places) == 2)
    sandbox.play(pair.event.id, AT_MS)
    body = client.send("enter", pair.code).json()
    assert body["message"]["tickets"] == [{"place": place, "eventId": pair.event.id} for place in pair.places]
    assert {place.partition(":")[0] for place in pair.places} == {pair.section}


@pytest.mark.parametrize("message", [False, True])
@pytest.mark.parametrize("refusal_status", [200, 409])
def test_a_refusal_has_its_tickets_or_not_and_any_status_of_http(
    sandbox: Sandbox, client: Client, message: bool, refusal_status: int
) -> None:
    sandbox.set(Rules(message=message, refusal_status=refusal_status))
    code = client.code()
    assert client.send("enter", code).status_code == 200
    reply = client.send("enter", code)
    assert reply.status_code == refusal_status
    assert ("message" in reply.json()) is message
    unknown = client.send("enter", "nobody's")
    assert (unknown.status_code, status(unknown)) == (refusal_status, "NOT_FOUND")
    assert "message" not in unknown.json()


def test_an_unsold_ticket_a_changed_token_and_a_forgery_are_not_found(
    sandbox: Sandbox, client: Client
) -> None:
    unsold, changed = sandbox.codes(1, sold=False, event=sandbox.events[0].id)[0], client.code()
    sandbox.change_code(changed)
    assert {client.word("enter", code) for code in (unsold, changed, "nobody's")} == {"NOT_FOUND"}
    sandbox.sell(unsold)
    assert client.word("enter", unsold) == "OKAY"


def test_a_refunded_ticket_is_not_valid(sandbox: Sandbox, client: Client) -> None:
    code = client.code()
    sandbox.refund(code)
    assert client.word("enter", code) == "INVALID_TICKET"


def test_who_entered_at_another_door_has_entered(sandbox: Sandbox, client: Client) -> None:
    code = client.code()
    sandbox.check_in(code)
    assert client.word("enter", code) == "ALREADY_ENTERED"
    sandbox.check_out(code)
    assert client.word("enter", code) == "OKAY"


# --- times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_start_ms", "word"),
    [
        (-12 * HOUR_MS - 1, "NOT_FOUND"),
        (-12 * HOUR_MS, "OKAY"),
        (12 * HOUR_MS, "OKAY"),
        (12 * HOUR_MS + 1, "NOT_FOUND"),
    ],
)
def test_a_ticket_is_found_while_its_event_is_scanned_and_not_before_or_after(
    sandbox: Sandbox, client: Client, after_start_ms: int, word: str
) -> None:
    code = client.code()
    sandbox.play(sandbox.events[0].id, AT_MS - after_start_ms)
    assert client.word("enter", code) == word


def test_tomorrows_ticket_looks_like_a_forgery_today_and_opens_tomorrow(
    sandbox: Sandbox, client: Client, clock: Clock
) -> None:
    code = client.code(event=sandbox.events[1].id)
    assert client.word("enter", code) == "NOT_FOUND"
    clock.ms += 24 * HOUR_MS
    assert client.word("enter", code) == "OKAY"


@pytest.mark.parametrize(
    ("event", "gate", "word"),
    [
        ({"doors_ms": AT_MS + 1}, {}, "TOO_EARLY"),
        ({"doors_ms": AT_MS}, {}, "OKAY"),
        ({"ends_ms": AT_MS - 1}, {}, "TOO_LATE"),
        ({"ends_ms": AT_MS}, {}, "OKAY"),
        ({}, {"starts_ms": AT_MS + 1}, "START_RESTRICTION"),
        ({}, {"ends_ms": AT_MS - 1}, "END_RESTRICTION"),
        ({}, {"starts_ms": AT_MS, "ends_ms": AT_MS}, "OKAY"),
    ],
    ids=str,
)
def test_events_and_gates_have_times(
    sandbox: Sandbox, client: Client, event: dict[str, Any], gate: dict[str, Any], word: str
) -> None:
    sandbox.play(sandbox.events[0].id, AT_MS, **event)
    sandbox.gate("north", GateRules(**gate))
    assert client.word("enter", client.code()) == word


def test_the_time_of_the_scan_counts_and_not_that_at_which_it_comes(
    sandbox: Sandbox, client: Client, clock: Clock
) -> None:
    sandbox.gate("north", GateRules(ends_ms=AT_MS))
    clock.ms += 2000
    assert client.word("enter", client.code(), scanTime=AT_MS) == "OKAY"


# --- the same ticket again ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later_ms", "revision", "word"),
    [
        (0, "V2", "DUPLICATE"),
        (1999, "V2", "DUPLICATE"),
        (2000, "V2", "ALREADY_ENTERED"),
        (0, "V1", "ALREADY_ENTERED"),
        (0, "V3", "ALREADY_ENTERED"),
    ],
)
@pytest.mark.parametrize("same_time", [False, True])
def test_a_ticket_that_comes_again_within_two_seconds_is_a_duplicate_in_one_revision(
    sandbox: Sandbox, client: Client, clock: Clock, later_ms: int, revision: str, word: str, same_time: bool
) -> None:
    sandbox.set(Rules(revision=revision))
    code = client.code()
    client.send("enter", code)
    clock.ms += later_ms
    assert status(client.send("enter", code, scanTime=AT_MS if same_time else clock.ms)) == word
    assert sandbox.books().repeats == (same_time or later_ms == 0)
    assert sandbox.ticket(code).inside


def test_an_exit_is_no_duplicate_of_an_entry(client: Client) -> None:
    code = client.code()
    assert status(client.send("enter", code)) == "OKAY"
    assert status(client.send("exit", code)) == "EXIT"


# --- restrictions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ({"sections": ("NOWHERE",)}, "SECTION_RESTRICTION"),
        ({"events": ("NEVER",)}, "EVENT_RESTRICTION"),
        ({"access_groups": ("NOBODY",)}, "ACCESS_GROUP_RESTRICTION"),
        ({"xnums": ("X9",)}, "XNUM_RESTRICTION"),
        ({"marks": True}, "OKAY"),
    ],
    ids=str,
)
def test_a_gate_restricts_who_enters_and_lets_everybody_leave(
    sandbox: Sandbox, client: Client, rules: dict[str, Any], word: str
) -> None:
    code = client.code()
    sandbox.gate("north", GateRules(**rules))
    assert client.word("enter", code) == word
    sandbox.gate("north", GateRules())
    client.word("enter", code)
    sandbox.gate("north", GateRules(**rules))
    assert client.word("exit", code) == "EXIT"


def test_a_gate_lets_in_what_its_rules_name(sandbox: Sandbox, client: Client) -> None:
    code = client.code()
    ticket = sandbox.ticket(code)
    sandbox.gate(
        "north",
        GateRules(
            sections=(ticket.section,),
            events=(ticket.event.id,),
            access_groups=(ticket.access_group,),
            xnums=(ticket.xnum,),
            marks=True,
        ),
    )
    assert client.word("enter", code) == "OKAY"


def test_a_mark_counts_at_gates_that_look_for_it(sandbox: Sandbox, client: Client) -> None:
    code = client.code()
    sandbox.mark(code)
    sandbox.gate("north", GateRules(marks=True))
    assert client.word("enter", code) == "MARK_RESTRICTION"
    sandbox.gate("north")
    assert client.word("enter", code) == "OKAY"


# --- internal gates ----------------------------------------------------------------------------------------


@pytest.fixture
def inner(client: Client) -> Client:
    """The same scanner, at a gate that became an internal one by its name."""
    client.init("north inner")
    return client


def test_an_internal_gate_lets_in_several_times_and_out_once(sandbox: Sandbox, inner: Client) -> None:
    code = inner.code()
    words = [inner.word(way, code) for way in ("exit", "enter", "enter", "exit", "exit")]
    refused = "INTERNAL_SCAN_EXIT_NOT_PERMITTED"
    assert words == [refused, "OKAY", "OKAY", "INTERNAL_SCAN_EXIT", refused]
    assert [change.what for change in sandbox.history(code) if change.what != "denied"] == [
        *(INNER_IN, INNER_IN, INNER_OUT)
    ]


def test_an_internal_gate_may_require_an_exit_between_two_entries(sandbox: Sandbox, inner: Client) -> None:
    sandbox.gate("north inner", GateRules(internal=True, exit_required=True))
    code = inner.code()
    words = [inner.word(way, code) for way in ("enter", "enter", "exit", "enter")]
    assert words == ["OKAY", "INTERNAL_SCAN_ALREADY_ENTERED", "INTERNAL_SCAN_EXIT", "OKAY"]


def test_the_first_internal_entry_is_an_entry_too_and_an_internal_exit_leaves_nobody_outside(
    sandbox: Sandbox, inner: Client
) -> None:
    code = inner.code()
    inner.word("enter", code)
    assert (sandbox.ticket(code).inside, sandbox.ticket(code).inner) == (True, True)
    inner.word("exit", code)
    assert (sandbox.ticket(code).inside, sandbox.ticket(code).inner) == (True, False)
    assert sandbox.books().inside == 1
    inner.word("enter", code)
    inner.init("north")
    assert inner.word("enter", code) == "ALREADY_ENTERED"
    assert inner.word("exit", code) == "EXIT"
    assert (sandbox.ticket(code).inside, sandbox.ticket(code).inner) == (False, False)


@pytest.mark.parametrize("name", ["north", "north inner"])
def test_the_deprecated_endpoint_is_an_internal_entry_at_any_gate(
    sandbox: Sandbox, client: Client, name: str
) -> None:
    client.init(name)
    code = client.code()
    assert client.word("validate", code) == "OKAY"
    assert sandbox.ticket(code).inner


def test_where_internal_entries_go_can_be_told(sandbox: Sandbox, inner: Client) -> None:
    sandbox.set(Rules(internal_entries=("validate",)))
    assert inner.word("enter", inner.code()) == "BAD_REQUEST"
    assert "go to ticket/validate" in violated(sandbox)
    assert inner.word("validate", inner.code()) == "OKAY"
    sandbox.set(Rules(internal_entries=("enter",)))
    assert inner.send("validate", inner.code()).status_code == 404
    assert inner.word("enter", inner.code()) == "OKAY"


# --- revisions ---------------------------------------------------------------------------------------------


def test_a_gate_speaks_of_entries_and_exits_as_each_revision_does(sandbox: Sandbox, client: Client) -> None:
    said = {}
    for revision in ("V1", "V2", "V3"):
        sandbox.set(Rules(revision=revision))
        code = client.code()
        words = []
        for name in ("north", "north inner", "north"):
            client.init(name)
            for scan in ("enter", "enter", "exit", "exit"):
                words.append(client.word(scan, code))
            client.word("enter", code)
        said[revision] = words
    assert said == {
        "V1": [
            *("OKAY", "ALREADY_ENTERED", "EXIT", "INVALID_TICKET"),
            *("INTERNAL_SCAN", "INTERNAL_SCAN", "INTERNAL_SCAN", "INVALID_TICKET"),
            *("ALREADY_ENTERED", "ALREADY_ENTERED", "EXIT", "INVALID_TICKET"),
        ],
        "V2": [
            *("OKAY", "ALREADY_ENTERED", "EXIT", "EXIT_NOT_PERMITTED"),
            *("OKAY", "OKAY", "INTERNAL_SCAN_EXIT", "INTERNAL_SCAN_EXIT_NOT_PERMITTED"),
            *("ALREADY_ENTERED", "ALREADY_ENTERED", "EXIT", "EXIT_NOT_PERMITTED"),
        ],
        "V3": [
            *("OKAY", "ALREADY_ENTERED", "OKAY", "EXIT_NOT_PERMITTED"),
            *("OKAY", "OKAY", "OKAY", "INTERNAL_SCAN_EXIT_NOT_PERMITTED"),
            *("ALREADY_ENTERED", "ALREADY_ENTERED", "OKAY", "EXIT_NOT_PERMITTED"),
        ],
    }


def test_the_last_revision_says_in_its_text_what_an_okay_was(sandbox: Sandbox, inner: Client) -> None:
    sandbox.set(Rules(revision="V3"))
    code = inner.code()
    inner.word("enter", code)
    assert inner.send("exit", code).json()["result"] == {"status": "OKAY", "message": "EXIT INTERNAL"}


def test_a_word_can_be_another_one(sandbox: Sandbox, client: Client) -> None:
    sandbox.set(Rules(words={"EXIT": "OKAY", "ALREADY_ENTERED": "SOMETHING_NEW"}))
    code = client.code()
    assert [client.word(way, code) for way in ("enter", "enter", "exit")] == ["OKAY", "SOMETHING_NEW", "OKAY"]


# --- whatever happens --------------------------------------------------------------------------------------

HERE = Device(1, Named("north", "", "", "", "", "north", None), Gate(1, "north", GateRules())).operator
STEPS = st.tuples(st.integers(0, 7), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 5000))


@given(st.lists(STEPS, max_size=60), st.sampled_from(["V1", "V2", "V3"]), st.booleans())
def test_the_books_are_what_the_histories_say(
    steps: list[tuple[int, bool, bool, bool, int]], revision: str, exit_required: bool
) -> None:
    clock = Clock()
    tickets = Tickets(16, 1, clock)
    gate = GateRules(internal=True, exit_required=exit_required)
    for index, inside, internal, online, passed_ms in steps:
        clock.ms += passed_ms
        code = next(ticket.code for ticket in tickets.walk() if ticket.index == index)
        scan = Scan(code, inside, internal, clock.ms, HERE)
        if online:
            tickets.scan(scan, gate, Rules(revision=revision))
        else:
            tickets.upload(scan)
    changes, books = tickets.log.all(), tickets.log.books()
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    assert books.check_ins == sum(change.what == IN for change in changes)
    assert books.check_outs == sum(change.what == OUT for change in changes)
    assert books.inside == sum(ticket.inside for ticket in tickets.walk())
    for ticket in tickets.walk():
        assert ticket.inside or not ticket.inner
        inside = inner = False
        for change in ticket.history:
            if change.how == "online":
                assert not (change.what == IN and inside)
                assert not (change.what == OUT and not inside)
                assert not (change.what == INNER_OUT and not inner)
                assert not (change.what == INNER_IN and inner and exit_required)
            if change.what != "denied":
                internal = change.what in {INNER_IN, INNER_OUT}
                entered = change.what in {IN, INNER_IN}
                inside = inside or entered if internal else entered
                inner = entered if internal else inner and entered
        assert (inside, inner) == (ticket.inside, ticket.inner)
