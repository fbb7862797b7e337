"""The topologies that the benchmarks bring up, with the choices and the script of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch import registry
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import wait_until_forwarding
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.generator import Generator

FIRST_FRAME_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A topology with its choices."""

    topology: str
    script: str
    """The same by hand: `benchmarks/SCRIPT KERNEL INITRAMFS DIRECTORY`, up to the first frame."""
    arguments: tuple[str, ...] = ()
    """Of the script, beside those."""
    vswitch: str | None = None
    hypervisor: str | None = None
    pages_mb: tuple[int, ...] = (512, 1024)
    """Hugepages that the script's programs need: a vSwitch and a guest, if not said otherwise."""

    @property
    def lab(self) -> Lab:
        return chosen(loader.load("local"), vswitch=self.vswitch, hypervisor=self.hypervisor)

    @contextlib.contextmanager
    def wired(self, host: Host) -> Iterator[tuple[Topology, Generator]]:
        """Up to the first frame back in each direction."""
        lab = self.lab
        attach = registry.generator(lab.generator.kind)
        with contextlib.ExitStack() as stack:
            frames.get_ready()
            # The generator leaves last: see `results.run.Run.wired`.
            last = stack.enter_context(contextlib.ExitStack())
            wiring = registry.topology(self.topology)
            topology = stack.enter_context(wiring.provision(lab, host))
            generator = last.enter_context(attach(lab, host, topology))
            wait_until_forwarding(topology, generator, FIRST_FRAME_S)
            yield topology, generator

    def by_hand(self) -> Path:
        return Path(__file__).with_name(self.script)


ROWS = {
    "pvp": Row("pvp", "bare_pvp.sh"),
    "p2p": Row("p2p", "bare_pvp.sh", ("0",), pages_mb=(512,)),
    "pvvp": Row("pvvp", "bare_pvp.sh", ("2",), pages_mb=(512, 1024, 1024)),
    "pvp-ovs-dpdk": Row("pvp", "bare_ovs.sh", vswitch="ovs-dpdk"),
    "pvp-libvirt": Row("pvp", "bare_libvirt.sh", hypervisor="libvirt"),
    "phy_vm_phy": Row("phy_vm_phy", "bare_phy_vm_phy.sh"),
    "container": Row("container", "bare_container.sh", pages_mb=(512, 256)),
    "memif": Row("memif", "bare_memif.sh", pages_mb=(512, 256)),
    "exception_path": Row(
        "exception_path_tap", "bare_exception_path.sh", ("tap",), pages_mb=(512,)
    ),
    "exception_path-af_packet": Row(
        "exception_path_af_packet", "bare_exception_path.sh", ("af_packet",), pages_mb=(512,)
    ),
    "live_migration": Row(
        "live_migration", "bare_live_migration.sh", pages_mb=(512, 512, 1024, 1024)
    ),
}
