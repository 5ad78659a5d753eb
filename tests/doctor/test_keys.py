"""Keys of signed codes on a gate's disk, as the doctor sees them."""

from pathlib import Path

import pytest

from firmware import wire
from firmware.config import parse
from firmware.doctor import keys
from firmware.doctor.check import Check, Verdict
from firmware.proof import FILE, EventKeys
from tests.signed_codes import Signer

LANE = '[[lane]]\nname = "1"\ndirection = "in"\n'
ROUTE = """
[[route]]
signed = "bam"
vendor = "club"
event = "{event}"
signature = "{signature}"
"""


def seen(data: Path | None, *routes: tuple[str, str]) -> list[Check]:
    written = "".join(ROUTE.format(event=event, signature=signature) for event, signature in routes)
    return list(keys.examine(parse(LANE + written, "gate.toml"), data))


def told(data: Path, account: str = "club", event: str = "3334") -> None:
    made = (wire.EventKey(event, Signer().pem),)
    EventKeys(data).take([wire.Account(account, False, True, (), 0, keys=made)])


@pytest.mark.parametrize(("signature", "verdict"), [("prefer", Verdict.WARNING), ("require", Verdict.FAULT)])
def test_a_route_of_signed_codes_whose_key_is_not_there_is_found_with_its_mend(
    tmp_path: Path, signature: str, verdict: Verdict
) -> None:
    (found,) = seen(tmp_path, ("3334", signature))
    assert found.verdict is verdict
    assert "event 3334 of club" in found.text
    assert str(tmp_path / FILE) in found.text
    assert "start the gate once with the bridge there" in found.mend
    told(tmp_path, account="other")
    told(tmp_path, event="3335")
    assert seen(tmp_path, ("3334", signature)) == [found], "a key of another account, and of another event"
    told(tmp_path)
    (good,) = seen(tmp_path, ("3334", signature))
    assert good.verdict is Verdict.OK


def test_each_route_is_looked_at_by_itself(tmp_path: Path) -> None:
    told(tmp_path)
    found = seen(tmp_path, ("3334", "prefer"), ("3335", "prefer"))
    assert [check.verdict for check in found] == [Verdict.OK, Verdict.WARNING]


def test_a_file_of_keys_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    (found,) = seen(tmp_path, ("3334", "prefer"))
    assert "it is damaged" in found.text


def test_where_signatures_are_ignored_or_no_folder_is_named_nothing_is_said(tmp_path: Path) -> None:
    assert seen(tmp_path, ("3334", "ignore")) == seen(tmp_path) == seen(None, ("3334", "require")) == []
