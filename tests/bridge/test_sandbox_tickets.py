"""The tickets of the sandbox: the same from the same seed, and books that agree whatever happens at once."""

import threading
import tracemalloc
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.sandbox.history import Books, Operator
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.ingresse_shapes import row
from firmware.bridge.sandbox.ingresse_tickets import ALREADY, EXECUTED, TICKETS_MAX, Tickets
from tests.bridge.test_sandbox import AT_MS, SESSION, Client

ME = Operator("1", "Me", "me@example.com")


def tickets(count: int, seed: int = 1) -> Tickets:
    return Tickets(count, seed, lambda: AT_MS)


def books_from_histories(tickets: Tickets) -> Books:
    """The sums once more, from every ticket and its history."""
    changes = tickets.log.all()
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    done = Counter(change.what for change in changes)
    inside = sum(ticket.inside for ticket in tickets.walk())
    scans = Counter((c.ticket_id, c.what, c.said_ms) for c in changes if c.operator == ME)
    twice = sum(times - 1 for times in scans.values())
    return Books(len(changes), done["checkin"], done["checkout"], inside, tickets.log.books().repeats, twice)


@pytest.mark.parametrize("count", [1, 3, 79, 1000])
def test_each_ticket_is_in_one_session_and_is_found_by_its_code_alone(count: int) -> None:
    made = tickets(count)
    all_tickets = list(made.walk())
    assert len({ticket.id for ticket in all_tickets}) == len({ticket.code for ticket in all_tickets}) == count
    assert sum(len(session.tickets) for session in made.sessions.values()) == count
    for ticket in all_tickets:
        assert ticket.index in ticket.session.tickets
        found = made.find(ticket.code)
        assert found is not None
        assert found[0].id == ticket.id
        assert made.find(ticket.code + "0") is None


def test_the_same_seed_makes_the_same_tickets_and_lets_the_same_happen() -> None:
    def life(seed: int) -> object:
        with Sandbox(tickets=200, seed=seed, clock=lambda: AT_MS) as sandbox:
            happened = sandbox.live(100)
            return happened, [row(ticket) for ticket in sandbox.tickets.walk()]

    assert life(1) == life(1) != life(2)


@given(seed=st.integers(0, 2**64), first=st.integers(0, TICKETS_MAX - 20))
def test_any_twenty_tickets_hold_every_kind(seed: int, first: int) -> None:
    made = tickets(TICKETS_MAX, seed)
    few = [made.at(index) for index in range(first // 20 * 20, first // 20 * 20 + 20)]
    assert (sum(not ticket.sold for ticket in few), sum(bool(ticket.refunded_ms) for ticket in few)) == (4, 1)
    assert sum(ticket.external for ticket in few) == 1


def test_a_million_tickets_take_no_more_memory_than_ten() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            made = tickets(count)
            for session in made.sessions.values():
                for start in range(0, len(session.tickets), max(1, len(session.tickets) // 3)):
                    made.page(session, None, start, 10)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(TICKETS_MAX) < peak(10) + 10_000


@given(
    seed=st.integers(0, 1000),
    acts=st.lists(st.tuples(st.sampled_from("+-sctr"), st.integers(0, 11), st.integers(0, 3)), max_size=60),
)
def test_the_books_agree_with_the_histories(seed: int, acts: list[tuple[str, int, int]]) -> None:
    made = tickets(12, seed)
    answers: Counter[int] = Counter()
    codes = {ticket.index: ticket.code for ticket in made.walk()}
    others = {"s": made.sell, "c": made.change_code, "t": made.transfer, "r": made.refund}
    for what, index, when in acts:
        if what in others:
            try:
                codes[index] = others[what](index).code
            except ValueError:
                continue
        else:
            session = made.at(index).session
            said_ms = AT_MS + when
            done = made.update(codes[index], session.id, session.event, what == "+", said_ms, ME)
            answers[done.status] += 1
    books = made.log.books()
    assert books == books_from_histories(made)
    assert answers[EXECUTED] == books.check_ins + books.check_outs


def test_the_books_agree_after_many_clients_at_once() -> None:
    clients, scans = 4, 30
    with Sandbox(tickets=80) as sandbox:
        codes = sandbox.codes(10, session=SESSION, sold=True, refunded=False)
        answers: Counter[int] = Counter()
        lock = threading.Lock()

        def scan(number: int) -> None:
            random = Random(number)
            client = Client(sandbox)
            with client.http:
                for _ in range(scans):
                    chosen = random.sample(codes, 5)
                    entries = client.update(chosen, random.randrange(2), ticketTimestamp=AT_MS + number)
                    with lock:
                        answers.update(entry["status"] for entry in entries)
                    sandbox.live()

        threads = [threading.Thread(target=scan, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        changes = sandbox.history()
        mine = [change for change in changes if change.operator == sandbox.operator]
        assert sum(answers.values()) == clients * scans * 5
        assert answers[EXECUTED] == len(mine) > 0
        assert answers[ALREADY] > 0
        assert [change.number for change in changes] == list(range(1, len(changes) + 1))
        assert sandbox.books().changes == len(changes)
        assert sandbox.books().inside == sum(ticket.inside for ticket in sandbox.tickets.walk())
        assert sandbox.violations == []


@pytest.mark.parametrize("count", [0, TICKETS_MAX + 1])
def test_too_few_or_too_many_tickets_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} tickets"):
        tickets(count)


def test_things_happen_by_themselves_when_they_shall() -> None:
    with Sandbox(tickets=80, changes_per_minute=6000) as sandbox:
        for _ in range(600):
            if sandbox.history() or threading.Event().wait(0.1):
                break
        assert sandbox.history()
