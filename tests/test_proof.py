"""Signed codes: what proves one, what does not, and that nothing but the vendor's own bytes counts."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from firmware import wire
from firmware.core.ticket import Perimeter, Proof, Route
from firmware.proof import FILE, EventKeys, Proofs, public_key_of
from firmware.signed_code import (
    CHARACTERS,
    NOTHING,
    Payload,
    Proven,
    Signature,
    Signing,
    from_base45,
    payload_of,
    signature_of,
)
from tests.signed_codes import EVENT, TICKET, Signer, to_base45

SIGNER = Signer()
CODE = SIGNER.code()
CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
ROUTE, ELSEWHERE = Route("fair", EVENT), Route("fair", EVENT)
GENUINE = Proven(Proof.VALID, f"fair:{TICKET}")


def account(*pems: str, name: str = "fair", event: str = EVENT) -> wire.Account:
    keys = tuple(wire.EventKey(event, pem) for pem in pems)
    return wire.Account(name, False, True, (Perimeter.OUTER,), 0, keys=keys)


@pytest.fixture
def keys(tmp_path: Path) -> EventKeys:
    found = EventKeys(tmp_path)
    found.take((account(SIGNER.pem),))
    return found


def proved(
    keys: EventKeys, code: str, signature: Signature = Signature.PREFER, route: Route = ROUTE
) -> Proven:
    return Proofs(((ROUTE, Signing("fair", EVENT, signature)),), keys).prove(code, route)


# --- base45 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("BB8", b"AB"),
        ("%69 VD92EX0", b"Hello!!"),
        ("UJCLQE7W581", b"base-45"),
        ("QED8WEX0", b"ietf!"),
        ("", b""),
    ],
)
def test_the_examples_of_rfc_9285_are_read(text: str, data: bytes) -> None:
    assert from_base45(text) == data
    assert to_base45(data) == text


@pytest.mark.parametrize(
    "text", ["GGW", ":::", "::", "A", "AAAA", "bb8", "BB8\n", "BB8 ", " BB8", "B_8", "é00", "\ud800"]
)
def test_what_is_no_base45_is_nothing(text: str) -> None:
    assert from_base45(text) is None


@given(st.binary(max_size=300))
def test_any_bytes_come_back_from_base45_and_three_colons_never_stand_in_them(data: bytes) -> None:
    text = to_base45(data)
    assert from_base45(text) == data
    assert ":::" not in text
    assert not text.endswith((":", " ")), "so a part ends where the mark begins"


@given(st.text(st.sampled_from(CHARACTERS.decode()), max_size=60))
def test_a_text_is_read_as_the_bytes_that_it_was_made_of_or_not_at_all(text: str) -> None:
    data = from_base45(text)
    assert data is None or to_base45(data) == text


# --- what a code says --------------------------------------------------------------------------------


def test_a_code_is_parted_once_and_its_bytes_are_left_as_they_are() -> None:
    signed = b'{ "more": [1],  "id":"E3334TC23T12" }'
    code = f"{to_base45(signed)}:::{to_base45(b'one')}"
    assert payload_of(code) == Payload(signed, TICKET, EVENT)
    assert signature_of(code) == b"one"
    assert payload_of(code.replace(":::", "::")) is None
    assert signature_of(f"{code}:::{to_base45(b'two')}") is None


@pytest.mark.parametrize("ticket_id", ["E3334TC23T012", "E3334TC00023T12", f"E3334TC23T{'0' * 18}12"])
def test_a_ticket_has_one_name_however_many_zeros_are_in_front_of_its_numbers(ticket_id: str) -> None:
    payload = payload_of(SIGNER.code(ticket_id))
    assert payload is not None
    assert (payload.ticket_id, payload.event) == (TICKET, EVENT)


@pytest.mark.parametrize(
    "ticket_id",
    [
        "E3334TC23T12 ",
        " E3334TC23T12",
        "xE3334TC23T12",
        "E3334TC23T12x",
        "E3334TC23T12\\n",
        "E3334TC23",
        "e3334tc23t12",
        "E٣TC23T12",
        "E-1TC23T12",
        "",
        "E" + "1" * 19 + "TC1T1",
    ],
)
def test_a_ticket_is_named_as_a_whole_or_not_at_all(ticket_id: str) -> None:
    assert payload_of(SIGNER.code(ticket_id)) is None


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b'{"id":7}', b"[]", b'{"id":"\xff"}', b"[" * 3000, b"E3334TC23T12"]
)
def test_a_payload_that_is_not_of_this_vendor_is_no_signed_code(payload: bytes) -> None:
    assert payload_of(SIGNER.coded(payload)) is None


@given(st.text(max_size=60) | st.text(st.sampled_from(CHARACTERS.decode()), max_size=60))
def test_whatever_is_read_is_a_signed_code_or_none(code: str) -> None:
    assert payload_of(code) is None
    signature_of(code)


# --- what is proved ----------------------------------------------------------------------------------


def test_a_code_that_the_events_key_signed_is_genuine_and_names_its_ticket(keys: EventKeys) -> None:
    assert proved(keys, CODE) == GENUINE
    assert proved(keys, SIGNER.code()) == GENUINE, "signed once more"
    assert proved(keys, SIGNER.coded(b'{"v":2,"id":"E3334TC23T12"}')) == GENUINE


def test_only_codes_of_the_route_are_proved(keys: EventKeys) -> None:
    assert proved(keys, CODE, route=ELSEWHERE) == NOTHING, "an equal route is another one"


def test_the_same_json_written_anew_is_not_what_was_signed(keys: EventKeys) -> None:
    anew = to_base45(b'{"id": "E3334TC23T12"}') + CODE[CODE.index(":::") :]
    assert proved(keys, anew) == Proven(Proof.FORGED)


def test_a_signature_of_another_ticket_proves_nothing(keys: EventKeys) -> None:
    other = SIGNER.code("E3334TC23T13")
    assert proved(keys, CODE.partition(":::")[0] + other[other.index(":::") :]) == Proven(Proof.FORGED)


def test_a_signature_of_somebody_else_proves_nothing(keys: EventKeys) -> None:
    assert proved(keys, Signer().code()) == Proven(Proof.FORGED)
    assert proved(keys, Signer().code(), Signature.REQUIRE) == Proven(Proof.LACKING)


def test_a_genuine_code_of_another_event_is_told_apart(keys: EventKeys) -> None:
    for event in ("333", "33340", "03334"):
        code = SIGNER.code(f"E{event}TC23T12")
        assert proved(keys, code) == Proven(Proof.OTHER_EVENT)
        assert proved(keys, code, Signature.REQUIRE) == Proven(Proof.LACKING)


@pytest.mark.parametrize(
    "code", ["123456", "MPF", CODE.partition(":::")[0], CODE.lower(), CODE + " ", " " + CODE, CODE[1:]]
)
def test_what_is_no_signed_code_is_proved_nothing(keys: EventKeys, code: str) -> None:
    assert not proved(keys, code).ticket_id
    assert proved(keys, code, Signature.REQUIRE) == Proven(Proof.LACKING)


def test_the_other_signature_that_the_curve_allows_is_the_same_ticket_once_more(keys: EventKeys) -> None:
    payload, _, signature = CODE.partition(":::")
    r, s = decode_dss_signature(from_base45(signature) or b"")
    twin = f"{payload}:::{to_base45(encode_dss_signature(r, CURVE_ORDER - s))}"
    assert twin != CODE
    assert proved(keys, twin) == GENUINE


def test_a_signature_in_another_form_or_of_another_hash_proves_nothing(keys: EventKeys) -> None:
    payload, _, text = CODE.partition(":::")
    signed, signature = from_base45(payload) or b"", from_base45(text) or b""
    r, s = decode_dss_signature(signature)
    for other in (
        r.to_bytes(32) + s.to_bytes(32),
        signature + b"\0",
        encode_dss_signature(r + CURVE_ORDER, s),
        encode_dss_signature(0, s),
        SIGNER.key.sign(signed, ECDSA(SHA384())),
        generate_private_key(SECP384R1()).sign(signed, ECDSA(SHA256())),
    ):
        assert proved(keys, f"{payload}:::{to_base45(other)}") == Proven(Proof.FORGED)


def test_without_a_key_nothing_is_proved_and_where_proof_is_required_that_is_said(tmp_path: Path) -> None:
    keyless = EventKeys(tmp_path)
    assert proved(keyless, CODE) == NOTHING
    assert proved(keyless, CODE, Signature.REQUIRE) == Proven(Proof.NO_KEY)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> EventKeys:
    found = EventKeys(tmp_path_factory.mktemp("data"))
    found.take((account(SIGNER.pem),))
    return found


PLACES = st.integers(0, len(CODE) - 1)


@given(PLACES, st.sampled_from(CHARACTERS.decode()))
def test_no_changed_character_leaves_a_code_genuine(lasting: EventKeys, place: int, character: str) -> None:
    changed = CODE[:place] + character + CODE[place + 1 :]
    assert (proved(lasting, changed) == GENUINE) is (changed == CODE)


@given(PLACES)
def test_no_lost_character_leaves_a_code_genuine(lasting: EventKeys, place: int) -> None:
    assert proved(lasting, CODE[:place] + CODE[place + 1 :]).proof is not Proof.VALID
    assert proved(lasting, CODE[:place]).proof is not Proof.VALID


@given(st.binary(max_size=120))
def test_no_other_bytes_are_a_signature(lasting: EventKeys, noise: bytes) -> None:
    code = f"{CODE.partition(':::')[0]}:::{to_base45(noise)}"
    assert proved(lasting, code) == Proven(Proof.FORGED)


# --- the keys on the disk ----------------------------------------------------------------------------


def test_keys_are_there_after_a_start_without_network(tmp_path: Path, keys: EventKeys) -> None:
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert proved(EventKeys(tmp_path), CODE) == GENUINE


def test_a_bridge_without_the_key_at_the_moment_takes_none_away(tmp_path: Path, keys: EventKeys) -> None:
    keys.take((account(),))
    assert proved(keys, CODE) == GENUINE
    assert proved(EventKeys(tmp_path), CODE) == GENUINE


def test_a_new_key_counts_beside_the_old_one_and_then_alone(tmp_path: Path, keys: EventKeys) -> None:
    newer = Signer()
    keys.take((account(SIGNER.pem, newer.pem),))
    assert [proved(keys, each.code()) for each in (SIGNER, newer)] == [GENUINE, GENUINE]
    keys.take((account(newer.pem),))
    assert [proved(keys, each.code()).proof for each in (SIGNER, newer)] == [Proof.FORGED, Proof.VALID]
    assert proved(EventKeys(tmp_path), newer.code()) == GENUINE


def test_the_keys_of_an_account_that_is_gone_go_with_it(tmp_path: Path, keys: EventKeys) -> None:
    keys.take((account(SIGNER.pem, name="other"),))
    assert proved(keys, CODE) == proved(EventKeys(tmp_path), CODE) == NOTHING


def test_the_file_is_written_only_when_something_is_new(tmp_path: Path, keys: EventKeys) -> None:
    before = (tmp_path / FILE).stat().st_ino
    keys.take((account(SIGNER.pem),))
    assert (tmp_path / FILE).stat().st_ino == before


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b'{"fair": 1}', b"[" * 5000])
def test_a_damaged_file_is_told_and_mended_by_the_bridge(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    found = EventKeys(tmp_path)
    assert str(tmp_path / FILE) in found.fault
    found.take(())
    assert (found.fault, (tmp_path / FILE).read_bytes()) == ("", b"{}")
    found.take((account(SIGNER.pem),))
    assert proved(EventKeys(tmp_path), CODE) == GENUINE


def test_a_disk_that_takes_no_file_is_told_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    found = EventKeys(folder)
    found.take((account(SIGNER.pem),))
    assert "No such file" in found.fault
    assert proved(found, CODE) == GENUINE
    folder.mkdir()
    found.take((account(SIGNER.pem),))
    assert found.fault == ""
    assert proved(EventKeys(folder), CODE) == GENUINE


def test_a_key_of_another_kind_is_told_and_proves_nothing(tmp_path: Path) -> None:
    wide = generate_private_key(SECP384R1()).public_key()
    wide_pem = wide.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert public_key_of(wide_pem) is None
    assert public_key_of("no key") is None
    found = EventKeys(tmp_path)
    found.take((account(wide_pem),))
    assert found.fault == f"the key of event {EVENT} of fair is no public key on P-256"
    assert proved(found, CODE) == NOTHING


def test_a_missing_key_has_a_name_until_it_is_there(tmp_path: Path) -> None:
    found = EventKeys(tmp_path)
    proofs = Proofs(((ROUTE, Signing("fair", EVENT, Signature.PREFER)),), found)
    assert proofs.fault().startswith("no key of event 3334 of fair: ")
    found.take((account(SIGNER.pem),))
    assert proofs.fault() == ""
