"""Replies of B.A.M. that are not as its page has them: what stays with one ticket, and what is read."""

import pytest

from firmware.bridge.vendor import Accepted, Again, Lost, NotSent, Outage, Refused
from firmware.core.ticket import Verdict
from tests.bridge.bam_talk import FIRST, SECOND, answering, bam, calls, data, no, told
from tests.bridge.conversation import Talk

USED = "ticket has already been invalidated"


# --- one ticket does not hold up the others -----------------------------------------------------------------


@pytest.mark.parametrize("doubt", [False, True])
@pytest.mark.parametrize("status", [404, 500, 502, 503])
@pytest.mark.parametrize("step", ["propose", "endorse"])
def test_a_ticket_that_the_chain_stumbles_over_is_tried_again_alone(
    step: str, status: int, doubt: bool
) -> None:
    talk = Talk(bam().tell([told(doubt=doubt)]), answering(**{step: no("stumbled", status)}))
    (outcome,) = talk.result
    assert isinstance(outcome, Again)
    assert (f"stumbled ({status})" in outcome.why, outcome.doubt) == (True, doubt)
    assert calls(talk.requests)[-1] == step


@pytest.mark.parametrize("step", ["propose", "endorse"])
def test_a_failure_that_says_used_is_that_refusal(step: str) -> None:
    answer = answering(**{step: no(USED, 500)})
    assert Talk(bam().tell([told()]), answer).result == (Refused(Verdict.USED, f"{USED} (500)"),)
    (ours,) = Talk(bam().tell([told(doubt=True, note=f"commit {SECOND}")]), answer).result
    assert isinstance(ours, Accepted)


def test_a_failure_of_the_third_step_that_says_used_may_be_our_own_and_is_looked_at_again() -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(commit=no(USED, 500))).result
    assert isinstance(outcome, Again)
    assert outcome.doubt


@pytest.mark.parametrize("reason", [NotSent("refused"), Lost("time-out")])
def test_a_chain_that_is_not_there_is_an_outage_of_all(reason: Outage) -> None:
    with pytest.raises(Outage, match=str(reason)):
        Talk(bam().tell([told()]), answering(propose=reason))


@pytest.mark.parametrize("reply", [{}, {"digest": "../../x"}, {"digest": "zz" * 32}, {"digest": "ab" * 20}])
def test_a_digest_that_is_none_is_tried_again_and_goes_into_no_path(reply: dict[str, str]) -> None:
    talk = Talk(bam().tell([told()]), answering(propose=data(reply)))
    assert isinstance(talk.result[0], Again)
    assert calls(talk.requests)[-1] == "propose"


# --- digests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        {"digest": FIRST, "status": "OK"},
        {"digest": f"0x{FIRST}"},
        {"data": {"digest": FIRST}},
        FIRST,
    ],
)
def test_a_digest_is_taken_whatever_is_said_beside_it(reply: object) -> None:
    talk = Talk(bam().tell([told()]), answering(propose=data(reply)))
    assert isinstance(talk.result[0], Accepted)
    assert talk.notes[0].text == f"proposal {FIRST}"


def test_a_status_without_a_digest_is_a_refusal_still() -> None:
    reply = data({"digest": "", "status": "FAILURE", "info": USED})
    assert Talk(bam().tell([told()]), answering(propose=reply)).result == (
        Refused(Verdict.USED, f"FAILURE: {USED}"),
    )
