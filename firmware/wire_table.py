"""Writes the page of all topics and messages: `python -m firmware.wire_table > deploy/topics.md`."""

import enum
import sys
from collections.abc import Iterator

import msgspec
from msgspec import inspect

from firmware import wire

HEAD = f"""# Topics

Made from `firmware/wire` by `python -m firmware.wire_table > deploy/topics.md`; change it there.

Every topic begins with `{wire.ROOT}/<venue>/`. A payload is one MessagePack map of at most
{wire.PAYLOAD_BYTES_MAX:,} bytes with the fields of its message and `v`, the version, which is
{wire.VERSION}. Unknown fields are passed over; another version is refused. Items are arrays: their tag where
they have one, then the fields in the order given. What an operator signs (`Signed`) is an `Order` or
`DesiredSettings`, as bytes.
"""
WHOLE_NUMBER = 1 << 53  # beyond it MessagePack readers of other languages are not exact


def page() -> str:
    """The whole page."""
    lines = [HEAD, "| topic | QoS | retained | writer | message | meaning | fields |", "| --- " * 7 + "|"]
    found: dict[str, type[msgspec.Struct]] = {}
    for topic in wire.TOPICS:
        fields = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(topic.message))
        lines.append(
            f"| `{topic.name}` | {topic.qos} | {'yes' if topic.retained else 'no'} | {topic.writer} "
            f"| `{topic.message.__name__}` | {topic.meaning} | {fields} |"
        )
    for shape in (*(topic.message for topic in wire.TOPICS), *wire.SIGNED):
        for each in _structs(inspect.type_info(shape)):
            found[each.__name__] = each
    for struct in found.values():
        lines += ["", *_section(struct)]
    return "\n".join(lines) + "\n"


def _section(struct: type[msgspec.Struct]) -> Iterator[str]:
    about = inspect.type_info(struct)
    assert isinstance(about, inspect.StructType)
    tag = f", item with tag `{about.tag}`" if about.array_like and about.tag else ""
    yield f"## `{struct.__name__}`{tag or (', item' if about.array_like else '')}"
    yield ""
    yield " ".join((struct.__doc__ or "").split())
    yield ""
    yield "| field | values | without it |"
    yield "| --- | --- | --- |"
    for field in about.fields:
        default = "refused" if field.required else _default(field.default)
        yield f"| `{field.name}` | {_values(field.type)} | {default} |"


def _default(value: object) -> str:
    if value is None:
        return "none"
    return f"`{value}`" if value != "" else "empty"


def _values(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high, lt=above):
            top = f"{high:,}" if high is not None and high < WHOLE_NUMBER else None
            top = top or ("2⁵³ - 1" if above == WHOLE_NUMBER else "2⁶³ - 1")
            return f"{low} to {top}"
        case inspect.StrType(pattern=str(pattern)):
            return f"text, `{pattern}`"
        case inspect.StrType(max_length=most):
            return f"text of at most {most:,} characters"
        case inspect.BytesType(min_length=least, max_length=most):
            return f"{most} bytes" if least == most else f"at most {most:,} bytes"
        case inspect.EnumType(cls=cls):
            assert issubclass(cls, enum.StrEnum)
            return ", ".join(f"`{one}`" for one in cls)
        case inspect.UnionType(types=kinds):
            return " or ".join(map(_values, kinds))
        case inspect.NoneType():
            return "nil"
        case inspect.StructType(cls=cls):
            return f"`{cls.__name__}`"
        case inspect.VarTupleType(item_type=item, max_length=most):
            return f"at most {most:,} of {_values(item)}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"map of {_values(key)} to {_values(value)}"
    raise TypeError(f"firmware.wire_table has no words for {kind}")


def _structs(kind: inspect.Type) -> Iterator[type[msgspec.Struct]]:
    """A message and the items in it."""
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            yield cls
            for field in fields:
                yield from _structs(field.type)
        case inspect.UnionType(types=kinds):
            for each in kinds:
                yield from _structs(each)
        case inspect.VarTupleType(item_type=item):
            yield from _structs(item)


if __name__ == "__main__":
    sys.stdout.write(page())
