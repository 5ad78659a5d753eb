"""What a broker is to us, how patient we are with one, and words for what goes wrong. None holds a secret."""

import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from firmware import wire
from firmware.config import BrokerSettings, SettingsError

ENVELOPE_BYTES = 512  # of a packet besides its payload: a topic of at most 130 bytes, and what brokers add
PASSWORD_BYTES_MAX = 4096  # of the file; tokens of cloud brokers have some 1,000 characters
PACKET_BYTES_MAX = wire.PAYLOAD_BYTES_MAX + ENVELOPE_BYTES  # announced; a broker drops what is longer


class Tls(NamedTuple):
    """TLS with a broker. Without `ca_file` the system's authorities count; files are PEM, paths absolute."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Broker(NamedTuple):
    """Where a broker is, and who we are to it."""

    host: str
    port: int
    tls: Tls | None = None
    username: str = ""
    password: str = ""

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        """Without the password: this may stand in a log."""
        return f"Broker({self.name}{' with TLS' if self.tls else ''})"


class Pace(NamedTuple):
    """How patient a line is, in seconds."""

    retry_least_s: float = 1.0  # the first wait is at most this; a broker's restart takes about a second
    retry_most_s: float = 30.0  # a venue whose network is back is online within half a minute
    connect_s: float = 5.0  # for TCP, and again for TLS: a slow mobile link takes two
    answer_s: float = 10.0  # for the answers to CONNECT and SUBSCRIBE: a broker that loads its sessions
    keepalive_s: int = 20  # a dead link is noticed within 40 s; a ping each 20 s costs 10 kB an hour
    look_s: float = 60.0  # between looks at the brokers before the present one
    steady_s: float = 10.0  # a connection that lasted longer starts the waits anew
    # To close: the farewell takes 2 s, and whoever listens writes to the disk. What takes longer is left
    # behind: systemd waits 20 s for all.
    close_s: float = 8.0


PACE = Pace()


def with_identity(settings: BrokerSettings, data: Path) -> BrokerSettings:
    """A gate that was enrolled is known by the certificate in its data, where the settings name none."""
    own = data.absolute() / "identity"
    if not settings.tls or settings.ca_file or settings.cert_file or not (own / "ca.pem").exists():
        return settings
    ca, certificate, key = (str(own / name) for name in ("ca.pem", "gate.pem", "gate.key"))
    return settings._replace(ca_file=ca, cert_file=certificate, key_file=key)


def opened(settings: BrokerSettings) -> Broker:
    """A broker of the settings, with the password read from its file. Raises `SettingsError`."""
    tls = Tls(settings.ca_file, settings.cert_file, settings.key_file) if settings.tls else None
    password = _password(Path(settings.password_file)) if settings.password_file else ""
    return Broker(settings.host, settings.port, tls, settings.username, password)


def _password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            first, _, _ = file.read(PASSWORD_BYTES_MAX).partition(b"\n")
        password = first.decode().removesuffix("\r")
    except OSError as error:
        mend = "check the path, and that we may read it"
        raise SettingsError([f"password_file {path}: cannot be read ({error.strerror}): {mend}"]) from None
    except UnicodeDecodeError:  # its text would quote the password
        raise SettingsError([f"password_file {path}: is not UTF-8 text: save it as UTF-8"]) from None
    if not password:
        raise SettingsError([f"password_file {path}: its first line is empty: write the password there"])
    return password


class Fault(Exception):
    """A broker cannot be used; the text names it and the mend."""


class ClockBeforeTls(Fault):
    """A broker's certificate is not valid at this time, but nobody has set our clock yet. NTP comes first."""


class TlsSocket(ssl.SSLSocket):
    """Closes itself where TLS does not come about; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(broker: Broker, tls: Tls) -> ssl.SSLContext:
    """Raises `Fault`."""
    what = f"ca_file {tls.ca_file}"
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        context.sslsocket_class = TlsSocket
        if tls.cert_file:
            if not Path(tls.cert_file).exists():
                mend = "a gate that enrols waits for it (gatepost fleet serve); else check the path"
                raise Fault(f"broker {broker.name}: there is no certificate {tls.cert_file}: {mend}")
            what = f"cert_file {tls.cert_file} with key_file {tls.key_file or 'left out'}"
            context.load_cert_chain(tls.cert_file, tls.key_file or None, password="")  # no terminal is asked
    except OSError as error:
        mend = "it must be PEM, readable, and the key the certificate's and not encrypted"
        raise Fault(f"broker {broker.name}: {what} cannot be used ({plain(error)}): {mend}") from None
    return context


def plain(error: OSError | None) -> str:
    """An error of the socket or of TLS in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").replace("_", " ").lower()
    return "" if error is None else error.strerror or type(error).__name__


NOT_YET_VALID, EXPIRED = 9, 10  # X509_verify_cert_error_string(3)


def by_clock(error: Exception) -> bool:
    """Whether a certificate would be good at another time."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in (NOT_YET_VALID, EXPIRED)


def clock_before_tls(broker: Broker, error: Exception) -> ClockBeforeTls:
    """By a clock that nobody has set, such a certificate says nothing; it is refused all the same."""
    why = plain(error) if isinstance(error, OSError) else ""
    mend = "it is set by NTP (timedatectl), and then this is tried again by itself"
    return ClockBeforeTls(f"clock before TLS: broker {broker.name}: {why}, but our clock is not set: {mend}")


def unreachable(broker: Broker, error: Exception, pace: Pace) -> str:
    """No connection came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        mend = "check ca_file, the clock, and that host is a name in the certificate"
        return f"broker {broker.name}: its certificate is not trusted ({plain(error)}): {mend}"
    if isinstance(error, ssl.SSLError):
        return f"broker {broker.name}: TLS fails ({plain(error)}): is this its TLS port?"
    if isinstance(error, socket.gaierror):
        return f"broker {broker.name}: the name is not found: check host, and the network's name server"
    if isinstance(error, TimeoutError):
        mend = "check the network, and whether it listens there"
        return f"broker {broker.name} does not answer within {pace.connect_s:g} s: {mend}"
    if isinstance(error, ConnectionRefusedError):
        return f"broker {broker.name}: nothing listens there: start the broker, or check host and port"
    if isinstance(error, ConnectionError) and broker.tls is not None:
        return f"broker {broker.name} breaks off the start of TLS: is this its TLS port?"
    if isinstance(error, OSError):
        return f"broker {broker.name} cannot be reached ({plain(error)}): check the network and [[broker]]"
    return f"broker {broker.name}: this is no host and port: check [[broker]]"


# MQTT 5, 3.2.2.2
MENDS = {
    0x84: "it must speak MQTT 5",
    0x85: "it does not take the client's name: check its settings",
    0x86: "check username and password_file",
    0x87: "let the user or the certificate in (the broker's users and access list)",
    0x88: "it is not ready: wait, or look at its log",
    0x89: "it is overloaded: look at its limits",
    0x8A: "it has banned this client: look at its log",
    0x8C: "check username and password_file",
    0x9A: "let it keep retained messages",
    0x9C: "it has moved: check host and port",
    0x9D: "it has moved: check host and port",
    0x9F: "it is overloaded: look at its limits",
}


def refused(broker: Broker, code: int, reason: str) -> str:
    """The broker's CONNACK says no."""
    return f"broker {broker.name} refuses us ({reason}): {MENDS.get(code, 'look at its log')}"


def closed_early(broker: Broker, error: OSError | None) -> str:
    """The broker ended the connection instead of accepting it."""
    if isinstance(error, ssl.SSLError):
        mend = "it does not take our certificate: check cert_file, and the authorities that it trusts"
        if "revoked" in plain(error):
            mend = "this certificate counts no more: enrol the gate anew, if it is not the lost one"
        elif "expired" in plain(error):
            mend = "our certificate has ended: make a new one, or enrol the gate anew"
        return f"broker {broker.name}: TLS fails ({plain(error)}): {mend}"
    tls = "TLS" if broker.tls is None else "none"
    mend = f"is it one, does it speak MQTT 5, and does this port want {tls}?"
    return f"broker {broker.name} does not answer as an MQTT broker: {mend}"
