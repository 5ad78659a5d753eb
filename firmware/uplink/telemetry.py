"""Telemetry every ten seconds, and warnings as they come: what a gate tells of itself.

What the loop hands over is a story that is over, with the times in it (`firmware.shots`); everything else is
read where it stands. Quantiles are computed on the uplink's thread, from the last thousand.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from firmware import wire
from firmware.catalogue import Catalogue
from firmware.core.ticket import Verdict
from firmware.faults import Register, plain
from firmware.gate import Gate
from firmware.journal import Journal
from firmware.measures import Measures
from firmware.shots import Shot
from firmware.uplink.part import Outgoing
from firmware.wire.remote import PARTS_MAX

EVERY_S = 10.0  # a person who watches forty gates notices no sooner
LOG_EVERY_S = 1.0  # warnings of one second share a message
LAST = 1000  # scans whose times are kept: an hour of a quiet gate, some minutes of a rush
US = 1000  # nanoseconds in a microsecond


class Tally:
    """Counts scans and keeps the times of the last ones. The loop calls it with each story that is over."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.decide_ns: deque[int] = deque(maxlen=LAST)
        self.commit_ns: deque[int] = deque(maxlen=LAST)

    def __call__(self, shot: Shot) -> None:
        """One more. An ask is decided by its answer, so its time is mostly the vendor's."""
        self.verdicts[shot.verdict] += 1
        self.decide_ns.append(shot.decided_ns - shot.read_ns)
        if shot.durable_ns is not None:
            self.commit_ns.append(shot.durable_ns - shot.decided_ns)


def quantiles(taken_ns: Sequence[int]) -> wire.Quantiles:
    """The middle, and what one in a hundred is above; 0 where there is nothing yet."""
    if not taken_ns:
        return wire.Quantiles(0, 0)
    ordered = sorted(taken_ns)
    middle, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return wire.Quantiles(max(0, middle // US), max(0, most // US))


class Telemetry:
    """The part of the uplink that sends both; every gate with a broker has it."""

    topics: Sequence[wire.Topic] = ()

    def __init__(
        self,
        gate: Gate,
        catalogue: Catalogue,
        journal: Journal,
        measures: Measures,
        register: Register,
        tally: Tally,
        release: str,
        settings_version: Callable[[], int] = lambda: 0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate, self._catalogue, self._journal = gate, catalogue, journal
        self._measures, self._register, self._tally = measures, register, tally
        self._release, self._settings_version, self._now_s = release, settings_version, now_s
        self._started_s = now_s()
        self._due_s = self._log_due_s = float("-inf")

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        """Whoever watches hears of a gate that came back at once."""
        self._due_s = float("-inf")

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        """It hears nothing."""
        raise wire.Unfit("a topic that was not asked for")

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        """What is due. One that is lost is followed by the next."""
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            yield Outgoing(wire.TELEMETRY, self.message())
        if now_s >= self._log_due_s:
            lines, dropped = self._register.take_lines()
            if lines:
                self._log_due_s = now_s + LOG_EVERY_S
                told = tuple(wire.Line(each.utc_ms, each.text) for each in lines)
                yield Outgoing(wire.LOG, wire.Log(lines=told, dropped=dropped))

    def message(self) -> wire.Telemetry:
        """How the gate is now."""
        gate, catalogue, tally, measured = self._gate, self._catalogue, self._tally, self._measures.latest
        utc_ms = gate.clock.floor_utc_ms
        parts = [wire.PartState(part, plain(fault)) for part, fault in gate.parts().items()]
        return wire.Telemetry(
            epoch=self._journal.epoch,
            utc_ms=utc_ms,
            trusted=gate.clock.trusted,
            up_ms=int((self._now_s() - self._started_s) * 1000),
            release=self._release,
            settings_version=self._settings_version(),
            verdicts={verdict: tally.verdicts[verdict] for verdict in list(tally.verdicts)},
            inbox=gate.waiting,
            late_turns=gate.late_turns,
            decide=quantiles(list(tally.decide_ns)),
            commit=quantiles(list(tally.commit_ns)),
            tickets=catalogue.count,
            catalogue_age_ms=max(0, utc_ms - catalogue.stamp_utc_ms) if catalogue.stamp_utc_ms else 0,
            key_mark=catalogue.key_mark,
            backlog_rows=measured.backlog_rows,
            parts=tuple(parts[:PARTS_MAX]),
            faults=tuple(
                wire.NamedFault(each.code.code, each.since_utc_ms, each.text)
                for each in self._register.standing
            ),
            temperature_mc=measured.temperature_mc,
            under_voltage=measured.under_voltage,
            memory_free_bytes=measured.memory_free_bytes,
            disk_free_bytes=measured.disk_free_bytes,
        )
