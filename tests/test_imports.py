"""Who may import whom. The table of the design, held against every module of the product."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The core decides from what it is handed: nothing here can read a clock, a file, a random number or a log.
PURE_IMPORTS = frozenset({"__future__", "collections.abc", "dataclasses", "enum", "typing"})
IMPURE_BUILTINS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "globals"})

# Pure too, but on the devices' side: bytes or key events in, text out.
PURE_HAL = frozenset({"hal.ports", "hal.keys", "hal.frames", "hal.calibrate"})
PURE_HAL_IMPORTS = PURE_IMPORTS | {"itertools", "re", "types"}

# A module imports from its own level or a lower one. A module that is not named here stands at the top, where
# only the top may import it: give it its level when something below needs it.
LEVELS = {
    "firmware.core": 0,
    "firmware.aftermath": 1,
    "firmware.asks": 1,
    "firmware.bundle": 1,
    "firmware.catalogue": 1,
    "firmware.command_line": 1,
    "firmware.config": 1,
    "firmware.device": 1,
    "firmware.doctor.machine": 1,
    "firmware.facts": 1,
    "firmware.fault_codes": 1,
    "firmware.files": 1,
    "firmware.history": 1,
    "firmware.hold": 1,
    "firmware.inbox": 1,
    "firmware.journal": 1,
    "firmware.measures": 1,
    "firmware.noted": 1,
    "firmware.ration": 1,
    "firmware.remembered": 1,
    "firmware.proof": 1,
    "firmware.row": 1,
    "firmware.rows": 1,
    "firmware.sealing": 1,
    "firmware.signals": 1,
    "firmware.signing": 1,
    "firmware.signed_code": 1,
    "firmware.venue_key": 1,
    "firmware.stored_settings": 1,
    "firmware.vitals": 1,
    "firmware.watchdog": 1,
    "firmware.wire": 1,
    "firmware.faults": 2,
    "firmware.gate": 2,
    "firmware.managed": 2,
    "firmware.mqtt": 2,
    "firmware.spool": 2,
    "firmware.standby": 2,
    "firmware.sync": 2,
    "firmware.shots": 2,
    "firmware.uplink": 2,
}
TOP = 3

# Each outside library behind one file, so that a fake or another one can take its place. LMDB has two: the
# catalogue, which the cloud can replace, and the history, which the journal can rebuild.
DRIVERS = {
    "alembic": ("firmware.bridge.migrations",),
    "evdev": ("hal.evdev_reader",),
    "gpiozero": ("hal.gpio", "hal.chip_pins"),
    "httpcore": ("firmware.bridge.connections",),
    "httpx": ("firmware.bridge",),
    "iotcore": ("firmware.demo.broker",),
    "lgpio": ("hal.chips",),
    "lmdb": ("firmware.catalogue", "firmware.history"),
    "paho": ("firmware.mqtt.link",),
    "prometheus_client": ("firmware.bridge.metrics",),
    "segno": ("firmware.doctor.symbol",),
    "serial": ("hal.serial_reader",),
    "sqlalchemy": ("firmware.bridge",),
    "sqlite3": ("firmware.rows",),
}

# These need a device or its library, and another machine has neither: import them inside functions only.
LAZY = frozenset({"hal.chip_pins", "hal.evdev_reader", "hal.gpio", "hal.serial_reader"})

# Besides: what a row's bytes say, the venue's key, the lock of a folder, how much is said, how settings are
# declared and how commands end, which both sides share.
BRIDGE_MAY_IMPORT = (
    "firmware.bridge",
    "firmware.command_line",
    "firmware.config",
    "firmware.core",
    "firmware.hold",
    "firmware.mqtt",
    "firmware.ration",
    "firmware.row",
    "firmware.signed_code",
    "firmware.venue_key",
    "firmware.wire",
)
# One command for all parts; the demo's bridge and its vendor are processes of their own.
STARTS_THE_BRIDGE = ("firmware.cli", "firmware.demo.bridge", "firmware.demo.vendor")


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports, and the line where it does."""

    module: str
    target: str
    line: int
    lazy: bool
    """Inside a function, so that it happens when it is needed."""


def inside(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages, or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def modules(root: Path) -> dict[str, Path]:
    """Dotted name and file of every module of the product under `root`."""
    found = {}
    for package in ("firmware", "hal"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Every import of a module, those inside functions and for type checking too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {inner for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, node in lazy)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                source = f"{above}.{source}" if source else above
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield Import(module, name if name in known else source, node.lineno, node in lazy)


def level(module: str) -> int:
    """How high a module of `firmware` stands; the longest name in the table counts."""
    names = [name for name in LEVELS if inside(module, name)]
    return LEVELS[max(names, key=len)] if names else TOP


def fault(item: Import) -> str | None:
    """Why this import is not allowed, or None."""
    module, target = item.module, item.target
    if inside(module, "firmware.core") and not inside(target, "firmware.core") and target not in PURE_IMPORTS:
        return "the core imports nothing that could read, write, wait or guess"
    if module in PURE_HAL and target not in PURE_HAL | PURE_HAL_IMPORTS:
        return "ports, keys and frames hold no I/O"
    for library, files in DRIVERS.items():
        if inside(target, library) and not inside(module, *files):
            return f"{library} is imported by {' and '.join(files)} only"
    if target in LAZY and not item.lazy:
        return "its library may be absent: import it in the function that builds the device"
    if target == "importlib" or inside(target, "importlib.util", "importlib.machinery"):
        return "import lazily with an import statement in the function: this table cannot see the other way"
    if inside(module, "hal") and inside(target, "firmware"):
        return "hal knows nothing of tickets"
    return direction_fault(module, target) if inside(module, "firmware") else None


def direction_fault(module: str, target: str) -> str | None:
    """Why a module of `firmware` may not import this part of the product, or None."""
    if inside(target, "hal"):
        if level(module) < TOP and target != "hal.ports":
            return "below the command line only hal.ports is known"
        return None
    if not inside(target, "firmware"):
        return None
    if inside(module, "firmware.bridge"):
        return None if inside(target, *BRIDGE_MAY_IMPORT) else f"the bridge imports {BRIDGE_MAY_IMPORT} only"
    if inside(target, "firmware.bridge"):
        return None if inside(module, *STARTS_THE_BRIDGE) else "nothing on the gate imports the bridge"
    if level(target) > level(module):
        return f"imports point down: {target} stands above {module} (LEVELS in this test)"
    return None


def faults(root: Path) -> list[str]:
    """Every broken import rule under `root`, one sentence each."""
    known = modules(root)
    found = []
    edges: dict[str, set[str]] = {}
    for module, path in known.items():
        for item in imports(module, path, known):
            if item.target in known:
                edges.setdefault(module, set()).add(item.target)
            if why := fault(item):
                found.append(f"{path.relative_to(root)}:{item.line} imports {item.target}: {why}")
        if inside(module, "firmware.core"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
                    found.append(f"{path.relative_to(root)}:{node.lineno} uses {node.id}: the core is pure")
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found.append("imports in a circle: " + " <- ".join(error.args[1]))
    return found


def test_every_import_points_the_way_the_design_says() -> None:
    known = modules(ROOT)
    assert {"firmware", "firmware.core", "hal"} <= known.keys(), "the product was not found"
    assert faults(ROOT) == []


def plant(root: Path, **files: str) -> None:
    """A small tree of modules: `firmware__core__lane="import os"`."""
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("firmware__core__lane", "import time"),
        ("firmware__core__lane", "import collections"),
        ("firmware__core__lane", "import msgspec"),
        ("firmware__core__lane", "def f():\n    from random import random"),
        ("firmware__core__lane", "from .. import journal"),
        ("firmware__core__lane", "from firmware import journal"),
        ("firmware__core__lane", "print('opened')"),
        ("firmware__core__lane", "open('lane')"),
        ("hal__frames", "import os"),
        ("hal__board", "from firmware.core.lane import Lane"),
        ("hal__board", "import serial"),
        ("hal__board", "import serial.tools.list_ports"),
        ("hal__board", "from importlib import import_module"),
        ("hal__board", "from hal.serial_reader import SerialReader"),
        ("hal__board", "from hal import gpio"),
        ("hal__serial_reader", "import evdev"),
        ("firmware__gate", "import lmdb"),
        ("firmware__gate", "import sqlite3"),
        ("firmware__gate", "from hal.fake import FakeBoard"),
        ("firmware__gate", "import hal"),
        ("firmware__gate", "from firmware.bridge import relay"),
        ("firmware__gate", "from . import cli"),
        ("firmware__gate", "import firmware.somewhere_new"),
        ("firmware__rows", "from firmware.gate import Gate"),
        ("firmware__uplink", "import paho.mqtt.client"),
        ("firmware__uplink", "import httpx"),
        ("firmware__bridge__relay", "from firmware.journal import Journal"),
        ("firmware__bridge__relay", "import gpiozero"),
        ("firmware__journal", "from firmware import journal"),
    ],
)
def test_an_import_against_the_table_is_refused(tmp_path: Path, module: str, text: str) -> None:
    plant(tmp_path, hal__gpio="", hal__serial_reader="")
    plant(tmp_path, firmware__journal="", firmware__bridge__relay="", firmware__cli="")
    plant(tmp_path, **{module: text})
    (found,) = faults(tmp_path)
    assert found.startswith((module.replace("__", "/") + ".py:", "imports in a circle"))


def test_modules_that_import_each_other_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, firmware__rows="import firmware.history", firmware__history="from . import rows")
    (found,) = faults(tmp_path)
    assert found.startswith("imports in a circle")


def test_imports_as_the_table_has_them_pass(tmp_path: Path) -> None:
    plant(
        tmp_path,
        firmware__core__ticket="from enum import Enum\nfrom collections.abc import Mapping",
        firmware__core__lane="from firmware.core.ticket import Ticket\nfrom . import ticket",
        firmware__catalogue="import lmdb\nimport msgspec\nfrom firmware.core import ticket",
        firmware__rows="import sqlite3",
        firmware__journal="from firmware.rows import Rows",
        firmware__gate="import threading\nfrom firmware.journal import Journal\nimport hal.ports",
        firmware__bridge__vendor="import httpx\nfrom firmware.wire import Row\nfrom . import ledger",
        hal__board="def scanner():\n    from hal.serial_reader import SerialReader",
        firmware__cli="from hal.board import board\nfrom firmware import bridge, gate",
        hal__frames="import re\nfrom typing import Final",
        hal__serial_reader="import serial\nfrom hal.frames import Frames",
    )
    assert faults(tmp_path) == []
