"""A file of settings as what it sets: no comments, which may hold anything, and one form for all."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time


def plain_text(text: str) -> str:
    """The text of a TOML file that sets the same. Raises ValueError where it is none."""
    return text_of(tomllib.loads(text))


def text_of(document: Mapping[str, object]) -> str:
    """A TOML file for these tables."""
    return "\n".join(_table("", document)).strip() + "\n"


def _table(path: str, table: Mapping[str, object]) -> Iterator[str]:
    """What a table sets itself comes before the tables below it, because TOML wants it so."""
    for name, value in table.items():
        if not _holds_tables(value):
            yield f"{_name(name)} = {_value(value)}"
    for name, value in table.items():
        below = f"{path}.{_name(name)}" if path else _name(name)
        if isinstance(value, dict):
            yield from ("", f"[{below}]", *_table(below, value))
        elif isinstance(value, list) and _holds_tables(value):
            for each in value:
                yield from ("", f"[[{below}]]", *_table(below, each))


def _holds_tables(value: object) -> bool:
    tables = isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)
    return isinstance(value, dict) or tables


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_name(name)} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)  # numbers; inf and nan are TOML words too


def _name(name: str) -> str:
    bare = bool(name) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _value(name)
