"""Numbers of the command line: what is read, and what is refused with the bounds that it has."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.command_line import NUMBER_MAX, number

PORT = number(1, 65_535, "port of TCP")


@given(st.integers(1, 65_535))
def test_a_number_within_its_bounds_is_read(value: int) -> None:
    assert PORT(str(value)) == value


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "-1", "+1", " 1", "1.5", "x", "²", "٣", "00088849", "0030000000", "9" * 5000]
)
def test_whatever_is_not_within_them_is_refused_with_them(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port of TCP from 1 to 65535"):
        PORT(text)


def test_without_an_upper_bound_only_its_length_is_one() -> None:
    assert number(0)(str(NUMBER_MAX)) == NUMBER_MAX
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 0 on"):
        number(0)(str(NUMBER_MAX + 1))
