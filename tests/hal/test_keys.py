"""What scanners type, as the kernel tells it, against the layouts of xkb and a kernel that runs over."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal.evdev_reader import taken
from hal.frames import Framing, Terminator
from hal.keys import BTN_MISC, EV_KEY, EV_SYN, KEYPAD_DIGITS, SYN_DROPPED, SYN_REPORT, KeyEvent, Keys, Layout
from hal.ports import Code, Read, Unreadable
from hal.xkb import XkbKeyboard
from tests.hal.typed import LAYOUTS, MODIFIERS, KernelBuffer, Recording, keyboard, number, typed, words_for

LOST: list[Read] = [Unreadable("lost_keys")]
NOT_TEXT: list[Read] = [Unreadable("not_text")]
TICKET = "t i c k e t enter"
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"  # of base45 (RFC 9285)
LONG = 1_000_000  # when everything is silent


def codes(*texts: str) -> list[Read]:
    return [Code(text) for text in texts]


def reads(words: str, layout: str | Layout = "us", framing: Framing | None = None) -> list[Read]:
    """What a scanner's words give, and the silence after them."""
    with keyboard(layout) as translator:
        keys = Keys(framing or Framing(), translator)
        return keys.feed(typed(words)) + keys.idle(LONG)


# --- layouts -------------------------------------------------------------------------------------------

# As scanners type that are set to the country, on the keys of Windows' layout.
TYPED = [
    ("us", "shift+y z minus shift+minus slash shift+semicolon shift+2 shift+equal semicolon", "Yz-_/:@+;"),
    ("us", "ctrl+rightbrace 0 1 shift+backslash shift+grave grave shift+6", "\x1d01|~`^"),
    ("de", "shift+z y slash shift+slash shift+7 shift+dot altgr+q rightbrace shift+comma", "Yz-_/:@+;"),
    ("de", "grave space equal space shift+equal space altgr+rightbrace altgr+minus altgr+102nd", "^'`~\\|"),
    ("de", "semicolon equal e shift+grave minus altgr+e backslash", "öé°ß€#"),
    ("de", "altgr+7 altgr+8 altgr+9 altgr+0 102nd shift+102nd", "{[]}<>"),
    (
        "fr",
        "q shift+q w semicolon shift+1 shift+0 6 8 shift+dot dot altgr+0 comma",
        "aAwm10-_/:@;".replace("w", "z"),
    ),
    ("fr", "shift+comma shift+m leftbrace e leftbrace space altgr+3 altgr+8 shift+apostrophe", ".?ê^#\\%"),
    ("gb", "shift+2 shift+apostrophe backslash shift+backslash shift+3 102nd shift+102nd", '"@#~£\\|'),
    ("br", "shift+2 slash shift+slash ro shift+ro minus shift+minus kpcomma", "@;:/?-_."),
    ("br", "apostrophe space shift+apostrophe space leftbrace space apostrophe a semicolon", "~^'ãç"),
    ("es", "altgr+2 slash shift+slash shift+7 shift+dot rightbrace shift+comma semicolon", "@-_/:+;ñ"),
    ("es", "apostrophe e leftbrace space shift+minus minus altgr+1", "é`?'|"),
    (Layout("es", "deadtilde"), "x altgr+4 space leftbrace space x", "x~`x"),  # as on Windows
    ("fr", "x altgr+2 space altgr+7 space x", "x~ ` x"),  # no variant of fr swallows them
    ("ch", "shift+z y slash shift+slash shift+7 shift+dot altgr+2 shift+1 shift+comma", "Yz-_/:@+;"),
    ("ch", "equal space altgr+equal space altgr+3 semicolon shift+semicolon", "^~#öé"),
    (Layout("ch", "fr"), "semicolon shift+semicolon leftbrace altgr+g", "éöèŋ"),
    (Layout("us", "intl"), "apostrophe e apostrophe space shift+6 space shift+apostrophe space", "é'^\""),
]


@pytest.mark.parametrize(("layout", "words", "text"), TYPED)
def test_a_code_arrives_as_the_layout_types_it(layout: str | Layout, words: str, text: str) -> None:
    assert reads(f"{words} enter", layout) == codes(text)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.variant}")
def test_every_character_of_ascii_can_be_typed_on_every_layout(layout: Layout) -> None:
    text = "".join(map(chr, range(0x20, 0x7F)))
    assert reads(words_for(text, layout) + " enter", layout) == codes(text)


SIGNED_CODE = "MPF S8ILA:Z$%*+-./:  %: :::6%J  0/:$ +"  # blanks at both ends of groups, colons beside colons


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.variant}")
def test_the_blanks_and_colons_of_a_signed_code_arrive_on_every_layout(layout: Layout) -> None:
    for text in (SIGNED_CODE, f" {SIGNED_CODE} ", "".join(reversed(SIGNED_CODE)), CHARACTERS):
        assert reads(words_for(text, layout) + " enter", layout) == codes(text)


BASE45 = st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=40)


@given(BASE45, BASE45, st.sampled_from(LAYOUTS))
def test_any_signed_code_arrives_as_it_was_typed(payload: str, signature: str, layout: Layout) -> None:
    text = f"{payload}:::{signature}"
    assert reads(words_for(text, layout) + " enter", layout) == codes(text)


@pytest.mark.parametrize(
    ("layout", "variant", "key"),
    [("", "", "layout"), ("us,de", "", "layout"), ("us(intl)", "", "layout"), ("us", "intl,", "variant")],
)
def test_a_layout_is_one_name_and_perhaps_a_variant(layout: str, variant: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        Layout(layout, variant)


def test_the_keypad_types_digits_whatever_numlock_says() -> None:
    digits = "kp0 kp1 kp2 kp3 kp4 kp5 kp6 kp7 kp8 kp9"
    for words in (digits, f"numlock {digits}", f"numlock numlock {digits}", f"_numlock {digits} ^numlock"):
        assert reads(f"{words} kpenter") == codes("0123456789")
    assert reads("kpminus kpplus kpasterisk kpslash kpdot kpenter") == codes("-+*/.")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("capslock a shift+b capslock c shift+d", "AbcD"),
        ("capslock 1 slash capslock", "1/"),
        ("_capslock a ^capslock b capslock c", "ABc"),
    ],
)
def test_caps_lock_holds_until_it_is_pressed_again(words: str, text: str) -> None:
    assert reads(f"{words} enter") == codes(text)


def test_caps_lock_can_be_reckoned_with_from_the_start() -> None:
    upside_down = Layout("de", caps_lock=True)
    assert reads("a shift+z 1 minus enter", upside_down) == codes("Ay1ẞ")
    assert reads("lost enter a shift+b enter", upside_down) == [*LOST, Code("Ab")]


TAPPED = "capslock 300ms capslock g p enter capslock 300ms capslock 1 h enter capslock"


def test_after_a_loss_and_a_silence_caps_lock_is_as_set_whichever_presses_were_lost() -> None:
    """A scanner that presses caps lock before and after each code; some presses were lost."""
    assert reads(f"capslock a b lost c enter {TAPPED}") == [*LOST, Code("GP"), Code("1H")]
    for held, words in (((), "b c enter"), ((number("capslock"),), "^capslock b c enter")):
        for caps_lock, texts in ((False, ("GP", "1H")), (True, ("gp", "1h"))):
            with keyboard(Layout(caps_lock=caps_lock)) as translator:
                keys = Keys(Framing(), translator)
                keys.resync(held, 1000)
                assert keys.feed(typed(f"{words} {TAPPED}")) == [*LOST, *codes(*texts)]


@pytest.mark.parametrize(
    "words", ["a lost b", "capslock a lost b", "capslock a lost b capslock", "lost capslock"]
)
def test_a_code_for_which_caps_lock_was_pressed_is_lost_while_nobody_knows_how_it_is(words: str) -> None:
    tapped = "capslock 1 g capslock enter"
    assert reads(f"{words} enter {tapped} {tapped} 300ms {tapped}") == [*LOST * 3, Code("1G")]
    assert reads(f"{words} enter {tapped} 300ms 1 g enter") == [*LOST * 2, Code("1g")]
    assert reads("a lost b enter 1 g enter") == [*LOST, Code("1g")]


def test_a_lock_that_is_held_at_the_silence_after_a_loss_is_not_pressed_once_more() -> None:
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        keys.resync([number("capslock"), number("numlock"), number("shift")], 1000)
        assert keys.feed(typed("300ms ^capslock a ^shift b _numlock kp1 enter")) == [*LOST, Code("Ab1")]


def test_shift_may_be_held_over_several_keys_and_either_shift_counts() -> None:
    assert reads("_shift a b ^shift c _rightshift d ^rightshift enter") == codes("ABcD")
    assert reads("_shift a _rightshift b ^shift c ^rightshift d enter") == codes("ABCd")


def test_keys_that_overlap_come_in_the_order_they_were_pressed() -> None:
    assert reads("_a _b ^a _c ^b ^c _enter ^enter") == codes("abc")


def test_a_key_that_repeats_types_once() -> None:
    assert reads("a~ a~ b shift+c~ enter~") == codes("aabC")
    assert reads("shift~ a shift+b~ enter") == codes("aB")


def test_a_key_whose_release_is_not_in_the_recording_types_again() -> None:
    assert reads("_a _a _shift _shift b ^shift c enter") == codes("aaBc")
    assert reads("^shift ^a a enter") == codes("a")


# --- characters by number ------------------------------------------------------------------------------


def numbered(digits: str) -> str:
    return "_alt " + " ".join(f"kp{digit}" for digit in digits) + " ^alt"


@pytest.mark.parametrize(
    ("digits", "character"),
    [("65", "A"), ("065", "A"), ("0065", "A"), ("126", "~"), ("029", "\x1d"), ("0233", "é"), ("0128", "€")],
)
def test_a_scanner_may_type_characters_by_their_number(digits: str, character: str) -> None:
    assert reads(f"{numbered(digits)} {numbered('0049')} b enter", "de") == codes(f"{character}1b")


@pytest.mark.parametrize("digits", ["0", "000", "130", "255", "0129", "0256", "00650", "99999999"])
def test_a_number_that_is_no_character_everywhere_makes_the_code_no_text(digits: str) -> None:
    assert reads(f"a {numbered(digits)} b enter") == NOT_TEXT


def test_a_terminator_may_be_typed_by_its_number() -> None:
    assert reads(f"a {numbered('013')} b {numbered('009')}") == codes("a", "b")


def test_alt_alone_types_nothing_and_with_a_letter_no_text() -> None:
    assert reads("a alt b _alt ^alt enter") == codes("ab")
    assert reads("a alt+b enter") == NOT_TEXT


def test_silence_within_a_number_cuts_what_came_before_it() -> None:
    assert reads("x _alt kp6 300ms kp5 ^alt b enter c enter") == [*LOST, *NOT_TEXT, Code("c")]
    assert reads("_alt kp6 300ms ^alt", framing=Framing("none")) == NOT_TEXT * 2
    assert reads("_alt 300ms kp6 kp5 ^alt enter") == codes("A")


# --- commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("us", "ctrl+1"),
        ("us", "rightctrl+1"),
        ("us", "ctrl+kp1"),
        ("de", "ctrl+rightbrace"),  # Ctrl and + there, and not GS
        ("de", "ctrl+altgr+q"),  # @ on Windows, where both together are AltGr; NUL for xkb
        ("de", "altgr+ctrl+9"),
        ("de", "ctrl+equal e"),  # a dead key
        ("de", "alt+equal e"),
    ],
)
def test_ctrl_with_a_key_that_is_no_control_character_makes_the_code_no_text(layout: str, words: str) -> None:
    assert reads(f"a {words} b enter c enter", layout) == [*NOT_TEXT, Code("c")]


def test_ctrl_that_is_held_when_the_device_is_asked_counts() -> None:
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        keys.resync([number("ctrl")], 1000)
        assert keys.feed(typed("300ms 1 ^ctrl enter 1 enter")) == [*LOST, *NOT_TEXT, Code("1")]


def test_ctrl_types_control_characters_and_ends() -> None:
    assert reads("0 ctrl+rightbrace 1 rightctrl+rightbrace shift+a enter") == codes("0\x1d1\x1dA")
    assert reads("a ctrl+enter b ctrl+tab c ctrl+m d ctrl+j") == codes("a", "b", "c", "d")
    assert reads("a ctrl b ctrl+shift c enter") == codes("abc")
    assert reads("a ctrl+altgr+enter b enter") == [*NOT_TEXT, Code("b")]


# --- ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminator", "words", "got"),
    [
        ("any", "a enter b kpenter c tab d ctrl+j", codes("a", "b", "c", "d")),
        ("any", "a enter enter b enter tab enter", codes("a", "b")),
        ("cr", "a tab b enter c kpenter", codes("a\tb", "c")),
        ("cr", "enter enter a enter enter", codes("a")),
        ("tab", "a tab enter b tab", codes("a", "b")),
        ("crlf", "a enter ctrl+j b enter ctrl+j", codes("a", "b")),
        ("none", "a b 300ms c", codes("ab", "c")),
        ("none", "300ms", []),
        ("any", "a b 300ms c enter", [*LOST, Code("c")]),
        ("any", "a b", LOST),
        ("cr", "a tab", LOST),
    ],
)
def test_a_code_ends_where_the_setting_says(terminator: Terminator, words: str, got: list[Read]) -> None:
    assert reads(words, framing=Framing(terminator)) == got


def test_a_second_enter_is_counted_and_not_delivered() -> None:
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        assert keys.feed(typed("a enter enter b enter enter")) == codes("a", "b")
        assert keys.empty_frames == 2


def test_prefix_and_suffix_are_taken_off_as_on_a_serial_line() -> None:
    framing = Framing("cr", strip_prefix=("SC1",), strip_suffix=("#",), strip_aim=True)
    assert reads("shift+s shift+c 1 rightbrace shift+q 1 a 1 shift+3 enter", framing=framing) == codes("a1")


def test_a_code_between_stx_and_etx_is_taken_from_the_noise() -> None:
    framing = Framing(stx_etx=True)
    assert reads("n o ctrl+b a enter b ctrl+c n o", framing=framing) == codes("a\rb")


@pytest.mark.parametrize("terminator", ["cr", "none"])
def test_a_code_beyond_its_length_is_told_once_and_the_next_is_fine(terminator: Terminator) -> None:
    framing = Framing(terminator, length_max=3)
    assert reads("a b c enter 300ms", framing=Framing("cr", length_max=3)) == codes("abc")
    assert reads("a b c d enter 300ms b", framing=framing)[0] == Unreadable("too_long")
    with keyboard() as translator:
        keys = Keys(framing, translator)
        assert keys.feed(typed("a " * 10_000 + "enter")) in ([Unreadable("too_long")], [])
        assert keys.feed(typed("300ms b enter", Recording(LONG)))[-1:] in (
            codes("b"),
            [Unreadable("too_long")],
        )


@pytest.mark.parametrize("key", ["f1", "up", "home", "insert", "unknown", "leftmeta+f5", "equal x", "equal"])
def test_a_key_that_types_nothing_makes_the_code_no_text(key: str) -> None:
    assert reads(f"a {key} enter b enter", "de") == [*NOT_TEXT, Code("b")]


def test_buttons_of_a_mouse_and_other_events_are_no_keys() -> None:
    recording = Recording()
    typed("a", recording)
    recording.key(BTN_MISC + 0x10, 1)
    recording.add(2, 0, 5)
    recording.add(0x11, 1, 1)
    recording.add(EV_SYN, 1, 0)
    typed("b enter", recording)
    with keyboard() as translator:
        assert Keys(Framing(), translator).feed(recording.events) == codes("ab")


# --- silence -------------------------------------------------------------------------------------------


def test_silence_is_seen_in_the_times_of_events_though_nobody_looked_meanwhile() -> None:
    assert reads("h a l f 1000ms " + TICKET) == [*LOST, Code("ticket")]
    assert reads("h a l f 1000ms t i c k", framing=Framing("none")) == codes("half", "tick")


def test_a_pause_below_the_limit_does_not_cut_and_one_at_it_does() -> None:
    assert reads("a 197ms b enter") == codes("ab")
    assert reads("_a 197ms ^a 197ms b enter") == codes("ab")
    assert reads("a 200ms b enter") == [*LOST, Code("b")]


def test_a_key_that_is_held_down_is_silence() -> None:
    recording = Recording()
    typed("a _b", recording)
    for _ in range(20):
        recording.pause(33)
        recording.key(number("b"), 2)
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        assert keys.feed(recording.events) == LOST
        assert keys.wake_at() is None


@pytest.mark.parametrize("terminator", ["cr", "none"])
def test_a_dead_key_that_waits_for_its_letter_ends_with_the_code(terminator: Terminator) -> None:
    cut = {"cr": LOST, "none": NOT_TEXT}[terminator]
    assert reads("a equal 300ms e", "de", Framing("none")) == [*NOT_TEXT, Code("e")]
    assert reads("equal 300ms e enter", "de", Framing(terminator))[:1] == cut
    assert reads("a equal", "de", Framing(terminator)) == cut


def test_a_wait_is_asked_for_while_something_may_be_cut_and_only_then() -> None:
    with keyboard("de") as translator:
        keys = Keys(Framing(idle_ms=50), translator)
        assert keys.wake_at() is None
        keys.feed(typed("a", Recording(1000, gap_ms=0)))
        assert keys.wake_at() == 1050
        assert keys.idle(1049) == []
        assert keys.idle(1050) == LOST
        assert keys.wake_at() is None
        keys.feed(typed("equal", Recording(2000, gap_ms=0)))
        assert keys.wake_at() == 2050
        assert keys.idle(2050) == LOST
        assert keys.idle(LONG) == []


# --- losses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "got"),
    [
        ("a b lost c enter d enter", [*LOST, Code("d")]),
        ("lost a b enter c enter", [*LOST, Code("c")]),
        ("lost enter a enter", [*LOST, Code("a")]),
        ("lost 300ms a enter", [*LOST, Code("a")]),
        ("a lost b lost c enter d enter", [*LOST, Code("d")]),
        ("a enter lost b enter c enter", [Code("a"), *LOST, Code("c")]),
        ("a lost", LOST),
        ("_shift a lost b enter c enter", [*LOST, Code("c")]),
        ("capslock a lost b enter c enter", [*LOST, Code("c")]),
        ("_alt kp6 lost kp5 ^alt a enter b enter", [*LOST, Code("b")]),
        ("equal lost e enter e enter", [*LOST, Code("e")]),
        ("lost a b c d e f g h i j k l m n o p q 300ms r enter", [*LOST, Code("r")]),
    ],
)
def test_after_a_loss_nothing_is_delivered_up_to_the_next_end(words: str, got: list[Read]) -> None:
    assert reads(words, "de") == got


def test_what_is_left_of_the_packet_of_a_loss_is_passed_over() -> None:
    """The newest event stays in the kernel's queue behind SYN_DROPPED: here the Enter, without its code."""
    events = [KeyEvent(EV_SYN, SYN_DROPPED, 0, 1000), KeyEvent(EV_KEY, number("enter"), 1, 1000)]
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        assert keys.feed([*events, KeyEvent(EV_SYN, SYN_REPORT, 0, 1000)]) == []
        assert keys.feed(typed("t a i l enter w h o l e enter")) == [*LOST, Code("whole")]


def test_a_packet_of_a_loss_that_ends_after_a_silence_is_a_loss_of_its_own() -> None:
    recording = Recording()
    recording.add(EV_SYN, SYN_DROPPED, 0)
    recording.pause(300)
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        assert keys.feed(typed("1 2 3 enter 4 enter", recording)) == [*LOST, *LOST, Code("4")]


def test_after_a_loss_the_device_says_which_keys_are_held() -> None:
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        keys.feed(typed("a lost"))
        keys.resync([number("leftshift")], 1010)
        assert keys.feed(typed("enter a ^shift b enter", Recording(1010))) == [*LOST, Code("Ab")]
        keys.feed(typed("_shift _alt lost", Recording(1200)))
        keys.resync([], 1210)
        assert keys.feed(typed("enter a kp1 enter", Recording(1210))) == [*LOST, Code("a1")]
        keys.resync([number("leftalt")], 1300)
        words = "enter kp6 kp5 ^alt enter _alt kp6 kp5 ^alt enter"  # of the first number some may be missing
        assert keys.feed(typed(words, Recording(1300))) == [*LOST, *NOT_TEXT, Code("A")]


def test_asking_the_device_is_a_loss_by_itself() -> None:
    """Asked in the middle of a code, the kernel takes the rest of that code away."""
    with keyboard() as translator:
        keys = Keys(Framing(), translator)
        keys.feed(typed("a b"))
        keys.resync([], 1020)
        assert keys.feed(typed("c enter d enter", Recording(1020))) == [*LOST, Code("d")]


def test_a_key_from_before_the_device_was_asked_does_not_keep_the_loss_from_ending() -> None:
    """The kernel stamps events when they happen; the asking is stamped later, by this process."""
    with keyboard() as translator:
        keys = Keys(Framing(idle_ms=50), translator)
        keys.resync([number("enter")], 1000)
        assert keys.feed(typed("^enter", Recording(999, gap_ms=0))) == []
        assert keys.wake_at() == 1050
        assert keys.idle(1050) == LOST
        assert keys.feed(typed(TICKET, Recording(2000))) == codes("ticket")


TEXTS = st.text(alphabet="0123456789ABCabcyz-_/", min_size=1, max_size=30)


@given(texts=st.lists(TEXTS, min_size=1, max_size=3), data=st.data())
def test_wherever_a_loss_falls_no_code_is_delivered_that_was_not_typed_whole(
    shared: dict[str, XkbKeyboard], texts: list[str], data: st.DataObject
) -> None:
    """A piece of the recording is cut out, and SYN_DROPPED stands in its place as the kernel puts it."""
    layout = data.draw(st.sampled_from(["us", "de", "fr"]))
    recording = Recording()
    for text in texts:
        typed(words_for(text, Layout(layout)) + " enter", recording)
    events = recording.events
    begin = data.draw(st.integers(0, len(events) - 1))
    end = data.draw(st.integers(begin + 1, len(events)))
    at_ms = events[end - 1].time_ms
    rest = [*events[:begin], KeyEvent(EV_SYN, SYN_DROPPED, 0, at_ms), *events[end - 1 :]]
    translator = shared[layout]
    translator.reset()
    keys = Keys(Framing(), translator)
    got = [read.text for read in keys.feed(rest) + keys.idle(LONG) if isinstance(read, Code)]
    assert is_part(got, texts)
    assert keys.feed(typed(TICKET, Recording(2 * LONG))) == codes("ticket")


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    pauses=st.lists(st.sampled_from([0, 0, 300]), min_size=6, max_size=6),
    looks=st.lists(st.integers(1, 200), min_size=1, max_size=20),
    layout=st.sampled_from(["us", "de", "fr"]),
)
def test_however_long_the_process_is_held_no_shortened_code_is_delivered(
    shared: dict[str, XkbKeyboard], texts: list[str], pauses: list[int], looks: list[int], layout: str
) -> None:
    """A model of the kernel's queue is read after so many events each time, and runs over in between."""
    recording = Recording()
    for text, pause in zip(texts, pauses, strict=False):
        typed(f"{words_for(text, Layout(layout))} enter {pause}ms", recording)
    kernel, translator = KernelBuffer(), shared[layout]
    translator.reset()
    keys = Keys(Framing(), translator)
    got: list[Read] = []
    look_after = cycle(looks)
    left = next(look_after)
    for event in recording.events:
        kernel.add(event)
        left -= 1
        if not left:
            got += taken(kernel, keys, partial(int, event.time_ms))
            left = next(look_after)
    got += taken(kernel, keys, partial(int, recording.now_ms)) + keys.idle(LONG)
    delivered = [read.text for read in got if isinstance(read, Code)]
    assert is_part(delivered, texts)
    assert kernel.dropped or delivered == texts
    assert not kernel.dropped or Unreadable("lost_keys") in got
    for event in typed(TICKET, Recording(2 * LONG)):
        kernel.add(event)
    assert taken(kernel, keys) == codes("ticket")


def is_part(got: list[str], of: list[str]) -> bool:
    """Whether these are some of those, in their order."""
    left = iter(of)
    return all(text in left for text in got)


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, XkbKeyboard]]:
    """Translators that examples share, since making one takes longer than using it; each resets its own."""
    opened = {layout: keyboard(layout) for layout in ("us", "de", "fr")}
    yield opened
    for translator in opened.values():
        translator.close()


KEYS = st.sampled_from(
    [number(name) for name in ("a", "1", "slash", "capslock", "numlock", "enter", "tab", "equal", "f1")]
    + [number(name) for name in MODIFIERS]
    + list(KEYPAD_DIGITS)
)
EVENTS = st.lists(
    st.tuples(KEYS, st.sampled_from([0, 1, 2, 1, 0, 3]), st.sampled_from([0, 1, 50, 300])), max_size=60
)


@given(EVENTS, st.sampled_from(["any", "cr", "none"]))
def test_after_any_keys_and_silence_the_next_code_is_whole_once_the_state_is_known(
    shared: dict[str, XkbKeyboard], moves: list[tuple[int, int, int]], terminator: Terminator
) -> None:
    translator = shared["de"]
    translator.reset()
    keys = Keys(Framing(terminator), translator)
    recording = Recording()
    for key, value, pause_ms in moves:
        if value == 3:
            recording.add(EV_SYN, SYN_DROPPED, 0)
            recording.add(EV_SYN, SYN_REPORT, 0)
        else:
            recording.key(key, value)
        recording.pause(pause_ms)
    keys.feed(recording.events)
    keys.idle(LONG)
    assert keys.wake_at() is None
    keys.resync([], LONG)
    keys.idle(2 * LONG)
    assert keys.feed(typed(TICKET, Recording(2 * LONG))) + keys.idle(3 * LONG) == (
        codes("ticket") if terminator != "none" else codes("ticket\r")
    )
