"""systemd's notify protocol: one datagram to the socket that it names.

Source: sd_notify(3). Where systemd did not start us, nothing is sent.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send `state`, for instance `READY=1`; true when there was someone to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(state.encode("utf-8"), address)
    except OSError:
        return False
    return True
