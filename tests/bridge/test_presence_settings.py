from pathlib import Path

import pytest

from firmware.bridge.presence import Presence
from firmware.bridge.presence_replies import REFUSALS
from firmware.bridge.presence_requests import PresenceSettings
from firmware.bridge.settings import parse
from firmware.core.ticket import Perimeter
from tests.bridge.test_settings import BROKER, SECRET, problems, refusals, scanners, secret

__all__ = ["secret"]  # the fixture

GOOD = "<presence>"  # a right [[vendor]] of Presence: five lines

# A file, and after "!" what is said about it.
REFUSED = """
<presence>
poll_s = 5
slots = "admit"
send_again = true
event = []
! 6: vendor[1].poll_s: does nothing with kind = "presence": take it out, or set kind = <others>
! 7: vendor[1].slots: does nothing with kind = "presence": take it out, or set kind = "vivenu" or "bam"
! 8: vendor[1].send_again: does nothing with offline = "closed": take it out, or set offline = "upload"
! 9: vendor[1].event: does nothing with kind = "presence": take it out

<presence>
device_url = "http://tickets.example"
gates = ["north-1=Gate 1", "North=Gate 2", "north-1/middle=x", "north-1/outer=Gate 3", "north-2="]
channel = "1"
accept_entry = ["OKAI", "okay", "ALREADY_ENTERED"]
accept_exit = []
upload_path = "/../x"
! 6: vendor[1].device_url: is no address that can be used: write https://host, without user or query; http
!   is for this machine only
! 7: vendor[1].gates: "North=Gate 2": write a gate of ours, "=" and its name there, as in "north-1=Gate 1",
!   or for its inner ring "north-1/inner=Suites"
! 7: vendor[1].gates: "north-1/middle=x": write a gate of ours, "=" and its name there, as in
!   "north-1=Gate 1", or for its inner ring "north-1/inner=Suites"
! 7: vendor[1].gates: "north-1/outer=Gate 3": north-1 stands there already: take one out
! 7: vendor[1].gates: "north-2=": write a gate of ours, "=" and its name there, as in "north-1=Gate 1", or
!   for its inner ring "north-1/inner=Suites"
! 8: vendor[1].channel: "1" is not one letter, as in "A"
! 9: vendor[1].accept_entry: "okay" is no status: write it as in OKAY, in capitals: did you mean "OKAY"?
! 9: vendor[1].accept_entry: "ALREADY_ENTERED" is a refusal, and must not open: take it out
! 10: vendor[1].accept_exit: is empty, so nobody would get through: name OKAY at least
! 11: vendor[1].upload_path: does nothing with offline = "closed": take it out, or set offline = "upload"
! 11: vendor[1].upload_path: "/../x" is not a path, as in "ticket/upload"

[[vendor]]
name = "p"
kind = "presence"
! 1: vendor[1].apikey_file: is missing: The file with the partner's API key.
! 1: vendor[1].venue: is missing: The venue's id at Ticketmaster, as in KovZpZAFF17J.
""".replace("<others>", '"ingresse" or "vivenu" or "bam"')


def test_an_account_at_presence_is_what_the_file_says(secret: Path) -> None:
    more = {
        "device_url": '"http://127.0.0.1:8480/chiron"',
        "ticket_url": '"http://127.0.0.1:8480/veyron"',
        "path_suffix": '".json"',
        "gates": '["north-1=Gate 1", "north-1/inner = Suites = all", "west/outer=W"]',
        "gate_parameter": '"gateId"',
        "venue_parameter": '"venue"',
        "look_parameter": '"device"',
        "internal_entry": '"validate"',
        "device_os": '"printed"',
        "channel": '"A"',
        "accept_entry": '["OKAY", "TRANSFER"]',
        "accept_internal": '["OKAY", "INTERNAL_SCAN"]',
        "accept_exit": '["EXIT"]',
        "ask_deadline_ms": "2500",
        "init_retry_max_s": "5",
        "rate_max": "100",
        "offline": '"upload"',
        "upload_path": '"ticket/offline"',
        "batch_size": "5",
        "upload_timeout_ms": "12000",
        "send_again": "true",
    }
    (account,) = parse(scanners(secret, "hall", **more) + BROKER, "x").accounts
    assert account[:4] == ("hall", 10, 24, 100)
    assert account.vendor == PresenceSettings(
        key=SECRET,
        venue="Kov",
        name="hall",
        device_url="http://127.0.0.1:8480/chiron",
        ticket_url="http://127.0.0.1:8480/veyron",
        path_suffix=".json",
        gates={
            ("north-1", Perimeter.OUTER): "Gate 1",
            ("north-1", Perimeter.INNER): "Suites = all",
            ("west", Perimeter.OUTER): "W",
        },
        gate_parameter="gateId",
        venue_parameter="venue",
        look_parameter="device",
        internal_entry="validate",
        device_os="printed",
        channel="A",
        accept_entry=("OKAY", "TRANSFER"),
        accept_internal=("OKAY", "INTERNAL_SCAN"),
        accept_exit=("EXIT",),
        ask_deadline_ms=2500,
        init_retry_max_s=5,
        offline="upload",
        upload_path="ticket/offline",
        batch_size=5,
        upload_timeout_s=12,
        send_again=True,
    )


@pytest.mark.parametrize(("text", "told"), list(refusals(REFUSED)))
def test_all_mistakes_are_told_at_once_each_with_its_line_its_key_and_the_mend(
    text: str, told: list[str], secret: Path
) -> None:
    assert problems(f"{text.replace(GOOD, scanners(secret).rstrip())}\n{BROKER}") == told


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_no_refusal_can_be_set_as_opening(status: str, secret: Path) -> None:
    for name in ("accept_entry", "accept_internal", "accept_exit"):
        (said,) = problems(scanners(secret, **{name: f'["OKAY", "{status}"]'}) + BROKER)
        assert said.endswith(f'"{status}" is a refusal, and must not open: take it out')


def test_without_a_word_on_it_gates_stay_closed_while_presence_is_away(secret: Path) -> None:
    (account,) = parse(scanners(secret) + BROKER, "x").accounts
    assert isinstance(account.vendor, PresenceSettings)
    assert (account.vendor.offline, Presence(account.vendor).uploads) == ("closed", False)
    assert Presence(account.vendor).deadline_ms == 3000


def test_the_key_in_the_place_of_its_file_is_not_shown(secret: Path) -> None:
    said = problems(scanners(secret, apikey_file=f'"{SECRET}"') + BROKER)
    assert any("vendor[1].apikey_file: is no path that begins with /" in line for line in said)
