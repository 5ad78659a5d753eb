"""What a fleet answers a gate that asks for a certificate."""

from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firmware import wire
from firmware.bundle import enrolment_of, enrolment_text, proof_of, token_digest
from firmware.fleet import folder as stored
from firmware.fleet.certificates import new_key
from firmware.fleet.enrol import (
    GATE_LIFE,
    TOKEN_LIFE,
    Came,
    decide,
    revoke_gate,
    revoke_operator,
)
from firmware.fleet.folder import FleetUnusable, Paths
from firmware.fleet.init import add_operator
from firmware.sealing import unseal
from firmware.signing import Role
from firmware.venue_key import venue_key
from tests.fleet.fleets import DAY, NOW, bundle, made_fleet, request

# As they stand in a request (DER): id-ecPublicKey, prime256v1, ecdsa-with-SHA256, version 1.
KEY_KIND, CURVE = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06082a8648ce3d030107")
SIGNED_HOW, VERSION = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("020100")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return made_fleet(tmp_path / "fleet")


def certificate(answer: wire.IdentityAnswer) -> x509.Certificate:
    return x509.load_pem_x509_certificate(answer.certificate.encode())


def revoked_serials(fleet: Path, name: str = "crl.pem", authority: str = "ca") -> set[int]:
    crl = x509.load_pem_x509_crl((fleet / "broker" / name).read_bytes())
    assert crl.is_signature_valid(stored.issuer(fleet, authority).key.public_key())
    return {each.serial_number for each in crl}


def test_a_token_gets_the_gate_its_certificate_and_the_venues_key(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    answer, came, _ = decide(fleet, "north", request(key, token), NOW)
    assert came is Came.ISSUED
    found = certificate(answer)
    found.verify_directly_issued_by(stored.issuer(fleet).certificate)
    assert found.public_key() == key.public_key()
    assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "north"
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*usage] == [ExtendedKeyUsageOID.CLIENT_AUTH], "no gate can play a broker"
    assert found.not_valid_before_utc < NOW < found.not_valid_after_utc
    assert unseal(key, answer.sealed) == venue_key(fleet / "bridge")


def test_a_bundle_says_which_settings_were_sent_before_it(fleet: Path) -> None:
    sent = stored.next_version(fleet, "north", int(NOW.timestamp()) + 60)
    first, second = (bundle(fleet).enrolment for _ in range(2))
    assert sent < first.newest < second.newest
    assert enrolment_of(enrolment_text(second)) == second
    assert bundle(fleet, "south").enrolment.newest == int(NOW.timestamp()), "of each gate its own"


def test_the_token_itself_is_kept_nowhere(fleet: Path) -> None:
    token = bundle(fleet).token
    for path in fleet.rglob("*"):
        assert path.is_dir() or token.encode() not in path.read_bytes()


def test_a_lost_answer_is_given_again_to_the_same_key(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    first = decide(fleet, "north", request(key, token), NOW)
    again = decide(fleet, "north", request(key, token), NOW + DAY)
    assert again.came is Came.AGAIN
    assert again.answer.certificate == first.answer.certificate
    assert unseal(key, again.answer.sealed) == venue_key(fleet / "bridge")


def test_who_sees_a_request_on_its_way_cannot_put_another_key_into_it(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    seen = request(key, token)
    assert token.encode() not in wire.encode(seen)
    own = request(new_key()).request
    for proof in (seen.proof, seen.proof[:-1], bytes(32), proof_of(b"", own), token.encode()[:32]):
        assert decide(fleet, "north", wire.IdentityRequest(own, proof), NOW).came is Came.REFUSED
    assert decide(fleet, "north", seen, NOW).came is Came.ISSUED


def test_a_token_that_another_key_brings_is_refused_and_told(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    decide(fleet, "north", request(key, token), NOW)
    answer, came, text = decide(fleet, "north", request(new_key(), token), NOW)
    assert came is Came.MISUSED
    assert "copy of its bundle" in text
    assert (answer.certificate, answer.sealed) == ("", b"")
    assert decide(fleet, "north", request(key, token), NOW).came is Came.AGAIN, "the first one's is as before"


def test_a_certificate_that_a_cut_left_unwritten_is_made_anew_for_the_same_key(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    decide(fleet, "north", request(key, token), NOW)
    Paths(fleet).gate("north").with_suffix(".pem").unlink()
    assert decide(fleet, "north", request(key, token), NOW).came is Came.ISSUED
    revoke_gate(fleet, "north", NOW)
    assert len(revoked_serials(fleet)) == 2, "also the one that nobody may ever have had"


@pytest.mark.parametrize(
    ("now", "came"), [(NOW + TOKEN_LIFE, Came.ISSUED), (NOW + TOKEN_LIFE + DAY, Came.REFUSED)]
)
def test_a_token_ends(fleet: Path, now: datetime, came: Came) -> None:
    token = bundle(fleet).token
    assert decide(fleet, "north", request(new_key(), token), now).came is came


def test_the_token_of_an_older_bundle_or_another_gate_is_refused(fleet: Path) -> None:
    old, other = bundle(fleet).token, bundle(fleet, "south").token
    new = bundle(fleet).token
    for token in (old, other, "x" * 43, "é"):
        assert decide(fleet, "north", request(new_key(), token), NOW).came is Came.REFUSED
    assert decide(fleet, "north", request(new_key(), new), NOW).came is Came.ISSUED


def test_a_gate_that_the_fleet_does_not_know_is_refused(fleet: Path) -> None:
    assert decide(fleet, "west", request(new_key(), "x" * 43, "west"), NOW).came is Came.REFUSED


def test_a_request_must_be_about_the_gate_whose_topic_it_came_on(fleet: Path) -> None:
    token = bundle(fleet).token
    decision = decide(fleet, "north", request(new_key(), token, "south"), NOW)
    assert "another name" in decision.answer.refused


def test_what_is_no_request_with_a_key_of_ours_is_refused(fleet: Path) -> None:
    token = bundle(fleet).token
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "north")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    wrong_curve = builder.sign(ec.generate_private_key(ec.SECP384R1()), SHA256())
    wrong_kind = builder.sign(rsa.generate_private_key(65537, 2048), SHA256())
    good = request(new_key(), token).request
    changed = good[:-1] + bytes([good[-1] ^ 1])
    for found in (
        wrong_curve.public_bytes(Encoding.DER),
        wrong_kind.public_bytes(Encoding.DER),
        changed,
        good.replace(KEY_KIND, KEY_KIND[:-1] + b"\x7f"),
        good.replace(CURVE, CURVE[:-1] + b"\x7f"),
        good.replace(SIGNED_HOW, SIGNED_HOW[:-1] + b"\x7f"),
        good.replace(VERSION, VERSION[:-1] + b"\x09", 1),
        b"",
        b"0",
    ):
        assert found != good
        decision = decide(
            fleet, "north", wire.IdentityRequest(found, proof_of(token_digest(token), found)), NOW
        )
        assert decision.came is Came.REFUSED
        assert decision.answer.certificate == ""


def test_a_renewal_bears_the_key_of_the_certificate_before(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    first = certificate(decide(fleet, "north", request(key, token), NOW).answer)
    late = NOW + GATE_LIFE * 0.7
    assert decide(fleet, "north", request(new_key()), late).came is Came.REFUSED
    answer, came, _ = decide(fleet, "north", request(key), late)
    assert came is Came.RENEWED
    assert certificate(answer).not_valid_after_utc > first.not_valid_after_utc
    assert answer.sealed == b""


def test_a_gate_that_asks_too_soon_gets_the_same_certificate_again(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    first = decide(fleet, "north", request(key, token), NOW).answer.certificate
    for days in range(300):
        decision = decide(fleet, "north", request(key), NOW + days * DAY)
        assert (decision.came, decision.answer.certificate) == (Came.AGAIN, first)
    known = stored.gate(fleet, "north")
    assert known is not None
    assert len(known.serials) == 1


def test_an_ended_certificate_renews_nothing(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    until = certificate(decide(fleet, "north", request(key, token), NOW).answer).not_valid_after_utc
    assert decide(fleet, "north", request(key), until).came is Came.RENEWED
    until = certificate(decide(fleet, "north", request(key), until).answer).not_valid_after_utc
    assert "has ended" in decide(fleet, "north", request(key), until + DAY).answer.refused


def test_a_revoked_gate_gets_nothing_more_and_all_its_certificates_are_listed(fleet: Path) -> None:
    key, token = new_key(), bundle(fleet).token
    late = NOW + GATE_LIFE * 0.7
    answers = [
        decide(fleet, "north", request(key, token), NOW).answer,
        decide(fleet, "north", request(key), late).answer,
    ]
    assert revoked_serials(fleet) == set()
    assert revoke_gate(fleet, "north", late) == 2
    assert revoked_serials(fleet) == {certificate(each).serial_number for each in answers}
    for asked in (request(key), request(key, token), request(new_key(), token)):
        assert decide(fleet, "north", asked, late).came is Came.REFUSED
    assert revoke_gate(fleet, "north", late) == 0, "twice is fine"
    assert len(revoked_serials(fleet)) == 2


def test_a_revoked_gate_comes_back_with_a_new_bundle_and_stays_listed(fleet: Path) -> None:
    key = new_key()
    first = certificate(decide(fleet, "north", request(key, bundle(fleet).token), NOW).answer)
    with pytest.raises(FleetUnusable, match="gatepost fleet revoke"):
        bundle(fleet)
    revoke_gate(fleet, "north", NOW)
    token = bundle(fleet).token
    assert decide(fleet, "north", request(key), NOW).came is Came.REFUSED
    assert decide(fleet, "north", request(new_key(), token), NOW).came is Came.ISSUED
    assert revoked_serials(fleet) == {first.serial_number}


def test_the_certificates_in_a_revoked_gates_bundles_are_listed_too(fleet: Path) -> None:
    def listed() -> set[int]:
        return revoked_serials(fleet, "enrol-crl.pem", "enrol-ca")

    def number(found: str) -> int:
        return x509.load_pem_x509_certificate(found.encode()).serial_number

    first, second, south = bundle(fleet), bundle(fleet), bundle(fleet, "south")
    decide(fleet, "north", request(new_key(), second.token), NOW)
    assert listed() == set()
    assert revoke_gate(fleet, "north", NOW) == 1
    assert listed() == {number(first.certificate), number(second.certificate)}
    assert len(revoked_serials(fleet)) == 1, "each authority has its own list"
    again = bundle(fleet)
    assert number(again.certificate) not in listed()
    revoke_gate(fleet, "south", NOW)
    revoke_gate(fleet, "north", NOW)
    assert listed() == {number(each.certificate) for each in (first, second, south, again)}


def test_each_list_of_the_revoked_is_newer_than_the_one_before(fleet: Path) -> None:
    def list_of() -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl((fleet / "broker" / "crl.pem").read_bytes())

    bundle(fleet)
    seen = [list_of()]
    for _ in range(3):
        revoke_gate(fleet, "north", NOW)
        seen.append(list_of())
    assert [each.last_update_utc for each in seen] == sorted({each.last_update_utc for each in seen})
    end = stored.issuer(fleet).certificate.not_valid_after_utc
    assert all(each.next_update_utc == end for each in seen), (
        "a broker lets nobody in by a list that has ended"
    )


def test_an_operator_who_left_is_listed_and_no_signature_of_theirs_counts(fleet: Path) -> None:
    with pytest.raises(FleetUnusable, match="only operator"):
        revoke_operator(fleet, "ann", NOW)
    bob = add_operator(fleet, "bob", Role.STEWARD, NOW)
    assert bob.key in stored.operators(fleet)
    number = x509.load_pem_x509_certificate((fleet / "operators" / "bob.pem").read_bytes()).serial_number
    revoke_operator(fleet, "bob", NOW)
    assert bob.key not in stored.operators(fleet)
    assert revoked_serials(fleet) == {number}
    with pytest.raises(FleetUnusable, match="ann"):
        stored.operator_key(fleet, "bob")
