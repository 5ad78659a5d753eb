"""Devices as vendors configured them, by account, gate and perimeter; and who of several bridges does it.

What a vendor gave before is kept as well, with the time from which each held: a scan that it is told of later
carries what held when it was made.
"""

import json
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import NamedTuple

from sqlalchemy import select, update

from firmware.bridge import schema
from firmware.bridge.database import Database, insert_new
from firmware.core.ticket import Perimeter

AHEAD_MAX = 2  # leases that a lease may end in the future: clocks of bridges differ a little
HELD_MAX = 16  # of one device: it changes with a gate's name, address or card, not with its starts
ALL_HELD = "held"  # the ledger's own name beside a vendor's; no adapter sees it


class Claim(Enum):
    """What a bridge that wants to configure a device finds."""

    MINE = auto()
    DONE = auto()
    ELSEWHERE = auto()


class Held(NamedTuple):
    """What a vendor gave for a device, and from when on it held; 0 where that is not known."""

    since_utc_ms: int
    kept: Mapping[str, str]


NEVER: tuple[Held, ...] = ()


class Configured:
    """The devices of one ledger. Every call is one transaction, and raises `LedgerLost` where none can be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_of(self, account: str) -> Iterator[tuple[str, Perimeter, str, tuple[Held, ...]]]:
        """Gate, perimeter, the birth that it was configured for, and what the vendor gave, oldest first."""
        columns = schema.device.c
        query = select(columns.gate, columns.perimeter, columns.birth, columns.kept)
        with self._database.look() as connection:
            lines = connection.execute(query.where(columns.account == account, columns.birth != "")).all()
        for gate, perimeter, birth, kept in lines:
            yield gate, Perimeter(perimeter), birth, _read(kept)

    def claim(
        self,
        account: str,
        place: tuple[str, Perimeter],
        birth: str,
        worker: str,
        now_utc_ms: int,
        lease_ms: int,
    ) -> tuple[Claim, tuple[Held, ...]]:
        """Whether to configure this device now, for this birth; what was kept where it is done already."""
        columns = schema.device.c
        gate, perimeter = place
        of = (columns.account == account, columns.gate == gate, columns.perimeter == perimeter.value)
        with self._database.transaction() as connection:
            line = {
                "account": account, "gate": gate, "perimeter": perimeter.value, "birth": "", "kept": "{}",
                "worker": "", "lease_ms": 0,
            }  # fmt: skip
            connection.execute(insert_new(connection, schema.device), line)
            query = select(columns.birth, columns.kept, columns.worker, columns.lease_ms).where(*of)
            found = connection.execute(query).one()
            if found.birth == birth:
                return Claim.DONE, _read(found.kept)
            held = now_utc_ms < found.lease_ms <= now_utc_ms + AHEAD_MAX * lease_ms
            if held and found.worker != worker:
                return Claim.ELSEWHERE, NEVER
            held_until_ms = now_utc_ms + lease_ms
            values = update(schema.device).where(*of).values(worker=worker, lease_ms=held_until_ms)
            connection.execute(values)
        return Claim.MINE, NEVER

    def keep(
        self,
        account: str,
        place: tuple[str, Perimeter],
        birth: str,
        kept: Mapping[str, str],
        now_utc_ms: int,
    ) -> tuple[Held, ...]:
        """The vendor said yes, for this birth of the gate. All that it has given, with the newest last."""
        columns = schema.device.c
        gate, perimeter = place
        of = (columns.account == account, columns.gate == gate, columns.perimeter == perimeter.value)
        with self._database.transaction() as connection:
            held = _read(connection.execute(select(columns.kept).where(*of)).scalar_one())
            if not held or held[-1].kept != kept:
                held = (*held, Held(now_utc_ms, kept))[-HELD_MAX:]
            values = update(schema.device).where(*of)
            connection.execute(values.values(birth=birth, kept=_written(held), worker="", lease_ms=0))
        return held

    def give_back(self, account: str, place: tuple[str, Perimeter], worker: str) -> None:
        """It did not come about: whoever is next may try."""
        columns = schema.device.c
        gate, perimeter = place
        with self._database.transaction() as connection:
            connection.execute(
                update(schema.device)
                .where(
                    columns.account == account,
                    columns.gate == gate,
                    columns.perimeter == perimeter.value,
                    columns.worker == worker,
                )
                .values(worker="", lease_ms=0)
            )


def _written(held: tuple[Held, ...]) -> str:
    """The newest as the release before this one reads it, and all of it as one more text beside that."""
    all_of_it = json.dumps([[since_utc_ms, dict(kept)] for since_utc_ms, kept in held])
    return json.dumps({**held[-1].kept, ALL_HELD: all_of_it})


def _read(written: str) -> tuple[Held, ...]:
    """What stands there; the release before this one, at work beside it perhaps, writes the newest alone."""
    kept: dict[str, str] = json.loads(written)
    all_of_it = kept.pop(ALL_HELD, "")
    if not all_of_it:
        return (Held(0, kept),) if kept else NEVER
    return tuple(Held(since_utc_ms, each) for since_utc_ms, each in json.loads(all_of_it))
