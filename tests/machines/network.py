"""The cable between a test's machine and whoever talks to it, with what befalls cables.

A cable is a process that carries Ethernet frames between two TAP devices: one here (or in a
jump host), one in the machine. So frames can be dropped without a word, delayed or cut on
any kernel, and when the process ends, however it ends, both devices are gone.
Run as a program, this file is that process.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import itertools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

START_S = 60.0
"""How long anything here may take on a busy machine [s]."""


@dataclass(frozen=True)
class Weather:
    """What befalls frames under way."""

    drops_from_near: bool = False
    """What is sent to the machine vanishes."""
    drops_from_far: bool = False
    """What the machine says vanishes."""
    one_way_s: float = 0.0
    """Added to the way of each frame, in each direction [s]."""
    largest_bytes: int = 65535
    """Longer frames vanish, as on a path whose MTU nobody was told of."""
    plugged: bool = True
    """Whether both ends see a carrier."""


class Subnet:
    """Four addresses that no other test on this machine has: near end, machine.

    A socket name stands for them, as the kernel frees it with the last process that holds it.
    """

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for number in itertools.count(os.getpid() % 16000):
            try:
                self.socket.bind(f"\0pytest-vswitch-test-subnet-{number % 16384}")
            except OSError:
                assert number < 40000, "every subnet is taken"
                continue
            third, fourth = divmod(number % 16384 * 4, 256)
            self.near = f"10.77.{third}.{fourth + 1}"
            self.machine = f"10.77.{third}.{fourth + 2}"
            return


class Cable:
    """One machine's cable. Its other end is here, or in the network of process `near_pid`.

    `holder` is a command that runs the cable's process, e.g. in a mount namespace.
    """

    def __init__(self, near_pid: int | None = None, holder: tuple[str, ...] = ()) -> None:
        self._weather = Weather()
        self._subnet = Subnet()
        self.address = self._subnet.machine
        """The machine's address; it has one network and no way beyond it."""
        self.near_address = self._subnet.near
        end = self._subnet.socket.fileno()
        self._process = subprocess.Popen(
            [*holder, sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[end],  # the subnet is free when the device is
            start_new_session=True,
        )
        self.pid = self._process.pid
        try:
            # As long as a device's name may be, and as unique as its address.
            name = "vswitch" + socket.inet_aton(self.near_address).hex()
            _install(self._ask(opens="near"), name, near_pid, self.near_address)
        except BaseException:
            self.close()
            raise

    def plug_into(self, pid: int) -> None:
        """Give the network of process `pid` the machine's end, as eth0 with its address."""
        _install(self._ask(opens="far"), "eth0", pid, self.address)

    def unplug(self) -> None:
        """The machine's end vanishes: what it still says is never heard."""
        self._ask(closes="far")

    def drop(self, *, to_machine: bool = True, from_machine: bool = True) -> None:
        """From now on frames vanish, without an ICMP or a reset."""
        self._set(drops_from_near=to_machine, drops_from_far=from_machine)

    def delay(self, round_trip_s: float) -> None:
        """What a round trip takes longer than without delay [s]."""
        self._set(one_way_s=round_trip_s / 2)

    def black_hole(self, largest_bytes: int) -> None:
        """Frames longer than that vanish [bytes, with Ethernet header]."""
        self._set(largest_bytes=largest_bytes)

    def cut(self) -> None:
        """Pull the plug: both ends lose their carrier."""
        self._set(plugged=False)

    def heal(self) -> None:
        """Everything above is over. Frames that were dropped stay lost."""
        self._set(**asdict(Weather()))

    def close(self) -> None:
        """Both ends vanish. Returns when they have."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.kill()
        self._process.wait(START_S)
        self._subnet.socket.close()

    def _set(self, **changes: Any) -> None:
        self._weather = replace(self._weather, **changes)
        self._ask(weather=asdict(self._weather))

    def _ask(self, **order: object) -> str:
        """Returns the answer, once the order is in force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answered = select.select([self._process.stdout], [], [], START_S)[0]
        answer = self._process.stdout.readline().decode().strip() if answered else ""
        assert answer, f"the cable's process does not answer to {order}"
        return answer

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _install(device: str, name: str, pid: int | None, address: str) -> None:
    """Name a device, move it to the network of `pid` (None: leave it here), bring it up."""
    there = [] if pid is None else ["netns", str(pid)]
    subprocess.run(["ip", "link", "set", "dev", device, *there, "name", name], check=True)
    mac = "02:00:" + socket.inet_aton(address).hex(":")
    setup = (
        f"link set dev {name} addrgenmode none address {mac}\n"
        f"address add {address}/30 dev {name}\n"
        f"link set dev {name} up\n"
    )
    enter = [] if pid is None else ["nsenter", "--net", "--target", str(pid)]
    subprocess.run([*enter, "ip", "-batch", "-"], input=setup, text=True, check=True)


_TUNSETIFF, _TUNSETCARRIER = 0x400454CA, 0x400454E2  # linux/if_tun.h
_TAP = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI


class _Carrier:
    """The process: a TAP device at each end, frames under way, orders from standard input."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.weather = Weather()
        self.under_way: collections.deque[tuple[float, str, bytes]] = collections.deque()

    def run(self) -> None:
        """Until standard input ends."""
        orders = b""
        while True:
            wait_s = max(0.0, self.under_way[0][0] - time.monotonic()) if self.under_way else None
            ready = select.select([0, *self.ends.values()], [], [], wait_s)[0]
            for side, other in (("near", "far"), ("far", "near")):
                if self.ends.get(side) in ready:
                    self.take(side, other)
            self.deliver()
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, orders = (orders + data).split(b"\n")
                for line in lines:
                    print(self.obey(**json.loads(line)), flush=True)

    def obey(self, opens: str = "", closes: str = "", weather: Any = None) -> str:
        """The new device's name, if one is opened."""
        name = "done"
        if closes in self.ends:
            os.close(self.ends.pop(closes))
        if opens:
            self.ends[opens] = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            wanted = struct.pack("16sH22x", b"vswitch%d", _TAP)  # the kernel picks the number
            device = fcntl.ioctl(self.ends[opens], _TUNSETIFF, wanted)[:16]
            name = device.rstrip(b"\0").decode()
        if weather:
            self.weather = Weather(**weather)
        for end in self.ends.values():
            with contextlib.suppress(OSError):  # gone with its network: `take` will see
                fcntl.ioctl(end, _TUNSETCARRIER, struct.pack("i", self.weather.plugged))
        return name

    def take(self, side: str, other: str) -> None:
        dropped = self.weather.drops_from_near if side == "near" else self.weather.drops_from_far
        try:
            while True:
                frame = os.read(self.ends[side], 65536)
                if not dropped and len(frame) <= self.weather.largest_bytes:
                    due = time.monotonic() + self.weather.one_way_s
                    self.under_way.append((due, other, frame))
        except BlockingIOError:
            return
        except OSError:  # the device went with its network
            os.close(self.ends.pop(side))

    def deliver(self) -> None:
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            _, side, frame = self.under_way.popleft()
            if side in self.ends:
                with contextlib.suppress(OSError):  # down, or full: lost
                    os.write(self.ends[side], frame)


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("cable")
    _Carrier().run()
