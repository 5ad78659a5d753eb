"""Who we are at Ingresse: the tokens of one account, renewed or made anew where they expired."""

from collections import deque
from collections.abc import Callable

import httpx

from firmware.bridge import ingresse_replies as replies
from firmware.bridge.ingresse_replies import EXPIRED, Expired, Login, Rejected, Said
from firmware.bridge.ingresse_requests import SEARCH, IngresseSettings, Requests
from firmware.bridge.lenient import date_ms
from firmware.bridge.vendor import Flow, LogInRefused, Lost, Misconfigured, Outage

OLD_LOGINS_MAX = 8  # whose tokens are still masked in logs


class Logins:
    """The log-in of one account; `now` is the present one. Safe to use from several threads."""

    def __init__(self, settings: IngresseSettings, requests: Requests) -> None:
        self._set = settings
        self._requests = requests
        self.now = Login(settings.token, settings.jwt) if settings.login == "token" else None
        self._old: tuple[Login, ...] = ()

    def tokens(self) -> tuple[str, ...]:
        """The tokens in use, and the last few that were replaced."""
        logins = (*self._old, *((self.now,) if self.now else ()))
        return tuple(text for login in logins for text in (login.token, login.jwt))

    def ask(self, build: Callable[[Login], httpx.Request], what: str, stamps_ms: list[int]) -> Flow[object]:
        """Send with a token. Where it expired, renew it once and log in once; then a person must.

        The vendor's own time in each reply is added to `stamps_ms`.
        """
        mends = deque((self._renew, self.log_in))
        login = self.now or (yield from self.log_in(None))
        while login is not None:
            response = yield build(login)
            assert isinstance(response, httpx.Response)
            stamps_ms.append(date_ms(response))
            body = replies.read(response, f"{self._set.name}: {what}")
            if not isinstance(body, Expired):
                return body
            before, login = login, None
            while mends and login is None:
                login = yield from mends.popleft()(before)
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

    def _renew(self, before: Login | None) -> Flow[Login | None]:
        """A renewed login, or `None` where there is none to have."""
        if before is None or self.now not in (None, before):
            return self.now  # another thread was faster
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

    def log_in(self, before: Login | None) -> Flow[Login | None]:
        """A new login with e-mail and password; `None` where a pasted token is all there is."""
        if self._set.login == "token":
            return None
        if self.now not in (None, before):
            return self.now
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
            return replies.read(response, f"{self._set.name}: log-in")
        except Said as error:
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
        return login
