"""Keys, user tokens and JWTs of the Ingresse sandbox. A user token belongs to one key."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from firmware.bridge.sandbox.desk import Says
from firmware.bridge.sandbox.history import Operator
from firmware.bridge.sandbox.ingresse_checks import KEY_UNKNOWN, LOGIN_AGAIN, TOKEN_EXPIRED

TOKENS_MAX = 1000  # that are known at one time; the oldest is forgotten, as if it had run out
OPERATOR = Operator("7701", "Gate Operator", "operator@example.com")
HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()

# How an expired token is answered; the documents know all three.
EXPIRIES = {
    "401": Says("Token expired", 401, TOKEN_EXPIRED),
    "2012": Says("Session expired: token expired", code=TOKEN_EXPIRED),
    "2006": Says("Please log in again", code=LOGIN_AGAIN),
}


class Claims(msgspec.Struct):
    """What stands in a JWT."""

    sub: str
    key: str
    jti: int
    exp: int


class Issued(NamedTuple):
    """A user token, by its text."""

    key: str
    number: int
    until_ms: int


class Logins:
    """Who may ask. The caller holds the sandbox's lock."""

    def __init__(
        self,
        keys: tuple[str, ...],
        password: str,
        token_life_s: float,
        jwt_life_s: float,
        expiry: str,
        seed: int,
        clock: Callable[[], int],
    ) -> None:
        if expiry not in EXPIRIES:
            raise ValueError(f'expiry "{expiry}" is not one of: {", ".join(EXPIRIES)}')
        self.keys, self.password, self.expiry = keys, password, expiry
        self.token_life_s, self.jwt_life_s = token_life_s, jwt_life_s
        self._secret = hashlib.sha256(f"ingresse sandbox {seed}".encode()).digest()
        self._clock = clock
        self._tokens: dict[str, Issued] = {}
        self._numbers = 0
        self._over = 0  # what was issued up to this number has expired by order

    def key(self, key: str) -> str:
        """The key, if it is one of ours."""
        if key not in self.keys:
            raise Says("Invalid application key", 401, KEY_UNKNOWN)
        return key

    def token(self, key: str) -> str:
        """A new user token, `<user id>-<hash>`."""
        self._numbers += 1
        digest = hmac.new(self._secret, f"{key} {self._numbers}".encode(), "sha1").hexdigest()
        token = f"{OPERATOR.id}-{digest}"
        self._tokens[token] = Issued(key, self._numbers, self._clock() + int(self.token_life_s * 1000))
        if len(self._tokens) > TOKENS_MAX:
            del self._tokens[next(iter(self._tokens))]
        return token

    def jwt(self, key: str) -> str:
        """A new JWT for the producer search."""
        self._numbers += 1
        until_s = (self._clock() + int(self.jwt_life_s * 1000)) // 1000
        claims = msgspec.json.encode(Claims(OPERATOR.id, key, self._numbers, until_s))
        text = f"{HEADER}.{urlsafe_b64encode(claims).rstrip(b'=').decode()}"
        return f"{text}.{self._sign(text)}"

    def expire(self) -> None:
        """Everything issued up to now has expired."""
        self._over = self._numbers

    def caller(self, key: str, token: str) -> Operator:
        """Who asks with this user token. Raises `Says`."""
        self.key(key)
        issued = self._tokens.get(token)
        if issued is None or issued.key != key:
            raise Says("Invalid user token for this application: log in again", code=LOGIN_AGAIN)
        if issued.number <= self._over or self._clock() >= issued.until_ms:
            raise self.expired()
        return OPERATOR

    def bearer(self, header: str) -> None:
        """Check the Authorization header of the producer search. Raises `Says`."""
        scheme, _, token = header.partition(" ")
        parts = token.split(".")
        if scheme.lower() != "bearer" or len(parts) != 3 or not token.isascii():
            raise Says("Unauthorized: send Authorization: Bearer <jwt>", 401, LOGIN_AGAIN, violation=True)
        if not secrets.compare_digest(self._sign(f"{parts[0]}.{parts[1]}"), parts[2]):
            raise Says("Unauthorized: this is no token of ours", 401, LOGIN_AGAIN)
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=="), type=Claims)
        if claims.jti <= self._over or self._clock() >= claims.exp * 1000:
            raise Says("token expired", 401, TOKEN_EXPIRED)

    def expired(self) -> Says:
        """The vendor's words for an expired user token."""
        says = EXPIRIES[self.expiry]
        return Says(says.message, says.status, says.code)

    def _sign(self, text: str) -> str:
        digest = hmac.new(self._secret, text.encode(), "sha256").digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()
