"""The agent: calls functions of this package for the test outside, and sends back what they return.

One JSON value a line comes in, `{"id", "call": "module.function", "arguments"}`, and one goes out for each,
`{"id", "value"}` or `{"id", "error"}`. Each call has a thread of its own: one may wait while others work.
"""

import importlib
import json
import os
import platform
import sys
import termios
import threading
import traceback
import tty
from pathlib import Path
from typing import Any

EXIT_PORT = 0xF4  # where a PC has its isa-debug-exit: a byte written here ends qemu with 2 * byte + 1
END = "HIL-END"  # what other machines say on the console, with the status


def answer(number: int, call: str, arguments: list[Any]) -> dict[str, Any]:
    """Do one call."""
    try:
        module, _, function = call.partition(".")
        value = getattr(importlib.import_module(f".{module}", __package__), function)(*arguments)
        json.dumps(value)
    except BaseException as error:  # what a call breaks, the test outside has to hear about
        words = traceback.format_exc(limit=-6)
        return {"id": number, "error": f"{type(error).__name__}: {error}", "trace": words}
    return {"id": number, "value": value}


def leave(status: int) -> None:
    """End the machine from inside; one that cannot says so, and is switched off from outside."""
    os.sync()
    if platform.machine() == "x86_64":
        with Path("/dev/port").open("r+b", buffering=0) as port:
            port.seek(EXIT_PORT)
            port.write(bytes((status,)))
    Path("/dev/kmsg").write_text(f"<0>{END} {status}\n")


def opened(path: str, flags: int) -> int:
    """Open the way out. A serial line waits for no carrier, and lets each byte through as it is."""
    port = os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK)
    if os.isatty(port):
        tty.setraw(port)
        settings = termios.tcgetattr(port)
        settings[2] |= termios.CLOCAL
        termios.tcsetattr(port, termios.TCSANOW, settings)
    os.set_blocking(port, True)
    return port


def serve(path: str) -> None:
    """Answer until the machine ends."""
    writing = threading.Lock()
    with open(path, "r+b", buffering=0, opener=opened) as port:

        def send(value: dict[str, Any]) -> None:
            line = json.dumps(value).encode() + b"\n"
            with writing:
                while line:
                    line = line[port.write(line) :]

        def work(question: dict[str, Any]) -> None:
            send(answer(question["id"], question["call"], question["arguments"]))

        port.write(b"\n")  # the kernel tries a serial line out with a byte of its own
        send({"ready": sys.version})
        rest = b""
        while True:
            data = port.read(65536)
            if not data:  # nobody outside; the port says so at once instead of waiting
                threading.Event().wait(0.05)
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                question = json.loads(line)
                if question["call"] == "leave":
                    leave(*question["arguments"])
                threading.Thread(target=work, args=(question,), daemon=True).start()


if __name__ == "__main__":
    serve(sys.argv[1])
