"""Machines as folders: what /proc, /sys and /dev hold on a Pi 3, 4 and 5 and on a laptop.

The texts are those that the kernels of these machines show. A tree is a folder of a test's own, so a test
may change whatever it likes.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

from firmware.doctor.machine import Machine

WORD_BITS = 8 * struct.calcsize("P")
MIB_IN_KIB = 1024
# Key maps of real devices, as numbers of linux/input-event-codes.h.
SCANNER_KEYS = (
    *range(1, 84),
    85,
    86,
    87,
    88,
    96,
    97,
    98,
    99,
    100,
    102,
    103,
    105,
    106,
    108,
    110,
    111,
    119,
    125,
    126,
)
OFFICE_KEYS = (*SCANNER_KEYS, 113, 114, 115, 116, 140, 142, 163, 164, 165)
MOUSE_KEYS = (272, 273, 274)  # BTN_LEFT, BTN_RIGHT, BTN_MIDDLE
POWER_KEYS = (116,)

PI_3 = "Raspberry Pi 3 Model B Plus Rev 1.3"
PI_4 = "Raspberry Pi 4 Model B Rev 1.4"
PI_5 = "Raspberry Pi 5 Model B Rev 1.0"
THROTTLED = {
    PI_3: "devices/platform/soc/soc:firmware",
    PI_4: "devices/platform/soc/soc:firmware",
    PI_5: "devices/platform/soc@107c000000/soc@107c000000:firmware",
}


class Tree:
    """A machine to be changed by a test."""

    def __init__(self, root: Path, memory_mib: int = 3792) -> None:
        self.root = root
        self.machine = Machine(root)
        self.write("proc/sys/kernel/osrelease", "6.6.51+rpt-rpi-v8\n")
        self.memory(total_mib=memory_mib, free_mib=memory_mib - 400)
        self.mounts("/dev/mmcblk0p2 / ext4 rw,noatime 0 0")
        self.write("proc/locks", "")
        (root / "dev").mkdir()

    def write(self, path: str, text: str) -> Path:
        """A file with this in it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str | Path) -> Path:
        """A link; a relative target counts from its own folder."""
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return link

    def memory(self, total_mib: int, free_mib: int) -> None:
        """What /proc/meminfo says."""
        self.write(
            "proc/meminfo",
            f"MemTotal:       {total_mib * MIB_IN_KIB} kB\nMemFree:          123456 kB\n"
            f"MemAvailable:   {free_mib * MIB_IN_KIB} kB\nHugePages_Total:       0\n",
        )

    def mounts(self, *lines: str) -> None:
        """What is mounted, beside what always is."""
        usual = ("proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0", "sysfs /sys sysfs rw 0 0")
        self.write("proc/self/mounts", "\n".join([*usual, *lines]) + "\n")

    def throttled(self, model: str, bits: int) -> None:
        """What the firmware of a Pi says of its supply."""
        folder = THROTTLED[model]
        self.write(f"sys/{folder}/get_throttled", f"{bits:x}\n")
        link = self.root / "sys/bus/platform/drivers/raspberrypi-firmware" / Path(folder).name
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.root / "sys" / folder)

    def heat(self, milli_degrees: int, zone: str = "cpu-thermal") -> None:
        """What a thermometer shows."""
        self.write("sys/class/thermal/thermal_zone0/temp", f"{milli_degrees}\n")
        self.write("sys/class/thermal/thermal_zone0/type", f"{zone}\n")

    def input(
        self,
        number: int,
        name: str,
        keys: Iterable[int],
        *,
        ids: str = "0c2e:0901",
        serial: str = "",
        place: str = "usb-0000:01:00.0-1.2",
        interface: int = 0,
        bus: str = "0003",
        by_id: str = "",
    ) -> None:
        """An input device, as the kernel and udev show it."""
        device = f"sys/class/input/event{number}/device"
        vendor, _, product = ids.partition(":")
        self.write(f"{device}/name", name + "\n")
        self.write(f"{device}/phys", f"{place}/input{interface}\n")
        self.write(f"{device}/uniq", serial + "\n")
        self.write(f"{device}/id/vendor", vendor + "\n")
        self.write(f"{device}/id/product", product + "\n")
        self.write(f"{device}/id/bustype", bus + "\n")
        self.write(f"{device}/capabilities/key", key_map(keys) + "\n")
        self.write(f"dev/input/event{number}", "")
        by_path = f"platform-{place.replace('/', '-')}:1.{interface}-event-kbd"
        self.link(f"dev/input/by-path/{by_path}", f"../event{number}")
        if by_id:
            link = self.root / "dev/input/by-id" / by_id
            link.unlink(missing_ok=True)  # udev lets the last one have the name
            self.link(f"dev/input/by-id/{by_id}", f"../event{number}")

    def serial(
        self,
        name: str,
        title: str = "Newland NLS-FM430",
        *,
        ids: str = "1eab:1a06",
        serial: str = "A1B2C3",
        port: str = "1-1.3",
        by_id: str = "",
        node: Path | None = None,
    ) -> str:
        """A serial line on USB; the name by id. `node` is a device of this machine that stands for it."""
        vendor, _, product = ids.partition(":")
        usb = f"sys/devices/platform/scb/usb1/{port}"
        maker, _, model = title.partition(" ")
        for file, text in (
            ("idVendor", vendor),
            ("idProduct", product),
            ("serial", serial),
            ("manufacturer", maker),
            ("product", model),
        ):
            self.write(f"{usb}/{file}", text + "\n")
        tty = self.root / usb / f"{port}:1.0" / "tty" / name
        tty.mkdir(parents=True)
        (tty / "device").symlink_to("../..")
        self.link(f"sys/class/tty/{name}", tty)
        if node is None:
            self.write(f"dev/{name}", "")
        else:
            self.link(f"dev/{name}", node)
        by_id = by_id or f"usb-{maker}_{model}_{serial}-if00"
        (self.root / "dev/serial/by-id" / by_id).unlink(missing_ok=True)
        self.link(f"dev/serial/by-id/{by_id}", f"../../{name}")
        self.link(f"dev/serial/by-path/platform-usb-0:{port.partition('-')[2]}:1.0", f"../../{name}")
        return f"/dev/serial/by-id/{by_id}"


def open_to_others(folder: Path) -> None:
    """Let another user into a test's own folder; what stands above it belongs to pytest."""
    for path in (folder, *folder.parents):
        if any(part.startswith("pytest-of-") for part in path.parts):
            path.chmod(0o755)


def key_map(keys: Iterable[int]) -> str:
    """As /sys writes it: words in hexadecimal, the highest first."""
    bits = sum(1 << key for key in set(keys))
    words = []
    while bits:
        words.append(f"{bits & (1 << WORD_BITS) - 1:x}")
        bits >>= WORD_BITS
    return " ".join(reversed(words)) or "0"


def pi(root: Path, model: str = PI_4) -> Tree:
    """A Pi as it comes up: with a monitor's power key, a thermometer, its firmware, no clock of its own."""
    tree = Tree(root, memory_mib=906 if model == PI_3 else 3792)
    tree.write("proc/device-tree/model", model + "\0")
    tree.throttled(model, 0)
    tree.heat(48312)
    tree.input(0, "vc4-hdmi", POWER_KEYS, ids="0000:0000", bus="001e", place="vc4-hdmi")
    if model == PI_5:
        tree.write("sys/class/rtc/rtc0/name", "rpi_rtc soc@107c000000:rpi_rtc\n")
    return tree


def laptop(root: Path) -> Tree:
    """A laptop, with a keyboard of its own."""
    tree = Tree(root, memory_mib=15_800)
    tree.write("sys/class/dmi/id/product_name", "ThinkPad T14 Gen 2i\n")
    tree.write("sys/class/rtc/rtc0/name", "rtc_cmos\n")
    tree.heat(51000, "x86_pkg_temp")
    tree.input(
        3,
        "AT Translated Set 2 keyboard",
        OFFICE_KEYS,
        ids="0001:0001",
        bus="0011",
        place="isa0060/serio0",
    )
    return tree
