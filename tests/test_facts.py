"""What the core is told before it is asked: the moment, the ticket, its route, policy and past."""

import pytest

from firmware.core.rules import judge
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Credit,
    Direction,
    History,
    Moment,
    Pending,
    Perimeter,
    Policy,
    Route,
    Spend,
    Ticket,
    Track,
    Verdict,
)
from firmware.facts import (
    ALONE_MS_MAX,
    CLOCK_AHEAD_MS,
    NEWS_MS_MAX,
    NO_LINK,
    STEP_MS_MAX,
    Clock,
    Facts,
    synchronised,
)
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
    """Both clocks, and whether a time server keeps them right, as a test sets them."""

    def __init__(self, synchronised: bool = True) -> None:
        self.monotonic_ms, self.utc_ms, self.synchronised = 1000, 50_000, synchronised
        self.clock = Clock(
            lambda: self.synchronised, lambda: self.monotonic_ms * 1_000_000, lambda: self.utc_ms * 1_000_000
        )

    def pass_ms(self, ms: int) -> None:
        self.monotonic_ms, self.utc_ms = self.monotonic_ms + ms, self.utc_ms + ms


def test_a_moment_carries_both_clocks() -> None:
    assert Hands().clock.now() == Moment(1000, 50_000, True)


def test_utc_that_is_not_known_never_goes_back_and_goes_on() -> None:
    hands = Hands(synchronised=False)
    hands.clock.now()
    hands.pass_ms(1000)
    hands.utc_ms = 10_000
    assert hands.clock.now() == Moment(2000, 51_000, False)
    hands.pass_ms(500)
    assert hands.clock.now() == Moment(2500, 51_500, False)
    hands.utc_ms = 51_501
    assert hands.clock.now().utc_ms == 51_501, "somebody has set it, or it has caught up"


def test_a_synchronised_clock_is_believed_when_it_is_set_back() -> None:
    hands = Hands()
    hands.clock.now()
    hands.utc_ms -= STEP_MS_MAX
    hands.clock.look()
    assert hands.clock.now().utc_ms == 50_000, "no more than a leap second"
    hands.pass_ms(STEP_MS_MAX + 1)
    assert hands.clock.now().utc_ms == 50_001
    hands.utc_ms -= STEP_MS_MAX + 1
    hands.clock.look()
    assert hands.clock.now().utc_ms == 50_000 - STEP_MS_MAX


def test_a_clock_that_ran_a_year_ahead_is_right_once_it_is_synchronised() -> None:
    hands = Hands(synchronised=False)
    hands.utc_ms += 365 * 86_400_000
    assert hands.clock.now().utc_ms == hands.utc_ms
    hands.monotonic_ms, hands.utc_ms, hands.synchronised = 2000, 51_000, True
    assert hands.clock.look() == "trusted"
    assert hands.clock.now() == Moment(2000, 51_000, True)
    hands.pass_ms(1000)
    assert hands.clock.now() == Moment(3000, 52_000, True)


def test_utc_that_is_not_known_is_never_earlier_than_what_was_found_on_the_disk() -> None:
    hands = Hands(synchronised=False)
    assert hands.clock.now(60_000).utc_ms == 60_000
    assert hands.clock.now().utc_ms == 60_000
    hands.utc_ms = 60_001
    assert hands.clock.now(60_000).utc_ms == 60_001
    assert Hands().clock.now(60_000).utc_ms == 50_000, "one that is known is"


def test_a_time_yet_to_come_was_before_the_clock_was_set_right() -> None:
    hands = Hands()
    hands.utc_ms = 40_000
    hands.clock.look()
    hands.pass_ms(7000)
    hands.clock.now()
    soon, later = 47_000 + CLOCK_AHEAD_MS, 47_001 + CLOCK_AHEAD_MS

    def walked(entered_ms: int, left_ms: int) -> History:
        tracks = Track(1, Direction.IN, entered_ms, 5), Track(1, Direction.OUT, 6, left_ms)
        pending = Pending(3, Direction.IN, (Perimeter.OUTER,), entered_ms, Spend.OPENING)
        return History(*tracks, (pending,), lapses=1, settled_row=2)

    assert hands.clock.past(NO_HISTORY) == NO_HISTORY
    assert hands.clock.past(walked(soon, soon)) == walked(soon, soon), "as clocks of gates differ"
    assert hands.clock.past(walked(later, soon)) == walked(40_000, soon)
    assert hands.clock.past(walked(1, later)) == walked(1, 40_000)
    hour_ms, longest_ms = 3_600_000, 47_000 + NEWS_MS_MAX + CLOCK_AHEAD_MS
    credited = History(credit=Credit(Direction.IN, 40_000 + hour_ms), unsure_until_utc_ms=longest_ms)
    assert hands.clock.past(credited) == credited
    ended = 40_000 + NEWS_MS_MAX
    credited = History(credit=Credit(Direction.IN, longest_ms + 1), unsure_until_utc_ms=longest_ms + 1)
    assert hands.clock.past(credited) == History(
        credit=Credit(Direction.IN, ended), unsure_until_utc_ms=ended
    )
    unknown = Hands(synchronised=False).clock
    unknown.now()
    assert unknown.past(walked(later, later)) == walked(later, later), "who knows what time it is"


def test_a_time_of_others_that_is_ahead_of_a_trusted_clock_is_the_present() -> None:
    hands = Hands()
    hands.clock.now()
    latest_ms = 50_000 + CLOCK_AHEAD_MS
    assert hands.clock.believed(latest_ms) == latest_ms
    assert hands.clock.believed(latest_ms + 1) == 50_000
    assert hands.clock.believed(1) == 1
    assert Hands(synchronised=False).clock.believed(latest_ms + 1) == latest_ms + 1, (
        "nothing here knows better"
    )


def test_the_clock_says_once_that_it_became_trusted() -> None:
    assert not Hands().clock.look(), "it was from the start"
    hands = Hands(synchronised=False)
    assert (hands.clock.now().trusted, hands.clock.alone) == (False, False)
    hands.synchronised, hands.utc_ms = True, 5_000_000
    assert hands.clock.look() == "trusted"
    assert not hands.clock.look()
    assert hands.clock.now() == Moment(1000, 5_000_000, True)


def test_a_time_that_was_known_stays_trusted_for_a_week_without_a_time_server() -> None:
    hands = Hands()
    hands.synchronised = False
    hands.pass_ms(ALONE_MS_MAX)
    assert not hands.clock.look()
    assert hands.clock.now() == Moment(1000 + ALONE_MS_MAX, 50_000 + ALONE_MS_MAX, True)
    assert hands.clock.alone
    hands.pass_ms(1)
    assert hands.clock.look() == "not trusted any more"
    assert not hands.clock.look()
    assert (hands.clock.now().trusted, hands.clock.alone) == (False, False)


def test_a_time_server_that_comes_back_is_believed_and_the_week_begins_anew() -> None:
    hands = Hands()
    hands.synchronised = False
    hands.pass_ms(ALONE_MS_MAX)
    hands.clock.look()
    hands.synchronised, hands.utc_ms = True, hands.utc_ms + 40_000
    assert not hands.clock.look()
    assert hands.clock.now().utc_ms == 50_000 + ALONE_MS_MAX + 40_000
    assert not hands.clock.alone
    hands.synchronised = False
    hands.pass_ms(ALONE_MS_MAX)
    assert not hands.clock.look()
    assert hands.clock.trusted


@pytest.mark.parametrize("by_ms", [-86_400_000, 86_400_000])
def test_a_wall_clock_set_by_hand_changes_no_time_that_was_known(by_ms: int) -> None:
    hands = Hands()
    hands.pass_ms(500)
    hands.synchronised, hands.utc_ms = False, hands.utc_ms + by_ms  # as the kernel has it from then on
    assert hands.clock.now() == Moment(1500, 50_500, True), "before it was looked at again"
    assert not hands.clock.look()
    hands.pass_ms(500)
    assert hands.clock.now() == Moment(2000, 51_000, True)


def test_a_hand_that_comes_while_the_clock_is_looked_at_is_not_believed() -> None:
    hands = Hands()
    answers = iter([True, True, True, False])
    clock = Clock(lambda: next(answers), lambda: 0, lambda: hands.utc_ms * 1_000_000)
    hands.utc_ms += 86_400_000
    assert not clock.look()
    assert clock.now() == Moment(0, 50_000, True)
    assert clock.alone


def resumed(since_ms: int, step_ms: int = 0) -> Hands:
    """A gate that starts so long after a moment that was trusted, on a wall clock set by so much since."""
    known = Hands().clock.now()
    hands = Hands(synchronised=False)
    hands.pass_ms(since_ms)
    hands.utc_ms += step_ms
    hands.clock.resume(known)
    return hands


@pytest.mark.parametrize("step_ms", [-STEP_MS_MAX, 0, STEP_MS_MAX])
@pytest.mark.parametrize("since_ms", [0, ALONE_MS_MAX])
def test_a_gate_that_starts_anew_goes_on_from_the_time_that_was_known(since_ms: int, step_ms: int) -> None:
    hands = resumed(since_ms, step_ms)
    assert hands.clock.now() == Moment(1000 + since_ms, 50_000 + since_ms + step_ms, True)
    assert hands.clock.right_since_utc_ms == hands.utc_ms
    assert hands.clock.alone
    assert not hands.clock.look()
    hands.pass_ms(ALONE_MS_MAX - since_ms + 1)
    assert hands.clock.look() == "not trusted any more"


@pytest.mark.parametrize(
    ("since_ms", "step_ms"),
    [(-1, 0), (ALONE_MS_MAX + 1, 0), (5000, STEP_MS_MAX + 1), (5000, -STEP_MS_MAX - 1)],
)
def test_a_moment_of_another_boot_or_before_a_hand_set_the_clock_is_not_gone_on_from(
    since_ms: int, step_ms: int
) -> None:
    assert not resumed(since_ms, step_ms).clock.trusted


def test_what_is_synchronised_goes_on_from_nothing() -> None:
    hands = Hands()
    hands.clock.resume(hands.clock.now())
    assert not hands.clock.alone


def test_a_wall_clock_that_was_never_synchronised_is_shown_and_not_trusted() -> None:
    hands = Hands(synchronised=False)
    hands.utc_ms += 86_400_000
    assert hands.clock.now() == Moment(1000, 86_450_000, False)


def test_the_kernel_says_whether_its_clock_is_disciplined() -> None:
    assert synchronised() in (True, False)
