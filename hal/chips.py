"""The GPIO chips of the machine, through lgpio, whose only importer this is. Found by their label.

The number of a chip changes between kernels, its label does not. Used by `hal.chip_pins`, under gpiozero,
and by `hal.release`, which must start at once; so this file imports next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hal.setting_error import SettingError

DEVICES = Path("/dev")
PREFIX = "gpiochip"
OURS = "lg"  # what the kernel calls whoever has a line through lgpio


class Lgpio(Protocol):
    """What is used of lgpio. Calls raise `error`; a claim sets level or pull together with the direction."""

    BOTH_EDGES: int
    SET_PULL_UP: int
    SET_PULL_DOWN: int
    SET_PULL_NONE: int

    @property
    def error(self) -> type[Exception]: ...
    def gpiochip_open(self, gpiochip: int) -> int: ...
    def gpiochip_close(self, handle: int) -> int: ...
    def gpio_get_chip_info(self, handle: int) -> list[Any]: ...
    def gpio_get_line_info(self, handle: int, gpio: int) -> list[Any]: ...
    def gpio_claim_input(self, handle: int, gpio: int, flags: int = 0, /) -> int: ...
    def gpio_claim_output(self, handle: int, gpio: int, level: int = 0, flags: int = 0, /) -> int: ...
    def gpio_claim_alert(self, handle: int, gpio: int, edges: int, flags: int = 0, /) -> int: ...
    def gpio_free(self, handle: int, gpio: int) -> int: ...
    def gpio_read(self, handle: int, gpio: int) -> int: ...
    def gpio_write(self, handle: int, gpio: int, level: int) -> int: ...
    def callback(
        self, handle: int, gpio: int, edge: int, func: Callable[[int, int, int, int], None]
    ) -> Any: ...


class PinRefused(Exception):
    """The kernel does not give a line; the text says why and what to do. `busy`: somebody else holds it."""

    def __init__(self, text: str, busy: bool) -> None:
        super().__init__(text)
        self.busy = busy


class Chip(NamedTuple):
    """An open chip."""

    lgpio: Lgpio
    handle: int
    path: str
    lines: int

    def claim_output(self, pin: int, level: int) -> None:
        """Drive a line, with this level from the first moment. Raises PinRefused."""
        self._claim(pin, lambda: self.lgpio.gpio_claim_output(self.handle, pin, level))

    def claim_input(self, pin: int, flags: int) -> None:
        """See a line, with this pull. Raises PinRefused."""
        self._claim(pin, lambda: self.lgpio.gpio_claim_input(self.handle, pin, flags))

    def claim_alert(self, pin: int, flags: int) -> None:
        """See a line and be told of both edges. Raises PinRefused."""
        self._claim(pin, lambda: self.lgpio.gpio_claim_alert(self.handle, pin, self.lgpio.BOTH_EDGES, flags))

    def close(self) -> None:
        """Give the chip back, and every line with it."""
        self.lgpio.gpiochip_close(self.handle)

    def _claim(self, pin: int, claim: Callable[[], object]) -> None:
        if pin >= self.lines:
            raise PinRefused(f"{self.path} has only {self.lines} lines: check [board] chip", busy=False)
        try:
            claim()
        except self.lgpio.error as error:
            user = self._user(pin)
            if user is None:
                raise PinRefused(
                    f"{self.path} refuses it ({error}): choose another pin", busy=False
                ) from error
            who = f'"{user}"' + (", a gate at work or another program with lgpio" if user == OURS else "")
            raise PinRefused(f"is in use by {who}: end that, or choose another pin", busy=True) from error

    def _user(self, pin: int) -> str | None:
        """Who holds a line; None where it is free."""
        with suppress(self.lgpio.error):
            _, _, flags, _, user = self.lgpio.gpio_get_line_info(self.handle, pin)
            if flags & 1:  # in use, whether by the kernel or by a program
                return str(user) or "somebody"
        return None


def lgpio() -> Lgpio:
    """Import lgpio. Raises SettingError where it is missing.

    It makes a pipe in the folder that LG_WD names, or else in the working directory, and moves into that
    folder. So it gets a private one, which is removed again at once, and the working directory stays.
    """
    before = os.environ.get("LG_WD")
    here, folder = Path.cwd(), _private_folder()
    os.environ["LG_WD"] = str(folder)
    try:
        import lgpio as found
    except ImportError as error:
        raise SettingError(
            f'board: factory = "lgpio" needs the library lgpio ({error}): install gatepost[gate]'
        ) from error
    finally:
        os.chdir(here)
        if before is None:
            del os.environ["LG_WD"]
        else:
            os.environ["LG_WD"] = before
        for pipe in folder.iterdir():  # both ends of it are open: it needs no name any more
            pipe.unlink()
        folder.rmdir()
    module: Lgpio = found
    return module


def _private_folder() -> Path:
    base = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd's; a service has it
    if not base:
        import tempfile  # takes as long to import as lgpio

        return Path(tempfile.mkdtemp(prefix="gatepost-"))
    folder = Path(base, f"lgpio-{os.getpid()}")
    folder.mkdir(0o700, exist_ok=True)
    return folder


def open_chip(lgpio: Lgpio, name: str, devices: Path = DEVICES) -> Chip:
    """Open the chip with this label, or at this path. Raises SettingError, naming those that there are."""
    paths = _paths(devices)
    if name.startswith("/"):
        path = os.path.realpath(name)
        if path not in paths:
            raise SettingError(f'board.chip: "{name}" is no GPIO chip: {_there_are(_labels(lgpio, paths))}')
        return _opened(lgpio, path)
    labels = _labels(lgpio, paths)
    fitting = [path for path, label in labels.items() if label == name]
    if len(fitting) > 1:
        raise SettingError(f'board.chip: "{name}" is {" and ".join(fitting)}: name the path of one')
    if not fitting:
        raise SettingError(f'board.chip: no GPIO chip has the label "{name}": {_there_are(labels)}')
    return _opened(lgpio, fitting[0])


def _paths(devices: Path) -> list[str]:
    """The chips' devices in the order of their numbers, each once: some kernels give one a second name."""
    numbered = (path for path in devices.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit())
    return sorted({os.path.realpath(path) for path in numbered}, key=_number)


def _number(path: str) -> int:
    return int(path.rpartition(PREFIX)[2])


def _labels(lgpio: Lgpio, paths: list[str]) -> dict[str, str]:
    """The label of each chip; "" of one that cannot be opened."""
    found = {}
    for path in paths:
        found[path] = ""
        with suppress(SettingError):
            chip = _opened(lgpio, path)
            found[path] = str(lgpio.gpio_get_chip_info(chip.handle)[3])
            chip.close()
    return found


def _there_are(labels: dict[str, str]) -> str:
    if not labels:
        return "this machine has none"
    shut = "may not be opened: add the gate's user to the group gpio"
    named = (f'"{label}" ({path})' if label else f"{path}, which {shut}" for path, label in labels.items())
    return f"there are {', '.join(named)}"


def _opened(lgpio: Lgpio, path: str) -> Chip:
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise SettingError(f"board.chip: {path} may not be opened: add the gate's user to the group gpio")
    try:
        handle = lgpio.gpiochip_open(_number(path))
        return Chip(lgpio, handle, path, int(lgpio.gpio_get_chip_info(handle)[1]))
    except lgpio.error as error:
        raise SettingError(f"board.chip: {path} cannot be opened ({error}): check [board] chip") from error
