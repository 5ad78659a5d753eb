"""What a fleet's folder holds, for people: who may give orders, which gates there are, and what ends when."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from firmware.fleet import folder as stored
from firmware.fleet.init import operators_there

SOON = timedelta(days=90)  # a season is planned in months


def lines(folder: Path, now: datetime) -> Iterator[str]:
    """The whole fleet. Raises `FleetUnusable`."""
    fleet = stored.load(folder)
    gates, operators = stored.gates(folder), operators_there(folder)
    yield f"venue {fleet.venue}, broker {fleet.host}:{fleet.port}, enrolment at port {fleet.enrol_port}"
    if fleet.cloud:
        yield f"the cloud's broker {fleet.cloud}:{fleet.cloud_port}"
    yield f"authority: {_until(folder / 'ca.pem', now)}"
    for path in _own(folder):
        yield f"{path.relative_to(folder)}: {_until(path, now)}"
    yield f"operators: {len(operators)}"
    for operator in operators:
        certificate = folder / "operators" / f"{operator.name}.pem"
        connects = _until(certificate, now) if certificate.exists() else "its keys are elsewhere"
        yield f"  {operator.name:<20} {operator.role:<10} key {operator.key}, {connects}"
    yield f"gates: {len(gates)}"
    for gate in gates:
        yield f"  {gate.gate:<20} {_state(folder, gate, now)}"


def ending(folder: Path, now: datetime) -> Iterator[str]:
    """What ends within months, with the mend."""
    mend = f"gatepost fleet broker {folder} makes it anew, and then copy its folder to where it is used"
    for path in _own(folder):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        if certificate.not_valid_after_utc - now < SOON:
            yield f"{path}: {_until(path, now)}: {mend}"


def _own(folder: Path) -> list[Path]:
    """The certificates that no gate and no person has."""
    places = (
        "broker/broker.pem",
        "broker/venue.pem",
        "cloud/broker.pem",
        "bridge/bridge.pem",
        "serve/fleet.pem",
    )
    return [folder / place for place in places if (folder / place).exists()]


def _until(path: Path, now: datetime) -> str:
    until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return f"{'ended' if until < now else 'valid until'} {until:%Y-%m-%d}"


def _state(folder: Path, gate: stored.Gate, now: datetime) -> str:
    if gate.revoked:
        return "revoked"
    if gate.serials:
        return f"has its certificate, {_until(stored.Paths(folder).gate(gate.gate).with_suffix('.pem'), now)}"
    over = gate.token_until < now
    return f"waits to be taken up, its token {'ended' if over else 'ends'} {gate.token_until:%Y-%m-%d}"
