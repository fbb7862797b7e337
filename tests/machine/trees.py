"""What /proc and /sys of a well-prepared two-socket server say, by hand from the kernel's
documentation: 16 cores, hyper-threads off, a two-port NIC on one node, cores isolated there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pytest_vswitch.machine.cpulist import format_list, format_mask
from pytest_vswitch.machine.needs import Needs, Port

CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"
PCI = "/sys/bus/pci"
CORES = 8
"""To a socket."""
NICS = ("0000:81:00.0", "0000:81:00.1")
NETDEVS = ("ens1f0", "ens1f1")
POLLING = (10, 11, 12, 13, 14, 15)
MAIN = 9
NOT_WRITABLE = (
    *("find", "/proc/irq", "-mindepth", "2", "-maxdepth", "2", "-name", "smp_affinity_list"),
    *("!", "-perm", "-u=w"),
)
"""How it is asked which interrupts cannot be moved."""

NEEDS = Needs(
    polling=POLLING,
    other=(MAIN,),
    ports=tuple(Port(bdf, "vfio-pci", 25.0) for bdf in NICS),
    memory_mb=(1024, 3072),
    vcpus=3,
    guest_command_line="console=ttyS0 nmi_watchdog=0 isolcpus=1-2 rcu_nocbs=1-2 irqaffinity=0 "
    "default_hugepagesz=1G hugepagesz=1G hugepages=1",
)

BIFURCATED = replace(NEEDS, ports=tuple(Port(bdf, "kernel", 25.0) for bdf in NICS))
"""Ports that keep the kernel's driver beside DPDK's."""


@dataclass
class Tree:
    """Files and links of a host, and what its programs answer."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    answers: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Output by command line."""

    def put(self, directory: str, **files: object) -> None:
        for name, content in files.items():
            self.files[f"{directory}/{name}"] = f"{content}\n"

    def drop(self, start: str) -> None:
        for path in [path for path in self.files if path.startswith(start)]:
            del self.files[path]
        for path in [path for path in self.links if path.startswith(start)]:
            del self.links[path]

    def replace(self, path: str, old: str, new: str) -> None:
        assert old in self.files[path]
        self.files[path] = self.files[path].replace(old, new)


def server(
    *,
    threads: int = 1,
    polling: Iterable[int] = POLLING,
    nic_node: int = 1,
    memory_node: int = 1,
) -> Tree:
    """The server; `threads` per core, the second ones numbered after all first ones."""
    tree = Tree()
    quiet = frozenset(polling)
    count = 2 * CORES * threads
    rest = frozenset(range(count)) - quiet
    _proc(tree, quiet, rest)
    _cpus(tree, quiet, count, threads)
    _memory(tree, memory_node, count)
    _kernel(tree, rest, count)
    _irqs(tree, rest, count)
    for port in range(2):
        _nic(tree, port, nic_node)
    return tree


def _proc(tree: Tree, quiet: frozenset[int], rest: frozenset[int]) -> None:
    cpus = format_list(quiet)
    tree.put(
        "/proc",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.1.0-18-amd64 root=UUID=5a7e ro quiet intel_iommu=on "
        "iommu=pt default_hugepagesz=1G hugepagesz=1G hugepages=1:6 intel_pstate=disable "
        f"mce=ignore_ce isolcpus=managed_irq,domain,{cpus} nohz_full={cpus} rcu_nocbs={cpus} "
        f"irqaffinity={format_list(rest)} nmi_watchdog=0 intel_idle.max_cstate=1",
        cpuinfo="processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel Xeon\n"
        "flags\t\t: fpu pdpe1gb",
        mounts="sysfs /sys sysfs rw,nosuid 0 0\nproc /proc proc rw 0 0\n"
        "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n"
        "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=1024M 0 0",
        meminfo="MemTotal:       131072000 kB\nMemFree:        120000000 kB\n"
        "MemAvailable:   121000000 kB\nHugePages_Total:       6\nHugepagesize:    1048576 kB",
    )
    for pid, name in ((1, "systemd"), (2, "kthreadd"), (812, "sshd")):
        tree.put(f"/proc/{pid}", comm=name, cgroup=f"0::/system.slice/{name}.service")
    reached_by(tree, "eno1")


def reached_by(tree: Tree, netdev: str) -> None:
    """The interface that carries the default route."""
    ask = ("ip", "-j", "{}", "route", "show", "default", "table", "all")
    for family, routes in (
        ("-4", f'[{{"dst":"default","gateway":"192.0.2.1","dev":"{netdev}","flags":[]}}]'),
        ("-6", "[]"),
    ):
        tree.answers[tuple(word.format(family) for word in ask)] = routes
    tree.answers["ip", "-j", "address"] = "[]"
    tree.answers["ss", "-Htnp", "state", "established"] = ""
    tree.answers["printenv", "PATH"] = "/usr/bin\n"


def _cpus(tree: Tree, quiet: frozenset[int], count: int, threads: int) -> None:
    everything = format_list(range(count))
    tree.put(
        CPU,
        online=everything,
        possible=everything,
        present=everything,
        offline="",
        isolated=format_list(quiet),
        nohz_full=format_list(quiet),
        kernel_max=8191,
    )
    tree.put(f"{CPU}/smt", control="on" if threads > 1 else "off", active=int(threads > 1))
    tree.put(f"{CPU}/cpufreq", boost=0)
    for cpu in range(count):
        core = cpu % (2 * CORES)
        siblings = format_list(range(core, count, 2 * CORES))
        here = f"{CPU}/cpu{cpu}"
        socket = core // CORES
        tree.put(
            f"{here}/topology",
            core_id=core % CORES,
            physical_package_id=socket,
            thread_siblings_list=siblings,
        )
        tree.links[f"{here}/node{socket}"] = f"{NODE}/node{socket}"
        if cpu:
            tree.put(here, online=1)
        tree.put(
            f"{CPU}/cpufreq/policy{cpu}",
            affected_cpus=cpu,
            scaling_governor="performance",
            scaling_driver="acpi-cpufreq",
        )
        tree.links[f"{here}/cpufreq"] = f"{CPU}/cpufreq/policy{cpu}"
        for state, (name, latency_us) in enumerate((("POLL", 0), ("C1", 2), ("C1E", 10))):
            tree.put(f"{here}/cpuidle/state{state}", name=name, latency=latency_us, disable=0)


def _memory(tree: Tree, memory_node: int, count: int) -> None:
    for node in (0, 1):
        cpus = [cpu for cpu in range(count) if cpu % (2 * CORES) // CORES == node]
        tree.put(
            f"{NODE}/node{node}",
            cpulist=format_list(cpus),
            meminfo=f"Node {node} MemTotal:       65536000 kB\n"
            f"Node {node} MemFree:        60000000 kB",
        )
        for size_kb, total in ((2048, 0), (1048576, 6 if node == memory_node else 0)):
            tree.put(
                f"{NODE}/node{node}/hugepages/hugepages-{size_kb}kB",
                nr_hugepages=total,
                free_hugepages=total,
                surplus_hugepages=0,
            )
    tree.put("/sys/kernel/mm/ksm", run=0)
    tree.put("/sys/kernel/mm/transparent_hugepage", enabled="always [madvise] never")


def _kernel(tree: Tree, rest: frozenset[int], count: int) -> None:
    tree.put(
        "/proc/sys/kernel",
        osrelease="6.1.0-18-amd64",
        numa_balancing=0,
        nmi_watchdog=0,
        soft_watchdog=1,
        watchdog=1,
        watchdog_cpumask=format_list(rest),
    )
    tree.put("/sys/fs/selinux", enforce=0)
    workqueue = "/sys/devices/virtual/workqueue"
    tree.put(workqueue, cpumask=format_mask(rest, count))
    tree.put(f"{workqueue}/writeback", cpumask=format_mask(rest, count))
    tree.put("/sys/devices/system/machinecheck/machinecheck0", ignore_ce=1)
    for group in range(3):
        tree.put(f"/sys/kernel/iommu_groups/{group}", type="identity")
    tree.put(f"{PCI}/drivers/vfio-pci", module="")
    tree.put("/sys/module/vfio_iommu_type1/parameters", allow_unsafe_interrupts="N")
    tree.put("/sys/module/vfio/parameters", enable_unsafe_noiommu_mode="N")
    tree.put("/etc/libvirt", **{"qemu.conf": '# user = "qemu"\nuser = "root"'})
    tree.answers["dmesg",] = "[    0.000000] Linux version 6.1.0-18-amd64\n"


def _irqs(tree: Tree, rest: frozenset[int], count: int) -> None:
    tree.put("/proc/irq", default_smp_affinity=format_mask(rest, count))
    lines = [" " * 12 + "".join(f"CPU{cpu:<8}" for cpu in range(count))]
    first = min(rest)
    everywhere = frozenset(range(count))
    for irq, name, cpus in (
        (0, "timer", everywhere),
        (9, "acpi", rest),
        (44, "eno1-TxRx-0", rest),
        (45, "ens1f0-TxRx-0", rest),
        # Managed: one for each CPU, and one that has no other CPU to go to.
        (60, "nvme0q1", frozenset({first})),
        (61, "nvme0q2", everywhere - rest or {count - 1}),
    ):
        put_irq(tree, irq, cpus, count)
        counts = "".join(f"{0:<11}" for _ in range(count))
        lines.append(f"{irq:4}: {counts} IR-PCI-MSI {irq}-edge      {name}")
    lines.append(" NMI: " + "".join(f"{0:<11}" for _ in range(count)) + " Non-maskable interrupts")
    tree.put("/proc", interrupts="\n".join(lines))
    put_irq(tree, 2, everywhere, count)  # without a handler
    tree.answers[NOT_WRITABLE] = ""  # Linux 6.1 does not tell which are managed


def put_irq(
    tree: Tree, irq: int, cpus: Iterable[int], count: int, effective: Iterable[int] = ()
) -> None:
    where = frozenset(cpus)
    tree.put(
        f"/proc/irq/{irq}",
        smp_affinity=format_mask(where, count),
        smp_affinity_list=format_list(where),
        effective_affinity_list=format_list(effective or {min(where)}),
    )


def _nic(tree: Tree, port: int, node: int) -> None:
    bdf, netdev = NICS[port], NETDEVS[port]
    device = f"/sys/devices/pci0000:80/0000:80:02.0/{bdf}"
    tree.put(
        device,
        vendor="0x8086",
        device="0x159b",
        subsystem_vendor="0x8086",
        subsystem_device="0x0002",
        **{"class": "0x020000"},
        numa_node=node,
        current_link_width=8,
        max_link_width=8,
        current_link_speed="16.0 GT/s PCIe",
        max_link_speed="16.0 GT/s PCIe",
        sriov_totalvfs=64,
        sriov_numvfs=0,
    )
    tree.put(
        f"{device}/net/{netdev}",
        operstate="up",
        carrier=1,
        speed=25000,
        duplex="full",
        mtu=1500,
        address=f"b4:96:91:00:00:0{port}",
        flags="0x1003",
        ifindex=port + 3,
    )
    tree.links[f"{PCI}/devices/{bdf}"] = device
    tree.links[f"/sys/class/net/{netdev}"] = f"{device}/net/{netdev}"
    tree.links[f"{device}/net/{netdev}/device"] = device
    tree.links[f"{PCI}/drivers/ice/{bdf}"] = device
    tree.links[f"{device}/iommu_group"] = f"/sys/kernel/iommu_groups/{port + 1}"
    tree.answers["ethtool", "-i", netdev] = ethtool_i(bdf, "4.40 0x8001c967 1.3534.0")
    tree.answers["ethtool", "-a", netdev] = ethtool_a(netdev, "off", "off")


def ethtool_i(bdf: str, firmware: str, version: str = "6.1.0-18-amd64") -> str:
    return (
        f"driver: ice\nversion: {version}\nfirmware-version: {firmware}\nexpansion-rom-version: \n"
        f"bus-info: {bdf}\nsupports-statistics: yes\nsupports-test: yes\n"
        "supports-eeprom-access: yes\nsupports-register-dump: yes\nsupports-priv-flags: yes\n"
    )


def ethtool_a(netdev: str, rx: str, tx: str) -> str:
    return f"Pause parameters for {netdev}:\nAutonegotiate:\toff\nRX:\t\t{rx}\nTX:\t\t{tx}\n\n"
