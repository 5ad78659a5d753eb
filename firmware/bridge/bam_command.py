"""`gatepost bam`: fetch a validator's identity, compare counts, and a box office of four calls."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from firmware.bridge import bam_identity
from firmware.bridge import bam_replies as replies
from firmware.bridge.addresses import fits
from firmware.bridge.bam import Bam
from firmware.bridge.bam_identity import Wallet
from firmware.bridge.bam_replies import Expired, Missing, Rejected
from firmware.bridge.bam_requests import FORMATS, BamSettings, Office, validator
from firmware.bridge.database import Database
from firmware.bridge.driver import Driver
from firmware.bridge.ledger import Ledger
from firmware.bridge.lenient import number_of, text_of
from firmware.bridge.service import ledger_url
from firmware.bridge.settings import BridgeSettings, load
from firmware.bridge.vendor import Flow, Lost, Misconfigured, Outage
from firmware.command_line import DONE, FINDING, WrongUse
from firmware.config import document_of, read_text

TEXT_BYTES_MAX = 8192  # of a QR code's text, or of a session
ITEMS_MAX = 100  # kinds of tickets in one reservation
TICKETS_MAX = 1000  # ids in one call
RATE = 10.0  # requests a second, of which a command makes one or two
PATH = re.compile(r"/account/v1/organizer/validator/[A-Za-z0-9-]{1,100}")
STATES = ("draft", "available", "unavailable", "reserved", "confirmed", "issued", "activated", "invalidated")
NOTE = (
    "The box office is the organizer's, with his own session. What free and issue want is not published: "
    "they send the tickets' ids."
)


# --- what was asked for -------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `gatepost bam`."""
    parser.epilog = NOTE
    words = parser.add_subparsers(metavar="WORD", dest="word", required=True)

    def add(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        word = words.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
        )
        word.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (bridge.toml)")
        word.add_argument("--account", required=True, metavar="NAME", help="the account in them")
        word.set_defaults(run=run)
        return word

    enrol = add("enrol", "fetch a validator's identity once, and keep it encrypted", run_enrol)
    enrol.add_argument(
        "--qr", required=True, metavar="FILE", help="the text of the QR code; -: standard input"
    )
    compare = add("compare", "compare how many tickets B.A.M. and the ledger have as used", run_compare)
    compare.add_argument("--data", type=Path, required=True, metavar="DIR", help="the bridge's data")
    reserve = _office(add("reserve", "hold tickets for somebody", run_reserve))
    reserve.add_argument("--owner", required=True, metavar="UUID", help="his enrollment")
    reserve.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="PDF by default")
    reserve.add_argument(
        "--item",
        action="append",
        required=True,
        type=item,
        metavar="KIND:COUNT[:SLOT[:SECTOR]]",
        help="ids of a ticket config, a time slot and a sector; may be given again",
    )
    for name, text, run in (
        ("free", "let go of reserved tickets", partial(run_turn, call="free")),
        ("issue", "write reserved tickets to the chain; it takes a while", partial(run_turn, call="issue")),
    ):
        word = _office(add(name, text, run))
        word.add_argument("ticket", nargs="+", type=number, metavar="ID", help="a ticket's number")
    tickets = _office(add("tickets", "list the tickets that the session's owner has himself", run_tickets))
    tickets.add_argument("--format", choices=FORMATS, help="only these")
    tickets.add_argument("--status", choices=STATES, help="only these")


def _office(word: argparse.ArgumentParser) -> argparse.ArgumentParser:
    word.add_argument(
        "--session", type=Path, required=True, metavar="FILE", help="the organizer's JWT, on the first line"
    )
    return word


def number(text: str) -> int:
    """The id of something."""
    found = number_of(text)
    if found is None or found < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return found


def item(text: str) -> Mapping[str, int]:
    """A part of a reservation."""
    names = ("ticket_config_id", "quantity", "timeslot_id", "sector_id")
    parts = text.split(":")
    if not 2 <= len(parts) <= len(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not as in 23:2 or 23:2:5:7")
    return {name: number(part) for name, part in zip(names, parts, strict=False)}


# --- the identity -------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where an account's identity comes from and goes to."""

    url: str
    events: tuple[str, ...]
    validator_file: Path
    key_file: Path


def run_enrol(arguments: argparse.Namespace) -> int:
    """Fetch it, check it, keep it. The settings cannot be read whole before it is there.

    The key and both folders are looked at first: a validator's address may be good for one fetch only.
    """
    place = _place(arguments.config, arguments.account)
    address = _address(arguments.qr, place.url)
    bam_identity.make_ready(place.validator_file, place.key_file)
    found = replies.identity(_talk(Asker(arguments.account), validator(address), "identity of the validator"))
    if found is None:
        raise WrongUse("the reply is no identity of a validator: is the QR code one of the dashboard?")
    if place.events != (found.event,):
        named = ", ".join(place.events) or "none"
        raise WrongUse(
            f"the validator is of event {found.event}, and the account's event is {named}: correct "
            "[[vendor.event]], or take the QR code of a validator of that event"
        )
    try:
        Wallet(found)
    except ValueError as error:
        raise WrongUse(f"the validator's wallet: {error}") from None
    bam_identity.keep(place.validator_file, place.key_file, found)
    print(
        f"{place.validator_file}: validator of event {found.event}, organizer {found.organizer}; encrypted "
        f"with {place.key_file}"
    )
    return DONE


def _place(config: Path, account: str) -> Place:
    """What the settings say of the account, as far as it is needed here."""
    vendors = document_of(read_text(config), str(config)).get("vendor", [])
    found = [each for each in vendors if isinstance(each, dict) and each.get("name") == account]
    if not found or found[0].get("kind") != "bam":
        raise WrongUse(f'{config}: has no account "{account}" with kind = "bam": write [[vendor]]')
    texts = {name: text_of(found[0].get(name)) for name in ("url", "validator_file", "key_file")}
    for name, text in texts.items():
        if text is None:
            raise WrongUse(f'{config}: {name} of account "{account}" is missing')
    if not fits(texts["url"] or ""):
        raise WrongUse(f'{config}: url of account "{account}": write https://host')
    events = found[0].get("event")
    ids = (
        [text_of(each.get("id")) for each in events if isinstance(each, dict)]
        if isinstance(events, list)
        else []
    )
    return Place(
        texts["url"] or "",
        tuple(filter(None, ids)),
        Path(texts["validator_file"] or ""),
        Path(texts["key_file"] or ""),
    )


def _address(source: str, url: str) -> str:
    """The address in a QR code; only one at the host that the settings name, for a key comes from there."""
    if source == "-":
        text = sys.stdin.read(TEXT_BYTES_MAX)
    else:
        with Path(source).open("rb") as file:
            text = file.read(TEXT_BYTES_MAX).decode("utf-8-sig", "replace")
    try:
        body = json.loads(text)
        address = httpx.URL(body["url"])
    except (ValueError, TypeError, KeyError, httpx.InvalidURL):
        raise WrongUse(f'{source}: is not the text of a validator\'s QR code: {{"url": ...}}') from None
    ours = httpx.URL(url)
    if (address.scheme, address.host, address.port) != (ours.scheme, ours.host, ours.port):
        raise WrongUse(f"{source}: names the host {address.host}, and `url` is {url}: correct the wrong one")
    if not PATH.fullmatch(address.path) or address.query or address.userinfo:
        raise WrongUse(
            f"{source}: its address is none of a validator: take the QR code of the dashboard anew"
        )
    return str(address)


# --- the counts ---------------------------------------------------------------------------------------------


def run_compare(arguments: argparse.Namespace) -> int:
    """Print both counts; where they differ, that is a report of the ledger too."""
    settings, account = _account(arguments)
    vendor = Bam(account)
    counted = _run(vendor, account.name, vendor.counts())
    with Database(ledger_url(settings, arguments.data)) as database:
        ledger = Ledger(database, settings.venue, ())
        told, waiting = ledger.entered(account.name)
        theirs = sum(each.invalidated for each in counted)
        for each in counted:
            print(f"kind {each.config}: {each.invalidated:,} invalidated, {each.issued:,} issued")
        print(f"B.A.M. has {theirs:,} tickets invalidated, the ledger {told:,}; {waiting:,} wait to be told")
        if theirs == told:
            return DONE
        more = "other doors used them up" if theirs > told else "the chain lost what it had taken"
        text = (
            f"{account.name}: B.A.M. counts {theirs:,} tickets as invalidated, and the ledger has told it of "
            f"{told:,} ({waiting:,} wait): {more}, or both changed while they were counted. Compare once "
            "more, and look into B.A.M.'s dashboard"
        )
        ledger.say("counts differ", f"{account.name} {theirs} {told}", text, time.time_ns() // 1_000_000)
    print(text)
    return FINDING


# --- the box office -----------------------------------------------------------------------------------------


def run_reserve(arguments: argparse.Namespace) -> int:
    """Reserve, and print what is held now."""
    if len(arguments.item) > ITEMS_MAX:
        raise WrongUse(f"--item: at most {ITEMS_MAX}")
    _, account = _account(arguments)
    office = Office(account.tenant_url, _session(arguments.session))
    what = "reservation"
    event = int(account.event)
    request = office.reserve(what, event, arguments.owner, arguments.format, arguments.item)
    _print(_talk(Asker(account.name), request, what, carried_out=True), what)
    return DONE


def run_turn(arguments: argparse.Namespace, call: str) -> int:
    """Free or issue, and print what became of the tickets."""
    if len(arguments.ticket) > TICKETS_MAX:
        raise WrongUse(f"ID: at most {TICKETS_MAX} at once")
    _, account = _account(arguments)
    office = Office(account.tenant_url, _session(arguments.session))
    build = office.free if call == "free" else office.issue
    _print(_talk(Asker(account.name), build(call, arguments.ticket), call, carried_out=True), call)
    return DONE


def run_tickets(arguments: argparse.Namespace) -> int:
    """List. These are the owner's own tickets, and no list of an event. A part of them is a finding."""
    _, account = _account(arguments)
    office = Office(account.tenant_url, _session(arguments.session))
    named = {"format": arguments.format, "status": arguments.status}
    query = {name: value for name, value in named.items() if value} | {"with": "[ticket_config.event]"}
    what = "own tickets"

    def flow() -> Flow[tuple[object, int | None]]:
        response = yield office.tickets(what, query)
        assert isinstance(response, httpx.Response)
        return replies.read(response, what), replies.total(response)

    body, total = _run(Asker(account.name), account.name, flow())
    shown = _print(body, what)
    if total is None or total <= shown:
        return DONE
    print(
        f"B.A.M. has {total:,} such tickets, and its reply has {shown:,}: the others are not listed here. "
        "Ask for fewer with --status or --format, or look into B.A.M.'s dashboard"
    )
    return FINDING


def _print(body: object, what: str) -> int:
    """A line for each ticket: number, id at the chain, state and what that means at a gate. How many."""
    if body is None or (isinstance(body, dict) and not body.get("tickets", body.get("ticket"))):
        print(f"{what}: done")
        return 0
    found = replies.owned(body, what)
    for ticket in found:
        line = (ticket.id, ticket.name or "-", ticket.form or "-", ticket.state or "-", ticket.meaning)
        print("\t".join(line))
    return len(found)


def _session(path: Path) -> str:
    """The organizer's JWT. Raises `WrongUse`; its text does not show it."""
    with path.open("rb") as file:
        text = file.read(TEXT_BYTES_MAX).partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    if not text or not (text.isascii() and text.isprintable()):
        raise WrongUse(f"{path}: its first line is no session: write the organizer's JWT there")
    return text


# --- asking -------------------------------------------------------------------------------------------------


def _account(arguments: argparse.Namespace) -> tuple[BridgeSettings, BamSettings]:
    settings = load(arguments.config)
    for account in settings.accounts:
        if account.name == arguments.account and isinstance(account.vendor, BamSettings):
            return settings, account.vendor
    raise WrongUse(f'{arguments.config}: has no account "{arguments.account}" with kind = "bam"')


class Asker(NamedTuple):
    """Who asks, for the driver: nothing that it sends has a secret in what may come into an error."""

    name: str

    def secrets(self) -> tuple[str, ...]:
        """None."""
        return ()


def _talk(asker: Asker, request: httpx.Request, what: str, *, carried_out: bool = False) -> object:
    """Send one request; its payload. With `carried_out` a lost reply leaves a doubt."""

    def flow() -> Flow[object]:
        response = yield request
        assert isinstance(response, httpx.Response)
        return replies.read(response, what)

    return _run(asker, asker.name, flow(), carried_out=carried_out)


def _run(vendor: Any, name: str, flow: Flow[Any], *, carried_out: bool = False) -> Any:
    try:
        with Driver(name, vendor, RATE) as driver:
            return driver.run(flow)
    except Expired as error:
        raise WrongUse(f"{error}: log in again, and write the new session into the file") from None
    except Missing as error:
        raise WrongUse(f"{error}: correct the ids, `url` and `tenant_url`") from None
    except Rejected as error:
        raise WrongUse(f"B.A.M. says no: {error}") from None
    except Lost as error:
        doubt = (
            ": nobody knows whether it was carried out: look with gatepost bam tickets" if carried_out else ""
        )
        raise WrongUse(f"{error}{doubt}") from None
    except (Outage, Misconfigured) as error:
        raise WrongUse(str(error)) from None
