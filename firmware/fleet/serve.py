"""`gatepost fleet serve`: gives gates their certificates. The only process that needs the authority's key.

Gates go on asking, so it need not run all the time: where it does not, new gates wait for their certificate,
and the others renew theirs later. A gate asks when a third of its certificate's life is left: months.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Full, Queue
from typing import NamedTuple

from firmware import wire
from firmware.config.values import NAME
from firmware.fleet import folder as stored
from firmware.fleet.enrol import GATE_LIFE, Came, decide
from firmware.mqtt import PACE, Arrived, Broker, Line, Pace, Publication, Session, Tls
from firmware.ration import Ration

REQUESTS_MAX = 256  # that wait; each takes some 5 ms, and gates ask again after half a minute
LOOK_S = 0.5  # between looks whether to end
TOLD = frozenset({Came.REFUSED, Came.MISUSED})  # what an engineer should do something about


class _Waiting(NamedTuple):
    session: Session
    arrived: Arrived


class Serving:
    """Listens for requests. `work` answers those that came, on the thread of whoever calls it."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        pace: Pace = PACE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        life: timedelta = GATE_LIFE,
    ) -> None:
        """`say` hears of certificates that were given, `complain` of what an engineer should look at.

        Raises `FleetUnusable`.
        """
        self._folder, self._now, self._life = folder, now, life
        self._say, self._complain = say, complain
        self._ration = Ration("more refusals than are told in a minute: somebody keeps asking")
        self._fleet = stored.load(folder)
        stored.issuer(folder)
        self._queue: Queue[_Waiting] = Queue(REQUESTS_MAX)
        own = folder.absolute() / "serve"
        tls = Tls(str(own / "ca.pem"), str(own / "fleet.pem"), str(own / "fleet.key"))
        self.line = Line(
            [Broker(*self._fleet.operated_at, tls)],
            f"fleet-{self._fleet.venue}",
            [wire.address(wire.IDENTITY_REQUEST, self._fleet.venue, "+")],
            self,
            pace=pace,
        )

    def run(self, over: threading.Event) -> None:
        """Until it is over. What is wrong with the connection is told as it changes."""
        known: list[str] = []
        with self.line:
            while not over.is_set():
                self.work(LOOK_S)
                if (faults := list(self.line.faults().values())) != known:
                    for text in faults or ["the broker works again"]:
                        self._complain(text)
                    known = faults

    def work(self, within_s: float) -> None:
        """Answer the next request, waited for so long."""
        try:
            session, arrived = self._queue.get(timeout=within_s)
        except Empty:
            return
        try:
            self._answer(session, arrived)
        except (OSError, stored.FleetUnusable) as error:  # a full disk: the gate asks again
            self._tell(f"a request could not be answered: {error}")
        except Exception as error:  # whatever one request or one gate's file brings about, others are served
            self._tell(f"a request on {arrived.topic} could not be answered: {type(error).__name__}: {error}")
        finally:
            session.acknowledge(arrived)

    def _answer(self, session: Session, arrived: Arrived) -> None:
        found = wire.addressed(arrived.topic, self._fleet.venue)
        if found is None or arrived.retained or not NAME.fullmatch(found.gate):
            return
        try:
            request = wire.decode(arrived.payload, wire.IdentityRequest)
        except wire.Unfit as error:
            self._tell(f'gate "{found.gate}": its request does not fit: {error}')
            return
        decision = decide(self._folder, found.gate, request, self._now(), self._life)
        address = wire.address(wire.IDENTITY_ANSWER, self._fleet.venue, found.gate)
        session.publish(Publication(address, wire.encode(decision.answer)))  # lost: the gate asks again
        line = f'gate "{found.gate}" {decision.came.value}' + (f": {decision.text}" if decision.text else "")
        if decision.came in TOLD:
            self._tell(line)
        else:
            self._say(line)

    def _tell(self, line: str) -> None:
        for each in self._ration.of([line]):
            self._complain(each)

    # --- called by the line, on its thread ----------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Every subscription is confirmed."""
        self._say(f"connected to {session.broker.name}")

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again."""

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """A request; one too many is dropped, because its gate asks again."""
        try:
            self._queue.put_nowait(_Waiting(session, arrived))
        except Full:
            session.acknowledge(arrived)

    def acknowledged(self, session: Session) -> None:
        """An answer is at the broker."""
