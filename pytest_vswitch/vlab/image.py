"""The disk that a virtual DUT starts from: Debian with sshd, DPDK and a slimmed kernel.

Built from the distribution's packages without a loop mount, and without any key: what makes
one machine differ from another is written to its own copy (`keys`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.vlab import debian
from pytest_vswitch.vlab.debian import Say, Tree

DISK_MB = 4096
"""Size of the disk; a hole in the file where nothing is written [MiB]."""

CMDLINE = "/etc/kernel/cmdline"
"""The whole kernel command line, on one line; each boot reads it (kernel-install(8))."""

MANAGEMENT_NIC = "enp0s1"
"""The NIC that SSH uses, by its place on the PCI bus."""

NEEDED_MB = 3000
"""Room that building takes, for a while [MiB]."""

_PACKAGES = """
    dpdk dpdk-dev ethtool iproute2 irqbalance kmod linux-image-amd64 openssh-server pciutils
    procps python3 python3-numpy sudo systemd-sysv udev
""".split()

_DROPPED_MODULES = """
    arch/x86/crypto arch/x86/kvm drivers fs net/bluetooth net/mac80211 net/wireless sound
""".split()

_KEPT_MODULES = """
    arch/x86/crypto/crc32 fs/autofs fs/configfs fs/ext4 fs/fuse fs/jbd2 fs/mbcache fs/nls
    fs/overlayfs drivers/acpi drivers/block/virtio_blk drivers/bus drivers/char drivers/cpufreq
    drivers/cpuidle drivers/dca drivers/i2c drivers/iommu drivers/net/bonding drivers/net/dummy
    drivers/net/ethernet/intel/igb drivers/net/ethernet/intel/igbvf drivers/net/ifb
    drivers/net/macvlan drivers/net/macvtap drivers/net/net_failover drivers/net/tap
    drivers/net/tun drivers/net/veth drivers/net/virtio_net drivers/net/vxlan drivers/pci
    drivers/pps drivers/ptp drivers/uio drivers/vfio drivers/vhost drivers/virtio
    drivers/watchdog
""".split()
"""Beginnings of paths; the other drivers are for hardware that this machine never has."""

_MASKED = """
    dpdk.service dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty.target modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service
    modprobe@fuse.service modprobe@loop.service proc-sys-fs-binfmt_misc.automount
    systemd-binfmt.service systemd-logind.service systemd-pstore.service
    systemd-update-utmp-runlevel.service
""".split()
"""Units that this machine has no use for: each costs half a second under emulation."""

READY = "vlab: sshd is up"
"""What it prints on its console: asking its sshd again and again would slow the boot down."""

_MANAGEMENT_UNIT = "management-network.service"
_READY_UNIT = "vlab-ready.service"

_FILES = {
    "etc/hostname": "vlab\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 vlab\n",
    # The initramfs mounts the root, and the kernel replays its journal: nothing to check.
    "etc/fstab": "",
    # Empty: each machine makes its own, and the first boot does not count as an installation.
    "etc/machine-id": "",
    CMDLINE[1:]: "root=/dev/vda rw console=ttyS0 quiet intel_iommu=on iommu=pt\n",
    # A network manager would take three seconds for this.
    f"etc/systemd/system/{_MANAGEMENT_UNIT}": (
        "[Unit]\nDescription=The management NIC, for SSH; the other NICs are for DPDK\n"
        f"BindsTo=sys-subsystem-net-devices-{MANAGEMENT_NIC}.device\n"
        f"After=sys-subsystem-net-devices-{MANAGEMENT_NIC}.device\nBefore=network.target\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/sbin/ip address replace 10.0.2.15/24 dev {MANAGEMENT_NIC}\n"
        f"ExecStart=/sbin/ip link set {MANAGEMENT_NIC} up\n"
        f"ExecStart=/sbin/ip route replace default via 10.0.2.2 dev {MANAGEMENT_NIC}\n"
    ),
    f"etc/systemd/system/{_READY_UNIT}": (
        "[Unit]\nDescription=Tell on the console that SSH works\n"
        f"After=ssh.service {_MANAGEMENT_UNIT}\n"
        "[Service]\nType=oneshot\nStandardOutput=tty\nTTYPath=/dev/console\n"
        f"ExecStart=/bin/echo {READY}\n"
    ),
    "etc/ssh/sshd_config.d/vlab.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n"
        # The default takes a second more under emulation.
        "KexAlgorithms curve25519-sha256\n"
    ),
    "etc/initramfs-tools/conf.d/vlab": "MODULES=list\nCOMPRESS=gzip\n",
    "usr/share/initramfs-tools/modules.d/vlab": (
        "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\ncrc32c_intel\n"
    ),
}
"""What the system is told before its packages are installed."""


@dataclass(frozen=True, slots=True)
class Base:
    """A built image; it is only ever copied."""

    disk: Path
    kernel: Path
    initrd: Path


def prepare(host: Host, root: Path, say: Say) -> Base:
    """The image below `root`, built if there is none. Raises HostError."""

    def build(directory: Path) -> None:
        say("building the DUT's disk from Debian packages: a minute or two, once")
        debian.require_space(root, NEEDED_MB)
        _build(host, directory)

    # How it is built counts as content, too: this file.
    recipe = [Path(__file__).read_bytes()]
    made = debian.cached(host, str(root / "base"), recipe, build)
    return Base(made / "disk.ext4", made / "vmlinuz", made / "initrd.img")


def _build(host: Host, directory: Path) -> None:
    overlay, tree = directory / "overlay", directory / "tree"
    for name, text in _FILES.items():
        (overlay / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay / name).write_text(text)
    (overlay / "root/.ssh").mkdir(mode=0o700, parents=True)
    (overlay / "root").chmod(0o700)
    units = overlay / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")
    for unit in (_MANAGEMENT_UNIT, _READY_UNIT):
        wanted = units / "multi-user.target.wants" / unit
        wanted.symlink_to(f"/etc/systemd/system/{unit}")
    # mmdebstrap's own hook commands, not the shell's.
    options = [f"--essential-hook=sync-in {overlay} /", *map("--dpkgopt={}".format, _slimming())]
    debian.unpack(host, Tree("bookworm", "essential", _PACKAGES, options), tree)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # The packages are as new as the system: systemd need not bring it up to date at boot.
    host.run(["touch", str(tree / "etc/.updated"), str(tree / "var/.updated")])
    for name in ("vmlinuz", "initrd.img"):
        found = sorted((tree / "boot").glob(f"{name}-*"))
        if not found:
            raise HostError(f"{host.name}: the image has no /boot/{name}-*")
        host.run(["cp", str(found[-1]), str(directory / name)])
    disk = str(directory / "disk.ext4")
    make = ["mke2fs", "-q", "-t", "ext4", "-L", "vlab", "-d", str(tree), disk, f"{DISK_MB}M"]
    host.run(make, timeout_s=300, why="a file system without mounting one")
    for left in (overlay, tree):
        host.run(["rm", "-rf", "--one-file-system", str(left)], timeout_s=120)


def _slimming() -> list[str]:
    """dpkg's options: no documentation, no headers, and only the modules that have a use."""
    modules = "/lib/modules/*/kernel"
    left_out = [f"/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    left_out += ["/usr/include/*", "/usr/lib/x86_64-linux-gnu/*.a"]
    left_out += [f"{modules}/{name}/*" for name in _DROPPED_MODULES]
    kept = [f"{modules}/{name}*" for name in _KEPT_MODULES]
    excluded = [f"path-exclude={path}" for path in left_out]
    return ["force-unsafe-io", *excluded, *(f"path-include={path}" for path in kept)]
