"""House checks: what the tree may hold, whatever it does."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import brokers, postgres, test_deploy_services
from tests.hal import typed
from tests.powercut import rig

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements-dev.txt", "requirements-gate.txt", "requirements-bridge.txt")
GENERATED = frozenset({*LOCKS, "LICENSE"})  # written by others: their length is not ours to choose

ROOT_ENTRIES = re.compile(
    r"firmware|hal|tests|deploy|systemd|pyproject\.toml|README\.md|CHANGELOG\.md|LICENSE|Makefile"
    r"|CONTRIBUTING\.md|SECURITY\.md|\..+|.+\.(lock|txt)"
)
LINES_MAX = 600  # beyond this a file is about two things

# The brackets keep the patterns from finding themselves.
LEFT_OPEN = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:home|Users|root|work|tmp|private)/[\w.]")
REGISTRY_HOST = re.compile(
    r"(?:pypi|pythonhosted|piwheels|npmjs|yarnpkg|crates|debian|raspberrypi)\.(?:org|com|io)\b"
    r"|--(?:extra-)?index-url[ =]\S*:/[/]"
)
SUPPRESSION = re.compile(r"#\s*(?:type: ignor[e]|noq[a]|pragma: no cove[r])")
SUPPRESSION_WITH_REASON = re.compile(
    r"#\s*(?:type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+|pragma: no cover)\s+(?:# |- |– )?\w+ \w+"
)


def tracked() -> list[Path]:
    """Files that git keeps."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: house checks are for the people who change it")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]


def text_faults(name: str, text: str) -> Iterator[str]:
    """What is wrong with the text of one file, one sentence each."""
    lines = text.splitlines()
    if name not in GENERATED and len(lines) > LINES_MAX:
        yield f"{name}: {len(lines)} lines; above {LINES_MAX} it is about two things, so cut it in two"
    for number, line in enumerate(lines, 1):
        if LEFT_OPEN.search(line):
            yield f"{name}:{number}: left open: finish it, or say in the documents that it is not there"
        if MACHINE_PATH.search(line):
            yield f"{name}:{number}: the path of one machine"
        if REGISTRY_HOST.search(line):
            yield f"{name}:{number}: the host of a package registry"
        if name.endswith(".py") and SUPPRESSION.search(line) and not SUPPRESSION_WITH_REASON.search(line):
            yield f"{name}:{number}: a check is switched off: name the rule, and write the reason on the line"


def habit_faults(name: str, text: str) -> Iterator[str]:
    """Habits which make a test slow, flaky or blind."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            if any(part.startswith("unittest.mock") or part == "mock" for part in named):
                yield f"{name}:{node.lineno}: a mock; give the product an argument instead, and pass a fake"
            if isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in named:
                yield f"{name}:{node.lineno}: a sleep; wait for the thing itself"
        elif isinstance(node, ast.Attribute) and node.attr == "sleep":
            yield f"{name}:{node.lineno}: a sleep; wait for the thing itself"


def locked(text: str) -> dict[str, list[str]]:
    """Requirement (`name==version`) and the digests beside it."""
    found: dict[str, list[str]] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        words = entry.split("#")[0].split()
        if words:
            found[words[0]] = [word for word in words if word.startswith("--hash=sha256:")]
    return found


def lock_faults(name: str, text: str) -> Iterator[str]:
    """What keeps a lock from fixing every byte that is installed."""
    for requirement, digests in locked(text).items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==\S+", requirement):
            yield f"{name}: {requirement} is not one version of one package"
        elif not digests:
            yield f"{name}: {requirement} has no digest"
    if "://" in text:
        yield f"{name}: names a host"


def test_no_file_holds_what_belongs_to_one_machine_or_was_left_open() -> None:
    faults: list[str] = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        data = path.read_bytes()
        if b"\0" not in data:
            faults += text_faults(name, data.decode("utf-8", "replace"))
    assert faults == []


def test_the_tests_neither_sleep_nor_mock() -> None:
    faults: list[str] = []
    for path in (ROOT / "tests").rglob("*.py"):
        faults += habit_faults(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    assert faults == []


def test_the_root_holds_only_what_was_agreed() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert "pyproject.toml" in entries
    assert sorted(entry for entry in entries if not ROOT_ENTRIES.fullmatch(entry)) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_fixes_every_byte_and_names_no_host(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert len(locked(text)) > 3
    assert list(lock_faults(name, text)) == []


def test_the_locks_hold_what_the_extras_ask_for_and_agree() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    versions = {}
    for name in LOCKS:
        locks = locked((ROOT / name).read_text("utf-8"))
        versions[name] = dict(requirement.split("==") for requirement in locks)
    asked = {extra: {re.split(r"[<>=\[]", line)[0] for line in extras[extra]} for extra in extras}
    gate, dev = versions["requirements-gate.txt"], versions["requirements-dev.txt"]
    bridge = versions["requirements-bridge.txt"]
    assert asked["gate"] <= gate.keys()
    assert asked["bridge"] <= bridge.keys()
    assert asked["gate"] | asked["bridge"] | asked["dev"] <= dev.keys() | {"gatepost"}
    assert gate.items() <= dev.items()
    assert bridge.items() <= dev.items()


def test_make_system_installs_what_power_cuts_brokers_and_keyboards_need() -> None:
    listed = re.search(r"^SYSTEM_PACKAGES := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert listed
    assert set(listed[1].split()) == {
        *rig.PACKAGES.values(),
        *brokers.PACKAGES.values(),
        *typed.PACKAGES,
        *postgres.PACKAGES,
        test_deploy_services.PACKAGE,
    }


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version]


def test_the_wheel_holds_the_two_packages_and_their_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("gatepost-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"firmware", "hal"}
    assert {"firmware/py.typed", "hal/py.typed", "firmware/core/__init__.py"} <= set(names)
    assert "firmware/bridge/migrations/versions/step_0001_ledger.py" in names, "no ledger could be made"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("firmware/lane.py", "line\n" * (LINES_MAX + 1)),
        ("firmware/lane.py", "# TO" + "DO: the exit"),
        ("Makefile", "# FIX" + "ME"),
        ("README.md", "cd /" + "home/anna/gatepost"),
        ("tests/test_lane.py", 'open("/' + 'tmp/lane")'),
        ("requirements-dev.txt", "--index-url https:/" + "/example.net/simple"),
        ("deploy/install", "curl https://files.pythonhosted" + ".org/x"),
        ("firmware/lane.py", "import x  # type: ignor" + "e"),
        ("firmware/lane.py", "import x  # type: ignor" + "e[import]"),
        ("firmware/lane.py", "import x  # noq" + "a: F401"),
        ("firmware/lane.py", "else:  # pragma: no cove" + "r"),
    ],
)
def test_a_file_against_the_house_rules_is_refused(name: str, text: str) -> None:
    assert len(list(text_faults(name, text))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("firmware/lane.py", "line\n" * LINES_MAX),
        ("requirements-dev.txt", "line\n" * (LINES_MAX + 1)),
        ("README.md", "ls ~/gates/house and https://example.net/home/page"),
        ("firmware/lane.py", "import x  # type: ignore[import-untyped]  # evdev has no types"),
        ("firmware/lane.py", "import x  # noqa: F401 – seen by the doctor"),
    ],
)
def test_a_file_within_the_house_rules_passes(name: str, text: str) -> None:
    assert list(text_faults(name, text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.sl" + "eep(1)",
        "from time import sleep",
        "import unittest.mock",
        "from unittest.mock import patch",
    ],
)
def test_a_test_that_sleeps_or_mocks_is_refused(text: str) -> None:
    assert len(list(habit_faults("tests/test_lane.py", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "rich>=14 --hash=sha256:aa",
        "rich==15.0.0",
        "-e .",
        "rich==15.0.0 --hash=sha256:aa # https:/" + "/example.net",
    ],
)
def test_a_lock_that_leaves_something_open_is_refused(text: str) -> None:
    assert len(list(lock_faults("requirements-dev.txt", text))) == 1
