"""`gatepost bam` against the sandbox, as a person uses it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from firmware import cli
from firmware.bridge import bam_identity
from firmware.bridge.database import Database
from firmware.bridge.ledger import Ledger
from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.server import Reply, Server
from firmware.bridge.service import ledger_url
from firmware.bridge.settings import load
from firmware.command_line import DONE, FINDING, REFUSED


class Desk:
    """A folder with settings, and a sandbox."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.config, self.qr = folder / "bridge.toml", folder / "qr"
        self.validator, self.key = folder / "validator", folder / "key"
        self.session = folder / "session"
        self.event = sandbox.events[0].id
        self.write(str(self.event))
        self.qr.write_text(sandbox.qr())

    def write(self, event: str) -> None:
        """The settings."""
        self.config.write_text(
            f'[[vendor]]\nname = "club"\nkind = "bam"\nurl = "{self.sandbox.url}"\n'
            f'tenant_url = "{self.sandbox.tenant_url}"\nvalidator_file = "{self.validator}"\n'
            f'key_file = "{self.key}"\n[[vendor.event]]\nid = "{event}"\n'
            '[[broker]]\nhost = "broker.example"\nusername = "u"\n'
        )

    def run(self, word: str, *more: str) -> int:
        """One command."""
        return cli.main(["bam", word, "--config", str(self.config), "--account", "club", *more])

    def enrol(self) -> int:
        """Fetch the identity."""
        return self.run("enrol", "--qr", str(self.qr))

    def log_in(self) -> None:
        """The organizer's session."""
        body = {"email": self.sandbox.email, "password": self.sandbox.password}
        reply = httpx.post(f"{self.sandbox.url}/account/v1/auth/login", json=body, timeout=60)
        self.session.write_text(reply.json()["data"]["token"] + "\n")

    def office(self, word: str, *more: str) -> int:
        """One command of the box office."""
        return self.run(word, "--session", str(self.session), *more)


@pytest.fixture
def desk(tmp_path: Path, patient: None) -> Iterator[Desk]:
    """With an event of forty tickets, on a chain in a hurry."""
    with Sandbox(tickets=40, rules=Rules(latency_s=0.01, endorsing_s=0.01)) as sandbox:
        yield Desk(tmp_path, sandbox)


def test_an_identity_is_fetched_once_and_kept_so_that_only_its_key_opens_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.enrol() == DONE
    wallet = desk.sandbox.validators[0].wallet
    secret = wallet.private_key.splitlines()[1]
    assert {path.stat().st_mode & 0o777 for path in (desk.validator, desk.key)} == {0o600}
    assert secret.encode() not in desk.validator.read_bytes()
    assert bam_identity.read(desk.validator, desk.key).private_key == wallet.private_key
    said = capsys.readouterr()
    assert secret not in said.out + said.err
    assert f"validator of event {desk.event}" in said.out
    assert len(load(desk.config).accounts) == 1
    key = desk.key.read_bytes()
    assert desk.enrol() == DONE
    assert desk.key.read_bytes() == key
    assert desk.sandbox.violations == []


def test_a_file_that_others_may_read_is_refused_with_its_mend(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.enrol()
    desk.validator.chmod(0o644)
    with pytest.raises(bam_identity.IdentityUnusable, match="chmod 600"):
        bam_identity.read(desk.validator, desk.key)
    desk.validator.chmod(0o600)
    sealed = desk.validator.read_bytes()
    desk.validator.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(bam_identity.IdentityUnusable, match="gatepost bam enrol"):
        bam_identity.read(desk.validator, desk.key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "is not the text of a validator's QR code"),
        (
            '{"url": "https://elsewhere.example/account/v1/organizer/validator/a-b"}',
            "names the host elsewhere",
        ),
        ("OURS/account/v1/organizer/17", "its address is none of a validator"),
        ("OURS/account/v1/organizer/validator/no-such-one", "validator not found"),
    ],
)
def test_a_code_that_is_none_of_ours_is_not_asked_for(
    desk: Desk, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text.startswith("OURS"):
        text = json.dumps({"url": text.replace("OURS", desk.sandbox.url)})
    desk.qr.write_text(text)
    assert desk.enrol() == REFUSED
    assert said in capsys.readouterr().err
    assert not desk.validator.exists()


def test_a_validator_of_another_event_is_not_kept(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write("9")
    assert desk.enrol() == REFUSED
    assert "the account's event is 9" in capsys.readouterr().err
    assert not desk.validator.exists()


@pytest.mark.parametrize("name", ["validator", "key"])
def test_an_identity_that_could_not_be_kept_is_not_fetched(
    desk: Desk, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setattr(desk, name, desk.folder / "nowhere" / name)
    desk.write(str(desk.event))
    desk.qr.write_text(json.dumps({"url": f"{desk.sandbox.url}/account/v1/organizer/validator/no-such-one"}))
    assert desk.enrol() == REFUSED
    said = capsys.readouterr().err
    assert (f"nowhere/{name}: cannot be written" in said, "validator not found" in said) == (True, False)


def test_a_key_that_is_none_is_found_before_the_identity_is_fetched(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.key.write_text("no key")
    desk.key.chmod(0o600)
    desk.qr.write_text(json.dumps({"url": f"{desk.sandbox.url}/account/v1/organizer/validator/no-such-one"}))
    assert desk.enrol() == REFUSED
    said = capsys.readouterr().err
    assert ("is no key of an identity" in said, "validator not found" in said) == (True, False)


def test_tickets_are_reserved_issued_and_freed_with_their_documented_states(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.enrol()
    desk.log_in()
    owner = desk.sandbox.api.people.organizer.enrollment_id
    free = desk.sandbox.ticket(desk.sandbox.codes(1, event=desk.event, status="available")[0])
    slot = f":{free.config.slot}:{free.sector[0]}" if free.config.slot else ""
    capsys.readouterr()
    assert desk.office("reserve", "--owner", owner, "--item", f"{free.config.id}:1{slot}") == DONE
    (line,) = capsys.readouterr().out.splitlines()
    number, _, _, state, meaning = line.split("\t")
    assert (state, meaning) == ("reserved", "held, not issued: refused")
    assert desk.office("issue", number) == DONE
    assert desk.office("tickets", "--status", "issued") == DONE
    assert f"{number}\t" in capsys.readouterr().out
    assert desk.office("free", number) == REFUSED
    assert "B.A.M. says no" in capsys.readouterr().err
    assert desk.sandbox.ticket(desk.sandbox.tickets.at(int(number) - 90_001).id).status == "issued"
    assert desk.sandbox.violations == []


def test_a_session_that_is_over_says_what_to_do(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.enrol()
    desk.session.write_text("a.b.c\n")
    assert desk.office("tickets") == REFUSED
    assert "log in again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ({"data": [{"id": 1}, {"id": 2}], "paging": {"limit": 2, "offset": 0, "total": 3}}, FINDING),
        ({"data": [{"id": 1}, {"id": 2}], "paging": {"limit": 2, "offset": 0, "total": 2}}, DONE),
        ({"data": {"tickets": [{"id": 1}, {"id": 2}], "paging": {"total": "3"}}}, FINDING),
        ({"data": [{"id": 1}, {"id": 2}]}, DONE),
        ({"data": [{"id": 1}, {"id": 2}], "paging": {"total": None}}, DONE),
    ],
)
def test_a_list_that_is_a_part_of_the_tickets_says_so_and_is_a_finding(
    desk: Desk, capsys: pytest.CaptureFixture[str], body: object, ended: int
) -> None:
    desk.enrol()
    desk.session.write_text("a.b.c\n")
    capsys.readouterr()
    content = json.dumps(body).encode()
    with Server(lambda _: Reply(200, content), lambda: time.time_ns() // 1_000_000) as server:
        text = desk.config.read_text().replace(f'"{desk.sandbox.tenant_url}"', f'"{server.url}"')
        desk.config.write_text(text)
        assert desk.office("tickets") == ended
    said = capsys.readouterr().out
    assert ("B.A.M. has 3 such tickets, and its reply has 2" in said) is (ended == FINDING)
    assert said.startswith("1\t-")


@pytest.mark.parametrize("item", ["23", "23:", "a:1", "1:2:3:4:5"])
def test_an_item_that_is_none_is_refused(desk: Desk, item: str) -> None:
    with pytest.raises(SystemExit):
        desk.office("reserve", "--owner", "o", "--item", item)


def test_a_difference_of_the_counts_is_said_and_is_a_report(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.enrol()
    data = desk.folder / "data"
    data.mkdir()
    assert desk.run("compare", "--data", str(data)) == DONE
    desk.sandbox.check_in(desk.sandbox.codes(1, event=desk.event, status="issued")[0])
    assert desk.run("compare", "--data", str(data)) == FINDING
    assert desk.run("compare", "--data", str(data)) == FINDING
    assert "B.A.M. has 1 tickets invalidated, the ledger 0" in capsys.readouterr().out
    settings = load(desk.config)
    with Database(ledger_url(settings, data)) as database:
        (report,) = Ledger(database, settings.venue, ()).reports(0, 10)
    assert (report.kind, "other doors" in report.text) == ("counts differ", True)
