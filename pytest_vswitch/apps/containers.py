"""Containers, whatever engine runs them: what they are given, and what is in them.

No registry is asked for an image: the root of a container is the DUT's own /usr, or an image
made of what testpmd needs of it (guide, 6.2, steps 2 and 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from pytest_vswitch.apps import libraries
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Host

# --- parameters ---------------------------------------------------------------------------

CAPABILITIES = ("IPC_LOCK", "SYS_NICE")
"""To keep memory from being paged out, and to choose its NUMA node. DPDK wants no others."""

_LIMITS = ("nofile=1024:1024", "nproc=4096:4096")
"""Engines would raise both, for which not every root has the right (CAP_SYS_RESOURCE)."""

_AS_ONE_STREAM = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh")
"""Engines pass output and error on in any order, so that one stands amidst words of the other."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host in the container."""

    source: str
    target: str
    read_only: bool = True

    def __str__(self) -> str:
        return f"{self.source}:{self.target}:{'ro' if self.read_only else 'rw'}"


@dataclass(frozen=True, slots=True)
class User:
    """Who the programs of a container are, on the host."""

    uid: int
    """And the group's number; 0: root."""
    reason: str
    """Why."""

    @property
    def rootless(self) -> bool:
        return self.uid != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a container is started with. It has no network, and next to no capabilities."""

    name: str
    group: str
    """Control group of the run's containers; each has its own in it."""
    mounts: Sequence[Mount]
    cpus: Sequence[int]
    """The only ones that it may use."""
    user: User
    environment: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> list[str]:
        """Those that podman and docker share."""
        options = ["--rm", "--interactive", f"--name={self.name}", f"--cgroup-parent=/{self.group}"]
        options += ["--network=none", "--log-driver=none", "--read-only", "--stop-timeout=0"]
        options += ["--cap-drop=all", *(f"--cap-add={name}" for name in CAPABILITIES)]
        options += ["--security-opt=no-new-privileges"]
        # Labels would have to be on the host's own files; see the guide's 4.2.1, too.
        options += ["--security-opt=label=disable"]
        options += [f"--ulimit={limit}" for limit in _LIMITS]
        options += [f"--cpuset-cpus={','.join(map(str, sorted(self.cpus)))}"]
        options += [f"--env={name}={text}" for name, text in self.environment.items()]
        return [*options, *(f"--volume={mount}" for mount in self.mounts)]


class Engine(Protocol):
    """A running, or ready, podman or docker, and the root of the containers it starts."""

    @property
    def versions(self) -> Mapping[str, str]:
        """By role, e.g. `podman`."""

    def run(self, parameters: Parameters, command: Sequence[str]) -> list[str]:
        """The command line that runs a container; it ends with the container."""

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """The command line that runs one more program in a container."""

    def check_alive(self) -> None:
        """Raise DutError if what containers depend on is gone."""


def as_one_stream(command: Sequence[str]) -> list[str]:
    return [*_AS_ONE_STREAM, *command]


# --- whose rights they have ---------------------------------------------------------------

UIDS = 65536
FIRST_UID = 1_900_000_000
"""Beyond what distributions and systemd give to users and their containers."""

_USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"


def user(host: Host, wanted: str, where: str, *, mapped: bool) -> User:
    """Who the programs are; `wanted` is the lab's `auto`, `on` or `off`, found at `where`.

    `mapped`: root in the container is made another user on the host (a user namespace).
    Raises InputError when the lab wants what cannot be.
    """
    if wanted == "off":
        return User(0, "the lab asks for root")
    obstacle = _obstacle(host, mapped)
    if not obstacle:
        how = "root in the container's user namespace" if mapped else "an ordinary user"
        return User(FIRST_UID, f"{how}, without root's rights on the DUT")
    if wanted == "on":
        raise InputError(
            f"{where}: container.rootless is on, but {host.name} cannot: {obstacle}; "
            "mend that, or write `auto`"
        )
    return User(0, f"rootless is not possible: {obstacle}")


def _obstacle(host: Host, mapped: bool) -> str:
    """Why programs cannot run without root's rights; empty if they can."""
    last = FIRST_UID + (UIDS if mapped else 1) - 1
    try:
        known = [list(map(int, line.split())) for line in _lines(host, "/proc/self/uid_map")]
        if not any(first <= FIRST_UID and last < first + count for first, _, count in known):
            return f"it runs in a user namespace itself, without the user numbers up to {last}"
        if mapped and int(host.read_text(_USER_NAMESPACES)) == 0:
            return "user namespaces are switched off (sysctl user.max_user_namespaces is 0)"
    except OSError:
        return "its kernel has no user namespaces"
    return ""


def _lines(host: Host, path: str) -> list[str]:
    return host.read_text(path).splitlines()


# --- what is in them ----------------------------------------------------------------------

_DIRECTORIES = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Beside /usr; links into it, where a distribution has merged them."""

_EMPTY = ("dev", "etc", "proc", "run", "sys", "usr", "var", "var/tmp")
_MOUNTED_ON = ("etc/ld.so.cache", "etc/hostname", "etc/hosts", "etc/resolv.conf")
"""Engines would make these themselves, for which a rootless container has no right."""

_CACHE = "/etc/ld.so.cache"
"""Where the libraries of a DPDK in /usr/local are."""

DRIVERS = ("net_virtio", "mempool_ring", "bus_vdev")
"""DPDK drivers for the container's testpmd, as in `librte_<driver>.so`."""


@dataclass(frozen=True, slots=True)
class Root:
    """The directory that becomes the root of containers."""

    path: str
    testpmd: str
    """In the container."""
    mounts: Sequence[Mount]
    """What else is needed for it; none if all is in the directory."""


def prepare_root(host: Host, path: str, program: str, *, built: bool, tree: str = "") -> Root:
    """Make `program` of the host run below the new directory `path`.

    `built`: its files are copied, with all that they need; else the host's are mounted. `tree`
    is the directory with all that it needs beside them; default: the one that it is in.
    Raises HostError when the host has no such program.
    """
    found = host.which(program)
    if not found:
        raise HostError(f"{host.name}: there is no program `{program}`")
    host.run(
        ["install", "-d", "--mode=755", "--", *(f"{path}/{inner}" for inner in _EMPTY)],
        why="the container's root, made of this host's own packages (guide, 6.2, step 2)",
    )
    host.run(["install", "-d", "--mode=1777", "--", f"{path}/tmp"])
    host.run(["touch", "--", *(f"{path}/{file}" for file in _MOUNTED_ON)])
    host.run(["ln", "-s", "--", "../run", f"{path}/var/run"])
    separate = _links(host, path)
    program = host.read_link(found)
    if built:
        _copy(host, path, program)
        return Root(path, program, ())
    shared = ["/usr", *separate]
    mounts = [Mount(directory, directory) for directory in shared]
    if host.exists(_CACHE):
        mounts.append(Mount(_CACHE, _CACHE))
    if not any(program.startswith(f"{directory}/") for directory in shared):
        directory = tree or str(PurePosixPath(program).parent)
        host.run(["mkdir", "-p", "--", f"{path}{directory}"])
        mounts.append(Mount(directory, directory))
    return Root(path, program, mounts)


def _links(host: Host, path: str) -> list[str]:
    """Links into /usr as on the host; yields the directories that are none there."""
    separate = []
    for name in _DIRECTORIES:
        if not host.exists(f"/{name}"):
            continue
        real = host.read_link(f"/{name}")
        if real == f"/{name}":
            host.run(["mkdir", "-p", "--", f"{path}/{name}"])
            separate.append(real)
        else:
            host.run(["ln", "-s", "--", real.lstrip("/"), f"{path}/{name}"])
    return separate


def _copy(host: Host, path: str, program: str) -> None:
    """The program, a shell that starts it, and all that both need."""
    shell, grep = (host.read_link(host.which(name) or name) for name in ("sh", "grep"))
    stdbuf = [host.which("stdbuf") or "stdbuf", "/usr/libexec/coreutils/libstdbuf.so"]
    files, _ = libraries.needed(host, [program, *stdbuf, shell, grep], DRIVERS)
    host.run(
        ["cp", "--parents", "--no-dereference", "--target-directory", path, *files],
        why="testpmd, with the libraries and drivers that it needs",
    )
    named = f"{PurePosixPath(shell).parent}/sh"
    if shell != named:
        host.run(["ln", "-s", "--", shell, f"{path}{named}"])
    if host.exists(_CACHE):
        host.run(["cp", "--", _CACHE, f"{path}{_CACHE}"])


def pack(host: Host, path: str, archive: str) -> None:
    """The root as an archive that engines import."""
    host.run(
        ["tar", "--create", f"--file={archive}", "--owner=+0", "--group=+0", "-C", path, "."],
        timeout_s=120,
        why="an image, without a registry (guide, 6.2, step 3)",
    )
