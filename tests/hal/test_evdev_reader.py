"""Against pipes that carry the kernel's own bytes, and against trees as /sys shows them.

Real devices are in the tests of whole machines (`tests/hil`): grab, unplug, ioctls.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hal.evdev_reader import (
    EVENT,
    EvdevReader,
    KeyDevice,
    Source,
    found,
    grabbed,
    mend,
    received,
    recorded,
)
from hal.frames import Framing
from hal.input_devices import DIGIT_KEYS, KEY_ENTER, LETTER_KEYS, bits_of, candidates
from hal.keys import EV_KEY, EV_SYN, SYN_DROPPED, SYN_REPORT, KeyEvent, Layout
from hal.ports import Code, Unreadable
from hal.reopening import Fault
from hal.watch import Watch, monotonic_ms
from tests.hal.conftest import PATIENCE_S, Listener
from tests.hal.typed import Recording, keyboard, number, typed, words_for
from tests.signed_codes import Signer, genuine

RETRY_MS = 20
IDLE_MS = 60
AHEAD_MS = 3_600_000  # a time that no test lives to see
DEVICE = KeyDevice("/dev/input/by-id/usb-scanner-event-kbd")
LOST = Unreadable("lost_keys")


class Opened:
    """One opening of the scanner: a pipe in the place of the device's descriptor."""

    def __init__(self, held: list[int]) -> None:
        self.told, self.tell = os.pipe()
        self.keys_down = held
        self.closed = threading.Event()

    def fileno(self) -> int:
        return self.told

    def read(self) -> list[KeyEvent]:
        return received(self.told)

    def held(self) -> list[int]:
        return self.keys_down

    def close(self) -> None:
        os.close(self.told)
        self.closed.set()


class Scanner:
    """A keyboard that can be plugged and typed on. `trouble` is what opening it gives instead."""

    def __init__(self) -> None:
        self.opened: Opened | None = None
        self.there = False
        self.trouble: Exception | None = None
        self.held: list[int] = []
        self._ends: list[int] = []

    def open(self, device: KeyDevice) -> Source:
        assert device == DEVICE
        if self.trouble:
            raise self.trouble
        if not self.there:
            raise OSError(errno.ENODEV, "unplugged")
        self.opened = Opened(list(self.held))
        self._ends.append(self.opened.tell)
        return self.opened

    def send(self, events: list[KeyEvent]) -> None:
        assert self.opened
        data = b"".join(
            EVENT.pack(time_ms // 1000, time_ms % 1000 * 1000, kind, code, value)
            for kind, code, value, time_ms in events
        )
        assert os.write(self.opened.tell, data) == len(data)

    def type(self, words: str, at_ms: int | None = None) -> None:
        """All at once, and now or at `at_ms`: however slow this machine is, there is no silence in it."""
        self.send(typed(words, Recording(monotonic_ms() if at_ms is None else at_ms, gap_ms=0)))

    def unplug(self) -> None:
        self.there = False
        while self._ends:
            os.close(self._ends.pop())


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    scanner.there = True
    yield scanner
    scanner.unplug()


def reader_of(scanner: Scanner, framing: Framing | None = None, layout: str = "us") -> EvdevReader:
    framing = framing or Framing(idle_ms=IDLE_MS)
    return EvdevReader(DEVICE, keyboard(layout), framing, RETRY_MS, open_source=scanner.open)


def test_a_code_arrives_as_it_was_typed(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner, layout="de") as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() is None
        scanner.type("shift+t y slash 1 altgr+q enter")
        assert listener.read() == Code("Tz-1@")
        scanner.type("a enter enter b kpenter")
        assert [listener.read(), listener.read()] == [Code("a"), Code("b")]
    assert listener.nothing_more()


@pytest.mark.parametrize("layout", ["us", "de"])
def test_whole_signed_codes_come_through_unharmed_and_prove_genuine(
    scanner: Scanner, listener: Listener, layout: str
) -> None:
    signer = Signer()
    with reader_of(scanner, layout=layout) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        for code in signer.awkward(10):
            scanner.type(f"{words_for(code, Layout(layout))} enter")
            read = listener.read()
            assert read == Code(code)
            assert genuine(signer, read.text)
    assert listener.nothing_more()


def test_codes_arrive_once_and_in_order(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        texts = [f"{number:03}" for number in range(200)]
        for text in texts:
            scanner.type(" ".join(text) + " enter")
        assert [listener.read() for _ in texts] == [Code(text) for text in texts]
    assert listener.nothing_more()


def test_a_code_without_an_end_is_cut_by_silence(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.type("p i e c e")
        assert listener.read() == LOST
        scanner.type("w h o l e enter")
        assert listener.read() == Code("whole")


def test_without_a_terminator_silence_ends_a_code(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner, Framing("none", idle_ms=IDLE_MS)) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.type("a b")
        assert listener.read() == Code("ab")


def test_a_scanner_that_is_plugged_in_later_works_then(scanner: Scanner, listener: Listener) -> None:
    scanner.there = False
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() == f"{DEVICE} is not there: check the cable; retried every 0.02 s"
        scanner.there = True
        listener.working()
        scanner.type("a enter")
        assert listener.read() == Code("a")


def test_a_scanner_that_vanishes_within_a_code_comes_back_without_the_piece(
    scanner: Scanner, listener: Listener
) -> None:
    with reader_of(scanner, Framing("none", idle_ms=IDLE_MS)) as reader:
        reader.start(listener.deliver, listener.state)
        for text in ("0", "1", "2"):
            listener.working()
            scanner.type(text)
            assert listener.read() == Code(text)
            opened = scanner.opened
            assert opened
            scanner.type("p i e c _shift e", monotonic_ms() + AHEAD_MS)  # so no silence ends it before
            scanner.unplug()
            assert "check the cable" in listener.fault(str(DEVICE))
            assert opened.closed.wait(PATIENCE_S)
            scanner.there = True
        listener.working()
        scanner.type("w h o l e")
        assert listener.read() == Code("whole")
    assert listener.nothing_more()


def test_what_is_typed_before_the_first_silence_is_never_delivered(
    scanner: Scanner, listener: Listener
) -> None:
    """The tail of a code, and a scanner that empties its memory when it is plugged in."""

    def typing(device: KeyDevice) -> Source:
        source = scanner.open(device)
        scanner.type("t a i l enter o l d enter h a l f")
        return source

    reader = EvdevReader(DEVICE, keyboard(), Framing(idle_ms=IDLE_MS), RETRY_MS, typing)
    with reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.type("n e w enter")
        assert listener.read() == Code("new")
    assert listener.nothing_more()


def test_keys_that_are_held_when_the_scanner_is_opened_count(scanner: Scanner, listener: Listener) -> None:
    scanner.held = [number("shift")]
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.type("a ^shift b enter")
        assert listener.read() == Code("Ab")


def test_a_keyboard_that_never_falls_silent_is_a_fault(scanner: Scanner, listener: Listener) -> None:
    repeat = KeyEvent(EV_KEY, number("a"), 2, monotonic_ms())

    def held_down(device: KeyDevice) -> Source:
        source = scanner.open(device)
        assert scanner.opened
        scanner.opened.read = lambda: [repeat]  # type: ignore[method-assign]  # never empty
        os.write(scanner.opened.tell, b"\0")
        return source

    reader = EvdevReader(DEVICE, keyboard(), Framing(idle_ms=IDLE_MS), RETRY_MS, held_down, settle_ms_max=50)
    with reader:
        reader.start(listener.deliver, listener.state)
        assert "types without a pause: is one of its keys held down?" in (listener.told() or "")


def test_after_a_loss_the_device_is_asked_and_the_rest_of_the_code_discarded(
    scanner: Scanner, listener: Listener
) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        assert scanner.opened
        scanner.opened.keys_down = [number("shift")]
        scanner.type("a b lost")
        assert listener.read() == LOST
        scanner.type("a ^shift b enter")
        assert listener.read() == Code("Ab")

        def held() -> list[int]:  # asked after the loss: the rest comes then, and no silence before it
            scanner.type("c enter d enter")
            return []

        scanner.opened.held = held  # type: ignore[method-assign]  # this one types
        scanner.type("a lost b")
        assert [listener.read(), listener.read()] == [LOST, Code("d")]
    assert listener.nothing_more()


@pytest.mark.parametrize("tail", ["enter", "b enter", f"{IDLE_MS}ms", f"b {IDLE_MS}ms"])
def test_whole_codes_that_waited_behind_a_loss_are_delivered(
    scanner: Scanner, listener: Listener, tail: str
) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        late = Recording(monotonic_ms() + AHEAD_MS, gap_ms=0)  # so no silence ends the code that has begun
        scanner.send(typed(f"a lost {tail} 1 2 enter 3", late))
        assert [listener.read(), listener.read()] == [LOST, Code("12")]
        scanner.type("4 enter", late.now_ms)
        assert listener.read() == Code("34"), "the code that had begun was not asked away"
    assert listener.nothing_more()


def test_the_kernel_may_leave_the_end_of_a_code_behind_a_loss(scanner: Scanner, listener: Listener) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        now_ms = monotonic_ms()
        scanner.send(
            [
                KeyEvent(EV_SYN, SYN_DROPPED, 0, now_ms),
                KeyEvent(EV_KEY, KEY_ENTER, 1, now_ms),
                KeyEvent(EV_SYN, SYN_REPORT, 0, now_ms),
                *typed("7 enter", Recording(now_ms, gap_ms=0)),
            ]
        )
        assert listener.read() == LOST
        scanner.type("a enter")
        assert listener.read() == Code("a")


def test_the_halves_of_two_codes_that_waited_together_are_not_glued(
    scanner: Scanner, listener: Listener
) -> None:
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        listener.working()
        scanner.send(typed(f"h a l f {IDLE_MS}ms w h o l e enter", Recording(monotonic_ms(), gap_ms=0)))
        assert [listener.read(), listener.read()] == [LOST, Code("whole")]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (OSError(errno.EBUSY, ""), "is in use: end the other program that has grabbed it"),
        (OSError(errno.EACCES, ""), "may not be opened: add the gate's user to the group input"),
        (OSError(errno.ENOTTY, ""), "is no input device: take one below /dev/input/by-id"),
        (OSError(errno.ENOMEM, ""), "has failed (Cannot allocate memory): check the cable"),
        (Fault('("Mouse") is no scanner'), '("Mouse") is no scanner; retried'),
    ],
)
def test_what_keeps_a_scanner_from_being_opened_is_said_once_and_tried_again(
    scanner: Scanner, listener: Listener, trouble: Exception, said: str
) -> None:
    scanner.trouble = trouble
    with reader_of(scanner) as reader:
        reader.start(listener.deliver, listener.state)
        assert said in (listener.told() or "")
        scanner.trouble = None
        assert listener.told() is None


def test_closing_gives_the_device_back_and_may_be_repeated(scanner: Scanner, listener: Listener) -> None:
    working, absent, idle = reader_of(scanner), reader_of(Scanner()), reader_of(scanner)
    working.start(listener.deliver, listener.state)
    absent.start(listener.deliver, lambda _: None)
    listener.working()
    assert scanner.opened
    for reader in (working, absent, idle):
        reader.close()
        reader.close()
    assert scanner.opened.closed.is_set()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reader ")]


def test_a_reader_may_be_closed_by_what_it_delivers_to(scanner: Scanner, listener: Listener) -> None:
    closed = threading.Event()
    reader = reader_of(scanner)

    def deliver(read: object) -> None:
        reader.close()
        closed.set()

    reader.start(deliver, listener.state)
    listener.working()
    scanner.type("a enter b enter")
    assert closed.wait(PATIENCE_S)
    reader.close()


# The thread ends with the mistake's own traceback, on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_what_a_reader_delivers_to_is_said_and_not_taken_for_a_lost_device(
    scanner: Scanner, listener: Listener
) -> None:
    def deliver(read: object) -> None:
        raise OSError(errno.ENOSPC, "the journal is full")

    with reader_of(scanner) as reader:
        reader.start(deliver, listener.state)
        listener.working()
        scanner.type("a enter")
        listener.fault("its reader has ended (OSError")


def test_what_a_scanner_types_can_be_recorded(scanner: Scanner) -> None:
    with Watch() as watch:
        source = scanner.open(DEVICE)
        assert recorded(source, watch, first_ms=1, quiet_ms=1) == []
        expected = typed("shift+a lost b enter", Recording(1000, gap_ms=0))
        scanner.send(expected)
        assert recorded(source, watch, first_ms=int(PATIENCE_S * 1000), quiet_ms=20) == expected
        scanner.unplug()
        with pytest.raises(Fault, match="check the cable"):
            recorded(source, watch, first_ms=20, quiet_ms=20)
        watch.stop()
        assert recorded(source, watch, first_ms=20, quiet_ms=20) == []
        source.close()


def test_a_recording_without_an_end_is_a_fault(scanner: Scanner) -> None:
    with Watch() as watch:
        opened = Opened([])
        many = typed("a " * 2000)
        opened.read = lambda: many  # type: ignore[method-assign]  # never empty, as a key that is held down
        os.write(opened.tell, b"\0")
        with pytest.raises(Fault, match="types without a pause"):
            recorded(opened, watch, first_ms=20, quiet_ms=20)
        opened.close()
        os.close(opened.tell)


# --- which device --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "device"),
        ({"device": "event0"}, "device"),
        ({"device": "/dev/input/event0", "vendor": "05f9"}, "device"),
        ({"device": "/dev/input/event0", "serial": "1"}, "device"),
        ({"vendor": "05f9"}, "product"),
        ({"vendor": "5f9", "product": "2206"}, "vendor"),
        ({"serial": "1"}, "vendor"),
    ],
)
def test_a_keyboard_is_named_in_one_way_and_in_full(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        KeyDevice(**settings)


def test_a_path_that_is_no_keyboard_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for path, number_of_fault in ((plain, errno.ENOTTY), (tmp_path / "absent", errno.ENOENT)):
        with pytest.raises(OSError) as failed:  # noqa: PT011  the number is what matters
            grabbed(KeyDevice(str(path)))
        assert failed.value.errno == number_of_fault
        assert mend(failed.value) != mend(OSError(errno.EIO, ""))


def word(keys: set[int]) -> str:
    """Capabilities as the kernel prints them: words of 64 bits, the highest first."""
    bits = sum(1 << key for key in keys)
    words = []
    while bits:
        words.append(f"{bits & (1 << 64) - 1:x}")
        bits >>= 64
    return " ".join(reversed(words)) or "0"


KEYBOARD = {*DIGIT_KEYS, *LETTER_KEYS, KEY_ENTER, 183}
MOUSE = {272, 273, 274}

Plug = Callable[..., None]


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    """Adds an input device to a tree as /sys/class/input is."""

    def plug(node: str, name: str, usb: str, serial: str = "", keys: set[int] = KEYBOARD) -> None:
        vendor, product = usb.split(":")
        for part, text in {
            "id/vendor": vendor,
            "id/product": product,
            "uniq": serial,
            "name": name,
            "capabilities/key": word(keys),
        }.items():
            path = tmp_path / node / "device" / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", "utf-8")

    return plug


def test_a_keyboard_is_found_among_others_by_vendor_and_product(tmp_path: Path, plug: Plug) -> None:
    plug("event0", "Mouse", "046d:c077", keys=MOUSE)
    plug("event1", "Scanner", "05f9:2206", "A1")
    plug("event2", "Scanner Consumer Control", "05f9:2206", "A1", keys={113, 114, 115})
    plug("event3", "Keyboard", "046d:c31c")
    (tmp_path / "event4").mkdir()  # it went while it was looked at
    (tmp_path / "mouse0").mkdir()
    assert [one.node for one in candidates(tmp_path)] == ["event0", "event1", "event2", "event3"]
    assert found(KeyDevice(vendor="05f9", product="2206"), tmp_path).node == "event1"
    assert found(KeyDevice(vendor="05f9", product="2206", serial="A1"), tmp_path).node == "event1"


def test_two_of_a_kind_are_told_apart_by_serial_or_by_path(tmp_path: Path, plug: Plug) -> None:
    plug("event1", "Scanner", "05f9:2206", "A1")
    plug("event2", "Scanner", "05f9:2206", "B2")
    assert found(KeyDevice(vendor="05f9", product="2206", serial="B2"), tmp_path).node == "event2"
    with pytest.raises(Fault) as refused:
        found(KeyDevice(vendor="05f9", product="2206"), tmp_path)
    assert str(refused.value) == (
        'could be event1 05f9:2206 "Scanner" serial "A1" or event2 05f9:2206 "Scanner" serial "B2": '
        "write its serial, or device with its path below /dev/input/by-path"
    )


def test_a_mouse_of_that_number_is_no_scanner(tmp_path: Path, plug: Plug) -> None:
    plug("event0", "Mouse", "046d:c077", keys=MOUSE)
    with pytest.raises(Fault, match=r'^\("Mouse"\) is no scanner: it has no keys for letters and digits$'):
        found(KeyDevice(vendor="046d", product="c077"), tmp_path)


def test_keyboards_that_are_there_are_named_where_none_fits(tmp_path: Path, plug: Plug) -> None:
    wanted = KeyDevice(vendor="05f9", product="2206", serial="A1")
    with pytest.raises(Fault, match=r"keyboards that are there: none\)"):
        found(wanted, tmp_path)
    plug("event3", "Keyboard", "046d:c31c")
    plug("event4", "Scanner", "05f9:2206", "B2")
    with pytest.raises(Fault, match='there: event3 046d:c31c "Keyboard" serial "", event4'):
        found(wanted, tmp_path)
    assert str(wanted) == "keyboard 05f9:2206 with serial A1"


def test_the_kernels_words_are_read_from_the_right() -> None:
    assert bits_of("0") == frozenset()
    assert bits_of("1 0 8000000000000001") == {0, 63, 128}
    assert bits_of(word(KEYBOARD)) == KEYBOARD
    assert bits_of("not a bit map") == frozenset()
