"""What is asked of a ledger that hangs: for so long, and no longer."""

import threading
from pathlib import Path

import pytest

from firmware.bridge import schema
from firmware.bridge.database import Database, LedgerLost, NeverTaken
from firmware.bridge.in_time import InTime
from firmware.bridge.ledger.asked_once import AskedOnce
from firmware.bridge.listed import ListedTickets
from tests.bridge.ledgers import ledger_at, table_held
from tests.bridge.test_asking import ask
from tests.bridge.test_listed import ASKED
from tests.brokers import LIMIT_S, until
from tests.core.samples import NOON_MS


def test_what_a_call_gives_or_raises_is_passed_on() -> None:
    def never() -> int:
        raise NeverTaken("odd")

    in_time = InTime(LIMIT_S)
    assert in_time.run(lambda: 7) == 7
    with pytest.raises(NeverTaken, match="odd"):
        in_time.run(never)
    assert in_time.run(lambda: 8) == 8, "an error is no hanging"


def test_one_that_hangs_is_waited_for_briefly_and_none_is_begun_beside_it() -> None:
    in_time, release, begun = InTime(0.05), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        release.wait()

    for _ in range(3):
        with pytest.raises(LedgerLost, match=r"within 0\.05 s"):
            in_time.run(hang)
    until(lambda: begun)
    assert len(begun) == 1
    release.set()
    until(lambda: not in_time._hanging)
    in_time._wait_s = LIMIT_S
    in_time.run(hang)
    assert len(begun) == 2


@pytest.mark.usefixtures("on_postgresql")
def test_a_shared_ledger_that_hangs_is_lost_before_a_person_has_waited_for_long(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Database(ledger_at(path)) as database:
        once = AskedOnce(database, lambda: NOON_MS)
        listed = ListedTickets(database, lambda: NOON_MS, {"acme": 60})
        with table_held(path, schema.asked), pytest.raises(LedgerLost, match=r"within 0\.3 s"):
            once.first("north", ask(1))
        with table_held(path, schema.state), pytest.raises(LedgerLost, match=r"within 0\.3 s"):
            listed.find("acme", ASKED)
