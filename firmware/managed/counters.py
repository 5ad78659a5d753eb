"""The last order of each key, on disk: what makes an order that comes twice be done once.

The counter is written before anything is done about its order, and the reply after it. A gate that is killed
in between knows afterwards that the order was begun, and does not begin it again.
"""

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from firmware import wire
from firmware.files import write_whole
from firmware.signing import OPERATORS_MAX

KEYS_MAX = 4 * OPERATORS_MAX  # those of people who left stay, so that their orders do not come to life again
DIGEST_BYTES = 16
LOST = "it was begun, and the gate ended before it could tell what came of it: look at its journal"


class Last(NamedTuple):
    """The newest order of a key that was taken: its counter, a digest of what was signed, what came of it."""

    counter: int
    digest: bytes
    done: wire.Done = wire.Done.FAILED
    text: str = LOST


def digest_of(signed: bytes) -> bytes:
    """Tells two orders with one counter apart."""
    return blake2b(signed, digest_size=DIGEST_BYTES).digest()


class Counters:
    """One file. `fault` says why it could not be read; it is empty then, and written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of: dict[str, Last] = {}
        self.fault = ""
        try:
            self._of = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Last])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            self.fault = f"{path}: the counters of orders cannot be read ({error}): they begin anew"

    def last(self, key: str) -> Last | None:
        """The newest order of this key."""
        return self._of.get(key)

    def keep(self, key: str, last: Last) -> None:
        """On disk when this returns. Raises OSError; then this order counts as not taken."""
        found = self._of | {key: last}
        while len(found) > KEYS_MAX:  # the one that was used longest ago
            del found[min(found, key=lambda each: found[each].counter)]
        write_whole(self._path, msgspec.msgpack.encode(found))
        self._of = found
