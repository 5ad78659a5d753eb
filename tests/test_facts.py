"""What the core is told before it is asked: the moment, the ticket, its route, policy and past."""

from firmware.core.rules import judge
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Direction,
    History,
    Moment,
    Policy,
    Route,
    Ticket,
    Track,
    Verdict,
)
from firmware.facts import NO_LINK, Clock, Facts, synchronised
from tests.gate_bench import SETUP, FakeLink, Lists, Rules

MOMENT = Moment(1, 2, True)
TICKET = Ticket("t1", event="concert")
VENDOR = Route("acme", event="film", authority=Authority.VENDOR)
SEEN = History(lapses=1)


class ByEvent(Rules):
    """A policy that carries the name of its event."""

    def policy_for(self, event: str) -> Policy:
        return Policy(event)


def facts(linked: bool = False) -> Facts:
    lists = Lists({"A": TICKET})
    past = {"t1": SEEN, lists.digest("V1").hex(): SEEN}
    rules = ByEvent(Policy(), {"V": VENDOR})
    link = FakeLink() if linked else None
    return Facts(lists, rules, lambda subject: past.get(subject, NO_HISTORY), link)


def test_a_listed_code_is_known_by_its_ticket() -> None:
    scan = facts().scanned("A", Direction.IN, MOMENT, 7, stale=True)
    assert (scan.subject, scan.ticket, scan.history) == ("t1", TICKET, SEEN)
    assert (scan.policy.event, scan.route, scan.stale) == ("concert", Route(), True)
    assert (scan.moment, scan.row, scan.direction) == (MOMENT, 7, Direction.IN)


def test_a_code_that_is_not_listed_is_known_by_its_digest_and_its_route() -> None:
    scan = facts(linked=True).scanned("V1", Direction.OUT, MOMENT, 7)
    assert (scan.subject, scan.ticket, scan.history) == (scan.digest.hex(), None, SEEN)
    assert (scan.policy.event, scan.route) == ("film", VENDOR)


def test_what_a_code_did_before_it_was_listed_is_the_tickets_past_too() -> None:
    lists = Lists({"A": TICKET})
    came = Track(1, Direction.IN, 5)
    past = {"t1": SEEN, lists.digest("A").hex(): History(outer=came, settled_row=3)}
    found = Facts(lists, ByEvent(Policy(), {}), lambda subject: past.get(subject, NO_HISTORY))
    scan = found.scanned("A", Direction.IN, MOMENT, 7)
    assert (scan.subject, scan.history) == ("t1", SEEN._replace(outer=came, settled_row=3))
    assert found.past("t1", b"") == SEEN, "where nobody knows the code any more"


def test_without_a_link_no_vendor_can_be_reached() -> None:
    route = facts().scanned("V1", Direction.IN, MOMENT, 7).route
    assert route == VENDOR._replace(reachable=False, trouble=NO_LINK)
    assert facts().scanned("A", Direction.IN, MOMENT, 7).route.reachable


def test_the_clear_code_is_not_among_the_facts() -> None:
    assert "secret" not in repr(facts().scanned("secret", Direction.IN, MOMENT, 7))


def test_what_cannot_be_read_has_no_subject_and_each_reason_a_digest_of_its_own() -> None:
    long, torn = (facts().unreadable(why, Direction.IN, MOMENT, 7) for why in ("too_long", "lost_keys"))
    assert (long.subject, long.ticket, long.fault) == ("", None, "too_long")
    assert long.digest != torn.digest
    assert judge(SETUP, long) is Verdict.UNREADABLE


# --- the clock -------------------------------------------------------------------------------------


class Hands:
    """Both clocks and the trust in them, as a test sets them."""

    def __init__(self) -> None:
        self.monotonic_ms, self.utc_ms, self.trusted = 1000, 50_000, True
        self.clock = Clock(
            lambda: self.trusted, lambda: self.monotonic_ms * 1_000_000, lambda: self.utc_ms * 1_000_000
        )


def test_a_moment_carries_both_clocks() -> None:
    assert Hands().clock.now() == Moment(1000, 50_000, True)


def test_utc_never_goes_back_and_waiting_goes_on() -> None:
    hands = Hands()
    hands.clock.now()
    hands.monotonic_ms, hands.utc_ms = 2000, 10_000
    assert hands.clock.now() == Moment(2000, 50_000, True)
    hands.utc_ms = 50_001
    assert hands.clock.now().utc_ms == 50_001


def test_utc_is_never_earlier_than_a_stamp_found_on_the_disk() -> None:
    hands = Hands()
    assert hands.clock.now(60_000).utc_ms == 60_000
    assert hands.clock.now().utc_ms == 60_000
    hands.utc_ms = 60_001
    assert hands.clock.now(60_000).utc_ms == 60_001


def test_the_clock_says_once_that_it_became_trusted() -> None:
    hands = Hands()
    assert not hands.clock.look(), "it was from the start"
    hands.trusted = False
    assert not hands.clock.look()
    assert not hands.clock.now().trusted
    hands.trusted = True
    assert hands.clock.look()
    assert not hands.clock.look()
    assert hands.clock.now().trusted


def test_the_kernel_says_whether_its_clock_is_disciplined() -> None:
    assert synchronised() in (True, False)
