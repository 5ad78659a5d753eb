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
from firmware.demo.whole import Whole
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
        self._whole, self._play = whole, whole.play
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

    def help(self) -> str:
        """The commands, and what is different with this vendor."""
        return "\n".join(filter(None, (HELP, self._play.about)))

    def samples(self) -> Mapping[str, list[str]]:
        """A few codes for each thing that would be said to them. Empty while the vendor is down.

        Where the vendor is asked, each scan is its word alone, and it is not asked by looking.
        """
        play = self._play
        try:
            if play.asks:
                every = (("good", play.good), *play.samples)
                found = {word: self._codes(query)[:SHOWN] for word, query in every}
            else:
                queries = (play.good, *(query for _, query in play.samples))
                found = self._whole.words_of([code for query in queries for code in self._codes(query)])
        except Unable:
            return {}
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
        alone = "nobody is let in meanwhile" if self._play.asks else "the gate goes on alone"
        return f"the network is cut: {alone}"

    def _mend(self) -> str:
        self._whole.network.mend()
        return "the network is mended"

    def _slow(self) -> str:
        self._ask("POST", "behave")
        self._ask("POST", "misbehave", body={"kind": "slow", "chance": 1.0, "seconds": SLOW_S})
        self._whole.manner = "slow"
        return f"each of the vendor's replies takes {SLOW_S:g} s from now on"

    def _lossy(self) -> str:
        self._ask("POST", "behave")
        call, words = self._play.lost
        self._ask("POST", "misbehave", body={"kind": "lost", "endpoint": call, "chance": LOST_SHARE})
        self._whole.manner = "lossy"
        return f"{LOST_SHARE:.0%} of the replies to {words}"

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
        code = word or next(iter(self._codes(self._play.unsold)), "")
        return self._happens("sell", "sold", code)

    def _refund(self, word: str) -> str:
        code = word or self._good()
        return self._happens("refund", "refunded", code)

    def _elsewhere(self, word: str) -> str:
        code = word or self._good()
        return self._happens("check-in", "entered elsewhere", code)

    def _copy(self, word: str) -> str:
        code, second = word or self.last_code, self._whole.second
        if not code:
            raise Unable("no code was held to the first gate yet: /copy CODE")
        if second is None or not (self._play.asks or second.unit.catalogue.count):
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
        good = self._codes(self._play.good)
        if not self._play.asks:
            good = self._whole.words_of(good).get("good", [])
        if not good:
            raise Unable("there is no code left that would be let in: name one")
        return random.choice(good)  # noqa: S311 - no secret

    def _happens(self, act: str, what: str, code: str) -> str:
        """Let it happen. The reply is a change as an array: number, ticket, what, the code it has now, …"""
        if not code:
            raise Unable("the vendor has no such ticket left")
        begun_ns = time.perf_counter_ns()
        found = self._ask("GET", "ticket", urlencode({"ticket": code}))
        ticket = self._whole.id_of(found[self._play.ticket_id])
        unheard = self._play.unheard.get(act, "")
        if not unheard:
            self._whole.ways.expect(what, ticket, begun_ns)
        try:
            _, _, _, has_now, *_ = self._ask("POST", act, body={"ticket": code})
        except Unable:
            self._whole.ways.forget(ticket)
            raise
        facts: dict[str, Fact] = {"told": act, "ticket": ticket, "code": code, "code_now": has_now}
        self._whole.ways.tell(Told("", facts))
        return "; ".join(filter(None, (f"{what}: {shown(code)}", unheard)))

    def _codes(self, query: str) -> list[str]:
        """Codes that the vendor has, as a query of `PLAYS` wants them."""
        wanted = query.format_map(self._whole.values)
        codes: list[str] = self._ask("GET", "codes", f"count={LOOKED_AT}&{wanted}")
        return codes

    def _ask(self, method: str, name: str, query: str = "", body: Mapping[str, object] | None = None) -> Any:
        """Ask the vendor's control port. Raises `Unable`."""
        if self._whole.vendor.state != "up":
            raise Unable("the vendor is down: /vendor start")
        port = urlsplit(self._whole.control_url).port
        connection = HTTPConnection(LOOPBACK, port, timeout=ASK_S)
        try:
            path = f"/sandbox/{name}?{query}" if query else f"/sandbox/{name}"
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
