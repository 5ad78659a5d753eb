from pathlib import Path

import pytest

from firmware.config import BrokerSettings, SettingsError, parse
from firmware.mqtt import Broker, Tls, opened
from tests.test_config import problems

CLOUD = '[[broker]]\nhost = "cloud.example"\n'


def test_brokers_keep_their_order_and_have_tls_unless_they_say_otherwise() -> None:
    text = '[[broker]]\nhost = "10.0.0.2"\nport = 1883\ntls = false\n' + CLOUD
    venue, cloud = parse(text, "x").brokers
    assert venue == BrokerSettings("10.0.0.2", 1883, tls=False)
    assert cloud == BrokerSettings("cloud.example", 8883, tls=True)
    assert parse("", "x").brokers == (), "a gate without brokers works, and sends nothing"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CLOUD + CLOUD, "4: broker[2].host: this host and port are those of broker[1]: take one out"),
        (
            CLOUD + 'tls = false\nca_file = "/ca"',
            "4: broker[1].ca_file: does nothing with tls = false: take it out, or set tls = true",
        ),
        (
            CLOUD + 'cert_file = "/c"',
            "1: broker[1].key_file: is missing: cert_file does nothing without it",
        ),
        (
            CLOUD + 'key_file = "/k"',
            "1: broker[1].cert_file: is missing: key_file does nothing without it",
        ),
        (
            CLOUD + 'password_file = "/p"',
            "1: broker[1].username: is missing: password_file does nothing without it",
        ),
    ],
)
def test_what_has_no_effect_at_a_broker_is_refused(text: str, told: str) -> None:
    assert problems(text) == (f"gate.toml:{told}",)


@pytest.mark.parametrize("host", ["broker", "a.b-c.example", "192.168.1.9", "::1", "fe80::1:2", "x" * 253])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert parse(f'[[broker]]\nhost = "{host}"', "x").brokers[0].host == host


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "mqtt://a", "a:1883", "a..b", "ä", "a/b", "user@a", "x" * 254]
)
def test_a_host_with_a_scheme_or_a_port_is_refused(host: str) -> None:
    (told,) = problems(f'[[broker]]\nhost = "{host}"')
    assert told.endswith("is not a name or address of a machine: write it without a scheme, port or space")


@pytest.mark.parametrize("name", ["password_file", "key_file"])
@pytest.mark.parametrize("written", ["geheim", "/geheim" * 40, r"/ge\theim"])
def test_a_secret_in_the_place_of_its_file_is_never_shown(name: str, written: str) -> None:
    told = problems(f'{CLOUD}username = "gate"\n{name} = "{written}"')
    mend = "write the secret into a file, and the path of that file here"
    assert f"gate.toml:4: broker[1].{name}: is no path that begins with /, or empty: {mend}" in told
    assert "heim" not in "".join(told)


def test_the_password_is_the_first_line_of_its_file_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"geheim\r\nand a note\n")
    settings = BrokerSettings("b", 1, True, "/ca", "/cert", "/key", "gate", str(path))
    broker = opened(settings)
    assert broker == Broker("b", 1, Tls("/ca", "/cert", "/key"), "gate", "geheim")
    assert "geheim" not in f"{broker} {broker!r} {[broker]}"
    assert opened(BrokerSettings("b", 1, tls=False)) == Broker("b", 1)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "cannot be read (No such file or directory): check the path, and that we may read it"),
        (b"\n", "its first line is empty: write the password there"),
        (b"gehei\xff", "is not UTF-8 text: save it as UTF-8"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_named(tmp_path: Path, data: bytes | None, told: str) -> None:
    path = tmp_path / "password"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        opened(BrokerSettings("b", username="gate", password_file=str(path)))
    assert refused.value.problems == (f"password_file {path}: {told}",)
