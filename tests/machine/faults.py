"""The server with one fault, for each item that `vswitch lab check` looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_vswitch.machine.needs import Needs, Port
from tests.machine import trees
from tests.machine.trees import BIFURCATED, CPU, NEEDS, NICS, NODE, PCI, POLLING, Tree, server

ADMIN = "/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0"


@dataclass(frozen=True)
class Fault:
    """A host that is wrong in one way."""

    item: str
    """The check that must find it, and no other."""
    name: str
    tree: Callable[[], Tree]
    says: str
    """What the finding must name."""
    needs: Needs = NEEDS


FAULTS: list[Fault] = []


def fault(item: str, says: str, needs: Needs = NEEDS) -> Callable[[Change], Change]:
    """The decorated function spoils a good server."""

    def add(spoil: Change) -> Change:
        def tree() -> Tree:
            good = server()
            spoil(good)
            return good

        name = spoil.__name__.replace("_", " ")
        FAULTS.append(Fault(item, name, tree, says, needs))
        return spoil

    return add


Change = Callable[[Tree], None]


def another(item: str, name: str, says: str, tree: Callable[[], Tree], needs: Needs) -> None:
    """A server that is built otherwise."""
    FAULTS.append(Fault(item, name, tree, says, needs))


def wrong_need(item: str, name: str, says: str, **changes: object) -> None:
    """A good server, of which too much is asked."""
    another(item, name, says, server, replace(NEEDS, **changes))  # type: ignore[arg-type]


# --- BIOS ---------------------------------------------------------------------------------

another(
    "smt",
    "hyper-threads on",
    "CPUs 26-31 share the cores of polling ones",
    lambda: server(threads=2),
    NEEDS,
)


@fault("turbo", "on")
def boost_on(tree: Tree) -> None:
    tree.put(f"{CPU}/cpufreq", boost=1)


@fault("turbo", "on")
def intel_pstate_with_turbo(tree: Tree) -> None:
    tree.drop(f"{CPU}/cpufreq/boost")
    tree.put(f"{CPU}/intel_pstate", no_turbo=0, status="active")


@fault("governor", "powersave (CPUs 12)")
def governor_powersave(tree: Tree) -> None:
    tree.put(f"{CPU}/cpufreq/policy12", scaling_governor="powersave")


@fault("c-states", "C6 takes 133 µs")
def deep_idle_state_enabled(tree: Tree) -> None:
    tree.put(f"{CPU}/cpu12/cpuidle/state3", name="C6", latency=133, disable=0)


# --- cores --------------------------------------------------------------------------------

wrong_need("lcores-online", "an lcore that is not there", "not online: 40", polling=(*POLLING, 40))
wrong_need(
    "own-core",
    "fewer CPUs than polling threads",
    "share 6 CPUs",
    shared="host testpmd and guest testpmd share 6 CPUs",
)
another(
    "sibling",
    "two polling threads on one core",
    "CPUs 10-12,26-28 share cores",
    lambda: server(threads=2, polling=(10, 11, 12, 26, 27, 28)),
    replace(NEEDS, polling=(10, 11, 12, 26, 27, 28)),
)
another(
    "core-0",
    "CPU 0 polls",
    "polls",
    lambda: server(polling=range(6), nic_node=0, memory_node=0),
    replace(NEEDS, polling=tuple(range(6)), other=(6,)),
)
another(
    "lcore-node",
    "polling far from the NIC",
    "not on node 1, as the NIC ports are: 2-7",
    lambda: server(polling=range(2, 8), memory_node=0),
    replace(NEEDS, polling=tuple(range(2, 8)), other=(1,)),
)


@fault("lcore-node", "NIC ports are on nodes 0-1")
def nic_ports_on_two_nodes(tree: Tree) -> None:
    tree.put(ADMIN, numa_node=0)


@fault("isolcpus", "not isolated: 15")
def one_core_not_isolated(tree: Tree) -> None:
    tree.put(CPU, isolated="10-14")
    tree.replace("/proc/cmdline", "domain,10-15", "domain,10-14")


@fault("nohz_full", "with a tick: 15")
def tick_on_one_core(tree: Tree) -> None:
    tree.put(CPU, nohz_full="10-14")
    tree.replace("/proc/cmdline", "nohz_full=10-15", "nohz_full=10-14")


@fault("rcu_nocbs", "run their own: 10-15")
def kernel_without_nohz_full_and_rcu_nocbs(tree: Tree) -> None:
    tree.drop(f"{CPU}/nohz_full")
    tree.replace("/proc/cmdline", "nohz_full=10-15 rcu_nocbs=10-15 ", "")


# --- memory -------------------------------------------------------------------------------


@fault("hugepages", "0 of 1G free, 4 needed")
def no_hugepages(tree: Tree) -> None:
    gigantic = f"{NODE}/node1/hugepages/hugepages-1048576kB"
    tree.put(gigantic, nr_hugepages=0, free_hugepages=0)


@fault("hugepages", "3 of 1G free, 4 needed")
def hugepages_in_use(tree: Tree) -> None:
    tree.put(f"{NODE}/node1/hugepages/hugepages-1048576kB", free_hugepages=3)


wrong_need("hugepages", "a lab that wants none", "asks for none", hugepages="none")
another(
    "memory-node",
    "hugepages on the other node",
    "0 of 1G free on node 1, 4 needed",
    lambda: server(memory_node=0),
    NEEDS,
)


@fault("hugepage-size", "2048 kB")
def hugepages_of_2_MB_by_default(tree: Tree) -> None:
    tree.replace("/proc/meminfo", "1048576 kB", "2048 kB")


@fault("hugepage-mount", "no hugetlbfs of 1G")
def hugetlbfs_not_mounted(tree: Tree) -> None:
    tree.replace(
        "/proc/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=1024M 0 0\n", ""
    )


@fault("thp", "always")
def transparent_hugepages_always(tree: Tree) -> None:
    tree.put("/sys/kernel/mm/transparent_hugepage", enabled="[always] madvise never")


@fault("ksm", "on")
def ksm_on(tree: Tree) -> None:
    tree.put("/sys/kernel/mm/ksm", run=1)


# --- kernel -------------------------------------------------------------------------------


@fault("irq-affinity", "IRQ 45 (ens1f0-TxRx-0)")
def interrupt_on_any_core(tree: Tree) -> None:
    trees.put_irq(tree, 45, range(16), 16)


@fault("irq-affinity", "new ones may hit CPUs 10-15")
def new_interrupts_on_any_core(tree: Tree) -> None:
    tree.put("/proc/irq", default_smp_affinity="ffff")


@fault("managed-irqs", "IRQ 61 (nvme0q2)")
def managed_interrupt_on_a_polling_core(tree: Tree) -> None:
    trees.put_irq(tree, 61, range(8, 12), 16, effective={10})


@fault("irqbalance", "runs (pid 700)")
def irqbalance_running(tree: Tree) -> None:
    group = "/system.slice/irqbalance.service"
    tree.put("/proc/700", comm="irqbalance", cgroup=f"0::{group}")
    tree.files[f"/sys/fs/cgroup{group}/cgroup.freeze"] = "0\n"


@fault("writeback", "CPUs 0-15")
def dirty_pages_written_by_any_core(tree: Tree) -> None:
    tree.put("/sys/devices/virtual/workqueue/writeback", cpumask="ffff")


@fault("workqueues", "CPUs 0-15")
def deferred_work_on_any_core(tree: Tree) -> None:
    tree.put("/sys/devices/virtual/workqueue", cpumask="ffff")


@fault("nmi-watchdog", "on")
def nmi_watchdog_on(tree: Tree) -> None:
    tree.put("/proc/sys/kernel", nmi_watchdog=1)


@fault("soft-watchdog", "on CPUs 10-15")
def soft_watchdog_on_polling_cores(tree: Tree) -> None:
    tree.put("/proc/sys/kernel", watchdog_cpumask="0-15")


@fault("numa-balancing", "on")
def numa_balancing_on(tree: Tree) -> None:
    tree.put("/proc/sys/kernel", numa_balancing=1)


@fault("corrected-errors", "polled for")
def corrected_errors_polled_for(tree: Tree) -> None:
    tree.put("/sys/devices/system/machinecheck/machinecheck0", ignore_ce=0)


@fault("selinux", "enforcing")
def selinux_enforcing(tree: Tree) -> None:
    tree.put("/sys/fs/selinux", enforce=1)


@fault("iommu", "none")
def iommu_off(tree: Tree) -> None:
    tree.drop("/sys/kernel/iommu_groups")
    tree.drop(f"{ADMIN}/iommu_group")
    tree.drop(f"{ADMIN[:-1]}1/iommu_group")


@fault("iommu-passthrough", "domains DMA-FQ, identity")
def iommu_translates(tree: Tree) -> None:
    tree.put("/sys/kernel/iommu_groups/0", type="DMA-FQ")


@fault("vfio", "vfio-pci is not loaded")
def vfio_not_loaded(tree: Tree) -> None:
    tree.drop(f"{PCI}/drivers/vfio-pci")


@fault("irq-remapping", "off")
def interrupts_not_remapped(tree: Tree) -> None:
    text = tree.files["/proc/interrupts"]
    tree.files["/proc/interrupts"] = text.replace("IR-PCI-MSI", "PCI-MSI")


# --- NICs ---------------------------------------------------------------------------------

wrong_need(
    "nic-present",
    "a port that is not there",
    "no NIC at 0000:99:00.0",
    ports=(NEEDS.ports[0], Port("0000:99:00.0", "vfio-pci", 25.0)),
)
wrong_need(
    "nic-speed",
    "a line rate that is not the link's",
    "0000:81:00.1 has 25 Gbit/s",
    ports=(NEEDS.ports[0], Port(NICS[1], "vfio-pci", 100.0)),
)
wrong_need("mbuf-size", "buffers smaller than the frame", "for frames of 1518", mbuf_bytes=1024)


@fault("nic-management", "0000:81:00.1 ens1f1 carries the default route")
def port_with_the_default_route(tree: Tree) -> None:
    trees.reached_by(tree, "ens1f1")


@fault("nic-link", "down: 0000:81:00.0")
def link_down(tree: Tree) -> None:
    tree.put(f"{ADMIN}/net/ens1f0", carrier=0, operstate="down", speed=-1)


@fault("nic-pcie", "runs x4 at 16 GT/s of x8 at 16")
def pcie_link_too_narrow(tree: Tree) -> None:
    tree.put(ADMIN, current_link_width=4)


@fault("nic-pcie", "runs x8 at 8 GT/s of x8 at 16")
def pcie_link_too_slow(tree: Tree) -> None:
    tree.put(ADMIN, current_link_speed="8.0 GT/s PCIe")


@fault("nic-mtu", "ens1f0 has 1400", BIFURCATED)
def mtu_below_the_frame(tree: Tree) -> None:
    tree.put(f"{ADMIN}/net/ens1f0", mtu=1400)


@fault("nic-pause", "on: ens1f1")
def pause_frames_on(tree: Tree) -> None:
    tree.answers["ethtool", "-a", "ens1f1"] = trees.ethtool_a("ens1f1", "off", "on")


@fault("nic-firmware", "2.50 0x800077a6 1.2960.0 (driver 6.1.0-18-amd64) and 4.40")
def ports_with_different_firmware(tree: Tree) -> None:
    old = trees.ethtool_i(NICS[0], "2.50 0x800077a6 1.2960.0")
    tree.answers["ethtool", "-i", "ens1f0"] = old


@fault("nic-firmware", "newer version of the NVM image than expected")
def driver_older_than_the_firmware(tree: Tree) -> None:
    tree.answers["dmesg",] += (
        "[    4.112233] ice 0000:81:00.1: The driver for the device detected a newer version of "
        "the NVM image than expected. Please install the most recent version of the network "
        "driver.\n"
    )


# --- guest --------------------------------------------------------------------------------

GUEST = NEEDS.guest_command_line
wrong_need("guest-vcpus", "a guest with one CPU", "it forwards, and runs Linux", vcpus=1)
for item, word, says in (
    ("guest-isolcpus", "isolcpus=1-2", "not for virtual CPUs 1-2"),
    ("guest-rcu_nocbs", "rcu_nocbs=1-2", "not for virtual CPUs 1-2"),
    ("guest-irqs", "irqaffinity=0", "may hit forwarding CPUs"),
    ("guest-hugepages", "hugepages=1", "none"),
    ("guest-watchdog", "nmi_watchdog=0", "on"),
):
    line = GUEST.replace(word, "")
    wrong_need(item, f"a guest without {word}", says, guest_command_line=line)


@fault("libvirt-user", "libvirt-qemu")
def libvirt_runs_QEMU_as_another_user(tree: Tree) -> None:
    tree.put("/etc/libvirt", **{"qemu.conf": 'user = "libvirt-qemu"'})
