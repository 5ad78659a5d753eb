"""Which settings the doctor looks at: those that the gate is opened with, which its file need not be."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from firmware.config import Settings, SettingsError, load, parse


@contextmanager
def in_force(
    config: Path, data: Path | None, say: Callable[[str], None], must: bool
) -> Iterator[tuple[Settings, str]]:
    """The settings and their name; a board that came from afar, too, has its file meanwhile.

    What cannot be read is told, and a doctor that only looks goes on with `config`. Raises `SettingsError`,
    and `OSError` where it `must` be known what is in force, because parts are moved.
    """
    with ExitStack() as stack:
        found = None
        if data is not None:
            try:
                found = _from_afar(config, data, stack)
            except OSError as error:
                if must:
                    raise
                say(f"{error}: it is not known whether other settings than those of {config} are in force")
        yield found or (load(config), str(config))


def _from_afar(config: Path, data: Path, stack: ExitStack) -> tuple[Settings, str] | None:
    from firmware.stored_settings import found_in  # with msgspec, which the doctor may find missing

    for used in found_in(data):
        name = f"settings {used.version} of {used.by}"
        try:
            settings = parse(used.settings, name) if used.settings else load(config)
        except SettingsError:  # of a later release: a gate goes on with those before, too
            continue
        if used.board and settings.board_file:
            folder = stack.enter_context(TemporaryDirectory(prefix=f"settings-{used.version}-"))
            board = Path(folder, "board.toml")
            board.write_text(used.board, "utf-8")
            settings = settings._replace(board_file=str(board))
        return settings, name
    return None
