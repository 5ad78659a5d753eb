"""Whether a gate could work with settings from elsewhere. Gate and engineer ask the same, and hear the same.

Nothing is opened for it. What only the gate can find out, such as a scanner that is not there, is found on
trial.
"""

import tomllib
from collections.abc import Iterator
from contextlib import suppress

from firmware.config import Settings, SettingsError, parse
from firmware.config.board import board_settings
from firmware.signing import OperatorsUnusable, Role, operators_of
from hal import wiring
from hal.board import SettingError, built_lanes
from hal.wired_lanes import GpioLaneSettings, check_lanes

SECRETS = ("key_file", "password_file")


def problems_of(settings: str, board: str, operators: str, own: Settings, own_board: str) -> list[str]:
    """What is wrong, one line each; nothing where a gate that works with `own` can try it.

    Each text is empty where that stays; `own_board` is the board file that is in use.
    """
    try:
        wanted = parse(settings, "settings") if settings else own
    except SettingsError as error:
        return list(error.problems)
    found = problems_of_operators(operators)
    if settings or board:
        found = [*_identity(wanted, own), *_brokers(wanted, own), *_board(wanted, board, own_board), *found]
    return found


def problems_of_operators(operators: str) -> list[str]:
    """What is wrong with a list of operators; nothing with an empty text."""
    try:
        found = operators_of(operators).values() if operators else ()
    except OperatorsUnusable as error:
        return [str(error)]
    if operators and all(each.role is not Role.SUPERVISOR for each in found):
        return ["the list of operators has no supervisor: nobody could change this gate again"]
    return []


def _identity(wanted: Settings, own: Settings) -> Iterator[str]:
    for key, here, there in (
        ("gate.name", wanted.gate_name, own.gate_name),
        ("gate.venue", wanted.venue, own.venue),
        ("board.name", wanted.board, own.board),
        ("board.file", wanted.board_file, own.board_file),
    ):
        if here != there:
            yield f'settings: {key}: is "{here}", and this gate\'s is "{there}": it stays as it is'


def _brokers(wanted: Settings, own: Settings) -> Iterator[str]:
    if not wanted.brokers:
        yield "settings: broker: there is none: nobody could reach this gate any more"
    kept = {getattr(broker, key) for broker in own.brokers for key in SECRETS}
    for number, broker in enumerate(wanted.brokers, 1):
        for key in SECRETS:
            path = getattr(broker, key)
            if path and path not in kept:
                mend = "secrets stay where they are: name one that is in use, or leave it out"
                yield f'settings: broker[{number}].{key}: "{path}" is no secret of this gate: {mend}'
        if not broker.tls and any(each.tls for each in own.brokers):
            yield f"settings: broker[{number}].tls: this gate talks with TLS: take tls = false out"


def _board(wanted: Settings, board: str, own_board: str) -> Iterator[str]:
    """The board file that the lanes would be held against."""
    if not wanted.board_file:
        if board:
            yield f'board: does nothing with board.name = "{wanted.board}": leave it out'
        return
    try:
        plan = wiring.parse(board or own_board, "board")
        check_lanes(plan, built_lanes("gpio board", GpioLaneSettings, board_settings(wanted)))
    except SettingError as error:
        yield from str(error).splitlines()
        return
    with suppress(ValueError, KeyError, TypeError):
        factory = tomllib.loads(own_board)["board"]["factory"]
        if plan.factory != factory:
            mend = "it stays as it is"
            yield f'board: board.factory: is "{plan.factory}", and this gate\'s is "{factory}": {mend}'
