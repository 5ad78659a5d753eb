"""The vendors that the demo can have, an entry each: the account, the gates, and what one can try there.

Everything else is the same with each of them. What a sandbox has is read in the vendor's own process; here is
nothing of the bridge, so that a gate alone needs none of it.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

HOUR_MS = 3_600_000
STARTS_IN_MS = (2 * HOUR_MS, 26 * HOUR_MS)  # tonight and tomorrow, from the vendor's start on

Values = Mapping[str, str]


class Play(NamedTuple):
    """A vendor.

    `values` are what the sandbox has for the texts below, where they stand in braces; those in `secrets` go
    into files, whose paths stand there instead. Queries are for the sandbox's codes. With `asks` the vendor
    has no list and decides each scan, and `samples` have the words that it says itself. `lost` is the call
    whose replies a lossy vendor loses, and what comes of that. `unheard` are the orders of which the gate
    hears nothing, and why. With `devices` gates are configured there, and `tonight` moves its events to the
    present, which is called with the sandbox and the time.
    """

    title: str
    values: Callable[[Any], Values]
    secrets: tuple[str, ...]
    account: str
    gate: str
    good: str
    unsold: str
    samples: tuple[tuple[str, str], ...]
    lost: tuple[str, str]
    about: str = ""
    ticket_id: str = "id"
    asks: bool = False
    devices: bool = False
    unheard: Values = MappingProxyType({})
    tonight: Callable[[Any, int], None] | None = None


def at_ingresse(sandbox: Any) -> Values:
    """Its first event has two sessions, and the first of them is tonight's."""
    event = sandbox.events[0]
    tonight, tomorrow = (str(session.id) for session in event.sessions[:2])
    found = {"url": sandbox.url, "key": sandbox.key, "token": sandbox.token, "jwt": sandbox.jwt}
    return {**found, "event": str(event.id), "tonight": tonight, "tomorrow": tomorrow}


def at_vivenu(sandbox: Any) -> Values:
    """One of its two events is played here."""
    tonight, other = (event.id for event in sandbox.events)
    return {"url": sandbox.url, "token": sandbox.token, "tonight": tonight, "other": other}


def at_presence(sandbox: Any) -> Values:
    """It has tonight's event, and tomorrow's."""
    tonight, tomorrow = (event.id for event in sandbox.events)
    found = {"base": sandbox.base, "key": sandbox.key, "hall": sandbox.venue}
    return {**found, "tonight": tonight, "tomorrow": tomorrow}


def at_bam(sandbox: Any) -> Values:
    """A validator is of one event: tonight's."""
    tonight, tomorrow = (str(event.id) for event in sandbox.events)
    wallet = sandbox.validators[0].wallet
    return {
        "url": sandbox.url,
        "tenant": sandbox.tenant_url,
        "tonight": tonight,
        "tomorrow": tomorrow,
        "event": tonight,
        "organizer": sandbox.organizer,
        "enrollment_id": wallet.enrollment_id,
        "certificate": wallet.certificate,
        "private_key": wallet.private_key,
    }


def tonight_again(sandbox: Any, now_utc_ms: int) -> None:
    """A venue that is kept for days has a tonight each day."""
    for event, after_ms in zip(sandbox.events, STARTS_IN_MS, strict=True):
        sandbox.play(event.id, now_utc_ms + after_ms)


NEXT_SCAN = "Presence has no list, so nothing comes to the gate: scan it, and Presence is asked"

PLAYS: Mapping[str, Play] = MappingProxyType(
    {
        "ingresse": Play(
            title="Ingresse",
            values=at_ingresse,
            secrets=("key", "token", "jwt"),
            account="""
key_file = {key}
login = "token"
token_file = {token}
jwt_file = {jwt}
poll_s = 1
unsold = "refuse"
api_url = {url}
[[vendor.event]]
id = {event}
sessions = [{tonight}, {tomorrow}]
""",
            gate="[[event]]\nid = {event}\nsessions = [{tonight}]\n",
            good="session={tonight}&sold=true&refunded=false&external=false&inside=false",
            unsold="session={tonight}&sold=false",
            samples=(
                ("used", "session={tonight}&sold=true&inside=true"),
                ("not sold yet", "session={tonight}&sold=false"),
                ("refunded", "session={tonight}&refunded=true"),
                ("wrong session", "session={tomorrow}&sold=true&refunded=false"),
            ),
            lost=("update", "check-ins get lost from now on, after the check-in was made"),
        ),
        "vivenu": Play(
            title="vivenu",
            values=at_vivenu,
            secrets=("token",),
            account="""
token_file = {token}
poll_s = 1
api_url = {url}
[[vendor.event]]
id = {tonight}
[[vendor.event]]
id = {other}
""",
            gate="[[event]]\nid = {tonight}\n",
            good="event={tonight}&valid=true&inside=false",
            unsold="event={tonight}&sold=false",
            samples=(
                ("not sold yet", "event={tonight}&sold=false"),
                ("cancelled", "event={tonight}&refunded=true"),
                ("blocked", "event={tonight}&sold=true&valid=false&refunded=false"),
                ("wrong event", "event={other}&valid=true"),
            ),
            lost=(
                "upload",
                "uploads get lost from now on, after the scans were taken; vivenu has no way to look, so "
                "these scans are uncertain, and a person is told",
            ),
            about="vivenu's list does not say who is inside: who enters elsewhere can enter here once more",
            ticket_id="_id",
            unheard=MappingProxyType(
                {"check-in": "vivenu's list does not say who is inside, so the gate hears nothing of it"}
            ),
        ),
        "presence": Play(
            title="Presence",
            values=at_presence,
            secrets=("key",),
            account="""
apikey_file = {key}
venue = {hall}
ask_deadline_ms = 10000  # its own is 3000, which a machine that is busy with something else may miss
device_url = {base}
ticket_url = {base}
""",
            gate='[[route]]\nvendor = "presence"\nauthority = "vendor"\nwithout_answer = "closed"\n',
            good="event={tonight}&sold=true&refunded=false&marked=false&inside=false",
            unsold="event={tonight}&sold=false",
            samples=(
                ("used", "event={tonight}&sold=true&inside=true"),
                ("invalid", "event={tonight}&refunded=true"),
                ("not found", "event={tomorrow}&sold=true&refunded=false"),
            ),
            lost=(
                "enter",
                "entries get lost from now on, after the entry was made: Presence is asked once more, and "
                "what sounds like used then is for staff",
            ),
            about="Presence has no list: it is asked about each scan, and without it nobody is let in",
            asks=True,
            devices=True,
            unheard=MappingProxyType({"sell": NEXT_SCAN, "refund": NEXT_SCAN, "check-in": NEXT_SCAN}),
            tonight=tonight_again,
        ),
        "bam": Play(
            title="B.A.M.",
            values=at_bam,
            secrets=(),
            account="""
url = {url}
tenant_url = {tenant}
validator_file = {validator}
key_file = {key}
poll_s = 1
[[vendor.event]]
id = {tonight}
""",
            gate=(
                "[[event]]\nid = {tonight}\n"
                '[[route]]\nvendor = "bam"\nevent = {tonight}\nsigned = "bam"\nstarts = "MPF"\n'
                'characters = "base45"\n'
            ),
            good="event={tonight}&status=issued",
            unsold="event={tonight}&status=available",
            samples=(
                ("blocked", "event={tonight}&status=reserved"),
                ("not in the list", "event={tonight}&status=available"),
                ("wrong event", "event={tomorrow}&status=issued"),
            ),
            lost=(
                "commit",
                "transactions get lost from now on, after the ticket was used up; the bridge wrote down "
                "before what was its own, and knows it again",
            ),
            about="B.A.M. has a chain, which takes seconds to hear of a scan, and knows no exits",
            ticket_id="ticket",
            tonight=tonight_again,
        ),
    }
)
USUAL = "ingresse"


def written_out(text: str, values: Values) -> str:
    """A text in TOML with the values in it, each with its quotes."""
    return text.format_map({name: json.dumps(value, ensure_ascii=False) for name, value in values.items()})
