"""A process of a test: started, asked, ended in order or killed, many times."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.whole.lives import PATIENCE_S

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.whole.lives"])


class Ended(Exception):
    """The process is not there any more."""


class Life:
    """A process that runs one part. It is started and ended many times."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._target, self.arguments = target, arguments
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._ready = False

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def process_id(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def begin(self) -> None:
        """Start it, and do not wait until it is ready."""
        assert self._process is None, "it runs already"
        ours, theirs = _FORKED.Pipe()
        process = _FORKED.Process(target=self._target, args=(theirs, *self.arguments), daemon=True)
        process.start()
        theirs.close()
        with self._lock:  # nobody may take the former life's readiness for this one's
            self._process, self._connection, self._ready = process, ours, False

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.begin()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until it is ready. Raises `Ended` where it was killed before."""
        with self._lock:
            if not self._ready:
                self._hear()
                self._ready = True

    def call(self, name: str, *arguments: object) -> Any:
        """Have it do something. Raises `Ended` where it ends meanwhile."""
        self.await_ready()
        with self._lock:
            if self._connection is None:
                raise Ended
            try:
                self._connection.send((name, arguments))
            except OSError:
                raise Ended from None
            return self._hear()

    def _hear(self) -> Any:
        connection = self._connection
        if connection is None:
            raise Ended
        try:
            assert connection.poll(PATIENCE_S + 10.0), "no answer"
            word, said = connection.recv()
        except (EOFError, OSError):
            raise Ended from None
        assert word != "failed", said
        return said

    def kill(self) -> None:
        """End it at once (SIGKILL); twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._bury()

    def stop(self) -> None:
        """Let it end in order."""
        if self._process is not None:
            self.await_ready()
            assert self._connection is not None
            self._connection.send(("stop", ()))
            self._process.join(PATIENCE_S)
            assert self._process.exitcode is not None, "it does not end"
            self._bury()

    def _bury(self) -> None:
        assert self._process is not None
        self._process.join(PATIENCE_S)
        self._process.close()
        with self._lock:
            assert self._connection is not None
            self._connection.close()
            self._process = self._connection = None
