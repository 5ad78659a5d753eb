"""A vendor in a process of its own that answers every request after a while, or not at all.

`python -m tests.bench.asked_vendor MILLISECONDS` says its port, then does what it is told: `silent`,
`answer`, or nothing but to say how many asks it has had. One thread, so that it answers thousands a second.
"""

import asyncio
import json
import sys
from typing import Any

BODY = b'{"yes": true}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Vendor:
    """What it does, and what it had."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.asks = 0
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                self.asks += lines[0].startswith(b"post /ask")
                await _after(self.delay_s)
                await self.speaks.wait()
                writer.write(REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def obey(self, what: str) -> dict[str, Any]:
        """An order, and its answer."""
        if what == "silent":
            self.speaks.clear()
        elif what == "answer":
            self.speaks.set()
        return {"asks": self.asks}


def _after(delay_s: float) -> "asyncio.Future[None]":
    """The work that an answer takes."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.call_later(delay_s, over.set_result, None)
    return over


async def main(delay_ms: str) -> None:
    """Until the end of standard input."""
    vendor = Vendor(float(delay_ms) / 1000)
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0, backlog=512)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        print(json.dumps(vendor.obey(json.loads(line)["do"])), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
