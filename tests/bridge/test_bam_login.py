"""Many who tell one account of B.A.M. share one session, and one refusal of it."""

import threading
from collections.abc import Callable

import httpx
import pytest

from firmware.bridge.bam import Bam
from firmware.bridge.driver import Driver
from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.vendor import LogInRefused, Lost, Outage
from tests.bridge.bam_talk import answering, bam, calls, codes, data, no, row
from tests.bridge.bam_wallet import Clock
from tests.bridge.conversation import Reply, Talk, in_turn
from tests.bridge.test_bam_sandbox_adapter import account
from tests.bridge.turns import Turns
from tests.brokers import LIMIT_S

pytestmark = pytest.mark.usefixtures("patient")

THREADS = 16
QUICK = Rules(0.0, 0.0, token_s=60.0)


def at_once(vendor: Bam, driver: Driver) -> list[str]:
    """What came of it for each where all of them ask at one moment: nothing, or what was raised."""
    vendor._session._turn = Turns(THREADS)  # type: ignore[assignment]  # for a lock
    ended = list[str]()

    def ask() -> None:
        try:
            driver.run(vendor.counts())
        except LogInRefused as error:
            ended.append(str(error))
        else:
            ended.append("")

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return ended


def with_sandbox(then: Callable[[Sandbox, Bam, Driver, Clock], None]) -> None:
    clock = Clock()
    with Sandbox(tickets=40, rules=QUICK, clock=clock) as sandbox:
        vendor, _ = account(sandbox)
        # As for tellers: a pool with fewer connections than threads may close one that is in use.
        with Driver("account", vendor, 10_000, connections_max=THREADS + 1) as driver:
            then(sandbox, vendor, driver, clock)


def made(sandbox: Sandbox, endpoint: str) -> int:
    return sum(seen.endpoint == endpoint for seen in sandbox.requests)


def test_sixteen_who_begin_at_once_log_in_once() -> None:
    def then(sandbox: Sandbox, vendor: Bam, driver: Driver, _: Clock) -> None:
        assert at_once(vendor, driver) == [""] * THREADS
        assert (made(sandbox, "challenge"), made(sandbox, "wallet")) == (1, 1)

    with_sandbox(then)


def test_sixteen_whose_session_has_expired_renew_it_once() -> None:
    def then(sandbox: Sandbox, vendor: Bam, driver: Driver, clock: Clock) -> None:
        driver.run(vendor.counts())
        clock.ms += 100_000
        assert at_once(vendor, driver) == [""] * THREADS
        assert (made(sandbox, "refresh"), made(sandbox, "challenge")) == (1, 1)

    with_sandbox(then)


@pytest.mark.parametrize(
    "answer",
    [
        data({}),
        data({"user": 7}),
        httpx.Response(204),
        httpx.Response(200),
        httpx.Response(200, text="<p>"),
        no("broken", 500),
        httpx.Response(502, text="<p>"),
    ],
)
def test_a_renewal_that_brings_no_session_is_made_up_for_by_a_log_in(answer: httpx.Response) -> None:
    lists = in_turn(no("jwt expired", 401), codes([row()]))
    talk = Talk(bam().tickets(""), answering(qr_codes=lists, refresh=answer))
    assert calls(talk.requests)[-6:-1] == ["qr_codes", "refresh", "challenge", "wallet", "qr_codes"]
    assert len(talk.tickets) == 1


@pytest.mark.parametrize("answer", [no("slow", 408), no("enough", 429), Lost("cut")])
def test_a_renewal_that_nobody_answers_is_an_outage(answer: Reply) -> None:
    expired = answering(qr_codes=no("jwt expired", 401), refresh=answer)
    with pytest.raises(Outage):
        Talk(bam().tickets(""), expired)


def test_of_sixteen_whose_log_in_is_refused_one_has_tried() -> None:
    def then(sandbox: Sandbox, vendor: Bam, driver: Driver, clock: Clock) -> None:
        sandbox.validators[0].expires_ms = clock.ms
        (said,) = set(at_once(vendor, driver))
        assert "enrollment not found" in said
        assert made(sandbox, "challenge") == 1

    with_sandbox(then)
