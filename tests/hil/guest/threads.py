"""Threads of the gate: who they are, and one of them held while the others go on."""

import ctypes
import errno
import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # requests of ptrace (linux/ptrace.h)
GRAB = 0x40044590  # EVIOCGRAB (linux/input.h)
WAIT_ALL = 0x40000000  # threads, too (linux/wait.h)
HELD: dict[int, threading.Event] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def of(process: int) -> list[int]:
    """The threads of this process."""
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


def _ptrace(request: int, thread: int) -> None:
    if LIBC.ptrace(request, thread, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace of thread {thread}: {os.strerror(number)}")


def hold(thread: int) -> None:
    """Stop this one thread until `let_go`; the others of its process run on."""
    held, failed = threading.Event(), []
    let_go = HELD.setdefault(thread, threading.Event())

    def keep() -> None:  # what a thread traces goes on when it ends: so it stays
        try:
            _ptrace(SEIZE, thread)
            _ptrace(INTERRUPT, thread)
        except OSError as error:
            failed.append(error)
            held.set()
            return
        held.set()
        while not let_go.wait(0.02):  # who traces a thread hears of its death first, and has to listen
            with suppress(ChildProcessError):
                news, status = os.waitpid(thread, os.WNOHANG | WAIT_ALL)
                if news and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
                    return

    threading.Thread(target=keep, daemon=True).start()
    held.wait()
    if failed:
        raise failed[0]


def let_go(thread: int) -> None:
    """Let it run again, if it still lives."""
    HELD.pop(thread).set()


def starve(process: int) -> None:
    """Take the memory of this process's group away below what it uses, and let it use more."""
    group = Path(f"/proc/{process}/cgroup").read_text().strip().partition("::")[2]
    folder = Path(f"/sys/fs/cgroup{group}")
    used = int((folder / "memory.current").read_text())
    (folder / "memory.swap.max").write_text("0")
    (folder / "memory.max").write_text(str(used // 2))


def wait_until_taken(process: int, device: str, seconds: float) -> None:
    """Wait until the process has a keyboard for itself, or a serial line open. Raises TimeoutError."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (_is_grabbed(device) if "/input/" in device else _is_open(process, device)):
        if time.monotonic() > end:
            raise TimeoutError(f"process {process} has not taken {device} within {seconds} s")
        pause.wait(0.2)


def _is_grabbed(device: str) -> bool:
    """Whether somebody has taken this keyboard for itself: nobody else can then."""
    try:
        keyboard = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.ioctl(keyboard, GRAB, 1)
        fcntl.ioctl(keyboard, GRAB, 0)
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(keyboard)
    return False


def _is_open(process: int, device: str) -> bool:
    path = os.path.realpath(device)
    for number in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(number.readlink()) == path:
                return True
    return False
