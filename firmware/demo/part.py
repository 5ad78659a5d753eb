"""A part of the demo that is a process of its own, so that stopping it is real: its outer side."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from firmware.demo.child import News

STOP_S_MAX = 3.0  # for a tidy end; a bridge that waits for a slow vendor is killed then, and loses nothing
LOG_BYTES_SHOWN = 2000  # of the end of a log: its last line is said where a part ends by itself


class Part:
    """One process at a time: started, stopped, killed, and started again. Any thread may ask.

    `news` is called on a thread of the part for each line it tells, `changed` when it is up and when it is
    gone, with a sentence where it went by itself.
    """

    def __init__(
        self,
        name: str,
        module: str,
        log: Path,
        news: Callable[[News], None],
        changed: Callable[[str], None],
    ) -> None:
        self.name = name
        self._module, self._log, self._news, self._changed = module, log, news, changed
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._asked = False  # to end

    @property
    def state(self) -> str:
        """`up`, `starting`, `stopping`, or `down`."""
        process = self._process
        if process is None or process.poll() is not None:
            return "down"
        if self._asked:
            return "stopping"
        return "up" if self._ready.is_set() else "starting"

    @property
    def process_id(self) -> int:
        """For whoever wants to pull its plug; 0 while it is down."""
        process = self._process
        return 0 if process is None or process.poll() is not None else process.pid

    def start(self, order: Struct) -> None:
        """Start it, and return at once. A process that is still ending is waited for. Raises `OSError`."""
        self.end()
        with self._lock:
            self._ready.clear()
            self._asked = False
            with self._log.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", self._module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the demo, which ends its parts itself
                )
            self._process = process
            assert process.stdin
            try:
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                process.stdin.flush()
            except OSError:  # it ended at once, and the thread says so
                pass
            self._thread = threading.Thread(target=self._listen, args=(process,), name=self.name, daemon=True)
            self._thread.start()

    def wait(self, limit_s: float) -> bool:
        """Wait until it is up. False where it is not in this time, or has ended."""
        for _ in range(max(1, round(limit_s / 0.05))):
            if self._ready.wait(0.05):
                return True
            if self.state == "down":
                return False
        return False

    def stop(self) -> None:
        """Ask it to end in order, and return at once."""
        self._asked = True
        if (process := self._process) is not None:
            process.terminate()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._asked = True
        if (process := self._process) is not None:
            process.kill()

    def end(self) -> None:
        """End it, and wait for that. Twice is fine."""
        with self._lock:
            process, thread = self._process, self._thread
            if process is None or thread is None:
                return
            self.stop()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
            if thread is not threading.current_thread():
                thread.join(STOP_S_MAX)
            self._process = None

    def __enter__(self) -> Self:
        """The part, not started."""
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.end()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        assert process.stdin
        with process.stdout, process.stdin:
            for line in process.stdout:
                news = msgspec.json.decode(line, type=News)
                self._news(news)
                if news.ready is not None:
                    self._ready.set()
                    self._changed("")
            code = process.wait()
        self._changed("" if self._asked else f"the {self.name} has ended by itself ({self._why(code)})")

    def _why(self, code: int) -> str:
        if code < 0:
            return f"signal {-code}"
        said = self._log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit code {code}"
