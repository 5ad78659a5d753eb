"""How an account at Ticketmaster Presence is set, and every request that is sent there.

Pure: settings in, `httpx.Request` out. Only `firmware.bridge.presence` sends them. What Ticketmaster's three
revisions spell in two ways is a setting.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import msgspec

from firmware.bridge.addresses import fits
from firmware.bridge.lenient import number_of
from firmware.bridge.macs import LOCAL_BIT, plain
from firmware.bridge.vendor import LATE_S, Device, Told, manner
from firmware.core.ticket import Direction, Perimeter

BASE_URL = "https://app.ticketmaster.com/presence/v1"  # the partner's own address comes with the key
SUFFIXES = ("", ".json")  # the tables have none, the samples have one
VENUE_PARAMETERS = ("venueId", "venue")
LOOK_PARAMETERS = ("mac", "device")
GATE_PARAMETERS = ("gateName", "gateId")
INTERNAL_ENTRIES = ("enter", "validate")  # the second one is deprecated since March 2020
DEVICE_SYSTEMS = ("Printed", "printed")  # as the table has it, as the samples have it
OFFLINE = ("closed", "upload")
ASK_DEADLINE_MS = 3000  # Presence's own limit
ASK_DEADLINE_MS_MIN, ASK_DEADLINE_MS_MAX = 500, 10_000
CONNECT_PART = 0.4  # of the deadline: where there is no way, two tries say so while the person stands there
INIT_RETRY_MAX_S, INIT_RETRY_MAX_S_MAX = 30, 600  # nobody scans there meanwhile
CONFIGURE_TIMEOUT_S = 5.0  # nobody stands at a gate; it is tried again
# Nobody waits at a gate for an upload, and a reply that is given up leaves each of its scans to a person.
UPLOAD_TIMEOUT_S, UPLOAD_TIMEOUT_S_MAX = 10.0, 30.0
BATCH_SIZE = 20  # no limit is published; one lost reply leaves as many scans uncertain
BATCH_SIZE_MAX = 100
GATES_MAX = 256  # as many entries as a list in the settings takes
LOOK_TRIES = 2  # a look has no effect

OKAY = "OKAY"
# Each revision has words of its own for somebody who left; none of them lets anybody in.
ACCEPT_EXIT = (OKAY, "EXIT", "INTERNAL_SCAN_EXIT", "INTERNAL_EXIT_SCAN", "EXITED", "EXIT_INTERNAL")
STATUS = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
CHANNEL = re.compile(r"[A-Za-z]?")
PATH = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
NOBODY = "00:00:00:00:00:00"  # no device has it: asked for, to hear whether key and address are right

NO_GATES: Mapping[tuple[str, Perimeter], str] = MappingProxyType({})


class PresenceSettings(NamedTuple):
    """One account: a venue at Presence. `key` and `venue` have no default.

    `gates` says what Ticketmaster calls a gate's perimeter (its name, or with `gate_parameter` "gateId" its
    number); others are called as here. `accept_entry`, `accept_internal` (entries at an inner ring) and
    `accept_exit` are the statuses that open. `offline` is "closed", or "upload" where what gates let in
    without Presence is uploaded; with `send_again` an upload whose reply was lost is sent once more. The key
    is the text itself, never a file's name.
    """

    key: str
    venue: str
    name: str = "presence"
    device_url: str = BASE_URL
    ticket_url: str = BASE_URL
    path_suffix: str = ""
    gates: Mapping[tuple[str, Perimeter], str] = NO_GATES
    venue_parameter: str = "venueId"
    look_parameter: str = "mac"
    gate_parameter: str = "gateName"
    internal_entry: str = "enter"
    device_os: str = "Printed"
    channel: str = ""
    accept_entry: tuple[str, ...] = (OKAY,)
    accept_internal: tuple[str, ...] = (OKAY,)
    accept_exit: tuple[str, ...] = ACCEPT_EXIT
    ask_deadline_ms: int = ASK_DEADLINE_MS
    init_retry_max_s: int = INIT_RETRY_MAX_S
    offline: str = "closed"
    upload_path: str = "ticket/upload"
    batch_size: int = BATCH_SIZE
    upload_timeout_s: float = UPLOAD_TIMEOUT_S
    send_again: bool = False

    def gate(self, gate: str, perimeter: Perimeter) -> str:
        """What Ticketmaster calls it."""
        own = gate if perimeter is Perimeter.OUTER else f"{gate} {perimeter.value}"
        return self.gates.get((gate, perimeter), own)

    def accepts(self, direction: Direction, perimeter: Perimeter) -> tuple[str, ...]:
        """The statuses that open, for a way at one of the rings."""
        if direction is Direction.OUT:
            return self.accept_exit
        return self.accept_entry if perimeter is Perimeter.OUTER else self.accept_internal


class Scan(NamedTuple):
    """What is sent of a scan."""

    code: str
    direction: Direction
    at_utc_ms: int


class Requests:
    """The requests of one account."""

    def __init__(self, settings: PresenceSettings) -> None:
        self._set = settings

    def init(self, what: str, device: Device, mac: str) -> httpx.Request:
        """Configure a scanner."""
        named = device.gate if device.perimeter is Perimeter.OUTER else f"{device.gate} {device.perimeter}"
        body = {
            "venueId": self._set.venue,
            "name": named,
            "mac": mac,
            "ip": device.ip,
            self._set.gate_parameter: self._set.gate(device.gate, device.perimeter),
            "serial": device.serial or mac,  # a field that must be given, and not every computer has one
            "model": device.model or "gatepost",
        }
        return self._post(self._set.device_url, "device/init", body, what, CONFIGURE_TIMEOUT_S)

    def look(self, what: str, mac: str, device_id: str = "") -> httpx.Request:
        """Read a scanner's configuration back, by one of its two names and never by both."""
        by_id = self._set.look_parameter == "device" and device_id
        named = ("device", device_id) if by_id else ("mac", mac)
        return self._look(self._set.device_url, named, manner(what, CONFIGURE_TIMEOUT_S, LOOK_TRIES))

    def trial(self, what: str) -> httpx.Request:
        """Look for a device that nobody has, where scans go and in the time that one may take."""
        return self._look(
            self._set.ticket_url, ("mac", NOBODY), manner(what, self._set.ask_deadline_ms / 1000)
        )

    def _look(self, base: str, named: tuple[str, str], sent: dict[str, Any]) -> httpx.Request:
        return httpx.Request(
            "GET",
            self._url(base, "device"),
            params=[(self._set.venue_parameter, self._set.venue), named, ("apikey", self._set.key)],
            extensions=sent,
        )

    def scan(self, what: str, scan: Scan, perimeter: Perimeter, kept: Mapping[str, str]) -> httpx.Request:
        """Ask about an entry or exit. It is carried out in any case, so it has one try."""
        way = "exit"
        if scan.direction is Direction.IN:
            way = "enter" if perimeter is Perimeter.OUTER else self._set.internal_entry
        deadline_s = self._set.ask_deadline_ms / 1000
        request = self._post(
            self._set.ticket_url,
            f"ticket/{way}",
            self._entry(scan, kept),
            what,
            deadline_s + LATE_S,
            deadline_s,
        )
        request.extensions["timeout"]["connect"] = CONNECT_PART * deadline_s
        return request

    def upload(self, what: str, batch: Sequence[Told]) -> httpx.Request:
        """Hand in scans that were let in without Presence.

        The one place that knows what an upload looks like. Ticketmaster gives its form to partners only: this
        is an assumption, the objects of a scan with a direction each. Each names the device that it was made
        with, whatever its gate has become since. Where that is not known (the scan is older than all that the
        ledger has of the device) the oldest known one stands there.
        """
        body = [
            {
                **self._entry(Scan(told.code, told.direction, told.at_utc_ms), told.kept),
                "direction": "enter" if told.direction is Direction.IN else "exit",
            }
            for told in batch
        ]
        path = self._set.upload_path
        return self._post(self._set.ticket_url, path, body, what, self._set.upload_timeout_s)

    def _entry(self, scan: Scan, kept: Mapping[str, str]) -> dict[str, object]:
        """A scan as Presence wants it, of that device. Ids come as texts or numbers, and go as numbers."""
        channel = {"channelId": self._set.channel} if self._set.channel else {}
        return {
            **channel,
            "token": scan.code,
            "venueId": kept["venueId"],
            "deviceId": _number(kept["id"]),
            "gateId": _number(kept["gateId"]),
            "gateName": kept["gateName"],
            "deviceOs": self._set.device_os,
            "scanTime": scan.at_utc_ms,
        }

    def _post(
        self, base: str, path: str, body: object, what: str, timeout_s: float, patience_s: float = 5.0
    ) -> httpx.Request:
        return httpx.Request(
            "POST",
            self._url(base, path),
            params={"apikey": self._set.key},
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
            extensions=manner(what, timeout_s, patience_s=patience_s),
        )

    def _url(self, base: str, path: str) -> str:
        return f"{base.rstrip('/')}/{path}{self._set.path_suffix}"


def _number(kept: str) -> int | str:
    """A number, unless it is none: then as it came."""
    number = number_of(kept)
    return kept if number is None else number


def mac_of(device: Device) -> str:
    """The MAC address of a device, "" where the gate tells none.

    Presence tells devices by it, so the inner ring's device of a gate has another one than the outer ring's:
    the same with the bit that says "not given by a maker".
    """
    mac = plain(device.mac)
    return (
        mac
        if not mac or device.perimeter is Perimeter.OUTER
        else f"{int(mac[:2], 16) ^ LOCAL_BIT:02x}{mac[2:]}"
    )


def check(settings: PresenceSettings) -> None:
    """Raise `ValueError` for settings that cannot work; the text names the setting and the mend."""
    address = "write https://host/path, without user or query; http is for this machine only"
    accepted = (*settings.accept_entry, *settings.accept_internal, *settings.accept_exit)
    faults = (
        (not settings.key, "key: Ticketmaster gives one to each partner"),
        (not settings.key.isascii(), "key: has a character that no key has: copy it again"),
        (not settings.venue, "venue: Ticketmaster names each venue, as in KovZpZAFF17J"),
        (not fits(settings.device_url), f"device_url: {address}"),
        (not fits(settings.ticket_url), f"ticket_url: {address}"),
        (settings.path_suffix not in SUFFIXES, "path_suffix: empty or .json"),
        (len(settings.gates) > GATES_MAX, f"gates: at most {GATES_MAX}"),
        (not all(settings.gates.values()), "gates: a gate's name at Ticketmaster is not empty"),
        (settings.venue_parameter not in VENUE_PARAMETERS, "venue_parameter: venueId or venue"),
        (settings.look_parameter not in LOOK_PARAMETERS, "look_parameter: mac or device"),
        (settings.gate_parameter not in GATE_PARAMETERS, "gate_parameter: gateName or gateId"),
        (settings.internal_entry not in INTERNAL_ENTRIES, "internal_entry: enter or validate"),
        (settings.device_os not in DEVICE_SYSTEMS, "device_os: Printed or printed"),
        (not CHANNEL.fullmatch(settings.channel), "channel: one letter, or nothing"),
        (not settings.accept_entry, "accept_entry: is empty, so nobody would be let in: name OKAY at least"),
        (
            not settings.accept_internal,
            "accept_internal: is empty, so no inner lane would open: name OKAY at least",
        ),
        (not settings.accept_exit, "accept_exit: is empty, so nobody would be let out: name OKAY at least"),
        (not all(map(STATUS.fullmatch, accepted)), "accept_entry and the like: a status is as in OKAY"),
        (
            not ASK_DEADLINE_MS_MIN <= settings.ask_deadline_ms <= ASK_DEADLINE_MS_MAX,
            f"ask_deadline_ms: {ASK_DEADLINE_MS_MIN} to {ASK_DEADLINE_MS_MAX}",
        ),
        (
            not 1 <= settings.init_retry_max_s <= INIT_RETRY_MAX_S_MAX,
            f"init_retry_max_s: 1 to {INIT_RETRY_MAX_S_MAX}",
        ),
        (settings.offline not in OFFLINE, "offline: closed or upload"),
        (
            not PATH.fullmatch(settings.upload_path),
            "upload_path: a path, as in ticket/upload",
        ),
        (not 1 <= settings.batch_size <= BATCH_SIZE_MAX, f"batch_size: 1 to {BATCH_SIZE_MAX}"),
        (not 0.1 <= settings.upload_timeout_s <= UPLOAD_TIMEOUT_S_MAX, "upload_timeout_s: 0.1 to 30"),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)
