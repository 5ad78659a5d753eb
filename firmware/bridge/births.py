"""Which gates are there: what each said of itself when it connected last.

Every bridge hears every birth. A death counts only for the connection that it belongs to.
"""

import threading
from collections.abc import Callable, Mapping

from firmware import wire

GATES_MAX = 2_000  # of one venue, as elsewhere in the bridge; a name more is somebody's mischief


class Births:
    """Births by gate, from the connection's thread. `born` is called after each one, without a lock."""

    def __init__(self, born: Callable[[], None]) -> None:
        self._born = born
        self._lock = threading.Lock()
        self._of: dict[str, wire.Presence] = {}

    def take(self, gate: str, presence: wire.Presence) -> None:
        """A gate's status came."""
        with self._lock:
            known = self._of.get(gate)
            if not presence.online:
                if known is not None and _ends(presence, known):
                    del self._of[gate]
                return
            if known == presence or (known is None and len(self._of) >= GATES_MAX):
                return
            self._of[gate] = presence
        self._born()

    def now(self) -> Mapping[str, wire.Presence]:
        """The gates that are connected."""
        with self._lock:
            return dict(self._of)

    def of(self, gate: str) -> wire.Presence | None:
        """One gate's birth."""
        return self._of.get(gate)


def name_of(presence: wire.Presence) -> str:
    """What tells one birth from all others."""
    return f"{presence.random}:{presence.epoch}:{presence.connection}"


def _ends(death: wire.Presence, birth: wire.Presence) -> bool:
    """Whether it is this birth's connection that is over, or a later one; not that of a card taken out."""
    return death.random == birth.random and _life(death) >= _life(birth)


def _life(presence: wire.Presence) -> tuple[int, int]:
    return presence.epoch, presence.connection
