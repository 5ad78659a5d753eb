"""The venue of the Presence sandbox: its gates, and the devices that were configured there."""

from dataclasses import dataclass
from typing import NamedTuple

from firmware.bridge.sandbox.history import Operator
from firmware.bridge.sandbox.presence_rules import GateRules

VENUE = "KovZsandbox1"
GATES_MAX = DEVICES_MAX = 10_000  # that are kept; more of them are no venue
FIRST_DEVICE, FIRST_GATE = 224, 274  # ids count up from there


class Named(NamedTuple):
    """A device as it says of itself, and the gate at which it stands: by its name, or by its id."""

    name: str
    mac: str
    ip: str
    serial: str
    model: str
    gate_name: str
    gate_id: int | None


@dataclass(slots=True)
class Gate:
    """A gate, and what it lets through."""

    id: int
    name: str
    rules: GateRules


@dataclass(slots=True)
class Device:
    """A scanner, as it was configured last."""

    id: int
    named: Named
    gate: Gate
    configured: bool = True

    @property
    def operator(self) -> Operator:
        """Who it is in the history."""
        return Operator(str(self.id), self.named.name, "")

    def shown(self, numbers: bool, look: bool) -> dict[str, object]:
        """What a reply says of it; a look says more."""
        as_id: type[int] | type[str] = int if numbers else str
        more = {"gateName": self.gate.name, "localId": f"COM-{self.named.mac}-H"} if look else {}
        return {
            "id": as_id(self.id),
            "venueId": VENUE,
            "name": self.named.name,
            "mac": self.named.mac,
            "ip": self.named.ip,
            "gateId": as_id(self.gate.id),
            "serial": self.named.serial,
            "model": self.named.model,
            **more,
        }


class Venue:
    """Gates and devices. The caller holds the sandbox's lock."""

    def __init__(self) -> None:
        self.gates: dict[str, Gate] = {}
        self.devices: dict[int, Device] = {}  # in the order in which they were configured first
        self._by_mac: dict[str, Device] = {}

    def gate(self, name: str, rules: GateRules) -> Gate:
        """The gate of this name, with these rules from now on. Raises `ValueError` for too many."""
        if name in self.gates:
            self.gates[name].rules = rules
        elif len(self.gates) >= GATES_MAX or not name:
            raise ValueError(f"a gate has a name, and a venue has at most {GATES_MAX:,}")
        else:
            self.gates[name] = Gate(FIRST_GATE + len(self.gates), name, rules)
        return self.gates[name]

    def gate_of(self, gate_id: int) -> Gate | None:
        """The gate of this id."""
        return next((gate for gate in self.gates.values() if gate.id == gate_id), None)

    def configure(self, named: Named, gate: Gate) -> Device:
        """A device stands at a gate from now on; its address on the network card names it."""
        device = self._by_mac.get(named.mac)
        if device is None:
            if len(self._by_mac) >= DEVICES_MAX:
                raise ValueError(f"a venue has at most {DEVICES_MAX:,} devices")
            device = self._by_mac[named.mac] = Device(FIRST_DEVICE + len(self._by_mac), named, gate)
            self.devices[device.id] = device
        device.named, device.gate, device.configured = named, gate, True
        return device

    def look(self, mac: str, device_id: int | None) -> Device | None:
        """A device that is configured, by either of its names."""
        found = self._by_mac.get(mac) if device_id is None else self.devices.get(device_id)
        return found if found is not None and found.configured else None

    def forget(self) -> None:
        """No device is configured any more; each gets its old id when it is again."""
        for device in self.devices.values():
            device.configured = False
