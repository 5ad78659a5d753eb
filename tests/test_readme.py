import ast
import re
from pathlib import Path

import pytest

from tests.readme import README, renewed, replaced

ROOT = README.parent
TEST_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PATH_NAMED = re.compile(r"`((?:firmware|hal|tests|deploy|systemd)/[\w./-]+)`")


def test_the_readme_has_the_lane_table_of_the_code() -> None:
    text = README.read_text()
    assert renewed(text) == text, "mend with: python -m tests.readme"


def test_a_missing_mark_is_named() -> None:
    with pytest.raises(ValueError, match="lane table"):
        replaced("no marks here", "lane table", "")


def test_every_promise_names_tests_that_exist() -> None:
    text = README.read_text()
    named = TEST_NAMED.findall(text)
    for number in range(1, 11):
        assert re.search(rf"^\| {number} \|.*`tests/", text, re.MULTILINE), f"promise {number} names no test"
    for path, name in named:
        found = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in found, f"{path} has no {name}"


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("deploy/*.md"))]
)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    for path in PATH_NAMED.findall((ROOT / page).read_text()):
        assert (ROOT / path).exists() or Path(path).suffix == "", f"{page} names {path}"
