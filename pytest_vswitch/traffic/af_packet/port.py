"""A port that is a network interface, whose frames go through a packet socket (packet(7)).

Its rings are in this process's own memory, and it plays the server's part itself: what is
given is sent at once, as far as the kernel takes it, the rest when one looks again; what has
arrived is received into empty buffers when one looks.

When a frame came, the kernel has noted, however late one looks (SO_TIMESTAMPNS, socket(7)). When
it left, its socket does not tell for less than another system call: the time of the call that
sent it is taken.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import socket
import struct
import time
from time import monotonic_ns, time_ns

import numpy as np

from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.traffic.port import refuse_length
from pytest_vswitch.traffic.ring import (
    MAX_FRAME_BYTES,
    Ring,
    Words,
    buffer_bytes,
    header_bytes,
)

_HEADER_BYTES = 14
_SOCKET_BYTES = 64 << 20
"""Receive buffer: some 80,000 short frames, as the kernel counts memory [bytes]."""
_SEND_BYTES = 8 << 20
_EMPTYING_S = 1.0
"""Frames that come faster than they can be thrown away end this, not us."""
_LOOK_S = 0.05
_AT_ONCE_NS = 2000
"""Two clocks that are read within this time [ns] are read at the same time."""

# linux/if_packet.h, asm-generic/socket.h, linux/{sockios,ethtool,if,if_ether}.h
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _STATISTICS, _AUXDATA, _QDISC_BYPASS, _IGNORE_OUTGOING = 1, 6, 8, 20, 23
_AUX = struct.Struct("IIIHHHH")
_STAMP = struct.Struct("qq")
_VLAN_VALID = 0x10
_TAG_AT, _TAG_BYTES = 12, 4
_PROMISCUOUS = 1
_SNDBUFFORCE, _RCVBUFFORCE, _TIMESTAMPNS = 32, 33, 35
_SIOCGIFFLAGS, _SIOCGIFMTU = 0x8913, 0x8921
_SIOCETHTOOL, _GLINK = 0x8946, 0x0A
_UP = 0x1
_ALL_PROTOCOLS = 0x0003

_NOT_TAKEN = (errno.ENOBUFS, errno.EAGAIN)
"""The interface's queue, or the socket's, is full; or there is no link."""


class PacketPort:
    """One interface and the socket that has it; see `port.Port`. Use it in its namespace.

    All frames that arrive are seen, whatever their address; none that this host sends is.
    Raises HostError when the socket cannot be had.
    """

    peer = ""
    events = 0  # errors only

    def __init__(self, interface: str, *, ring_size: int) -> None:
        self.name = interface
        self._lost_frames = 0
        self._socket = _open(interface)
        self.tx = SendRing(self._socket, interface, ring_size)
        self.rx = ReceiveRing(self._socket, interface, ring_size)
        self.tx.lay_out(64)
        self.tx.reset(0)
        self.rx.lay_out(2048)
        self.rx.reset(ring_size)

    def connect(self, timeout_s: float) -> None:
        """Wait for the link. Raises DutError when there is none."""
        deadline = time.monotonic() + timeout_s
        while not self._has_link():
            if not self._ask(_SIOCGIFFLAGS) & _UP:
                raise DutError(f"{self.name} is down: ip link set dev {self.name} up")
            if time.monotonic() > deadline:
                raise DutError(
                    f"{self.name} has had no link for {timeout_s:g} s: the DUT's port at the "
                    "other end of its wire is down, or the cable is not there"
                )
            time.sleep(_LOOK_S)  # the condition: there is a link
        self.discard()

    def fileno(self) -> int:
        return self._socket.fileno()

    def lost(self) -> str:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return _gone(self.name, error) if error else ""

    def check_length(self, longest: int) -> None:
        mtu = min(self._ask(_SIOCGIFMTU), MAX_FRAME_BYTES - _HEADER_BYTES)
        advice = (
            f" (MTU {mtu}); at both ends of the wire: "
            f"ip link set dev {self.name} mtu {longest - _HEADER_BYTES}"
        )
        refuse_length(self.name, longest, mtu + _HEADER_BYTES, advice)

    def keep_tags(self, tagged: bool) -> None:
        """The kernel takes them out, and to put them back takes time."""
        self._socket.setsockopt(_SOL_PACKET, _AUXDATA, int(tagged))
        self.rx.tagged = tagged

    def check_kept_up(self) -> None:
        statistics = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        self._lost_frames += struct.unpack("II", statistics)[1]
        if self._lost_frames:
            raise HostError(
                f"the generator could not keep up on {self.name}: it lost {self._lost_frames} "
                "frames that came back, so what the DUT lost is not known; lower the rate, or "
                "give the generator a CPU of its own (generator.cpu)"
            )

    def discard(self) -> None:
        """Throw away what has arrived and nobody has read, and what was never sent."""
        self.tx.withdraw()
        deadline = time.monotonic() + _EMPTYING_S
        while (count := self.rx.filled()) and time.monotonic() < deadline:
            self.rx.give_back(count)
        self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)  # which makes it begin anew
        self._lost_frames = 0

    def close(self) -> None:
        self._socket.close()

    def _has_link(self) -> bool:
        """As ethtool tells: IFF_RUNNING is late, and claims a link before it has looked."""
        answer = array.array("I", [_GLINK, 0])
        asked = struct.pack("16sP16x", self.name.encode(), answer.buffer_info()[0])
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, asked)
        except OSError as error:
            raise DutError(_gone(self.name, error.errno)) from None
        return bool(answer[1])

    def _ask(self, request: int) -> int:
        """A number that the kernel knows of the interface. Raises DutError if it is gone."""
        asked = struct.pack("16sI20x", self.name.encode(), 0)
        try:
            told = fcntl.ioctl(self._socket, request, asked)
        except OSError as error:
            raise DutError(_gone(self.name, error.errno)) from None
        return int(struct.unpack_from("I", told, 16)[0])


class _OwnRing(Ring):
    """A ring in this process's own memory, with a view of each buffer for a socket."""

    def __init__(self, door: socket.socket, name: str, size: int) -> None:
        memory = mmap.mmap(-1, header_bytes(size) + buffer_bytes(size))
        super().__init__(memory, name, size, 0, header_bytes(size))
        self._door = door
        self._views: list[memoryview] = []

    def lay_out(self, capacity: int, pad: int = 0) -> None:
        super().lay_out(capacity, pad)
        self._views = [self.frame(slot).data for slot in range(self.size)]

    def keep_times(self, wanted: bool) -> None:
        self.times = np.zeros(self.size, np.int64) if wanted else None


class SendRing(_OwnRing):
    """Frames that a socket sends as soon as they are given."""

    def give(self, count: int) -> None:
        """The time of a frame that the kernel does not take at once remains as it is."""
        super().give(count)
        self._flush(count, self.times)

    def pending(self) -> int:
        left = super().pending()
        if not left:
            return 0
        self._flush(left)
        return super().pending()

    def withdraw(self) -> None:
        """Forget what was not sent yet."""
        self.tail = self._position

    def _flush(self, count: int, times: Words | None = None) -> None:
        """Send up to `count` frames; the kernel may take fewer. Raises DutError."""
        send, views, lengths, mask = self._door.send, self._views, self.lengths, self.size - 1
        tail = self.tail
        try:
            for number in range(tail, tail + count):
                slot = number & mask
                frame = views[slot][: lengths.item(slot) >> 32]
                if times is None:
                    send(frame)
                else:
                    now_ns = monotonic_ns()
                    send(frame)
                    times[slot] = now_ns
                tail = number + 1
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise DutError(_gone(self.name, error.errno)) from None
        finally:
            self.tail = tail


class ReceiveRing(_OwnRing):
    """Buffers that a socket fills when one looks whether there are frames."""

    tagged = False
    """Whether to put VLAN tags back where the kernel took them out (packet(7))."""
    _stamp_ns = 0  # when the last frame came, by the kernel's clock
    _ahead_ns = 0  # that clock less the monotonic one
    _empty_ns = 0  # when the socket was seen to be empty

    def keep_times(self, wanted: bool) -> None:
        super().keep_times(wanted)
        self._empty_ns = monotonic_ns()

    def filled(self) -> int:
        """Raises DutError when the interface is gone.

        Of a frame that is longer than a buffer the rest is lost, but not its length.
        """
        times = self.times
        receive = self._receive if times is None and not self.tagged else self._receive_beside
        views, lengths = self._views, self.lengths
        mask = self.size - 1
        first = tail = self.tail
        began_ns = monotonic_ns()
        emptied = False
        try:
            for number in range(tail, tail + self.size - super().filled()):
                slot = number & mask
                lengths[slot] = receive(views[slot]) << 32
                if times is not None:
                    times[slot] = self._stamp_ns
                tail = number + 1
        except BlockingIOError:
            emptied = True
        except OSError as error:
            raise DutError(_gone(self.name, error.errno)) from None
        finally:
            self.tail = tail
        if times is not None and tail != first:
            self._settle(times, np.arange(first, tail) & mask)
        if emptied:
            self._empty_ns = began_ns
        return super().filled()

    def _settle(self, times: Words, slots: Words) -> None:
        """From the kernel's clock to the monotonic one.

        Frames that are found now came after none was there: where the kernel's clock has
        stepped, and says otherwise, they came now.
        """
        before_ns, kernel_ns, now_ns = monotonic_ns(), time_ns(), monotonic_ns()
        if now_ns - before_ns < _AT_ONCE_NS or not self._ahead_ns:
            self._ahead_ns = kernel_ns - now_ns
        came = times[slots] - self._ahead_ns
        possible = (came >= self._empty_ns - _AT_ONCE_NS) & (came <= now_ns + _AT_ONCE_NS)
        times[slots] = np.where(possible, came, now_ns)

    def _receive(self, view: memoryview) -> int:
        return self._door.recv_into(view, 0, socket.MSG_TRUNC)

    def _receive_beside(self, view: memoryview) -> int:
        """With what the kernel tells beside the frame."""
        length, beside, _, _ = self._door.recvmsg_into([view], 128, socket.MSG_TRUNC)
        for level, kind, data in beside:
            if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPNS):
                seconds, nanoseconds = _STAMP.unpack(data)
                self._stamp_ns = seconds * 10**9 + nanoseconds
            elif (level, kind) == (_SOL_PACKET, _AUXDATA):
                length = _with_tag(view, length, data)
        return length


def _with_tag(view: memoryview, length: int, beside: bytes) -> int:
    """Put the VLAN tag that the kernel took out back into a frame; returns its length then."""
    status, *_, tag, protocol = _AUX.unpack_from(beside)
    if not status & _VLAN_VALID:
        return length
    end = min(length + _TAG_BYTES, len(view))
    view[_TAG_AT + _TAG_BYTES : end] = bytes(view[_TAG_AT : end - _TAG_BYTES])
    struct.pack_into("!HH", view, _TAG_AT, protocol or 0x8100, tag)
    return length + _TAG_BYTES


def _open(interface: str) -> socket.socket:
    """A packet socket that is bound to the interface. Raises HostError."""
    try:
        door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise HostError(
            f"{interface}: sending frames needs root (the capability CAP_NET_RAW)"
        ) from None
    try:
        _set_up(door, interface)
    except OSError as error:
        door.close()
        raise HostError(
            f"cannot send frames on the interface {interface}: {error.strerror or error}"
        ) from None
    return door


def _set_up(door: socket.socket, interface: str) -> None:
    index = socket.if_nametoindex(interface)
    door.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
    with contextlib.suppress(OSError):  # Linux 4.20; before, what others send here is foreign
        door.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    door.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _SOCKET_BYTES)
    door.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, _SEND_BYTES)
    door.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    everything = struct.pack("iHH8x", index, _PROMISCUOUS, 0)
    door.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, everything)
    door.setblocking(False)
    door.bind((interface, _ALL_PROTOCOLS))


def _gone(interface: str, error: int | None) -> str:
    why = errno.errorcode.get(error or 0, "?")
    return f"the interface {interface} went down or away while frames were sent on it ({why})"
