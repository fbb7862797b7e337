"""A guest of the user's: a disk image, or a kernel and an initramfs, in place of the built-in one.

What it has to offer is small, and the same for all: a shell on the virtio-serial port
`vswitch.shell`, and a terminal on `vswitch.testpmd`. In an image, `guest/serve` offers them:
cloud-init runs it (NoCloud), or we do, over SSH. A user's initramfs has to do it by itself. The
image is never written: what the guest writes goes to a file of the run.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import Disk, GuestImage, Login
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab

# --- parameters ---------------------------------------------------------------------------

_SEED = "seed.iso"

_NO_NETWORK = "version: 2\nethernets: {}\n"
"""By itself cloud-init would ask for an address on the data ports, and wait for it."""

_PORTS = range(20000, 30000)
"""TCP ports of the host's loopback that one is taken from for a guest's SSH server."""

_DPDK_DRIVERS = ("uio_pci_generic", "vfio-pci", "igb_uio")

_LOG_IN = """\
script=$1 refused=0
shift
while true; do
    said=$("$@" <"$script" 2>&1) && exit
    status=$?
    [ $status = 255 ] || break
    case $said in
        *"ermission denied"* | *"erification failed"*) break ;;
        *"onnection refused"*) refused=$((refused + 1)) ;;
    esac
    [ $refused -lt 15 ] || break
    sleep 1
done
echo "$said" >&2
exit $status
"""
"""Again and again until its SSH server is up, unless that lets nobody in, or QEMU, which answers
for a guest that is still booting, is gone."""


def is_wanted(lab: Lab) -> bool:
    """Whether the lab has a guest of its own."""
    return lab.guest.image != "builtin" or lab.guest.initramfs is not None


def script(wishes: str) -> str:
    """`guest/serve`, for a shell; `wishes` as in `qemu.wishes`."""
    serve = (importlib.resources.files("pytest_vswitch") / "apps/guest/serve").read_text()
    return f"#!/bin/sh\nwishes='{wishes}'\n{serve}"


def ssh_argv(login: Login, known_hosts: str) -> list[str]:
    """OpenSSH's client, which logs in on the DUT's loopback and carries out what it is fed."""
    checking = "yes" if login.host_key else "accept-new"
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "GlobalKnownHostsFile": "none",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": checking,
        "UserKnownHostsFile": known_hosts,
    }
    argv = ["ssh", "-F", "none", "-T", "-p", str(login.port), "-i", login.key]
    argv += [f"-o{name}={value}" for name, value in options.items()]
    root = [] if login.user == "root" else ["sudo", "-n"]
    return [*argv, f"{login.user}@127.0.0.1", *root, "sh", "-s"]


# --- running ------------------------------------------------------------------------------


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for a file or a program that the lab's guest needs and the host lacks."""
    guest = lab.guest
    files = {"initramfs": guest.initramfs}
    if guest.kernel != "auto":
        files["kernel"] = guest.kernel
    programs = {}
    if guest.image != "builtin":
        files["image"] = guest.image
        programs["qemu-img"] = "qemu-utils"
        if guest.login is None:
            programs["genisoimage"] = "genisoimage"
        else:
            files["login"] = guest.login.key
            programs["ssh"] = "openssh-client"
    for key, path in files.items():
        if path is not None and not host.exists(path):
            raise InputError(f"{lab.where('guest', key)}: {host.name} has no file {path}")
    for program, package in programs.items():
        if not host.which(program):
            raise InputError(
                f"{lab.where('guest', 'image')}: {host.name} has no program `{program}`: "
                f"apt-get install {package}"
            )


@contextlib.contextmanager
def prepared(lab: Lab, host: Host, name: str, wishes: str) -> Iterator[GuestImage]:
    """What the lab's own guest boots; `wishes` is what it is asked for (`qemu.wishes`).

    Raises InputError for an image that QEMU cannot read, HostError.
    """
    preflight(lab, host)
    guest = lab.guest
    kernel = "" if guest.kernel == "auto" else guest.kernel
    with contextlib.ExitStack() as stack:
        disks: list[Disk] = []
        login = None
        if guest.image != "builtin":
            disks = [Disk(stack.enter_context(_overlay(lab, host, name)), "qcow2")]
            if guest.login is None:
                seed = stack.enter_context(_seed(host, name, wishes))
                disks.append(Disk(seed, "raw", read_only=True))
            else:
                own = guest.login
                login = Login(own.user, _free_port(host, name), own.key, own.host_key or "", wishes)
        yield GuestImage(
            kernel=kernel,
            initramfs=guest.initramfs or "",
            release=PurePosixPath(kernel).name.removeprefix("vmlinuz-"),
            testpmd=guest.testpmd,
            driver_directory=guest.driver_directory or "",
            arguments=guest.arguments,
            disks=tuple(disks),
            login=login,
        )


@contextlib.contextmanager
def _overlay(lab: Lab, host: Host, name: str) -> Iterator[str]:
    """A disk that begins as the image, and takes what is written instead of it."""
    image = lab.guest.image
    argv = ["qemu-img", "info", "--output=json", "--", image]
    told = host.ask(argv, check=False, why="what format has the guest's image?")
    if told.status:
        raise InputError(f"{lab.where('guest', 'image')}: {told.output.strip()}")
    try:
        form = str(json.loads(told.output)["format"])
    except (ValueError, KeyError):
        raise HostError(
            f"{host.name}: qemu-img does not tell the format of {image}: {told.output.strip()}"
        ) from None
    # Not in /run, which is memory: a guest writes a lot when it first boots.
    path = f"{host.cache}/disk-{PurePosixPath(host.scratch).name}-{name}.qcow2"
    with host.changing(Change("made", path)):
        host.run(["mkdir", "-p", "--", host.cache])
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", form, "--", path]
        host.run(argv, why="the guest's image itself is never written")
        yield path


@contextlib.contextmanager
def _seed(host: Host, name: str, wishes: str) -> Iterator[str]:
    """The disk by which cloud-init is told what to do (NoCloud)."""
    directory = f"{host.scratch}/{name}-seed"
    run = PurePosixPath(host.scratch).name
    files = {
        "meta-data": f"instance-id: vswitch-{run}-{name}\nlocal-hostname: {name}\n",
        "network-config": _NO_NETWORK,
        "user-data": script(wishes),
    }
    with host.changing(Change("made", directory)):
        host.run(["mkdir", "-p", "--", directory], why="what cloud-init in the guest shall do")
        for file, text in files.items():
            host.write_text(f"{directory}/{file}", text)
        paths = [f"{directory}/{file}" for file in files]
        argv = ["genisoimage", "-quiet", "-output", f"{directory}/{_SEED}", "-volid", "cidata"]
        host.run([*argv, "-joliet", "-rock", *paths])
        yield f"{directory}/{_SEED}"


def _free_port(host: Host, name: str) -> int:
    """A TCP port that nobody listens on; QEMU refuses to start if somebody takes it meanwhile."""
    taken = {
        int(found, 16) for found in re.findall(r": \w+:(\w{4}) ", host.read_text("/proc/net/tcp"))
    }
    start = zlib.crc32(f"{host.scratch} {name}".encode()) % len(_PORTS)
    ports: Sequence[int] = [*_PORTS[start:], *_PORTS[:start]]
    return next(port for port in ports if port not in taken)


def log_in(host: Host, guest: Guest, image: GuestImage, directory: str, timeout_s: float) -> None:
    """Have a guest that is reached over SSH serve its consoles; others do by themselves.

    `directory` takes the script, and the host key. Raises DutError.
    """
    if (login := image.login) is None:
        return
    known_hosts, serve = f"{directory}/known_hosts", f"{directory}/serve"
    if login.host_key:
        host.write_text(known_hosts, f"[127.0.0.1]:{login.port} {login.host_key}\n")
    host.write_text(serve, script(login.wishes))
    argv = ["sh", "-c", _LOG_IN, "log-in", serve, *ssh_argv(login, known_hosts)]
    try:
        done = host.run(
            argv, timeout_s=timeout_s, check=False, why="the guest serves a shell and a terminal"
        )
        said = done.output.strip() if done.status else ""
    except HostError:
        said = f"its SSH server lets nobody in within {timeout_s:g} s"
    if said:
        end = guest.machine.end()
        gone = f"{guest.machine.name} is gone ({end})" if end else f"{login.user}: {said}"
        raise DutError(
            f"the guest (guest.image) cannot be logged in to over SSH: {gone}\n"
            f"  guest console:\n{guest.kernel_log()}"
        )


def check(guest: Guest, image: GuestImage, wishes: str) -> None:
    """Raise DutError for what a user's guest lacks, by what it answers itself."""
    wanted = dict(word.partition("=")[::2] for word in wishes.split())
    if wanted["vswitch.hugepages"] == "0":  # no DPDK in it
        return
    for address in filter(None, wanted["vswitch.ports"].split(",")):
        _require(
            guest,
            f"driver=$(basename $(readlink /sys/bus/pci/devices/{address}/driver || echo none)); "
            f"echo $driver; case $driver in {'|'.join(_DPDK_DRIVERS)}) true;; *) false;; esac",
            f"the guest's port {address} has no driver for DPDK: its kernel needs "
            "uio_pci_generic, or vfio-pci with enable_unsafe_noiommu_mode (guide, 4.3.3)",
        )
    pages = wanted["vswitch.hugepages"]
    _require(
        guest,
        f"cat /proc/sys/vm/nr_hugepages; test $(cat /proc/sys/vm/nr_hugepages) -ge {pages}",
        f"the guest has not the {pages} hugepages of 2 MB that its testpmd needs: raise "
        "guest.memory_mb in the lab",
    )
    for program, hint in (
        (image.testpmd, "install DPDK in the image, or set guest.testpmd in the lab"),
        ("stdbuf", "install coreutils in the image"),
    ):
        _require(guest, f"command -v {program}", f"the guest has no program `{program}`: {hint}")


def _require(guest: Guest, command: str, otherwise: str) -> None:
    """Raise DutError unless a command succeeds in the guest, which a plan holds it to, too."""
    try:
        guest.run(command, why="is the guest ready?")
    except DutError as error:
        raise DutError(f"{otherwise}\n    {error}") from None
