"""A file of settings without its comments sets the same."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.config.sparse import plain_text, text_of

ROOT = Path(__file__).parent.parent
NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
ARRAYS = st.lists(VALUES | st.lists(VALUES, max_size=2), max_size=3)
TABLES = st.recursive(
    st.dictionaries(NAMES, VALUES | ARRAYS, max_size=4),
    lambda inner: st.dictionaries(
        NAMES, VALUES | inner | st.lists(inner, min_size=1, max_size=2), max_size=3
    ),
    max_leaves=6,
)


@given(TABLES)
def test_any_tables_are_the_same_when_they_are_read_again(tables: dict[str, object]) -> None:
    text = text_of(tables)
    assert tomllib.loads(text) == tables
    assert plain_text(text) == text


@pytest.mark.parametrize(
    "path", ["deploy/gate.toml", *(f"deploy/boards/{p.name}" for p in (ROOT / "deploy/boards").iterdir())]
)
def test_the_examples_set_the_same_without_their_comments(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert tomllib.loads(plain_text(text)) == tomllib.loads(text)
    assert "#" in text
    assert "#" not in plain_text(text)


def test_a_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(ValueError, match="line 1"):
        plain_text("[[[")
