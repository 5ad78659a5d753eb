"""Many who ask one account of Ingresse share one log-in, and one refusal of it."""

import threading
from collections.abc import Callable

import httpx
import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.ingresse import Ingresse
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.vendor import LogInRefused, Misconfigured
from tests.bridge.conversation import Talk, in_turn, ingresse, page, reply
from tests.bridge.test_ingresse_asks import question
from tests.bridge.test_sandbox_adapter import account
from tests.bridge.turns import Turns
from tests.brokers import LIMIT_S

THREADS = 16
PASSWORD = {"login": "password", "email": "doors@example.com", "password": "secret-word", "token": ""}


def at_once(vendor: Ingresse, driver: Driver) -> list[str]:
    """What came of it for each where all of them ask at one moment: nothing, or what was raised."""
    vendor._logins._turn = Turns(THREADS)  # type: ignore[assignment]  # for a lock
    ended = list[str]()

    def ask() -> None:
        try:
            driver.run(vendor.trial())
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


def with_sandbox(then: Callable[[Sandbox, Ingresse, Driver], None]) -> None:
    with Sandbox(tickets=40) as sandbox:
        vendor, _ = account(sandbox)
        # As for asks: a pool with fewer connections than threads may close one that is in use.
        with Driver("account", vendor, 10_000, connections_max=THREADS + 1) as driver:
            then(sandbox, vendor, driver)


def made(sandbox: Sandbox, endpoint: str) -> int:
    return sum(seen.endpoint == endpoint for seen in sandbox.requests)


def test_sixteen_who_begin_at_once_log_in_once() -> None:
    def then(sandbox: Sandbox, vendor: Ingresse, driver: Driver) -> None:
        assert at_once(vendor, driver) == [""] * THREADS
        assert made(sandbox, "login") == 1

    with_sandbox(then)


def test_sixteen_whose_token_has_expired_mend_it_once() -> None:
    def then(sandbox: Sandbox, vendor: Ingresse, driver: Driver) -> None:
        driver.run(vendor.trial())
        sandbox.expire_tokens()
        assert at_once(vendor, driver) == [""] * THREADS
        assert (made(sandbox, "renew"), made(sandbox, "login")) == (1, 2)

    with_sandbox(then)


def test_of_sixteen_after_a_change_of_the_password_one_has_tried_the_old_one() -> None:
    def then(sandbox: Sandbox, vendor: Ingresse, driver: Driver) -> None:
        driver.run(vendor.trial())
        sandbox.logins.password = "another"
        sandbox.expire_tokens()
        (said,) = set(at_once(vendor, driver))
        assert "Invalid email or password" in said
        assert made(sandbox, "login") == 2

    with_sandbox(then)


def expired(request: httpx.Request) -> httpx.Response:
    return httpx.Response(401, json={}, request=request)


@pytest.mark.parametrize("by_password", [True, False])
def test_whose_token_is_refused_after_another_ones_log_in_was_does_not_try_it_again(
    by_password: bool,
) -> None:
    vendor = ingresse(**(PASSWORD if by_password else {}))
    if by_password:
        logged_in = reply({"status": True, "data": {"token": "77-one"}})
        Talk(vendor.tickets(""), in_turn(logged_in, page([])))
    first, late = vendor.ask(question("A"), {}), vendor.ask(question("B"), {})
    sent = next(first), next(late)
    assert all(isinstance(request, httpx.Request) for request in sent)
    error = LogInRefused if by_password else Misconfigured
    answers = [reply({}, 401), reply({}, 401), reply({"status": False, "message": "wrong password"})]
    *before, last = answers if by_password else answers[:2]
    for answer in before:
        first.send(answer)
    with pytest.raises(error) as said:
        first.send(last)
    with pytest.raises(error) as said_late:
        late.send(reply({}, 401))
    assert str(said_late.value) == str(said.value)


def test_a_refused_log_in_is_no_word_on_the_next_ask() -> None:
    vendor = ingresse(**PASSWORD)
    with pytest.raises(LogInRefused):
        Talk(vendor.tickets(""), in_turn(reply({"status": False})))
    logged_in = reply({"status": True, "data": {"token": "77-one"}})
    assert len(Talk(vendor.tickets(""), in_turn(logged_in, page([]))).requests) == 2


def test_fresh_log_ins_that_are_refused_too_end_for_all_who_are_at_it() -> None:
    vendor = ingresse()
    flows = [vendor.ask(question(code), {}) for code in "ABC"]
    for flow in flows:
        next(flow)
    flows[0].send(reply({}, 401))
    flows[0].send(reply({"data": {"token": "77-0"}}))
    with pytest.raises(Misconfigured):
        flows[0].send(reply({}, 401))
    for flow in flows[1:]:
        request = flow.send(reply({}, 401))
        assert isinstance(request, httpx.Request)
        assert request.url.params["usertoken"] == "77-0"
        with pytest.raises(Misconfigured):
            flow.send(reply({}, 401))
