from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hal.frames import ENDS, IDLE_MS_LIMIT, LENGTH_LIMIT, LENGTH_MAX, Deframer, Encoding, Framing, Terminator
from hal.ports import Code, Read, Unreadable

WITH_TERMINATOR: list[Terminator] = [terminator for terminator in ENDS if terminator != "none"]
SUFFIXES: dict[Terminator, bytes] = {
    "any": b"\r",
    "cr": b"\r",
    "lf": b"\n",
    "crlf": b"\r\n",
    "tab": b"\t",
    "none": b"",
}
# Every character that some vendor's code holds and some scanner software eats.
AWKWARD = " A?b.c:d $%*+-/ \x00\x1d\x02 é€😀 "


def reads(framing: Framing, *chunks: bytes) -> list[Read]:
    """What a deframer gives for these chunks, and for the silence after them."""
    deframer = Deframer(framing)
    complete = [read for chunk in chunks for read in deframer.feed(chunk, now_ms=0)]
    return complete + deframer.idle(now_ms=framing.idle_ms)


def codes(*texts: str) -> list[Read]:
    return [Code(text) for text in texts]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@pytest.mark.parametrize("terminator", list(ENDS))
def test_a_code_arrives_untouched(terminator: Terminator) -> None:
    assert reads(Framing(terminator), AWKWARD.encode() + SUFFIXES[terminator]) == codes(AWKWARD)


def test_a_code_between_stx_and_etx_arrives_untouched_and_noise_outside_is_dropped() -> None:
    framing = Framing(stx_etx=True)
    data = b"noise\r\x02 A\r\n\tB? \x03\r\nnoise\x03\x02C\x03"
    assert reads(framing, data) == codes(" A\r\n\tB? ", "C")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@given(data=st.data(), terminator=st.sampled_from(WITH_TERMINATOR))
def test_any_text_without_its_terminator_comes_back(
    encoding: Encoding, data: st.DataObject, terminator: Terminator
) -> None:
    stops, front = (part.decode() for part in ENDS[terminator])
    characters = st.characters(codec=encoding, exclude_characters=stops)
    text = data.draw(st.text(characters, min_size=1, max_size=LENGTH_MAX))
    assume(text[0] not in front and not (terminator == "lf" and text.endswith("\r")))
    assert reads(
        Framing(terminator, encoding=encoding), text.encode(encoding) + SUFFIXES[terminator]
    ) == codes(text)


BASE45 = st.text(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"), min_size=1)


@given(BASE45, BASE45, st.sampled_from(list(ENDS)), st.booleans(), st.lists(st.integers(0, 500), max_size=4))
def test_a_signed_code_arrives_with_every_blank_and_colon_however_it_is_cut(
    payload: str, signature: str, terminator: Terminator, additions: bool, cuts: list[int]
) -> None:
    framing = Framing(terminator, strip_aim=additions, strip_eci=additions)
    text = f"{payload}:::{signature}"
    sent = ("]Q1" if additions else "") + text
    assert reads(framing, *split(sent.encode() + SUFFIXES[terminator], cuts)) == codes(text)


FRAMINGS = st.builds(
    Framing,
    terminator=st.sampled_from(list(ENDS)),
    strip_prefix=st.sampled_from([(), ("A",)]),
    strip_aim=st.booleans(),
    strip_eci=st.booleans(),
    encoding=st.sampled_from(["utf-8", "latin-1", "ascii"]),
    length_max=st.integers(1, 6),
) | st.builds(Framing, stx_etx=st.just(True), length_max=st.integers(1, 6))
NOISE = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\t", b"\x02", b"\x03", b"A", b"BCD", b"\xc3\xa9", b"\xff", b"]Q1"]
    )
)


@given(FRAMINGS, NOISE, st.lists(st.integers(0, 1000)))
def test_the_same_bytes_in_other_chunks_give_the_same_reads(
    framing: Framing, noise: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(noise)
    whole = reads(framing, data)
    assert reads(framing, *split(data, cuts)) == whole
    assert reads(framing, *split(data, range(len(data)))) == whole


@given(FRAMINGS, NOISE)
def test_after_silence_the_next_code_is_whole_whatever_came_before(
    framing: Framing, noise: list[bytes]
) -> None:
    deframer = Deframer(framing)
    deframer.feed(b"".join(noise), now_ms=0)
    deframer.idle(now_ms=framing.idle_ms)
    assert deframer.wake_at() is None
    around = (b"\x02", b"\x03") if framing.stx_etx else (b"", SUFFIXES[framing.terminator])
    got = deframer.feed(b"x".join(around), now_ms=5000) + deframer.idle(now_ms=5000 + framing.idle_ms)
    assert got == codes("x")


# What scanners really send, against each setting that an operator might leave them on.
@pytest.mark.parametrize(
    ("terminator", "sent", "got"),
    [
        ("any", b"A\r\nB\r\n", codes("A", "B")),
        ("any", b"A\rB\nC\tD\r\n", codes("A", "B", "C", "D")),
        ("any", b"\r\n\t\r\n", []),
        ("cr", b"A\r\nB\r\n", codes("A", "B")),
        ("cr", b"A\tB\r", codes("A\tB")),
        ("lf", b"A\r\nB\r\n", codes("A", "B")),
        ("lf", b"A\r\rB\r\r\n", codes("A\r\rB\r")),
        ("crlf", b"A\rB\nC\r\nD\r\r\n", codes("A\rB\nC", "D\r")),
        ("crlf", b"\r\n\r\nA\r\n", codes("A")),
        ("tab", b"A\t\r\nB\t\r\n", codes("A", "B")),
        ("none", b"A\r\n", codes("A\r\n")),
        ("crlf", b"A\r", [Unreadable("lost_keys")]),
        ("tab", b"A\r\n", [Unreadable("lost_keys")]),
    ],
)
def test_scanner_suffixes_against_each_setting(terminator: Terminator, sent: bytes, got: list[Read]) -> None:
    assert reads(Framing(terminator), sent) == got


def test_a_code_cut_by_silence_is_reported_and_never_judged() -> None:
    deframer = Deframer(Framing(idle_ms=100))
    assert deframer.feed(b"TICKET-1", now_ms=1000) == []
    assert deframer.wake_at() == 1100
    assert deframer.idle(now_ms=1099) == []
    assert deframer.idle(now_ms=1100) == [Unreadable("lost_keys")]
    assert deframer.idle(now_ms=9999) == []
    assert deframer.feed(b"TICKET-2\r", now_ms=1200) == codes("TICKET-2")
    assert deframer.wake_at() is None


def test_each_byte_puts_the_silence_off() -> None:
    deframer = Deframer(Framing("none", idle_ms=100))
    deframer.feed(b"A", now_ms=0)
    deframer.feed(b"B", now_ms=99)
    deframer.feed(b"", now_ms=150)
    assert deframer.idle(now_ms=198) == []
    assert deframer.idle(now_ms=199) == codes("AB")


def test_bytes_that_waited_in_a_stalled_process_are_not_taken_for_two_codes() -> None:
    deframer = Deframer(Framing(idle_ms=100))
    assert deframer.feed(b"TICK", now_ms=0) == []
    assert deframer.feed(b"ET\r", now_ms=60_000) == codes("TICKET")


def test_a_new_stx_reports_the_frame_that_it_cuts() -> None:
    assert reads(Framing(stx_etx=True), b"\x02TIC\x02TICKET\x03") == [Unreadable("lost_keys"), Code("TICKET")]
    assert reads(Framing(stx_etx=True), b"\x02\x02TICKET\x03\x02\x03") == codes("TICKET")


def test_an_stx_without_anything_after_it_is_noise_once_it_goes_silent() -> None:
    deframer = Deframer(Framing(stx_etx=True))
    deframer.feed(b"\x02", now_ms=0)
    assert deframer.idle(now_ms=deframer.framing.idle_ms) == []
    assert deframer.feed(b"noise\x03", now_ms=500) == []


@pytest.mark.parametrize("terminator", WITH_TERMINATOR)
def test_an_endless_code_is_refused_once_in_bounded_memory_and_the_next_one_is_fine(
    terminator: Terminator,
) -> None:
    framing = Framing(terminator)
    deframer = Deframer(framing)
    chunk = b"x" * 65536
    for _ in range(160):  # 10 MB
        assert deframer.feed(chunk, now_ms=0) == []
        assert len(deframer._frame) <= LENGTH_MAX * 4 + 1
    end = SUFFIXES[terminator]
    assert deframer.feed(end + b"TICKET" + end, now_ms=0) == [Unreadable("too_long"), Code("TICKET")]


@pytest.mark.parametrize(
    "framing", [Framing("none"), Framing("cr"), Framing(stx_etx=True)], ids=["none", "cr", "stx"]
)
def test_an_endless_code_is_refused_once_by_silence(framing: Framing) -> None:
    assert reads(framing, b"\x02" + b"x" * 10_000) == [Unreadable("too_long")]


@given(st.sampled_from("a€😀"), st.sampled_from(WITH_TERMINATOR))
def test_the_longest_code_is_delivered_and_one_character_more_is_not(
    char: str, terminator: Terminator
) -> None:
    end = SUFFIXES[terminator]
    assert reads(Framing(terminator), (char * LENGTH_MAX).encode() + end) == codes(char * LENGTH_MAX)
    assert reads(Framing(terminator), (char * (LENGTH_MAX + 1)).encode() + end) == [Unreadable("too_long")]


@pytest.mark.parametrize(
    ("encoding", "sent", "got"),
    [
        ("utf-8", b"caf\xc3\xa9\r", Code("café")),
        ("utf-8", b"caf\xe9\r", Unreadable("not_text")),
        ("utf-8", b"\xed\xa0\x80\r", Unreadable("not_text")),
        ("latin-1", b"caf\xe9\r", Code("café")),
        ("ascii", b"caf\xe9\r", Unreadable("not_text")),
    ],
)
def test_bytes_of_another_encoding_are_unreadable_and_the_next_code_is_fine(
    encoding: Encoding, sent: bytes, got: Read
) -> None:
    assert reads(Framing(encoding=encoding), sent + b"NEXT\r") == [got, Code("NEXT")]


STRIPPED = Framing(strip_prefix=("SC1:", "SC1"), strip_suffix=("\x04", "#"), strip_aim=True, strip_eci=True)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("SC1:]Q2\\000026TICKET#", "TICKET"),
        ("SC1TICKET", "TICKET"),  # the second prefix fits
        ("]C0TICKET\x04", "TICKET"),
        ("]d2TICKET", "TICKET"),
        ("]E0SC1:", "SC1:"),  # a prefix stands outside the identifier, so this one is data
        ("SC1:SC1:TICKET##", "SC1:TICKET#"),  # each once
        ("]Q1]Q1", "]Q1"),
        ("]-1TICKET", "]-1TICKET"),  # no symbology is called "-"
        ("A]Q1", "A]Q1"),
        ("TICKET", "TICKET"),
        ("A\\000026B\\000003C", "ABC"),
        (
            "\\000026A\\\\000026B\\\\",
            "A\\000026B\\",
        ),  # the second one is data, sent with its backslash doubled
        ("\\000026A\\00002B\\", "A\\00002B\\"),
        ("A\\\\B", "A\\\\B"),  # no escape: not the ECI protocol, so nothing is doubled
        ("A\\\\000026B", "A\\\\000026B"),
    ],
)
def test_what_the_scanner_adds_is_taken_off(sent: str, code: str) -> None:
    assert reads(STRIPPED, sent.encode() + b"\r") == codes(code)


@pytest.mark.parametrize("sent", ["SC1:]Q2\\000026TICKET#", "\\000026", "]Q1"])
def test_nothing_is_taken_off_unless_set(sent: str) -> None:
    assert reads(Framing(), sent.encode() + b"\r") == codes(sent)


def test_a_frame_of_nothing_but_additions_is_empty() -> None:
    deframer = Deframer(STRIPPED)
    assert deframer.feed(b"SC1:#\r\r", now_ms=0) == []
    assert deframer.empty_frames == 2


def test_the_end_of_the_input_ends_a_line_but_is_no_etx() -> None:
    deframer = Deframer(Framing("lf"))
    deframer.feed(b"TICKET\r", now_ms=0)
    assert deframer.finish() == codes("TICKET")
    assert deframer.finish() == []
    assert deframer.empty_frames == 0
    between = Deframer(Framing(stx_etx=True))
    between.feed(b"\x02TICK", now_ms=0)
    assert between.finish() == [Unreadable("lost_keys")]


def test_settings_out_of_bounds_or_without_effect_are_refused_by_name() -> None:
    for length_max in (0, LENGTH_LIMIT + 1):
        with pytest.raises(ValueError, match="length_max"):
            Framing(length_max=length_max)
    for idle_ms in (0, IDLE_MS_LIMIT + 1):
        with pytest.raises(ValueError, match="idle_ms"):
            Framing(idle_ms=idle_ms)
    with pytest.raises(ValueError, match="terminator"):
        Framing("cr", stx_etx=True)
    with pytest.raises(ValueError, match="strip_suffix"):
        Framing(strip_suffix=("",))
    Framing(length_max=1, idle_ms=1)
    Framing(length_max=LENGTH_LIMIT, idle_ms=IDLE_MS_LIMIT)


def test_an_empty_text_is_no_code() -> None:
    with pytest.raises(ValueError, match="empty"):
        Code("")
