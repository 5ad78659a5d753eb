"""The demo's bridge, in a process of its own: the real one, which tells the demo how it is."""

import threading
from pathlib import Path

from firmware.bridge.database import Database, LedgerLost
from firmware.bridge.ingresse_requests import IngresseSettings
from firmware.bridge.ledger import Counts, Ledger
from firmware.bridge.service import Bridge, ledger_url, open_bridge
from firmware.bridge.settings import AccountSettings, BridgeSettings
from firmware.config import BrokerSettings
from firmware.core.ticket import Choice
from firmware.demo.child import BridgeOrder, Health, News, serve, tell
from firmware.mqtt import Pace

LOOK_S = 0.2  # between two looks; the person sees no more
POLL_S = 1  # between two looks at the vendor's list: a sale is at the gate in a second or two
RATE_MAX = 100  # requests a second; the sandbox allows any number
WAITING = frozenset({"untimed", "due", "claimed"})  # what the vendor has not answered yet


def settings_of(order: BridgeOrder) -> BridgeSettings:
    """As a bridge.toml would say it."""
    vendor = IngresseSettings(
        name=order.account,
        key=order.key,
        login="token",
        token=order.token,
        jwt=order.jwt,
        events=((order.event, order.sessions),),
        unsold=Choice.REFUSE,
        api_url=order.url,
    )
    return BridgeSettings(
        order.venue,
        "",
        (BrokerSettings("127.0.0.1", order.broker_port, tls=False),),
        (AccountSettings(order.account, POLL_S, 24, RATE_MAX, RATE_MAX, vendor),),
    )


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
        ledger = Ledger(database, order.venue, (order.account,))
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
