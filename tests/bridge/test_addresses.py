"""Which addresses a vendor can be asked at."""

import pytest

from firmware.bridge.addresses import LOOPBACK, fits


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.1.1", "127.255.255.254", "[::1]", "localhost", "LOCALHOST", "bam.localhost"]
)
def test_this_machine_is_asked_without_tls(host: str) -> None:
    assert fits(f"http://{host}:8080")
    assert host.strip("[]").lower() in LOOPBACK


@pytest.mark.parametrize(
    "host",
    [
        "126.0.0.1",
        "128.0.0.1",
        "127.0.0.1.example",
        "0.0.0.0",
        "[::2]",
        "localhost.example",
        "mylocalhost",
        "api.example",
        "",
    ],
)
def test_another_machine_is_not(host: str) -> None:
    assert not fits(f"http://{host}:8080")
    assert host.strip("[]") not in LOOPBACK


@pytest.mark.parametrize(
    "url", ["https://u@api.example", "https://api.example?x=1", "https://", "ftp://localhost"]
)
def test_an_address_with_more_than_a_host_or_less_is_none(url: str) -> None:
    assert not fits(url)
    assert fits("https://api.example")
