"""Whether the readers of the settings could be made here: their libraries and keyboard layouts are there.

A reader that is made and not started touches no device.
"""

from collections.abc import Iterator

from firmware.config import Settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.readers import wanted
from hal.board import SettingError, open_reader


def examine(settings: Settings) -> Iterator[Check]:
    """Make each once, and give it back."""
    kinds = set()
    missing = set()
    for reader in wanted(settings):
        if reader.kind == "lines":  # needs nothing, and would open its file
            continue
        kinds.add(reader.kind)
        try:
            open_reader(reader.kind, reader.options).close()
        except ModuleNotFoundError as error:
            missing.add((error.name, reader.kind))
        except SettingError as error:
            missing.add((None, reader.kind))
            yield findings.READER_REFUSED.seen(lane=reader.lane, problem=error)
    for library, kind in sorted((library, kind) for library, kind in missing if library):
        yield findings.LIBRARY_MISSING.seen(library=library, kind=kind)
    if kinds and not missing:
        yield findings.LIBRARIES_THERE.seen(kinds=" and ".join(sorted(kinds)))
