"""Brokers: the files that the settings name for them, and whether a connection comes about."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firmware.config import BrokerSettings, SettingsError
from firmware.doctor import findings
from firmware.doctor.certificate import NoCertificate, Validity, validity
from firmware.doctor.check import Check
from firmware.mqtt.broker import PACE, Broker, Fault, opened, tls_context, unreachable

FILE_BYTES_MAX = 1 << 20  # the authorities of a whole system are below
SOON = timedelta(days=30)  # a festival season is planned in weeks


def examine(brokers: tuple[BrokerSettings, ...], utc_s: float, connect: bool = True) -> Iterator[Check]:
    """Look at each broker. Without `connect` only at its files."""
    if not brokers:
        yield findings.NO_BROKER.seen()
    for settings in brokers:
        files = [*_files(settings, datetime.fromtimestamp(utc_s, UTC))]
        yield from files
        if connect:
            yield _connection(settings)


def _files(settings: BrokerSettings, now: datetime) -> Iterator[Check]:
    for name in ("ca_file", "cert_file"):
        if path := getattr(settings, name):
            yield from _certificates(name, Path(path), now)
    for name in ("key_file", "password_file"):
        if path := getattr(settings, name):
            yield from _secret(name, Path(path))


def _certificates(name: str, path: Path, now: datetime) -> Iterator[Check]:
    """The certificate that ends first."""
    named = f"{name} {path}"
    try:
        with path.open("rb") as file:
            valid = validity(file.read(FILE_BYTES_MAX))
    except OSError as error:
        yield findings.FILE_UNREADABLE.seen(problem=f"{named} cannot be read ({error.strerror})")
    except NoCertificate:
        yield findings.CERTIFICATE_NONE.seen(file=named)
    else:
        yield _judged(named, valid, now)


def _judged(named: str, valid: Validity, now: datetime) -> Check:
    since, until = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in valid)
    if now > valid.until:
        finding = findings.CERTIFICATE_EXPIRED
    elif now < valid.since:
        return findings.CERTIFICATE_EARLY.seen(file=named, since=since)
    elif now > valid.until - SOON:
        finding = findings.CERTIFICATE_ENDS
    else:
        finding = findings.CERTIFICATE_GOOD
    return finding.seen(file=named, until=until)


def _secret(name: str, path: Path) -> Iterator[Check]:
    named = f"{name} {path}"
    try:
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        yield findings.FILE_UNREADABLE.seen(problem=f"{named} cannot be read ({error.strerror})")
        return
    if mode & 0o077:
        yield findings.KEY_OPEN.seen(file=path, mode=f"{mode:04o}")


def _connection(settings: BrokerSettings) -> Check:
    """TCP, and TLS where it is asked for. What the broker says to a name and password, the gate tells."""
    try:
        broker = opened(settings)
        _connect(broker)
    except SettingsError as error:
        return findings.FILE_UNREADABLE.seen(problem=error.problems[0])
    except Fault as error:
        return findings.BROKER_FAILS.seen(problem=error)
    tls = " with TLS, and its certificate is trusted" if settings.tls else ""
    return findings.BROKER_ANSWERS.seen(broker=broker.name, tls=tls)


def _connect(broker: Broker) -> None:
    """Raises `Fault`."""
    context = None if broker.tls is None else tls_context(broker, broker.tls)
    try:
        with closing(socket.create_connection((broker.host, broker.port), PACE.connect_s)) as line:
            if context is not None:
                context.sslsocket_class = ssl.SSLSocket
                context.wrap_socket(line, server_hostname=broker.host).close()
    except (OSError, ValueError) as error:
        raise Fault(unreachable(broker, error, PACE)) from error
