"""B.A.M. in a world: how an account is set there, and whether its chain, feed and ledger tell the same story.

A chain knows one thing of a ticket: that it was used, once and for good. So of all that gates saw of a ticket
it has the first entry that it took, with the time of that scan; exits and later entries it never hears of.
"""

from collections.abc import Iterator

from firmware.bridge.bam import ENTERED, NO_EXITS, BamSettings
from firmware.bridge.bam_identity import Identity
from firmware.bridge.bam_requests import ACCEPT
from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.history import Change
from tests.whole.books import Ledger, Listed, Work

OURS = "by our own transaction"  # in an outcome: taken for ours by what was written down before it


def settings_of(name: str, sandbox: Sandbox) -> BamSettings:
    """An account with the first validator, as `gatepost bam enrol` makes it."""
    validator = sandbox.validators[0]
    wallet = validator.wallet
    identity = Identity(
        str(validator.event), sandbox.organizer, wallet.enrollment_id, wallet.certificate, wallet.private_key
    )
    return BamSettings(identity, sandbox.url, sandbox.tenant_url, identity.event, name)


def compared(ledger: Ledger, account: str, sandbox: Sandbox) -> Iterator[tuple[str, Listed | None, str]]:
    """Tickets that the feed does not have as the vendor does. What is in no list is used, or never was."""
    for ticket in sandbox.tickets.walk():
        if ticket.config.event.id != sandbox.validators[0].event:
            continue
        name = f"{account}:{ticket.id}"
        known = ledger.tickets.get(name)
        if ticket.status in sandbox.api.rules.listed:
            status = "valid" if ticket.status in ACCEPT else "blocked"
            if known is None or (known.code, known.status) != (ticket.code, status):
                yield name, known, f"its code, or status {status}"
        elif known is not None and known.status != "used":
            yield name, known, "it is in no list"


def compare(ledger: Ledger, account: str, sandbox: Sandbox) -> None:
    """Raise where chain and ledger contradict each other, other than where a person is told to look."""
    assert sandbox.violations == []
    assert sandbox.books().twice == 0
    used: dict[str, Change] = {}
    for change in sandbox.history():
        if change.what == "checkin":
            assert change.ticket_id not in used, f"used twice: {change}"
            used[change.ticket_id] = change
    validator = sandbox.validators[0].operator.id
    ours = {name: change for name, change in used.items() if change.operator.id == validator}
    for name, works in _by_ticket(ledger, account).items():
        found = ours.pop(name) if name in ours else None
        entries = [work for work in works if work.direction == "in" and work.text != ENTERED]
        for work in works:
            if work.direction == "out":
                assert (work.result, work.text) == ("accepted", NO_EXITS), _contradiction(work, sandbox)
        taken = [work for work in entries if work.result == "accepted"]
        assert len(taken) <= 1, _contradiction(taken[-1], sandbox)
        # Nobody can tell our own lost transaction from somebody else's in the same moment.
        lost = [work for work in taken if OURS in work.text and name in used]
        maybe = [work for work in entries if work.result == "uncertain"]
        if found is None:
            assert taken == lost, _contradiction(taken[0], sandbox)
        else:
            times = {work.at_utc_ms for work in (taken or maybe)}
            assert found.said_ms in times, f"{found} is not what was told: {works}"
        for work in works:
            if work.text == ENTERED:
                assert taken, _contradiction(work, sandbox)
    assert not ours, f"nobody came in so: {ours}"


def _by_ticket(ledger: Ledger, account: str) -> dict[str, list[Work]]:
    found: dict[str, list[Work]] = {}
    for work in ledger.works:
        if work.account == account:
            assert not work.refused, work
            found.setdefault(work.subject.partition(":")[2], []).append(work)
    return found


def _contradiction(work: Work, sandbox: Sandbox) -> str:
    history = map(str, sandbox.history(work.subject.partition(":")[2]))
    return "\n  ".join((f"{work} is not so at the chain:", *history))
