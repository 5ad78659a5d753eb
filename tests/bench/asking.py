"""A lane that asks its vendor: what gate, broker and bridge add to the vendor's answer, beside bare MQTT.

Each in a process of its own: gate, broker, bridge, vendor, and the one that answers bare requests
(`python -m tests.bench.asking PORT`). Scans, requests to the vendor and bare requests take turns, so that
noise meets all alike. A scan counts from the read to the relay, with two rows that are flushed in between.
"""

import queue
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage

from tests.bench import site
from tests.bench.bare import ANSWER_S, client
from tests.bench.figures import SCRATCH, Figure, figure, median
from tests.brokers import ANYBODY, mosquitto_broker

NAME = "a lane that asks"
REQUEST, RESPONSE = "bench/request", "bench/response"
VENDOR_MS = 20
ROUNDS, FIRST = 200, 20  # the first of them are not counted: connections, caches
BYTES = 200  # an ask has so many
ROUTE = f'[[route]]\nstarts = "V"\nvendor = "{site.ACCOUNT}"\nauthority = "vendor"\n'


def run(_count: int) -> Iterator[Figure]:
    """Whatever the catalogue's size."""
    if (figure_of_none := site.absent(NAME)) is not None:
        yield figure_of_none
        return
    whole_ms, vendor_ms, bare_ms = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        with (
            mosquitto_broker(folder, f"{ANYBODY}set_tcp_nodelay true\n") as broker,  # as in deploy/mosquitto
            site.child("tests.bench.asked_vendor", str(VENDOR_MS)) as vendor,
        ):
            port = vendor.hear()["port"]
            settings = site.write_bridge(folder, broker.port, None)
            gate_settings = site.write_gate(folder, "gate", broker.port, ROUTE)
            with (
                site.bridge(settings, folder / "bridge", "asked", f"http://127.0.0.1:{port}"),
                site.gate(gate_settings, folder / "gate") as gate,
                bare_requests(broker.port) as request,
            ):
                gate.ask("can_ask")
                direct = HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
                for number in range(ROUNDS + FIRST):
                    scan = gate.ask("scan", code=f"V{number}")
                    assert scan["verdict"] == "admitted", scan
                    taken = (scan["relay_ns"] - scan["read_ns"]) / 1e6, answer_ms(direct), request()
                    if number >= FIRST:
                        for into, value in zip((whole_ms, vendor_ms, bare_ms), taken, strict=True):
                            into.append(value)
                direct.close()
    alone_ms = median(vendor_ms)
    size = f"one gate, vendor {VENDOR_MS} ms, {ROUNDS} scans"
    yield figure("bare MQTT request and response", f"{BYTES} bytes, QoS 1, paho at both ends", bare_ms, "ms")
    yield figure(
        "added to a vendor's answer by gate, broker and bridge",
        size,
        [took - alone_ms for took in whole_ms],
        "ms",
        {"bare": median(bare_ms)},
        "at most 4 x bare",
        f"the vendor alone {alone_ms:.1f} ms",
    )


def answer_ms(vendor: HTTPConnection) -> float:
    """What the vendor takes for itself, on a connection that stands."""
    began_s = time.perf_counter()
    vendor.request("POST", "/ask", body=b"{}")
    vendor.getresponse().read()
    return (time.perf_counter() - began_s) * 1000


class Requests:
    """Bare requests, one after the other."""

    def __init__(self, port: int) -> None:
        self._answers: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.client = client(port)
        self.client.on_message = lambda *_: self._answers.put(time.perf_counter())
        self.client.subscribe(RESPONSE, qos=1)

    def __call__(self) -> float:
        """From the request to its response, in milliseconds."""
        began_s = time.perf_counter()
        self.client.publish(REQUEST, bytes(BYTES), qos=1)
        return (self._answers.get(timeout=ANSWER_S) - began_s) * 1000


@contextmanager
def bare_requests(port: int) -> Iterator[Requests]:
    """Somebody who asks, with somebody who answers."""
    with site.child("tests.bench.asking", str(port)) as other:
        other.hear()
        requests = Requests(port)
        try:
            yield requests
        finally:
            requests.client.disconnect()
            requests.client.loop_stop()


def respond(port: str) -> int:
    """Answer every request until the input ends."""
    responder = client(int(port))

    def answer(found: Client, _userdata: object, message: MQTTMessage) -> None:
        found.publish(RESPONSE, message.payload, qos=1)

    def subscribed(*_: object) -> None:
        print("{}", flush=True)

    responder.on_message = answer
    responder.on_subscribe = subscribed
    responder.subscribe(REQUEST, qos=1)
    sys.stdin.read()
    responder.disconnect()
    responder.loop_stop()
    return 0


if __name__ == "__main__":
    sys.exit(respond(*sys.argv[1:]))
