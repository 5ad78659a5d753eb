"""The bridges of one ledger: what one of them held that died is soon another's.

Each has a name, `life@place`: a number that no other process has, and the folder that it works on. Whoever
works on a folder knows that all before it are dead, unless one shows that it is alive. PostgreSQL tells who
does; where nobody can tell, leases of other folders have to run out.
"""

import hashlib
import platform
import secrets
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from firmware.bridge.database import CONNECT_S, LIVES_MAX, SignOfLife
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Ledger
from firmware.bridge.work import LEDGER_RETRY_S_MAX

LOOK_S = 1.5  # between two looks; one is a query of a table in memory and two of a small index
# After the database was away each bridge comes back at a moment of its own: it has to notice, to give up what
# it tries at that moment, and to wait for the next try. Who starts does not know how long ago that was.
BACK_S = LEDGER_RETRY_S_MAX + CONNECT_S + LOOK_S
ALONE_S = 60.0  # where nobody can tell who is alive


def new_life() -> int:
    """A number that no other process of this ledger has."""
    return secrets.randbelow(LIVES_MAX)


def name_of(life: int, place: str) -> str:
    """A bridge's name: `life` is a whole number, and `place` tells its folder from all others."""
    return f"{life:x}@{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def told_as(data: Path) -> str:
    """What gates call the bridge of this folder: the same at each start, so what it said before is over.

    Machines that were copied have one name and one folder, but not one network card.
    """
    place = f"{platform.node()}:{uuid.getnode():x}:{data.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def life_of(name: str) -> int:
    """The number in a bridge's name; -1 where it has none, so that it is not alive."""
    life = name.partition("@")[0]
    try:
        return int(life, 16)
    except ValueError:
        return -1


class Peers:
    """Looks who is alive. `freed` is called when something of a dead one may be taken."""

    def __init__(
        self,
        name: str,
        sign: SignOfLife,
        ledger: Ledger,
        feed: Feed,
        freed: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show that this bridge is alive, and free what the ones before it in this place held.

        Another machine may have the same name and the same folder: who shows that he is alive keeps it all.
        """
        self._sign = sign
        self._ledger = ledger
        self._feed = feed
        self._freed = freed
        self._clock_s = clock_s
        self._since_s: float | None = None  # when this bridge was back itself; no look has failed since
        self._missed = frozenset[str]()
        alive = sign.alive() or frozenset()
        place = name.partition("@")[2]
        here = (each for each in self._holders() if each.partition("@")[2] == place)
        self._free(frozenset(each for each in here if life_of(each) not in alive))

    def turn(self) -> float:
        """Free what dead ones held. One is dead who is missed twice, once all had time to come back."""
        since_s, self._since_s = self._since_s, None
        alive = self._sign.alive()
        if alive is None:
            return ALONE_S
        now_s = self._clock_s()
        self._since_s = now_s if since_s is None else since_s
        missed = frozenset[str]()
        if now_s - self._since_s >= BACK_S:
            missed = frozenset(name for name in self._holders() if life_of(name) not in alive)
        if dead := missed & self._missed:
            self._free(dead)
            self._freed()
        self._missed = missed
        return LOOK_S

    def _holders(self) -> set[str]:
        return self._ledger.holders() | self._feed.readers()

    def _free(self, dead: frozenset[str]) -> None:
        if dead:
            self._ledger.release(dead)
            self._feed.release(dead)
