"""One interface and scapy's socket on it: exact frames out, exact frames in."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from pathlib import Path

from scapy.arch.linux import L2Socket

from pytest_vswitch.errors import DutError, HostError, InputError

_RECEIVE_BYTES = 64 << 20
_LOOK_S = 0.05
_EMPTYING_S = 1.0
"""Frames that come faster than they can be thrown away end this, not us."""
_HEADER_BYTES = 14

# linux/if_packet.h, asm-generic/socket.h
_SOL_PACKET = 263
_STATISTICS, _IGNORE_OUTGOING = 6, 23
_RCVBUFFORCE = 33

_NOT_TAKEN = (errno.ENOBUFS, errno.EAGAIN)


class ScapyPort:
    """Any interface of Linux: a NIC, a virtual function, a veth, a TAP.

    Raises HostError when the socket cannot be had, DutError when the interface goes away.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lost_frames = 0
        try:
            self._socket = L2Socket(iface=name, promisc=True)
        except PermissionError:
            raise HostError(
                f"{name}: sending frames needs root (the capability CAP_NET_RAW)"
            ) from None
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENETDOWN:
                raise DutError(_down(name)) from None
            raise HostError(f"cannot send frames on the interface {name}: {error}") from None
        door = self._socket.ins
        door.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _RECEIVE_BYTES)
        with contextlib.suppress(OSError):  # Linux 4.20; scapy leaves them out otherwise
            door.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        door.setblocking(False)

    def connect(self, timeout_s: float) -> None:
        """Wait for the link. Raises DutError when there is none."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self._told("carrier"):
                    break
            except OSError:  # the kernel tells nothing of an interface that is down
                raise DutError(_down(self.name)) from None
            if time.monotonic() > deadline:
                raise DutError(
                    f"{self.name} has had no link for {timeout_s:g} s: the DUT's port at the "
                    "other end of its wire is down, or the cable is not there"
                )
            time.sleep(_LOOK_S)  # the condition: there is a link
        self.discard()

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def check_length(self, longest: int) -> None:
        """Raise InputError if it cannot carry frames of so many bytes, without FCS."""
        try:
            mtu = self._told("mtu")
        except OSError as error:
            raise DutError(_gone(self.name, error.errno)) from None
        if longest > mtu + _HEADER_BYTES:
            raise InputError(
                f"{self.name}: a frame of {longest} bytes is longer than {mtu + _HEADER_BYTES} "
                f"(MTU {mtu}); at both ends of the wire: "
                f"ip link set dev {self.name} mtu {longest - _HEADER_BYTES}"
            )

    def send(self, frame: bytes) -> bool:
        """Whether the kernel took it; it does not while the interface's queue is full."""
        try:
            self._socket.outs.send(frame)
        except OSError as error:
            if error.errno in _NOT_TAKEN:
                return False
            raise DutError(_gone(self.name, error.errno)) from None
        return True

    def receive(self, most: int = 256) -> list[bytes]:
        """Up to so many of the frames that have arrived, their VLAN tags in their places."""
        frames: list[bytes] = []
        try:
            while len(frames) < most:
                frame = self._socket.recv_raw()[1]
                if frame is not None:  # it was not one of this host's own
                    frames.append(bytes(frame))
        except BlockingIOError:
            pass
        except OSError as error:
            raise DutError(_gone(self.name, error.errno)) from None
        return frames

    def check_kept_up(self) -> None:
        """Raise HostError if frames that arrived since `discard` were lost before it read them."""
        told = self._socket.ins.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        self._lost_frames += struct.unpack("II", told)[1]
        if self._lost_frames:
            raise HostError(
                f"the generator could not keep up on {self.name}: it lost {self._lost_frames} "
                "frames that came back, so what the DUT lost is not known; lower the rate, or "
                "take the af_packet generator"
            )

    def discard(self) -> None:
        """Throw away what has arrived and nobody has read."""
        deadline = time.monotonic() + _EMPTYING_S
        while self.receive() and time.monotonic() < deadline:
            pass  # the condition: nothing is left
        self._socket.ins.getsockopt(_SOL_PACKET, _STATISTICS, 8)  # which makes it begin anew
        self._lost_frames = 0

    def close(self) -> None:
        self._socket.close()

    def _told(self, what: str) -> int:
        return int(Path(f"/sys/class/net/{self.name}/{what}").read_text())


def _down(interface: str) -> str:
    return f"{interface} is down: ip link set dev {interface} up"


def _gone(interface: str, error: int | None) -> str:
    why = errno.errorcode.get(error or 0, "?")
    return f"the interface {interface} went down or away while frames were sent on it ({why})"
