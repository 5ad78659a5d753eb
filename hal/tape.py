"""The memory of the fake board: what every part did, and when."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hal.schedule import Scheduler

TAPE_LENGTH_MAX = 10_000  # edges; about 1,500 people, so a test sees its whole story and a demo stays small


@dataclass(frozen=True, slots=True)
class Edge:
    """Something changed: `part` is relay, arm, lamp or buzzer, or without a lane ("") alarm or tamper."""

    at_ms: int
    lane: str
    part: str
    value: str


class Tape:
    """The newest edges of a board, in order; `dropped` counts the older ones that were let go."""

    def __init__(self, time: Scheduler) -> None:
        self.dropped = 0
        self._time = time
        self._edges: deque[Edge] = deque(maxlen=TAPE_LENGTH_MAX)
        self._grown = threading.Condition()

    @property
    def edges(self) -> tuple[Edge, ...]:
        """What is on the tape now."""
        with self._grown:
            return tuple(self._edges)

    def values(self, lane: str, part: str) -> list[str]:
        """What one part did, in order."""
        return [edge.value for edge in self.edges if (edge.lane, edge.part) == (lane, part)]

    def add(self, lane: str, part: str, value: str) -> None:
        """Put an edge on the tape, with the time that it is now."""
        with self._grown:
            self.dropped += len(self._edges) == TAPE_LENGTH_MAX
            self._edges.append(Edge(self._time.now_ms(), lane, part, value))
            self._grown.notify_all()

    def wait_for(self, seen: Callable[[tuple[Edge, ...]], bool], timeout_s: float) -> bool:
        """Wait, in real time, until the tape is as wanted; False when the time is over."""
        with self._grown:
            return self._grown.wait_for(lambda: seen(tuple(self._edges)), timeout_s)
