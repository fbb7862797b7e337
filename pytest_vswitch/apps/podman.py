"""podman: a container whose root is the host's own /usr, so that no image is needed.

All that podman keeps is in one directory of the run; the user's containers and settings are
not touched. Options and texts are those of podman 4.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import undo_containers
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.hosts.undo import Change

# --- parameters ---------------------------------------------------------------------------

_LIMITS = ("nofile=1024:1024", "nproc=4096:4096")
"""podman would raise both, for which not every root has the right (CAP_SYS_RESOURCE)."""

_CAPABILITIES = ("IPC_LOCK", "SYS_NICE")
"""To keep memory from being paged out, and to choose its NUMA node. DPDK wants no others."""

_AS_ONE_STREAM = ("sh", "-c", 'exec "$@" 2>&1', "sh")
"""conmon passes output and error on in any order, so that one stands amidst words of the other."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host in the container."""

    source: str
    target: str
    read_only: bool = True

    def __str__(self) -> str:
        return f"{self.source}:{self.target}:{'ro' if self.read_only else 'rw'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a container is started with. It has no network, and next to no capabilities."""

    name: str
    """Also of its control group."""
    directory: str
    """Where podman keeps what it needs to know; see `store`."""
    root: str
    """Directory that becomes its root, read-only."""
    mounts: Sequence[Mount]
    cpus: Sequence[int]
    """The only ones that it may use."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def argv(self, command: Sequence[str]) -> list[str]:
        argv = [*undo_containers.podman(self.directory), "run", "--rm", "--interactive"]
        argv += [f"--name={self.name}", f"--cgroup-parent=/{self.name}"]
        argv += ["--network=none", "--no-hosts", "--http-proxy=false", "--log-driver=none"]
        # Labels would have to be on the host's own files; see the guide's 4.2.1, too.
        argv += ["--cap-drop=all", *(f"--cap-add={name}" for name in _CAPABILITIES)]
        argv += ["--security-opt=no-new-privileges"]
        argv += ["--security-opt=label=disable", "--read-only", "--stop-timeout=0"]
        argv += [f"--ulimit={limit}" for limit in _LIMITS]
        argv += [f"--cpuset-cpus={','.join(map(str, sorted(self.cpus)))}"]
        argv += [f"--env={name}={text}" for name, text in self.environment.items()]
        argv += [f"--volume={mount}" for mount in self.mounts]
        return [*argv, "--rootfs", self.root, *_AS_ONE_STREAM, *command]


def settings(directory: str, runtime: str, run: str) -> str:
    """podman's `containers.conf`; all that it starts carries the run's mark."""
    return f"""\
[containers]
cgroups = "no-conmon"

[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{directory}/tmp"
conmon_env_vars = ["PATH={_PATH}", "{MARK}={run}"]

[network]
network_config_dir = "{directory}/networks"
"""


# --- facts --------------------------------------------------------------------------------

HYBRID = "/sys/fs/cgroup/unified/cgroup.controllers"
"""Beside control groups of version 1: those that version 2 has."""


def find_runtime(host: Host) -> str:
    """Path of what starts containers for podman. Raises InputError.

    runc, as it takes control groups as they are; crun refuses a mixture of both versions.
    """
    if runc := host.which("runc"):
        return runc
    crun = host.which("crun")
    if not crun:
        raise InputError(
            f"{host.name} has neither `runc` nor `crun`, one of which podman needs: "
            "apt-get install runc"
        )
    with contextlib.suppress(OSError):
        if host.read_text(HYBRID).strip():
            raise InputError(
                f"{host.name} has control groups of both versions ({HYBRID}), with which "
                "`crun` starts no container: apt-get install runc"
            )
    return crun


def versions(host: Host, runtime: str) -> dict[str, str]:
    """Of podman, and of what starts its containers."""
    found = {}
    for role, program in (("podman", "podman"), ("container runtime", runtime)):
        words = host.ask([program, "--version"]).output.partition("\n")[0].split()
        name = PurePosixPath(program).name
        found[role] = " ".join(word for word in words if word not in ("podman", "version"))
        if role != "podman" and name not in found[role]:
            found[role] = f"{name} {found[role]}"
    return found


# --- running ------------------------------------------------------------------------------

_DIRECTORIES = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Beside /usr; links into it, where a distribution has merged them."""

_EMPTY = ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "var/tmp")


@contextlib.contextmanager
def store(host: Host, directory: str, runtime: str, name: str) -> Iterator[str]:
    """What podman keeps, in a new `directory`, for containers in a control group `name`.

    Yields the empty directory that becomes the root of a container. Containers that still
    run are killed at the end. Raises HostError.
    """
    run = PurePosixPath(host.scratch).name
    root = f"{directory}/root"
    with host.changing(Change("containers", directory, after=name)):
        host.run(
            ["mkdir", "-p", "--", *(f"{root}/{inner}" for inner in _EMPTY)],
            why="the container's root, for the host's own /usr instead of an image",
        )
        host.run(["ln", "-s", "--", "../run", f"{root}/var/run"])
        host.write_text(
            f"{directory}/{undo_containers.SETTINGS}", settings(directory, runtime, run)
        )
        yield root


def share_programs(host: Host, root: str, program: str) -> tuple[str, list[Mount]]:
    """Make `program` of the host run below `root`: its path there, and what to mount.

    Raises HostError when the host has no such program.
    """
    found = host.which(program)
    if not found:
        raise HostError(f"{host.name}: there is no program `{program}`")
    path = host.read_link(found)
    shared = ["/usr"]
    for name in _DIRECTORIES:
        if not host.exists(f"/{name}"):
            continue
        real = host.read_link(f"/{name}")
        if real == f"/{name}":
            host.run(["mkdir", "-p", "--", f"{root}/{name}"])
            shared.append(real)
        else:
            host.run(["ln", "-s", "--", real.lstrip("/"), f"{root}/{name}"])
    mounts = [Mount(directory, directory) for directory in shared]
    if host.exists("/etc/ld.so.cache"):  # where the libraries of a DPDK in /usr/local are
        mounts.append(Mount("/etc/ld.so.cache", "/etc/ld.so.cache"))
    if not any(path.startswith(f"{directory}/") for directory in shared):
        directory = str(PurePosixPath(path).parent)
        mounts.append(Mount(directory, directory))
    return path, mounts
