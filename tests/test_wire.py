"""What travels: the same bytes for ever, and nothing else gets in.

`python -m tests.test_wire` writes golden files for new examples. One that is there never changes: a gate of
an older release sent it, and this one must read it.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from firmware import wire
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter, Spend, Status, Verdict
from firmware.wire_table import page

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "wire"
# Of releases whose births said nothing of the device, whose vendors had no keys, whose asks named one event,
# or did not say that their time is not trusted, where a vendor out of reach was not told from one that
# fails, and bridges were not told from each other.
SHORTER = {
    "presence-birth", "presence-will", "vendors", "vendors-keys", "vendors-unreached", "answer",
    "answer-none", "answer-unreached", "ask", "ask-events",
}  # fmt: skip
UTC_MS = 1_790_000_000_000
PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
ROW = (7 << 32) + 42
MESSAGES: list[type[wire.Message]] = [*dict.fromkeys(topic.message for topic in wire.TOPICS), *wire.SIGNED]

LISTED = wire.Listed(
    bytes(range(16)), "main:77", Status.USED, "gala", "night", "adult", "A", "north", 1, UTC_MS
)
MOVED = wire.Moved(
    gate="south",
    row=ROW,
    digest=bytes(16),
    admission=ROW - 1,
    act=Act.SETTLED,
    subject="main:77",
    direction=Direction.OUT,
    perimeters=(Perimeter.OUTER, Perimeter.INNER),
    utc_ms=UTC_MS,
    spend=Spend.PASSAGE,
    until_utc_ms=UTC_MS + 1,
)
NOTED = wire.Moved("", 9, b"", 9, Act.NOTED, "main:é", Direction.IN, (), UTC_MS)
ITEMS = (LISTED, wire.Listed(bytes(16), "main:78"), wire.Gone("main:79"), NOTED)

EXAMPLES: dict[str, wire.Message] = {
    "presence-birth": wire.Presence(online=True, epoch=7, connection=3, random="a1b2", release="1.2.0"),
    "presence-will": wire.Presence(online=False, epoch=7, connection=3, random="a1b2"),
    "presence-device": wire.Presence(
        online=True,
        epoch=7,
        connection=3,
        random="a1b2",
        release="1.3.0",
        perimeters=(Perimeter.OUTER, Perimeter.INNER),
        mac="00:00:5e:00:53:01",
        ip="192.0.2.1",
        serial="10000000a1b2c3d4",
        model="Raspberry Pi 5 Model B Rev 1.0",
        trusted=True,
    ),
    "journal": wire.Journal(
        cursor=ROW - 2,
        cursor_digest=b"\x01" * 16,
        after=ROW - 1,
        previous=b"\x02" * 16,
        rows=(wire.SentRow(ROW, b"\x00body\xff", "CODE-1 入"), wire.SentRow(ROW + 1, b"")),
    ),
    "journal-first": wire.Journal(cursor=0, cursor_digest=b"", after=0, previous=b"", rows=()),
    "receipt": wire.Receipt(upto=ROW, digest=b"\x03" * 16),
    "outcomes": wire.Outcomes(
        outcomes=(
            wire.Outcome(ROW, b"\x04" * 16, wire.Result.ACCEPTED, None, "ok"),
            wire.Outcome(ROW + 1, b"\x05" * 16, wire.Result.REFUSED, Verdict.USED, "already used"),
            wire.Outcome(ROW + 2, b"", wire.Result.UNSURE, None, ""),
        )
    ),
    "ask": wire.Ask(
        scan=ROW,
        digest=b"\x09" * 16,
        account="main",
        code="CODE-1 入",
        ticket_id="main:77",
        event="gala",
        session="night",
        direction=Direction.IN,
        perimeter=Perimeter.OUTER,
        at_utc_ms=UTC_MS,
        left_ms=2950,
        again=True,
    ),
    "ask-events": wire.Ask(
        scan=ROW,
        digest=b"\x09" * 16,
        account="main",
        code="CODE-1 入",
        ticket_id="",
        event="",
        session="",
        direction=Direction.IN,
        perimeter=Perimeter.OUTER,
        at_utc_ms=UTC_MS,
        left_ms=2950,
        events=("gala", "ball"),
    ),
    "ask-untrusted": wire.Ask(
        scan=ROW,
        digest=b"\x09" * 16,
        account="main",
        code="CODE-1 入",
        ticket_id="main:77",
        event="gala",
        session="night",
        direction=Direction.IN,
        perimeter=Perimeter.OUTER,
        at_utc_ms=UTC_MS,
        left_ms=2950,
        trusted=False,
    ),
    "answer": wire.Answer(
        scan=ROW, digest=b"\x09" * 16, word=wire.Word.REFUSED, verdict=Verdict.USED, text="ALREADY_ENTERED"
    ),
    "answer-none": wire.Answer(
        scan=ROW, digest=b"", word=wire.Word.UNANSWERED, text="no reply within 2.9 s", doubt=True
    ),
    "answer-unreached": wire.Answer(
        scan=ROW, digest=b"\x09" * 16, word=wire.Word.UNANSWERED, text="connection refused", unreached=True
    ),
    "answer-untried": wire.Answer(
        scan=ROW,
        digest=b"\x09" * 16,
        word=wire.Word.UNANSWERED,
        text="connection refused",
        unreached=True,
        bridge="0a1b2c3d4e5f",
        untried=True,
    ),
    "vendors": wire.Vendors(
        accounts=(
            wire.Account("main", True, True, (Perimeter.OUTER,), 3000, "inner: no such venue", False, True),
            wire.Account("other", False, False, (), 0),
        )
    ),
    "vendors-keys": wire.Vendors(
        accounts=(
            wire.Account("main", False, True, (Perimeter.OUTER,), 0, keys=(wire.EventKey("3334", PEM),)),
            wire.Account("other", False, False, (), 0),
        )
    ),
    "vendors-unreached": wire.Vendors(
        accounts=(
            wire.Account(
                "hall",
                True,
                False,
                (Perimeter.OUTER,),
                3000,
                "connection refused",
                True,
                True,
                unreached_only=True,
                unreached=True,
            ),
        )
    ),
    "vendors-bridge": wire.Vendors(
        accounts=(wire.Account("main", True, True, (Perimeter.OUTER,), 3000),), bridge="0a1b2c3d4e5f"
    ),
    "catalogue-request": wire.CatalogueRequest(feed="f1", cursor=1200, pages=32),
    "catalogue-page": wire.CataloguePage(
        feed="f1",
        key_mark=b"\x06" * 16,
        after=0,
        upto=1200,
        more=True,
        tickets=1_000_000,
        stamp_utc_ms=UTC_MS,
        items=ITEMS,
    ),
    "changes": wire.Changes(
        feed="f1",
        key_mark=b"\x06" * 16,
        after=1200,
        upto=1204,
        tickets=1_000_001,
        stamp_utc_ms=UTC_MS,
        items=ITEMS,
    ),
    "admissions": wire.Admissions(
        to="", after=ROW - 3, upto=ROW, digest=b"\x07" * 16, more=False, items=(MOVED,)
    ),
    "admissions-answer": wire.Admissions(to="north", after=0, upto=0, digest=b"", more=True, items=()),
    "admissions-request": wire.AdmissionsRequest(of="south", after=ROW, digest=b"\x08" * 16),
    "signed": wire.Signed(key="0123456789abcdef", signed=b"bytes", signature=bytes(64)),
    "order": wire.Order(
        venue="arena",
        gate="north",
        key="0123456789abcdef",
        counter=UTC_MS * 1000,
        epoch=7,
        random="a1b2",
        connection=3,
        expires_utc_ms=UTC_MS,
        what=wire.What.OPEN_ONCE,
        lane="left",
        direction=Direction.OUT,
    ),
    "order-key": wire.Order(
        venue="arena",
        gate="north",
        key="0123456789abcdef",
        counter=1,
        epoch=7,
        random="a1b2",
        connection=3,
        expires_utc_ms=UTC_MS,
        what=wire.What.ROTATE_KEY,
        sealed=bytes(125),
    ),
    "reply": wire.Reply(
        key="0123456789abcdef", counter=1, done=wire.Done.OBEYED, text="left opened once", report="{}"
    ),
    "reply-malformed": wire.Reply(key="", counter=0, done=wire.Done.MALFORMED),
    "settings-desired": wire.DesiredSettings(
        venue="arena",
        gate="north",
        key="0123456789abcdef",
        version=12,
        settings="[gate]\n",
        board="[[relay]]\n",
        operators="[[operator]]\n",
    ),
    "settings-reported": wire.ReportedSettings(
        version=11,
        desired=12,
        state=wire.SettingsState.RETURNED,
        text="a reader was lost",
        settings="[gate]\n",
        board="[[relay]]\n",
        failed=(9, 12),
    ),
    "telemetry": wire.Telemetry(
        epoch=7,
        utc_ms=UTC_MS,
        trusted=True,
        up_ms=60_000,
        release="1.4.0",
        settings_version=12,
        verdicts={Verdict.ADMITTED: 40, Verdict.USED: 2},
        inbox=0,
        late_turns=1,
        decide=wire.Quantiles(90, 400),
        commit=wire.Quantiles(2_000, 9_000),
        tickets=20_000,
        catalogue_age_ms=4_000,
        key_mark=bytes(16),
        backlog_rows=3,
        parts=(wire.PartState("reader left/1", "unplugged"),),
        faults=(wire.NamedFault("reader", UTC_MS, "reader left/1: unplugged"),),
        temperature_mc=51_500,
        under_voltage=False,
        memory_free_bytes=1 << 29,
        disk_free_bytes=1 << 34,
    ),
    "log": wire.Log(lines=(wire.Line(UTC_MS, "reader left/1: unplugged"),), dropped=4),
    "identity-request": wire.IdentityRequest(request=b"\x30\x82", proof=bytes(32)),
    "identity-answer": wire.IdentityAnswer(certificate="-----BEGIN", sealed=bytes(125), signature=bytes(72)),
    "identity-refused": wire.IdentityAnswer(refused="this token was used"),
}


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.msgpack").read_bytes()


def encoded(name: str) -> bytes:
    return wire.encode(EXAMPLES[name])


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - SHORTER))
def test_a_message_has_the_bytes_that_it_always_had(name: str) -> None:
    assert wire.encode(EXAMPLES[name]) == golden(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_bytes_of_an_older_release_are_still_read(name: str) -> None:
    assert wire.decode(golden(name), type(EXAMPLES[name])) == EXAMPLES[name]


def test_every_message_and_item_of_the_wire_has_a_golden_file() -> None:
    assert {type(example) for example in EXAMPLES.values()} == set(MESSAGES)
    assert {path.stem for path in GOLDEN.iterdir()} == EXAMPLES.keys()
    items = [item for example in EXAMPLES.values() for item in items_of(example)]
    assert {type(item) for item in items} == set(wire.Item.__subclasses__())


def items_of(message: wire.Message) -> list[wire.Item]:
    found = [value if isinstance(value, tuple) else (value,) for value in msgspec.structs.astuple(message)]
    items = [item for values in found for item in values if isinstance(item, wire.Item)]
    return items + [key for item in items if isinstance(item, wire.Account) for key in item.keys]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_of_a_later_release_is_passed_over(name: str) -> None:
    fields = msgspec.msgpack.decode(golden(name))
    payload = msgspec.msgpack.encode({"from_tomorrow": [1, {"deep": b"x"}], **fields, "later": None})
    assert wire.decode(payload, type(EXAMPLES[name])) == EXAMPLES[name]


def test_a_field_at_the_end_of_an_item_of_a_later_release_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(golden("changes"))
    fields["items"] = [[*item, "from tomorrow"] for item in fields["items"][:2]]
    found = wire.decode(msgspec.msgpack.encode(fields), wire.Changes)
    assert found.items == ITEMS[:2]


@pytest.mark.parametrize("message", MESSAGES)
def test_an_unknown_version_is_told_apart_from_a_broken_message(message: type[wire.Message]) -> None:
    with pytest.raises(wire.UnknownVersion, match="version 2; this release knows version 1"):
        wire.decode(msgspec.msgpack.encode({"v": 2, "what": "ever"}), message)


SECRET = "SECRET-CODE"


def wrong(name: str, **changed: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(encoded(name)), **changed})


ITEM = ["t", bytes(16), "main:1"]
KEYLESS = ["main", False, True, ["outer"], 0, "", True, False]
MOVE = ["m", "south", 1, b"", 1, "opened", "main:1", "in", ["outer"], 1]
UNFIT = [
    ("receipt", b""),
    ("receipt", b"\xc1"),
    ("receipt", SECRET.encode()),
    ("receipt", encoded("receipt")[:-1]),
    ("receipt", encoded("receipt") + b"\x00"),
    ("receipt", b"\x91" * 5000),
    ("receipt", b"\x81" * 5000),
    ("receipt", msgspec.msgpack.encode([1, SECRET])),
    ("receipt", msgspec.msgpack.encode({"v": 1})),
    ("receipt", msgspec.msgpack.encode({"v": SECRET})),
    ("receipt", wrong("receipt", upto=SECRET)),
    ("receipt", wrong("receipt", upto=-1)),
    ("receipt", wrong("receipt", upto=1 << 63)),
    ("receipt", wrong("receipt", upto=1.5)),
    ("receipt", wrong("receipt", digest=SECRET)),
    ("receipt", wrong("receipt", digest=bytes(17))),
    ("presence-birth", wrong("presence-birth", online=1)),
    ("presence-birth", wrong("presence-birth", random="x" * 257)),
    ("journal", wrong("journal", rows=[[1, b"", ""]] * (wire.BATCH_ROWS_MAX + 1))),
    ("journal", wrong("journal", rows=[[1, bytes(wire.ROW_BYTES_MAX + 1)]])),
    ("journal", wrong("journal", rows=[[1, b"", "x" * 40_001]])),
    ("journal", wrong("journal", rows=[[1]])),
    ("outcomes", wrong("outcomes", outcomes=[[1, b"", SECRET, None, ""]])),
    ("outcomes", wrong("outcomes", outcomes=[[1, b"", f"it's ' - at `$.{SECRET}", None, ""]])),
    ("outcomes", wrong("outcomes", outcomes=[[1, b"", "accepted", None, ""]] * (wire.BATCH_ROWS_MAX + 1))),
    ("ask", wrong("ask", account="")),
    ("ask", wrong("ask", left_ms=-1)),
    ("ask", wrong("ask", left_ms=wire.DEADLINE_MS_MAX + 1)),
    ("ask", wrong("ask", code=["SECRET"])),
    ("ask", wrong("ask", direction=SECRET)),
    ("answer", wrong("answer", word=SECRET)),
    ("answer", wrong("answer", verdict=SECRET)),
    ("answer", wrong("answer", text=SECRET * 30)),
    ("vendors", wrong("vendors", accounts=[["main", True, True, ["outer"], 3000]] * 65)),
    ("vendors", wrong("vendors", accounts=[["main", True, True, ["outer"] * 3, 3000]])),
    ("vendors", wrong("vendors", accounts=[["main", True, True, [], -1]])),
    ("vendors-keys", wrong("vendors-keys", accounts=[[*KEYLESS, [["1", SECRET * 30]]]])),
    ("vendors-keys", wrong("vendors-keys", accounts=[[*KEYLESS, [["", SECRET]]]])),
    ("vendors-keys", wrong("vendors-keys", accounts=[[*KEYLESS, [["1", SECRET]] * 3]])),
    ("presence-device", wrong("presence-device", trusted=1)),
    ("catalogue-request", wrong("catalogue-request", pages=0)),
    ("catalogue-request", wrong("catalogue-request", pages=65)),
    ("catalogue-request", b"\x84" + encoded("catalogue-request")[1:].replace(b"f1", b"\xff\xfe")),
    ("catalogue-page", wrong("catalogue-page", items=[ITEM] * (wire.ITEMS_MAX + 1))),
    ("catalogue-page", wrong("catalogue-page", items=[[SECRET, 1]])),
    ("catalogue-page", wrong("catalogue-page", items=[["t", SECRET.encode(), "main:1"]])),
    ("catalogue-page", wrong("catalogue-page", items=[[*ITEM, SECRET]])),
    ("catalogue-page", wrong("catalogue-page", items=[MOVE])[:-1]),
    ("changes", wrong("changes", stamp_utc_ms=1 << 53)),
    ("changes", wrong("changes", items=[[*MOVE[:8], ["outer", "inner", "outer"], 1]])),
    ("changes", wrong("changes", items=[[*MOVE[:5], SECRET, *MOVE[6:]]])),
    ("changes", wrong("changes", items=[["m", "SECRET/+", *MOVE[2:]]])),
    ("admissions", wrong("admissions", items=[ITEM])),
    ("admissions-request", wrong("admissions-request", of="")),
    ("admissions-request", wrong("admissions-request", of="x" * 33)),
    ("admissions-request", wrong("admissions-request", of="north\n")),
]


@pytest.mark.parametrize(("name", "payload"), UNFIT)
def test_what_is_not_the_message_is_refused_and_not_quoted(name: str, payload: bytes) -> None:
    with pytest.raises(wire.Unfit) as refused:
        wire.decode(payload, type(EXAMPLES[name]))
    assert "SECRET" not in str(refused.value)
    assert str(refused.value)
    assert refused.value.__suppress_context__, "the cause's text may quote the payload"


def test_a_payload_as_long_as_allowed_is_read_and_one_byte_more_is_not() -> None:
    room = wire.PAYLOAD_BYTES_MAX - len(wrong("receipt", more=bytes(60_000))) + 60_000
    assert wire.decode(wrong("receipt", more=bytes(room)), wire.Receipt) == EXAMPLES["receipt"]
    with pytest.raises(wire.Unfit, match="65,537 bytes are more than 65,536"):
        wire.decode(wrong("receipt", more=bytes(room + 1)), wire.Receipt)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Everything that a field may hold."""
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, le=high, lt=above):
            return st.integers(low, high if high is not None else (above or 0) - 1)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern)
        case inspect.StrType(min_length=least, max_length=most):
            letters = st.characters(exclude_categories=["Cs"])
            return st.text(letters, min_size=least or 0, max_size=min(most or 0, 300))
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=min(most or 0, 300))
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.UnionType(types=kinds):
            return st.one_of(*map(values, kinds))
        case inspect.NoneType():
            return st.none()
        case inspect.VarTupleType(item_type=item, max_length=most):
            return st.lists(values(item), max_size=min(most or 0, 4)).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=4)
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
    raise TypeError(f"no strategy for {kind}")


messages = st.one_of(*(values(inspect.type_info(message)) for message in MESSAGES))


@given(messages)
def test_what_is_sent_is_what_is_read(message: wire.Message) -> None:
    payload = wire.encode(message)
    found = wire.decode(payload, type(message))
    assert found == message
    assert wire.encode(found) == payload


@given(messages, st.sampled_from(MESSAGES))
def test_a_message_on_the_wrong_topic_is_read_or_refused_but_never_breaks_the_reader(
    message: wire.Message, shape: type[wire.Message]
) -> None:
    try:
        assert type(wire.decode(wire.encode(message), shape)) is shape
    except wire.Unfit:
        assert type(message) is not shape


@given(st.binary(max_size=200), st.sampled_from(MESSAGES))
def test_noise_is_refused(noise: bytes, shape: type[wire.Message]) -> None:
    with pytest.raises(wire.Unfit):
        wire.decode(noise, shape)


names = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)


@given(st.sampled_from(wire.TOPICS), names, names)
def test_a_topic_is_read_as_it_was_written(topic: wire.Topic, venue: str, gate: str) -> None:
    found = wire.addressed(wire.address(topic, venue, gate), venue)
    assert found == wire.Addressed(topic, gate if "<gate>" in topic.name else "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gatepost/v1/venue",
        "gatepost/v1/venue/",
        "gatepost/v1/venue/gate",
        "gatepost/v1/venue/gate/",
        "gatepost/v1/venue/gate/north",
        "gatepost/v1/venue/gate/north/",
        "gatepost/v1/venue/gate/north/journal/more",
        "gatepost/v1/venue/gate/no/rth/journal",
        "gatepost/v1/venue/changes/",
        "gatepost/v1/other/changes",
        "gatepost/v2/venue/changes",
        "$SYS/broker",
    ],
)
def test_a_topic_of_nobody_here_is_none(text: str) -> None:
    assert wire.addressed(text, "venue") is None


def test_the_page_of_topics_is_made_from_the_messages() -> None:
    command = [sys.executable, "-m", "firmware.wire_table"]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert written == page() == (ROOT / "deploy" / "topics.md").read_text("utf-8")
    for topic in wire.TOPICS:
        assert f"| `{topic.name}` | {topic.qos} | " in written
    structs: list[type[msgspec.Struct]] = [*MESSAGES, *wire.Item.__subclasses__()]
    for struct in structs:
        assert f"\n## `{struct.__name__}`" in written
        assert all(f"\n| `{field.name}` | " in written for field in msgspec.structs.fields(struct))


def test_as_many_vendors_and_keys_as_allowed_go_into_one_message() -> None:
    key = wire.EventKey("e" * wire.EVENT_ID_MAX, "k" * wire.KEY_CHARACTERS_MAX)
    most = wire.Account(
        "v" * 32, False, True, tuple(Perimeter), 3000, "t" * 256, keys=(key,) * wire.EVENT_KEYS_MAX
    )
    vendors = wire.Vendors(accounts=(most,) * wire.ACCOUNTS_MAX)
    assert wire.decode(wire.encode(vendors), wire.Vendors) == vendors


def test_all_values_of_a_verdict_and_of_a_status_go_over_the_wire() -> None:
    verdicts = tuple(wire.Outcome(1, b"", wire.Result.REFUSED, verdict, "") for verdict in Verdict)
    outcomes = wire.Outcomes(outcomes=verdicts)
    assert wire.decode(wire.encode(outcomes), wire.Outcomes) == outcomes
    listed = tuple(wire.Listed(bytes(16), "main:1", status) for status in Status)
    changes = msgspec.structs.replace(EXAMPLES["changes"], items=listed)
    assert wire.decode(wire.encode(changes), wire.Changes) == changes


def write_new() -> None:
    """Write the golden files that are not there yet."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, example in EXAMPLES.items():
        path = GOLDEN / f"{name}.msgpack"
        if not path.exists():
            path.write_bytes(wire.encode(example))
            sys.stderr.write(f"written: {path.name}\n")


if __name__ == "__main__":
    write_new()
