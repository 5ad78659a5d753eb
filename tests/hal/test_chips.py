"""Chips by their label, and what is said where one cannot be had. On chips with physics."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hal.chips import PinRefused, lgpio, open_chip
from hal.setting_error import SettingError
from tests.hal.fake_chip import FakeChip, FakeLgpio, fake_devices

NOBODY = 65534  # the user and group that own nothing


def two_chips() -> FakeLgpio:
    return FakeLgpio({0: FakeChip("raspberrypi-exp-gpio", lines=8), 4: FakeChip("pinctrl-rp1")})


def test_a_chip_is_found_by_its_label_whatever_its_number(tmp_path: Path) -> None:
    lgpio = two_chips()
    chip = open_chip(lgpio, "pinctrl-rp1", fake_devices(tmp_path, 0, 4))
    assert (chip.path, chip.lines) == (str(tmp_path / "gpiochip4"), 28)
    chip.claim_output(17, 1)
    assert lgpio.chips[4].level(17) == 1
    chip.close()
    assert lgpio.chips[4].holders == {}


def test_a_chip_may_be_named_by_its_path_or_by_a_link_to_it(tmp_path: Path) -> None:
    devices = fake_devices(tmp_path, 0, 4)
    (tmp_path / "header").symlink_to(devices / "gpiochip4")
    (tmp_path / "gpiochip9").symlink_to(devices / "gpiochip4")  # as newer Raspberry Pi OS has it
    for name in ("gpiochip4", "header", "gpiochip9"):
        assert open_chip(two_chips(), str(devices / name), devices).path == str(devices / "gpiochip4")
    assert open_chip(two_chips(), "pinctrl-rp1", devices).path == str(devices / "gpiochip4")


@pytest.mark.parametrize("name", ["pinctrl-bcm2711", "/dev/gpiochip7"])
def test_a_wrong_chip_names_those_that_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError) as refused:
        open_chip(two_chips(), name, fake_devices(tmp_path, 0, 4))
    told = str(refused.value)
    assert name in told
    assert f'"raspberrypi-exp-gpio" ({tmp_path}/gpiochip0), "pinctrl-rp1" ({tmp_path}/gpiochip4)' in told


def test_a_machine_without_chips_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="this machine has none"):
        open_chip(FakeLgpio({}), "pinctrl-rp1", tmp_path)


def test_two_chips_of_one_label_have_to_be_named_by_path(tmp_path: Path) -> None:
    lgpio = FakeLgpio({0: FakeChip("sim"), 1: FakeChip("sim")})
    with pytest.raises(SettingError, match="name the path of one"):
        open_chip(lgpio, "sim", fake_devices(tmp_path, 0, 1))


def test_a_chip_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    devices = fake_devices(tmp_path, 0, 4)
    with pytest.raises(SettingError, match=r"gpiochip4 cannot be opened \(can not open gpiochip\)"):
        open_chip(FakeLgpio({0: FakeChip()}), str(devices / "gpiochip4"), devices)


@contextmanager
def as_somebody_else() -> Iterator[Path]:
    """Not as root, to whom everything is open; with a folder that anybody may look into."""
    before = os.geteuid()
    with TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        fake_devices(Path(folder), 0)
        (Path(folder) / "gpiochip0").chmod(0)
        os.seteuid(before or NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)


def test_a_chip_that_may_not_be_opened_names_the_group() -> None:
    with as_somebody_else() as devices:
        for name in ("pinctrl-rp1", str(devices / "gpiochip0")):
            with pytest.raises(
                SettingError, match=r"gpiochip0.* may not be opened: add .* to the group gpio"
            ):
                open_chip(two_chips(), name, devices)


def test_a_chip_that_something_else_keeps_shut_is_named_among_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r'there are "fake-gpio" .*gpiochip0.*, .*gpiochip1, which may not be'
    ):
        open_chip(FakeLgpio({0: FakeChip()}), "pinctrl-rp1", fake_devices(tmp_path, 0, 1))


def test_a_pin_that_another_gate_has_says_so(tmp_path: Path) -> None:
    chips = two_chips().chips
    fake_devices(tmp_path, 0, 4)
    open_chip(FakeLgpio(chips), "pinctrl-rp1", tmp_path).claim_output(17, 0)
    with pytest.raises(PinRefused, match='in use by "lg", a gate at work or another program with lgpio'):
        open_chip(FakeLgpio(chips), "pinctrl-rp1", tmp_path).claim_output(17, 0)


def test_a_pin_that_is_in_use_names_its_user(tmp_path: Path) -> None:
    lgpio = two_chips()
    lgpio.chips[4].users[8] = "spi0 CS0"
    chip = open_chip(lgpio, "pinctrl-rp1", fake_devices(tmp_path, 0, 4))
    for claim in (chip.claim_output, chip.claim_input, chip.claim_alert):
        with pytest.raises(PinRefused, match='is in use by "spi0 CS0"') as refused:
            claim(8, 0)
        assert refused.value.busy


def test_a_pin_that_a_chip_does_not_have_names_the_chip(tmp_path: Path) -> None:
    chip = open_chip(two_chips(), "raspberrypi-exp-gpio", fake_devices(tmp_path, 0))
    with pytest.raises(PinRefused, match="has only 8 lines") as refused:
        chip.claim_output(17, 0)
    assert not refused.value.busy


# lgpio is a process's own: it begins a thread and opens a pipe when it is imported.
IMPORTED = """
import os, sys
sys.path.insert(0, {root!r})
from hal.chips import lgpio
before = sorted(os.listdir()), os.getcwd(), dict(os.environ)
first, again = lgpio(), lgpio()
assert first is again and first.SET_PULL_UP and first.callback
assert (sorted(os.listdir()), os.getcwd(), dict(os.environ)) == before
for folder in sys.argv[1:]:
    assert os.listdir(folder) == [], os.listdir(folder)
"""


@pytest.mark.parametrize("variable", ["RUNTIME_DIRECTORY", "TMPDIR"])
def test_lgpio_leaves_nothing_behind_and_the_working_directory_as_it_was(
    tmp_path: Path, variable: str
) -> None:
    root = str(Path(__file__).parents[2])
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "RUNTIME_DIRECTORY"}
    subprocess.run(
        [sys.executable, "-c", IMPORTED.format(root=root), str(there), str(here)],
        check=True,
        cwd=here,
        env={**environment, variable: str(there), "LG_WD": "/nowhere"},
    )


MISSING = """
import sys
sys.path.insert(0, {root!r})
sys.modules["lgpio"] = None
from hal.gpio import open_factory
from hal.setting_error import SettingError
try:
    open_factory("lgpio", "pinctrl-bcm2711")
except SettingError as error:
    print(error)
open_factory("mock", "").close()
"""


def test_a_machine_without_lgpio_is_told_what_to_install_and_never_gets_other_pins() -> None:
    root = str(Path(__file__).parents[2])
    told = subprocess.run(
        [sys.executable, "-c", MISSING.format(root=root)], check=True, capture_output=True, text=True
    ).stdout
    assert 'factory = "lgpio" needs the library lgpio' in told
    assert "install gatepost[gate]" in told


def test_the_real_lgpio_has_what_is_used_of_it() -> None:
    module = lgpio()
    used = {name for name in dir(FakeLgpio) if name.startswith(("gpio", "callback", "SET", "BOTH", "error"))}
    assert used
    assert [name for name in used if not hasattr(module, name)] == []
