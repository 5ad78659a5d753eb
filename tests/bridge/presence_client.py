"""Asks Presence as its documents say; what a test changes it names."""

from typing import Any

import httpx

from firmware.bridge.sandbox.presence import Sandbox

AT_MS = 1_900_000_000_000
MAC = "00:00:5e:00:53:01"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = AT_MS

    def __call__(self) -> int:
        return self.ms


class Client:
    """One scanner, once it is configured."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        self.sandbox, self.clock = sandbox, clock
        self.http = httpx.Client(base_url=sandbox.base, timeout=60, params={"apikey": sandbox.key})
        self.kept: dict[str, Any] = {}

    def init(self, gate: str = "north", **fields: object) -> httpx.Response:
        sent = {
            "venueId": self.sandbox.venue,
            "name": gate,
            "mac": MAC,
            "ip": "192.0.2.7",
            "serial": "S1",
            "model": "M1",
            **({} if "gateId" in fields else {"gateName": gate}),
            **fields,
        }
        reply = self.http.post("/device/init", json={k: v for k, v in sent.items() if v is not None})
        if "message" in (body := reply.json()):
            self.kept = {"id": body["message"]["id"], "gateId": body["message"]["gateId"], "gateName": gate}
        return reply

    def look(self, **query: str) -> httpx.Response:
        return self.http.get("/device", params=query)

    def scan(self, code: str, **fields: object) -> dict[str, Any]:
        sent = {
            "token": code,
            "venueId": self.sandbox.venue,
            "deviceId": int(self.kept.get("id", 1)),
            "gateId": int(self.kept.get("gateId", 1)),
            "gateName": self.kept.get("gateName", "north"),
            "deviceOs": "Printed",
            "scanTime": self.clock.ms,
            **fields,
        }
        return {k: v for k, v in sent.items() if v is not None}

    def send(self, way: str, code: str, **fields: object) -> httpx.Response:
        return self.http.post(f"/ticket/{way}", json=self.scan(code, **fields))

    def word(self, way: str, code: str, **fields: object) -> str:
        """The status of a scan. Three seconds pass, so that no other is its duplicate."""
        word = status(self.send(way, code, **fields))
        self.clock.ms += 3000
        return word

    def upload(self, *codes: str, **fields: object) -> httpx.Response:
        scans = [
            {**self.scan(code, **fields), "direction": fields.get("direction", "enter")} for code in codes
        ]
        return self.http.post("/ticket/upload", json=scans)

    def code(self, **wanted: Any) -> str:
        """A ticket of tonight that nothing is wrong with."""
        plain = {"event": self.sandbox.events[0].id, "sold": True, "refunded": False, "marked": False}
        return self.sandbox.codes(1, **{**plain, "inside": False, **wanted})[0]


def status(reply: httpx.Response) -> str:
    word: str = reply.json()["result"]["status"]
    return word


def violated(sandbox: Sandbox) -> str:
    """The only violation that was noted."""
    (violation,) = sandbox.violations
    return violation.text
