"""A whole gate in a process of its own, with a fake board, told what to do by lines of JSON.

`python -m tests.bench.gate_child SETTINGS DATA [bare]`; a bare one has neither health nor orders. Times are
nanoseconds of `perf_counter`, which all processes of this machine share.
"""

import json
import queue
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from firmware.config import load
from firmware.config.board import board_settings
from firmware.core.ticket import NO_HISTORY, Status
from firmware.shots import Shot, Shots
from firmware.unit import Unit, open_unit
from hal.board import open_board
from hal.ports import Code
from tests.bench.figures import PACE
from tests.bench.relay import ANSWER_S, WALK_MS, running, settle

LOOK_S = 0.001  # between two looks at what has no bell
PATIENCE_S = 600.0  # for a million tickets on a machine that is busy


def until(what: Callable[[], object]) -> int:
    """Wait until it is so; when it was."""
    ends_s = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > ends_s:
            raise TimeoutError("it did not come about")
        PACE.wait(LOOK_S)
    return time.perf_counter_ns()


class Door:
    """Carries the commands out."""

    def __init__(self, unit: Unit, shots: "queue.SimpleQueue[Shot]") -> None:
        self._unit, self._shots = unit, shots
        assert unit.uplink is not None
        self._uplink = unit.uplink
        self.commands: dict[str, Callable[..., dict[str, object]]] = {
            "connected": self.connected,
            "can_ask": self.can_ask,
            "receipt": self.receipt,
            "tickets": self.tickets,
            "scan": self.scan,
            "listed": self.listed,
            "known": self.known,
            "state": self.state,
        }

    def connected(self) -> dict[str, object]:
        """Wait for the broker."""
        until(lambda: self._uplink.connected_to)
        return {"broker": self._uplink.connected_to}

    def can_ask(self) -> dict[str, object]:
        """Wait until the bridge has told of its vendors."""
        shape = self._unit.settings.routes[0]
        link = self._unit.gate.facts.link
        assert link is not None
        now, place = self._unit.gate.clock.now, self._unit.settings.lanes[0].setup.perimeter
        until(lambda: self._in_loop(lambda: not link.look(shape.route, place, now()).trouble))
        return {}

    def receipt(self, row: int) -> dict[str, object]:
        """From the connection to the receipt for this row."""
        began_ns = until(lambda: self._uplink.connected_to)
        first = self._uplink.receipt
        return {"ns": until(lambda: self._uplink.receipt >= row) - began_ns, "first": first}

    def tickets(self, count: int) -> dict[str, object]:
        """From the connection to a list of so many tickets in use."""
        began_ns = until(lambda: self._uplink.connected_to)
        return {"ns": until(lambda: self._unit.catalogue.count >= count) - began_ns}

    def scan(self, code: str) -> dict[str, object]:
        """Hold a code to the reader; what was decided, and when."""
        self._unit.gate.scan("1", Code(code), None)
        shot = self._shots.get(timeout=ANSWER_S)
        settle(self._unit, "1")
        return {
            "verdict": shot.verdict,
            "read_ns": shot.read_ns,
            "decided_ns": shot.decided_ns,
            "durable_ns": shot.durable_ns,
            "relay_ns": shot.relay_ns,
        }

    def _in_loop(self, look: Callable[[], bool]) -> bool:
        """Look where the loop looks, on its thread."""
        found: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._unit.gate.do(lambda: found.put(look()))
        return found.get(timeout=ANSWER_S)

    def listed(self, codes: list[str]) -> dict[str, object]:
        """Wait until the codes' tickets are listed as valid, each for itself, and let the people in."""
        catalogue = self._unit.catalogue
        digests = {code: catalogue.digest(code) for code in codes}
        listed_ns: dict[str, int] = {}

        def valid() -> bool:
            for code in codes:
                ticket = catalogue.get(digests[code])
                if ticket is not None and ticket.status is Status.VALID:
                    listed_ns.setdefault(code, time.perf_counter_ns())
            return len(listed_ns) == len(codes)

        until(lambda: self._in_loop(valid))
        return {"shots": [{"listed_ns": listed_ns[code], **self.scan(code)} for code in codes]}

    def known(self, code: str) -> dict[str, object]:
        """Wait until another gate's admission of this code counts here; then hold it to the reader."""
        facts = self._unit.gate.facts
        ticket = facts.tickets.get(facts.tickets.digest(code))
        assert ticket is not None, code
        print(json.dumps({"watching": True}), flush=True)
        known_ns = until(lambda: self._in_loop(lambda: facts.history(ticket.ticket_id) != NO_HISTORY))
        return {"known_ns": known_ns, **self.scan(code)}

    def state(self) -> dict[str, object]:
        """How it is."""
        return {"faults": list(self._uplink.faults().values()), "odd": dict(self._uplink.odd)}


def strip(unit: Unit, shots: "queue.SimpleQueue[Shot]") -> None:
    """Take away what manages a gate from elsewhere, and what it tells of itself."""
    assert unit.uplink is not None
    unit.uplink._parts = ()
    unit.gate._shots = Shots(shots.put)
    unit.register.__exit__()
    unit.measures.__exit__()


def main(settings_file: str, data: str, bare: str = "") -> int:
    """Work until the input ends or SIGTERM comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = load(Path(settings_file))
    board = open_board("fake", {**board_settings(settings), "after_ms": WALK_MS})
    shots: queue.SimpleQueue[Shot] = queue.SimpleQueue()
    with (
        open_unit(settings, Path(data), board=board, trusted=lambda: True, watch=shots.put) as unit,
        ExitStack() as stack,
    ):
        if bare:
            strip(unit, shots)
        stack.enter_context(running(unit))
        door = Door(unit, shots)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            print(json.dumps(door.commands[command.pop("do")](**command)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
