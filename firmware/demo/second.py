"""A second gate of the demo's venue, for what one gate cannot show: a copied ticket at another door."""

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from firmware.config import Settings
from firmware.config.board import board_settings
from firmware.mqtt import Pace
from firmware.shots import Shot
from firmware.signals import reason
from firmware.unit import Unit, open_unit
from hal.board import open_board
from hal.ports import Code

ANSWER_S = 10.0  # a lane answers within its record_ms and a bit
JOIN_S_MAX = 10.0


class SecondGate:
    """A whole gate on a fake board of its own, on threads of this process. People walk through at once."""

    def __init__(self, settings: Settings, data: Path, pace: Pace, root: Path) -> None:
        """Open it and let it work; its computer is at `root`. Raises what a gate raises."""
        self._lane = settings.lanes[0].setup.name
        self._last: Shot | None = None
        self._news = threading.Condition()
        self._asking = threading.Lock()
        with ExitStack() as opened:
            board = open_board("fake", {**board_settings(settings), "after_ms": 0})
            unit = open_unit(
                settings, data, board=board, trusted=lambda: True, watch=self._watch, pace=pace, root=root
            )
            self.unit: Unit = opened.enter_context(unit)
            self.unit.gate.start()
            self._thread = threading.Thread(target=self.unit.gate.run, name="second gate", daemon=True)
            self._thread.start()
            opened.callback(self._stop)
            self._opened = opened.pop_all()

    def scan(self, code: str) -> Shot | None:
        """Hold a code to it on the way in. `None` where no answer came in time."""
        with self._asking, self._news:
            self._last = None
            self.unit.gate.scan(self._lane, Code(code), "in")
            self._news.wait_for(lambda: self._last is not None, ANSWER_S)
            return self._last

    def reason(self, shot: Shot) -> str:
        """Why the scan got its verdict, in words."""
        setup = self.unit.gate.lane(shot.lane).setup
        return reason(setup, shot.scan, shot.verdict, shot.text, self.unit.settings.timezone)

    def close(self) -> None:
        """End it. Twice is fine."""
        self._opened.close()

    def __enter__(self) -> Self:
        """The gate at work."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _watch(self, shot: Shot) -> None:
        with self._news:
            self._last = shot
            self._news.notify_all()

    def _stop(self) -> None:
        self.unit.gate.stop()
        self._thread.join(JOIN_S_MAX)
