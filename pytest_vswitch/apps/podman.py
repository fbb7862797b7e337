"""podman: containers in a store of the run's own; the user's are not touched.

Options and texts are those of podman 4.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_vswitch.apps import containers
from pytest_vswitch.apps.containers import Parameters, Root
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import undo_containers
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.hosts.undo import Change

# --- parameters ---------------------------------------------------------------------------

_IMAGE = "localhost/vswitch"

_CACHE = (("directory", "/var/lib/containers"), ("made", "/var/lib/containers/cache"))
"""What an import makes beside the store, with the kind of change that this is."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Podman:
    """Ready to run containers; see `containers.Engine`. Nothing of it runs without one."""

    directory: str
    """Where podman keeps what it needs to know; see `store`."""
    root: str
    """Directory that becomes the root of containers, read-only; empty: their image's."""
    versions: Mapping[str, str]

    def run(self, parameters: Parameters, command: Sequence[str]) -> list[str]:
        argv = [*undo_containers.podman(self.directory), "run", *parameters.options()]
        argv += ["--no-hosts", "--http-proxy=false"]
        if parameters.user.rootless:
            mapping = f"0:{parameters.user.uid}:{containers.UIDS}"
            argv += [f"--uidmap={mapping}", f"--gidmap={mapping}"]
        argv += ["--rootfs", self.root] if self.root else ["--pull=never", _IMAGE]
        return [*argv, *containers.as_one_stream(command)]

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        return [*undo_containers.podman(self.directory), "exec", name, *command]

    def check_alive(self) -> None:
        """It has no daemon."""


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


@contextlib.contextmanager
def store(host: Host, directory: str, group: str) -> Iterator[None]:
    """What podman keeps, in a new `directory`, for containers in a control group `group`.

    Containers that still run are killed at the end. Raises InputError, HostError.
    """
    runtime = find_runtime(host)
    run = PurePosixPath(host.scratch).name
    with contextlib.ExitStack() as stack:
        state = f"/run/{PurePosixPath(runtime).name}"  # of all that it starts, whoever asks
        if not host.exists(state):
            stack.enter_context(host.changing(Change("directory", state)))
        stack.enter_context(host.changing(Change("containers", directory, after=group)))
        host.run(["install", "-d", "--mode=711", "--", directory])
        host.write_text(
            f"{directory}/{undo_containers.SETTINGS}", settings(directory, runtime, run)
        )
        yield


@contextlib.contextmanager
def engine(host: Host, directory: str, root: Root) -> Iterator[Podman]:
    """podman for containers with that root; `store` keeps the rest. Raises HostError."""
    found = versions(host, find_runtime(host))
    if root.mounts:
        yield Podman(directory, root.path, found)
        return
    archive = f"{directory}/image.tar"
    with contextlib.ExitStack() as stack:
        for kind, path in _CACHE:
            if not host.exists(path):
                stack.enter_context(host.changing(Change(kind, path)))
        containers.pack(host, root.path, archive)
        host.run(
            [*undo_containers.podman(directory), "import", "--quiet", archive, _IMAGE],
            timeout_s=120,
            why="the image, in a store of this run's own",
        )
        host.run(["rm", "-rf", "--", archive, root.path], why="all of it is in the image")
        yield Podman(directory, "", found)
