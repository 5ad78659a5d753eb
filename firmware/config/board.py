"""What settings say of the board. The engineer's computer asks too, which has none of a gate's libraries."""

from firmware.config import Settings
from firmware.core.ticket import Setup


def board_settings(settings: Settings) -> dict[str, object]:
    """What the board must know: its file, where it has one, and the lanes."""
    lanes = [_lane_of_board(lane.setup) for lane in settings.lanes]
    if not settings.board_file:
        return {"lanes": lanes}
    for lane, (setup, _) in zip(lanes, settings.lanes, strict=True):
        lane["unlock_ms"] = setup.unlock_ms  # its guard ends what the loop has forgotten
    return {"file": settings.board_file, "lanes": lanes}


def _lane_of_board(setup: Setup) -> dict[str, object]:
    ways = ("in", "out") if setup.direction is None else (setup.direction.value,)
    return {"name": setup.name, "ways": ways, "sensor": "way" if setup.sensor else "none"}
