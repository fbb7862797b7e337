"""A disk image such as a user has: Debian with cloud-init, sshd and DPDK, from its packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.vlab import debian
from pytest_vswitch.vlab.debian import Tree
from tests.hosts.ssh.sshd import keygen

PACKAGES = (
    "cloud-init",
    "dpdk-dev",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "systemd-sysv",
    "udev",
)

LEFT_OUT = (
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/usr/include/*",
    "/usr/lib/x86_64-linux-gnu/*.a",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
)

UNUSED = (
    "cloud-config.service",
    "cloud-init-hotplugd.socket",
    "dpdk.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty-static.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    "systemd-binfmt.service",
    "systemd-journal-flush.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)
"""What costs time under emulation, and nobody here misses."""

FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
    "etc/systemd/network/login.network": "[Match]\nPath=pci-0000:00:03.0\n[Network]\nDHCP=ipv4\n",
    "etc/cloud/cloud.cfg.d/short.cfg": (
        "datasource_list: [NoCloud, None]\ncloud_init_modules: []\ncloud_config_modules: []\n"
        "cloud_final_modules: [scripts-user]\n"
    ),
}


@dataclass(frozen=True, slots=True)
class UsersImage:
    """The image, the kernel that boots it, and the key that root's account takes."""

    disk: Path
    kernel: Path
    initramfs: Path
    key: Path


def prepare(host: Host) -> UsersImage:
    """Built once, in some two minutes."""
    recipe = [PACKAGES, LEFT_OUT, UNUSED, FILES, Path(__file__).read_bytes()]
    root = f"{LocalHost.cache}/test-guest"
    made = debian.cached(host, root, recipe, lambda directory: _build(host, directory))
    (kernel,) = made.glob("vmlinuz-*")
    return UsersImage(made / "disk.qcow2", kernel, made / "initrd.img", made / "key")


def _build(host: Host, directory: Path) -> None:
    tree, disk = directory / "tree", directory / "disk.ext4"
    options = ["--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    debian.unpack(host, Tree("bookworm", "essential", PACKAGES, options), tree)
    for path, text in FILES.items():
        (tree / path).write_text(text)
    units = tree / "etc/systemd/system"
    for unit in UNUSED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wanted = units / "multi-user.target.wants/systemd-networkd.service"
    wanted.symlink_to("/lib/systemd/system/systemd-networkd.service")
    key = keygen(directory / "key")
    ssh = tree / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_text(Path(f"{key}.pub").read_text())
    (kernel,) = tree.glob("boot/vmlinuz-*")
    (initrd,) = tree.glob("boot/initrd.img-*")
    host.run(["cp", str(kernel), str(directory)])
    host.run(["cp", str(initrd), str(directory / "initrd.img")])
    make = ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk), "3072M"]
    host.run(make, timeout_s=300)
    convert = ["qemu-img", "convert", "-O", "qcow2", str(disk), str(directory / "disk.qcow2")]
    host.run(convert, timeout_s=300)
    for left in (tree, disk):
        host.run(["rm", "-rf", "--one-file-system", str(left)], timeout_s=120)
