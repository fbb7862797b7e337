"""The servers of the example labs, as they tell of themselves: files, links, programs' answers.

Each is made up whole, of Debian 12; nothing of the machine that asks is in it. A question that
it does not know is a fault of this file: it never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from pytest_vswitch.apps import guest_image
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.topologies import sriov_migration_guest
from tests.machine import trees
from tests.machine.trees import PCI, Tree

RELEASE = "6.1.0-37-amd64"
"""Of the kernel, on hosts and in guests."""
DPDK = "22.11.11"
VERSIONS = {"ixgbe": RELEASE, "i40e": "1.5.16"}
"""Of the drivers; the guide's cloud filters are those of Intel's own i40e 1.x (3.2)."""
_LIBRARIES = Path(__file__).with_name("debian-12.11-libraries.txt")
_DRIVERS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0"
_SAMPLE = "/usr/share/dpdk/examples/vhost"
_NODE = 1
_MODULES = {
    "uio": "",
    "uio_pci_generic": "uio",
    "igb_uio": "uio",
    "virtio_ring": "",
    "virtio": "",
    "virtio_pci_modern_dev": "",
    "virtio_pci_legacy_dev": "",
    "virtio_pci": "virtio_ring,virtio,virtio_pci_modern_dev,virtio_pci_legacy_dev",
    "virtio_console": "virtio_ring,virtio",
    "failover": "",
    "net_failover": "failover",
    "virtio_net": "virtio_ring,virtio,net_failover",
}
"""Of the guest, and what each depends on."""


_VSWITCH = "/opt/dpdk-ovs/openvswitch"
_OVDK = (
    f"{_VSWITCH}/ovsdb/ovsdb-tool",
    f"{_VSWITCH}/ovsdb/ovsdb-server",
    f"{_VSWITCH}/utilities/ovs-vsctl",
    f"{_VSWITCH}/utilities/ovs-ofctl",
    f"{_VSWITCH}/utilities/ovs-ivshm-mngr",
    f"{_VSWITCH}/datapath/dpdk/build/ovs_dpdk",
    f"{_VSWITCH}/vswitchd/ovs-vswitchd",
    f"{_VSWITCH}/vswitchd/vswitch.ovsschema",
    "/opt/dpdk-ovs/qemu/x86_64-softmmu/qemu-system-x86_64",
    "/opt/dpdk-ovs/guest/memnic/memnic_set_mac_address.patch",
    "/opt/dpdk-ovs/guest/kni/rte_kni_module_1_6.patch",
    "/opt/dpdk-ovs/guest/kni/kni_client/kni_client.c",
    "/opt/memnic/linux/memnic_net.c",
    "/opt/memnic/linux/Makefile",
    "/opt/dpdk/lib/librte_eal/linuxapp/kni/kni_misc.c",
)
"""A built release, and what its guests build their drivers of."""


def _libraries() -> tuple[list[str], dict[str, str]]:
    """Of Debian's testpmd and iproute2, as `ldd` lists them; and where each link leads."""
    libraries, links = _LIBRARIES.read_text().split("\n\n")
    return libraries.splitlines(), dict(line.split("\t") for line in links.splitlines())


def server(driver: str, cards: Mapping[str, str]) -> Tree:
    """Two sockets, the `cards` (interface by PCI address) near the second, of ixgbe or i40e."""
    tree = trees.server(polling=range(9, 16), nic_node=_NODE, memory_node=_NODE)
    for name in ("ice", "ens1f"):
        _forget(tree, name)
    tree.drop("/sys/devices/pci0000:80")
    _kernel(tree)
    _hugepages(tree, {2048: 0, 1048576: 8})
    _guest(tree)
    _programs(tree)
    for number, (bdf, netdev) in enumerate(cards.items()):
        _card(tree, bdf, netdev, driver, number)
    return tree


def _forget(tree: Tree, words: str) -> None:
    for kept in (tree.files, tree.links):
        for path in [path for path in kept if words in path]:
            del kept[path]
    for argv in [argv for argv in tree.answers if any(words in word for word in argv)]:
        del tree.answers[argv]


def _kernel(tree: Tree) -> None:
    tree.put("/proc/sys/kernel", osrelease=RELEASE)
    tree.put("/proc/sys/kernel/random", boot_id="0d3f7c1e-6a39-4c55-9f0b-2f3f0c3b8a11")
    tree.put("/proc/sys/net/ipv4", ip_forward=0)
    tree.put("/proc/self", status="Name:\tcat\nCpus_allowed_list:\t0-8", cgroup="0::/init.scope")
    # Nobody has asked for vfio-pci since it booted.
    tree.drop(f"{PCI}/drivers/vfio-pci")
    for device in ("kvm", "vhost-net", "net/tun", "vfio/vfio"):
        tree.files[f"/dev/{device}"] = ""
    tree.files["/sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io memory hugetlb pids\n"
    tree.files["/sys/fs/cgroup/cgroup.subtree_control"] = "cpuset cpu io memory hugetlb pids\n"
    tree.answers["uname", "-r"] = f"{RELEASE}\n"


def _hugepages(tree: Tree, pools: Mapping[int, int]) -> None:
    for size_kb, count in pools.items():
        tree.put(
            f"/sys/kernel/mm/hugepages/hugepages-{size_kb}kB",
            nr_hugepages=count,
            free_hugepages=count,
            resv_hugepages=0,
            nr_overcommit_hugepages=0,
        )


def _guest(tree: Tree) -> None:
    """A kernel and its modules."""
    tree.files[f"/boot/vmlinuz-{RELEASE}"] = ""
    modules = f"/usr/lib/modules/{RELEASE}"
    tree.put(modules, **{"modules.builtin": "kernel/drivers/pci/pci.ko"})
    for name, depends in _MODULES.items():
        path = f"{modules}/kernel/drivers/{name}.ko"
        tree.files[path] = f"\0depends={depends}\0"


def _programs(tree: Tree) -> None:
    tree.answers["qemu-system-x86_64", "--version"] = (
        "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)\n"
    )
    for name in ("main.c", "main.h", "virtio_net.c", "Makefile"):
        tree.files[f"{_SAMPLE}/{name}"] = ""
    tree.links["/lib"] = "/usr/lib"
    for path in _libraries()[0]:
        if "/dpdk/" in path or "librte_" in path:
            tree.files[re.sub("^/lib", "/usr/lib", path)] = ""
    for name in (*guest_image.DRIVERS, *sriov_migration_guest.DRIVERS):
        tree.files[f"{_DRIVERS}/librte_{name}.so"] = ""
    tree.answers["podman", "--version"] = "podman version 4.3.1\n"
    tree.answers["/usr/bin/runc", "--version"] = "runc version 1.1.5+ds1\n"
    tree.files["/opt/trex/v3.08/t-rex-64"] = ""
    tree.files["/var/lib/images/fedora-20.qcow2"] = ""
    for path in _OVDK:
        tree.files[path] = ""


def _card(tree: Tree, bdf: str, netdev: str, driver: str, number: int) -> None:
    """A port, with virtual functions where those cards have them."""
    offset, stride, total = {"ixgbe": (128, 2, 63), "i40e": (16, 1, 32)}[driver]
    if driver == "i40e":  # of four ports, each has its own 32
        offset += 31 * number
    device = f"/sys/devices/pci0000:80/0000:80:02.0/{bdf}"
    tree.put(
        device,
        vendor="0x8086",
        device={"ixgbe": "0x10fb", "i40e": "0x1572"}[driver],
        numa_node=_NODE,
        driver_override="(null)",
        sriov_totalvfs=total,
        sriov_numvfs=0,
        sriov_offset=offset,
        sriov_stride=stride,
        sriov_drivers_autoprobe=1,
        max_vfs=0,
        **{"class": "0x020000"},
    )
    tree.put(
        f"{device}/net/{netdev}",
        operstate="up",
        carrier=1,
        speed=10000,
        mtu=1500,
        address=f"68:05:ca:24:03:8{number:x}",
        flags="0x1003",
        ifindex=number + 3,
    )
    tree.links[f"{PCI}/devices/{bdf}"] = device
    tree.links[f"/sys/class/net/{netdev}"] = f"{device}/net/{netdev}"
    tree.links[f"{device}/driver"] = f"{PCI}/drivers/{driver}"
    tree.links[f"{PCI}/drivers/{driver}/{bdf}"] = device
    tree.links[f"{device}/iommu_group"] = f"/sys/kernel/iommu_groups/{number + 1}"
    tree.answers["ethtool", "-i", netdev] = (
        f"driver: {driver}\nversion: {VERSIONS[driver]}\nfirmware-version: 8.30\nbus-info: {bdf}\n"
    )
    tree.answers["ethtool", "-a", netdev] = trees.ethtool_a(netdev, "off", "off")
    tree.answers["ethtool", "-k", netdev] = "Features for x:\nntuple-filters: off\n"


class Server:
    """See `hosts.host.Host`: it can be looked at, and no more."""

    scratch = "/run/vswitch-plan"
    cache = "/var/cache/pytest-vswitch"

    def __init__(self, name: str, tree: Tree) -> None:
        self.name = name
        self._node = name.rpartition("@")[2]
        self._tree = tree
        self._libraries, self._targets = _libraries()

    # --- programs ---

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        del timeout_s, why
        status, output = self._answer(list(argv))
        if check and status:
            raise HostError(f"{self.name}: `{' '.join(argv)}` failed ({status}): {output}")
        return Completed(tuple(argv), status, output)

    def _answer(self, argv: list[str]) -> tuple[int, str]:
        if tuple(argv) in self._tree.answers:
            return 0, self._tree.answers[tuple(argv)]
        match argv:
            case ["uname", "-n"]:
                return 0, f"{self._node}\n"
            case ["ls", "-1", "--", directory]:
                return 0, "".join(f"{name}\n" for name in sorted(self._names(directory)))
            case ["test", "-e", path]:
                return (0 if self.exists(path) else 1), ""
            case ["cat", "--", path] | ["cat", path]:
                return 0, self.read_text(path)
            case ["printenv", _]:
                return 1, ""
            case ["ldd", "--", *_]:
                listed = (f"\t{PurePosixPath(p).name} => {p} (0x7f00)" for p in self._libraries)
                return 0, "\n".join(listed) + "\n"
            case ["realpath", "--", *paths]:
                return 0, "".join(f"{re.sub('^/lib', '/usr/lib', path)}\n" for path in paths)
            case ["find", *paths, "-maxdepth", "0", "-type", "l", "-printf", _]:
                found = ((str(PurePosixPath(p).parent), self._targets.get(p)) for p in paths)
                return 0, "".join(f"{parent}\t{target}\n" for parent, target in found if target)
            case ["find", directory, "-name", pattern]:
                real, suffix = self._real(directory), pattern.strip("*")
                return 0, "".join(
                    f"{directory}{path.removeprefix(real)}\n"
                    for path in sorted(self._below(real))
                    if path.endswith(suffix)
                )
            case ["sha256sum", "--", *paths]:
                return 0, "".join(f"{0:064x}  {path}\n" for path in paths)
            case ["ethtool", "-n", _]:
                return 0, "4 RX rings available\nTotal 0 rules\n"
            case ["ip", "-o", "address", "show", *_]:
                return 0, ""
            case ["ip", "link", "show", "dev", name] if name.startswith("vs-"):
                return 1, f'Device "{name}" does not exist.\n'
            case ["qemu-system-x86_64", *words] if "kvm" in words:
                return 1, "Unable to mount root fs on unknown-block(0,0)\n"
            case ["/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", "--version"]:
                return 0, f"ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK {DPDK}\n"
            case [program, "--version"] if program.endswith("/utilities/ovs-vsctl"):
                return 0, "ovs-vsctl (Open vSwitch) 2.0.0\n"
            case ["qemu-img", "info", *_]:
                return 0, '{"format": "qcow2"}\n'
            case [program, "--version"] if program.endswith("qemu-system-x86_64"):
                return 0, "QEMU emulator version 1.6.2\n"
            case ["pkg-config", "--exists", "libdpdk"]:
                return 0, ""
            case ["pkg-config", "--modversion", "libdpdk"]:
                return 0, f"{DPDK}\n"
        raise AssertionError(f"{self.name} has no answer to {argv}")

    def is_root(self) -> bool:
        return True

    def which(self, program: str) -> str | None:
        return program if program.startswith("/") else f"/usr/bin/{program}"

    def python(self, module: str) -> list[str]:
        return ["python3", "-m", module]

    # --- files ---

    def _real(self, path: str) -> str:
        """Without links on the way."""
        while True:
            through = [
                link for link in self._tree.links if path == link or path.startswith(f"{link}/")
            ]
            if not through:
                return path
            longest = max(through, key=len)
            path = self._tree.links[longest] + path.removeprefix(longest)

    def read_bytes(self, path: str) -> bytes:
        real = self._real(path)
        if real not in self._tree.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._tree.files[real].encode()

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode()

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        return {
            path: self.read_text(path)
            for path in self.glob(pattern)
            if self._real(path) in self._tree.files
        }

    def read_link(self, path: str) -> str:
        return self._real(path)

    def exists(self, path: str) -> bool:
        return bool(self._below(self._real(path)))

    def _below(self, real: str) -> list[str]:
        return [
            path
            for path in (*self._tree.files, *self._tree.links)
            if path == real or path.startswith(f"{real}/")
        ]

    def glob(self, pattern: str) -> list[str]:
        """Part by part, through links, as the shell does."""
        found = [""]
        for part in pattern.strip("/").split("/"):
            if not re.search(r"[*?\[]", part):
                found = [f"{path}/{part}" for path in found if self.exists(f"{path}/{part}")]
                continue
            wanted = re.compile(re.escape(part).replace(r"\*", "[^/]*"))
            found = [
                f"{path}/{name}"
                for path in found
                for name in sorted(self._names(path))
                if wanted.fullmatch(name)
            ]
        return found

    def _names(self, directory: str) -> set[str]:
        real = self._real(directory)
        return {path.removeprefix(f"{real}/").split("/")[0] for path in self._below(real)} - {real}

    def check_reserved(self) -> None: ...

    # --- what nobody may ask of a host that is looked at ---

    def _touched(self, *given: object, **how: object) -> NoReturn:
        raise AssertionError(f"a plan has touched {self.name}: {given} {how}")

    run: Any = _touched
    spawn: Any = _touched
    write_text: Any = _touched
    write_bytes: Any = _touched
    changing: Any = _touched
    connect: Any = _touched
    console: Any = _touched
