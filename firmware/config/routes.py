"""Which codes a route is for: by their ticket, their shape, and for signed ones the event that they name."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from firmware.config.keys import ALPHABETS
from firmware.core.ticket import Authority, Route, Ticket, WithoutAnswer
from firmware.signed_code import Signature, Signing, payload_of


class Shape(NamedTuple):
    """The codes that a route is for. An empty `alphabet` allows every character."""

    starts: str
    length_min: int
    length_max: int
    alphabet: bytes
    listed_too: bool
    route: Route
    signing: Signing | None = None


LIST_DECIDES = Route()


def route_for(shapes: Iterable[Shape], code: str, ticket: Ticket | None) -> Route:
    """Who decides about a code: the first route that fits, else the gate from its catalogue.

    A ticket of the catalogue passes by routes of another event and routes for unlisted codes. A signed code
    that is not in it takes the route of the event that it names, or else the first of its shape.
    """
    length = len(code)
    other_event: Route | None = None
    for starts, length_min, length_max, alphabet, listed_too, route, signing in shapes:
        if not length_min <= length <= length_max or not code.startswith(starts):
            continue
        if alphabet and not (code.isascii() and not code.encode().translate(None, alphabet)):
            continue
        if ticket is None:
            if signing is None or names_event(code, signing.event):
                return other_event if other_event and signing is None else route
            other_event = other_event or route
        elif listed_too and (not route.event or ticket.event in ("", route.event)):
            return route
    return other_event or LIST_DECIDES


def names_event(code: str, event: str) -> bool:
    """Whether a code is that event's by its own words, or says nothing of any."""
    payload = payload_of(code)
    return payload is None or payload.event == event


def shape_of(values: Mapping[str, Any]) -> Shape:
    """A route and the codes that it is for."""
    route = Route(
        vendor=values["vendor"],
        event=values["event"],
        authority=Authority(values["authority"]),
        deadline_ms=values["deadline_ms"],
        without_answer=WithoutAnswer(values["without_answer"]),
        check_first=values["check_first"],
    )
    signing = None
    if values["signed"]:
        signing = Signing(values["vendor"], values["event"], Signature(values["signature"]))
    return Shape(
        starts=values["starts"],
        length_min=values["length_min"],
        length_max=values["length_max"],
        alphabet=ALPHABETS[values["characters"]],
        listed_too=values["listed_too"],
        route=route,
        signing=signing,
    )
