"""What bridge.toml says of an account at B.A.M."""

from pathlib import Path

import pytest

from firmware.bridge import bam_identity
from firmware.bridge.bam_requests import BamSettings
from firmware.bridge.settings import parse
from tests.bridge.bam_talk import IDENTITY
from tests.bridge.test_settings import BAM_EVENT, BROKER, problems, validator


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside which the validator's lie."""
    return tmp_path / "secret"


def test_a_validator_is_what_the_file_says(secret: Path) -> None:
    more = {
        "accept": '["issued", "confirmed"]',
        "slots": "false",
        "margin_min": "30",
        "used_words": '["spent"]',
        "chain_timeout_ms": "9000",
        "open_before_commit": "false",
        "ask_deadline_ms": "5000",
        "poll_s": "7",
    }
    (account,) = parse(validator(secret, "club", **more) + BAM_EVENT + BROKER, "x").accounts
    assert (account.name, account.poll_s) == ("club", 7)
    assert account.vendor == BamSettings(
        IDENTITY,
        "https://api.example",
        "https://org1.api.example",
        "3334",
        name="club",
        accept=("issued", "confirmed"),
        slots=False,
        margin_min=30,
        used_words=("spent",),
        chain_timeout_s=9.0,
        open_before_commit=False,
        ask_deadline_ms=5000,
    )


def test_the_whole_list_is_read_once_a_minute_where_nobody_says_how_often(secret: Path) -> None:
    (account,) = parse(validator(secret) + BAM_EVENT + BROKER, "x").accounts
    assert account.poll_s == 60


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"accept": '["isued"]'}, 'did you mean "issued"'),
        ({"accept": "[]"}, "nobody would be let in"),
        ({"accept": '["invalidated"]'}, "is no state that lets anybody in"),
        ({"url": '"http://api.example"'}, "vendor[1].url: is no address that can be used"),
        ({"tenant_url": '"ftp://x"'}, "vendor[1].tenant_url: is no address that can be used"),
        ({"validator_file": '"/nowhere"'}, "fetch the identity with gatepost bam enrol"),
    ],
)
def test_what_is_wrong_with_a_validator_is_said(more: dict[str, str], said: str, secret: Path) -> None:
    assert any(said in problem for problem in problems(validator(secret, **more) + BAM_EVENT + BROKER))


def test_an_identity_without_its_own_key_is_of_no_use(secret: Path, tmp_path: Path) -> None:
    other = tmp_path / "key"
    bam_identity.make_key(other)
    (problem,) = problems(validator(secret, key_file=f'"{other}"') + BAM_EVENT + BROKER)
    assert f"cannot be read with the key {other}" in problem


def test_a_validator_is_of_one_event_and_of_its_own(secret: Path) -> None:
    other = '[[vendor.event]]\nid = "9"\n'
    (problem,) = problems(validator(secret) + other + BROKER)
    assert "the validator is of event 3334" in problem
    (problem,) = problems(validator(secret) + BAM_EVENT + other + BROKER)
    assert "write a [[vendor]] for each" in problem
