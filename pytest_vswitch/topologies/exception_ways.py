"""The ways from a DPDK program into the kernel's network stack (guide, chapter 7).

In each, a port of the DPDK program has an interface of the kernel at its other end:

    virtio-user, vhost-net    TAP    a kernel thread moves frames, with the kernel's offloads
    net_tap                   TAP    a system call for each frame
    net_af_packet             veth   a packet socket at the far end of a veth pair

Nothing of it is in the host's own network namespace: the DPDK program runs in one that the
run has made, and the kernel's ends are moved to another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.errors import InputError, NotHere
from pytest_vswitch.hosts import changes, netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.topologies.ports import require_programs

VHOST_NET: Final = "/dev/vhost-net"

_MAC = "52:54:00:07:07"


@dataclass(frozen=True, slots=True)
class Way:
    """One of the three."""

    name: str
    """As parameters of cases have it, e.g. `af_packet`."""
    outer: str
    """The DPDK program's ports are called that, with a number."""
    inner: str
    """The kernel's interfaces at their other ends."""
    what: str
    """For readers."""

    def device(self, index: int, *, queues: int = 1, queue_size: int = 256) -> str:
        """For EAL's `--vdev`. `queue_size` [descriptors] is virtio-user's."""
        if self is VIRTIO_USER:
            return (
                f"net_virtio_user{index},path={VHOST_NET},iface={self.inner}{index},"
                f"queues={queues},queue_size={queue_size}"
            )
        if self is TAP:
            return f"net_tap{index},iface={self.inner}{index}"
        return f"net_af_packet{index},iface={_far(index)},qpairs={queues}"


VIRTIO_USER: Final = Way("vhost_net", "virtio_user", "tap", "virtio-user through vhost-net")
TAP: Final = Way("tap", "net_tap", "tap", "TAP PMD (net_tap)")
AF_PACKET: Final = Way("af_packet", "af_packet", "veth", "af_packet PMD on a veth pair")

WAYS: Final = (VIRTIO_USER, TAP, AF_PACKET)


@dataclass(frozen=True, slots=True)
class Interface:
    """The kernel's end of a port."""

    name: str
    mac: str
    namespace: str
    address: str
    """IPv4, with the length of its network's prefix."""


def mac(index: int) -> str:
    """Of the kernel's interface at the port of that number."""
    return f"{_MAC}:{index + 1:02x}"


def preflight(way: Way, host: Host) -> None:
    """Raise NotHere for a kernel without vhost-net, InputError for what else is missing."""
    require_programs(host, [("ip", "iproute2", ""), ("tc", "iproute2", "")])
    if way is VIRTIO_USER and not host.exists(VHOST_NET):
        raise NotHere(
            f"{host.name} has no {VHOST_NET}: load its kernel's module (`modprobe vhost_net`); "
            "where there is none, the virtual DUT's kernel has one: `--dut vlab`"
        )
    if way is not AF_PACKET and not host.exists("/dev/net/tun"):
        raise InputError(f"{host.name} has no /dev/net/tun, for TAP devices: `modprobe tun`")
    if not host.is_root():
        raise InputError(
            f"{way.what} on {host.name} needs root: for network namespaces and their interfaces"
        )


@contextlib.contextmanager
def far_side(host: Host, way: Way, ports: int) -> Iterator[str]:
    """The namespace in which the DPDK program is to run; what it opens there is ready.

    Raises HostError.
    """
    name = f"vswitch-{run_name(host)}-pmd"
    with changes.namespace(host, name):
        host.run(
            [*netns.command(name), "tee", "/proc/sys/net/ipv6/conf/default/disable_ipv6"],
            stdin="1\n",
            why="no frames of the kernel's own",
        )
        if way is AF_PACKET:
            pairs = [
                f"link add name {_far(index)} type veth peer name {way.inner}{index}\n"
                f"link set dev {_far(index)} up\n"
                for index in range(ports)
            ]
            host.run(
                ["ip", "-n", name, "-batch", "-"],
                stdin="".join(pairs),
                why="the DPDK program gets one end of each pair, the kernel's stack the other",
            )
        yield name


@contextlib.contextmanager
def near_side(host: Host, name: str) -> Iterator[str]:
    """A namespace for the kernel's ends; its full name. Raises HostError."""
    full = f"vswitch-{run_name(host)}-{name}"
    with changes.namespace(host, full):
        yield full


def plug(host: Host, far: str, interfaces: Sequence[Interface], mtu: int = 1500) -> None:
    """Take the kernel's ends to their namespaces, with MAC and IP addresses, and start them.

    The DPDK program runs by now. Raises HostError.
    """
    moves = "".join(f"link set dev {end.name} netns {end.namespace}\n" for end in interfaces)
    host.run(["ip", "-n", far, "-batch", "-"], stdin=moves, why="away from the DPDK program")
    for namespace in dict.fromkeys(end.namespace for end in interfaces):
        mine = [end for end in interfaces if end.namespace == namespace]
        host.run(
            [*netns.command(namespace), "tee", "/proc/sys/net/ipv6/conf/all/disable_ipv6"],
            stdin="1\n",
            why="no frames of the kernel's own",
        )
        lines = "".join(
            f"link set dev {end.name} address {end.mac} mtu {mtu}\n"
            f"addr add {end.address} dev {end.name}\n"
            f"link set dev {end.name} up\n"
            for end in mine
        )
        host.run(
            ["ip", "-n", namespace, "-batch", "-"],
            stdin=lines,
            why="an IP address for each, and up (guide, 7.1: ifconfig tap0 1.1.1.1/24 up)",
        )


def far_names(ports: int) -> Sequence[str]:
    """The ends of the veth pairs that the af_packet PMD opens."""
    return [_far(index) for index in range(ports)]


def run_name(host: Host) -> str:
    return host.scratch.rpartition("/")[2]


def _far(index: int) -> str:
    return f"port{index}"
