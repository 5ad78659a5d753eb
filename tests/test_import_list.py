"""Whole imports: what comes into the catalogue, what is said about it, and what changes nothing."""

import os
import random
import subprocess
import sys
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest

from firmware.catalogue import Build, Catalogue, CatalogueBusy
from firmware.core.ticket import Status, Ticket
from firmware.lists import FILE_BYTES_MAX, ImportReport, Refusal, import_list

NOW_MS = 1_790_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "catalogue"


def take(
    folder: Path, text: str | bytes, *, skip_bad: bool = False, allow_empty: bool = False
) -> ImportReport:
    """Import a list of this text."""
    path = folder.with_name("list.csv")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return import_list(
        path, folder, timezone=UTC, skip_bad=skip_bad, allow_empty=allow_empty, stamp_utc_ms=NOW_MS
    )


def found(folder: Path, *codes: str) -> list[Ticket | None]:
    """The tickets of some codes."""
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        return [catalogue.get(catalogue.digest(code)) for code in codes]


def counts(report: ImportReport) -> tuple[int, int, int, int, int]:
    return report.new, report.changed, report.unchanged, report.removed, report.refused


def test_a_list_comes_into_the_catalogue(folder: Path) -> None:
    report = take(folder, "code,ticket_id,status,name\nA,1,valid,Anna\n B ,2,used,Bert\n")
    assert report.applied
    assert counts(report) == (2, 0, 0, 0, 0)
    assert report.ignored_columns == ("name",)
    assert report.sentences() == [
        "columns not kept: name",
        "2 new, 0 changed, 0 unchanged, 0 removed; 0 of 2 rows refused",
    ]
    assert found(folder, "A", " B ", "B") == [Ticket("1"), Ticket("2", Status.USED), None]
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert (catalogue.count, catalogue.stamp_utc_ms, catalogue.source) == (2, NOW_MS, "list.csv")


def test_a_ticket_without_an_id_is_called_by_the_digest_of_its_code(folder: Path) -> None:
    assert take(folder, "code\nA\nB\n").applied
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        digest = catalogue.digest("A")
        assert catalogue.get(digest) == Ticket(digest.hex())


def test_a_list_replaces_the_one_before_and_counts_tickets_by_their_id(folder: Path) -> None:
    take(folder, "code,ticket_id,sector\nA,1,x\nB,2,x\nC,3,x\nD,4,x\n")
    report = take(folder, "code,ticket_id,sector\nA,1,x\nB,2,y\nNEW,3,x\nE,5,x\n")
    assert counts(report) == (1, 2, 1, 1, 0)
    assert found(folder, "A", "C", "D") == [Ticket("1", sector="x"), None, None]
    assert found(folder, "B", "NEW", "E") == [
        Ticket("2", sector="y"),
        Ticket("3", sector="x"),
        Ticket("5", sector="x"),
    ]
    assert counts(take(folder, "code,ticket_id,sector\nA,1,x\nB,2,y\nNEW,3,x\nE,5,x\n")) == (0, 0, 4, 0, 0)


def test_json_lines_come_in_the_same_way(folder: Path) -> None:
    report = take(
        folder, '{"code": 7, "status": "Cancelled"}\r\n{"code": "B", "ticket_id": 9, "who": "x"}\r\n'
    )
    assert counts(report) == (2, 0, 0, 0, 0)
    first, second = found(folder, "7", "B")
    assert first is not None
    assert first.status is Status.CANCELLED
    assert second == Ticket("9")


BAD = (
    b"code,ticket_id,valid_from,valid_until,status\n"
    b"A,1,,,\n"  # 2
    b",2,,,\n"  # 3: no code
    b"C,3,2026-02-30,,\n"  # 4: no such day
    b"D,4,,,sold\n"  # 5: no such status
    b"E,5\n"  # 6: too few fields
    b"\xff,6,,,\n"  # 7: not UTF-8
    b"A,7,,,\n"  # 8: the code of line 2
    b"G,1,,,\n"  # 9: the id of line 2
    b"H,8,2026-08-02,2026-08-01,\n"  # 10: ends before it begins
    b"I,9,,,\n"  # 11
    b"A,1,,,\n"  # 12: both of line 2
)
BAD_LINES = [3, 4, 5, 6, 7, 8, 9, 10, 12]


def test_bad_rows_are_named_by_their_lines_and_nothing_changes(folder: Path) -> None:
    take(folder, "code\nBEFORE\n")
    report = take(folder, BAD)
    assert not report.applied
    assert counts(report) == (0, 0, 0, 0, len(BAD_LINES))
    assert report.rows == 11
    assert [refusal.line for refusal in report.refusals] == BAD_LINES
    said = {refusal.line: refusal for refusal in report.refusals}
    assert said[3] == Refusal(3, "code", "is empty")
    assert said[8] == Refusal(8, "code", "the same as in line 2")
    assert said[9] == Refusal(9, "ticket_id", "the same as in line 2")
    assert str(said[12]) == "line 12: code: the same as in line 2"
    assert str(said[6]) == "line 6: 2 fields, and the first line names 5"
    assert report.sentences()[-1] == "9 of 11 rows refused; nothing was changed"
    assert len(report.sentences()) == len(BAD_LINES) + 1
    before, other = found(folder, "BEFORE", "I")
    assert before is not None
    assert other is None


def test_bad_rows_are_left_out_where_that_is_asked_for(folder: Path) -> None:
    take(folder, "code\nBEFORE\n")
    report = take(folder, BAD, skip_bad=True)
    assert report.applied
    assert counts(report) == (2, 0, 0, 1, len(BAD_LINES))
    assert [refusal.line for refusal in report.refusals] == BAD_LINES
    assert found(folder, "A", "I", "G", "H", "BEFORE") == [Ticket("1"), Ticket("9"), None, None, None]


def test_more_bad_rows_than_anyone_reads_are_all_counted(folder: Path) -> None:
    report = take(folder, "code,status\n" + "A,nonsense\n" * 250)
    assert (report.refused, len(report.refusals)) == (250, 100)
    assert report.sentences()[-2] == "... and 150 more"


def test_of_many_copies_the_first_lines_are_shown(folder: Path) -> None:
    codes = [f"C{number}" for number in range(300)]
    report = take(folder, "\n".join(["code", *codes, *codes]), skip_bad=True)
    assert counts(report) == (300, 0, 0, 0, 300)
    assert [refusal.line for refusal in report.refusals] == list(range(302, 402))


@pytest.mark.parametrize("text", ["", "\n\n", "code\n", "\ufeffcode,event\r\n\r\n"])
def test_an_empty_list_would_lock_everyone_out_and_is_refused(folder: Path, text: str) -> None:
    take(folder, "code,ticket_id\nA,1\n")
    report = take(folder, text)
    assert not report.applied
    assert report.refusals == (Refusal(1, "", "no good row: with an empty list nobody would get in"),)
    assert not take(folder, text, skip_bad=True).applied
    assert found(folder, "A") == [Ticket("1")]
    report = take(folder, text, allow_empty=True)
    assert report.applied
    assert counts(report) == (0, 0, 0, 1, 0)
    assert found(folder, "A") == [None]


def test_a_list_of_bad_rows_only_is_refused_even_without_them(folder: Path) -> None:
    report = take(folder, "code,status\nA,nonsense\n", skip_bad=True)
    assert not report.applied
    assert [refusal.line for refusal in report.refusals] == [1, 2]
    assert take(folder, "code,status\nA,nonsense\n", skip_bad=True, allow_empty=True).applied


def test_a_file_that_is_no_list_is_said_in_the_report(folder: Path) -> None:
    take(folder, "code,ticket_id\nA,1\n")
    for text in ("barcode\nA\n", b"PK\x03\x04", "[1]", b"\xff\xfec\0"):
        report = take(folder, text, skip_bad=True)
        assert not report.applied
        assert [refusal.line for refusal in report.refusals] == [1]
        assert report.sentences()[-1] == "0 of 0 rows refused; nothing was changed"
    assert found(folder, "A") == [Ticket("1")]


def test_a_file_of_gigabytes_is_refused_at_once(folder: Path) -> None:
    path = folder.with_name("list.csv")
    path.touch()
    os.truncate(path, FILE_BYTES_MAX + 1)
    report = import_list(path, folder, timezone=UTC)
    assert [refusal.reason for refusal in report.refusals] == [
        "larger than 4 GiB: this is no list of tickets"
    ]


def test_a_file_that_is_not_there_changes_nothing(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        import_list(folder.with_name("missing.csv"), folder, timezone=UTC)
    assert not folder.exists()


def test_a_second_import_is_refused_while_one_runs(folder: Path) -> None:
    with (
        Build(folder, source="first", stamp_utc_ms=NOW_MS),
        pytest.raises(CatalogueBusy, match=f"process {os.getpid()} is writing; wait for it, or end it"),
    ):
        take(folder, "code\nA\n")


def test_an_import_says_that_the_list_in_use_was_damaged_and_mends_it(folder: Path) -> None:
    take(folder, "code,ticket_id\nA,1\n")
    os.truncate(folder / "build-1" / "data.mdb", 5000)
    report = take(folder, "code,ticket_id\nA,1\n")
    assert counts(report) == (1, 0, 0, 0, 0)
    assert "set aside" in report.fault
    assert report.fault in report.sentences()
    assert found(folder, "A") == [Ticket("1")]


def test_a_gate_with_a_list_in_use_is_not_disturbed_by_an_import_in_its_own_process(folder: Path) -> None:
    take(folder, "code,ticket_id\nA,1\n")
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        report = take(folder, "code,ticket_id\nA,2\n")
        assert report.applied
        assert "already open in this process" in report.fault
        assert catalogue.get(catalogue.digest("A")) == Ticket("1")
        assert catalogue.reload()
        assert catalogue.get(catalogue.digest("A")) == Ticket("2")


def test_the_progress_grows_to_the_size_of_the_file(folder: Path) -> None:
    path = folder.with_name("list.csv")
    path.write_text("code\n" + "".join(f"C{number}\n" for number in range(12_000)))
    told: list[tuple[int, int]] = []
    import_list(path, folder, timezone=UTC, progress=lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    assert len(told) == 3
    assert all(total == size for _, total in told)
    assert all(earlier < later for earlier, later in pairwise(done for done, _ in told))
    assert told[-1] == (size, size)


def test_a_list_larger_than_what_is_held_in_memory_comes_in_whole(folder: Path) -> None:
    numbers = list(range(120_000))
    random.Random(4).shuffle(numbers)
    text = "code,ticket_id\n" + "".join(f"C{number},T{number}\n" for number in numbers)
    assert counts(take(folder, text + "C7,X\nY,T8\n", skip_bad=True)) == (120_000, 0, 0, 0, 2)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.count == 120_000
        for number in range(0, 120_000, 7):
            assert catalogue.get(catalogue.digest(f"C{number}")) == Ticket(f"T{number}")


def test_an_import_makes_way_for_the_gate() -> None:
    script = (
        "import os\nfrom firmware.lists import make_way\nmake_way()\nprint(os.nice(0) - int(os.environ['N']))"
    )
    environment = {**os.environ, "N": str(os.nice(0))}
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment
    ).stdout
    assert output == "5\n"
