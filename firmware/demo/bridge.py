"""The demo's bridge, in a process of its own: the real one, which tells the demo how it is."""

import os
import threading
from pathlib import Path

from firmware.bridge.bam_identity import Identity, keep, make_key
from firmware.bridge.database import Database, LedgerLost
from firmware.bridge.ledger import Counts, Ledger
from firmware.bridge.service import Bridge, ledger_url, open_bridge
from firmware.bridge.settings import BridgeSettings, parse
from firmware.demo.child import BridgeOrder, Health, News, serve, tell
from firmware.demo.plays import PLAYS, Values, written_out
from firmware.mqtt import Pace

LOOK_S = 0.2  # between two looks; the person sees no more
# The sandbox allows any number of requests.
SETTINGS = """
[bridge]
venue = {venue}
[[broker]]
host = "127.0.0.1"
port = BROKER_PORT
tls = false
[[vendor]]
name = {name}
kind = {kind}
rate_max = 100
"""
WAITING = frozenset({"untimed", "due", "claimed"})  # what the vendor has not answered yet


def settings_of(order: BridgeOrder) -> BridgeSettings:
    """As a bridge.toml says it; the vendor's secrets are in files, as they must be. Raises `OSError`."""
    play, folder = PLAYS[order.vendor], Path(order.folder).absolute()
    values = dict(order.values)
    for name in play.secrets:
        path = folder / f"vendor-{name}"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(values[name])
        values[name] = str(path)
    if order.vendor == "bam":
        values.update(enrolled(folder, values))
    own = {"venue": order.venue, "name": order.vendor, "kind": order.vendor}
    written = written_out(SETTINGS + play.account, {**values, **own})
    return parse(written.replace("BROKER_PORT", str(order.broker_port)), "settings of the demo's bridge")


def enrolled(folder: Path, values: Values) -> Values:
    """The validator as `gatepost bam enrol` keeps it: the paths of its file, and of the key to that.

    Raises `OSError`.
    """
    identity = Identity(*(values[name] for name in Identity._fields))
    key, validator = folder / "vendor-key", folder / "vendor-validator"
    make_key(key)
    keep(validator, key, identity)
    return {"key": str(key), "validator": str(validator)}


def health_of(bridge: Bridge, counts: Counts) -> Health:
    """How it is now."""
    work = counts.work
    return Health(
        connected=bridge.health().broker != "",
        waiting=sum(count for (_, state), count in work.items() if state in WAITING),
        accepted=sum(count for (_, state), count in work.items() if state == "accepted"),
        refused=sum(count for (_, state), count in work.items() if state == "refused"),
        uncertain=sum(count for (_, state), count in work.items() if state == "uncertain"),
        faults={fault.thing: fault.text for fault in bridge.faults()},
    )


def work(order: BridgeOrder, over: threading.Event) -> None:
    """Be the bridge until told to end."""
    settings, folder = settings_of(order), Path(order.folder)
    pace = Pace(retry_least_s=0.1, retry_most_s=order.retry_s_max, steady_s=0.0)
    with (
        open_bridge(settings, folder, lambda text: tell(News(say=text)), pace) as bridge,
        Database(ledger_url(settings, folder)) as database,
    ):
        ledger = Ledger(database, order.venue, (order.vendor,))
        tell(News(ready={}))
        known = None
        while not over.wait(LOOK_S):
            try:
                health = health_of(bridge, ledger.counts())
            except LedgerLost:  # the bridge says so itself, among its faults
                continue
            if health != known:
                tell(News(health=health))
                known = health


if __name__ == "__main__":
    serve(BridgeOrder, work)
