"""What one call of `tell` at vivenu has settled so far. Only `firmware.bridge.vivenu` uses it."""

from collections.abc import Sequence

from firmware.bridge.vendor import Accepted, Again, Misconfigured, Outcome, Refused, Told, Unsure


class Call:
    """One call of `tell`: what is settled of it so far."""

    def __init__(self, movements: Sequence[Told]) -> None:
        self.movements = movements
        self.outcomes: dict[int, Outcome] = {}
        self.arrays: dict[tuple[str, bool], list[int]] = {}  # by event, and whether it is a code of no list
        self.misconfigured: Misconfigured | None = None
        self.why = "not sent"

    def add(self, event: str, index: int) -> None:
        """To an array of this event. What is perhaps no ticket must not spoil the array of those that are."""
        told = self.movements[index]
        self.arrays.setdefault((event, told.refused and not told.ticket_id), []).append(index)

    def settled(self) -> bool:
        """Whether there is anything to say: else the caller had better hear of the trouble itself."""
        return any(isinstance(one, Accepted | Refused | Unsure) for one in self.outcomes.values())

    def result(self) -> tuple[Outcome, ...]:
        """An outcome for each, in order; those that were not reached may go again."""
        return tuple(
            self.outcomes.get(index) or Again(self.why, told.doubt)
            for index, told in enumerate(self.movements)
        )
