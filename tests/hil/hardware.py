"""The machines that qemu can be, and what differs between them. Which one is tried, `make hil-full` says.

A machine with `gpio-sim` can have its inputs moved from outside; one with a chip of its own has the driver
that a real board has. Levels of such a chip are read from outside the guest, out of its registers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

ReadWord = Callable[[int], int]  # a word of the machine's memory by its address
Line = tuple[bool, int]  # whether the chip drives it, and its level


def pl061_line(word: ReadWord, line: int) -> Line:
    """A line of ARM's PL061 (its technical reference manual, 3.3): 8 lines, data below a mask, direction."""
    data, direction = word(0x9030000 + 0x3FC), word(0x9030000 + 0x400)
    return bool(direction >> line & 1), data >> line & 1


def bcm2835_line(word: ReadWord, line: int) -> Line:
    """A line of a Raspberry Pi's chip (BCM2835 ARM Peripherals, 6.1): of its three bits, 1 is an output."""
    function = word(0x3F200000 + 4 * (line // 10)) >> 3 * (line % 10) & 7
    return function == 1, word(0x3F200034) >> line & 1


@dataclass(frozen=True)
class OwnChip:
    """A GPIO chip of the machine."""

    label: str
    line: Callable[[ReadWord, int], Line]
    contact: int  # an input that reads 0 while nothing happens, as a closed contact to ground does
    freed_stays: bool  # whether this driver leaves a freed line as it is, or makes an input of it


@dataclass(frozen=True)
class Hardware:
    """One machine. `devices` are what it has beside memory, disk, console, agent and monitor."""

    name: str
    architecture: str  # by Debian's name
    command: tuple[str, ...]
    devices: tuple[str, ...]
    console: str
    root: str  # the device of the first disk
    agent: str  # the device through which the agent is spoken to
    usb: str  # the bus that plugs go in
    virtio: bool  # whether it has devices made for emulators: disks, a line for the agent
    chip: OwnChip | None = None  # None: gpio-sim
    tree: str = ""  # the file of Debian's kernel that describes the board
    words: str = ""  # more for the kernel


VIRTIO = ("-device", "virtio-rng-pci", "-device", "virtio-serial-pci", "-device", "qemu-xhci,id=usb")
AGENT = "/dev/virtio-ports/hil.agent"

PC = Hardware(
    name="x86-64",
    architecture="amd64",
    command=("qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-smp", "2", "-m", "1024"),
    devices=(*VIRTIO, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
    console="ttyS0",
    root="/dev/vda",
    agent=AGENT,
    usb="usb.0",
    virtio=True,
    words="mitigations=off tsc=unstable random.trust_cpu=on",
)
VIRT = Hardware(
    name="virt",
    architecture="arm64",
    command=("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024"),
    devices=VIRTIO,
    console="ttyAMA0",
    root="/dev/vda",
    agent=AGENT,
    usb="usb.0",
    virtio=True,
    chip=OwnChip("9030000.pl061", pl061_line, contact=3, freed_stays=True),
    words="mitigations=off",
)
PI = Hardware(
    name="raspi3b",
    architecture="arm64",
    command=("qemu-system-aarch64", "-M", "raspi3b"),  # four processors and 1 GB, neither more nor less
    devices=(),
    console="ttyAMA0",
    root="/dev/mmcblk0",
    agent="/dev/ttyS1",
    usb="usb-bus.0",
    virtio=False,
    chip=OwnChip("pinctrl-bcm2835", bcm2835_line, contact=17, freed_stays=False),
    tree="broadcom/bcm2837-rpi-3-b.dtb",
    words="mitigations=off cma=32M",
)
ALL = (PC, VIRT, PI)
ASKED = "GATEPOST_HIL"  # the environment variable that names one; set by `python -m tests.hil`
HERE = next((hardware for hardware in ALL if hardware.name == os.environ.get(ASKED)), PC)
