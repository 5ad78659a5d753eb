"""The B.A.M. API of the sandbox: a request in, a reply out. Sockets and threads are the server's."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn

from firmware.bridge.sandbox.bam_chain import Chain
from firmware.bridge.sandbox.bam_checks import (
    DIGEST,
    METHODS,
    OWN_TICKETS,
    hexadecimal,
    read_fields,
    read_proposal,
    read_reservation,
    read_signature,
    read_tickets,
    same_certificate,
    text_of,
)
from firmware.bridge.sandbox.bam_people import (
    EMAIL,
    ORGANIZER,
    ORGANIZER_ID,
    PASSWORD,
    TENANT,
    People,
    Session,
    Validator,
)
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.bam_tickets import (
    ACTIVATED,
    AVAILABLE,
    INVALIDATED,
    ISSUED,
    SLOT_AFTER_MS,
    SLOT_BEFORE_MS,
    Config,
    Event,
    Refused,
    Ticket,
    Tickets,
)
from firmware.bridge.sandbox.desk import (
    UNKNOWN,
    Desk,
    Due,
    Says,
    Vendor,
    json_reply,
    read_query,
    whole,
    wrong,
)
from firmware.bridge.sandbox.history import Change
from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Troubles

ENDPOINTS = tuple(METHODS)
ID_DIGITS_MAX = 9
IDENTITY = "/account/v1/organizer/validator/"  # and the token, with which anybody gets the private key

# What a reply may look like besides, all of it harmless: numbers as texts, fields that no gate needs left
# out, and fields that nobody knows.
SHAPES = ("texts", "fewer", "more")
NUMBERS = frozenset({"id", "seq_num", "event_id", "ticket_id"})
OPTIONAL = frozenset({"sector", "ticket_holder", "kyc_status", "seat_id", "format", "name"})

Act = Callable[[Due], object]


class Api:
    """All endpoints, of both hosts. `find` may run on several threads; acts have the tickets' lock.

    `tenant_port` and `url` are known when the sockets are open.
    """

    def __init__(
        self, tickets: Tickets, troubles: Troubles, rules: Rules, log: Callable[[str], None] | None
    ) -> None:
        self.tickets, self.troubles, self.rules = tickets, troubles, rules
        self.people, self.chain = People(tickets.source), Chain(tickets)
        for event in tickets.events:
            self.people.validator(event.id)
        self.tenant_port, self.url = 0, ""
        vendor = Vendor(self.find, lambda *_: None, self.refusal, METHODS, shown=masked)
        self.desk = Desk(vendor, tickets.lock, tickets.log.clock, troubles, log)

    # --- which endpoint ------------------------------------------------------------------------------

    def find(self, request: Request) -> tuple[str, Act]:
        """Which endpoint it is, and what carries it out."""
        endpoint, act, tenant = self._path(request)
        if endpoint == UNKNOWN:
            return UNKNOWN, lambda _: no_such_path(request)
        host = self.host(request)
        if tenant and host != TENANT:
            where = f"tenant {host} has no such thing" if host else "the global host has no such thing"
            return endpoint, partial(refuse, wrong(f"{where}: it is at the host of its tenant", 404))
        if not tenant and host:
            return endpoint, partial(refuse, wrong("this is at the global host, and not at a tenant's", 404))
        return endpoint, act

    def host(self, request: Request) -> str:
        """The tenant whose host was asked; "" is the global one.

        It is told by the port, or as at the vendor by the first label of a name.
        """
        name, _, port = request.headers.get("host", "").partition(":")
        label, dot, rest = name.partition(".")
        if dot and not name.replace(".", "").isdigit() and rest:
            return "" if label == "api" else label
        return TENANT if port == str(self.tenant_port) else ""

    def _path(self, request: Request) -> tuple[str, Act, bool]:
        """Its endpoint, what that does, and whether it is at the tenant's host."""
        match request.path.split("/")[1:]:
            case ["account", "v1", "organizer", "validator", token]:
                return "validator", partial(self.identity, request, token), False
            case ["account", "v1", "organizer", organizer]:
                return "organizer", partial(self.organizer, request, organizer), False
            case ["account", "v1", "auth", "login" | "challenge" | "wallet" | "refresh" as call]:
                acts = {
                    "login": self.login,
                    "challenge": self.challenge,
                    "wallet": self.wallet,
                    "refresh": self.refresh,
                }
                return call, partial(acts[call], request), False
            case ["event", "v1", "organizer", organizer, "event", event, *rest]:
                found = {
                    ("qr_codes",): ("qr_codes", self.qr_codes),
                    ("public_key",): ("public_key", self.public_key),
                    ("statistics", "validator", "ticket_count"): ("statistics", self.statistics),
                }.get(tuple(rest))
                if found:
                    return found[0], partial(self.of_event, request, organizer, event, found[1]), True
            case ["event", "v1", "ticket"]:
                return "tickets", partial(self.own_tickets, request), True
            case ["event", "v1", "ticket", "reserve"]:
                return "reserve", partial(self.reserve, request), True
            case ["event", "v1", "ticket", "free" | "issue" as call]:
                return call, partial(self.turn, request, call), True
            case ["blockchain", "v1", "transaction"]:
                return "one-step", partial(self.one_step, request), True
            case ["blockchain", "v1", "transaction", "proposal"]:
                return "propose", partial(self.propose, request), True
            case ["blockchain", "v1", "transaction", "proposal", digest]:
                return "endorse", partial(self.endorse, request, digest), True
            case ["blockchain", "v1", "transaction", digest]:
                return "commit", partial(self.commit, request, digest), True
        return UNKNOWN, lambda _: no_such_path(request), False

    def refusal(self, _endpoint: str, error: Says) -> Reply:
        """The vendor's error."""
        status = error.status or 400
        return json_reply(status, {"message": error.message, "error_code": error.code or status})

    def data(self, payload: object, due: Due, *, delay_s: float = 0.0, **more: object) -> Reply:
        """A reply as the vendor wraps it, as it drifts."""
        shape = self.troubles.shape(due)
        body = {"data": drifted(shape, payload) if shape else payload, **more}
        return json_reply(200, body)._replace(delay_s=delay_s)

    # --- the global host: who asks -------------------------------------------------------------------

    def now(self) -> int:
        """The sandbox's time."""
        return self.tickets.log.now()

    def identity(self, request: Request, token: str, due: Due) -> object:
        """A validator, private key and all, for whoever has the address."""
        read_query(request, {})
        found = self.people.validators.get(token)
        if found is None or 0 < found.expires_ms <= self.now():
            raise Says("validator not found", 404)
        return self.data(self.shown(found), due)

    def shown(self, validator: Validator) -> dict[str, object]:
        """The identity of a validator."""
        return {
            "event_id": validator.event,
            "organizer": ORGANIZER,
            "server_url": self.url,
            "wallet": validator.wallet.shown(),
        }

    def organizer(self, request: Request, organizer: str, due: Due) -> object:
        """Which tenant an organizer has."""
        read_query(request, {})
        self.bearer(request, due)
        self.check_organizer(organizer)
        return self.data({"id": ORGANIZER_ID, "name": ORGANIZER, "organization_name": TENANT}, due)

    def login(self, request: Request, due: Due) -> object:
        """The organizer, with a password."""
        fields = read_fields(request, "email", "password")
        if (fields["email"], fields["password"]) != (EMAIL, PASSWORD):
            raise Says("wrong credentials", 401)
        return self.token(None, due)

    def challenge(self, request: Request, due: Due) -> object:
        """What a wallet has to sign."""
        fields = read_fields(request, "client_nonce", "enrollment_id")
        client, enrollment = (text_of(fields[name], name) for name in ("client_nonce", "enrollment_id"))
        return self.data({"nonce": self.people.challenge(client, enrollment, self.now(), self.rules)}, due)

    def wallet(self, request: Request, due: Due) -> object:
        """A session for whoever signed."""
        fields = read_fields(request, "client_nonce", "nonce", "signed_nonce", "organizer_id")
        self.check_organizer(str(fields["organizer_id"]))
        client, nonce = (text_of(fields[name], name) for name in ("client_nonce", "nonce"))
        signed = hexadecimal(fields["signed_nonce"], "signed_nonce")
        return self.token(self.people.answered(client, nonce, signed, self.now()), due)

    def refresh(self, request: Request, due: Due) -> object:
        """Another token for one that is over, or nearly."""
        if not self.rules.refresh_s or "expired" in due:
            raise Says("this session cannot be refreshed", 401)
        session = self.people.session(bearer(request), self.now(), self.rules.refresh_s)
        return self.token(session.validator, due)

    def token(self, validator: Validator | None, due: Due) -> Reply:
        """A new session."""
        return self.data({"token": self.people.token(validator, self.now(), self.rules)}, due)

    def bearer(self, request: Request, due: Due) -> Session:
        """Whose session it is."""
        token = bearer(request)
        if "expired" in due:
            raise Says("jwt expired", 401)
        return self.people.session(token, self.now())

    def validator(self, request: Request, due: Due) -> Validator:
        """The validator whose session it is."""
        validator = self.bearer(request, due).validator
        if validator is None:
            raise wrong("permission ticket.invalidate is a validator's", 403)
        return validator

    def office(self, request: Request, due: Due) -> None:
        """The organizer's own session."""
        if self.bearer(request, due).validator is not None:
            raise wrong("a validator has no right to sell", 403)

    def check_organizer(self, organizer: str) -> None:
        """There is one."""
        if organizer not in {ORGANIZER, str(ORGANIZER_ID)}:
            raise Says(f"organizer {organizer} not found", 404)

    # --- the tenant's host: an event -----------------------------------------------------------------

    def of_event(
        self,
        request: Request,
        organizer: str,
        number: str,
        act: Callable[[Event, Due], object],
        due: Due,
    ) -> object:
        """What is asked of one event."""
        validator = self.bearer(request, due).validator
        read_query(request, {})
        self.check_organizer(organizer)
        wanted = whole(number, "event", ID_DIGITS_MAX)
        try:
            event = self.tickets.event(wanted)
        except KeyError as error:
            raise Says(str(error.args[0]), 404) from None
        if validator is not None and validator.event != wanted:
            raise Says("this validator is of another event", 403)
        return act(event, due)

    def qr_codes(self, event: Event, due: Due) -> object:
        """The codes of all tickets that are not used, by their kinds."""
        configs = []
        for config in self.configs(event):
            rows = [
                {**self.row(ticket), "ticket_qr_code": {"content": ticket.code, "ticket_id": ticket.number}}
                for ticket in self.tickets.all()
                if ticket.config is config and ticket.status in self.rules.listed
            ]
            if "shuffled" in due:
                rows.sort(key=lambda _: self.troubles.below(1 << 30))
            configs.append({**described(config), "ticket": rows})
        return self.data(configs, due)

    def public_key(self, event: Event, due: Due) -> object:
        """What codes of this event are checked with."""
        return self.data({"public_key": event.public_key}, due)

    def statistics(self, event: Event, due: Due) -> object:
        """How many tickets of each kind are in which state."""
        return self.data(
            [
                {
                    "id": config.id,
                    "name": config.name,
                    **{
                        f"{state}_tickets": sum(
                            (ticket.config, ticket.status) == (config, state) for ticket in self.tickets.all()
                        )
                        for state in (ISSUED, ACTIVATED, INVALIDATED)
                    },
                }
                for config in self.configs(event)
            ],
            due,
        )

    def configs(self, event: Event) -> Iterable[Config]:
        """Its kinds of tickets."""
        return [config for config in self.tickets.configs if config.event is event]

    def row(self, ticket: Ticket) -> dict[str, object]:
        """A ticket in a list."""
        starts_ms, slot = ticket.config.event.starts_ms, ticket.config.slot
        return {
            "id": ticket.number,
            "seq_num": ticket.seq_num,
            "status": ticket.status,
            "kyc_status": None,
            "enrollment_id": ticket.owner,
            "seat_id": None,
            "format": ticket.format,
            "sector": {"id": ticket.sector[0], "name": ticket.sector[1]},
            "ticket_holder": None,
            "timeslot": {
                "id": slot,
                "name": "Late entry",
                "start_at": iso(starts_ms - SLOT_BEFORE_MS),
                "end_at": iso(starts_ms + SLOT_AFTER_MS),
            }
            if slot
            else None,
            "updated_at": iso(ticket.updated_ms),
        }

    # --- the chain -----------------------------------------------------------------------------------

    def one_step(self, request: Request, _due: Due) -> NoReturn:
        """Whoever sends a private key has lost it."""
        raise wrong("the one-step form has a private key in it: use the three steps", 400)

    def propose(self, request: Request, due: Due) -> object:
        """The first step."""
        validator = self.validator(request, due)
        proposal = read_proposal(request)
        if not same_certificate(proposal.certificate, validator.wallet.certificate):
            raise wrong("the certificate is not of the session's wallet", 403)
        if proposal.said_ms is None and self.rules.time_required:
            raise wrong("args[0] lacks validation_time: it would be the time of the upload", 400)
        said_ms = self.now() if proposal.said_ms is None else proposal.said_ms
        digest = self.chain.propose(proposal.ticket_id, said_ms, validator, self.rules)
        return self.data({"digest": digest}, due, delay_s=self.rules.endorsing_s)

    def endorse(self, request: Request, digest: str, due: Due) -> object:
        """The second step."""
        validator = self.validator(request, due)
        signature = read_signature(request)
        try:
            found = self.chain.endorse(digest_of(digest), signature, validator, self.rules)
        except Refused as refused:
            return self.refused(refused, due, self.rules.endorsing_s)
        return self.data({"digest": found}, due, delay_s=self.rules.endorsing_s)

    def commit(self, request: Request, digest: str, due: Due) -> object:
        """The last step, which takes as long as the chain does."""
        validator = self.validator(request, due)
        signature, latency_s = read_signature(request), self.rules.latency_s
        ordered = due.get("status")
        try:
            if ordered and not ordered.after:
                self.chain.fail(digest_of(digest), signature, validator)
            else:
                self.chain.commit(digest_of(digest), signature, validator)
        except Refused as refused:
            return self.refused(refused, due, latency_s)
        status = (ordered.word or "FAILURE") if ordered else "SUCCESS"
        return self.data({"status": status, "info": ""}, due, delay_s=latency_s)

    def refused(self, refused: Refused, due: Due, delay_s: float) -> Reply:
        """The chain says no, in words that are not public."""
        text, status = self.rules.said(refused.reason), self.rules.refusal_status
        if status == 200:
            return self.data({"status": "FAILURE", "info": text}, due, delay_s=delay_s)
        return self.refusal("", Says(text, status))._replace(delay_s=delay_s)

    # --- the box office ------------------------------------------------------------------------------

    def own_tickets(self, request: Request, due: Due) -> object:
        """The tickets of whoever asks, and nobody else's."""
        session = self.bearer(request, due)
        query = read_query(request, OWN_TICKETS)
        owner = (session.validator.wallet if session.validator else self.people.organizer).enrollment_id
        ids = query.get("ids")
        found = [
            ticket
            for ticket in self.tickets.all()
            if ticket.owner == owner
            and ticket.sold
            and query.get("format", ticket.format) == ticket.format
            and query.get("status", ticket.status) == ticket.status
            and (not isinstance(ids, list) or ticket.number in ids)
        ]
        keys: Mapping[str, Callable[[Ticket], tuple[object, ...]]] = {
            "id": lambda ticket: (ticket.number,),
            "updated_at": lambda ticket: (ticket.updated_ms, ticket.number),
            "status": lambda ticket: (ticket.status, ticket.number),
        }
        found.sort(key=keys[str(query.get("sort_by", "id"))], reverse=query.get("direction") == "desc")
        rows = [
            {**self.row(ticket), "ticket_config": {**described(ticket.config), "event": whose(ticket)}}
            for ticket in found
        ]
        return self.data(rows, due, paging={"limit": len(rows), "offset": 0, "total": len(rows)})

    def reserve(self, request: Request, due: Due) -> object:
        """Hold tickets; all of them or none."""
        self.office(request, due)
        wanted = read_reservation(request)
        chosen: list[int] = []
        for item in wanted.items:
            free = [
                index
                for index, ticket in enumerate(self.tickets.all())
                if ticket.status == AVAILABLE
                and (ticket.config.event.id, ticket.config.id) == (wanted.event, item.config)
                and item.slot in {0, ticket.config.slot}
                and item.sector in {0, ticket.sector[0]}
                and index not in chosen
            ]
            if len(free) < item.quantity:
                raise Says(f"{item.quantity} tickets wanted, {len(free)} available", 409)
            chosen += free[: item.quantity]
        for index in chosen:
            self.tickets.reserve(index, wanted.owner, wanted.format)
        return self.data([self.row(self.tickets.at(index)) for index in chosen], due)

    def turn(self, request: Request, call: str, due: Due) -> object:
        """Let tickets go, or write them to the chain; all of them or none."""
        self.office(request, due)
        chosen = [self.tickets.numbered(number) for number in read_tickets(request)]
        indexes = [index for index in chosen if index is not None]
        if len(indexes) < len(chosen):
            raise Says("ticket not found", 404)
        act: Callable[[int], Change] = self.tickets.free if call == "free" else self.tickets.issue
        states = {"reserved"} if call == "free" else {"reserved", "confirmed"}
        for ticket in map(self.tickets.at, indexes):
            if ticket.status not in states:
                raise Says(f"ticket {ticket.number} is {ticket.status}", 409)
        for index in indexes:
            act(index)
        rows = [self.row(self.tickets.at(index)) for index in indexes]
        return self.data(rows, due, delay_s=self.rules.latency_s if call == "issue" else 0.0)


def masked(path: str) -> str:
    """A path without the token of a validator."""
    return f"{IDENTITY}***" if path.startswith(IDENTITY) else path


def bearer(request: Request) -> str:
    """The token of a request."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if not token or kind != "Bearer":
        raise wrong("Authorization: Bearer and a token are missing", 401)
    return token


def digest_of(text: str) -> str:
    """A digest in a path."""
    if not DIGEST.fullmatch(text):
        raise wrong(f'"{text}" is no digest', 400)
    return text


def described(config: Config) -> dict[str, object]:
    """A kind of tickets."""
    return {"id": config.id, "name": config.name, "event_id": config.event.id}


def whose(ticket: Ticket) -> dict[str, object]:
    """The event of a ticket."""
    return {"id": ticket.config.event.id, "name": ticket.config.event.title}


def iso(ms: int) -> str:
    """A time as the vendor writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def drifted(shape: str, value: object) -> object:
    """A reply in another shape."""
    if isinstance(value, list):
        return [drifted(shape, inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {
        name: str(inner)
        if shape == "texts" and name in NUMBERS and isinstance(inner, int)
        else drifted(shape, inner)
        for name, inner in value.items()
        if not (shape == "fewer" and name in OPTIONAL)
    }
    return {**found, "extra": {"nested": [None, 1.5]}} if shape == "more" else found


def no_such_path(request: Request) -> NoReturn:
    """A path that is not in the documents."""
    raise wrong(f"{request.path} is not here", 404)


def refuse(error: Says, _due: Due) -> NoReturn:
    """Where a request went astray."""
    raise error
