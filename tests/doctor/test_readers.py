import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config import Settings, parse
from firmware.doctor import findings, readers
from firmware.doctor.check import Check, Finding, Verdict
from firmware.doctor.found import devices
from tests.doctor.trees import MOUSE_KEYS, OFFICE_KEYS, POWER_KEYS, SCANNER_KEYS, Tree, laptop, open_to_others

SCANNER = "usb-Honeywell_Voyager_1400g_17B1-event-kbd"
BY_ID = f"/dev/input/by-id/{SCANNER}"
ROOT = Path(__file__).parents[2]


def settings(*lanes: str) -> Settings:
    """One lane for each, whose text is that of its readers."""
    text = "".join(f'[[lane]]\nname = "{number}"\n{lane}\n' for number, lane in enumerate(lanes, 1))
    return parse(text, "gate.toml")


def serial(device: str) -> str:
    return f'[[lane.reader]]\nkind = "serial"\ndevice = "{device}"\n'


def keyboard(device: str = BY_ID) -> str:
    return f'[[lane.reader]]\nkind = "evdev"\ndevice = "{device}"\n'


def by_ids(vendor: str = "0c2e", product: str = "0901", more: str = "") -> str:
    ids = f'vendor = "{vendor}"\nproduct = "{product}"\n{more}'
    return f'[[lane.reader]]\nkind = "evdev"\n{ids}\n'


def checks(tree: Tree, *lanes: str) -> list[Check]:
    wanted = settings(*lanes)
    found = devices(tree.machine)
    return list(readers.examine(tree.machine, wanted.lanes, readers.wanted(wanted), found))


def is_seen(found: list[Check], finding: Finding) -> bool:
    """Whether a check of this kind is among them: told by what its text begins or ends with."""
    parts = [part for part in finding.text.replace("}", "{").split("{")[::2] if part.strip(" :,()")]
    return any(
        check.verdict is finding.verdict and all(part in check.text for part in parts) for check in found
    )


def test_a_scanner_on_each_kind_of_line_is_found_and_named(tree: Tree) -> None:
    device = tree.serial("ttyACM0")
    tree.input(1, "Honeywell Voyager 1400g", SCANNER_KEYS, serial="17B1", by_id=SCANNER)
    assert checks(tree, serial(device) + keyboard()) == [
        findings.READER_THERE.seen(
            lane="1", device=device, product=" (Newland NLS-FM430, 1eab:1a06, A1B2C3)"
        ),
        findings.READER_THERE.seen(
            lane="1", device=BY_ID, product=" (Honeywell Voyager 1400g, 0c2e:0901, 17B1)"
        ),
    ]


def test_a_scanner_that_is_not_in_the_settings_is_told_by_its_best_name(tree: Tree) -> None:
    device = tree.serial("ttyACM0")
    (none, unused) = checks(tree, "")
    assert none == findings.NO_READER.seen(lane="1")
    assert unused.text.startswith(f"not in the settings: {device} (Newland")
    assert unused.verdict is Verdict.OK


def test_a_reader_that_is_missing_is_a_fault_that_names_those_that_are_there(tree: Tree) -> None:
    device = tree.serial("ttyACM0")
    fault, _ = checks(tree, serial("/dev/serial/by-id/usb-Other"))
    assert fault == findings.READER_MISSING.seen(lane="1", device="/dev/serial/by-id/usb-Other", found=device)
    (missing,) = checks(tree, keyboard())[:1]
    assert missing.text.endswith("is not there; found: none")


def test_a_scanner_named_by_vendor_product_and_serial_is_found(tree: Tree) -> None:
    tree.input(1, "Honeywell Voyager", SCANNER_KEYS, serial="17B1", by_id=SCANNER)
    tree.input(2, "Honeywell Voyager", SCANNER_KEYS, serial="17B2", place="usb-0000:01:00.0-1.4")
    assert is_seen(checks(tree, by_ids(more='serial = "17B1"')), findings.READER_THERE)
    assert is_seen(checks(tree, by_ids(more='serial = "9"')), findings.READER_MISSING)
    assert is_seen(checks(tree, by_ids(product="ffff")), findings.READER_MISSING)
    assert is_seen(checks(tree, by_ids()), findings.READER_TWINS)  # without its serial it could be either


def test_two_identical_scanners_are_a_fault_until_each_is_named_by_its_place(tree: Tree) -> None:
    tree.input(1, "WIT 122-UFS", SCANNER_KEYS, by_id=SCANNER)
    tree.input(2, "WIT 122-UFS", SCANNER_KEYS, by_id=SCANNER, place="usb-0000:01:00.0-1.4")
    for lane in (keyboard(), by_ids()):
        (twins,) = [check for check in checks(tree, lane) if check.verdict is Verdict.FAULT]
        assert twins.text.startswith("lane 1: 2 readers fit")
        assert twins.text.count("/dev/input/by-path/") == 2
    places = sorted((tree.root / "dev/input/by-path").iterdir())
    named = [keyboard(tree.machine.named(path)) for path in places if "usb" in path.name]
    assert len(named) == 2
    assert {check.verdict for check in checks(tree, *named)} == {Verdict.OK}


def test_two_identical_scanners_that_no_lane_has_yet_are_a_warning(tree: Tree) -> None:
    tree.serial("ttyACM0", serial="", by_id="usb-Same-if00")
    tree.serial("ttyACM1", serial="", by_id="usb-Same-if00", port="1-1.4")
    alike = [check for check in checks(tree, "") if "are alike" in check.text]
    assert alike == [
        findings.READERS_ALIKE.seen(
            count=2, product="Newland NLS-FM430", device="/dev/serial/by-id/usb-Same-if00"
        )
    ]


def test_one_scanner_with_two_interfaces_is_no_twin_of_itself(tree: Tree) -> None:
    tree.input(1, "Zebra DS9308", SCANNER_KEYS, by_id=SCANNER)
    tree.input(2, "Zebra DS9308 System", SCANNER_KEYS, interface=1)
    assert not any("readers fit" in check.text or "alike" in check.text for check in checks(tree, keyboard()))


@pytest.mark.parametrize("keys", [MOUSE_KEYS, POWER_KEYS])
def test_a_mouse_or_a_button_in_the_place_of_a_scanner_is_a_fault(tree: Tree, keys: tuple[int, ...]) -> None:
    tree.input(1, "Logitech USB Optical Mouse", keys, ids="046d:c077", by_id=SCANNER)
    (fault,) = checks(tree, keyboard())
    assert fault.verdict is Verdict.FAULT
    assert "has no keys for letters and digits" in fault.text
    assert is_seen(checks(tree, by_ids("046d", "c077")), findings.READER_MISSING)


def test_a_mouse_that_nobody_named_is_not_told(tree: Tree) -> None:
    tree.input(1, "Logitech USB Optical Mouse", MOUSE_KEYS, ids="046d:c077")
    assert checks(tree, "") == [findings.NO_READER.seen(lane="1")]


def test_an_office_keyboard_in_the_place_of_a_scanner_is_a_warning(tree: Tree) -> None:
    tree.input(1, "Cherry Stream", OFFICE_KEYS, ids="046a:0180", by_id=SCANNER)
    assert is_seen(checks(tree, keyboard()), findings.READER_KEYBOARD)


def test_the_media_keys_of_a_keyboard_may_be_on_its_second_interface(tree: Tree) -> None:
    tree.input(1, "Cherry Stream", SCANNER_KEYS, by_id=SCANNER)
    tree.input(2, "Cherry Stream Consumer Control", (113, 114, 115), interface=1)
    assert is_seen(checks(tree, keyboard()), findings.READER_KEYBOARD)


def test_the_keyboard_of_a_laptop_is_one_for_people(tmp_path: Path) -> None:
    tree = laptop(tmp_path / "machine")
    found = checks(tree, keyboard("/dev/input/event3"))
    assert is_seen(found, findings.READER_WANDERS)
    (place,) = (tree.root / "dev/input/by-path").iterdir()
    assert is_seen(checks(tree, keyboard(tree.machine.named(place))), findings.READER_KEYBOARD)


@pytest.mark.parametrize("name", ["/dev/ttyACM0", "/dev/ttyUSB0"])
def test_a_name_that_changes_with_the_order_of_plugging_is_a_warning(tree: Tree, name: str) -> None:
    tree.serial(Path(name).name)
    assert checks(tree, serial(name)) == [findings.READER_WANDERS.seen(lane="1", device=name)]


def test_a_line_of_the_pi_itself_keeps_its_name(tree: Tree) -> None:
    tree.write("dev/ttyAMA0", "")
    assert checks(tree, serial("/dev/ttyAMA0")) == [
        findings.READER_THERE.seen(lane="1", device="/dev/ttyAMA0", product="")
    ]


def test_a_reader_of_the_wrong_kind_is_a_fault(tree: Tree) -> None:
    tree.input(1, "Honeywell Voyager", SCANNER_KEYS, by_id=SCANNER)
    device = tree.serial("ttyACM0")
    assert is_seen(checks(tree, serial(BY_ID)), findings.READER_NO_DEVICE)
    assert is_seen(checks(tree, keyboard(device)), findings.READER_NO_DEVICE)


def test_one_scanner_under_two_names_is_told(tree: Tree) -> None:
    device = tree.serial("ttyACM0")
    (place,) = (tree.root / "dev/serial/by-path").iterdir()
    first, second = checks(tree, serial(device), serial(tree.machine.named(place)))
    assert first.verdict is Verdict.OK
    assert second == findings.SHARED_READER.seen(lane="2", device=tree.machine.named(place), other="1")


def test_lines_are_not_opened(tree: Tree, tmp_path: Path) -> None:
    pipe = tmp_path / "codes"
    os.mkfifo(pipe)  # to open it would wait for ever
    lane = f'[[lane.reader]]\nkind = "lines"\npath = "{pipe}"\n'
    assert checks(tree, lane) == [findings.READER_LINES.seen(lane="1", device=pipe)]


def test_what_a_device_calls_itself_cannot_change_a_terminal(tree: Tree) -> None:
    tree.serial("ttyACM0", "Evil \x1b[2J\x07Scanner", by_id="usb-Evil-if00")
    (check,) = checks(tree, serial("/dev/serial/by-id/usb-Evil-if00"))
    assert check.text.isprintable()


@pytest.fixture
def terminal(tree: Tree) -> Iterator[str]:
    """A real terminal line, under a name as udev gives it."""
    ours, theirs = pty.openpty()
    try:
        yield tree.serial("ttyACM0", node=Path(os.ttyname(theirs)))
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_real_terminal_line_behind_a_link_is_there(tree: Tree, terminal: str) -> None:
    (check,) = checks(tree, serial(terminal))
    assert check.verdict is Verdict.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_device_without_permission_is_a_fault_that_names_its_group(tree: Tree, terminal: str) -> None:
    line = (tree.root / terminal.lstrip("/")).resolve()
    os.chown(line, 0, 20)  # dialout on every Debian
    line.chmod(0o660)
    open_to_others(tree.root)
    program = (
        "import os, sys\n"
        "from tests.doctor.test_readers import checks, serial\n"
        "from tests.doctor.trees import Tree\n"
        "from pathlib import Path\n"
        "from firmware.doctor.machine import Machine\n"
        "tree = Tree.__new__(Tree)\n"
        "tree.root, tree.machine = Path(sys.argv[1]), Machine(Path(sys.argv[1]))\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "(check,) = checks(tree, serial(sys.argv[2]))\n"
        "print(check.verdict, check.text, check.mend)\n"
    )
    command = [sys.executable, "-c", program, str(tree.root), terminal]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    seen = f"fault lane 1: {terminal} belongs to the group dialout, and may not be read by nobody"
    assert told.startswith(seen)
    assert "its group is to be dialout" in told
