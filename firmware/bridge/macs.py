"""MAC addresses, by which vendors tell scanners apart (IEEE 802, 8.2)."""

import re

# Of the first byte: that no maker gave it, and that it is one of several computers at once.
LOCAL_BIT, GROUP_BIT = 0x02, 0x01
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def plain(mac: str) -> str:
    """A MAC address in the one spelling that counts; "" for what is none."""
    text = mac.strip().lower().replace("-", ":")
    return text if _MAC.fullmatch(text) else ""
