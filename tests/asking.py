"""A bridge of a few lines that answers asks, as the test tells it to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from firmware import wire
from firmware.core.ticket import Perimeter, Verdict
from firmware.mqtt import Arrived, Broker, Line, Publication, Session
from tests.brokers import LIMIT_S, QUICK
from tests.uplinks import MODEL_LANE, VENUE

BOTH = (Perimeter.OUTER, Perimeter.INNER)
ACME = wire.Account("acme", True, True, BOTH, 3000)
ROUTE = '[[route]]\nstarts = "V"\nvendor = "acme"\nauthority = "vendor"\n'


def asking(route: str = "", lanes: str = MODEL_LANE) -> str:
    """A gate whose codes that begin with V are the vendor's; `route` adds to its route."""
    return f"{lanes}{ROUTE}{route}\n"


def yes(ask: wire.Ask, text: str = "OKAY") -> wire.Answer:
    """The vendor lets the ticket in."""
    return wire.Answer(scan=ask.scan, digest=ask.digest, word=wire.Word.ACCEPTED, text=text)


def no(ask: wire.Ask, verdict: Verdict = Verdict.USED, text: str = "ALREADY_ENTERED") -> wire.Answer:
    """The vendor refuses."""
    return wire.Answer(scan=ask.scan, digest=ask.digest, word=wire.Word.REFUSED, verdict=verdict, text=text)


def none(ask: wire.Ask, text: str, doubt: bool = False) -> wire.Answer:
    """There will be no answer."""
    return wire.Answer(scan=ask.scan, digest=ask.digest, word=wire.Word.UNANSWERED, text=text, doubt=doubt)


def silence(ask: wire.Ask) -> wire.Answer | None:
    """The vendor says nothing."""
    return None


class AnsweringBridge:
    """Tells each gate that is born of its `account`, and answers what `decide` says."""

    def __init__(self, broker: Broker, account: wire.Account | None = ACME) -> None:
        self.account = account
        self.decide: Callable[[wire.Ask], wire.Answer | None] = yes
        self.asks: list[wire.Ask] = []
        self.births: list[wire.Presence] = []
        self.news = threading.Condition()
        self.sessions: list[Session] = []
        topics = [wire.address(topic, VENUE, "+") for topic in (wire.STATUS, wire.ASK)]
        self.line = Line([broker], f"answering-{id(self)}", topics, self, pace=QUICK)

    def connected(self, session: Session) -> None:
        with self.news:
            self.sessions.append(session)
            self.news.notify_all()

    def disconnected(self, session: Session, why: str) -> None:
        pass

    def acknowledged(self, session: Session) -> None:
        with self.news:
            self.news.notify_all()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        found = wire.addressed(arrived.topic, VENUE)
        assert found is not None
        session.acknowledge(arrived)
        if found.topic == wire.STATUS:
            presence = wire.decode(arrived.payload, wire.Presence)
            with self.news:
                self.births += [presence] if presence.online else []
                self.news.notify_all()
            if presence.online and self.account is not None:
                self.tell(found.gate, self.account)
            return
        ask = wire.decode(arrived.payload, wire.Ask)
        with self.news:
            self.asks.append(ask)
            self.news.notify_all()
        if (answer := self.decide(ask)) is not None:
            self.send(found.gate, answer)

    def tell(self, gate: str, *accounts: wire.Account) -> None:
        """How the vendors are."""
        self._publish(wire.VENDORS, gate, wire.Vendors(accounts=accounts))

    def send(self, gate: str, answer: wire.Answer) -> None:
        """An answer, whenever."""
        self._publish(wire.ANSWER, gate, answer)

    def _publish(self, topic: wire.Topic, gate: str, message: wire.Message) -> None:
        assert self.sessions[-1].publish(Publication(wire.address(topic, VENUE, gate), wire.encode(message)))

    def asked(self, count: int) -> wire.Ask:
        """Wait for so many questions; the last of them."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.asks) >= count, LIMIT_S)
            return self.asks[count - 1]

    def wait(self, what: Callable[[], object]) -> None:
        with self.news:
            assert self.news.wait_for(what, LIMIT_S)


@contextmanager
def answering(broker: Broker, account: wire.Account | None = ACME) -> Iterator[AnsweringBridge]:
    """A bridge that is connected."""
    bridge = AnsweringBridge(broker, account)
    with bridge.line:
        bridge.wait(lambda: bridge.sessions)
        yield bridge
