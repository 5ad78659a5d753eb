"""Who runs this, and whether the kernel lets that user at the devices."""

import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path

from firmware.doctor import findings
from firmware.doctor.check import Check

GROUPS = {"serial": "dialout", "evdev": "input", "gpio": "gpio"}  # as on Raspberry Pi OS


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


def user_name(number: int) -> str:
    """Of a user; the number where nobody has it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def may_use(path: Path, *, write: bool) -> bool:
    """Whether this process may open a device, without opening it."""
    return os.access(path, os.R_OK | (os.W_OK if write else 0), effective_ids=True)


def group_of(path: Path) -> str:
    """The group that a file belongs to."""
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
