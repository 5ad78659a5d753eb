"""Signed codes at the gate: the proof of one beside the library's bare check, and what a decision pays.

The proof parts the code, reads base45 and JSON, compares the event, finds the key and checks the signature.
Two whole decisions of one gate take turns with it, of a code that is signed and of one that is not; they
differ by the proof, the route's look at the event, and a look for the ticket by its id.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from firmware import wire
from firmware.catalogue import Build, Catalogue
from firmware.config import parse
from firmware.core.lane import begin, step
from firmware.core.ticket import NO_HISTORY, Direction, Moment, Proof
from firmware.facts import Facts
from firmware.proof import EventKeys, Proofs
from firmware.signed_code import payload_of, signature_of
from tests.bench import world
from tests.bench.figures import SCRATCH, Figure, figure, in_turns, median
from tests.signed_codes import EVENT, Signer

ROUNDS, A_ROUND = 20, 200
SIZE = f"{ROUNDS * A_ROUND:,} codes"
SETTINGS = f"""
[[lane]]
name = "1"

[policy]
unlisted = "admit"

[[route]]
starts = "MPF"
characters = "base45"
vendor = "fair"
event = "{EVENT}"
signed = "bam"
"""


def run(_count: int) -> Iterator[Figure]:
    """Whatever the catalogue's size."""
    signer = Signer()
    codes = [signer.code(f"E{EVENT}TC23T{number}") for number in range(ROUNDS * A_ROUND)]
    halves = [(signature_of(code) or b"", payload.signed) for code in codes if (payload := payload_of(code))]
    settings = parse(SETTINGS, "bench")
    lane, _ = begin(settings.lanes[0].setup)
    moment = Moment(1_000_000, world.NOW_UTC_MS, True)
    public, algorithm = signer.key.public_key(), ECDSA(SHA256())
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        keys = EventKeys(folder)
        keys.take((wire.Account("fair", False, True, (), 0, keys=(wire.EventKey(EVENT, signer.pem),)),))
        with Build(folder / "catalogue", source="bench", stamp_utc_ms=world.NOW_UTC_MS) as build:
            build.swap()
        with Catalogue(folder / "catalogue", now_utc_ms=world.NOW_UTC_MS) as catalogue:
            proofs = Proofs(settings.signed, keys)
            facts = Facts(catalogue, settings, lambda _: NO_HISTORY, prove=proofs.prove)
            route = settings.routes[0].route
            assert facts.scanned(codes[0], Direction.IN, moment, 1).proof is Proof.VALID

            def verify(number: int) -> None:
                signature, signed = halves[number]
                public.verify(signature, signed, algorithm)

            def decide(code: str, number: int) -> object:
                return step(lane, facts.scanned(code, Direction.IN, moment, number + 1))

            taken = in_turns(
                {
                    "proof of a signed code": lambda number: proofs.prove(codes[number], route),
                    "ECDSA verify alone": verify,
                    "decision, signed code": lambda number: decide(codes[number], number),
                    "decision, other code": lambda number: decide(f"{number:012}", number),
                },
                ROUNDS,
                A_ROUND,
            )
    micro = {name: [ns / 1000 for ns in each] for name, each in taken.items()}
    alone = {"ECDSA verify alone": median(micro["ECDSA verify alone"])}
    yield figure(
        "proof of a signed code", SIZE, micro["proof of a signed code"], "µs", alone, "<= 1.5 x its peer"
    )
    yield figure("ECDSA verify alone", SIZE, micro["ECDSA verify alone"], "µs", note="peer")
    yield figure("decision, signed code", SIZE, micro["decision, signed code"], "µs", alone)
    yield figure(
        "decision, other code", SIZE, micro["decision, other code"], "µs", note="same gate, no proof"
    )
