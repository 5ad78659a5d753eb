"""Bare QoS 1 messages one by one, which is what an uplink without batches would send: peers of `sending`.

`python -m tests.bench.bare PORT TOPIC` is the other end: it takes what comes and acknowledges it.
"""

import socket
import sys
import threading
import time
from collections.abc import Sequence

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TOPIC = "bench/bare"
ANSWER_S = 30.0


def client(port: int) -> Client:
    """A connected client with a thread of its own."""
    connected = threading.Event()
    made = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    made.on_connect = lambda *_: connected.set()
    made.connect("127.0.0.1", port)
    made.loop_start()
    if not connected.wait(ANSWER_S):
        raise TimeoutError("the broker does not answer")
    return made


def by_paho(port: int, payloads: Sequence[bytes]) -> float:
    """Messages a second with the library that the gate uses, each after the last one's PUBACK."""
    sender = client(port)
    started = time.perf_counter()
    for payload in payloads:
        sender.publish(TOPIC, payload, qos=1).wait_for_publish(ANSWER_S)
    took_s = time.perf_counter() - started
    sender.disconnect()
    sender.loop_stop()
    return len(payloads) / took_s


def by_socket(port: int, payloads: Sequence[bytes]) -> float:
    """The same with nothing but a socket: what broker and kernel allow."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"bare"
        head = b"\x00\x04MQTT\x05\x02\x00\x3c\x00" + len(name).to_bytes(2) + name
        sock.sendall(b"\x10" + _length(len(head)) + head)
        if sock.recv(1024)[0] != 0x20:
            raise ConnectionError("no CONNACK")
        topic = len(TOPIC).to_bytes(2) + TOPIC.encode()
        started = time.perf_counter()
        for number, payload in enumerate(payloads):
            packet_id = (number % 65_535 + 1).to_bytes(2)
            rest = topic + packet_id + b"\x00" + payload
            sock.sendall(b"\x32" + _length(len(rest)) + rest)
            answer = sock.recv(16)
            if answer[0] != 0x40:
                raise ConnectionError(f"no PUBACK but {answer!r}")
        took_s = time.perf_counter() - started
        sock.sendall(b"\xe0\x00")
    return len(payloads) / took_s


def _length(number: int) -> bytes:
    """As MQTT writes lengths."""
    found = b""
    while True:
        number, digit = divmod(number, 128)
        found += bytes([digit | (0x80 if number else 0)])
        if not number:
            return found


def main(port: str) -> int:
    """Take messages until the input ends."""
    receiver = client(int(port))
    subscribed = threading.Event()
    receiver.on_subscribe = lambda *_: subscribed.set()
    receiver.subscribe(TOPIC, qos=1)
    subscribed.wait(ANSWER_S)
    print("{}", flush=True)
    sys.stdin.read()
    receiver.disconnect()
    receiver.loop_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
