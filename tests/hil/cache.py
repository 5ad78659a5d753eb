"""What takes long to make is made once and kept under the digest of all that it was made from.

Every step of the build is a function that fills an empty folder. A folder stands under its final name only
when it is complete, so a build that was cut off leaves nothing that looks good.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".hil"
STEP_SECONDS_MAX = (
    3600  # the slowest step, Debian for another processor, takes six minutes; ten times as busy still passes
)


def say(text: str) -> None:
    """Tell progress at once, also into a pipe."""
    sys.stderr.write(f"hil: {text}\n")
    sys.stderr.flush()


def digest(*parts: str | bytes) -> str:
    """Name what depends on all of these, and on where one ends and the next begins."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def source_of(*modules: str) -> bytes:
    """The text of modules of this package: a step that is done in another way is done again."""
    return b"\0".join((Path(__file__).parent / f"{module}.py").read_bytes() for module in modules)


def inside() -> dict[str, str]:
    """The environment of a step: a temporary folder which every tree has."""
    return os.environ | {"LC_ALL": "C.UTF-8", "TMPDIR": "/tmp"}


def failed(words: Sequence[str], status: int, said: str) -> SystemExit:
    """What ends a build: the step, and what it said last."""
    return SystemExit(f"hil: this step failed with status {status}: {' '.join(words)}\n{said[-6000:]}")


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a step's command and return what it says. Ends the build, showing it, when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=folder,
        env=inside(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=STEP_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise failed(words, done.returncode, done.stdout)
    return done.stdout


def remove(folder: Path) -> None:
    """Remove a folder of the cache. What a step that was cut off left mounted there is unmounted first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        run("umount", "--lazy", mount)
    shutil.rmtree(folder)


def made(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name-key`, made now if it is not there; what the name held before is removed."""
    target = FOLDER / f"{name}-{key}"
    if target.is_dir():
        return target
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob(f"{name}-{'[0-9a-f]' * 16}*"):
        remove(old)
    say(f"making {name}")
    begun = time.monotonic()
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.mkdir()
    make(unfinished)
    unfinished.rename(target)
    say(f"made {name} in {time.monotonic() - begun:.0f} s")
    return target
