"""The demo's MQTT broker, in a process of its own: the package `iotcore`, so that none need be installed."""

import logging
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from firmware.demo.child import BrokerOrder, News, serve, tell

LOOPBACK = "127.0.0.1"
LOOK_S = 0.02  # between two tries to connect while it starts

# Limits above those of the wire; `v5.1` makes it speak MQTT 5.
CONFIG = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


def is_there() -> None:
    """Raises `ModuleNotFoundError` where the broker is not installed."""
    import iotcore  # noqa: F401 - whether it is there is all that is asked


def work(order: BrokerOrder, over: threading.Event) -> None:
    """Serve until told to end."""
    from iotcore import IotCoreBroker

    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)  # it logs each packet as an error
    Path(order.config).write_text(CONFIG.format(host=LOOPBACK, port=order.port), "utf-8")
    IotCoreBroker(config_path=order.config).start()
    while not over.wait(LOOK_S):
        with suppress(OSError), socket.create_connection((LOOPBACK, order.port), 1):
            break
    tell(News(ready={}))
    over.wait()
    os._exit(0)  # its threads know no end


if __name__ == "__main__":
    serve(BrokerOrder, work)
