"""Settings from elsewhere, with a real broker and a gate in a process: taken, refused, returned."""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from firmware import wire
from firmware.bundle import Enrolment, enrolment_text
from firmware.core.ticket import Verdict
from firmware.signing import sign, text_of
from firmware.stored_settings import Stored, Version
from firmware.unit import OPERATORS
from firmware.wire import SettingsState
from tests.brokers import Port, RunningBroker, mosquitto_broker, until
from tests.gate_bench import data_directory, read_rows
from tests.gate_process import fill_catalogue
from tests.managed.operated import ANN, BOB, EVE, know
from tests.managed.settled import BROKER, HEAD, LANE, Desk, settings_text, texts
from tests.reopened_gate import HEALTH_S, NO_CHIP, NO_EDGES, SOON_S
from tests.test_run import Gates

BOARD = """[board]
factory = "mock"
[[lane]]
name = "north"
without_power = "locked"
free_by = "hold"
[lane.in]
pin = {pin}
active = "high"
drive = "hold"
[lane.lamp]
red = 20
green = 16
active = "high"
"""


class Site(NamedTuple):
    """What a test has. At `nowhere` nobody listens, nor a broker of a test that runs at the same time."""

    broker: RunningBroker
    folder: Path
    data: Path
    nowhere: Port

    def settings(self, unlock_ms: int = 1000, more: str = "", port: int = 0) -> str:
        return settings_text(port or self.broker.port, unlock_ms, more)

    def gates(self) -> Gates:
        """Start the process."""
        return Gates(self.folder, self.data)

    def desk(self) -> Desk:
        return Desk(self.broker.address)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker, data_directory() as data:
        fill_catalogue(data)
        know(data, ANN, BOB)
        (tmp_path / "gate.toml").write_text(settings_text(broker.port), "utf-8")
        yield Site(broker, tmp_path, data, Port())


def verdicts(data: Path) -> list[Verdict | None]:
    return [found.row.verdict for found in read_rows(data) if found.row.kind == "scan"]


# --- taken ---------------------------------------------------------------------------------------


def test_new_settings_are_tried_proved_and_used_by_the_next_process_too(site: Site) -> None:
    wanted = site.settings(2000, '[[event]]\nid = "another"\n')
    with site.gates() as gates, site.desk() as desk:
        local = desk.until(SettingsState.LOCAL, 0)
        assert (local.version, "unlock_ms = 1000" in local.settings) == (0, True)
        assert gates.do("scan", code="T0", lane="north")
        desk.send(5, wanted + "# a comment\n")
        good = desk.until(SettingsState.GOOD, 5)
        assert (good.version, good.failed) == (5, ())
        assert "unlock_ms = 2000" in good.settings
        assert "comment" not in good.settings
        assert gates.do("scan", code="T1", lane="north")
        assert gates.end() == 0
    (site.folder / "gate.toml").chmod(0o400)
    with site.gates() as gates, site.desk() as desk:
        again = desk.until(SettingsState.GOOD, 5)
        assert again.version == 5
        assert gates.do("scan", code="T2", lane="north")
        assert gates.end() == 0
    assert verdicts(site.data) == [Verdict.ADMITTED, Verdict.WRONG_EVENT, Verdict.WRONG_EVENT]
    assert texts(site.data) == ["settings 5 of ann: on trial", "settings 5 of ann: good"]


def test_operators_come_with_a_version_and_do_not_return_with_it(site: Site) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.send(1, site.settings(), operators=text_of([ANN.operator, EVE.operator]))
        desk.until(SettingsState.GOOD, 1)
        desk.send(2, site.settings(2000), EVE)
        desk.until(SettingsState.GOOD, 2)
        gates.do("health", within_s=SOON_S)
        desk.send(3, site.settings(port=site.nowhere.number), EVE, operators=text_of([EVE.operator]))
        desk.until(SettingsState.RETURNED, 3)
        gates.do("health", within_s=HEALTH_S)
        assert "is of no operator" in refusal(site, desk, lambda *_: desk.send(4, site.settings(3000)), 4)
        desk.send(5, "", EVE, operators=text_of([EVE.operator, BOB.operator]))
        good = desk.until(SettingsState.GOOD, 5)
        assert "unlock_ms = 2000" in good.settings, "what is not sent stays"
        assert gates.end() == 0


def test_operators_alone_are_sent_to_a_gate_that_works_with_its_own_file(site: Site) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.send(1, "", operators=text_of([EVE.operator]))
        good = desk.until(SettingsState.GOOD, 1)
        assert (good.version, "unlock_ms = 1000" in good.settings) == (1, True)
        desk.send(2, site.settings(2000), EVE)
        desk.until(SettingsState.GOOD, 2)
        assert gates.end() == 0


def test_what_was_sent_before_the_bundle_does_not_come_back_with_a_new_one(site: Site) -> None:
    enrol = site.data / "identity" / "enrol.toml"
    known = Enrolment(
        venue="arena", gate="a", host="127.0.0.1", port=8884, bundle="0" * 16, until=datetime.now(UTC)
    )
    enrol.write_text(enrolment_text(known), "utf-8")
    with site.gates() as gates, site.desk() as desk:
        desk.send(5, site.settings(2000), operators=text_of([ANN.operator, EVE.operator]))
        desk.until(SettingsState.GOOD, 5)
        assert gates.end() == 0
    enrol.write_text(
        enrolment_text(msgspec.structs.replace(known, bundle="1" * 16, newest=5)), "utf-8"
    )  # as take-up does, without Eve
    with site.gates() as gates, site.desk() as desk:
        found = desk.until(SettingsState.REFUSED, 5)  # the broker has it still
        assert found.version == 0
        assert "was sent before this gate's bundle was made" in found.text
        until(lambda: len(refusals(site)) == 1)  # its row is on disk after its report perhaps
        assert "unlock_ms = 1000" in found.settings
        assert "is of no operator" in refusal(site, desk, lambda *_: desk.send(6, "", EVE), 6)
        desk.send(7, site.settings(3000))
        desk.until(SettingsState.GOOD, 7)
        assert gates.end() == 0


def test_where_nobody_knows_the_enrolment_no_settings_are_taken(site: Site) -> None:
    stored = Stored(site.data / "settings")
    stored.accept(Version(1, "ann", "m", "", operators=text_of([EVE.operator])), (), connected=False)
    (site.data / "settings" / OPERATORS.name).write_text(text_of([EVE.operator]), "utf-8")
    (site.data / "identity" / "enrol.toml").mkdir()  # it is there, and cannot be read
    with site.gates() as gates, site.desk() as desk:
        row = refusal(site, desk, lambda *_: desk.send(2, site.settings(2000)), 2)
        assert "is of no operator" in row, "the bundle's list is older than the one that was in use"
        row = refusal(site, desk, lambda *_: desk.send(3, site.settings(2000), EVE), 3)
        assert "the disk has not told yet which settings are in use" in row
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    assert Stored(site.data / "settings").state.in_use is not None, "nothing was thrown away"


def test_good_settings_that_this_release_cannot_read_are_passed_over_once(site: Site) -> None:
    stored = Stored(site.data / "settings")
    text = site.settings(2000, "[future]\nkey = 1\n")
    stored.accept(Version(3, "ann", "m", text, operators=text_of([EVE.operator])), (), connected=False)
    stored.prove()
    with site.gates() as gates, site.desk() as desk:
        found = desk.until(SettingsState.LOCAL, 3)
        assert (found.version, "unlock_ms = 1000" in found.settings) == (0, True)
        assert found.text.startswith("settings 3 are not used: settings 3:")
        assert "future: no such setting" in found.text
        assert "is of no operator" in refusal(site, desk, lambda *_: desk.send(4, ""), 4)
        desk.send(5, site.settings(3000), EVE)
        assert desk.until(SettingsState.GOOD, 5).version == 5
        assert gates.end() == 0
    began = [found for found in read_rows(site.data) if found.row.kind == "began"]
    assert len(began) == 2, "once with the file of the installation, once with version 5"
    assert any("settings 3 are not used" in text for text in texts(site.data, "fault"))


# --- refused -------------------------------------------------------------------------------------


SECRET = 'username = "a"\npassword_file = "/etc/shadow"\n'
Send = Callable[[Site, Desk, int], None]


def unsigned(site: Site, desk: Desk, number: int) -> None:
    signed = sign(ANN.private, desk.desired(number, site.settings(2000)))
    desk.send_bytes(wire.encode(msgspec.structs.replace(signed, signature=bytes(64))))


def malformed(site: Site, desk: Desk, number: int) -> None:
    desk.send_bytes(b"\x00" * number)


def oversized(site: Site, desk: Desk, number: int) -> None:
    signed = sign(ANN.private, desk.desired(number, site.settings(2000)))
    desk.send_bytes(wire.encode(msgspec.structs.replace(signed, signed=signed.signed + b" " * 61_000)))


def signed_board(pin: int) -> Send:
    return lambda site, desk, n: desk.send(n, site.settings(2000), board=BOARD.format(pin=pin))


REFUSED: dict[str, tuple[Send, str]] = {
    "a lower version": (lambda site, desk, _: desk.send(3, site.settings(2000)), "must be above 5"),
    "the same version once more": (
        lambda site, desk, _: desk.send(5, site.settings(3000)),
        "must be above 5",
    ),
    "a version that nobody could ever reach": (
        lambda site, desk, _: desk.send(6 + (1 << 32), site.settings(2000)),
        "too far above 5 ever to be reached",
    ),
    "an unknown key": (
        lambda site, desk, n: desk.send(n, site.settings().replace("unlock_ms", "unlok_ms")),
        'lane[1].unlok_ms: no such setting: did you mean "unlock_ms"',
    ),
    "a wrong type": (
        lambda site, desk, n: desk.send(n, site.settings().replace("1000", '"soon"')),
        "lane[1].unlock_ms",
    ),
    "out of bounds": (lambda site, desk, n: desk.send(n, site.settings(7)), "lane[1].unlock_ms"),
    "no TOML": (lambda _, desk, n: desk.send(n, "[[["), "is not TOML"),
    "another gate's name in them": (
        lambda site, desk, n: desk.send(n, site.settings().replace('"a"', '"b"')),
        'gate.name: is "b"',
    ),
    "no broker": (
        lambda _, desk, n: desk.send(n, HEAD + LANE.format(unlock_ms=2000)),
        "nobody could reach this gate",
    ),
    "a secret of their own": (
        lambda site, desk, n: desk.send(
            n, site.settings(2000, 'username = "a"\npassword_file = "/etc/shadow"\n')
        ),
        "no secret of this gate",
    ),
    "a board that nobody reads": (signed_board(21), 'does nothing with board.name = "fake"'),
    "operators without a supervisor": (
        lambda site, desk, n: desk.send(n, site.settings(2000), operators=text_of([BOB.operator])),
        "has no supervisor",
    ),
    "operators that are none": (
        lambda site, desk, n: desk.send(n, site.settings(2000), operators="[[operator]]\n"),
        "the list of operators",
    ),
    "a steward's": (lambda site, desk, n: desk.send(n, site.settings(2000), BOB), "bob is a steward"),
    "a stranger's": (lambda site, desk, n: desk.send(n, site.settings(2000), EVE), "is of no operator"),
    "another gate's": (
        lambda site, desk, n: desk.send(n, site.settings(2000), gate="b"),
        "they are for gate b of venue arena",
    ),
    "another venue's": (
        lambda site, desk, n: desk.send(n, site.settings(2000), venue="park"),
        "they are for gate a of venue park",
    ),
    "unsigned": (unsigned, "the signature is not that of ann"),
}


def refusal(site: Site, desk: Desk, send: Send, number: int) -> str:
    """Send it; the row that it becomes. What became of the settings before may be written meanwhile."""
    before = len(refusals(site))
    send(site, desk, number)
    until(lambda: len(refusals(site)) > before)
    (row,) = refusals(site)[before:]
    return row


def refusals(site: Site) -> list[str]:
    """The rows of settings that were refused."""
    return [text for text in texts(site.data) if ": refused: " in text]


@pytest.mark.parametrize("send", [malformed, oversized])
def test_what_nobody_can_read_is_refused_with_a_row_and_the_gate_goes_on(site: Site, send: Send) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        assert "somebody: new settings: refused: " in refusal(site, desk, send, 40)
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    assert verdicts(site.data) == [Verdict.ADMITTED]


def test_what_is_wrong_is_refused_with_a_row_and_the_gate_goes_on_as_before(site: Site) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.send(5, site.settings(2000))
        desk.until(SettingsState.GOOD, 5)
        for number, (name, (send, said)) in enumerate(REFUSED.items()):
            row = refusal(site, desk, send, 10 + number)
            assert said in row, (name, row)
            assert gates.do("scan", code=f"T{number}", lane="north"), name
        assert desk.reports[-1].version == 5
        assert gates.end() == 0
    assert set(verdicts(site.data)) == {Verdict.ADMITTED}
    assert len([found for found in read_rows(site.data) if found.row.kind == "began"]) == 2


def test_settings_that_the_disk_did_not_take_are_a_fault_and_are_taken_once_it_does(site: Site) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        (site.data / "settings").write_text("in the way of the folder", "utf-8")
        desk.send(1, site.settings(2000))
        gates.err.expect("fault: new settings of ann are not taken yet: they could not be written")
        assert gates.do("scan", code="T0", lane="north")
        (site.data / "settings").unlink()
        assert desk.until(SettingsState.GOOD, 1).version == 1
        assert gates.end() == 0
    assert [text for text in texts(site.data) if "could not be written" in text] == [
        "ann: new settings: refused: they could not be written (File exists): see to the disk"
    ]


# --- returned ------------------------------------------------------------------------------------


def test_settings_with_which_the_gate_does_not_come_back_to_its_broker_return_by_themselves(
    site: Site,
) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.send(1, site.settings(2000))
        desk.until(SettingsState.GOOD, 1)
        gates.do("health", within_s=SOON_S)
        desk.send(2, site.settings(3000, port=site.nowhere.number))
        found = desk.until(SettingsState.RETURNED, 2)
        assert (found.version, found.failed) == (1, (2,))
        assert "returned to version 1: no broker is connected" in found.text
        assert "unlock_ms = 2000" in found.settings
        assert gates.do("scan", code="T0", lane="north")
        desk.send(2, site.settings(2000, more="# mended\n"))
        assert "version 2 failed here" in desk.until(SettingsState.REFUSED, 2).text
        assert gates.end() == 0
    with site.gates() as gates, site.desk() as desk:
        assert desk.until(SettingsState.REFUSED, 2).failed == (2,)  # the retained one is there still
        assert gates.do("scan", code="T1", lane="north")
        assert gates.end() == 0
    assert verdicts(site.data) == [Verdict.ADMITTED] * 2


NOT_OPENED: dict[str, tuple[str, str]] = {
    "no file of codes": (
        '[[lane]]\nname = "north"\n[[lane.reader]]\nkind = "lines"\npath = "/nowhere/codes"\n',
        "No such file or directory: '/nowhere/codes'",
    ),
    "no chip": (f'[[lane]]\nname = "{NO_CHIP}"\n', "board.chip: there is no gpiochip7"),
    "a sensor that cannot be watched": (f'[[lane]]\nname = "{NO_EDGES}"\n', "no edges can be watched"),
}


@pytest.mark.parametrize(("lane", "why"), NOT_OPENED.values(), ids=NOT_OPENED)
def test_settings_with_which_the_gate_does_not_open_return_by_themselves_and_are_refused_for_ever(
    site: Site, lane: str, why: str
) -> None:
    wanted = HEAD + lane + BROKER.format(port=site.broker.port)
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        desk.send(1, wanted)
        found = desk.until(SettingsState.RETURNED, 1)
        assert (found.version, found.failed) == (0, (1,))
        assert "returned to those of the installation: the gate does not open" in found.text
        assert why in found.text
        gates.err.expect("settings 1 of ann failed")
        gates.err.expect("ready: lanes")  # it reports before its readers are open
        assert {*gates.do("relays_ever")} <= {"locked"}
        assert gates.do("press"), "the alarm frees the lane of the board that is open again"
        assert gates.do("release")
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0, "the same process"
    with site.gates() as gates, site.desk() as desk:
        found = desk.until(SettingsState.RETURNED, 1)
        assert (found.version, found.failed) == (0, (1,))
        desk.send(1, site.settings(2000))
        assert "version 1 failed here" in desk.until(SettingsState.REFUSED, 1).text
        assert gates.do("scan", code="T1", lane="north")
        assert gates.end() == 0
    assert verdicts(site.data) == [Verdict.ADMITTED] * 2


@pytest.mark.parametrize("how", ["the gate does not open", "no broker is connected"])
def test_settings_return_to_a_file_that_somebody_is_editing_as_it_was_read_last(site: Site, how: str) -> None:
    port = site.broker.port if how == "the gate does not open" else site.nowhere.number
    lane = NO_CHIP if how == "the gate does not open" else "north"
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        gates.do("health", within_s=SOON_S)
        (site.folder / "gate.toml").write_text("[[lane", "utf-8")
        desk.send(1, HEAD + f'[[lane]]\nname = "{lane}"\n' + BROKER.format(port=port))
        assert how in desk.until(SettingsState.RETURNED, 1).text
        gates.err.expect("the settings stay as they were: .*gate.toml")
        gates.err.expect("ready: lanes")
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    began = [found for found in read_rows(site.data) if found.row.kind == "began"]
    assert len(began) == (2 if lane == NO_CHIP else 3), "none for a file that cannot be read"


def test_settings_with_which_two_processes_die_return_by_themselves(site: Site) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        desk.send(1, site.settings(2000, port=site.nowhere.number))
        gates.err.expect("ready: lanes")
    for _ in range(2):  # leaving the block kills it
        with site.gates():
            pass
    with site.gates() as gates, site.desk() as desk:
        assert "the gate ended twice with them" in desk.until(SettingsState.RETURNED, 1).text
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0


@pytest.mark.parametrize("moment", ["taken", "opened anew", "proved"])
def test_a_gate_that_is_killed_while_settings_change_has_the_old_or_the_new_ones(
    site: Site, moment: str
) -> None:
    with site.gates() as gates, site.desk() as desk:
        desk.until(SettingsState.LOCAL, 0)
        desk.send(1, site.settings(2000))
        if moment == "taken":
            until((site.data / "settings" / "state").exists)
        elif moment == "opened anew":
            gates.err.expect("ready: lanes")
        else:
            desk.until(SettingsState.GOOD, 1)
        gates.process.send_signal(signal.SIGKILL)
    with site.gates() as gates, site.desk() as desk:
        assert gates.do("scan", code="T0", lane="north")
        assert desk.until(SettingsState.GOOD, 1).version == 1
        assert gates.do("scan", code="T1", lane="north")
        assert gates.end() == 0
    assert verdicts(site.data) == [Verdict.ADMITTED] * 2


# --- boards --------------------------------------------------------------------------------------


def test_a_board_file_is_checked_tried_and_used(site: Site) -> None:
    board = site.folder / "board.toml"
    board.write_text(BOARD.format(pin=21), "utf-8")
    more = f'[board]\nname = "gpio"\nfile = "{board}"\n'
    local = site.settings(more=more).replace("unlock_ms = 1000", "sensor = false")
    (site.folder / "gate.toml").write_text(local, "utf-8")
    with site.gates() as gates, site.desk() as desk:
        assert "pin = 21" in desk.until(SettingsState.LOCAL, 0).board
        for version, (pin, said) in enumerate([(20, "20 is used by"), (99, "pin"), (3, "pin")], 1):
            text = BOARD.format(pin=pin)
            if pin == 3:
                text += '[alarm]\npin = 3\ncontact = "normally_closed"\npull = "down"\n'
            desk.send(version, local, board=text)
            assert said in desk.until(SettingsState.REFUSED, version).text
        desk.send(7, local, board=BOARD.format(pin=21).replace('"mock"', '"lgpio"\nchip = "any"'))
        assert "it stays as it is" in desk.until(SettingsState.REFUSED, 7).text
        desk.send(8, local, board=BOARD.format(pin=22))
        assert "pin = 22" in desk.until(SettingsState.GOOD, 8).board
        desk.send(9, local.replace("sensor = false", "sensor = false\nunlock_ms = 2000"))
        assert "pin = 22" in desk.until(SettingsState.GOOD, 9).board
        assert gates.end() == 0
    with site.gates() as gates, site.desk() as desk:
        assert "pin = 22" in desk.until(SettingsState.GOOD, 9).board
        assert gates.end() == 0
