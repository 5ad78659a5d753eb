import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal.frames import LENGTH_MAX
from hal.line_reader import BYTE_ORDER_MARK, LineReader
from hal.ports import Code, Read, Unreadable
from tests.hal.conftest import PATIENCE_S, Listener


class Drip(io.BytesIO):
    """A stream that gives one byte a read."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1)


class Folder(io.BytesIO):
    """A stream over a folder's descriptor: every read of it fails."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@pytest.fixture(params=["file", "memory", "drip"])
def stream_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[bytes], BinaryIO]]:
    streams: list[BinaryIO] = []

    def make(data: bytes) -> BinaryIO:
        if request.param == "file":
            path = tmp_path / "codes"
            path.write_bytes(data)
            streams.append(path.open("rb"))
        elif request.param == "memory":
            streams.append(io.BytesIO(data))
        else:
            streams.append(Drip(data))
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    told, tell = os.pipe()
    with os.fdopen(told, "rb") as codes, os.fdopen(tell, "wb", buffering=0) as typing:
        yield codes, typing


def lines(stream: BinaryIO) -> tuple[list[Read], int]:
    with LineReader(stream) as reader:
        reads: list[Read] = []
        while (read := reader.next_read()) is not None:
            reads.append(read)
        assert reader.ended.is_set()
        assert reader.next_read() is None
        return reads, reader.empty_lines


@pytest.mark.parametrize(
    ("data", "reads", "empty"),
    [
        (b"", [], 0),
        (b"A\nB\r\nC", [Code("A"), Code("B"), Code("C")], 0),
        (b"\n\r\nA\n\nB\n", [Code("A"), Code("B")], 3),
        (b" A?b.c:d $%*+-/\t\x00\x1d \n", [Code(" A?b.c:d $%*+-/\t\x00\x1d ")], 0),
        (b"\rA\rB\r\r\n", [Code("\rA\rB\r")], 0),
        (b"A\n\xff\xfe\nB\n", [Code("A"), Unreadable("not_text"), Code("B")], 0),
        (BYTE_ORDER_MARK + b"A\n" + BYTE_ORDER_MARK + b"B\n", [Code("A"), Code("\ufeffB")], 0),
        (BYTE_ORDER_MARK + b"\nA", [Code("A")], 1),
        (BYTE_ORDER_MARK, [], 0),
        (BYTE_ORDER_MARK[:2], [Unreadable("not_text")], 0),
        (
            b"x" * LENGTH_MAX + b"\r\n" + b"x" * (LENGTH_MAX + 1),
            [Code("x" * LENGTH_MAX), Unreadable("too_long")],
            0,
        ),
    ],
    ids=[
        "nothing",
        "ends",
        "empty",
        "untouched",
        "cr",
        "not text",
        "marks",
        "mark",
        "only mark",
        "half mark",
        "long",
    ],
)
def test_lines_are_codes(
    stream_of: Callable[[bytes], BinaryIO], data: bytes, reads: list[Read], empty: int
) -> None:
    assert lines(stream_of(data)) == (reads, empty)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=80)))
def test_any_lines_come_back(texts: list[str]) -> None:
    texts = ["x" + text + "x" for text in texts]  # no byte-order mark in front, no CR before the LF
    data = "".join(text + "\n" for text in texts).encode()
    assert lines(io.BytesIO(data)) == ([Code(text) for text in texts], 0)


def test_a_line_of_10_mb_is_one_unreadable_and_the_next_is_fine() -> None:
    stream = io.BytesIO(b"x" * 10_000_000 + b"\nTICKET\n")
    assert lines(stream) == ([Unreadable("too_long"), Code("TICKET")], 0)


def test_lines_are_read_on_demand(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    codes, typing = pipe
    with LineReader(codes) as reader:
        typing.write(b"A\nB\n")
        assert reader.next_read() == Code("A")
        assert not reader.ended.is_set()
        typing.write(b"C")
        typing.close()
        assert [reader.next_read(), reader.next_read()] == [Code("B"), Code("C")]
        assert not reader.ended.is_set()
        assert reader.next_read() is None
        assert reader.ended.is_set()


def test_lines_are_delivered_as_they_are_typed(pipe: tuple[BinaryIO, BinaryIO], listener: Listener) -> None:
    codes, typing = pipe
    with LineReader(codes) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() is None
        typing.write(b"A\n\nB")
        assert listener.read() == Code("A")
        typing.write(b"\r\nC")
        assert listener.read() == Code("B")
        assert not reader.ended.is_set()
        typing.close()
        assert listener.read() == Code("C")
        assert reader.ended.wait(PATIENCE_S)
        assert reader.empty_lines == 1
        assert listener.nothing_more()


def test_a_terminal_that_hangs_up_ends_the_input(listener: Listener) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as stream, LineReader(stream, "the terminal") as reader:
        reader.start(listener.deliver, listener.state)
        os.write(keyboard, b" TICKET \n")
        assert listener.read() == Code(" TICKET ")
        os.close(keyboard)
        assert reader.ended.wait(PATIENCE_S)


def test_an_input_that_cannot_be_read_is_named(tmp_path: Path, listener: Listener) -> None:
    folder = Folder(tmp_path)
    with LineReader(folder, "the list") as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.fault("the list cannot be read (Is a directory)")
        assert reader.ended.wait(PATIENCE_S)
    with LineReader(folder) as reader, pytest.raises(IsADirectoryError):
        reader.next_read()
    folder.close()


def test_closing_wakes_who_waits_for_a_line(pipe: tuple[BinaryIO, BinaryIO], listener: Listener) -> None:
    codes, _ = pipe
    asking, delivering = LineReader(codes), LineReader(codes)
    delivering.start(listener.deliver, listener.state)
    answers: list[Read | None] = []
    waiting = threading.Thread(target=lambda: answers.append(asking.next_read()))
    waiting.start()
    for reader in (asking, delivering):
        reader.close()
        reader.close()
    waiting.join(PATIENCE_S)
    assert answers == [None]
    assert not codes.closed
    assert asking.next_read() is None


def test_a_pipe_that_nobody_writes_to_yet_holds_nobody_up_and_is_read_once_somebody_does(
    tmp_path: Path, listener: Listener
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with LineReader.opened(str(path)) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.told() is None
        with path.open("wb", buffering=0) as typing:
            typing.write(b"A\n")
            assert listener.read() == Code("A")
            assert not reader.ended.is_set()
        assert reader.ended.wait(PATIENCE_S)


def test_a_file_opened_by_its_path_is_closed_with_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "codes"
    path.write_bytes(b"A\nB\n")
    with LineReader.opened(str(path)) as reader:
        assert reader.next_read() == Code("A")
    assert reader.next_read() is None


def test_lines_are_either_delivered_or_asked_for(listener: Listener) -> None:
    with LineReader(io.BytesIO(b"A\n")) as reader:
        reader.start(listener.deliver, listener.state)
        with pytest.raises(RuntimeError, match="delivered"):
            reader.next_read()
        with pytest.raises(RuntimeError, match="started already"):
            reader.start(listener.deliver, listener.state)


# The thread ends with the mistake's own traceback, on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_what_a_reader_delivers_to_is_said_and_not_silent(listener: Listener) -> None:
    def deliver(read: Read) -> None:
        raise KeyError(read)

    with LineReader(io.BytesIO(b"A\n")) as reader:
        reader.start(deliver, listener.state)
        listener.fault("its reader has ended (KeyError")


def test_every_line_has_its_number_in_the_file(stream_of: Callable[[bytes], BinaryIO]) -> None:
    data = BYTE_ORDER_MARK + b"one\n\n\r\nfour\r\n" + b"5" * (LENGTH_MAX + 1) + b"\n\xff\nseven"
    with LineReader(stream_of(data)) as reader:
        numbers = [reader.line_number]
        while reader.next_read() is not None:
            numbers.append(reader.line_number)
    assert numbers == [0, 1, 4, 5, 6, 7]
