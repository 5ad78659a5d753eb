"""What gates do when they are told to."""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import wire
from firmware.core.states import Shut
from firmware.core.ticket import Verdict
from firmware.managed.counters import KEYS_MAX, LOST, Counters, Last
from firmware.managed.obeying import DRILL_S, LOOK_S, REBOOT_FILE, REBOOT_S, REBOOT_UNIT, examined
from firmware.managed.orders import FILE, WAITED_S_MAX
from firmware.managed.refusals import KINDS_MAX, Refusals
from firmware.replay import Replay
from firmware.wire import Done, What
from tests.brokers import LIMIT_S, RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.managed.operated import (
    ANN,
    BOB,
    TWO_LANES,
    Clock,
    Hand,
    bare_gate,
    hand_at,
    know,
    managed_gate,
)
from tests.uplinks import RunningGate, fill_catalogue


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        folder.mkdir(exist_ok=True)
        fill_catalogue(folder)
        know(folder, ANN, BOB)
        yield folder


@pytest.fixture
def gate(data: Path, broker: RunningBroker) -> Iterator[RunningGate]:
    with managed_gate(data, "a", broker.port, TWO_LANES) as gate:
        yield gate


@pytest.fixture
def hand(broker: RunningBroker) -> Iterator[Hand]:
    with hand_at(broker.address) as hand:
        yield hand


def test_an_order_opens_one_lane_once_and_its_row_names_who_gave_it(gate: RunningGate, hand: Hand) -> None:
    reply = hand.give("a", What.OPEN_ONCE, lane="south", direction="out")
    assert (reply.done, reply.text) == (Done.OBEYED, "lane south: open")
    assert gate.board.tape.values("south", "relay")[:1] == ["out"]
    assert "ann: open_once" in gate.texts("order")
    assert gate.board.tape.values("north", "relay") == []
    assert gate.scan("T1") is Verdict.ADMITTED


def test_who_is_told_that_a_lane_is_open_finds_it_open(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bare_gate(data) as bare:
        gate, early = bare.gate.unit.gate, list[bool]()
        unlock = gate._unlock

        def late(*what: Any) -> bool:
            early.append(bare._news.wait(10 * LOOK_S))
            return unlock(*what)

        monkeypatch.setattr(gate, "_unlock", late)
        assert bare.give(What.OPEN_ONCE).text == "lane north: open"
        assert early == [False]


def test_somebody_who_is_through_before_anybody_looks_was_let_in(gate: RunningGate, hand: Hand) -> None:
    def walk() -> None:
        assert gate.board.tape.wait_for(lambda edges: any(edge.value == "in" for edge in edges), LIMIT_S)
        assert gate.board.fakes["north"].turnstile.push("in")

    walker = threading.Thread(target=walk)
    walker.start()
    reply = hand.give("a", What.OPEN_ONCE, lane="north")
    walker.join()
    assert reply.done is Done.OBEYED
    assert reply.text in ("lane north: opened", "lane north: open")  # on a busy machine the walk comes later


def test_an_order_without_a_lane_is_for_all_of_them(gate: RunningGate, hand: Hand) -> None:
    reply = hand.give("a", What.OPEN_ONCE)
    assert reply.text == "lane north: open, lane south: open"
    assert gate.board.tape.values("north", "relay") == ["in"]
    assert gate.board.tape.values("south", "relay") == ["in"]


def test_a_lane_that_serves_somebody_is_not_opened_once_more(gate: RunningGate, hand: Hand) -> None:
    assert gate.scan("T1") is Verdict.ADMITTED
    reply = hand.give("a", What.OPEN_ONCE, lane="north")
    assert (reply.done, reply.text) == (Done.FAILED, "lane north: not opened: it serves somebody")
    assert gate.board.tape.values("north", "relay") == ["in"]
    gate.until(lambda: gate.texts("order") == ["ann: open_once"])


def test_a_lane_is_freed_shut_and_brought_back_to_normal(gate: RunningGate, hand: Hand) -> None:
    for what, text, verdict in (
        (What.FREE, "lane north: free", Verdict.FREE),
        (What.SHUT, "lane north: shut", Verdict.SHUT),
        (What.NORMAL, "lane north: ready", Verdict.ADMITTED),
    ):
        reply = hand.give("a", what, lane="north")
        assert (reply.done, reply.text) == (Done.OBEYED, text)
        assert gate.scan(f"T{what}" if verdict is not Verdict.ADMITTED else "T1") is verdict
    assert gate.board.tape.values("north", "relay")[:2] == ["both", "locked"]
    gate.until(lambda: gate.texts("order") == ["ann: free", "ann: shut", "ann: normal"])


def test_a_lane_that_is_not_there_is_named_with_those_that_are(gate: RunningGate, hand: Hand) -> None:
    reply = hand.give("a", What.FREE, lane="west")
    assert (reply.done, reply.text) == (Done.FAILED, 'no lane "west": this gate has north, south')
    gate.until(lambda: gate.texts("order") == [f"ann: free: failed: {reply.text}"])


def test_lamps_blink_to_find_a_gate_and_no_lock_moves(gate: RunningGate, hand: Hand) -> None:
    reply = hand.give("a", What.IDENTIFY)
    assert reply.text == "yellow blinks for 15 s: lane north, south"
    for lane in ("north", "south"):
        assert gate.board.tape.values(lane, "lamp")[-1].startswith("yellow")
        assert gate.board.tape.values(lane, "relay") == []
    gate.until(lambda: gate.texts("order") == [f"ann: identify: obeyed: {reply.text}"])
    assert gate.scan("T1") is Verdict.ADMITTED


def test_a_lamp_that_tells_people_the_way_out_goes_on_telling_it(gate: RunningGate, hand: Hand) -> None:
    assert gate.board.alarm is not None
    gate.board.alarm.press()
    gate.until(lambda: len(gate.texts("alarm")) == 2)
    reply = hand.give("a", What.IDENTIFY)
    assert reply.done is Done.FAILED
    assert not any("yellow" in value for value in gate.board.tape.values("north", "lamp"))


# --- the drill --------------------------------------------------------------------------------------------


def test_a_drill_frees_all_lanes_until_its_time_is_over(data: Path) -> None:
    clock = Clock()
    with bare_gate(data, TWO_LANES, now_s=clock) as bare:
        assert bare.give(What.SHUT, lane="south").done is Done.OBEYED
        reply = bare.give(What.ALARM_DRILL)
        assert reply.text == "for 120 s, or until normal: lane north: free (drill), lane south: free (drill)"
        relay, buzzer = (bare.gate.board.tape.values("south", part) for part in ("relay", "buzzer"))
        assert (relay[-1], buzzer[-1]) == ("both", "long")
        clock.s += DRILL_S - 0.1
        assert bare.give(What.IDENTIFY).done is Done.FAILED, "free lanes tell people the way"
        clock.s += 0.1
        bare.gate.until(lambda: bare.gate.board.tape.values("south", "relay")[-1] == "locked")
        bare.gate.until(lambda: bare.gate.board.tape.values("north", "relay")[-1] == "locked")
        lanes = bare.gate.unit.gate
        assert isinstance(lanes.lane("south").state, Shut), "as it was before"
        bare.gate.until(lambda: "the alarm drill is over" in bare.gate.texts("order"))


def test_normal_ends_a_drill_sooner(data: Path) -> None:
    with bare_gate(data) as bare:
        bare.give(What.ALARM_DRILL)
        assert bare.give(What.NORMAL).text == "lane north: ready"
        assert bare.gate.board.tape.values("north", "relay") == ["both", "locked"]


def test_a_real_alarm_outlives_a_drill_and_every_order(data: Path) -> None:
    clock = Clock()
    with bare_gate(data, now_s=clock) as bare:
        gate, alarm = bare.gate, bare.gate.board.alarm
        assert alarm is not None
        bare.give(What.ALARM_DRILL)
        alarm.press()
        gate.until(lambda: gate.texts("alarm") == ["active"])
        assert bare.give(What.NORMAL).text == "lane north: free (alarm)"
        assert bare.give(What.SHUT).text == "lane north: free (alarm)"
        bare.give(What.ALARM_DRILL)
        clock.s += DRILL_S
        gate.until(lambda: "the alarm drill is over" in gate.texts("order"))
        assert gate.board.tape.values("north", "relay") == ["both"], "never locked meanwhile"
        for what in (What.RESTART, What.REBOOT):
            reply = bare.give(what)
            assert reply.done is Done.FAILED
            assert "an alarm keeps the lanes free" in reply.text
        alarm.release()
        gate.until(lambda: gate.board.tape.values("north", "relay") == ["both", "locked"])


def test_a_journal_with_a_drill_in_it_replays_bit_for_bit(data: Path) -> None:
    with bare_gate(data) as bare:
        for what in (What.ALARM_DRILL, What.SHUT, What.NORMAL, What.OPEN_ONCE):
            bare.give(what)
    replay = Replay(data / "journal", None, None)
    assert list(replay.differences()) == []
    assert replay.replayed >= 4


# --- the process and the computer -------------------------------------------------------------------------


def test_a_restart_comes_after_its_reply_and_when_nobody_is_served(data: Path) -> None:
    with bare_gate(data, supervised=True) as bare:
        assert bare.gate.scan("T1") is Verdict.ADMITTED
        reply = bare.give(What.RESTART)
        assert (reply.done, reply.text) == (Done.OBEYED, "restarts when nobody is served")
        assert not bare.gate.unit.gate._stopping
        bare.gate.board.fakes["north"].turnstile.push("in")
        bare.gate.until(lambda: bare.gate.unit.gate._stopping)
        assert bare.gate.board.tape.values("north", "relay") == ["in", "locked"]


@pytest.mark.parametrize("what", [What.RESTART, What.REBOOT])
def test_promise_4_an_alarm_after_the_order_keeps_the_gate_at_work(
    data: Path, tmp_path: Path, what: What
) -> None:
    unit, file = tmp_path / REBOOT_UNIT, tmp_path / REBOOT_FILE
    for made in (unit.parent, file.parent):
        made.mkdir(parents=True)
    unit.touch()
    with bare_gate(data, supervised=True, root=tmp_path) as bare:
        gate, alarm = bare.gate, bare.gate.board.alarm
        assert alarm is not None
        bare.orders.take(wire.COMMAND, bare.signed(what), retained=False)
        gate.until(lambda: any(": obeyed: re" in text for text in gate.texts("order")))
        alarm.press()
        gate.until(lambda: gate.texts("alarm") == ["active"])
        assert bare.reply().done is Done.OBEYED, "the gate acts only when its reply has left"
        gate.until(lambda: any(f"{what}: not done: an alarm" in text for text in gate.texts("order")))
        assert not gate.unit.gate._stopping
        assert not file.exists()
        assert gate.board.tape.values("north", "relay") == ["both"]


def test_a_gate_that_nobody_would_start_again_does_not_end(data: Path) -> None:
    with bare_gate(data) as bare:
        reply = bare.give(What.RESTART)
        assert (reply.done, reply.text) == (
            Done.FAILED,
            "nothing would start the gate again: it was not started by systemd",
        )
        assert bare.gate.scan("T1") is Verdict.ADMITTED


def test_a_computer_is_rebooted_by_the_unit_that_watches_for_a_file(data: Path, tmp_path: Path) -> None:
    unit, file = tmp_path / REBOOT_UNIT, tmp_path / REBOOT_FILE
    with bare_gate(data, root=tmp_path) as bare:
        reply = bare.give(What.REBOOT)
        assert reply.done is Done.FAILED
        assert "deploy/install.sh" in reply.text
        unit.parent.mkdir(parents=True)
        unit.touch()
        file.parent.mkdir(parents=True)
        assert bare.give(What.REBOOT).done is Done.OBEYED
        bare.gate.until(file.exists)


def test_a_reboot_that_nobody_takes_is_told_and_does_not_come_later(data: Path, tmp_path: Path) -> None:
    unit, file, clock = tmp_path / REBOOT_UNIT, tmp_path / REBOOT_FILE, Clock()
    for made in (unit.parent, file.parent):
        made.mkdir(parents=True)
    unit.touch()
    with bare_gate(data, root=tmp_path, now_s=clock) as bare:
        for taken in (True, False):
            assert bare.give(What.REBOOT).done is Done.OBEYED
            bare.gate.until(file.exists)
            if taken:
                file.unlink()  # as gate-reboot.service does, first of all
            clock.s += REBOOT_S
            assert bare.give(What.IDENTIFY).done is Done.OBEYED  # it has looked since
        bare.gate.until(lambda: not file.exists())
        bare.gate.until(lambda: any("reboot: not done: nobody" in each for each in bare.gate.texts("order")))
        assert sum("reboot: not done" in each for each in bare.gate.texts("order")) == 1


def test_a_key_that_was_not_sealed_for_this_gate_is_not_taken(data: Path) -> None:
    with bare_gate(data) as bare:
        reply = bare.give(What.ROTATE_KEY, sealed=bytes(100))
        assert reply.done is Done.FAILED
        assert "no key was taken" in reply.text


# --- the doctor -------------------------------------------------------------------------------------------


def test_the_doctor_looks_while_orders_go_on_and_a_second_one_waits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, door, python = tmp_path / "gate.toml", tmp_path / "door", tmp_path / "python"
    config.write_text('[gate]\nname = "a"\nvenue = "arena"\n[[lane]]\nname = "north"\n')
    os.mkfifo(door)  # it looks for as long as the test wants
    python.write_text(f'#!/bin/sh\nread line < "{door}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with bare_gate(data, config=config) as bare:
        monkeypatch.setattr(sys, "executable", str(python))
        bare.orders.take(wire.COMMAND, bare.signed(What.DOCTOR), retained=False)
        assert bare.give(What.DOCTOR).text == "the doctor looks already: wait for its reply"
        assert bare.give(What.OPEN_ONCE).done is Done.OBEYED
        door.write_text("look\n")
        reply = bare.reply()
        assert reply.done is Done.OBEYED
        assert {"verdict", "checks"} == json.loads(reply.report).keys()
        bare.gate.until(lambda: any("doctor: obeyed" in text for text in bare.gate.texts("order")))


def test_a_doctor_that_cannot_look_says_why(data: Path, tmp_path: Path) -> None:
    with bare_gate(data, config=tmp_path / "gone.toml") as bare:
        reply = bare.give(What.DOCTOR)
        assert reply.done is Done.FAILED
        assert "gone.toml" in reply.text


def test_a_doctor_that_cannot_be_started_is_told_and_recorded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with bare_gate(data, config=tmp_path / "gate.toml") as bare:
        reply = bare.give(What.DOCTOR)
        assert (reply.done, reply.text) == (
            Done.FAILED,
            "the doctor could not be started: No such file or directory",
        )
        bare.gate.until(
            lambda: any("doctor: failed: the doctor" in each for each in bare.gate.texts("order"))
        )


def test_a_report_that_is_too_long_keeps_what_is_wrong_and_then_says_where_it_is() -> None:
    well = {"name": "disk", "verdict": "ok", "text": "x" * 300, "mend": ""}
    wrong = {**well, "verdict": "fault"}
    cut = examined(json.dumps({"verdict": "fault", "checks": [well] * 200 + [wrong]}).encode(), b"")
    assert cut.done is Done.OBEYED
    assert json.loads(cut.report)["checks"] == [wrong]
    assert cut.text == "1 fault, 0 warning, 200 ok"
    none = examined(json.dumps({"verdict": "fault", "checks": [wrong] * 200}).encode(), b"")
    assert none.report == ""
    assert "too much to send" in none.text


# --- once, also through a power cut -------------------------------------------------------------------------


class CutCounters(Counters):
    """The process is killed as soon as a number is on disk, before anything is done about its order."""

    def keep(self, key: str, last: Last) -> None:
        super().keep(key, last)
        os.kill(os.getpid(), signal.SIGKILL)


def killed_gate(data: Path, payload_file: Path) -> None:
    """In a process of its own: a gate that takes one order, which is left on disk."""
    with bare_gate(data, counters=CutCounters(data / FILE)) as bare:
        payload = bare.signed(What.OPEN_ONCE)
        payload_file.write_bytes(payload)
        bare.hand(payload)


def test_an_order_whose_gate_is_killed_before_it_acts_is_not_done_twice_nor_later(
    data: Path, tmp_path: Path, broker: RunningBroker, hand: Hand
) -> None:
    file = tmp_path / "order"
    child = multiprocessing.get_context("spawn").Process(target=killed_gate, args=(data, file))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with managed_gate(data, "a", broker.port) as gate:
        hand.birth("a")
        reply = hand.send("a", file.read_bytes())
        assert (reply.done, reply.text) == (Done.FAILED, LOST)
        assert hand.send("a", file.read_bytes()) == reply
        assert gate.board.tape.values("north", "relay") == []
        assert gate.scan("T1") is Verdict.ADMITTED
        gate.until(lambda: f"ann: open_once: came again (failed): {LOST}" in gate.texts("order"))
        assert hand.give("a", What.SHUT, counter=2000).done is Done.OBEYED, "a new order is taken"


def test_counters_that_cannot_be_read_are_a_fault_and_orders_go_on(data: Path) -> None:
    (data / FILE).write_bytes(b"rubbish")
    with bare_gate(data) as bare:
        assert bare.give(What.OPEN_ONCE).done is Done.OBEYED
        bare.gate.until(lambda: any("counters of orders" in text for text in bare.gate.texts("fault")))


def test_an_order_whose_number_cannot_be_written_is_not_done(data: Path) -> None:
    (data / FILE).mkdir()  # no file can take its place
    with bare_gate(data) as bare:
        reply = bare.give(What.OPEN_ONCE)
        assert reply.done is Done.FAILED
        assert "its number could not be written" in reply.text
        assert bare.gate.board.tape.values("north", "relay") == []


def test_an_order_that_waited_for_a_hung_disk_is_not_done_any_more(data: Path) -> None:
    clock = Clock()

    class Slow(Counters):
        def keep(self, key: str, last: Last) -> None:
            super().keep(key, last)
            clock.s += WAITED_S_MAX + 1

    with bare_gate(data, counters=Slow(data / FILE), now_s=clock) as bare:
        reply = bare.give(What.OPEN_ONCE)
        assert reply.done is Done.EXPIRED
        assert bare.gate.board.tape.values("north", "relay") == []


def test_numbers_of_people_who_left_are_kept_up_to_a_bound(tmp_path: Path) -> None:
    counters = Counters(tmp_path / FILE)
    for number in range(KEYS_MAX + 10):
        counters.keep(f"{number:016x}", Last(number, b""))
    again = Counters(tmp_path / FILE)
    assert again.last(f"{9:016x}") is None
    assert again.last(f"{10:016x}") == Last(10, b"")
    assert not again.fault


# --- rows of refused orders ---------------------------------------------------------------------------------


def test_refusals_are_counted_and_told_at_the_end_of_a_minute_by_kind() -> None:
    clock, rows = Clock(), list[str]()
    refusals = Refusals(rows.append, clock)
    for number in range(1000):
        refusals.refused("malformed", f"no order {number}", 1)
        refusals.refused("stale of ann", f"ann {number}", 10)
    assert sorted(rows) == sorted(["no order 0", *(f"ann {number}" for number in range(10))])
    clock.s += 59.9
    refusals.look()
    assert len(rows) == 11
    clock.s += 0.1
    refusals.look()
    refusals.look()
    assert sorted(rows[11:]) == [
        "990 more orders refused in a minute: stale of ann",
        "999 more orders refused in a minute: malformed",
    ]
    refusals.refused("malformed", "no order any more", 1)
    assert rows[-1] == "no order any more"


def test_refusals_for_ever_more_reasons_need_no_more_memory() -> None:
    rows = list[str]()
    refusals = Refusals(rows.append, Clock())
    for number in range(10_000):
        refusals.refused(f"kind {number}", "refused", 1)
    assert len(refusals._kinds) <= KINDS_MAX + 1
    assert len(rows) == KINDS_MAX + 1


def test_an_order_that_fails_by_a_fault_of_ours_is_answered_and_the_next_is_done(data: Path) -> None:
    with bare_gate(data) as bare:
        reply = bare.give(What.REFRESH)  # the uplink is not there, which no gate at work has
        assert reply.done is Done.FAILED
        assert reply.text.startswith("it failed: AssertionError")
        assert bare.give(What.OPEN_ONCE).done is Done.OBEYED
