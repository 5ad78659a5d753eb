"""The guest's kernel, as Debian built it, and the simulated GPIO chip, which Debian left out of it.

`gpio-sim` needs the simulated interrupts of `kernel/irq/irq_sim.c`, which is left out as well. Both sources
come from the package of the same kernel and make one module. A module may not reach the table of interrupt
descriptors, so the one line that does asks the kernel to handle the interrupt by its number instead.
"""

import subprocess
from pathlib import Path

from tests.hil.base import mirrors
from tests.hil.cache import digest, made, run, source_of
from tests.hil.foreign import OURS

SIMULATED_CHIP = "gpio-sim-whole"
SOURCES = ("drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "kernel/irq/irq_sim.c")
REACHES_TABLE = "handle_simple_irq(irq_to_desc(irqnum));"
ASKS_KERNEL = "generic_handle_irq(irqnum);"
RECIPE = f"""\
obj-m := {SIMULATED_CHIP}.o
{SIMULATED_CHIP}-y := gpio-sim.o irq_sim.o
ccflags-y := -DCONFIG_IRQ_SIM=1
"""
MODULES = (  # what the guest loads or the hardware asks for, each with what it needs itself
    "configfs",
    "crc32c_generic",
    "dm-mod",
    "ext4",
    "evdev",
    "ftdi_sio",
    "hid-generic",
    "loop",
    "uinput",
    "usbhid",
    "virtio_blk",
    "virtio_console",
    "virtio_pci",
    "virtio_rng",
    "xhci_pci",
    # those of a Raspberry Pi 3: its SD card and its USB; not its watchdog, which qemu has bite when it is set
    "bcm2835",
    "dwc2",
    "mmc_block",
    "phy-generic",
    "sdhci-iproc",
)
TREES = ("broadcom/bcm2837-rpi-3-b.dtb",)  # descriptions of boards, where the package has some


def version(architecture: str) -> str:
    """The kernel whose headers are installed, such as `6.1.0-56-amd64`; the same for each architecture."""
    query = ["dpkg-query", "--show", "--showformat", "${Depends}", "linux-headers-amd64"]
    shown = subprocess.run(query, capture_output=True, text=True, check=False)
    if shown.returncode or not shown.stdout.startswith("linux-headers-"):
        raise SystemExit("hil: the headers of the kernel are not installed; `make hil-system` installs them")
    ours = shown.stdout.split()[0].removeprefix("linux-headers-")
    return f"{ours.removesuffix('amd64')}{architecture}"


def needed(dependencies: str, modules: tuple[str, ...]) -> list[str]:
    """Files of these modules and of all they need, in the order of loading, out of a `modules.dep`."""
    files: dict[str, tuple[str, list[str]]] = {}
    for line in dependencies.splitlines():
        file, _, others = line.partition(":")
        files[Path(file).name.partition(".ko")[0].replace("-", "_")] = (file, others.split())
    ordered: dict[str, None] = {}
    for module in modules:
        name = module.replace("-", "_")
        if name in files:  # else it is built into the kernel
            own, needs = files[name]
            ordered |= dict.fromkeys([*reversed(needs), own])
    return list(ordered)


def build_chip(folder: Path, release: str) -> Path:
    """Build the module of the simulated chip; returns its file."""
    source = release.split(".0-", maxsplit=1)[0]
    run("apt-get", "download", f"linux-source-{source}", folder=folder)
    package = next(folder.glob(f"linux-source-{source}_*.deb"))
    archive = f"./usr/src/linux-source-{source}.tar.xz"
    inner = " ".join(f"linux-source-{source}/{name}" for name in SOURCES)
    unpack = (
        f"dpkg-deb --fsys-tarfile '{package.name}' | tar xO {archive} | tar xJ --strip-components=1 {inner}"
    )
    run("bash", "-o", "pipefail", "-c", unpack, folder=folder)
    package.unlink()
    build = folder / "build"
    build.mkdir()
    for name in SOURCES:
        (folder / name).rename(build / Path(name).name)
    simulated = build / "irq_sim.c"
    text = simulated.read_text()
    if text.count(REACHES_TABLE) != 1:
        raise SystemExit(
            f"hil: irq_sim.c of kernel {release} is another one: look at what it does for {REACHES_TABLE}"
        )
    simulated.write_text(text.replace(REACHES_TABLE, ASKS_KERNEL))
    (build / "Makefile").write_text(RECIPE)
    run("make", "-C", f"/usr/src/linux-headers-{release}", f"M={build}", "modules")
    return build / f"{SIMULATED_CHIP}.ko"


def download(folder: Path, package: str, architecture: str) -> Path:
    """Download a Debian package for this architecture, with lists of packages that lie in the folder only."""
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text("\n".join(mirrors()) + "\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run("apt-get", "-qq", *options, "update")
    run("apt-get", *options, "download", package, folder=folder)
    run("rm", "-rf", apt)
    return next(folder.glob(f"{package}_*.deb"))


def fill(folder: Path, release: str, architecture: str) -> None:
    package = download(folder, f"linux-image-{release}", architecture)
    run("dpkg-deb", "--extract", package, folder / "unpacked")
    package.unlink()
    (folder / "unpacked/boot" / f"vmlinuz-{release}").rename(folder / "vmlinuz")
    everything = folder / "unpacked/lib/modules" / release
    run("depmod", "-b", folder / "unpacked", release)
    kept = folder / "modules" / release
    for file in needed((everything / "modules.dep").read_text(), MODULES):
        (kept / file).parent.mkdir(parents=True, exist_ok=True)
        (everything / file).rename(kept / file)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (everything / name).rename(kept / name)
    for name in TREES:
        if (tree := folder / "unpacked/usr/lib" / f"linux-image-{release}" / name).exists():
            tree.rename(folder / Path(name).name)
    if architecture == OURS:
        (kept / "extra").mkdir()
        build_chip(folder, release).rename(kept / "extra" / f"{SIMULATED_CHIP}.ko")
    run("rm", "-rf", folder / "unpacked", folder / "build", folder / "drivers", folder / "kernel")
    (folder / "lib").mkdir()
    (folder / "modules").rename(folder / "lib/modules")
    run("depmod", "-b", folder, release)


def kernel(architecture: str) -> Path:
    """Return the folder with `vmlinuz`, `lib/modules` and descriptions of boards."""
    release = version(architecture)
    key = digest(release, source_of("kernel"))
    return made(f"kernel-{architecture}", key, lambda folder: fill(folder, release, architecture))
