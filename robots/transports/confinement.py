"""Sockets of this process that must hear this machine alone.

CycloneDDS binds its receiving sockets to every address even where its only interface is the loopback: whoever knows the
port could send from outside. Binding them to the loopback device makes the kernel drop what comes from elsewhere.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

_ANY = ("0.0.0.0", "::")


def confine(ports: range) -> tuple[list[int], list[int]]:
    """Bind every UDP socket of this process that listens on all addresses, on one of `ports`, to the loopback device.

    Returns:
        (ports that were confined, ports that could not be).
    """
    device = loopback_device()
    confined, left = [], []
    for listener in open_listeners(ports):
        port = listener.getsockname()[1]
        if device is None:
            left.append(port)
            continue
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        except OSError:
            left.append(port)
        else:
            confined.append(port)
    return confined, left


def loopback_device() -> str | None:
    """Name of the loopback device; None where sockets cannot be bound to devices (not Linux)."""
    if getattr(socket, "SO_BINDTODEVICE", None) is None:
        return None
    flags_up_loopback = 0x1 | 0x8  # IFF_UP | IFF_LOOPBACK
    for _, name in socket.if_nameindex():
        flags = int(Path("/sys/class/net", name, "flags").read_text(), 16)
        if flags & flags_up_loopback == flags_up_loopback:
            return name
    return None


def open_listeners(ports: range) -> Iterator[socket.socket]:
    """The UDP sockets of this process that are bound to all addresses on one of `ports`; valid until the next one."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        handle = _duplicate(int(name))
        if handle is None:
            continue
        with handle:
            if handle.type != socket.SOCK_DGRAM or handle.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            address = handle.getsockname()
            if address[0] in _ANY and address[1] in ports:
                yield handle


def _duplicate(descriptor: int) -> socket.socket | None:
    """A second handle on a socket; None for a descriptor that is something else, or was closed since it was listed."""
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return None
