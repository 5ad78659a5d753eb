"""A fleet for tests, and gates' bundles of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from firmware import wire
from firmware.bundle import Bundle, proof_of, token_digest, unpacked
from firmware.fleet import init
from firmware.fleet.enrol import bundle_for
from firmware.fleet.folder import Fleet, load, operator_broker
from firmware.fleet.operator_line import OperatorLine
from firmware.signing import Role
from tests.brokers import LIMIT_S, QUICK

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ETC = Path("/etc/gatepost")
BOARDS = Path(__file__).parent.parent.parent / "deploy" / "boards"


def made_fleet(folder: Path, host: str = "broker.example", port: int = 8883, enrol_port: int = 8884) -> Path:
    """A fleet with one supervisor, ann."""
    init.make(folder, Fleet("arena", host, port, enrol_port), NOW)
    init.add_operator(folder, "ann", Role.SUPERVISOR, NOW)
    return folder


def settings(
    gate: str = "north", board: str = "", broker: str = '[[broker]]\nhost = "broker.example"\n'
) -> str:
    """A gate.toml."""
    wired = f'[board]\nname = "gpio"\nfile = "{board}"\n' if board else ""
    return f'[gate]\nname = "{gate}"\nvenue = "arena"\n[[lane]]\nname = "1"\n{wired}{broker}'


def bundle(fleet: Path, gate: str = "north", now: datetime = NOW) -> Bundle:
    """The bundle of a gate on a fake board."""
    return unpacked(bundle_for(fleet, gate, settings(gate), "", ETC, now))


def request(key: ec.EllipticCurvePrivateKey, token: str = "", gate: str = "north") -> wire.IdentityRequest:
    """What a gate with this key sends."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gate)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    asked = made.public_bytes(Encoding.DER)
    return wire.IdentityRequest(asked, proof_of(token_digest(token), asked) if token else b"")


def wait_until_connected(folder: Path, gate: str, who: str = "ann") -> None:
    """Wait until the broker has the birth of this gate; a command waits for seconds only."""
    fleet = load(folder)
    with OperatorLine(operator_broker(folder, fleet, who), fleet.venue, who, pace=QUICK) as line:
        assert line.gate(gate, LIMIT_S)
