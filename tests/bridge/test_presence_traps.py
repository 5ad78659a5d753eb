"""The traps of Ticketmaster Presence's pages, one test each or more, by number."""

import logging
from typing import Any

import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.presence_requests import SUFFIXES
from firmware.bridge.vendor import (
    LATE_S,
    Accepted,
    Again,
    Listing,
    Lost,
    Misconfigured,
    NotSent,
    NoTurn,
    Outage,
    Refused,
    Unsure,
    Vendor,
)
from firmware.core.ticket import Direction, Perimeter, Verdict
from tests.bridge.conversation import Talk, in_turn, query
from tests.bridge.presence_talk import (
    AT_MS,
    CODE,
    DEVICE,
    INNER_KEPT,
    KEPT,
    KEY,
    MAC,
    VENUE,
    ask,
    body,
    configured,
    okay,
    presence,
    question,
    reply,
    said,
    told,
)

OUT = Direction.OUT
LOST = Lost("the reply did not come")
UPLOADING = {"offline": "upload"}


def test_it_is_a_vendor() -> None:
    vendor: Vendor = presence()
    assert (vendor.asks, vendor.devices, vendor.deadline_ms) == (True, True, 3000)


# --- 1 to 3: what a status means ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["EXIT", "INTERNAL_SCAN", "TRANSFER", "OPEN_SEAT", "INTERNAL_SCAN_EXIT"])
def test_trap_1_friendly_words_with_http_200_admit_nobody(status: str) -> None:
    talk = ask(presence(), question(), said(status))
    assert talk.result == Refused(Verdict.REFUSED, status)


def test_trap_1_another_word_admits_where_the_operator_said_so() -> None:
    vendor = presence(accept_internal=("OKAY", "INTERNAL_SCAN"))
    inner = question(perimeter=Perimeter.INNER)
    assert isinstance(ask(vendor, inner, said("INTERNAL_SCAN")).result, Accepted)
    outside = question(), question(direction=OUT), inner._replace(direction=OUT)
    for asked in outside:
        assert isinstance(ask(vendor, asked, said("INTERNAL_SCAN")).result, Refused)
    wide = presence(accept_entry=("OKAY", "TRANSFER"))
    assert isinstance(ask(wide, question(), said("TRANSFER")).result, Accepted)
    assert isinstance(ask(wide, inner, said("TRANSFER")).result, Refused)


@pytest.mark.parametrize("status", ["OKAY", "EXIT", "INTERNAL_SCAN_EXIT", "INTERNAL_EXIT_SCAN"])
def test_trap_2_a_good_exit_is_one_in_the_words_of_each_revision(status: str) -> None:
    assert ask(presence(), question(direction=OUT), said(status)).result == Accepted(status)


def test_trap_2_the_last_revision_alone_is_a_setting_and_holds_people_back_then() -> None:
    vendor = presence(accept_exit=("OKAY",))
    assert isinstance(ask(vendor, question(direction=OUT), said("EXIT")).result, Refused)


def test_trap_3_not_found_is_not_valid_here_and_now_and_never_forged() -> None:
    vendor = presence()
    first = ask(vendor, question(), said("NOT_FOUND", text="Ticket not found"))
    assert first.result == Refused(Verdict.REFUSED, "not valid here and now (NOT_FOUND: Ticket not found)"), (
        "and neither unknown nor forged"
    )
    # Nothing of it is kept: the window opens, and the same code goes in.
    assert ask(vendor, question(), okay()).result == Accepted("OKAY: PIT1:3:4")


def test_trap_3_not_found_is_an_answer_whatever_http_says() -> None:
    for http in (200, 404, 500):
        talk = ask(presence(), question(), said("NOT_FOUND", http=http))
        assert isinstance(talk.result, Refused)
        assert not talk.result.fault


# --- 4 and 5: lost replies and duplicates ------------------------------------------------------------------


def test_trap_4_a_scan_whose_reply_was_lost_is_sent_again_with_the_same_time() -> None:
    talk = ask(presence(), question(), LOST, okay())
    assert talk.result == Accepted("OKAY: PIT1:3:4")
    one, other = map(body, talk.requests)
    assert one == other
    assert one["scanTime"] == AT_MS


@pytest.mark.parametrize("status", ["ALREADY_ENTERED", "DUPLICATE", "INTERNAL_SCAN_ALREADY_ENTERED"])
@pytest.mark.parametrize("earlier", [False, True])
def test_trap_4_a_refusal_that_may_be_our_own_echo_is_for_staff(status: str, earlier: bool) -> None:
    if earlier:  # the reply to an earlier ask was lost, as the gate knows
        talk = ask(presence(), question(again=True), said(status))
    else:
        talk = ask(presence(), question(), LOST, said(status))
    assert isinstance(talk.result, Refused)
    assert (talk.result.verdict, talk.result.doubt) == (Verdict.CALL_STAFF, True)
    assert status in talk.result.text


@pytest.mark.parametrize("status", ["INTERNAL_SCAN", "OPEN_SEAT", "SEEN_BEFORE", "GENERAL_ERROR"])
def test_trap_4_so_is_a_word_that_may_mean_anything(status: str) -> None:
    talk = ask(presence(), question(), LOST, said(status))
    assert isinstance(talk.result, Refused)
    assert (talk.result.verdict, talk.result.doubt) == (Verdict.CALL_STAFF, True)
    plain = ask(presence(), question(), said(status)).result
    assert isinstance(plain, Refused)
    assert (plain.verdict, plain.doubt) == (Verdict.REFUSED, False)


@pytest.mark.parametrize("status", ["EXIT_NOT_PERMITTED", "INTERNAL_SCAN_EXIT_NOT_PERMITTED"])
def test_trap_4_so_is_an_exit_that_may_have_been_made(status: str) -> None:
    talk = ask(presence(), question(direction=OUT), LOST, said(status))
    assert isinstance(talk.result, Refused)
    assert (talk.result.verdict, talk.result.doubt) == (Verdict.CALL_STAFF, True)


def test_trap_4_a_refusal_that_cannot_be_our_echo_stays_what_it_is() -> None:
    talk = ask(presence(), question(again=True), said("SECTION_RESTRICTION"))
    assert isinstance(talk.result, Refused)
    assert (talk.result.verdict, talk.result.doubt) == (Verdict.WRONG_SECTOR, False)


def test_trap_4_a_scan_is_lost_where_any_of_its_replies_was() -> None:
    for failures in (
        (LOST, LOST),
        (LOST, NotSent("too late")),
        (NotSent("no"), LOST),
        (LOST, reply({}, 429)),
    ):
        with pytest.raises(Lost):
            ask(presence(), question(), *failures)


def test_trap_4_what_never_left_is_no_doubt() -> None:
    with pytest.raises(NotSent):
        ask(presence(), question(), NotSent("no network"), NotSent("no network"))
    assert ask(presence(), question(), NotSent("no network"), okay()).result == Accepted("OKAY: PIT1:3:4")


def test_trap_4_of_two_tries_that_never_left_the_first_one_says_why() -> None:
    with pytest.raises(NotSent, match="no network"):
        ask(presence(), question(), NotSent("no network"), NoTurn("its time is over"))


def test_trap_4_after_the_gate_gave_up_a_reply_is_still_listened_for() -> None:
    (sent,) = ask(presence(), question(), okay()).requests
    assert sent.extensions["timeout"]["read"] == 3.0 + LATE_S
    assert sent.extensions["tries"] == 1


def test_trap_5_a_duplicate_is_soon_asked_again_and_cancels_no_okay() -> None:
    vendor = presence()
    assert ask(vendor, question(), okay()).result == Accepted("OKAY: PIT1:3:4")
    later = ask(vendor, question(at_utc_ms=AT_MS + 900), said("DUPLICATE"))
    assert later.result == Refused(Verdict.TOO_SOON, "shown a moment ago (DUPLICATE)")
    # Nor does one that answers our own second try: the first may have been the OKAY.
    echo = ask(vendor, question(), LOST, said("DUPLICATE"))
    assert isinstance(echo.result, Refused)
    assert echo.result.verdict is Verdict.CALL_STAFF


# --- 6: uploads --------------------------------------------------------------------------------------------


def test_trap_6_an_upload_has_the_scans_own_time_direction_and_device() -> None:
    inner = told("B", perimeter=Perimeter.INNER, kept=INNER_KEPT, direction=OUT, at_utc_ms=AT_MS + 1)
    talk = Talk(presence(**UPLOADING).tell([told("A"), inner]), in_turn(said("OKAY")))
    assert talk.result == (Accepted("OKAY, for an upload of 2: no word on the ticket itself"),) * 2
    (sent,) = talk.requests
    assert sent.url.path == "/presence/v1/ticket/upload"
    assert [(e["token"], e["direction"], e["scanTime"], e["deviceId"]) for e in body(sent)] == [
        ("A", "enter", AT_MS, 224),
        ("B", "exit", AT_MS + 1, 225),
    ]


@pytest.mark.parametrize("answered", [True, False])
def test_trap_6_neither_a_refusal_nor_an_ask_still_unsure_is_uploaded(answered: bool) -> None:
    outcomes = Talk(
        presence(**UPLOADING, send_again=True).tell(
            [told("A", refused=True), told("B", doubt=True), told("C", unanswered=True, doubt=answered)]
        ),
        in_turn(),
    ).result
    assert isinstance(outcomes[0], Refused)
    assert isinstance(outcomes[1], Unsure)
    assert isinstance(outcomes[2], Unsure)


def test_trap_6_without_the_operators_word_nothing_is_uploaded() -> None:
    (outcome,) = Talk(presence().tell([told()]), in_turn()).result
    assert isinstance(outcome, Unsure)
    assert '`offline` is "closed"' in outcome.why


LOST_UPLOADS = [LOST, said("GENERAL_ERROR"), reply({}), reply([], 500), said("NEW_WORD")]


@pytest.mark.parametrize("answer", LOST_UPLOADS)
def test_trap_6_an_upload_without_a_good_reply_is_uncertain(answer: Any) -> None:
    (outcome,) = Talk(presence(**UPLOADING).tell([told()]), in_turn(answer)).result
    assert isinstance(outcome, Unsure)


@pytest.mark.parametrize("answer", LOST_UPLOADS)
def test_trap_6_or_is_sent_again_as_it_was_where_that_is_set(answer: Any) -> None:
    vendor = presence(**UPLOADING, send_again=True)
    first = Talk(vendor.tell([told()]), in_turn(answer))
    (outcome,) = first.result
    assert isinstance(outcome, Again)
    assert outcome.doubt
    second = Talk(vendor.tell([told(doubt=True)]), in_turn(said("OKAY")))
    assert isinstance(second.result[0], Accepted)
    assert body(first.requests[0]) == body(second.requests[0])
    (third,) = Talk(vendor.tell([told(doubt=True)]), in_turn()).result
    assert isinstance(third, Unsure), "what was settled is not remembered"


def test_trap_6_what_presence_calls_malformed_stands_alone_in_the_end() -> None:
    def answer(request: Any) -> Any:
        return said("BAD_REQUEST" if "bad" in [each["token"] for each in body(request)] else "OKAY")

    outcomes = Talk(presence(**UPLOADING).tell([told("A"), told("bad"), told("C"), told("D")]), answer).result
    assert [type(outcome) for outcome in outcomes] == [Accepted, Unsure, Accepted, Accepted]


def test_trap_6_an_upload_that_never_left_raises_and_one_behind_a_lost_one_waits() -> None:
    with pytest.raises(NotSent):
        Talk(presence(**UPLOADING).tell([told()]), in_turn(NotSent("no network")))
    with pytest.raises(Misconfigured):
        Talk(presence(**UPLOADING).tell([told()]), in_turn(reply({}, 401)))
    halves = in_turn(said("BAD_REQUEST"), LOST)
    one, other = Talk(presence(**UPLOADING).tell([told("A"), told("B")]), halves).result
    assert isinstance(one, Unsure)
    assert isinstance(other, Again)
    assert not other.doubt


def test_trap_6_what_cannot_be_sent_is_for_a_person() -> None:
    outcomes = Talk(
        presence(**UPLOADING).tell([told(""), told("A", at_utc_ms=5), told("B", kept={})]), in_turn()
    ).result
    assert [type(outcome) for outcome in outcomes] == [Unsure, Unsure, Again]


# --- 7: what is an outage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("http", [400, 401, 403, 404, 405, 422])
def test_trap_7_a_4xx_is_no_outage_so_nobody_is_let_in_for_it_and_a_person_hears_of_it(http: int) -> None:
    fault = {"fault": {"faultstring": "Invalid ApiKey"}}
    talk = ask(presence(), question(), reply(fault, http))
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is Verdict.NOT_CONFIGURED
    assert f"Invalid ApiKey ({http})" in talk.result.fault


@pytest.mark.parametrize("status", ["GENERAL_ERROR", "BAD_REQUEST", "NOT_FOUND", "BAD_TOKEN"])
@pytest.mark.parametrize("http", [200, 400, 429, 503])
def test_trap_7_a_refusal_is_no_outage(status: str, http: int) -> None:
    assert isinstance(ask(presence(), question(), said(status, http=http)).result, Refused)


def test_trap_7_but_after_a_lost_reply_it_is_for_staff_as_well() -> None:
    for asked, replies in ((question(), (LOST, reply({}, 403))), (question(again=True), (reply({}, 403),))):
        result = ask(presence(), asked, *replies).result
        assert isinstance(result, Refused)
        assert (result.verdict, bool(result.fault), result.doubt) == (Verdict.CALL_STAFF, True, True)


def test_trap_7_a_redirect_is_a_wrong_address_and_lets_nobody_in() -> None:
    result = ask(presence(), question(), reply({}, 301)).result
    assert isinstance(result, Refused)
    assert "correct `device_url` and `ticket_url`" in result.fault


def test_trap_7_a_request_that_presence_calls_malformed_is_closed_and_a_fault() -> None:
    talk = ask(presence(), question(), said("BAD_REQUEST", text="deviceId"))
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is Verdict.REFUSED
    assert "BAD_REQUEST: deviceId" in talk.result.fault


def test_trap_7_only_who_cannot_be_reached_or_is_too_busy_is_away() -> None:
    with pytest.raises(Outage) as busy:
        ask(presence(), question(), reply({}, 429))
    assert not isinstance(busy.value, Lost)
    for http in (500, 502, 503, 504, 408):
        with pytest.raises(Lost):
            ask(presence(), question(), *[reply({}, http)] * 2)


def test_trap_7_marks_call_staff() -> None:
    talk = ask(presence(), question(), said("MARK_RESTRICTION"))
    assert talk.result == Refused(Verdict.CALL_STAFF, "the ticket carries a mark (MARK_RESTRICTION)")


# --- 8: devices --------------------------------------------------------------------------------------------


def test_trap_8_a_device_is_configured_with_all_that_presence_wants() -> None:
    talk = Talk(presence().configure(DEVICE), in_turn(configured(), said("NOT_FOUND")))
    init, look = talk.requests
    assert (init.method, init.url.path) == ("POST", "/presence/v1/device/init")
    assert body(init) == {
        "venueId": VENUE,
        "name": "north-1",
        "mac": MAC,
        "ip": "192.168.1.1",
        "gateName": "north-1",
        "serial": "aBcDEFg12",
        "model": "Pi gate",
    }
    assert (look.method, look.url.path) == ("GET", "/presence/v1/device")
    assert query(look) == {"venueId": VENUE, "mac": MAC, "apikey": KEY}
    assert talk.result == {**KEPT, "mac": MAC, "ip": "192.168.1.1"}


def test_trap_8_nobody_scans_before_it() -> None:
    for kept in ({}, {**KEPT, "id": ""}, {**KEPT, "venueId": "another"}):
        talk = Talk(presence().ask(question(), kept), in_turn())
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is Verdict.NOT_CONFIGURED


def test_trap_8_nor_after_the_gate_got_another_name_there_until_it_is_configured_anew() -> None:
    north: Any = {("north-1", Perimeter.OUTER): "Gate 1"}
    vendor = presence(gates=north)
    assert isinstance(Talk(vendor.ask(question(), KEPT), in_turn()).result, Refused)
    kept = Talk(vendor.configure(DEVICE), in_turn(configured(), said("GENERAL_ERROR"))).result
    talk = Talk(vendor.ask(question(), kept), in_turn(okay()))
    assert isinstance(talk.result, Accepted)
    assert body(talk.requests[0])["gateName"] == "Gate 1"


def test_trap_8_what_presence_calls_the_gate_is_read_back() -> None:
    back = configured(gateName="GATE ONE", localId="COM-1-H")
    kept = Talk(presence().configure(DEVICE), in_turn(configured(), back)).result
    assert kept["gateName"] == "GATE ONE"
    talk = Talk(presence().ask(question(), kept), in_turn(okay()))
    assert body(talk.requests[0])["gateName"] == "GATE ONE"


@pytest.mark.parametrize("look", [LOST, reply({}, 401), reply({}, 500), said("BAD_REQUEST")])
def test_trap_8_a_look_that_fails_leaves_the_device_configured(look: Any) -> None:
    kept = Talk(presence().configure(DEVICE), in_turn(configured(), look)).result
    assert kept["gateName"] == "north-1"


def test_trap_8_the_inner_ring_is_a_device_of_its_own() -> None:
    inner = DEVICE._replace(perimeter=Perimeter.INNER)
    talk = Talk(presence().configure(inner), in_turn(configured(id=225), said("OKAY")))
    sent = body(talk.requests[0])
    assert (sent["name"], sent["gateName"], sent["mac"]) == (
        "north-1 inner",
        "north-1 inner",
        "ba:27:eb:00:00:01",
    )
    assert talk.result["id"] == "225"


@pytest.mark.parametrize(
    ("status", "mend"),
    [("NOT_FOUND", f"has no venue {VENUE}: correct `venue`"), ("BAD_REQUEST", "try `gate_parameter`")],
)
def test_trap_8_what_a_person_has_to_mend_is_said(status: str, mend: str) -> None:
    with pytest.raises(Misconfigured) as said_so:
        Talk(presence().configure(DEVICE), in_turn(said(status)))
    assert mend in str(said_so.value)


@pytest.mark.parametrize(
    "answer",
    [LOST, NotSent("no network"), said("GENERAL_ERROR"), said("NEW"), reply({}, 500), said("OKAY", {})],
)
def test_trap_8_a_time_out_or_an_error_has_it_tried_again(answer: Any) -> None:
    with pytest.raises(Outage) as away:
        Talk(presence().configure(DEVICE), in_turn(answer))
    assert not isinstance(away.value, Lost), "to configure a device twice is no harm"


@pytest.mark.parametrize("http", [401, 403, 404])
def test_trap_8_a_wrong_key_or_address_is_for_a_person(http: int) -> None:
    with pytest.raises(Misconfigured):
        Talk(presence().configure(DEVICE), in_turn(reply({}, http)))


@pytest.mark.parametrize("mac", ["", "lo", "00:11:22:33:44", "00:11:22:33:44:zz"])
def test_trap_8_a_gate_without_a_mac_address_cannot_be_a_scanner(mac: str) -> None:
    with pytest.raises(Misconfigured, match="tells no MAC address"):
        Talk(presence().configure(DEVICE._replace(mac=mac)), in_turn())


def test_trap_8_a_computer_without_serial_and_model_is_told_by_its_address() -> None:
    device = DEVICE._replace(serial="", model="", mac=MAC.upper().replace(":", "-"))
    talk = Talk(presence().configure(device), in_turn(configured(), said("OKAY")))
    sent = body(talk.requests[0])
    assert (sent["serial"], sent["model"], sent["mac"]) == (MAC, "gatepost", MAC)


# --- 9 to 15 -----------------------------------------------------------------------------------------------


def check_ids(id_: object, gate: object) -> None:
    """Configure a device that has these, and look at a scan of it."""
    kept = Talk(presence().configure(DEVICE), in_turn(configured(id=id_, gateId=gate), LOST)).result
    assert kept["id"] == "224"
    talk = Talk(presence().ask(question(), kept), in_turn(okay()))
    assert (body(talk.requests[0])["deviceId"], body(talk.requests[0])["gateId"]) == (224, 274)


def test_trap_9_ids_come_as_texts_or_numbers_and_are_sent_as_numbers() -> None:
    for id_, gate in (("224", "274"), (224, 274), (224.0, " 274 ")):
        check_ids(id_, gate)


def test_trap_9_an_id_that_is_no_number_is_sent_as_it_came() -> None:
    kept = Talk(presence().configure(DEVICE), in_turn(configured(id="COM-1-H"), LOST)).result
    talk = Talk(presence().ask(question(), kept), in_turn(okay()))
    assert body(talk.requests[0])["deviceId"] == "COM-1-H"


@pytest.mark.parametrize(("setting", "inner"), [("enter", "enter"), ("validate", "validate")])
def test_trap_10_internal_entries_go_where_the_setting_says_and_nothing_else_does(
    setting: str, inner: str
) -> None:
    vendor = presence(internal_entry=setting)
    paths = [
        ask(vendor, question(perimeter=ring, direction=way), okay()).requests[0].url.path.rpartition("/")[2]
        for ring in (Perimeter.OUTER, Perimeter.INNER)
        for way in Direction
    ]
    assert paths == ["enter", "exit", inner, "exit"]


def test_trap_11_the_key_is_in_each_url_and_in_no_log_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    vendor = presence(**UPLOADING, device_url="http://127.0.0.1:9/p", ticket_url="http://127.0.0.1:9/p")
    texts = [f"no key {KEY} for {CODE}"]
    with caplog.at_level(logging.DEBUG), Driver("hall", vendor, 1000) as driver:
        for flow in (vendor.probe(), vendor.configure(DEVICE), vendor.ask(question(), KEPT)):
            with pytest.raises(Outage) as away:
                driver.run(flow)
            texts.append(str(away.value))
        masked = driver.masked(f"GET http://h/device?venueId=1&apikey={KEY}&mac=2 {KEY}")
    assert "apikey=***" in masked
    echo = f"{KEY} {CODE}"
    for status in ("OKAY", "NOT_FOUND", "BAD_REQUEST"):
        answer = ask(vendor, question(), said(status, {"tickets": [{"place": KEY}]}, text=echo)).result
        texts.append(str(answer))
    texts.append(str(ask(vendor, question(), reply({"fault": {"faultstring": KEY}}, 401)).result))
    (outcome,) = Talk(vendor.tell([told()]), in_turn(said("NEW", text=echo))).result
    texts.append(str(outcome))
    assert all(KEY not in text for text in [*texts[1:], masked, caplog.text])
    assert all(CODE not in text for text in texts[4:8])
    assert caplog.records


def test_trap_12_the_time_is_in_milliseconds_and_one_that_is_not_is_not_asked() -> None:
    assert body(ask(presence(), question(), okay()).requests[0])["scanTime"] == AT_MS
    for odd in (0, AT_MS // 1000, AT_MS * 1000):
        talk = ask(presence(), question(at_utc_ms=odd))
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is Verdict.CLOCK_UNTRUSTED


def test_trap_13_a_code_that_changes_is_asked_each_time_and_nothing_is_listed() -> None:
    vendor = presence()
    for code in ("rotating-1", "rotating-2", "rotating-1"):
        talk = ask(vendor, question(code=code), okay())
        assert [body(request)["token"] for request in talk.requests] == [code]
    listing = Talk(vendor.tickets(""), in_turn())
    assert (listing.result, listing.pages) == (Listing("", True), [])


def test_trap_13_a_code_that_cannot_be_sent_is_not() -> None:
    for code in ("", "\0", "\ud800", "x" * 8000):
        talk = ask(presence(), question(code=code))
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is Verdict.UNREADABLE


def test_trap_15_several_tickets_are_one_opening_and_their_places_are_told() -> None:
    talk = ask(presence(), question(), okay("PIT1:3:4", "PIT1:3:5"))
    assert talk.result == Accepted("OKAY: 2 tickets: PIT1:3:4, PIT1:3:5")


# --- what is spelt in two ways -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["venueId", "venue"])
@pytest.mark.parametrize("by", ["mac", "device"])
def test_a_look_has_the_names_and_the_path_that_are_set(suffix: str, name: str, by: str) -> None:
    vendor = presence(path_suffix=suffix, venue_parameter=name, look_parameter=by)
    talk = Talk(vendor.configure(DEVICE), in_turn(configured(), configured()))
    assert [request.url.path for request in talk.requests] == [
        f"/presence/v1/device/init{suffix}",
        f"/presence/v1/device{suffix}",
    ]
    named = {"mac": MAC} if by == "mac" else {"device": "224"}
    assert query(talk.requests[1]) == {name: VENUE, "apikey": KEY, **named}
    assert body(talk.requests[0])["venueId"] == VENUE, "the sample and the table agree on this one"


def test_a_gate_is_told_by_its_id_where_that_is_set() -> None:
    gates: Any = {("north-1", Perimeter.OUTER): "274"}
    vendor = presence(gate_parameter="gateId", gates=gates)
    talk = Talk(vendor.configure(DEVICE), in_turn(configured(), configured(gateName="Gate 1")))
    assert body(talk.requests[0])["gateId"] == "274"
    assert "gateName" not in body(talk.requests[0])
    asked = Talk(vendor.ask(question(), talk.result), in_turn(okay()))
    assert body(asked.requests[0])["gateName"] == "Gate 1"


@pytest.mark.parametrize("look", [LOST, reply({}, 500), said("NOT_FOUND"), configured()])
def test_a_gate_told_by_its_id_has_a_number_and_no_name_until_presence_says_one(look: Any) -> None:
    vendor = presence(gate_parameter="gateId", gates={("north-1", Perimeter.OUTER): "274"})
    with pytest.raises(Outage, match="does not say what gate 274 is called: tried again; if it stays so"):
        Talk(vendor.configure(DEVICE), in_turn(configured(), look))
    named = Talk(vendor.configure(DEVICE), in_turn(configured(gateName="Gate 1"), look)).result
    assert named["gateName"] == "Gate 1"
    assert Talk(vendor.configure(DEVICE), in_turn(configured(), look)).result == named, (
        "what is known is kept"
    )


def test_a_scan_has_the_fields_of_the_table() -> None:
    vendor = presence(
        device_os="printed", channel="A", ticket_url="https://h/veyron/", device_url="https://h/chiron"
    )
    (sent,) = ask(vendor, question(), okay()).requests
    assert (sent.method, sent.url.path, query(sent)) == ("POST", "/veyron/ticket/enter", {"apikey": KEY})
    assert body(sent) == {
        "channelId": "A",
        "token": CODE,
        "venueId": VENUE,
        "deviceId": 224,
        "gateId": 274,
        "gateName": "north-1",
        "deviceOs": "printed",
        "scanTime": AT_MS,
    }
    assert "channelId" not in body(ask(presence(), question(), okay()).requests[0])


# --- looking whether it is there ---------------------------------------------------------------------------


def test_a_probe_looks_at_a_device_that_nobody_has() -> None:
    talk = Talk(presence().probe(), in_turn(said("NOT_FOUND")))
    assert query(talk.requests[0])["mac"] == "00:00:00:00:00:00"
    assert talk.result.startswith(f"venue {VENUE}; Presence answers, and has no list")
    assert "`venue_parameter`" in Talk(presence().probe(), in_turn(said("BAD_REQUEST"))).result
    with pytest.raises(Misconfigured, match="the API key is wrong"):
        Talk(presence().probe(), in_turn(reply({}, 401)))


def test_a_trial_takes_any_answer() -> None:
    for status in ("NOT_FOUND", "BAD_REQUEST", "GENERAL_ERROR", "NEW"):
        Talk(presence().trial(), in_turn(said(status)))
    (sent,) = Talk(presence().trial(), in_turn(said("NOT_FOUND"))).requests
    assert (sent.method, sent.extensions["timeout"]["read"], sent.extensions["tries"]) == ("GET", 3.0, 1)
    for away in (LOST, reply({}, 500), reply({}, 429)):
        with pytest.raises(Outage) as outage:
            Talk(presence().trial(), in_turn(away))
        assert not isinstance(outage.value, Lost)
