"""A gate in a process of its own that takes settings from a real broker, and somebody who sends them."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware import wire
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.mqtt import Broker, Publication
from firmware.row import Row
from firmware.signing import sign
from tests.brokers import LIMIT_S, QUICK
from tests.managed.operated import ANN, Key
from tests.uplinks import VENUE, rows_of

GATE = "a"
HEAD = '[gate]\nname = "a"\nvenue = "arena"\n'
LANE = '[[lane]]\nname = "north"\nunlock_ms = {unlock_ms}\n'
BROKER = '[[broker]]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n'


def settings_text(port: int, unlock_ms: int = 1000, more: str = "") -> str:
    """A whole gate.toml."""
    return HEAD + LANE.format(unlock_ms=unlock_ms) + BROKER.format(port=port) + more


class Desk:
    """An engineer's: sends settings, retained, and hears what is reported."""

    def __init__(self, broker: Broker) -> None:
        self.reports: list[wire.ReportedSettings] = []
        self.line = OperatorLine(broker, VENUE, "desk", (wire.REPORTED,), self._hear, QUICK)

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard.message, wire.ReportedSettings):
            self.reports.append(heard.message)

    def desired(self, version: int, settings: str, key: Key = ANN, **more: Any) -> wire.DesiredSettings:
        """As they should be, but for what is given."""
        found = {"venue": VENUE, "gate": GATE, "key": key.operator.key, "version": version, **more}
        return wire.DesiredSettings(settings=settings, **found)

    def send(self, version: int, settings: str, key: Key = ANN, **more: Any) -> None:
        """Sign and send."""
        self.send_bytes(wire.encode(sign(key.private, self.desired(version, settings, key, **more))))

    def send_bytes(self, payload: bytes) -> None:
        """Whatever it is, retained."""
        publication = Publication(wire.address(wire.DESIRED, VENUE, GATE), payload, retain=True)

        def sent() -> bool | None:
            session = self.line._session
            return True if session is not None and session.publish(publication) else None

        assert self.line.wait(sent, LIMIT_S)

    def until(self, state: wire.SettingsState, desired: int) -> wire.ReportedSettings:
        """Wait for what came of a version."""

        def said() -> wire.ReportedSettings | None:
            fit = (each for each in reversed(self.reports) if (each.state, each.desired) == (state, desired))
            return next(fit, None)

        found = self.line.wait(said, LIMIT_S)
        assert found is not None, self.reports
        return found

    def __enter__(self) -> Self:
        self.line.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.line.__exit__(kind, error, trace)


def texts(data: Path, kind: str = "settings") -> list[str]:
    """Of the rows of a kind."""
    return [row.text for row in _rows(data) if row.kind == kind]


def _rows(data: Path) -> Sequence[Row]:
    return [row for _, row in rows_of(data)]
