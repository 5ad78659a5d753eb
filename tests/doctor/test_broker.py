from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware.config import BrokerSettings
from firmware.demo.network import free_port
from firmware.doctor import broker, findings
from firmware.doctor.certificate import NoCertificate, validity
from firmware.doctor.check import Check, Finding, Verdict
from firmware.mqtt import PACE
from tests.brokers import LIMIT_S, mosquitto_broker
from tests.certificates import Certificate, authority, certificate

HOST = "127.0.0.1"


def checks(settings: BrokerSettings, at: datetime | None = None, connect: bool = False) -> list[Check]:
    moment = at or datetime.now(UTC)
    return list(broker.examine((settings,), moment.timestamp(), connect))


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority(tmp_path_factory.mktemp("authority"), "venue")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker on a busy machine may be late for longer than the doctor waits at a gate."""
    monkeypatch.setattr("firmware.doctor.broker.PACE", PACE._replace(connect_s=LIMIT_S))


def test_without_a_broker_nothing_is_asked() -> None:
    assert list(broker.examine((), 0.0)) == [findings.NO_BROKER.seen()]


def test_the_days_of_a_certificate_are_judged_from_both_sides(signer: Certificate) -> None:
    since, until = validity(signer.cert_file.read_bytes())
    assert until - since == timedelta(days=30)
    settings = BrokerSettings(HOST, ca_file=str(signer.cert_file))
    second = timedelta(seconds=1)
    moments: list[tuple[datetime, Finding]] = [
        (since - second, findings.CERTIFICATE_EARLY),
        (since, findings.CERTIFICATE_GOOD),
        (until - broker.SOON, findings.CERTIFICATE_GOOD),
        (until - broker.SOON + second, findings.CERTIFICATE_ENDS),
        (until, findings.CERTIFICATE_ENDS),
        (until + second, findings.CERTIFICATE_EXPIRED),
    ]
    for moment, finding in moments:
        (check,) = checks(settings, moment)
        assert (check.verdict, check.mend) == (finding.verdict, finding.mend), moment


def test_of_several_certificates_in_a_file_that_which_ends_first_counts(
    tmp_path: Path, signer: Certificate
) -> None:
    short = certificate(tmp_path, "gate", signer)
    both = signer.cert_file.read_bytes() + b"\nsome words\n" + short.cert_file.read_bytes()
    assert validity(both) == validity(short.cert_file.read_bytes())


@pytest.mark.parametrize(
    "data", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate_is_a_fault(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(data)
    (check,) = checks(BrokerSettings(HOST, ca_file=str(file)))
    assert check == findings.CERTIFICATE_NONE.seen(file=f"ca_file {file}")


def test_a_certificate_that_is_cut_anywhere_is_refused_in_order(signer: Certificate) -> None:
    begin, *lines, end = signer.cert_file.read_text().splitlines()
    for number in range(len(lines)):
        text = "\n".join([begin, *lines[:number], end])
        with pytest.raises(NoCertificate):
            validity(text.encode())


def test_files_that_cannot_be_read_are_a_fault_with_their_names(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    settings = BrokerSettings(HOST, ca_file=none, cert_file=none, key_file=none, password_file=none)
    assert [check.text.split()[0] for check in checks(settings)] == [
        "ca_file",
        "cert_file",
        "key_file",
        "password_file",
    ]
    assert {check.verdict for check in checks(settings)} == {Verdict.FAULT}


@pytest.mark.parametrize(("mode", "told"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, told: int) -> None:
    file = tmp_path / "password"
    file.write_text("open-sesame\n")
    file.chmod(mode)
    found = checks(BrokerSettings(HOST, password_file=str(file)))
    assert [check.verdict for check in found] == [Verdict.WARNING] * told
    assert not any("sesame" in check.text for check in found)


def test_a_broker_that_listens_accepts_a_connection(tmp_path: Path) -> None:
    with mosquitto_broker(tmp_path) as running:
        (check,) = checks(BrokerSettings(HOST, running.port, tls=False), connect=True)
        assert check == findings.BROKER_ANSWERS.seen(broker=f"{HOST}:{running.port}", tls="")


def test_a_broker_with_tls_is_trusted_by_its_authority_only(tmp_path: Path, signer: Certificate) -> None:
    own = certificate(tmp_path, "broker", signer)
    own.key_file.chmod(0o644)
    config = (
        "listener {port} 127.0.0.1\nallow_anonymous true\n"
        f"certfile {own.cert_file}\nkeyfile {own.key_file}\n"
    )
    port = free_port()
    with mosquitto_broker(tmp_path, config.replace("{port}", str(port)), port):
        trusted = BrokerSettings(HOST, port, ca_file=str(signer.cert_file))
        assert checks(trusted, connect=True)[-1].text == (
            f"{HOST}:{port} accepts a connection with TLS, and its certificate is trusted"
        )
        other = authority(tmp_path, "other")
        stranger = checks(BrokerSettings(HOST, port, ca_file=str(other.cert_file)), connect=True)[-1]
        assert stranger.verdict is Verdict.WARNING
        assert "its certificate is not trusted" in stranger.text


def test_a_broker_that_is_not_there_is_a_warning_because_the_gate_works_on() -> None:
    port = free_port()
    (check,) = checks(BrokerSettings(HOST, port, tls=False), connect=True)
    assert check.verdict is Verdict.WARNING
    assert f"broker {HOST}:{port}: nothing listens there" in check.text
