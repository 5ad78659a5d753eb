"""Any bridge.toml at all is either settings that hold, or a refusal that a person can read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firmware.bridge.bam_requests import BamSettings
from firmware.bridge.driver import Driver
from firmware.bridge.service import vendor_of
from firmware.bridge.settings import SECTIONS, BridgeSettings, parse, settle
from firmware.bridge.vivenu_requests import ADMITTABLE
from firmware.config import SettingsError
from firmware.config.values import Flag, Key, Number, Section, Texts
from tests.bridge.bam_talk import IDENTITY
from tests.bridge.bam_talk import files as bam_files
from tests.bridge.test_settings import EXAMPLE, SECRET, at_home


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a secret."""
    path = tmp_path_factory.mktemp("secrets") / "secret"
    path.write_text(f"{SECRET}\n", "utf-8")
    return path


SOME = ("", "a", "b", "/nowhere", "https://h", "http://127.0.0.1:1", "sqlite:////x", "4=used")
words = st.sampled_from(sorted({key.name for section in SECTIONS for key in section.keys} | {"event", "x"}))
options = sorted({option for s in SECTIONS for k in s.keys for option in getattr(k.rule, "options", ())})
scalars = st.one_of(
    st.sampled_from([*options, *SOME]),
    st.text(max_size=5),
    st.booleans(),
    st.integers(0, 10_000),
    st.integers(),
    st.floats(),
)
names = words | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from([section.name for section in SECTIONS]) | st.text(max_size=5),
    values | st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=4),
    max_size=6,
)


def right(section: Section) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of a section with settings that are mostly right; a secret is "/secret"."""

    def fitting(key: Key) -> st.SearchStrategy[Any]:
        if key.name.endswith("_file"):
            return st.just("/secret")
        if isinstance(key.rule, Number):
            return st.integers(key.rule.least, key.rule.most)
        if isinstance(key.rule, Texts):
            return st.lists(st.sampled_from(["1", "2", "2=used"]), max_size=2)
        if isinstance(key.rule, Flag):
            return st.booleans()
        found = [value for value in (*options, *SOME) if key.rule.fault(value) is None]
        return st.sampled_from(found)

    return st.fixed_dictionaries(
        {key.name: fitting(key) for key in section.keys if key.default is None and not key.only},
        optional={key.name: fitting(key) for key in section.keys if key.default is not None or key.only},
    )


def whole() -> st.SearchStrategy[dict[str, Any]]:
    """Documents that are mostly right."""
    bridge, health, common, ingresse, vivenu, presence, bam, event, sessions, broker = map(right, SECTIONS)
    login = st.sampled_from(
        [
            {"login": "token", "token_file": "/secret"},
            {"login": "password", "email": "e", "password_file": "/secret"},
        ]
    )
    certain = {"kind": "ingresse", "key_file": "/secret", "api_url": "https://h", "search_url": ""}
    loose = ingresse.map(
        lambda found: {
            name: value
            for name, value in found.items()
            if name not in ("token_file", "jwt_file", "email", "password_file", "login_path", "refusals")
        }
    )
    played = st.lists(st.tuples(event, sessions).map(lambda of: of[0] | of[1]), min_size=1, max_size=2)
    one = st.tuples(common, loose, played, login).map(
        lambda of: {"unsold": "admit", **of[0], **of[1], "event": of[2], **of[3], **certain}
    )
    plain = st.lists(event, min_size=1, max_size=2)
    other = st.tuples(common, vivenu, plain, st.lists(st.sampled_from(ADMITTABLE), max_size=2)).map(
        lambda of: {
            **of[0],
            **of[1],
            "event": of[2],
            "admit": of[3],
            "api_url": "https://h",
            "kind": "vivenu",
        }
    )
    statuses = st.lists(st.sampled_from(["OKAY", "EXIT", "NEW", "USED", "x"]), max_size=3)
    gates = st.lists(st.sampled_from(["a=A", "a/inner=B", "b=C", "a"]), max_size=2)
    third = st.tuples(common, presence, statuses, gates).map(
        lambda of: {
            **{name: value for name, value in of[0].items() if name not in ("poll_s", "whole_every_h")},
            **of[1],
            "accept_entry": of[2],
            "accept_internal": of[2],
            "accept_exit": of[2],
            "gates": of[3],
            "channel": "",
            "upload_path": "ticket/upload",
            "offline": "upload",
            "device_url": "https://h",
            "ticket_url": "https://h",
            "kind": "presence",
        }
    )
    states = st.lists(st.sampled_from(["issued", "activated", "confirmed", "x"]), max_size=3)
    fourth = st.tuples(common, bam, states).map(
        lambda of: {
            **of[0],
            **of[1],
            "accept": of[2],
            "url": "https://h",
            "tenant_url": "https://t.h",
            "event": [{"id": "3334"}],
            "validator_file": "/validator",
            "key_file": "/validator-key",
            "kind": "bam",
        }
    )
    return st.fixed_dictionaries(
        {"broker": st.lists(broker, min_size=1, max_size=2)},
        optional={
            "vendor": st.lists(one | other | third | fourth, max_size=2),
            "bridge": bridge,
            "health": health,
        },
    )


def here(found: object, secret: Path) -> Any:
    """A document whose secrets are in that file."""
    if isinstance(found, dict):
        return {name: here(value, secret) for name, value in found.items()}
    if isinstance(found, list):
        return [here(value, secret) for value in found]
    if found in ("/validator", "/validator-key"):
        return str(bam_files(secret.parent)[found == "/validator-key"])
    return str(secret) if found == "/secret" else found


def settings_or_none(document: dict[str, Any] | str) -> BridgeSettings | None:
    """The settings, or none where they are refused with words that a person can read."""
    try:
        return parse(document, "x") if isinstance(document, str) else settle(document, "x")
    except SettingsError as error:
        told = error.problems
    assert told
    assert all(len(problem) < 600 and problem.isprintable() and SECRET not in problem for problem in told)
    return None


VALIDATOR = {
    "name": "club",
    "kind": "bam",
    "url": "https://h",
    "tenant_url": "https://t.h",
    "validator_file": "/validator",
    "key_file": "/validator-key",
    "event": [{"id": "3334"}],
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents | whole())
@example({"vendor": [{"kind": "ingresse", "event": [{"sessions": None}]}]})
@example({"vendor": [[]], "broker": [{"host": "h"}]})
@example({"vendor": [VALIDATOR], "broker": [{"host": "h"}]})
def test_any_document_is_either_settings_that_hold_or_a_refusal(
    secret: Path, document: dict[str, Any]
) -> None:
    found = settings_or_none(here(document, secret))
    if found is None:
        return
    assert found.brokers
    assert len({account.name for account in found.accounts}) == len(found.accounts)
    for account in found.accounts:
        made = vendor_of(account)  # raises where they do not hold
        with Driver(account.name, made, account.rate_max) as driver:
            hidden = IDENTITY.private_key if isinstance(account.vendor, BamSettings) else SECRET
            assert hidden not in driver.masked(f"a {hidden} b")


@given(st.text() | st.text(alphabet="[]{}=\"'.,#\n_ vendorbkhstimalg0123456789"))
def test_any_text_is_either_settings_or_a_refusal(text: str) -> None:
    settings_or_none(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_example_with_a_hole_is_either_settings_or_a_refusal(secret: Path, data: st.DataObject) -> None:
    text = at_home(EXAMPLE.read_text("utf-8"), secret)
    begin = data.draw(st.integers(0, len(text)))
    end = begin + data.draw(st.integers(1, 40))
    settings_or_none(text[:begin] + data.draw(st.text(max_size=3)) + text[end:])
