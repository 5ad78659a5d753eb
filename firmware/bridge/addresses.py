"""Addresses of vendors: which are fit to be set, and how a text becomes a part of a path."""

from collections.abc import Container
from ipaddress import ip_address
from urllib.parse import quote, urlsplit


class _ThisMachine(Container[str]):
    """Every host that is this machine: too many names and addresses to be written down."""

    def __contains__(self, host: object) -> bool:
        if not isinstance(host, str):
            return False
        if host == "localhost" or host.endswith(".localhost"):  # a name that no other machine may have
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False


LOOPBACK: Container[str] = _ThisMachine()


def fits(url: str) -> bool:
    """Whether a vendor can be asked there: https, or http on this machine; no user, no query."""
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return bool(safe and parts.hostname and not (parts.username or parts.query or parts.fragment))


def path_part(text: str) -> str:
    """A text as one part of a path. A dot alone would be a step in it, and is no step to escape either."""
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)
