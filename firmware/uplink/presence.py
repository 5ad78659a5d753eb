"""Whether this gate is connected, told to all, and whether another one goes by its name."""

from firmware import wire
from firmware.device import Device
from firmware.mqtt import Publication


class Presences:
    """Our birth and will, and what else is said on our own topic.

    A gate that was killed has left its birth there, and its will may come after our birth. Both are of one
    connection. Whoever is born after us, or connects again, is alive: then two gates have one name.
    """

    def __init__(
        self,
        topic: str,
        epoch: int,
        random: str,
        release: str,
        device: Device = Device(),  # noqa: B008  a named tuple: it cannot change
    ) -> None:
        self._topic, self._epoch, self._random, self._release = topic, epoch, random, release
        self._device = device
        self._before: wire.Presence | None = None
        self.born = False
        """Whether a broker has taken our birth."""

    def publication(self, connection: int, online: bool, ip: str = "", trusted: bool = False) -> Publication:
        """Our birth, or our will."""
        device = self._device
        presence = wire.Presence(
            online=online,
            epoch=self._epoch,
            connection=connection,
            random=self._random,
            release=self._release,
            perimeters=device.perimeters,
            mac=device.mac,
            ip=ip,
            serial=device.serial,
            model=device.model,
            trusted=trusted,
        )
        return Publication(self._topic, wire.encode(presence), retain=True)

    def birth(self, connection: int, ip: str = "", trusted: bool = False) -> Publication:
        """Retained, so that whoever comes later knows. Told again when the clock's state changes."""
        return self.publication(connection, online=True, ip=ip, trusted=trusted)

    def will(self, connection: int) -> Publication:
        """What the broker says for us when the connection ends by itself; also our farewell."""
        return self.publication(connection, online=False)

    def is_stranger(self, presence: wire.Presence) -> bool:
        """Whether somebody else who is alive said this on our topic."""
        if presence.random == self._random:
            return False
        before = self._before
        if before is None and not (self.born and presence.online):
            self._before = presence
            return False
        if before is None or presence.random != before.random or presence.connection > before.connection:
            return True
        return presence.online and presence != before
