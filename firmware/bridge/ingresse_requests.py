"""How an account at Ingresse is set, every request that is sent there, and what cannot be sent.

Pure: settings in, `httpx.Request` out. Only `firmware.bridge.ingresse` sends them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import httpx

from firmware.bridge.addresses import fits, path_part
from firmware.bridge.ingresse_replies import Login
from firmware.bridge.lenient import CODE_LENGTH_MAX, clean, is_ms
from firmware.bridge.vendor import Told, manner
from firmware.core.ticket import Choice, Direction, Verdict

BATCH_MAX = 20  # Ingresse's own limit of tickets in one update
PAGE_SIZE = 1500  # what the tutorial recommends
PAGE_SIZE_MAX = 1500  # the highest figure that Ingresse names anywhere
OVERLAP_S = 120  # whether `from` is inclusive is not known, and a long list may take its 50 s
OVERLAP_S_MAX = 86_400  # a day: more is a whole list each time
CHECK_IN_TIMEOUT_S = 1.5  # Ingresse's app takes 1 s and then works offline
ASK_DEADLINE_MS = 1500  # likewise; a person who waits longer scans again
LIST_TIMEOUT_S = 50.0  # as in Ingresse's app
LOOK_TIMEOUT_S = 2.0  # as in Ingresse's app
LOGIN_TIMEOUT_S = 10.0  # no figure is published; nobody stands at a gate meanwhile
LIST_TRIES = 3  # a page that was cut costs less to ask again than the whole list
LIST_PATIENCE_S = 60.0  # a `Retry-After` in the midst of a list, which would else begin anew
SEARCH = "producer search"
SEARCH_SIZE = 50  # as in Ingresse's app

API_URL = "https://api.ingresse.com"
SEARCH_PATH = "/v2/events/search/producer"
KEY_PARAMETERS = ("apikey", "publickey")
LOGINS = ("token", "password")
LOGIN_PATHS = ("/login", "/company-login")

# What a number that refuses means. 0, 1 and 3 are no refusals, or not always; what is not here is REFUSED.
STATUS_MAP: Mapping[int, Verdict] = MappingProxyType(
    {
        2: Verdict.UNKNOWN,
        4: Verdict.WRONG_SESSION,
        5: Verdict.REFUSED,  # the session was missing: our own fault
        6: Verdict.REFUNDED,  # only in the Android client
    }
)


class IngresseSettings(NamedTuple):
    """One account. `unsold`, `login`, `key` and `events` have no default: only the operator knows them.

    `events` are pairs of an event's id and the ids of its sessions that are played here. `login` is `token`
    (`token` is a user token, `jwt` optional) or `password` (`email` and `password`, sent to `login_path`).
    `search_url` empty is below `api_url`. `status_map` names the verdict of each refusing status number.
    Secrets are the text itself, never a file's name.
    """

    key: str
    login: str
    events: tuple[tuple[str, tuple[str, ...]], ...]
    unsold: Choice
    name: str = "ingresse"
    api_url: str = API_URL
    search_url: str = ""
    key_parameter: str = "apikey"
    token: str = ""
    jwt: str = ""
    email: str = ""
    password: str = ""
    login_path: str = "/login"
    page_size: int = PAGE_SIZE
    batch_size: int = BATCH_MAX
    overlap_s: int = OVERLAP_S
    check_in_timeout_s: float = CHECK_IN_TIMEOUT_S
    look_timeout_s: float = LOOK_TIMEOUT_S
    ask_deadline_ms: int = ASK_DEADLINE_MS
    status_map: Mapping[int, Verdict] = STATUS_MAP


class Requests:
    """The requests of one account."""

    def __init__(self, settings: IngresseSettings) -> None:
        self._set = settings
        self._api = settings.api_url.rstrip("/")
        self._search = settings.search_url or self._api + SEARCH_PATH
        self._event_of = {session: event for event, sessions in settings.events for session in sessions}

    def placed(self, told: Told) -> Told:
        """With its session: where one is played, a ticket of no list is of that one."""
        played = [session for session, event in self._event_of.items() if told.event in ("", event)]
        return told._replace(session=played[0]) if not told.session and len(played) == 1 else told

    def event(self, told: Told) -> str:
        """The event of a movement, which is in the address; "" where it is not known."""
        return told.event or self._event_of.get(told.session, "")

    def unfit(self, told: Told) -> str:
        """Why Ingresse cannot be told of this; "" where it can."""
        if not told.session:
            return "the session is not known, and Ingresse takes no movement without one"
        if not self.event(told):
            return "the event is not known, and its session is none of those that are set"
        if not told.code or len(told.code) > CODE_LENGTH_MAX or not clean(told.code):
            return "the code cannot be sent: it is empty, too long, or no text"
        if not is_ms(str(told.at_utc_ms)):
            return f"{told.at_utc_ms} is no time in milliseconds"
        return ""

    def _keyed(self, login: Login | None = None) -> dict[str, str]:
        """The key, and the user token where there is one."""
        keyed = {self._set.key_parameter: self._set.key}
        return {**keyed, "usertoken": login.token} if login else keyed

    def search(self, offset: int, login: Login) -> httpx.Request:
        return httpx.Request(
            "GET",
            self._search,
            params={"size": str(SEARCH_SIZE), "offset": str(offset)},
            headers={"Authorization": f"Bearer {login.jwt}"},
            extensions=manner(SEARCH, LOGIN_TIMEOUT_S, LIST_TRIES),
        )

    def list(
        self, what: str, event: str, session: str, number: int, size: int, from_ms: int, login: Login
    ) -> httpx.Request:
        params = {**self._keyed(login), "sessionid": session, "pageSize": str(size), "page": str(number)}
        if from_ms:
            params["from"] = str(from_ms)
        return httpx.Request(
            "GET",
            f"{self._api}/event/{path_part(event)}/guestlist",
            params=params,
            extensions=manner(what, LIST_TIMEOUT_S, LIST_TRIES, LIST_PATIENCE_S),
        )

    def update(
        self, what: str, event: str, batch: Sequence[Told], login: Login, timeout_s: float = 0.0
    ) -> httpx.Request:
        """`timeout_s` 0 is that of a check-in after the fact."""
        tickets = [
            {
                "ticketCode": told.code,
                "ticketStatus": "1" if told.direction is Direction.IN else "0",
                "ticketTimestamp": str(told.at_utc_ms),
                "sessionId": told.session,
            }
            for told in batch
        ]
        return httpx.Request(
            "POST",
            f"{self._api}/event/{path_part(event)}/guestlist",
            params={"method": "updatestatus", **self._keyed(login)},
            json={"tickets": tickets},
            extensions=manner(what, timeout_s or self._set.check_in_timeout_s),
        )

    def look(self, what: str, code: str, login: Login) -> httpx.Request:
        return httpx.Request(
            "GET",
            f"{self._api}/ticket/{path_part(code)}/status",
            params=self._keyed(login),
            extensions=manner(what, self._set.look_timeout_s),
        )

    def renew(self, login: Login) -> httpx.Request:
        return httpx.Request(
            "GET",
            f"{self._api}/login/renew-token",
            params=self._keyed(login),
            extensions=manner("renewal of the log-in", LOGIN_TIMEOUT_S),
        )

    def login(self) -> httpx.Request:
        return httpx.Request(
            "POST",
            f"{self._api}{self._set.login_path}",
            params=self._keyed(),
            data={"email": self._set.email, "password": self._set.password},
            extensions=manner("log-in", LOGIN_TIMEOUT_S),
        )


def check(settings: IngresseSettings) -> None:
    """Raise `ValueError` for settings that cannot work; the text names the setting and the mend."""
    for name, url in (("api_url", settings.api_url), ("search_url", settings.search_url)):
        if url and not fits(url):
            raise ValueError(
                f"{name}: write https://host, without user or query; http is for this machine only"
            )
    sessions = [session for _, served in settings.events for session in served]
    faults = (
        (not settings.api_url, "api_url: name Ingresse's address"),
        (not settings.key, "key: Ingresse gives one to each application"),
        (settings.key_parameter not in KEY_PARAMETERS, f"key_parameter: one of {', '.join(KEY_PARAMETERS)}"),
        (settings.login not in LOGINS, f"login: one of {', '.join(LOGINS)}"),
        (settings.login_path not in LOGIN_PATHS, f"login_path: one of {', '.join(LOGIN_PATHS)}"),
        (settings.login == "token" and not settings.token, "token: login = token needs a user token"),
        (
            settings.login == "password" and not (settings.email and settings.password),
            "email, password: login = password needs both",
        ),
        (not settings.events, "events: name each event that is played here"),
        (not all(event and served for event, served in settings.events), "events: name the sessions of each"),
        (not all(sessions), "events: a session's id is not empty"),
        (len(set(sessions)) < len(sessions), "events: each session once"),
        (len(dict(settings.events)) < len(settings.events), "events: each event once"),
        (not isinstance(settings.unsold, Choice), "unsold: refuse or admit; only the operator can choose"),
        (not 1 <= settings.page_size <= PAGE_SIZE_MAX, f"page_size: 1 to {PAGE_SIZE_MAX}"),
        (not 1 <= settings.batch_size <= BATCH_MAX, f"batch_size: 1 to {BATCH_MAX}"),
        (not 1 <= settings.overlap_s <= OVERLAP_S_MAX, f"overlap_s: 1 to {OVERLAP_S_MAX}"),
        (not 0.1 <= settings.check_in_timeout_s <= LIST_TIMEOUT_S, "check_in_timeout_s: 0.1 to 50"),
        (not 0.1 <= settings.look_timeout_s <= LIST_TIMEOUT_S, "look_timeout_s: 0.1 to 50"),
        (not 500 <= settings.ask_deadline_ms <= 10_000, "ask_deadline_ms: 500 to 10000"),
        (bool({0, 1, 3} & settings.status_map.keys()), "status_map: 0, 1 and 3 have a meaning of their own"),
        (any(verdict.admits for verdict in settings.status_map.values()), "status_map: refusals only"),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)
