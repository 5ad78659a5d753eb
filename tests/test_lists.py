"""Rows of CSV and JSON lines, as box offices write them, and everything that can be wrong with them."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.ticket import Status, Ticket
from firmware.lists import COLUMNS, BadRow, Dates, NotAList, Rows, ticket_of

LISBON = Dates(ZoneInfo("Europe/Lisbon"))  # UTC+1 in summer
Row = tuple[int, dict[str, str] | str]


def rows_of(text: str | bytes) -> list[Row]:
    """Line and named texts of every row, or why it is bad."""
    data = text.encode() if isinstance(text, str) else text
    return [
        (
            line,
            f"{row.column}: {row.reason}"
            if isinstance(row, BadRow)
            else {column: value for column, value in zip(COLUMNS, row, strict=True) if value},
        )
        for line, row in Rows(io.BytesIO(data))
    ]


def refused(text: str | bytes) -> tuple[int, str]:
    """Where and why a whole file is refused."""
    with pytest.raises(NotAList) as caught:
        rows_of(text)
    return caught.value.refusal.line, caught.value.refusal.reason


def row(**texts: str) -> list[str]:
    """A row with a code and these texts."""
    return [({"code": "C"} | texts).get(column, "") for column in COLUMNS]


def bad(**texts: str) -> tuple[str, str]:
    """Column and reason of a row that is refused."""
    with pytest.raises(BadRow) as caught:
        ticket_of(row(**texts), LISBON)
    return caught.value.column, caught.value.reason


def utc_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# --- CSV ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_list_is_read_whatever_its_delimiter_line_ends_and_mark(
    delimiter: str, end: str, mark: str
) -> None:
    lines = [("code", "event", "sector"), ("A", "concert", "north"), ("B", "", ""), ("C", "x", "")]
    text = mark + end.join(delimiter.join(fields) for fields in lines) + end
    assert rows_of(text) == [
        (2, {"code": "A", "event": "concert", "sector": "north"}),
        (3, {"code": "B"}),
        (4, {"code": "C", "event": "x"}),
    ]
    assert rows_of(text.removesuffix(end)) == rows_of(text)


def test_the_delimiter_is_taken_from_the_first_line_and_no_other() -> None:
    assert rows_of("code\nA,B;C\n") == [(2, "" + ": 2 fields, and the first line names 1")]
    assert rows_of("code;event\nA,B;C,D\n") == [(2, {"code": "A,B", "event": "C,D"})]
    assert rows_of('"code";"last, first"\nA;B\n') == [(2, {"code": "A"})]


def test_column_names_may_have_any_case_and_blanks_around_them() -> None:
    assert rows_of(" EVENT ,Code,\tStatus\nx,A,used\n") == [
        (2, {"code": "A", "event": "x", "status": "used"})
    ]


def test_unknown_columns_are_ignored_and_named_once() -> None:
    rows = Rows(io.BytesIO(b"name,code,e-mail,\nAnna,A,a@b,\nBert,B,,\n"))
    assert [values[0] for _, values in rows if not isinstance(values, BadRow)] == ["A", "B"]
    assert rows.ignored == ["name", "e-mail"]
    rows = Rows(io.BytesIO(b'{"code": "A", "name": "Anna"}\n{"code": "B", "name": "Bert", "x": [1, {}]}\n'))
    assert [values[0] for _, values in rows if not isinstance(values, BadRow)] == ["A", "B"]
    assert rows.ignored == ["name", "x"]


def test_empty_lines_are_no_rows() -> None:
    assert rows_of("\n\r\n  \ncode\n\nA\n\r\n\nB\n\n") == [(6, {"code": "A"}), (9, {"code": "B"})]
    assert rows_of('\n{"code": "A"}\n\n   \n{"code": "B"}') == [(2, {"code": "A"}), (5, {"code": "B"})]
    assert rows_of("") == rows_of("\n\n") == []


def test_a_missing_code_column_is_said_with_the_nearest() -> None:
    assert refused("barcode,name\nA,B\n") == (
        1,
        "no column code, only: barcode, name; rename barcode if that is it",
    )
    assert refused("x;y\nA;B\n") == (1, "no column code, only: x, y")
    assert refused('"broken\nA\n') == (1, "this is no line of column names")
    assert rows_of('{"Barcode": "A"}') == [
        (1, "code: no column code, only: Barcode; rename Barcode if that is it")
    ]
    assert rows_of("{}") == [(1, "code: no column code, only: nothing")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"PK\x03\x04...", "spreadsheet"),
        (b"\x1f\x8b\x08...", "compressed"),
        ("code\nA\n".encode("utf-16"), "UTF-16"),
        (b"code,n\xe4me\nA,B\n", "not UTF-8 at byte 7"),
        ("code,CODE\nA,B\n", "the column code is there twice"),
        ("code\rA\rB\r", "CR alone"),
        ("code," * 300 + "\nA\n", "twice|more than 256 columns"),
        ("code" + ",x" * 300 + "\nA\n", "more than 256 columns"),
        ("[\n{}\n]", "one object a line"),
        ("x" * (10 << 20) + "\nA\n", "longer than 64 KiB"),
        ("x" * 20_000 + "\nA\n", "no line of column names"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_its_mend(text: str | bytes, reason: str) -> None:
    line, said = refused(text)
    assert line == 1
    assert any(part in said for part in reason.split("|"))


def test_a_row_of_another_width_is_refused() -> None:
    text = "code,event,sector\nA,x\nB,x,y\nC,x,y,z\nD\n"
    assert rows_of(text) == [
        (2, ": 2 fields, and the first line names 3"),
        (3, {"code": "B", "event": "x", "sector": "y"}),
        (4, ": 4 fields, and the first line names 3"),
        (5, ": 1 fields, and the first line names 3"),
    ]


def test_bytes_that_are_no_utf8_refuse_their_line_only() -> None:
    assert rows_of(b"code\nA\n\xff\xfe\nB\xc3\nC\n") == [
        (2, {"code": "A"}),
        (3, ": not UTF-8 at byte 1: save the list as UTF-8"),
        (4, ": not UTF-8 at byte 2: save the list as UTF-8"),
        (5, {"code": "C"}),
    ]


def test_a_line_of_ten_megabytes_refuses_itself_only() -> None:
    text = "code\nA\n" + "x" * (10 << 20) + "\nB\n"
    assert rows_of(text) == [(2, {"code": "A"}), (3, ": longer than 64 KiB"), (4, {"code": "B"})]
    assert rows_of(text.removesuffix("\nB\n"))[-1] == (3, ": longer than 64 KiB")
    kept = "x" * ((64 << 10) - 2)
    assert rows_of(f"code\n{kept}\n") == [(2, {"code": kept})]


def test_quotes_are_read_as_rfc_4180_has_them() -> None:
    text = 'code,event\n"A ""1"", x",concert\n"two\r\nlines",y\n"B","a\nb\n\nc"\nC,5" pipe\n'
    assert rows_of(text) == [
        (2, {"code": 'A "1", x', "event": "concert"}),
        (3, {"code": "two\nlines", "event": "y"}),
        (5, {"code": "B", "event": "a\nb\n\nc"}),
        (9, {"code": "C", "event": '5" pipe'}),
    ]


@pytest.mark.parametrize("wrong", ['"A,x', 'A,"x', '"A"B,x', 'A,"x" y'])
def test_a_quote_that_is_not_closed_takes_no_good_row_with_it(wrong: str) -> None:
    good = [f"G{number},y" for number in range(40)]
    found = rows_of("\n".join(["code,event", wrong, *good]))
    line, said = found[0]
    assert line == 2
    assert isinstance(said, str)
    assert said.startswith(": wrong quotes")
    assert found[1:] == [(number + 3, {"code": f"G{number}", "event": "y"}) for number in range(40)]


def test_a_bad_line_inside_a_quoted_field_refuses_both() -> None:
    found = rows_of(b'code,event\nA,"x\n\xff"\nB,y\n')
    assert [line for line, values in found if isinstance(values, str)] == [2, 3]
    assert found[-1] == (4, {"code": "B", "event": "y"})


ODD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n") | st.sampled_from("\",;\t ?$%*+-/'"),
    min_size=1,
    max_size=20,
)


@given(
    st.lists(st.tuples(ODD, ODD), min_size=1),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_every_code_comes_out_of_csv_as_it_went_in(
    lines: list[tuple[str, str]], delimiter: str, end: str, quoting: Literal[0, 1]
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["name", "code", "event"])
    writer.writerows(("someone", code, event) for code, event in lines)
    expected = [(line, {"code": code, "event": event}) for line, (code, event) in enumerate(lines, 2)]
    assert rows_of(file.getvalue()) == expected


@given(st.lists(st.tuples(ODD, ODD), min_size=1), st.booleans())
def test_every_code_comes_out_of_json_as_it_went_in(lines: list[tuple[str, str]], escaped: bool) -> None:
    text = "\n".join(
        json.dumps({"event": event, "code": code}, ensure_ascii=escaped) for code, event in lines
    )
    assert rows_of(text) == [
        (line, {"code": code, "event": event}) for line, (code, event) in enumerate(lines, 1)
    ]


@given(st.binary(max_size=300) | st.text(st.sampled_from('code,"\n\r{}:;\t\\u'), max_size=60).map(str.encode))
def test_no_file_ends_the_reading_but_by_a_refusal(data: bytes) -> None:
    for text in (data, b"code,event\n" + data, b"{}\n" + data):
        with suppress(NotAList, BadRow):
            for line, found in Rows(io.BytesIO(text)):
                assert line > 0
                if not isinstance(found, BadRow):
                    ticket_of(found, LISBON)


# --- JSON lines --------------------------------------------------------------------------------------


def test_json_numbers_become_their_decimal_text_and_null_is_missing() -> None:
    text = '{"code": 12345678901234567890123, "ticket_id": -7, "event": null, " Sector ": "x"}'
    assert rows_of(text) == [(1, {"code": "12345678901234567890123", "ticket_id": "-7", "sector": "x"})]


@pytest.mark.parametrize("value", ["1.5", "1e3", "true", "false", "[]", "{}", '{"a": 1}', '["A"]', "NaN"])
def test_json_values_that_are_no_code_are_refused(value: str) -> None:
    text = f'{{"code": {value}}}\n{{"code": "B"}}'
    assert rows_of(text) == [(1, "code: neither text nor a whole number"), (2, {"code": "B"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"code": "A"', ": no JSON object"),
        ('{"code": "A"} x', ": no JSON object"),
        ('["A"]', ": no JSON object"),
        ('"A"', ": no JSON object"),
        ("[" * 60_000, ": no JSON object"),
        ('{"code": "A", "code": "B"}', "code: is there twice"),
        ('{"code": "A", "CODE": "B"}', "code: is there twice"),
        ('{"code": "A\\ud800"}', "code: half a character"),
        ('{"code": "A", "event": "\\udfff"}', "event: half a character"),
    ],
)
def test_a_json_line_that_is_no_row_is_refused(line: str, reason: str) -> None:
    first, second = rows_of(f'{{"code": "B"}}\n{line}')
    assert first == (1, {"code": "B"})
    assert isinstance(second[1], str)
    assert second[1].startswith(reason)


def test_a_pair_of_escapes_is_one_character() -> None:
    assert rows_of('{"code": "\\ud83c\\udfab"}') == [(1, {"code": "\U0001f3ab"})]


# --- what a row means --------------------------------------------------------------------------------


def test_a_row_becomes_a_ticket() -> None:
    full = row(
        ticket_id=" T1 ",
        event="concert",
        session="night",
        type="adult",
        sector="A",
        gate="North",
        valid_from="2026-08-01",
        valid_until="2026-08-02",
        status="blocked",
    )
    first, last = utc_ms("2026-07-31T23:00"), utc_ms("2026-08-02T23:00") - 1
    expected = Ticket("T1", Status.BLOCKED, "concert", "night", "adult", "A", "North", first, last)
    assert ticket_of(full, LISBON) == expected
    assert ticket_of(row(), LISBON) == Ticket("")


@pytest.mark.parametrize("code", [" ", " A ", "\tA", "?", "$%*+-/.:", "\0", "\x1d01", "入場", "x" * 512])
def test_a_code_is_taken_as_it_is(code: str) -> None:
    assert ticket_of(row(code=code), LISBON) == Ticket("")


@pytest.mark.parametrize(
    ("code", "reason"),
    [("", "is empty"), ("x" * 513, "longer than 512"), ("A\nB", "line end"), ("A\rB", "line end")],
)
def test_a_code_that_no_reader_delivers_is_refused(code: str, reason: str) -> None:
    column, said = bad(code=code)
    assert column == "code"
    assert reason in said


@pytest.mark.parametrize("column", ["ticket_id", "event", "session", "type", "sector", "gate"])
def test_texts_are_bounded_and_hold_no_control_characters(column: str) -> None:
    assert ticket_of(row(**{column: "x" * 120}), LISBON)
    assert bad(**{column: "x" * 121}) == (column, "longer than 120 characters")
    assert bad(**{column: "a\x1bb"}) == (column, "holds a control character")
    assert bad(**{column: "a\nb"}) == (column, "holds a control character")


@pytest.mark.parametrize(
    ("text", "status"),
    [(status.value, status) for status in Status]
    + [
        ("", Status.VALID),
        (" Valid ", Status.VALID),
        ("CANCELED", Status.CANCELLED),
        ("not_sold", Status.UNSOLD),
        ("Not_Sold", Status.UNSOLD),
    ],
)
def test_a_status_is_known_in_any_case(text: str, status: Status) -> None:
    assert ticket_of(row(status=text), LISBON) == Ticket("", status)


def test_an_unknown_status_is_refused_with_the_nearest() -> None:
    column, reason = bad(status="cancled")
    assert column == "status"
    assert reason.startswith("cancled is none of valid, cancelled, refunded, blocked, unsold, used")
    assert reason.endswith("is it cancelled?")
    assert bad(status="7")[1].endswith("unsold, used")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-08-01", "2026-07-31T23:00", "2026-08-01T22:59:59.999"),
        ("2026-12-01", "2026-12-01T00:00", "2026-12-01T23:59:59.999"),
        ("2026-03-29", "2026-03-29T00:00", "2026-03-29T22:59:59.999"),  # 23 hours: clocks go forward
        ("2026-10-25", "2026-10-24T23:00", "2026-10-25T23:59:59.999"),  # 25 hours: clocks go back
        ("2028-02-29", "2028-02-29T00:00", "2028-02-29T23:59:59.999"),
        ("2026-08-01T22:00", "2026-08-01T21:00", "2026-08-01T21:00"),
        ("2026-08-01 22:00", "2026-08-01T21:00", "2026-08-01T21:00"),
        ("2026-08-01t22:00:05", "2026-08-01T21:00:05", "2026-08-01T21:00:05"),
        ("2026-08-01T22:00:05.25", "2026-08-01T21:00:05.250", "2026-08-01T21:00:05.250"),
        ("2026-08-01T22:00:05,2509999", "2026-08-01T21:00:05.250", "2026-08-01T21:00:05.250"),
        ("2026-08-01T22:00Z", "2026-08-01T22:00", "2026-08-01T22:00"),
        ("2026-08-01T22:00:00z", "2026-08-01T22:00", "2026-08-01T22:00"),
        ("2026-08-01T22:00+02:00", "2026-08-01T20:00", "2026-08-01T20:00"),
        ("2026-08-01 22:00:00 -0330", "2026-08-02T01:30", "2026-08-02T01:30"),
        ("2026-08-01T22:00+02", "2026-08-01T20:00", "2026-08-01T20:00"),
        ("2026-10-25T01:30", "2026-10-25T00:30", "2026-10-25T00:30"),  # twice: the first of the two
        ("1785621600", "2026-08-01T22:00", "2026-08-01T22:00"),
        ("1785621600123", "2026-08-01T22:00:00.123", "2026-08-01T22:00:00.123"),
        ("0785621600123", "1994-11-23T20:13:20.123", "1994-11-23T20:13:20.123"),
    ],
)
def test_an_instant_is_read_in_the_gates_time_zone(text: str, first: str, last: str) -> None:
    assert LISBON.first_ms(text) == utc_ms(first)
    assert LISBON.last_ms(text) == utc_ms(last)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Lisbon"])
def test_the_first_and_the_last_day_of_all_are_dates_everywhere(zone: str) -> None:
    dates = Dates(ZoneInfo(zone))
    assert dates.first_ms("0001-01-01") < utc_ms("0001-01-02")
    assert dates.last_ms("9999-12-31") > utc_ms("9999-12-31")
    assert dates.last_ms("9999-12-31") - dates.first_ms("9999-12-31") == 86_400_000 - 1


def test_a_day_that_begins_at_one_o_clock_begins_then() -> None:
    beirut = Dates(ZoneInfo("Asia/Beirut"))  # clocks went from 24:00 to 01:00
    assert beirut.last_ms("2024-03-30") + 1 == beirut.first_ms("2024-03-31") == utc_ms("2024-03-30T22:00")


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "0000-01-01",
        "2026-8-1",
        "20260801",
        "01.08.2026",
        "08/01/2026",
        "2026-08-01T",
        "2026-08-01T22",
        "2026-08-01T24:00",
        "2026-08-01T22:60",
        "2026-08-01T22:00:60",
        "2026-08-01T22:00+25:00",
        "2026-08-01Z",
        "22:00",
        "tomorrow",
        "178562160",
        "17856216001",
        "1785621600123456",
        "-1785621600",
        "1785621600.5",
        "\uff12\uff10\uff12\uff16-08-01",
    ],
)
@pytest.mark.parametrize("column", ["valid_from", "valid_until"])
def test_a_wrong_date_is_refused(column: str, text: str) -> None:
    found, reason = bad(**{column: text})
    assert found == column
    assert reason.startswith(f"{text} is no date")


def test_both_ends_may_be_the_same_instant_but_not_cross() -> None:
    same = "2026-08-01T22:00"
    assert ticket_of(row(valid_from=same, valid_until=same), LISBON).valid_from_ms == utc_ms(
        "2026-08-01T21:00"
    )
    assert ticket_of(row(valid_from="2026-08-01", valid_until="2026-08-01"), LISBON)
    assert bad(valid_from="2026-08-01T22:00:00.001", valid_until=same) == (
        "valid_from",
        "later than valid_until",
    )


@pytest.mark.parametrize("order", [lambda dates: dates, reversed])
def test_a_date_read_again_is_the_same_at_both_ends(order: Callable[[list[str]], list[str]]) -> None:
    dates = Dates(UTC)
    for column in order(["first", "last", "first"]):
        assert dates.first_ms("2026-08-01") == utc_ms("2026-08-01"), column
        assert dates.last_ms("2026-08-01") == utc_ms("2026-08-02") - 1
