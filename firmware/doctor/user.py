"""Who runs this, and whether the kernel lets that user at the devices."""

import grp
import os
from collections.abc import Iterable, Iterator

from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.readers import GROUPS
from firmware.doctor.stores import user_name


def examine(kinds: Iterable[str]) -> Iterator[Check]:
    """`kinds` are those of the readers and of the board. Root is told that its look says little."""
    if os.geteuid() == 0:
        yield findings.IS_ROOT.seen()
        return
    me = user_name(os.geteuid())
    mine = group_names()
    needed = sorted({GROUPS[kind] for kind in kinds if kind in GROUPS})
    if lacking := [group for group in needed if group not in mine]:
        yield findings.NOT_IN_GROUPS.seen(user=me, groups=",".join(lacking))
    else:
        yield findings.IN_GROUPS.seen(user=me, groups=", ".join(sorted(mine)))


def group_names() -> set[str]:
    """The groups of this process."""
    names = set()
    for number in {os.getegid(), *os.getgroups()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            names.add(str(number))
    return names
