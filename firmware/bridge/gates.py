"""What gates told of themselves last: their telemetry, and how long ago it came."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from firmware import wire

GATES_MAX = 500  # of which the last telemetry is kept, 4 kB each; a venue has forty
UP_S = 60.0  # telemetry comes every ten seconds: six in a row are missed by a gate that is gone


class LastHeard(NamedTuple):
    """The last telemetry of a gate, and how many seconds old it is."""

    telemetry: wire.Telemetry
    age_s: float

    @property
    def up(self) -> bool:
        """Whether it is recent."""
        return self.age_s <= UP_S


class Gates:
    """Every bridge hears the telemetry of every gate. Any thread may call."""

    def __init__(
        self, say: Callable[[str], None] = lambda _: None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`say` is told the warnings of gates, a line each."""
        self._say, self._now_s = say, now_s
        self._lock = threading.Lock()
        self._of: dict[str, tuple[wire.Telemetry, float]] = {}
        self.dropped = 0
        """Warnings that gates held back because there were too many."""

    def take(self, gate: str, message: wire.Telemetry | wire.Log) -> None:
        """A gate's message came. Where there are too many gates, one that is gone makes room."""
        if isinstance(message, wire.Log):
            self.dropped += message.dropped
            for line in message.lines:
                self._say(f"gate {gate}: {line.text}")
            return
        now_s = self._now_s()
        with self._lock:
            self._of.pop(gate, None)  # so that the one not heard for longest stays in front
            if len(self._of) >= GATES_MAX:
                oldest = next(iter(self._of))
                if now_s - self._of[oldest][1] <= UP_S:
                    return
                del self._of[oldest]
            self._of[gate] = message, now_s

    def now(self) -> Mapping[str, LastHeard]:
        """All that were heard, by name."""
        now_s = self._now_s()
        with self._lock:
            found = sorted(self._of.items())
        return {gate: LastHeard(telemetry, now_s - at_s) for gate, (telemetry, at_s) in found}
