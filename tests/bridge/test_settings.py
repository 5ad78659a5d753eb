import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.bridge.bam_requests import BamSettings
from firmware.bridge.bam_settings import BAM
from firmware.bridge.checked import SECRET_BYTES_MAX, VENDOR
from firmware.bridge.ingresse_requests import IngresseSettings
from firmware.bridge.presence_requests import PresenceSettings
from firmware.bridge.presence_settings import PRESENCE
from firmware.bridge.settings import (
    INGRESSE,
    INTRODUCTION,
    SECTIONS,
    load,
    parse,
)
from firmware.bridge.vivenu_requests import VivenuSettings
from firmware.bridge.vivenu_settings import VIVENU
from firmware.config import FILE_BYTES_MAX, SettingsError
from firmware.config.__main__ import page
from firmware.config.values import Key, Section
from firmware.core.ticket import Choice, Verdict
from tests.bridge.bam_talk import IDENTITY
from tests.bridge.bam_talk import files as bam_files

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "deploy" / "bridge.toml"
SECRET = "s3cret-of-ours-0123456789"

KEYS = [pytest.param(s, k, id=f"{at} {s.name}.{k.name}") for at, s in enumerate(SECTIONS) for k in s.keys]
BROKER = '[[broker]]\nhost = "h"\n'
EVENT = '[[vendor.event]]\nid = "1"\nsessions = ["2"]\n'
PLAIN_EVENT = '[[vendor.event]]\nid = "1"\n'


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a secret."""
    path = tmp_path_factory.mktemp("secrets") / "secret"
    path.write_text(f"{SECRET}\nnothing of this counts\n", "utf-8")
    return path


def vendor(secret: Path, name: str = "a", **more: str) -> str:
    """A `[[vendor]]` with all that must be given; `more` are further lines, or others instead."""
    lines = {
        "name": f'"{name}"',
        "kind": '"ingresse"',
        "key_file": f'"{secret}"',
        "login": '"token"',
        "token_file": f'"{secret}"',
        "unsold": '"admit"',
    } | more
    return "[[vendor]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


def access_user(secret: Path, name: str = "v", **more: str) -> str:
    """A `[[vendor]]` of vivenu with all that must be given."""
    lines = {"name": f'"{name}"', "kind": '"vivenu"', "token_file": f'"{secret}"'} | more
    return "[[vendor]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


def scanners(secret: Path, name: str = "p", **more: str) -> str:
    """A `[[vendor]]` of Presence with all that must be given."""
    lines = {"name": f'"{name}"', "kind": '"presence"', "apikey_file": f'"{secret}"', "venue": '"Kov"'} | more
    return "[[vendor]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


BAM_EVENT = '[[vendor.event]]\nid = "3334"\n'


def validator(secret: Path, name: str = "b", **more: str) -> str:
    """A `[[vendor]]` of B.A.M. with all that must be given."""
    identity, key = bam_files(secret.parent)
    lines = {
        "name": f'"{name}"',
        "kind": '"bam"',
        "url": '"https://api.example"',
        "tenant_url": '"https://org1.api.example"',
        "validator_file": f'"{identity}"',
        "key_file": f'"{key}"',
    } | more
    return "[[vendor]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


def problems(text: str) -> list[str]:
    """What is said of a text that is refused, without the file's name."""
    with pytest.raises(SettingsError) as refused:
        parse(text, "bridge.toml")
    assert SECRET not in str(refused.value)
    return [problem.removeprefix("bridge.toml:") for problem in refused.value.problems]


# --- what there is ---------------------------------------------------------------------------------------


def test_the_page_of_all_settings_is_the_one_in_the_repository() -> None:
    command = [sys.executable, "-m", "firmware.bridge.settings"]
    written = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert written == page(INTRODUCTION, SECTIONS)
    assert written == (ROOT / "deploy" / "bridge-settings.md").read_text("utf-8")


def at_home(text: str, secret: Path) -> str:
    """An example with its files on this machine."""
    identity, key = bam_files(secret.parent)
    text = text.replace("/var/lib/gatepost-bridge/bam-validator-key", str(key))
    text = text.replace("/var/lib/gatepost-bridge/bam-validator", str(identity))
    return re.sub(r'"/etc/gatepost/[^"]+"', f'"{secret}"', text)


def test_the_example_loads_and_is_what_it_says(secret: Path) -> None:
    found = parse(at_home(EXAMPLE.read_text("utf-8"), secret), "x")
    assert found.venue == "arena"
    boxoffice, guests, festival, hall, club = found.accounts
    assert isinstance(boxoffice.vendor, IngresseSettings)
    assert isinstance(guests.vendor, IngresseSettings)
    assert isinstance(festival.vendor, VivenuSettings)
    assert isinstance(hall.vendor, PresenceSettings)
    assert club.vendor == BamSettings(
        IDENTITY, "https://api.bam.example", "https://nightworks.api.bam.example", "3334", "club"
    )
    assert (hall.vendor.key, hall.vendor.venue) == (SECRET, "KovZpZAFF17J")
    assert (festival.vendor.token, festival.vendor.send_again) == (SECRET, False)
    assert (boxoffice.name, boxoffice.vendor.login, boxoffice.vendor.unsold) == (
        "boxoffice",
        "password",
        Choice.REFUSE,
    )
    assert boxoffice.vendor.events == (("28180", ("43058", "43059")), ("28181", ("43060",)))
    assert (guests.vendor.token, guests.vendor.password, guests.vendor.unsold) == (SECRET, "", Choice.ADMIT)
    assert [broker.host for broker in found.brokers] == ["cloud.example"]


def test_the_example_has_every_setting_and_its_comments_show_the_defaults(secret: Path) -> None:
    plain = at_home(EXAMPLE.read_text("utf-8"), secret)
    text = re.sub(r"^# (\w+ = )", r"\1", plain, flags=re.MULTILINE)
    assert parse(text, "x") == parse(plain, "x")
    document = tomllib.loads(text)
    document["vendor.event"] = [event for each in document["vendor"] for event in each.pop("event", [])]
    for name in {section.name for section in SECTIONS}:
        found = document[name]
        names = {name for each in (found if isinstance(found, list) else [found]) for name in each}
        assert names == {key.name for section in SECTIONS for key in section.keys if section.name == name}
    kinds = {each["kind"]: set(each) for each in document["vendor"] if each["name"] != "guests"}
    assert kinds["vivenu"] == {key.name for section in (VENDOR, VIVENU) for key in section.keys}
    both = {key.name for section in (VENDOR, PRESENCE) for key in section.keys}
    assert kinds["presence"] == both - {"poll_s", "whole_every_h"}
    every = {key.name for section in (VENDOR, BAM) for key in section.keys}
    assert kinds["bam"] >= every - {key.name for key in VENDOR.keys}


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_the_default_on_the_page_is_the_one_that_holds(section: Section, key: Key, secret: Path) -> None:
    before = {
        "bridge": "",
        "health": "",
        "vendor": BROKER,
        "vendor.event": BROKER + vendor(secret),
        "broker": "",
    }
    kinds = {id(INGRESSE): "ingresse", id(VIVENU): "vivenu", id(PRESENCE): "presence", id(BAM): "bam"}
    kind = f'kind = "{kinds[id(section)]}"\n' if id(section) in kinds else ""
    start = before[section.name] + f"{section.header}\n{kind}"
    (row,) = re.findall(rf"^\| `{key.name}` \| .* \| (.*) \| .* \|$", page("", [section]), re.MULTILINE)
    if row == "must be given":
        assert key.default is None
        needs = f'{key.only.key} = "{key.only.values[0]}"\n' if key.only else ""
        said = [problem for problem in problems(start + needs) if f".{key.name}: is missing: " in problem]
        assert said == [problem for problem in said if key.meaning in problem]
        assert said
        return
    given = vendor(secret) if section.name == "vendor" else f"[{section.name}]\n"
    if section is VIVENU:
        given = access_user(secret)
    if section is PRESENCE:
        given = scanners(secret, offline="" if key.name == "offline" else '"upload"')
    if section is BAM:
        given = validator(secret)
    if key.only and key.only.values == ("password",):
        given = vendor(secret, token_file="", login='"password"', email='"a"', password_file=f'"{secret}"')
    if section.name == "broker":
        given = '[[broker]]\nhost = "g"\nusername = "u"\n'
    rest = {"vendor": EVENT + BROKER, "broker": ""}.get(section.name, BROKER)
    if section is VIVENU:
        rest = PLAIN_EVENT + BROKER
    if section is PRESENCE:
        rest = BROKER
    if section is BAM:
        rest = BAM_EVENT + BROKER
    if key.name == "username":
        given = '[[broker]]\nhost = "g"\n'
    assert parse(f"{given}{key.name} = {row.strip('`')}\n{rest}", "x") == parse(given + rest, "x")


def test_an_account_is_what_the_file_says(secret: Path) -> None:
    more = {
        "login": '"password"',
        "token_file": "",
        "email": '"e@x"',
        "password_file": f'"{secret}"',
        "login_path": '"/company-login"',
        "poll_s": "3",
        "whole_every_h": "2",
        "rate_max": "7",
        "api_url": '"http://127.0.0.1:8480"',
        "search_url": '"https://search.example/v2"',
        "key_parameter": '"publickey"',
        "page_size": "100",
        "batch_size": "5",
        "overlap_s": "9",
        "check_in_timeout_ms": "2500",
        "look_timeout_ms": "1200",
        "ask_deadline_ms": "1800",
        "ask_rate_max": "70",
        "refusals": '["2=blocked"]',
    }
    text = vendor(secret, "main", **more) + EVENT + EVENT.replace("1", "3").replace("2", "4") + BROKER
    (account,) = parse(text, "x").accounts
    assert account[:5] == ("main", 3, 2, 7, 70)
    assert account.vendor == IngresseSettings(
        key=SECRET,
        login="password",
        events=(("1", ("2",)), ("3", ("4",))),
        unsold=Choice.ADMIT,
        name="main",
        api_url="http://127.0.0.1:8480",
        search_url="https://search.example/v2",
        key_parameter="publickey",
        email="e@x",
        password=SECRET,
        login_path="/company-login",
        page_size=100,
        batch_size=5,
        overlap_s=9,
        check_in_timeout_s=2.5,
        look_timeout_s=1.2,
        ask_deadline_ms=1800,
        status_map={2: Verdict.BLOCKED},
    )


def test_an_account_at_vivenu_is_what_the_file_says(secret: Path) -> None:
    more = {
        "poll_s": "3",
        "api_url": '"http://127.0.0.1:8480"',
        "page_size": "1000",
        "batch_size": "5",
        "overlap_s": "9",
        "online_timeout_ms": "2500",
        "ask_deadline_ms": "3500",
        "upload_timeout_ms": "12000",
        "admit": '["VALID", "DETAILSREQUIRED"]',
        "slots": '"refuse"',
        "send_again": "true",
    }
    text = access_user(secret, "fest", **more) + PLAIN_EVENT + PLAIN_EVENT.replace("1", "3") + BROKER
    (account,) = parse(text, "x").accounts
    assert account[:5] == ("fest", 3, 24, 10, 100)
    assert account.vendor == VivenuSettings(
        token=SECRET,
        events=("1", "3"),
        name="fest",
        api_url="http://127.0.0.1:8480",
        page_size=1000,
        batch_size=5,
        overlap_s=9,
        online_timeout_s=2.5,
        ask_deadline_ms=3500,
        upload_timeout_s=12,
        admit=("VALID", "DETAILSREQUIRED"),
        slots=Choice.REFUSE,
        send_again=True,
    )


def test_two_vendors_share_a_bridge_whatever_they_call_their_events(secret: Path) -> None:
    text = vendor(secret, "a") + EVENT + access_user(secret, "b") + PLAIN_EVENT + BROKER
    one, other = parse(text, "x").accounts
    assert isinstance(one.vendor, IngresseSettings)
    assert isinstance(other.vendor, VivenuSettings)
    assert (one.vendor.events, other.vendor.events) == ((("1", ("2",)),), ("1",))


def test_a_bridge_without_a_vendor_keeps_rows(secret: Path) -> None:
    found = parse(BROKER, "x")
    assert (found.venue, found.ledger, found.accounts) == ("venue", "", ())


# --- what is refused -------------------------------------------------------------------------------------

GOOD = "<good>"  # a right [[vendor]] of Ingresse without events: seven lines
ALSO_GOOD = "<vivenu>"  # one of vivenu: four lines

# A file, and after "!" what is said about it.
REFUSALS = """
[bridge]
venu = "a"
! 2: bridge.venu: no such setting: did you mean "venue"?

[bridge]
poll_s = 1
! 2: bridge.poll_s: no such setting here: it belongs to [[vendor]]

[vendors]
! 1: vendors: no such setting: did you mean "vendor"?

[lane]
! 1: lane: no such setting: there are bridge, health, vendor, broker

vendor = 3
! 1: vendor: 3 is not a list: write [[vendor]] for each

vendor = [3]
! 1: vendor[1]: 3 is not a table: write [[vendor]] above its settings

[bridge]
ledger = 5
! 2: bridge.ledger: is no text of 0 to 255 characters, all of them visible

[bridge]
ledger = "mysql://u:hidden@h/d"
! 2: bridge.ledger: is no URL of a database that can be used: write sqlite:////folder/file or
!   postgresql+psycopg://user@host/name, or leave it out

[bridge]
ledger = "postgresql://u:hidden@h:port/d"
! 2: bridge.ledger: is no URL of a database that can be used: write sqlite:////folder/file or
!   postgresql+psycopg://user@host/name, or leave it out

[bridge]
ledger = "sqlite://"
! 2: bridge.ledger: names no file from the root of the file system: write sqlite:////folder/file or
!   postgresql+psycopg://user@host/name, or leave it out

[[vendor]]
name = "a"
kind = "ingress"
! 1: vendor[1].event: is missing: write [[vendor.event]] for each played here
! 3: vendor[1].kind: "ingress" is not one of "ingresse", "vivenu", "presence", "bam": did you mean "ingresse"?

<good>
key_fil = 1
[[vendor.event]]
id = "1"
sessions = ["2"]
! 8: vendor[1].key_fil: no such setting: did you mean "key_file"?

<good>
[[vendor.event]]
id = "1"
session = ["2"]
! 8: vendor[1].event[1].sessions: is missing: Its sessions that are played here: at least one.
! 10: vendor[1].event[1].session: no such setting: did you mean "sessions"?

<good>
[[vendor.event]]
id = "1"
sessions = []
! 10: vendor[1].event[1].sessions: is empty: a code is for one session, so name them

<good>
[[vendor.event]]
id = "1"
sessions = ["2", "2"]
! 10: vendor[1].event[1].sessions: "2" is in vendor[1].event[1] already: each session once

<good>
[[vendor.event]]
id = "1"
sessions = ["2"]
[[vendor.event]]
id = "1"
sessions = ["2"]
! 12: vendor[1].event[2].id: "1" is taken by vendor[1].event[1]: each has its own
! 13: vendor[1].event[2].sessions: "2" is in vendor[1].event[1] already: each session once

<good>
event = 7
! 8: vendor[1].event: 7 is not a list: write [[vendor.event]] for each

<good>
api_url = "http://shop.example"
search_url = "https://u:hidden@h"
[[vendor.event]]
id = "1"
sessions = ["2"]
! 8: vendor[1].api_url: is no address that can be used: write https://host, without user or query; http is
!   for this machine only
! 9: vendor[1].search_url: is no address that can be used: write https://host, without user or query; http
!   is for this machine only

<good>
api_url = "https://[h"
search_url = "https://h:99999999"
[[vendor.event]]
id = "1"
sessions = ["2"]
! 8: vendor[1].api_url: is no address: write https://host
! 9: vendor[1].search_url: is no address: write https://host

<good>
refusals = ["4=x", "x=used", "4=admited", "4=admitted", "0=used", "2=used", "2=unknown"]
[[vendor.event]]
id = "1"
sessions = ["2"]
! 8: vendor[1].refusals: "4=x": write a number, "=" and a verdict that refuses, as in "4=wrong_session"
! 8: vendor[1].refusals: "x=used": write a number, "=" and a verdict that refuses, as in "4=wrong_session":
!   did you mean "used"?
! 8: vendor[1].refusals: "4=admited": write a number, "=" and a verdict that refuses, as in "4=wrong_session"
! 8: vendor[1].refusals: "4=admitted": write a number, "=" and a verdict that refuses, as in
!   "4=wrong_session"
! 8: vendor[1].refusals: "0=used": 0 is no refusal: take it out
! 8: vendor[1].refusals: "2=unknown": 2 stands there already: take one out

<good>
email = "e"
[[vendor.event]]
id = "1"
sessions = ["2"]
! 8: vendor[1].email: does nothing with login = "token": take it out, or set login = "password"

[[vendor]]
name = "a"
kind = "ingresse"
key_file = "/nowhere/key"
login = "password"
unsold = "perhaps"
[[vendor.event]]
id = "1"
sessions = ["2"]
! 1: vendor[1].email: is missing: The user's e-mail address.
! 1: vendor[1].password_file: is missing: The file with the user's password.
! 4: vendor[1].key_file: /nowhere/key: cannot be read (No such file or directory): check the path
! 6: vendor[1].unsold: "perhaps" is not one of "refuse", "admit"

<vivenu>
login = "token"
key_fil = "x"
admit = ["VALID", "DETAILREQUIRED"]
[[vendor.event]]
id = "1"
sessions = ["2"]
! 5: vendor[1].login: does nothing with kind = "vivenu": take it out, or set kind = "ingresse"
! 6: vendor[1].key_fil: no such setting: did you mean "token_file"?
! 7: vendor[1].admit: "DETAILREQUIRED" is no status that lets anybody in: write one of VALID, DETAILSREQUIRED,
!   RESERVED, BLANK: did you mean "DETAILSREQUIRED"?
! 10: vendor[1].event[1].sessions: does nothing with kind = "vivenu": take it out, or set kind = "ingresse"

<vivenu>
api_url = "http://tickets.example"
admit = []
page_size = 1001
batch_size = 0
slots = "perhaps"
! 1: vendor[1].event: is missing: write [[vendor.event]] for each played here
! 5: vendor[1].api_url: is no address that can be used: write https://host, without user or query; http is
!   for this machine only
! 6: vendor[1].admit: is empty, so nobody would be let in: name VALID at least
! 7: vendor[1].page_size: 1001 is not between 1 and 1000 (more the vendor refuses)
! 8: vendor[1].batch_size: 0 is not between 1 and 1000 (no limit is published)
! 9: vendor[1].slots: "perhaps" is not one of "refuse", "admit"

<vivenu>
send_again = true
[[vendor.event]]
id = "1"
[[vendor.event]]
id = "1"
! 9: vendor[1].event[2].id: "1" is taken by vendor[1].event[1]: each has its own

<good>
[[vendor.event]]
id = "1"
sessions = ["2"]
<good>
[[vendor.event]]
id = "1"
sessions = ["2"]
! 12: vendor[2].name: "a" is taken by vendor[1]: each has its own
"""


def refusals(entries: str) -> Iterator[tuple[str, list[str]]]:
    """Each file with what is said of it."""
    for entry in entries.strip().split("\n\n"):
        text, *told = entry.replace("\n!   ", " ").split("\n! ")
        yield text, told


@pytest.mark.parametrize(("text", "told"), list(refusals(REFUSALS)))
def test_all_mistakes_are_told_at_once_each_with_its_line_its_key_and_the_mend(
    text: str, told: list[str], secret: Path
) -> None:
    written = text.replace(GOOD, vendor(secret).rstrip("\n"))
    written = written.replace(ALSO_GOOD, access_user(secret).rstrip("\n"))
    assert problems(f"{written}\n{BROKER}") == told
    assert "hidden" not in "".join(told)


def test_a_bridge_needs_a_broker(secret: Path) -> None:
    (told,) = problems(vendor(secret) + EVENT)
    assert told.endswith("broker: is missing: write [[broker]], for the bridge hears of gates through one")


def test_a_driver_that_is_not_installed_is_named() -> None:
    (told,) = problems('[bridge]\nledger = "postgresql+pg8000://u:hidden@h/d"\n' + BROKER)
    assert told == (
        "2: bridge.ledger: its driver pg8000 cannot be used here: "
        'install "psycopg[binary]", and write postgresql+psycopg://user@host/name'
    )


def test_a_driver_without_the_library_under_it_is_told_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psycopg.py").write_text('raise ImportError("no pq wrapper available")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "psycopg", raising=False)  # the real one, if a test before this used it
    (told,) = problems('[bridge]\nledger = "postgresql+psycopg://u:hidden@h/d"\n' + BROKER)
    assert told.startswith(
        '2: bridge.ledger: its driver psycopg cannot be used here: install "psycopg[binary]"'
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "its first line is empty: write the secret there"),
        (b"\n" + SECRET.encode(), "its first line is empty: write the secret there"),
        (b" \t \n", "its first line is empty: write the secret there"),
        (SECRET.encode() + b"\xff", "is not UTF-8 text: save it as UTF-8"),
        (SECRET.encode() + b"\0", "has a character that no key and no token has: copy it again"),
        (SECRET.encode() + "é".encode(), "has a character that no key and no token has: copy it again"),
        (
            SECRET.encode() * 1000,
            f"its first line is longer than {SECRET_BYTES_MAX} bytes: is it this file?",
        ),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_and_never_shown(
    data: bytes, told: str, secret: Path, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_bytes(data)
    said = problems(vendor(secret, token_file=f'"{path}"') + EVENT + BROKER)
    assert said == [f"6: vendor[1].token_file: {path}: {told}"]


def test_a_secret_is_the_first_line_without_spaces_and_without_what_an_editor_adds(
    secret: Path, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbf " + SECRET.encode() + b" \r\nmore")
    (account,) = parse(vendor(secret, token_file=f'"{path}"') + EVENT + BROKER, "x").accounts
    assert isinstance(account.vendor, IngresseSettings)
    assert account.vendor.token == SECRET


@pytest.mark.parametrize("key", ["key_file", "token_file", "jwt_file"])
def test_a_secret_in_the_place_of_its_file_is_not_shown(key: str, secret: Path) -> None:
    said = problems(vendor(secret, **{key: f'"{SECRET}"'}) + EVENT + BROKER)
    assert any(f"vendor[1].{key}: is no path that begins with /" in line for line in said)


def test_a_folder_is_no_secret(secret: Path, tmp_path: Path) -> None:
    (said,) = problems(vendor(secret, key_file=f'"{tmp_path}"') + EVENT + BROKER)
    assert said == f"4: vendor[1].key_file: {tmp_path}: cannot be read (Is a directory): check the path"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_secret_that_we_may_not_read_is_named(secret: Path, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(0)
    (said,) = problems(vendor(secret, key_file=f'"{path}"') + EVENT + BROKER)
    assert "Permission denied" in said


def test_a_file_that_is_too_long_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(BROKER + "# a long comment\n" * (FILE_BYTES_MAX // 16))
    with pytest.raises(SettingsError, match="is this the settings file"):
        load(path)
