"""Whether the bridge's threads share a heap: seen from the C library, in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

THREADS = 6
CHILD = f"""
import ctypes, sys, threading
from firmware.bridge.command import one_heap

if sys.argv[1] == "one":
    one_heap()
met = threading.Barrier({THREADS} + 1)

def work():
    held = bytearray(10_000)
    met.wait()
    met.wait()

for _ in range({THREADS}):
    threading.Thread(target=work, daemon=True).start()
met.wait()
libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_info"):
    sys.exit(77)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = ctypes.c_int, ctypes.c_void_p
libc.fclose.argtypes = (ctypes.c_void_p,)
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
met.wait()
"""


def heaps(which: str) -> int:
    """How many heaps the threads of a process have. Skips where the C library cannot tell."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "heaps.xml"
        done = subprocess.run([sys.executable, "-c", CHILD, which, str(file)], check=False, timeout=60)
        if done.returncode == 77:
            pytest.skip("this C library has no malloc_info")
        assert done.returncode == 0
        return file.read_text().count("<heap ")


def test_the_threads_of_a_bridge_share_one_heap() -> None:
    assert heaps("one") == 1


def test_threads_have_heaps_of_their_own_otherwise() -> None:
    """Or the test above would prove nothing."""
    assert heaps("many") > 1
