"""Who we are at Ingresse: the tokens of one account, renewed or made anew where they expired."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

import httpx

from firmware.bridge import ingresse_replies as replies
from firmware.bridge.ingresse_replies import EXPIRED, Barred, Expired, Login, NotFound, Rejected, Said
from firmware.bridge.ingresse_requests import SEARCH, IngresseSettings, Requests
from firmware.bridge.lenient import date_ms
from firmware.bridge.vendor import Flow, LogInRefused, Lost, Misconfigured, NotSent, Outage

OLD_LOGINS_MAX = 8  # whose tokens are still masked in logs
SECRET_LENGTH_MIN = 4  # a shorter text would be masked in the midst of words
TURN_S = 30.0  # for another one's mend: two requests of 10 s at most, and their turns

Mend = Callable[[Login | None], Flow[Login | None]]


class Logins:
    """The log-in of one account; `now` is the present one.

    Safe to use from several threads: one of them renews it or logs in, and the others take what came of it.
    A refusal too is one for all who were at it, so that a rush does not try a log-in for each of its asks.
    """

    def __init__(self, settings: IngresseSettings, requests: Requests) -> None:
        self._set = settings
        self._requests = requests
        self.now = Login(settings.token, settings.jwt) if settings.login == "token" else None
        self._old: tuple[Login, ...] = ()
        self._turn = threading.Lock()  # held while it is renewed or logged in, and a reply awaited
        self._failed = 0  # mends that brought none
        self._refusal: LogInRefused | None = None  # of the last of these
        self.unsaid: LogInRefused | None = None
        """A refusal that an ask had to keep to itself, for the next one to raise before it sends anything."""

    def secrets(self) -> tuple[str, ...]:
        """Key, tokens, password and e-mail; of tokens also the last few that were replaced."""
        settings = self._set
        given = (settings.key, settings.token, settings.jwt, settings.password, settings.email)
        logins = (*self._old, *((self.now,) if self.now else ()))
        known = (*given, *(text for login in logins for text in (login.token, login.jwt)))
        return tuple(text for text in known if text)

    def ask(
        self,
        build: Callable[[Login], httpx.Request],
        what: str,
        stamps_ms: list[int],
        codes: Sequence[str] = (),
    ) -> Flow[object]:
        """Send with a token. Where it expired, renew it once and log in once; then a person must.

        The vendor's own time in each reply is added to `stamps_ms`. No error repeats the `codes`.
        """
        failed = self._failed
        mends = deque[Mend]((self._renew, self._log_in))
        login = self.now or (yield from self.log_in())
        while login is not None:
            response = yield build(login)
            assert isinstance(response, httpx.Response)
            stamps_ms.append(date_ms(response))
            body = self._read(response, what, codes)
            if not isinstance(body, Expired):
                return body
            login = yield from self._mended(login, mends, failed)
        if self._set.login == "token" and what == SEARCH:
            raise Misconfigured(
                f"{self._set.name}: {what}: the JWT expired or is wrong: set a new one and restart the bridge"
            )
        if self._set.login == "token":
            raise Misconfigured(
                f"{self._set.name}: {what}: the user token expired, or it or the application key is wrong: "
                "set a new token, or correct the key and `key_parameter`, and restart the bridge"
            )
        raise Misconfigured(
            f"{self._set.name}: {what}: a fresh log-in is refused: look at the key and the user's rights"
        )

    def _read(self, response: httpx.Response, what: str, codes: Sequence[str] = ()) -> object:
        """The body, or `EXPIRED`. No error has a secret or a code in it, whatever Ingresse repeats."""
        try:
            return replies.read(response, f"{self._set.name}: {what}")
        except (Outage, Misconfigured) as error:
            error.args = tuple(without((*self.secrets(), *codes), text) for text in error.args)
            raise

    def log_in(self) -> Flow[Login | None]:
        """The first login; `None` where a pasted token is all there is."""
        return (yield from self._mended(None, deque[Mend]((self._log_in,)), self._failed))

    def _mended(self, before: Login | None, mends: deque[Mend], failed: int) -> Flow[Login | None]:
        """Another login than that one, by the mends that are left; `None` where there is none to have.

        What others have found since there were so many failures is taken, be it that there is none.
        """
        if not self._turn.acquire(timeout=TURN_S):
            raise NotSent(f"{self._set.name}: not sent: another one's log-in has not ended in {TURN_S:.0f} s")
        try:
            if mends and self.now not in (None, before):
                mends.popleft()
                return self.now
            login: Login | None = None
            if self._failed == failed:
                refusal: LogInRefused | None = None
                try:
                    while mends and login is None:
                        login = yield from mends.popleft()(before)
                except LogInRefused as error:
                    refusal = error
                if login is None:
                    self._failed, self._refusal = self._failed + 1, refusal
            if login is None and self._refusal is not None:
                raise LogInRefused(*self._refusal.args)
            return login
        finally:
            self._turn.release()

    def _renew(self, before: Login | None) -> Flow[Login | None]:
        """A renewed login, or `None` where there is none to have."""
        if before is None:
            return None
        try:
            body = yield from self._open(self._requests.renew(before))
        except Misconfigured:
            return None
        fresh = None if isinstance(body, Expired) else replies.login(body)
        if fresh is None:
            return None
        return self._keep(
            Login(fresh.token or before.token, fresh.jwt or before.jwt, fresh.user or before.user)
        )

    def _log_in(self, _before: Login | None) -> Flow[Login | None]:
        """A new login with e-mail and password; `None` where a pasted token is all there is."""
        if self._set.login == "token":
            return None
        try:
            body = yield from self._open(self._requests.login())
        except Misconfigured as error:
            raise LogInRefused(*error.args) from error
        fresh = None if isinstance(body, Expired) else replies.login(body)
        if fresh is None or not fresh.token:
            wrong = "wrong application key, e-mail or password"  # it does not say which
            why = wrong if isinstance(body, Expired) else replies.message(body)
            raise LogInRefused(
                f"{self._set.name}: log-in refused: {why}. Correct the key, `key_parameter`, the e-mail and "
                "the password; where Ingresse wants a second factor, log in with a browser and set the user "
                "token"
            )
        return self._keep(fresh)

    def _open(self, request: httpx.Request) -> Flow[object]:
        """Send a request for a token. Whatever becomes of it, nothing else was carried out."""
        try:
            response = yield request
            assert isinstance(response, httpx.Response)
            return self._read(response, "log-in")
        except (Said, NotFound, Barred) as error:
            raise Misconfigured(*error.args) from error
        except Lost as error:
            why, retry_after_s = str(error), error.retry_after_s
        except Rejected:
            return EXPIRED
        raise Outage(why, retry_after_s)

    def _keep(self, login: Login) -> Login:
        if self.now is not None:
            self._old = (*self._old, self.now)[-OLD_LOGINS_MAX:]
        self.now = login
        self.unsaid = None
        return login


def without(secrets: Sequence[str], text: str) -> str:
    """The text with `***` in place of each secret."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if len(secret) >= SECRET_LENGTH_MIN else text
    return text
