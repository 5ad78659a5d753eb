"""Programs for another processor, run while the guest's files are made.

The kernel can be told to run them through an emulator (binfmt_misc), and since Linux 6.7 it keeps that apart
for each user namespace. So nothing of this machine changes: a step has a namespace of its own, with itself as
root, and the arrangement ends with the step.
"""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.hil.cache import STEP_SECONDS_MAX, failed, inside, run

OURS = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
# The first 20 bytes of a program for this processor, which of their bits count, and who runs it. O, C and F:
# it is opened now, on this side of a chroot, and a program that is set-uid stays so.
FORMATS = {
    "arm64": (
        r":guest:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        ":/usr/bin/qemu-aarch64-static:OCF"
    )
}
LINUX = (6, 7)  # the first that keeps formats apart for each user namespace
USERS = "0 0 65536\n"  # as many as Debian has, each as it is outside
FORMATS_FOLDER = "/proc/sys/fs/binfmt_misc"
# It waits for a word, as its users can be named from outside only. Process numbers are its own: so is /proc.
PRELUDE = f"""\
set -e
echo begun
read -r named
mount -t proc proc /proc
mount -t binfmt_misc binfmt_misc {FORMATS_FOLDER}
printf '%s' "$HIL_FORMAT" > {FORMATS_FOLDER}/register
exec "$@" < /dev/null
"""


def why_not_foreign() -> str:
    """Why this machine cannot run programs for another processor apart from everything else; "" if it can."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < LINUX:
        words = f"before {LINUX[0]}.{LINUX[1]} all namespaces share one binfmt_misc"
        return f"this kernel is {os.uname().release}; {words}"
    if not Path(FORMATS_FOLDER).is_dir():
        return "this kernel has no binfmt_misc: modprobe binfmt_misc"
    return ""


def run_for(architecture: str, *command: str | Path) -> str:
    """Run a step's command in which programs of this architecture run, too; as `run` does."""
    if architecture == OURS:
        return run(*command)
    words = [str(word) for word in command]
    apart = ["unshare", "--user", "--mount", "--pid", "--fork"]
    step = subprocess.Popen(
        [*apart, "sh", "-c", PRELUDE, "sh", *words],
        env=inside() | {"HIL_FORMAT": FORMATS[architecture]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with step:
        try:
            assert step.stdout
            said = step.stdout.readline()
            with suppress(OSError):  # it has ended already: then it has said why
                for name in ("uid_map", "gid_map"):
                    Path(f"/proc/{step.pid}/{name}").write_text(USERS)
            said += step.communicate("named\n", timeout=STEP_SECONDS_MAX)[0]
        except BaseException:
            os.killpg(step.pid, signal.SIGKILL)  # the first process of the namespace, and with it all others
            raise
    if step.returncode:
        raise failed(words, step.returncode, said)
    return said.partition("\n")[2]
