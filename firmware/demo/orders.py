"""The orders of the whole demo: cut, stop and start its parts, and let things happen at the vendor."""

import json
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from firmware.demo.network import LOOPBACK
from firmware.demo.part import Part
from firmware.demo.ways import Fact, Told
from firmware.demo.whole import ACCOUNT, TOMORROW, TONIGHT, Whole
from firmware.signals import visible

ASK_S = 5.0  # for the vendor's control port, which is never slow
LOOKED_AT = 200  # codes asked for, to find one that would be admitted
SHOWN = 2  # codes of each kind that are printed; more do not fit 80 columns
SLOW_S = 1.0  # a slow vendor's replies: the bridge waits 1.5 s for a check-in
LOST_SHARE = 0.5  # of a lossy vendor's replies
CODE_SHOWN = 60  # characters of a code in a sentence

HELP = """\
/net cut, mend          the network between the gate and the broker
/broker stop, start     the broker; bridge and second gate need it too
/bridge stop, kill, start
                        the bridge, in order or as a power cut would; it goes on with the same ledger
/vendor stop, start     the vendor; it goes on with the same books
/vendor slow, lossy, well
                        its replies come late, or get lost after it has done what was asked
/sell                   sell a ticket at the vendor, and see when the gate knows
/refund, /elsewhere     refund a ticket, or let it in at another company's door; CODE may follow
/copy                   hold the last code to the venue's second gate; CODE may follow
/status                 what works, and what waits"""

Act = Callable[[], str]


class Unable(Exception):
    """An order cannot be carried out; the text says why, and what to do."""


class Orders:
    """The orders, for whoever types or pipes them. What one did, or why it did nothing, is a sentence."""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self.last_code = ""
        self.commands: Mapping[str, Callable[[str], str]] = {
            "net": partial(self._choose, "net", {"cut": self._cut, "mend": self._mend}),
            "broker": partial(self._choose, "broker", self._of(whole.broker, whole.start_broker)),
            "bridge": partial(self._choose, "bridge", self._of(whole.bridge, whole.start_bridge)),
            "vendor": partial(
                self._choose,
                "vendor",
                {
                    **self._of(whole.vendor, whole.start_vendor),
                    "slow": self._slow,
                    "lossy": self._lossy,
                    "well": self._well,
                },
            ),
            "sell": partial(self._try, self._sell),
            "refund": partial(self._try, self._refund),
            "elsewhere": partial(self._try, self._elsewhere),
            "copy": partial(self._try, self._copy),
            "status": lambda _: self._status(),
        }

    def samples(self) -> Mapping[str, list[str]]:
        """A few codes for each thing that the gate would say to them. Empty while the vendor is down."""
        wanted: tuple[dict[str, str], ...] = (
            {"session": TONIGHT, "sold": "true", "refunded": "false", "external": "false", "inside": "false"},
            {"session": TONIGHT, "sold": "true", "inside": "true"},
            {"session": TONIGHT, "sold": "false"},
            {"session": TONIGHT, "refunded": "true"},
            {"session": TOMORROW, "sold": "true", "refunded": "false"},
        )
        try:
            codes = [code for each in wanted for code in self._codes(**each)]
        except Unable:
            return {}
        found = self._whole.words_of(codes)
        good = {"good": found.pop("good", [])}
        return {word: some[:SHOWN] for word, some in {**good, **found}.items() if some}

    # --- parts -----------------------------------------------------------------------------------------

    def _of(self, part: Part, start: Callable[[], None]) -> dict[str, Act]:
        def begin() -> str:
            if part.state in {"up", "starting"}:
                return f"the {part.name} runs already"
            start()
            return f"the {part.name} starts"

        def end(how: Callable[[], None], word: str) -> str:
            if part.state == "down":
                return f"the {part.name} does not run: /{part.name} start"
            how()
            return f"the {part.name} {word}"

        return {
            "start": begin,
            "stop": partial(end, part.stop, "is stopped"),
            "kill": partial(end, part.kill, "is killed"),
        }

    def _cut(self) -> str:
        self._whole.network.cut()
        return "the network is cut: the gate goes on alone"

    def _mend(self) -> str:
        self._whole.network.mend()
        return "the network is mended"

    def _slow(self) -> str:
        self._ask("POST", "behave")
        self._ask("POST", "misbehave", {"kind": "slow", "chance": 1.0, "seconds": SLOW_S})
        self._whole.manner = "slow"
        return f"each of the vendor's replies takes {SLOW_S:g} s from now on"

    def _lossy(self) -> str:
        self._ask("POST", "behave")
        self._ask("POST", "misbehave", {"kind": "lost", "endpoint": "update", "chance": LOST_SHARE})
        self._whole.manner = "lossy"
        return (
            f"{LOST_SHARE:.0%} of the replies to check-ins get lost from now on, after the check-in was made"
        )

    def _well(self) -> str:
        self._ask("POST", "behave")
        self._whole.manner = "well"
        return "the vendor behaves"

    def _status(self) -> str:
        status = self._whole.status()
        cut = ", network cut" if self._whole.network.is_cut else ""
        return f"{status.parts}{cut}   {status.waiting}   {self._whole.list_words()}"

    # --- at the vendor ---------------------------------------------------------------------------------

    def _sell(self, word: str) -> str:
        code = word or next(iter(self._codes(session=TONIGHT, sold="false")), "")
        self._happens("sell", "sold", code)
        return f"sold: {shown(code)}"

    def _refund(self, word: str) -> str:
        code = word or self._good()
        self._happens("refund", "refunded", code)
        return f"refunded: {shown(code)}"

    def _elsewhere(self, word: str) -> str:
        code = word or self._good()
        self._happens("check-in", "entered elsewhere", code)
        return f"entered at a door of another company: {shown(code)}"

    def _copy(self, word: str) -> str:
        code, second = word or self.last_code, self._whole.second
        if not code:
            raise Unable("no code was held to the first gate yet: /copy CODE")
        if second is None or not second.tickets:
            raise Unable("the second gate has no tickets yet: wait a moment")
        shot = second.scan(code)
        if shot is None:
            raise Unable("the second gate gave no answer")
        reason = second.reason(shot)
        facts: dict[str, Fact] = {"told": "copy", "code": code, "verdict": shot.verdict, "reason": reason}
        self._whole.ways.tell(Told("", {**facts, "opened": shot.relay_ns is not None}))
        return f"second gate: {shown(code)}: {reason}"

    def _good(self) -> str:
        """A code that would be let in, any of the first ones, so that two orders seldom meet."""
        wanted = {"sold": "true", "refunded": "false", "external": "false", "inside": "false"}
        good = self._whole.words_of(self._codes(session=TONIGHT, **wanted)).get("good", [])
        if not good:
            raise Unable("there is no code left that would be let in: name one")
        return random.choice(good)  # noqa: S311 - no secret

    def _happens(self, act: str, what: str, code: str) -> None:
        """Let it happen. The reply is a change as an array: number, ticket, what, the code it has now, …"""
        if not code:
            raise Unable("the vendor has no such ticket left")
        begun_ns = time.perf_counter_ns()
        ticket = f"{ACCOUNT}:{self._ask('GET', 'ticket', query={'ticket': code})['id']}"
        self._whole.ways.expect(what, ticket, begun_ns)
        try:
            _, _, _, has_now, *_ = self._ask("POST", act, {"ticket": code})
        except Unable:
            self._whole.ways.forget(ticket)
            raise
        facts: dict[str, Fact] = {"told": act, "ticket": ticket, "code": code, "code_now": has_now}
        self._whole.ways.tell(Told("", facts))

    def _codes(self, **wanted: str) -> list[str]:
        codes: list[str] = self._ask("GET", "codes", query={"count": str(LOOKED_AT), **wanted})
        return codes

    def _ask(
        self,
        method: str,
        name: str,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask the vendor's control port. Raises `Unable`."""
        if self._whole.vendor.state != "up":
            raise Unable("the vendor is down: /vendor start")
        port = urlsplit(self._whole.control_url).port
        connection = HTTPConnection(LOOPBACK, port, timeout=ASK_S)
        try:
            path = f"/sandbox/{name}?{urlencode(query)}" if query else f"/sandbox/{name}"
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, headers)
            reply = connection.getresponse()
            text = reply.read()
        except (OSError, HTTPException) as error:
            raise Unable(f"the vendor gives no answer ({type(error).__name__}): /status") from error
        finally:
            connection.close()
        if reply.status != 200:
            raise Unable(f"the vendor says: {visible(text.decode(errors='replace').strip(), 200)}")
        return json.loads(text)

    # --- words -----------------------------------------------------------------------------------------

    def _choose(self, name: str, acts: Mapping[str, Act], word: str) -> str:
        act = acts.get(word)
        if act is None:
            return f"/{name} is followed by {', '.join(acts)}"
        return self._try(lambda _: act(), word)

    def _try(self, act: Callable[[str], str], word: str) -> str:
        try:
            return act(word)
        except Unable as unable:
            return str(unable)
        except OSError as error:
            return f"that cannot be done now ({error.strerror})"


def shown(code: str) -> str:
    """A code in a sentence."""
    return visible(code, CODE_SHOWN)
