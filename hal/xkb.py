"""What a key types, from libxkbcommon: the library that Linux desktops use, with the layouts of xkb-data.

A binding of the few functions needed, through ctypes, because its Python package has to be compiled. The
library and its tables come from Debian packages; where one is missing, `Missing` names it. Only the table of
dead keys (libx11-data) can be done without: then a code with one of them cannot be told, and is not text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, Self

from hal.keys import KEY_CAPSLOCK, KEY_NUMLOCK, NO_TEXT, Layout

LIBRARY = "libxkbcommon.so.0"
INSTALL = "apt-get install libxkbcommon0 xkb-data libx11-data"

# xkbcommon/xkbcommon.h, xkbcommon-compose.h, xkbcommon-keysyms.h
LOG_LEVEL_CRITICAL = 10  # what is wrong is said by us, and not on standard error
KEY_UP, KEY_DOWN = 0, 1
TEXT_FORMAT = 1
NOTHING, COMPOSING, COMPOSED, CANCELLED = 0, 1, 2, 3
MODIFIERS_EFFECTIVE, LAYOUT_EFFECTIVE = 1 << 3, 1 << 7  # what keys are read with, however it came about
NO_SYMBOL = 0
MODIFIER_SYMBOLS = range(0xFFE1, 0xFFEF)  # Shift_L to Hyper_R
ISO_MODIFIER_SYMBOLS = range(0xFE01, 0xFE20)  # ISO_Lock, the level and group shifts
OTHER_MODIFIER_SYMBOLS = (0xFF7E, 0xFF7F)  # Mode_switch, Num_Lock

KEYCODE_OFFSET = 8  # between evdev's numbers and those of X, ever since X11
LOCKS = (KEY_CAPSLOCK, KEY_NUMLOCK)
LOCALE = b"en_US.UTF-8"  # the table of dead keys that most locales share; need not be installed
TEXT_BYTES_MAX = 64  # the longest text of one key in that table has 31


class Missing(Exception):
    """The library, its tables or this layout is not there; the text says what to do."""


class Names(ctypes.Structure):
    """`struct xkb_rule_names`."""

    _fields_ = tuple((name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options"))


POINTER, NUMBER, TEXT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # the type of the result, those of the arguments
    "xkb_context_new": (POINTER, ctypes.c_int),
    "xkb_context_set_log_level": (None, POINTER, ctypes.c_int),
    "xkb_context_unref": (None, POINTER),
    "xkb_keymap_new_from_names": (POINTER, POINTER, ctypes.POINTER(Names), ctypes.c_int),
    "xkb_keymap_unref": (None, POINTER),
    "xkb_state_new": (POINTER, POINTER),
    "xkb_state_unref": (None, POINTER),
    "xkb_state_update_key": (ctypes.c_int, POINTER, NUMBER, ctypes.c_int),
    "xkb_state_serialize_mods": (NUMBER, POINTER, ctypes.c_int),
    "xkb_state_serialize_layout": (NUMBER, POINTER, ctypes.c_int),
    "xkb_state_key_get_one_sym": (NUMBER, POINTER, NUMBER),
    "xkb_state_key_get_utf8": (ctypes.c_int, POINTER, NUMBER, TEXT, ctypes.c_size_t),
    "xkb_compose_table_new_from_locale": (POINTER, POINTER, TEXT, ctypes.c_int),
    "xkb_compose_table_new_from_buffer": (
        POINTER,
        POINTER,
        TEXT,
        ctypes.c_size_t,
        TEXT,
        ctypes.c_int,
        ctypes.c_int,
    ),
    "xkb_compose_table_unref": (None, POINTER),
    "xkb_compose_state_new": (POINTER, POINTER, ctypes.c_int),
    "xkb_compose_state_unref": (None, POINTER),
    "xkb_compose_state_feed": (ctypes.c_int, POINTER, NUMBER),
    "xkb_compose_state_get_status": (ctypes.c_int, POINTER),
    "xkb_compose_state_get_utf8": (ctypes.c_int, POINTER, TEXT, ctypes.c_size_t),
    "xkb_compose_state_reset": (None, POINTER),
}


def library(name: str = LIBRARY) -> ctypes.PyDLL:
    """Load the library and say what its functions take. Raises Missing."""
    try:
        # Its calls take microseconds each. To let other threads run meanwhile, as CDLL does, would give the
        # interpreter away several times a key, and it comes back late.
        loaded = ctypes.PyDLL(name)
    except OSError as error:
        raise Missing(f"{name} is not installed: {INSTALL}") from error
    for function, (result, *arguments) in FUNCTIONS.items():
        getattr(loaded, function).restype = result
        getattr(loaded, function).argtypes = arguments
    return loaded


class XkbKeyboard:
    """The translator `hal.keys.Keyboard` of one layout. Raises Missing. For one thread at a time.

    `knows_dead_keys`: whether there is a table of what a dead key and a letter make.
    """

    def __init__(self, layout: Layout) -> None:
        self._open = True
        self._caps_lock = layout.caps_lock
        self._keymap = self._state = self._table = self._compose = None
        # What keys type that belong to no sequence, by modifiers and layout: to look one up takes five calls
        # of the library more. A keyboard has some hundred keys, and a scanner uses few modifiers.
        self._known_with: dict[tuple[int, int], dict[int, str]] = {}
        self._known: dict[int, str] = {}
        self._composing = False  # a dead key waits for its letter
        self._xkb = library()
        self._context = self._xkb.xkb_context_new(0)
        try:
            if not self._context:
                raise Missing(f"the tables of keyboard layouts are not installed: {INSTALL}")
            self._xkb.xkb_context_set_log_level(self._context, LOG_LEVEL_CRITICAL)
            # All are given, if only as "": for what is left out xkb asks the environment (XKB_DEFAULT_...).
            names = Names(b"evdev", b"pc105", layout.layout.encode(), layout.variant.encode(), b"")
            self._keymap = self._xkb.xkb_keymap_new_from_names(self._context, ctypes.byref(names), 0)
            if not self._keymap:
                variant = f' with variant "{layout.variant}"' if layout.variant else ""
                raise Missing(
                    f'there is no keyboard layout "{layout.layout}"{variant}: '
                    f"see /usr/share/X11/xkb/rules/evdev.lst, or {INSTALL}"
                )
            self._table = self._xkb.xkb_compose_table_new_from_locale(self._context, LOCALE, 0)
            self.knows_dead_keys = bool(self._table)
            if not self._table:  # an empty one: no sequence is known, and each dead key is `NO_TEXT`
                self._table = self._xkb.xkb_compose_table_new_from_buffer(
                    self._context, b"", 0, LOCALE, TEXT_FORMAT, 0
                )
            self._compose = self._xkb.xkb_compose_state_new(self._table, 0)
        except Missing:
            self.close()
            raise
        self.reset()

    def press(self, key: int) -> str:
        """What the key types; see `hal.keys.Keyboard`."""
        code, known = key + KEYCODE_OFFSET, self._known
        if not self._composing and key in known:
            self._move(code, KEY_DOWN)
            return known[key]
        symbol = self._xkb.xkb_state_key_get_one_sym(self._state, code)
        typed = self._text(self._xkb.xkb_state_key_get_utf8, self._state, code)
        self._move(code, KEY_DOWN)
        if is_modifier(symbol):
            return ""
        cut = NO_TEXT if self._composing else ""
        # A dead key that does not go with this letter (or Enter) is lost; the letter stands for itself.
        text = cut + typed or NO_TEXT
        if symbol != NO_SYMBOL:
            self._xkb.xkb_compose_state_feed(self._compose, symbol)
            status = self._xkb.xkb_compose_state_get_status(self._compose)
            self._composing = status == COMPOSING
            if status == COMPOSING:
                return ""
            if status == COMPOSED:
                return self._text(self._xkb.xkb_compose_state_get_utf8, self._compose) or NO_TEXT
            if status == NOTHING:
                known[key] = text
        return text

    def release(self, key: int) -> None:
        """The key is up again."""
        self._move(key + KEYCODE_OFFSET, KEY_UP)

    def flush(self) -> str:
        """Forget a dead key that waits, and say so."""
        if not self._composing:
            return ""
        self._composing = False
        self._xkb.xkb_compose_state_reset(self._compose)
        return NO_TEXT

    def reset(self, held: Iterable[int] = ()) -> None:
        """Begin anew, with NumLock on, caps lock as set, and these keys held down.

        A lock that is among them does not count: whether it was going on or off is not known.
        """
        self._xkb.xkb_state_unref(self._state)
        self._state = self._xkb.xkb_state_new(self._keymap)
        self._xkb.xkb_compose_state_reset(self._compose)
        self._composing = False
        self._recognise()
        for lock in (KEY_NUMLOCK, KEY_CAPSLOCK) if self._caps_lock else (KEY_NUMLOCK,):
            for direction in (KEY_DOWN, KEY_UP):
                self._move(lock + KEYCODE_OFFSET, direction)
        for key in held:
            if key not in LOCKS:
                self._move(key + KEYCODE_OFFSET, KEY_DOWN)

    def close(self) -> None:
        """Give the memory back."""
        if not self._open:
            return
        self._open = False
        self._xkb.xkb_compose_state_unref(self._compose)
        self._xkb.xkb_compose_table_unref(self._table)
        self._xkb.xkb_state_unref(self._state)
        self._xkb.xkb_keymap_unref(self._keymap)
        self._xkb.xkb_context_unref(self._context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _text(self, function: Callable[..., int], *arguments: object) -> str:
        buffer = ctypes.create_string_buffer(TEXT_BYTES_MAX)
        length = function(*arguments, buffer, TEXT_BYTES_MAX)
        return buffer.raw[:length].decode()

    def _move(self, code: int, direction: int) -> None:
        if self._xkb.xkb_state_update_key(self._state, code, direction):  # modifiers are others now
            self._recognise()

    def _recognise(self) -> None:
        """Go on with the keys that are known under the present modifiers."""
        modifiers = self._xkb.xkb_state_serialize_mods(self._state, MODIFIERS_EFFECTIVE)
        layout = self._xkb.xkb_state_serialize_layout(self._state, LAYOUT_EFFECTIVE)
        self._known = self._known_with.setdefault((modifiers, layout), {})


def is_modifier(symbol: int) -> bool:
    """Whether a key only changes what others type."""
    return symbol in MODIFIER_SYMBOLS or symbol in ISO_MODIFIER_SYMBOLS or symbol in OTHER_MODIFIER_SYMBOLS
