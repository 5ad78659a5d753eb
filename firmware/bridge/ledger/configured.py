"""Devices as vendors configured them, by account, gate and perimeter; and who of several bridges does it."""

import json
from collections.abc import Iterator, Mapping
from enum import Enum, auto

from sqlalchemy import select, update

from firmware.bridge import schema
from firmware.bridge.database import Database, insert_new
from firmware.bridge.vendor import NOTHING_KEPT
from firmware.core.ticket import Perimeter

AHEAD_MAX = 2  # leases that a lease may end in the future: clocks of bridges differ a little


class Claim(Enum):
    """What a bridge that wants to configure a device finds."""

    MINE = auto()
    DONE = auto()
    ELSEWHERE = auto()


class Configured:
    """The devices of one ledger. Every call is one transaction, and raises `LedgerLost` where none can be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_of(self, account: str) -> Iterator[tuple[str, Perimeter, str, Mapping[str, str]]]:
        """Gate, perimeter, the birth that it was configured for, and what the vendor gave."""
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
    ) -> tuple[Claim, Mapping[str, str]]:
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
                return Claim.ELSEWHERE, NOTHING_KEPT
            held_until_ms = now_utc_ms + lease_ms
            values = update(schema.device).where(*of).values(worker=worker, lease_ms=held_until_ms)
            connection.execute(values)
        return Claim.MINE, NOTHING_KEPT

    def keep(self, account: str, place: tuple[str, Perimeter], birth: str, kept: Mapping[str, str]) -> None:
        """The vendor said yes, for this birth of the gate."""
        columns = schema.device.c
        gate, perimeter = place
        with self._database.transaction() as connection:
            connection.execute(
                update(schema.device)
                .where(columns.account == account, columns.gate == gate, columns.perimeter == perimeter.value)
                .values(birth=birth, kept=json.dumps(dict(kept)), worker="", lease_ms=0)
            )

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


def _read(kept: str) -> Mapping[str, str]:
    read: dict[str, str] = json.loads(kept)
    return read
