"""The session of one validator at B.A.M.: made with its wallet, renewed once where it expired."""

import secrets
import threading
from collections.abc import Callable

import httpx

from firmware.bridge import bam_replies as replies
from firmware.bridge.bam_identity import Wallet
from firmware.bridge.bam_replies import Expired, Failed, Missing, NoSession, Rejected
from firmware.bridge.bam_requests import BamSettings, Requests
from firmware.bridge.vendor import Flow, LogInRefused, Lost, Misconfigured, NotSent, Outage

OLD_MAX = 8  # sessions that are still masked in logs
TURN_S = 30.0  # for another one's log-in: two requests of 10 s at most, and their turns


class Session:
    """Safe to use from several threads: one of them renews or makes a session, and the others take that.

    A refusal is taken likewise, so that not each of them tries its own log-in, at which some services lock.
    """

    def __init__(self, settings: BamSettings, requests: Requests) -> None:
        self._set = settings
        self._requests = requests
        self._wallet = Wallet(settings.identity)
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held while a session is renewed or made, and a reply awaited
        self._log_ins = 0  # that have ended
        self._refusal = ""  # of the last one
        self._token = ""
        self._old: tuple[str, ...] = ()

    @property
    def wallet(self) -> Wallet:
        """What signs."""
        return self._wallet

    def tokens(self) -> tuple[str, ...]:
        """The session in use, and the last few that were replaced."""
        with self._lock:
            return tuple(filter(None, (*self._old, self._token)))

    def send(
        self, build: Callable[[str], httpx.Request], what: str, heard: list[httpx.Response] | None = None
    ) -> Flow[object]:
        """Send with a session. Where that has expired, renew it once and log in once; then a person must.

        A 401 comes before anything is carried out, so to send again is safe. Raises what `replies.read` does,
        but never `Expired`. The replies as they came are put into `heard`.
        """
        token = self._token or (yield from self._in_turn("", self._log_in))
        refused = ""
        for mend in (self._renew, self._log_in, None):
            try:
                return (yield from self._once(build(token), what, heard))
            except Expired as error:
                refused = str(error)
            if mend is not None:
                token = yield from self._in_turn(token, mend)
        raise Misconfigured(f"{refused}: a fresh session is refused: has the validator expired?")

    def _once(
        self, request: httpx.Request, what: str, heard: list[httpx.Response] | None = None
    ) -> Flow[object]:
        response = yield request
        assert isinstance(response, httpx.Response)
        if heard is not None:
            heard.append(response)
        return replies.read(response, f"{self._set.name}: {what}")

    def _in_turn(self, before: str, mend: Callable[[str], Flow[str]]) -> Flow[str]:
        """Another session than that one: of another thread, or mended in this one."""
        log_ins = self._log_ins
        if not self._turn.acquire(timeout=TURN_S):
            raise NotSent(f"{self._set.name}: not sent: another one's log-in has not ended in {TURN_S:.0f} s")
        try:
            if self._token not in ("", before):
                return self._token
            if self._log_ins != log_ins and self._refusal:
                raise LogInRefused(self._refusal)
            return (yield from mend(before))
        finally:
            self._turn.release()

    def _renew(self, before: str) -> Flow[str]:
        """That session renewed, or one made anew: also where the answer is a good one without a session.

        Some services fail over a session that is too old (5xx), and would do so each time.
        """
        what = "renewal of the session"
        try:
            body = yield from self._open(self._requests.refresh(before), what)
            token = replies.token(body, f"{self._set.name}: {what}")
        except (Expired, Missing, Rejected, Misconfigured, NoSession):
            return (yield from self._log_in(before))
        return self._keep(before, token)

    def _log_in(self, before: str) -> Flow[str]:
        """A session made with the wallet."""
        client_nonce = secrets.token_hex(16)
        what = f"{self._set.name}: log-in"
        try:
            body = yield from self._open(self._requests.challenge(client_nonce), "log-in, challenge")
            nonce = replies.nonce(body, what)
            signed = self._wallet.challenge(nonce)
            request = self._requests.wallet(client_nonce, nonce, signed)
            body = yield from self._open(request, "log-in, answer")
        except (Expired, Missing, Rejected, Misconfigured) as error:
            why = str(error)
        else:
            self._log_ins, self._refusal = self._log_ins + 1, ""
            return self._keep(before, replies.token(body, what))
        mend = "correct `url`, or make a new validator in the dashboard, and fetch it with gatepost bam enrol"
        self._log_ins, self._refusal = self._log_ins + 1, f"{what} refused: {why}: {mend}"
        raise LogInRefused(self._refusal)

    def _open(self, request: httpx.Request, what: str) -> Flow[object]:
        """Send a request for a session: where its reply is lost, nothing else was carried out.

        Raises `NoSession` where a reply came that has none in it, be it a failure of theirs (5xx).
        """
        try:
            return (yield from self._once(request, what))
        except NotSent:
            raise
        except Lost as error:
            why, retry_after_s = str(error), error.retry_after_s
            if isinstance(error, Failed):
                raise NoSession(why) from None
        raise Outage(why, retry_after_s)

    def _keep(self, before: str, token: str) -> str:
        with self._lock:
            self._old = tuple(filter(None, (*self._old, before)))[-OLD_MAX:]
            self._token = token
        return token
