"""What a gate says that it is, from the files of its computer."""

from pathlib import Path

from firmware.core.ticket import Perimeter
from firmware.device import Device, device


def card(root: Path, name: str, address: str, hardware: bool) -> None:
    folder = root / "sys/class/net" / name
    folder.mkdir(parents=True)
    (folder / "address").write_text(address + "\n")
    if hardware:
        (folder / "device").mkdir()


def test_a_raspberry_pi_is_known_by_its_first_card_its_serial_and_its_model(tmp_path: Path) -> None:
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    (tree / "serial-number").write_bytes(b"10000000a1b2c3d4\0")
    card(tmp_path, "lo", "00:00:00:00:00:00", hardware=False)
    card(tmp_path, "docker0", "02:42:00:00:00:01", hardware=False)
    card(tmp_path, "wlan0", "d8:3a:dd:00:00:02", hardware=True)
    card(tmp_path, "eth0", "d8:3a:dd:00:00:01", hardware=True)
    found = device((Perimeter.OUTER,), tmp_path)
    assert found == Device(
        (Perimeter.OUTER,), "d8:3a:dd:00:00:01", "10000000a1b2c3d4", "Raspberry Pi 5 Model B Rev 1.0"
    )


def test_a_computer_that_says_nothing_of_itself_is_a_gate_all_the_same(tmp_path: Path) -> None:
    assert device((), tmp_path) == Device()


def test_what_the_files_hold_cannot_be_longer_or_stranger_than_a_message_takes(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/dmi/id"
    folder.mkdir(parents=True)
    (folder / "product_name").write_bytes(b"\x1b[2J\xff" + b"x" * 1000)
    assert len(device((), tmp_path).model) <= 128
    assert device((), tmp_path).model.isprintable()
