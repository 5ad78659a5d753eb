"""Every fault that a gate names: its code, which is the same at every gate and in every release.

`python -m firmware.fault_codes > deploy/faults.md` writes the operator's page from this table.
"""

import sys
from typing import NamedTuple


class FaultCode(NamedTuple):
    """One kind of fault.

    `noted`: whether whoever finds it writes a row of its start, and of its end; else `faults.Register` does.
    """

    code: str
    meaning: str
    mend: str
    noted: tuple[bool, bool] = (False, False)


BOTH = (True, True)  # or it never ends before the process does
START = (True, False)


READER_LOST = FaultCode(
    "reader_lost", "A reader is gone or silent.", "See its plug and cable, then `gatepost doctor`.", BOTH
)
SENSOR_FAILED = FaultCode(
    "sensor_failed", "A passage sensor failed.", "See its wiring; passages are not seen.", BOTH
)
RELAY_FAILED = FaultCode(
    "relay_failed", "The lines of a turnstile cannot be driven.", "See the board; open by key.", BOTH
)
LAMP_FAILED = FaultCode("lamp_failed", "A lamp cannot be driven.", "See the board and the lamp.", BOTH)
BUZZER_FAILED = FaultCode("buzzer_failed", "A buzzer cannot be driven.", "See the board.", BOTH)
LINK_FAILED = FaultCode(
    "link_failed", "The way to vendors failed inside the gate.", "Restart the gate; report it.", BOTH
)
PARTS_FAILED = FaultCode(
    "parts_failed", "Parts failed since the start, and work again.", "See `gatepost journal`.", BOTH
)
TAMPER = FaultCode("tamper", "The housing is open.", "Send somebody to look.", BOTH)
ALARM = FaultCode(
    "alarm", "The alarm frees a lane, or did so and was not acknowledged.", "See the fire panel.", BOTH
)
JOURNAL_UNWRITABLE = FaultCode(
    "journal_unwritable", "The journal takes no rows.", "Make room on the disk, or change the card."
)
JOURNAL_TROUBLE = FaultCode(
    "journal_trouble", "Something was found wrong with the journal.", "See the text; it stays until a start."
)
ROWS_LOST = FaultCode("rows_lost", "Rows were lost while the disk hung.", "Change the card.", BOTH)
TURNS_LOST = FaultCode(
    "turns_lost", "Scans or orders were not answered: the loop was behind.", "Report it; see the load.", BOTH
)
CATALOGUE_DAMAGED = FaultCode(
    "catalogue_damaged", "The catalogue, or a new one, cannot be read.", "Refresh it, or import it.", BOTH
)
CATALOGUE_STALE = FaultCode(
    "catalogue_stale",
    "The catalogue is older than `catalogue_stale_h` allows.",
    "See the bridge and its vendors.",
)
CATALOGUE_FEED = FaultCode(
    "catalogue_feed", "What the bridge sends of the catalogue cannot be used.", "See the text.", START
)
KEYS_MISSING = FaultCode(
    "keys_missing", "Signed codes cannot be checked.", "See the bridge: keys come from there.", BOTH
)
CLOCK_UNTRUSTED = FaultCode(
    "clock_untrusted",
    "The time is not known: no time server since the reboot, or none for a week.",
    "Let the gate reach a time server.",
    BOTH,
)
TIME_SERVER_LOST = FaultCode(
    "time_server_lost",
    "No time server keeps the clock right any more, or it was set by hand. The gate counts on from the time "
    "that it knew, for a week.",
    "Let the gate reach a time server (NTP, UDP port 123).",
)
CLOCK_BEFORE_TLS = FaultCode(
    "clock_before_tls",
    "The clock is so wrong that no certificate is valid yet.",
    "Let the gate reach a time server (NTP, UDP port 123).",
)
DISK_FULL = FaultCode("disk_full", "The disk has no room but the reserve.", "Make room on the disk.")
DISK_HANGS = FaultCode("disk_hangs", "The disk does not answer.", "Change the card.")
BROKER_UNREACHABLE = FaultCode(
    "broker_unreachable", "No connection to a broker.", "See the text, the network, the broker."
)
BROKER_REFUSES = FaultCode(
    "broker_refuses", "A broker refuses messages.", "Let the gate write (the broker's access list)."
)
GATE_NAME_TWICE = FaultCode(
    "gate_name_twice", "Another gate of the venue has this name.", "Give one a new name.", BOTH
)
CERTIFICATE = FaultCode(
    "certificate", "The gate's certificate, or its renewal, is in trouble.", "See the text; enrol anew."
)
SETTINGS = FaultCode("settings", "Settings from remote are not in use.", "See the text; apply others.")
MESSAGES = FaultCode(
    "messages", "Something between gate and bridge did not fit, or failed.", "See the text.", BOTH
)
UNDER_VOLTAGE = FaultCode("under_voltage", "The supply is too weak.", "Change supply or cable.")
TOO_HOT = FaultCode("too_hot", "The processor slows down for heat.", "Shade it, give it air.")
MEMORY_SHORT = FaultCode("memory_short", "Memory runs out.", "Restart the gate; report it.")
WIRING = FaultCode(
    "wiring", "The board's wiring is a hazard.", "See `gatepost wiring` and the hand-book.", BOTH
)
OTHER = FaultCode("other", "A fault without a code of its own.", "See the text.", BOTH)

CODES = (
    READER_LOST,
    SENSOR_FAILED,
    RELAY_FAILED,
    LAMP_FAILED,
    BUZZER_FAILED,
    LINK_FAILED,
    PARTS_FAILED,
    TAMPER,
    ALARM,
    JOURNAL_UNWRITABLE,
    JOURNAL_TROUBLE,
    ROWS_LOST,
    TURNS_LOST,
    CATALOGUE_DAMAGED,
    CATALOGUE_STALE,
    CATALOGUE_FEED,
    KEYS_MISSING,
    CLOCK_UNTRUSTED,
    TIME_SERVER_LOST,
    CLOCK_BEFORE_TLS,
    DISK_FULL,
    DISK_HANGS,
    BROKER_UNREACHABLE,
    BROKER_REFUSES,
    GATE_NAME_TWICE,
    CERTIFICATE,
    SETTINGS,
    MESSAGES,
    UNDER_VOLTAGE,
    TOO_HOT,
    MEMORY_SHORT,
    WIRING,
    OTHER,
)

# By the first word of the part's name.
PARTS = {
    "reader": READER_LOST,
    "sensor": SENSOR_FAILED,
    "turnstile": RELAY_FAILED,
    "lamp": LAMP_FAILED,
    "buzzer": BUZZER_FAILED,
    "link": LINK_FAILED,
    "housing": TAMPER,
}
# How things begin that the uplink names; anything else of it is `messages`.
UPLINK = {
    "broker ": BROKER_UNREACHABLE,
    "messages to broker ": BROKER_REFUSES,
    "catalogue from the bridge": CATALOGUE_FEED,
    "gate name": GATE_NAME_TWICE,
    "clock before TLS": CLOCK_BEFORE_TLS,
    "certificate": CERTIFICATE,
    "settings": SETTINGS,
}

HEAD = """\
# Faults that a gate names

Made from the table in `firmware/fault_codes.py` by `python -m firmware.fault_codes`: change it there.

A fault has a code, a text that says what and where, and the time since when. Its start and its end are rows
of the journal (`gatepost journal`), warnings on the topic `log`, and it stands in the telemetry of the gate,
in `gatepost watch`, and in the bridge's metric `gatepost_gate_faults` as long as it lasts.

| code | meaning | what to do |
| --- | --- | --- |
"""


def of_part(part: str) -> FaultCode:
    """The code of a part's fault, such as that of "reader left/1"."""
    return PARTS.get(part.partition(" ")[0], OTHER)


def of_uplink(thing: str) -> FaultCode:
    """The code of what the uplink names."""
    return next((code for start, code in UPLINK.items() if thing.startswith(start)), MESSAGES)


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"| `{each.code}` | {each.meaning} | {each.mend} |\n" for each in CODES)


if __name__ == "__main__":
    sys.stdout.write(page())
