"""A validator as the documents describe one: what its signatures are, and nothing of the bridge."""

import base64
import json
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_people import Validator

AT_MS = 1_900_000_000_000
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Clock:
    """The sandbox's time, which stands still until a test moves it."""

    ms = AT_MS

    def __call__(self) -> int:
        return self.ms


class Client:
    """Asks as the documents say; what a test changes it names."""

    def __init__(self, sandbox: Sandbox, validator: Validator | None = None) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(timeout=60)
        self.identity: dict[str, Any] = self.data(self.http.get(json.loads(sandbox.qr(validator))["url"]))
        self.wallet = self.identity["wallet"]
        key = serialization.load_pem_private_key(self.wallet["private_key"].encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    @staticmethod
    def data(reply: httpx.Response) -> Any:
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    # --- the global host ---------------------------------------------------------------------------------

    def auth(self, call: str, **body: object) -> httpx.Response:
        return self.http.post(f"{self.sandbox.url}/account/v1/auth/{call}", json=body)

    def challenge(self, client_nonce: str = "ours") -> str:
        asked = {"client_nonce": client_nonce, "enrollment_id": self.wallet["enrollment_id"]}
        return str(self.data(self.auth("challenge", **asked))["nonce"])

    def signed(self, nonce: str) -> str:
        return self.key.sign(nonce.encode(), ec.ECDSA(hashes.SHA256())).hex()

    def answer(self, nonce: str, **other: object) -> httpx.Response:
        body = {"client_nonce": "ours", "nonce": nonce, "signed_nonce": self.signed(nonce)}
        return self.auth("wallet", **{**body, "organizer_id": self.identity["organizer"], **other})

    def log_in(self) -> None:
        self.bear(self.data(self.answer(self.challenge()))["token"])

    def office(self) -> None:
        login = {"email": self.sandbox.email, "password": self.sandbox.password}
        self.bear(self.data(self.auth("login", **login))["token"])

    def bear(self, token: str) -> None:
        self.http.headers["Authorization"] = f"Bearer {token}"

    # --- the tenant's host -------------------------------------------------------------------------------

    def get(self, what: str, event: int = 0, organizer: str = "nightworks") -> httpx.Response:
        number = event or self.identity["event_id"]
        base = f"{self.sandbox.tenant_url}/event/v1/organizer/{organizer}/event/{number}"
        return self.http.get(f"{base}/{what}")

    def listed(self) -> dict[str, dict[str, Any]]:
        """The code list by code."""
        return {
            ticket["ticket_qr_code"]["content"]: {**ticket, "config": config["id"]}
            for config in self.data(self.get("qr_codes"))
            for ticket in config["ticket"]
        }

    def ticket_call(self, call: str, **body: object) -> httpx.Response:
        return self.http.post(f"{self.sandbox.tenant_url}/event/v1/ticket/{call}", json=body)

    # --- the chain ---------------------------------------------------------------------------------------

    def argument(self, code: str) -> dict[str, Any]:
        ticket = self.sandbox.ticket(code)
        config = {"id": ticket.config.id, "event": {"id": ticket.config.event.id}}
        time = "2030-03-17T17:46:39.123Z"
        return {"seq_num": ticket.seq_num, "ticket_config": config, "validation_time": time}

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.http.post(f"{self.sandbox.tenant_url}/blockchain/v1/transaction{path}", json=body)

    def propose(self, code: str, **other: object) -> httpx.Response:
        body = {"fcn": "TICKET.INVALIDATE", "certificate": self.wallet["certificate"]}
        return self.post("/proposal", **{**body, "args": [json.dumps(self.argument(code))], **other})

    def signature(self, digest: str, *, high: bool = False) -> str:
        return base64.b64encode(self.der(bytes.fromhex(digest), high=high)).decode()

    def der(self, digest: bytes, *, high: bool = False) -> bytes:
        r, s = decode_dss_signature(self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return encode_dss_signature(r, max(s, ORDER - s) if high else min(s, ORDER - s))

    def endorse(self, digest: str, signature: str = "") -> httpx.Response:
        return self.post(f"/proposal/{digest}", signature=signature or self.signature(digest))

    def commit(self, digest: str, signature: str = "") -> httpx.Response:
        return self.post(f"/{digest}", signature=signature or self.signature(digest))

    def proposed(self, code: str) -> str:
        return str(self.data(self.propose(code))["digest"])

    def endorsed(self, code: str) -> str:
        return str(self.data(self.endorse(self.proposed(code)))["digest"])

    def invalidate(self, code: str) -> httpx.Response:
        """All three steps, or the reply of the first that failed."""
        endorsed = self.endorse(self.proposed(code))
        if endorsed.status_code != 200 or "digest" not in endorsed.json()["data"]:
            return endorsed
        return self.commit(endorsed.json()["data"]["digest"])


def violated(sandbox: Sandbox) -> str:
    """The only violation that was noted."""
    (violation,) = sandbox.violations
    return violation.text
