"""Writes the operator's page of all settings: `python -m firmware.config > deploy/settings.md`."""

import sys
from collections.abc import Iterable, Iterator

from firmware.config.keys import EVENT, POLICY, SECTIONS
from firmware.config.values import Key, Section, quoted

INTRODUCTION = """\
# Settings of a gate

Made from the table in `firmware/config/keys.py` by `python -m firmware.config > deploy/settings.md`; change
it there. `deploy/gate.toml` is an example. The file is read once, at the start. A file with a mistake is
refused whole, and all its mistakes are told at once, where `lane[2]` means the second `[[lane]]`. Without a
file all defaults hold.
"""


def page(introduction: str = INTRODUCTION, sections: Iterable[Section] = SECTIONS) -> str:
    """All settings, for the operator."""
    return "".join([introduction, *map(chapter, sections)])


def chapter(section: Section) -> str:
    """One section with its settings as a table."""
    most = f" At most {section.most}." if section.most > 1 else ""
    head = f"\n## `{section.header}`\n\n{section.meaning}{most}\n\n"
    rows = ("| setting | values | default | meaning |", "| --- | --- | --- | --- |", *rows_of(section))
    return head + "\n".join(rows) + "\n"


def rows_of(section: Section) -> Iterator[str]:
    """One row a setting."""
    for key in section.keys:
        inherited = section is EVENT and key in POLICY.keys
        default = "as in `[policy]`" if inherited else default_words(key)
        only = f" Only with {key.only.words()}." if key.only else ""
        yield f"| `{key.name}` | {key.rule.words()} | {default} | {key.meaning}{only} |"


def default_words(key: Key) -> str:
    """The default as it would be written in the file."""
    if key.default is None:
        return "must be given"
    if isinstance(key.default, tuple):
        return f"`[{', '.join(map(quoted, key.default))}]`"
    return f"`{quoted(key.default) if isinstance(key.default, str) else str(key.default).lower()}`"


if __name__ == "__main__":
    sys.stdout.write(page())
