"""What B.A.M. would say, for conversations without a socket."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from firmware.bridge import bam_identity
from firmware.bridge.bam import Bam, BamSettings
from firmware.bridge.bam_identity import Identity
from firmware.bridge.sandbox.bam_keys import Source, public_pem, signed_code, wallet_of
from firmware.bridge.vendor import Told
from firmware.core.ticket import Direction
from tests.bridge.conversation import Reply
from tests.bridge.conversation import reply as json_reply

EVENT = "3334"
AT_MS = 1_895_439_600_123
AT = "2030-01-23T23:00:00.123Z"
FIRST, SECOND = "ab" * 32, "cd" * 32  # digests

_SOURCE = Source(7)
WALLET = wallet_of(_SOURCE, "validator")
EVENT_KEY = _SOURCE.key("event")
PUBLIC_KEY = public_pem(EVENT_KEY)
IDENTITY = Identity(EVENT, "nightworks", WALLET.enrollment_id, WALLET.certificate, WALLET.private_key)
SETTINGS = BamSettings(IDENTITY, "https://api.example", "https://org1.api.example", EVENT)


def bam(**more: Any) -> Bam:
    """An account; `more` is of its settings."""
    return Bam(SETTINGS._replace(**more))


def files(folder: Path) -> tuple[Path, Path]:
    """An identity and its key as `gatepost bam enrol` leaves them."""
    path, key_path = folder / "bam-validator", folder / "bam-validator-key"
    if not path.exists():
        bam_identity.make_key(key_path)
        bam_identity.keep(path, key_path, IDENTITY)
    return path, key_path


def code(name: str = "E3334TC23T12", payload: str = "") -> str:
    """A code of this ticket, signed for the event; or one whose payload is as it is named."""
    signed = payload or json.dumps({"id": name}, separators=(",", ":"))
    return signed_code(signed.encode(), EVENT_KEY, _SOURCE.number(f"{name} {signed}"))


CODE = code()


def told(**more: Any) -> Told:
    """An entry that a gate saw."""
    return Told("E3334TC23T12", CODE, EVENT, "", Direction.IN, AT_MS, "north-1")._replace(**more)


def row(number: int = 12, *, config: int = 23, **more: Any) -> dict[str, Any]:
    """A ticket of the list of codes."""
    content = {"content": code(f"E{EVENT}TC{config}T{number}"), "ticket_id": 90_000 + number}
    return {
        "id": 90_000 + number,
        "seq_num": number,
        "status": "issued",
        "sector": {"id": 7, "name": "Floor"},
        "timeslot": None,
        "ticket_qr_code": content,
        "updated_at": "2030-01-23T23:00:00.123Z",
        **more,
    }


def data(payload: Any, status: int = 200) -> httpx.Response:
    """A reply as B.A.M. wraps it."""
    return json_reply({"data": payload}, status)


def no(text: str, status: int = 409) -> httpx.Response:
    """An error as B.A.M. has it."""
    return json_reply({"message": text, "error_code": status}, status)


def codes(rows: Sequence[Any], config: int = 23, **more: Any) -> httpx.Response:
    """The list of codes, of one kind."""
    return data([{"id": config, "name": "Standing", "ticket": list(rows), **more}])


def endpoint(request: httpx.Request) -> str:
    """Which call it is."""
    match request.url.path.split("/")[1:]:
        case ["account", "v1", "auth", name]:
            return name
        case [*_, "event", _, "qr_codes" | "public_key" as name]:
            return name
        case [*_, "statistics", "validator", "ticket_count"]:
            return "counters"
        case ["blockchain", "v1", "transaction", "proposal"]:
            return "propose"
        case ["blockchain", "v1", "transaction", "proposal", _]:
            return "endorse"
        case ["blockchain", "v1", "transaction", _]:
            return "commit"
    raise AssertionError(request.url)


def answering(**by_name: Callable[[httpx.Request], Reply] | Reply) -> Callable[[httpx.Request], Reply]:
    """A vendor that answers each call as named, and the others well."""
    usual: dict[str, Callable[[httpx.Request], Reply] | Reply] = {
        "challenge": lambda _: data({"nonce": "nonce-1"}),
        "wallet": lambda _: data({"token": "session-of-ours"}),
        "refresh": lambda _: data({"token": "session-renewed"}),
        "public_key": lambda _: data({"public_key": PUBLIC_KEY}),
        "qr_codes": lambda _: codes([row()]),
        "counters": lambda _: data([]),
        "propose": lambda _: data({"digest": FIRST}),
        "endorse": lambda _: data({"digest": SECOND}),
        "commit": lambda _: data({"status": "SUCCESS", "info": ""}),
    }

    def answer(request: httpx.Request) -> Reply:
        said = (usual | by_name)[endpoint(request)]
        return said(request) if callable(said) else said

    return answer


def calls(requests: Sequence[httpx.Request]) -> list[str]:
    """Which calls were made, in order."""
    return [endpoint(request) for request in requests]
