"""`gatepost order`: signs what somebody wants of gates, sends it, and shows what came of it."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware import wire
from firmware.command_line import DONE, FINDING, WrongUse, number
from firmware.core.ticket import Direction
from firmware.doctor.check import Check, Verdict, as_lines
from firmware.files import write_whole
from firmware.fleet import folder as fleets
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.fleet.rotation import NotSealed, certificate_of, sealed_for
from firmware.signals import visible
from firmware.signing import key_id, sign
from firmware.venue_key import read_key
from firmware.wire import Done, What

ALL = "*"
# An order is for now: two clocks with NTP differ by milliseconds, and one without by some seconds.
GOOD_FOR_MS = 60_000
BIRTHS_S = 3.0  # the broker tells them with the subscription, some milliseconds each
WAIT_S = 15  # for replies: a card that is busy takes a second to keep an order's number
DOCTOR_S = 75  # a gate gives its doctor a minute
WAIT_S_MAX = 600
COUNTER_DIGITS_MAX = 19
PERHAPS_OPENED = "has connected anew, it is said: see that the lane is locked, then give the order again"
NOT_CONNECTED = "is not connected: look at its power and its network, and see gatepost watch"

MEANINGS = {
    What.OPEN_ONCE: "open a lane for one person",
    What.FREE: "leave lanes open until further notice; scans spend nothing",
    What.SHUT: "let nobody in; an alarm frees the lanes all the same",
    What.NORMAL: "end free, shut and a drill",
    What.ALARM_DRILL: "free the lanes as an alarm does, for two minutes or until normal",
    What.REFRESH: "ask the bridge for changes of the list now, with --whole for all of it",
    What.RESTART: "restart the gate's program when nobody is being served",
    What.REBOOT: "reboot the computer",
    What.IDENTIFY: "let the lamps blink yellow for 15 s, to find the gate",
    What.DOCTOR: "look at everything that can be looked at while it works, and show it",
    What.ROTATE_KEY: "hand it the venue key of the fleet's folder, sealed",
}
LANES = frozenset({What.OPEN_ONCE, What.FREE, What.SHUT, What.NORMAL, What.ALARM_DRILL, What.IDENTIFY})


class Said(NamedTuple):
    """What became of an order at one gate; without a word where no reply came."""

    gate: str
    done: Done | None
    text: str
    report: str = ""


class Operator(NamedTuple):
    """Who gives the order, from which folder."""

    fleet: Path
    venue: str
    name: str
    private: Ed25519PrivateKey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("gate", metavar="GATE", help="its name; '*' for all of the venue")
    parser.add_argument("what", metavar="WHAT", choices=[what.value for what in What], help="see below")
    parser.add_argument("--lane", default="", metavar="NAME", help="only this lane; else all of the gate")
    parser.add_argument(
        "--direction",
        choices=[direction.value for direction in Direction],
        default=Direction.IN.value,
        help="for open_once, where a lane works both ways (default %(default)s)",
    )
    parser.add_argument("--whole", action="store_true", help="with refresh: the whole list")
    parser.add_argument("--fleet", type=Path, required=True, metavar="DIR", help="the fleet's folder")
    parser.add_argument("--as", dest="who", required=True, metavar="NAME", help="the operator who gives it")
    parser.add_argument(
        "--wait",
        type=number(1, WAIT_S_MAX),
        metavar="S",
        help=f"for replies, in seconds (default {WAIT_S}, for doctor {DOCTOR_S})",
    )
    meanings = "\n".join(f"  {what.value:<12} {meaning}" for what, meaning in MEANINGS.items())
    parser.epilog = (
        f"WHAT is one of\n{meanings}\n\n"
        "A steward may open once, a supervisor do everything.\n\n"
        "Exit codes: 0 every gate obeyed; 1 one did not, is not connected or did not answer; 2 wrong use, or "
        "no\nconnection to the broker."
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Give the order. Raises `WrongUse`, `FleetUnusable`, `NoConnection`, and what else the folder raises."""
    what = What(arguments.what)
    if arguments.lane and what not in LANES:
        raise WrongUse(f"--lane goes with what lanes do, and {what} is for the whole gate: take it out")
    if arguments.whole and what is not What.REFRESH:
        raise WrongUse("--whole goes with refresh only: take it out")
    fleet = fleets.load(arguments.fleet)
    private = fleets.operator_key(arguments.fleet, arguments.who)
    operator = Operator(arguments.fleet, fleet.venue, arguments.who, private)
    replies = Replies(key_id(private.public_key()))
    broker = fleets.operator_broker(arguments.fleet, fleet, arguments.who)
    wait_s = arguments.wait or (DOCTOR_S if what is What.DOCTOR else WAIT_S)
    wish = Wish(what, arguments.lane, Direction(arguments.direction), arguments.whole)
    with OperatorLine(broker, fleet.venue, arguments.who, (wire.REPLY,), replies.hear) as line:
        if arguments.gate in (ALL, f"{fleet.venue}/{ALL}"):
            known = {gate.gate for gate in fleets.gates(arguments.fleet) if not gate.revoked}
            births = line.gates(known, BIRTHS_S)
            absent = sorted(known - births.keys())
        else:
            born = line.gate(arguments.gate, BIRTHS_S)
            births = {} if born is None else {arguments.gate: born}
            absent = [] if births else [arguments.gate]
        said = give(line, replies, operator, wish, births, wait_s)
        faults = [fault for fault in line.faults if any(each.done is None for each in said)]
    said += [Said(gate, None, NOT_CONNECTED) for gate in absent]
    if not said:
        said = [Said(ALL, None, "no gate of the venue is connected")]
    for text in [*lines(sorted(said)), *faults]:
        say(text)
    return DONE if all(each.done is Done.OBEYED for each in said) else FINDING


# --- giving ------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """What is wanted, of every gate alike."""

    what: What
    lane: str = ""
    direction: Direction = Direction.IN
    whole: bool = False


class Replies:
    """Replies to one key, by gate and number. What could not be read has no number."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._of: dict[tuple[str, int], wire.Reply] = {}

    def hear(self, heard: Heard) -> None:
        """On the line's thread."""
        reply = heard.message
        if isinstance(reply, wire.Reply) and reply.key == self._key and not heard.retained:
            self._of[heard.gate, reply.counter] = reply

    def to(self, order: wire.Order) -> wire.Reply | None:
        """The reply to this order, if it has come."""
        return self._of.get((order.gate, order.counter)) or self._of.get((order.gate, 0))


def give(
    line: OperatorLine,
    replies: Replies,
    operator: Operator,
    wish: Wish,
    births: dict[str, wire.Presence],
    wait_s: float,
) -> list[Said]:
    """Give it to each of these gates, and wait. One that has connected anew meanwhile is told once more.

    What the broker says of a gate, and that an order was stale, is signed by nobody. So only another epoch or
    connection counts, for which the first order is not good; and a lane is not opened a second time.
    """
    said = _give(line, replies, operator, wish, births, wait_s)
    if wish.what is What.OPEN_ONCE:
        return [each._replace(text=PERHAPS_OPENED) if each.done is Done.STALE else each for each in said]
    now = line.births()
    anew = {
        each.gate: now[each.gate]
        for each in said
        if each.done is Done.STALE and each.gate in now and _life(now[each.gate]) != _life(births[each.gate])
    }
    again = _give(line, replies, operator, wish, anew, wait_s) if anew else []
    return [each for each in said if each.gate not in anew] + again


def _life(born: wire.Presence) -> tuple[int, str, int]:
    """What an order is bound to."""
    return born.epoch, born.random, born.connection


def _give(
    line: OperatorLine,
    replies: Replies,
    operator: Operator,
    wish: Wish,
    births: dict[str, wire.Presence],
    wait_s: float,
) -> list[Said]:
    first = next_counter(operator.fleet, operator.name, len(births))
    orders: list[wire.Order] = []
    without: list[Said] = []
    for counter, (gate, born) in enumerate(sorted(births.items()), first):
        try:
            orders.append(order_for(operator, wish, gate, born, counter))
        except NotSealed as error:  # the others get theirs
            without.append(Said(gate, Done.FAILED, str(error)))
    for order in orders:
        line.send(wire.COMMAND, order.gate, sign(operator.private, order))
    line.wait(lambda: True if all(map(replies.to, orders)) else None, wait_s)
    return [_said(order, replies.to(order), wait_s) for order in orders] + without


def order_for(operator: Operator, wish: Wish, gate: str, born: wire.Presence, counter: int) -> wire.Order:
    """The order for one gate as it is connected now. Raises `NotSealed`, `FleetUnusable`, `KeyUnusable`."""
    sealed = b""
    if wish.what is What.ROTATE_KEY:
        certificate = certificate_of(operator.fleet, gate)
        sealed = sealed_for(certificate, read_key(fleets.Paths(operator.fleet).venue_key))
    return wire.Order(
        venue=operator.venue,
        gate=gate,
        key=key_id(operator.private.public_key()),
        counter=counter,
        epoch=born.epoch,
        random=born.random,
        connection=born.connection,
        expires_utc_ms=time.time_ns() // 1_000_000 + GOOD_FOR_MS,
        what=wish.what,
        lane=wish.lane,
        direction=wish.direction,
        whole=wish.whole,
        sealed=sealed,
    )


def next_counter(fleet: Path, who: str, count: int) -> int:
    """The first of so many numbers that this operator has never used, on disk when this returns.

    They also grow with the time, so that a folder which was put back from a copy goes on above them.
    Raises `FleetUnusable`.
    """
    path = fleet / "operators" / f"{who}.counter"
    with fleets.writing(fleet):
        stored = 0
        with suppress(FileNotFoundError):
            text = path.read_text("ascii", "replace").strip()
            if not (text.isdecimal() and len(text) <= COUNTER_DIGITS_MAX):
                raise fleets.FleetUnusable(
                    f"{path}: is no number: remove it, and see that the clock is right"
                )
            stored = int(text)
        first = max(stored + 1, time.time_ns() // 1000)
        write_whole(path, f"{first + count - 1}\n".encode())
    return first


def _said(order: wire.Order, reply: wire.Reply | None, wait_s: float) -> Said:
    if reply is None:
        return Said(order.gate, None, f"no reply within {wait_s:g} s: it may have been obeyed all the same")
    return Said(order.gate, reply.done, reply.text, reply.report)


# --- showing -----------------------------------------------------------------------------------------------


def lines(said: Sequence[Said]) -> list[str]:
    """A line for each gate, and below it what its doctor found wrong."""
    width = max(len(each.gate) for each in said)
    words = [_word(each.done) for each in said]
    length = max(map(len, words))
    shown: list[str] = []
    for each, word in zip(said, words, strict=True):
        shown.append(f"{each.gate:<{width}}  {word:<{length}}  {visible(each.text, 400)}".rstrip())
        shown += [f"{'':<{width}}  {line}" for line in _found(each.report, all_of_it=len(said) == 1)]
    return shown


def _word(done: Done | None) -> str:
    if done is None:
        return "no reply"
    return str(done) if done in (Done.OBEYED, Done.FAILED) else f"refused: {done}"


def _found(report: str, all_of_it: bool) -> Iterable[str]:
    """A doctor's checks; of several gates only what is not well."""
    if not report:
        return []
    try:
        checks = msgspec.convert(json.loads(report)["checks"], list[Check])
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        return ["its report cannot be read: is the gate of another release?"]
    shown = [check for check in checks if all_of_it or check.verdict is not Verdict.OK]
    return [visible(line, 500) for line in as_lines(shown)]
