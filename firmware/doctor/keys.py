"""Whether a gate has the public keys that its signed codes are proved with; nothing is written."""

from collections.abc import Iterator
from pathlib import Path

from firmware.config import Settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.proof import FILE, EventKeys
from firmware.signed_code import Signature


def examine(settings: Settings, data: Path | None) -> Iterator[Check]:
    """One check for each route whose codes are signed, where its folder is named."""
    if data is None or not settings.signed:
        return
    keys = EventKeys(data)
    for _, signing in settings.signed:
        named = {"event": signing.event, "account": signing.account}
        if keys.find(signing.account, signing.event):
            yield findings.KEY_THERE.seen(**named)
            continue
        why = keys.fault or f"{data / FILE} has no public key of it"
        required = signing.signature is Signature.REQUIRE
        finding = findings.KEY_WANTED if required else findings.KEY_MISSING
        yield finding.seen(why=why, **named)
