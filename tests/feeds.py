"""A bridge's feed in memory and a gate's catalogue that follows it, for tests."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firmware import spool, wire
from firmware.catalogue import Build, Catalogue
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter, Ticket
from firmware.sync import Sync, Taken
from firmware.venue_key import digest_of, key_mark, keyed

NOW_MS = 1_790_000_000_000
KEY = bytes(range(32))
CODES = keyed(KEY)
PATIENCE_S = 60.0  # only a failing test waits this long
PAUSE = threading.Event()


def moved(row: int) -> wire.Moved:
    return wire.Moved(
        "south", row, bytes(16), row, Act.OPENED, f"a:{row}", Direction.IN, (Perimeter.OUTER,), NOW_MS
    )


@dataclass
class Bridge:
    """The feed as the bridge keeps it: of each ticket the last word, each with the number of its change."""

    feed: str = "f1"
    page_items: int = 3
    number: int = 0
    stamp_utc_ms: int = NOW_MS
    mark: bytes = key_mark(KEY)
    entries: dict[str, tuple[int, wire.Change]] = field(default_factory=dict)

    def say(self, item: wire.Change) -> None:
        self.number += 1
        name = f"moved {item.row}" if isinstance(item, wire.Moved) else item.ticket_id
        self.entries[name] = (self.number, item)

    def sell(self, name: str, code: str = "", **fields: object) -> None:
        ticket = Ticket(f"a:{name}", **fields)  # type: ignore[arg-type]  # fields of any one ticket
        self.say(wire.Listed(digest_of(CODES, code or f"CODE-{name}"), *ticket))

    def refund(self, name: str) -> None:
        self.say(wire.Gone(f"a:{name}"))

    def live(self) -> dict[str, wire.Listed]:
        return {name: item for name, (_, item) in self.entries.items() if isinstance(item, wire.Listed)}

    def since(self, cursor: int) -> list[tuple[int, wire.Change]]:
        return sorted((pair for pair in self.entries.values() if pair[0] > cursor), key=lambda pair: pair[0])

    def pages(self, request: wire.CatalogueRequest) -> list[wire.CataloguePage]:
        after = request.cursor if request.feed == self.feed and request.cursor <= self.number else 0
        waiting = self.since(after)
        made = []
        for _ in range(request.pages):
            now, waiting = waiting[: self.page_items], waiting[self.page_items :]
            upto = now[-1][0] if waiting else max(self.number, after)
            made.append(
                wire.CataloguePage(
                    feed=self.feed,
                    key_mark=self.mark,
                    after=after,
                    upto=upto,
                    more=bool(waiting),
                    tickets=len(self.live()),
                    stamp_utc_ms=self.stamp_utc_ms,
                    items=tuple(item for _, item in now),
                )
            )
            after = upto
            if not waiting:
                break
        return made

    def changes(self, after: int) -> wire.Changes:
        return wire.Changes(
            feed=self.feed,
            key_mark=self.mark,
            after=after,
            upto=self.number,
            tickets=len(self.live()),
            stamp_utc_ms=self.stamp_utc_ms,
            items=tuple(item for _, item in self.since(after)),
        )


@dataclass
class Gate:
    """A catalogue and its sync, with a clock that stands still unless it is told to go on."""

    data: Path
    catalogue: Catalogue
    sync: Sync
    noted: list[wire.Moved]
    now_s: list[float]
    takes_notes: list[bool]
    reloads: bool = True
    """Here, as the gate's loop does; where a test has a thread in its place, that alone may."""

    def wait(self, seconds: float) -> None:
        self.now_s[0] += seconds

    def ask(self) -> wire.CatalogueRequest:
        """What is asked for next, once a list that is being made is in use."""
        for _ in range(int(PATIENCE_S * 100)):
            request = self.sync.request()
            if request is not None:
                return request
            PAUSE.wait(0.01)
            if self.reloads:
                self.catalogue.reload()
        raise AssertionError(f"nothing is asked for: {self.sync.fault}")

    def follow(self, bridge: Bridge) -> Taken:
        """Ask and take until the present is reached, or another fault."""
        known = self.sync.fault
        self.sync.connected()
        for _ in range(1000):
            for page in bridge.pages(self.ask()):
                taken = self.sync.take(page)
            if taken.done or taken.fault not in ("", known):
                return taken
        raise AssertionError("the present is never reached")

    def holds(self, bridge: Bridge) -> bool:
        """Whether it has the tickets of the feed, all of them and as they are there."""
        live = bridge.live().values()
        found = all(self.catalogue.get(item.digest) == spool.ticket_of(item) for item in live)
        about = self.catalogue.about()
        return found and about is not None and about.tickets == len(live)


def opened(data: Path, believed: Callable[[int], int] = lambda utc_ms: utc_ms) -> Iterator[Gate]:
    folder = data / "catalogue"
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(KEY)
    noted: list[wire.Moved] = []
    now_s, takes_notes = [1000.0], [True]

    def note(movements: Sequence[wire.Moved]) -> bool:
        if takes_notes[0]:
            noted.extend(movements)
        return takes_notes[0]

    with (
        Catalogue(folder, now_utc_ms=NOW_MS) as catalogue,
        Sync(data, catalogue, note, lambda: now_s[0], believed) as one,
    ):
        yield Gate(data, catalogue, one, noted, now_s, takes_notes)


def page_of(after: int, upto: int, items: Sequence[wire.Change], *, more: bool) -> wire.CataloguePage:
    return wire.CataloguePage(
        feed="f1",
        key_mark=key_mark(KEY),
        after=after,
        upto=upto,
        more=more,
        tickets=0,
        stamp_utc_ms=NOW_MS,
        items=tuple(items),
    )


def import_one(folder: str) -> None:
    with Build(Path(folder), source="list.csv", stamp_utc_ms=NOW_MS) as build:
        build.add(1, build.digest("LOCAL"), Ticket("local"))
        build.swap()


def until_fault(gate: Gate) -> None:
    for _ in range(int(PATIENCE_S * 100)):
        gate.sync.request()
        if gate.sync.fault:
            return
        PAUSE.wait(0.01)
    raise AssertionError("no fault came")


def until(true: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S * 100)):
        if true():
            return
        PAUSE.wait(0.01)
    raise AssertionError("it never came")
