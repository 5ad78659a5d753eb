"""The whole system on a real broker: vendors, bridges and gates, and ways to end each of them at any moment.

The vendors are sandboxes in the test's own process, so that their books survive all else. `settle` waits
until there is nothing left to do; `tests.whole.books` then compares what everybody wrote down.
"""

import itertools
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from firmware.bridge import schema
from firmware.bridge.bam import BamSettings
from firmware.bridge.database import Database
from firmware.bridge.ingresse import IngresseSettings
from firmware.bridge.presence import PresenceSettings
from firmware.bridge.sandbox import bam, ingresse, presence, vivenu
from firmware.bridge.sandbox.vivenu_tickets import BLANK, INVALID, VALID
from firmware.bridge.settings import AccountSettings, BridgeSettings
from firmware.bridge.vivenu import VivenuSettings
from firmware.config import BrokerSettings
from firmware.core.ticket import Choice, Ticket
from firmware.venue_key import venue_key
from tests.brokers import ANYBODY, RunningBroker, mosquitto_broker
from tests.uplinks import rows_of
from tests.whole import bam_books
from tests.whole.books import Key, Ledger, Listed, Sandbox, audit, is_made, noted_in, read_ledger, receipt_of
from tests.whole.cables import Cable
from tests.whole.life import Ended, Life
from tests.whole.lives import (
    IN,
    PATIENCE_S,
    VENUE,
    BridgeFacts,
    GateFacts,
    GateSettings,
    Haste,
    live_as_bridge,
    live_as_gate,
)

SETTLE_S = 150.0  # a lost receipt or request is missed after up to a minute; only a failing test waits longer
LOOK_S = 0.05  # between two looks whether all is done
GATES_LOOK_S = 1.5  # a gate looks each second whether a fault has come that has no row yet
LOOKS_A_MINUTE = 20  # of those who may not wait for minutes to go by
TICKETS = 120
PATIENT_MS = 10_000  # for the answer to an ask on such a machine: the longest that can be set
SLOW_S = 20.0  # for a check-in or look-up on a loaded machine; tests of slow vendors set their own

VENDORS: Mapping[str, Callable[[int, int, Mapping[str, Any]], Sandbox]] = MappingProxyType(
    {
        "ingresse": lambda tickets, seed, more: ingresse.Sandbox(tickets=tickets, seed=seed, **more),
        "vivenu": lambda tickets, seed, more: vivenu.Sandbox(tickets=tickets, seed=seed, **more),
        "presence": lambda tickets, seed, more: presence.Sandbox(tickets=tickets, seed=seed, **more),
        "bam": lambda tickets, seed, more: bam.Sandbox(tickets=tickets, seed=seed, **more),
    }
)


class WorldGate:
    """A gate with its data, and the cable that connects it. `folders` is every card that it ever had."""

    def __init__(self, name: str, data: Path, cable: Cable) -> None:
        self.name, self.cable = name, cable
        self.folders = [data]
        self.settings = GateSettings(name, data, (cable.port,))
        self.life = Life(live_as_gate, self.settings)

    @property
    def data(self) -> Path:
        return self.settings.data

    def use(self, **changed: Any) -> None:
        """Other settings from the next start on."""
        assert not self.life.runs
        self.settings = self.settings._replace(**changed)
        self.life = Life(live_as_gate, self.settings)
        if self.data not in self.folders:
            self.folders.append(self.data)

    @property
    def written(self) -> list[Path]:
        """Cards that have a journal: some gates die before theirs is made."""
        return [folder for folder in self.folders if is_made(folder)]

    def scan(self, code: str, lane: str = IN) -> str:
        verdict: str = self.life.call("scan", code, lane)
        return verdict

    def facts(self) -> GateFacts:
        found: GateFacts = self.life.call("facts")
        return found

    def tickets(self, digests: Sequence[bytes]) -> list[Ticket | None]:
        found: list[Ticket | None] = self.life.call("tickets", list(digests))
        return found

    def outcomes(self) -> list[tuple[int, str, str]]:
        found: list[tuple[int, str, str]] = self.life.call("outcomes")
        return found


class World:
    """One venue. `seed` names the chances of this run, and stands in what a failing test prints."""

    def __init__(
        self, folder: Path, broker: RunningBroker, sandboxes: Mapping[str, Sandbox], ledger_url: str = ""
    ) -> None:
        drawn = 1 if os.environ.get("CI") else SystemRandom().randrange(1 << 32)  # as in tests/conftest.py
        self.seed = int(os.environ.get("GATEPOST_SEED", drawn))
        sys.stdout.write(f"GATEPOST_SEED={self.seed}\n")
        self.folder, self.broker, self.sandboxes = folder, broker, sandboxes
        self.bridge_data = folder / "bridge"
        self.bridge_data.mkdir(mode=0o700)
        venue_key(self.bridge_data)
        self.ledger_url = ledger_url or f"sqlite:///{self.bridge_data / 'ledger.db'}"
        self.settings = self.bridge_settings(broker.port)
        self.haste = Haste.NONE
        self.bridges = [self._bridge(self.bridge_data)]
        self.gates: dict[str, WorldGate] = {}
        self._undo = ExitStack()

    # --- parts ---------------------------------------------------------------------------------------------

    def bridge_settings(self, port: int) -> BridgeSettings:
        """All accounts, at this broker."""
        accounts = tuple(
            AccountSettings(name, 1, 24, 1000, 1000, account_settings(name, sandbox))
            for name, sandbox in self.sandboxes.items()
        )
        return BridgeSettings(VENUE, "", (BrokerSettings("127.0.0.1", port, tls=False),), accounts)

    def use(self, haste: Haste, **changed: Any) -> None:
        """Start the bridge anew: how it waits for vendors, and other settings of the vendors."""
        for bridge in self.bridges:
            bridge.stop()
        accounts = tuple(
            account._replace(vendor=account.vendor._replace(**changed)) for account in self.settings.accounts
        )
        self.settings, self.haste = self.settings._replace(accounts=accounts), haste
        self.bridges = [self._bridge(self.bridge_data)]
        self.bridge.start()

    def _bridge(self, data: Path) -> Life:
        return Life(live_as_bridge, self.settings._replace(ledger=self.ledger_url), data, self.haste)

    @property
    def bridge(self) -> Life:
        return self.bridges[0]

    @property
    def sandbox(self) -> Sandbox:
        """The only vendor."""
        (sandbox,) = self.sandboxes.values()
        return sandbox

    def add_bridge(self) -> Life:
        """Another one, which shares ledger, key and work; not started."""
        data = self.folder / f"bridge-{len(self.bridges)}"
        data.mkdir(mode=0o700)
        shutil.copy2(self.bridge_data / "key", data / "key")
        self.bridges.append(self._bridge(data))
        return self.bridges[-1]

    def bridge_facts(self) -> BridgeFacts:
        found: BridgeFacts = self.bridge.call("facts")
        return found

    def add_gate(self, name: str, port: int = 0, known_as: str = "") -> WorldGate:
        """A gate with an empty card, not started; at the world's broker, or at another port.

        `known_as` tells it from another one of the same name.
        """
        cable = self._undo.enter_context(Cable(port or self.broker.port))
        gate = WorldGate(name, self.new_card(name), cable)
        self.gates[known_as or name] = gate
        return gate

    def new_card(self, name: str) -> Path:
        """A data folder with nothing but the venue's key."""
        data = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        (data / "catalogue").mkdir(parents=True, mode=0o700)
        shutil.copy2(self.bridge_data / "key", data / "catalogue" / "key")
        return data

    def codes(self, count: int, account: str = "") -> list[str]:
        """Codes that the vendor has sold, and nobody has used."""
        sandbox = self.sandboxes[account] if account else self.sandbox
        if isinstance(sandbox, presence.Sandbox):
            event = sandbox.events[0].id
            found = sandbox.codes(count, event=event, sold=True, refunded=False, marked=False, inside=False)
        elif isinstance(sandbox, vivenu.Sandbox):
            found = sandbox.codes(count, valid=True, inside=False)
        elif isinstance(sandbox, bam.Sandbox):
            found = sandbox.codes(count, event=sandbox.validators[0].event, status="issued")
        else:
            found = sandbox.codes(count, sold=True, refunded=False, inside=False)
        assert len(found) == count
        return found

    # --- time ----------------------------------------------------------------------------------------------

    def until(self, what: Callable[[], object], limit_s: float = PATIENCE_S) -> None:
        """Wait for what has no bell of its own."""
        pause, deadline_s = threading.Event(), time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < deadline_s, f"seed {self.seed}: it did not come about"
            pause.wait(LOOK_S)

    def pause(self, seconds: float) -> None:
        """Let the others work, for as long as chance has it."""
        threading.Event().wait(seconds)

    def minutes_go_by(self, *, failed_only: bool = False) -> None:
        """What waits for its turn at a vendor may go now. `failed_only`: what was never sent waits on."""
        work = schema.work.c
        waiting = select(work.id).where(work.state == "due", work.attempts >= int(failed_only))
        free = waiting.with_for_update(skip_locked=True)  # a bridge that holds some never waits for us
        with Database(self.ledger_url) as database, database.transaction() as connection:
            connection.execute(update(schema.work).where(work.id.in_(free)).values(next_ms=0))

    def until_changes(self, than: int) -> None:
        """Wait until more than so many changes were made at the only vendor.

        One that fails half of what it is asked makes each movement wait up to minutes, and all later ones of
        its ticket with it, until nobody's turn comes within a test's patience: here a minute is a second.
        """
        turns = itertools.count(1)

        def enough() -> bool:
            if next(turns) % LOOKS_A_MINUTE == 0:
                self.minutes_go_by(failed_only=True)
            return self.sandbox.books().changes > than

        self.until(enough)

    # --- the end -------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        return read_ledger(self.ledger_url)

    def settle(self, *, vendors: bool = True, limit_s: float = SETTLE_S) -> None:
        """Wait until nothing is left to do.

        `vendors` False: these may not know all, because they are down, or a card is out with rows on it.
        """
        if self.haste is Haste.HOURS:  # gates are told of a bridge that is ahead, and write that down
            self.pause(GATES_LOOK_S)
        left, deadline_s, pause = "", time.monotonic() + limit_s, threading.Event()
        while left := self._left(vendors):
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"seed {self.seed}: {left}\n{self._state()}")
            pause.wait(LOOK_S)

    def _left(self, vendors: bool) -> str:
        """What is still to be done, or nothing. What is cheap to find comes first."""
        running = [gate for gate in self.gates.values() if gate.life.runs]
        facts = {gate.name: gate.facts() for gate in running}
        for name, found in facts.items():
            if not found.connected_to:
                return f"gate {name} is not connected"
            if found.receipt != found.committed:
                return f"gate {name} has a receipt for row {found.receipt}, and wrote {found.committed}"
        try:
            ledger = self.ledger()
        except (OperationalError, ProgrammingError) as error:  # it has no tables yet
            return f"the ledger: {error}"
        if vendors and (left := self._left_at_vendors(ledger)):
            return left
        for gate in running:
            found = facts[gate.name]
            if (found.feed, found.cursor >= ledger.newest) != (ledger.feed, True):
                return f"gate {gate.name} is at {found.feed} {found.cursor}: {ledger.feed} {ledger.newest}"
            if found.tickets != sum(not ticket.gone for ticket in ledger.tickets.values()):
                return f"gate {gate.name} has {found.tickets} tickets"
            unheard = ledger.movements_elsewhere(gate.name, gate.data) - set(noted_in(gate.data))
            if unheard and (lacks := sorted(unheard - self._on_other_cards(gate.name))):
                return f"gate {gate.name} has not heard of {len(lacks)} movements: {lacks[:3]}"
        return ""

    def _on_other_cards(self, hearer: str) -> set[Key]:
        """Movements of other gates on cards that are out: the gate tells of them when the card is back.

        The bridge tells only those who were away; whoever was there hears it from the gate itself. Rows of a
        gate's two cards often bear the same numbers, so these alone do not tell which card has which.
        """
        found: set[Key] = set()
        for gate in self.gates.values():
            if gate.name != hearer:
                cards = {
                    card: {(gate.name, row.id, row.digest) for row, _ in rows_of(card)}
                    for card in gate.written
                }
                here = cards.pop(gate.data, set())
                found |= set().union(*cards.values()) - here
        return found

    def _left_at_vendors(self, ledger: Ledger) -> str:
        if ledger.loose:
            return f"{ledger.loose} batches wait for rows in front of them"
        undone = [work for work in ledger.works if work.state != "done"]
        if undone:
            return f"{len(undone)} movements to be told, as {undone[0]}"
        if untold := sum(not work.told for work in ledger.works):
            return f"{untold} outcomes to be told"
        for account, sandbox in self.sandboxes.items():
            for name, known, why in _compared(ledger, account, sandbox):
                return f"ticket {name} is {known} in the feed, which is wrong: {why}"
        return ""

    def _state(self) -> str:
        """For whoever reads a failure."""
        lines = []
        for gate in self.gates.values():
            with suppress(Ended):
                lines.append(f"gate {gate.name}: {gate.facts() if gate.life.runs else 'stopped'}")
        for bridge in self.bridges:
            with suppress(Ended):
                lines.append(f"bridge: {bridge.call('facts') if bridge.runs else 'stopped'}")
        return "\n".join(lines)

    def audit(self, *reports: str, maybe: Sequence[str] = (), uncertain: int = 0) -> Ledger:
        """Compare all books. `reports`: the kinds that there must be; `maybe`: that there may be besides.

        `uncertain` is how many movements at most may be marked so.
        """
        for gate in self.gates.values():
            if gate.life.runs:
                self._compare_catalogue(gate)
        journals: dict[str, list[Path]] = {}
        for gate in self.gates.values():
            journals.setdefault(gate.name, []).extend(gate.written)
        try:
            ledger = audit(self.ledger_url, journals, self.sandboxes, uncertain, self._ends())
            for account, sandbox in self.sandboxes.items():
                if isinstance(sandbox, bam.Sandbox):
                    bam_books.compare(ledger, account, sandbox)
            found = {kind for kind, _ in ledger.reports} - {"uncertain", *maybe}
            assert found == set(reports), ledger.reports
            return ledger
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}\n{self._state()}") from error

    def _ends(self) -> dict[Path, int]:
        """The last rows that the ledger has by now, of journals that may have more.

        A gate at work may write at any time (a fault ends): what it has now is waited for. A card that is in
        no gate keeps alone what it wrote last.
        """
        ends = {card: receipt_of(card) for gate in self.gates.values() for card in gate.written}
        for gate in self.gates.values():
            if not gate.life.runs:
                ends.pop(gate.data, None)
            elif (end := gate.facts().committed) > ends[gate.data]:
                self.until(lambda gate=gate, end=end: gate.facts().receipt >= end)  # type: ignore[misc]  # bound now
                ends[gate.data] = end
        return ends

    def _compare_catalogue(self, gate: WorldGate) -> None:
        ledger = self.ledger()
        listed = {name: ticket for name, ticket in ledger.tickets.items() if not ticket.gone}
        found = gate.tickets([ticket.digest for ticket in listed.values()])
        for (name, ticket), held in zip(listed.items(), found, strict=True):
            assert held is not None, f"gate {gate.name} lacks {name}"
            assert (held.ticket_id, held.status, held.event, held.session) == (
                name,
                ticket.status,
                ticket.event,
                ticket.session,
            ), f"gate {gate.name}: {held} is {ticket} in the feed"

    def close(self) -> None:
        """End every process."""
        for life in (*self.bridges, *(gate.life for gate in self.gates.values())):
            life.kill()
        self._undo.close()


def _compared(ledger: Ledger, account: str, sandbox: Sandbox) -> Iterator[tuple[str, Listed | None, str]]:
    """Tickets that the feed does not have as the vendor does."""
    if isinstance(sandbox, presence.Sandbox):
        return  # it has no list
    if isinstance(sandbox, vivenu.Sandbox):
        yield from _compared_vivenu(ledger, account, sandbox)
        return
    if isinstance(sandbox, bam.Sandbox):
        yield from bam_books.compared(ledger, account, sandbox)
        return
    for ticket in sandbox.tickets.walk():
        name = f"{account}:{ticket.id}"
        known = ledger.tickets.get(name)
        if known is None or (known.code, known.inside) != (ticket.code, ticket.inside):
            yield name, known, "its code, or where it is"
        elif (known.status == "refunded") != bool(ticket.refunded_ms):
            yield name, known, "whether it was refunded"
        elif ticket.sold and known.status in ("unsold", "blocked"):
            yield name, known, "it is sold"


VIVENU_STATUSES = {VALID: "valid", INVALID: "cancelled"}


def _compared_vivenu(
    ledger: Ledger, account: str, sandbox: vivenu.Sandbox
) -> Iterator[tuple[str, Listed | None, str]]:
    """The same for a vendor that says nothing of who is inside. Blank tickets are in no list."""
    for ticket in sandbox.tickets.walk():
        name = f"{account}:{ticket.id}"
        known = ledger.tickets.get(name)
        if ticket.status == BLANK:
            if known is not None:
                yield name, known, "it is blank"
            continue
        status = VIVENU_STATUSES.get(ticket.status, "blocked")
        if known is None or (known.code, known.status) != (ticket.code, status):
            yield name, known, f"its code {ticket.code}, or status {status}"


def account_settings(
    name: str, sandbox: Sandbox
) -> IngresseSettings | VivenuSettings | PresenceSettings | BamSettings:
    """An account at a sandbox, with all of its events; of B.A.M. with one, as its validators are."""
    if isinstance(sandbox, bam.Sandbox):
        return bam_books.settings_of(name, sandbox)
    if isinstance(sandbox, presence.Sandbox):
        return PresenceSettings(
            key=sandbox.key,
            venue=sandbox.venue,
            name=name,
            device_url=sandbox.base,
            ticket_url=sandbox.base,
            gates={},  # goes to another process
            ask_deadline_ms=PATIENT_MS,
        )
    if isinstance(sandbox, vivenu.Sandbox):
        return VivenuSettings(
            token=sandbox.token,
            events=tuple(event.id for event in sandbox.events),
            name=name,
            api_url=sandbox.url,
            online_timeout_s=5.0,
            upload_timeout_s=SLOW_S,
        )
    events = tuple((str(event.id), tuple(str(one.id) for one in event.sessions)) for event in sandbox.events)
    settings = IngresseSettings(
        name=name,
        key=sandbox.key,
        login="password",
        email=sandbox.email,
        password=sandbox.password,
        events=events,
        unsold=Choice.ADMIT,
        api_url=sandbox.url,
        check_in_timeout_s=SLOW_S,
        look_timeout_s=SLOW_S,
    )
    return settings._replace(status_map=dict(settings.status_map))  # goes to another process


@contextmanager
def world_at_work(
    *names: str,
    accounts: Sequence[str] = ("hall",),
    config: str = ANYBODY,
    files: Mapping[str, str] = MappingProxyType({}),
    tickets: int = TICKETS,
    start: bool = True,
    vendors: Mapping[str, str] = MappingProxyType({}),
    ledger_url: str = "",
    own: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **sandbox: Any,
) -> Iterator[World]:
    """A world with a bridge and these gates, all at work and at the present.

    `vendors` names the vendor of an account, where it is another than Ingresse. `config` is the broker's,
    where `{folder}` has these `files`. `ledger_url`: of an empty database; without, the ledger is a
    file. The rest is for the sandboxes, and `own` for that of an account.
    """
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for file, text in files.items():
            (folder / file).write_text(text, "utf-8")
        broker = stack.enter_context(mosquitto_broker(folder, config.replace("{folder}", name)))
        sandboxes: dict[str, Sandbox] = {}
        for seed, account in enumerate(accounts, 1):
            more = {**sandbox, **own.get(account, {})}
            sandboxes[account] = VENDORS[vendors.get(account, "ingresse")](tickets, seed, more)
            stack.callback(sandboxes[account].close)
        world = World(folder, broker, sandboxes, ledger_url)
        stack.callback(world.close)
        for gate_name in names:
            world.add_gate(gate_name)
        if start:
            world.bridge.start()
            world.until(lambda: world.bridge_facts().broker)  # else a gate asks nobody, and again in 30 s
            for gate in world.gates.values():
                gate.life.begin()
            world.settle()
        yield world
