"""Who may write and read which topic at a broker, as mosquitto's access lists, made from the wire's topics.

The names are those in the certificates. A gate's is its own; all others begin with a capital, which no
gate's name can. `python -m firmware.fleet.access` writes the lists of `deploy/mosquitto` anew.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from firmware import wire

BRIDGE, VENUE, FLEET, STEWARD, SUPERVISOR = "Bridge", "Venue", "Fleet", "Steward", "Supervisor"

PEERS = (wire.STATUS, wire.ADMISSIONS, wire.ADMISSIONS_REQUEST)  # gates tell each other
BRIDGE_READS = (wire.STATUS, wire.JOURNAL, wire.ASK, wire.REQUEST, wire.REPORTED, wire.TELEMETRY, wire.LOG)
OPERATORS_READ = (wire.STATUS, wire.REPLY, wire.DESIRED, wire.REPORTED, wire.TELEMETRY, wire.LOG)
IDENTITY = (wire.IDENTITY_REQUEST, wire.IDENTITY_ANSWER)

HEAD = """\
# Who may write and read what at a broker of the venue, and of the cloud: one list for both. The names are
# those in the certificates; %u is such a name, and a gate's is the gate's. All other names begin with a
# capital, which no gate's name can. Made by `gatepost fleet`; read anew on SIGHUP. The connection of
# venue-cloud.conf is not bound by it at the venue's end, but by the topics there.
"""
ENROL_HEAD = """\
# What a gate that has no certificate of its own yet may do: ask for one, and hear the answer. %u is the name
# in the certificate of its bundle, which only this listener takes. Made by `gatepost fleet`.
"""


def access(venue: str) -> str:
    """The list for all who have a certificate of the venue's authority."""
    lines = [HEAD, "# A gate writes its own topics,"]
    lines += _patterns("write", venue, "%u", [t for t in wire.TOPICS if t.writer == "gate"])
    lines += ["", "# reads what is for it alone,"]
    lines += _patterns("read", venue, "%u", [t for t in wire.TOPICS if t.writer != "gate" and _of_gate(t)])
    lines += ["", "# and what all gates of the venue share."]
    lines += _patterns("read", venue, "+", [*PEERS, *(t for t in wire.TOPICS if not _of_gate(t))])
    lines += ["", "# The bridges, all of one name; their client names differ.", f"user {BRIDGE}"]
    lines += _topics("read", venue, BRIDGE_READS)
    lines += _topics("write", venue, [t for t in wire.TOPICS if t.writer == "bridge"])
    lines += ["", "# Who gives certificates to gates: gatepost fleet serve.", f"user {FLEET}"]
    lines += [
        *_topics("read", venue, [wire.IDENTITY_REQUEST]),
        *_topics("write", venue, [wire.IDENTITY_ANSWER]),
    ]
    lines += ["", "# Operators by their role. Gates check each order's signature besides."]
    for name, writes in ((STEWARD, [wire.COMMAND]), (SUPERVISOR, [wire.COMMAND, wire.DESIRED])):
        lines += [
            f"user {name}",
            *_topics("read", venue, OPERATORS_READ),
            *_topics("write", venue, writes),
            "",
        ]
    lines += [
        "# The venue's broker at the cloud's: what venue-cloud.conf passes on, and no more.",
        f"user {VENUE}",
    ]
    for topic in wire.TOPICS:
        right = "readwrite" if topic in PEERS else "write" if topic.writer == "gate" else "read"
        lines += _topics(right, venue, [topic])
    return "\n".join(lines) + "\n"


def enrol_access(venue: str) -> str:
    """The list for the listener of gates that enrol."""
    request, answer = IDENTITY
    lines = [
        ENROL_HEAD,
        *_patterns("write", venue, "%u", [request]),
        *_patterns("read", venue, "%u", [answer]),
    ]
    return "\n".join(lines) + "\n"


def _of_gate(topic: wire.Topic) -> bool:
    return topic.name.startswith("gate/")


def _patterns(right: str, venue: str, gate: str, topics: list[wire.Topic]) -> Iterator[str]:
    return (f"pattern {right} {wire.address(topic, venue, gate)}" for topic in topics)


def _topics(right: str, venue: str, topics: tuple[wire.Topic, ...] | list[wire.Topic]) -> Iterator[str]:
    return (f"topic {right} {wire.address(topic, venue, '+')}" for topic in topics)


if __name__ == "__main__":
    folder = Path(__file__).parent.parent.parent / "deploy" / "mosquitto"
    (folder / "broker.acl").write_text(access("arena"), "utf-8")
    (folder / "enrol.acl").write_text(enrol_access("arena"), "utf-8")
    sys.stderr.write(f"written: {folder}\n")
