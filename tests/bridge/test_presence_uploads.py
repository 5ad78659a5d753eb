"""Uploads while Presence is away, and those that it calls malformed: each is taken, or a person hears."""

from pathlib import Path
from typing import Any

import pytest

from firmware.bridge.ledger.telling import UNCERTAIN
from firmware.bridge.vendor import Accepted, Again, Lost, Outage, Unsure
from tests.bridge.conversation import Talk, in_turn
from tests.bridge.model_gate import ModelGate, books
from tests.bridge.presence_talk import (
    AT_MS,
    KEPT,
    ask,
    body,
    okay,
    presence,
    question,
    reply,
    said,
    told,
)
from tests.core.samples import NOON_MS

UPLOADING = {"offline": "upload"}
MEND = "compare the account's settings with Ticketmaster's documents"
AWAY = [
    reply({}, 503),
    reply({"fault": {"faultstring": "The Service is temporarily unavailable"}}, 503),
    said("SERVICE_UNAVAILABLE", http=503),
]


@pytest.mark.parametrize("answer", AWAY)
@pytest.mark.parametrize("send_again", [False, True])
def test_a_service_that_is_not_there_took_nothing_and_all_of_it_goes_later(
    answer: Any, send_again: bool
) -> None:
    vendor = presence(**UPLOADING, send_again=send_again)
    movements = [told("A"), told("B", at_utc_ms=AT_MS + 1)]
    with pytest.raises(Outage) as away:
        Talk(vendor.tell(movements), in_turn(answer))
    assert not isinstance(away.value, Lost), "what is given back without doubt is sent again"
    later = Talk(vendor.tell(movements), in_turn(said("OKAY")))
    assert [type(outcome) for outcome in later.result] == [Accepted, Accepted]
    assert [each["scanTime"] for each in body(later.requests[0])] == [AT_MS, AT_MS + 1]


def test_where_it_goes_away_between_two_uploads_the_second_one_waits() -> None:
    halves = in_turn(said("BAD_REQUEST"), said("OKAY"), reply({}, 503))
    one, other = Talk(presence(**UPLOADING).tell([told("A"), told("B")]), halves).result
    assert isinstance(one, Accepted)
    assert isinstance(other, Again)
    assert not other.doubt


def test_a_doubt_from_before_outlives_the_time_in_which_it_is_not_there() -> None:
    vendor = presence(**UPLOADING, send_again=True)
    (lost,) = Talk(vendor.tell([told()]), in_turn(Lost("the reply did not come"))).result
    assert lost == Again("the reply did not come", doubt=True)
    with pytest.raises(Outage):
        Talk(vendor.tell([told(doubt=True)]), in_turn(reply({}, 503)))
    assert isinstance(Talk(vendor.tell([told(doubt=True)]), in_turn(said("OKAY"))).result[0], Accepted)


@pytest.mark.parametrize("status", ["OKAY", "EXIT", "GENERAL_ERROR"])
def test_a_word_that_comes_with_503_is_from_somebody_who_was_there(status: str) -> None:
    (outcome,) = Talk(presence(**UPLOADING).tell([told()]), in_turn(said(status, http=503))).result
    assert isinstance(outcome, Unsure)
    assert status in outcome.why


@pytest.mark.parametrize("answer", AWAY)
def test_for_a_scan_that_is_asked_503_is_a_lost_reply_as_ever(answer: Any) -> None:
    with pytest.raises(Lost):
        ask(presence(), question(), answer, answer)
    talk = ask(presence(), question(), answer, okay())
    assert isinstance(talk.result, Accepted)
    one, other = map(body, talk.requests)
    assert one == other


def test_a_scan_that_presence_calls_malformed_is_a_report_with_its_mend(tmp_path: Path) -> None:
    gate = ModelGate("north-1")
    for code in ("good-1", "the-bad", "good-2"):
        gate.person(f"acme:{code}", code=code)

    def answer(request: Any) -> Any:
        bad = "the-bad" in [each["token"] for each in body(request)]
        return said("BAD_REQUEST", text="scan the-bad has no zone " + "x" * 200) if bad else said("OKAY")

    with books(tmp_path) as found:
        found.store(gate)
        claimed = found.ledger.claim("acme", "w", NOON_MS, 20, 60_000)
        flow = presence(**UPLOADING).tell([each.told._replace(kept=KEPT) for each in claimed])
        outcomes = Talk(flow, answer).result
        assert [type(outcome) for outcome in outcomes] == [Accepted, Unsure, Accepted]
        assert "the-bad" not in str(outcomes[1]), "a code is not for books"
        done = [
            (each, outcome)
            for each, outcome in zip(claimed, outcomes, strict=True)
            if not isinstance(outcome, Again)
        ]
        found.ledger.finish(done, NOON_MS)
        (report,) = found.reports(UNCERTAIN)
    assert MEND in report
    assert "BAD_REQUEST" in report


def test_each_scan_goes_up_as_that_of_the_device_that_made_it() -> None:
    before = {**KEPT, "id": "7", "gateId": "8", "gateName": "Old gate", "gate": "Old gate"}
    flow = presence(**UPLOADING).tell([told("A", kept=before), told("B", at_utc_ms=AT_MS + 1)])
    talk = Talk(flow, in_turn(said("OKAY")))
    assert [type(outcome) for outcome in talk.result] == [Accepted, Accepted]
    old, new = body(talk.requests[0])
    assert (old["deviceId"], old["gateId"], old["gateName"]) == (7, 8, "Old gate")
    assert (new["deviceId"], new["gateId"], new["gateName"]) == (224, 274, "north-1")
