"""The DPDKs of a lab: what runs the testpmd of each, and of which version it is.

A tree beside the system (a prefix, another distribution's rootfs, a container image, what a
build left) is used where it lies: its loader runs it with its libraries, and EAL is told where
its drivers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_vswitch.apps import dpdk_changes, dpdk_trees, trees
from pytest_vswitch.apps.testpmd import parse_version
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.lab.dpdk import SYSTEM

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.dpdk import DpdkVersion
    from pytest_vswitch.lab.schema import Lab

_TESTPMD = ("dpdk-testpmd", "testpmd")
_DRIVERS = ("dpdk/pmds-*", "librte_pmds", "dpdk-pmds")
_VERSION_S = 60.0
"""For what takes a second on an idle machine [s]."""


@dataclass(frozen=True, slots=True)
class Dpdk:
    """A DPDK on a host."""

    name: str
    """As `--dpdk` takes it."""
    command: tuple[str, ...]
    """What runs its testpmd, without arguments."""
    program: str
    """Its testpmd: a name on PATH or a path on the host."""
    version: str = ""
    """E.g. `24.11.8`; empty: nobody asked, it is taken for new."""
    drivers: str = ""
    """Directory of its drivers; empty: where it looks by itself."""
    root: str = ""
    """Directory on the host with all of it; empty for the system's."""

    @property
    def words(self) -> dpdk_changes.Version:
        """Whose words it speaks; see `dpdk_changes`."""
        return dpdk_changes.parse(self.version)

    @property
    def list_libraries(self) -> tuple[str, ...]:
        """Of a tree: prints, like `ldd`, the libraries of the file that is added to it."""
        return (*self.command[:-1], "--list")


def of_host(lab: Lab, host: Host) -> Dpdk:
    """The DPDK to certify: that of the vSwitch. Raises InputError, HostError."""
    return resolve(lab, host, lab.dut.dpdk)


def of_peer(lab: Lab, host: Host) -> Dpdk:
    """That of what is behind the vSwitch: guest, container, peer. Raises InputError, HostError."""
    return resolve(lab, host, lab.guest.dpdk)


def require(lab: Lab, host: Host, which: str) -> None:
    """Raise InputError when the `dut`'s or the `guest`'s DPDK is not there.

    A tree that a run will make, by a build or of an image, is not made for that.
    """
    name = getattr(lab, which).dpdk
    given = lab.dpdk.get(name)
    if given is not None and (given.build or given.image):
        return
    found = resolve(lab, host, name)
    if not found.root and not host.which(found.program):
        raise InputError(
            f"{lab.where('dut', 'testpmd')}: {host.name} has no program `{found.program}`: "
            "apt-get install dpdk-dev"
        )


def resolve(lab: Lab, host: Host, name: str) -> Dpdk:
    """The DPDK that is called so: by the lab, `vswitch dpdk add`, or its version.

    Raises InputError for one that is not there, HostError when it cannot be made.
    """
    if name in lab.dpdk:
        return _given(host, name, lab.dpdk[name], lab.where("dpdk", name))
    if name == SYSTEM:
        return Dpdk(SYSTEM, (lab.dut.testpmd,), lab.dut.testpmd)
    added = dpdk_trees.added(host)
    fitting = [one for one in added if name == one.name] or [
        one for one in added if of_version(one.version, name)
    ]
    if fitting:
        newest = fitting[-1]
        return of_tree(host, name, newest.root, whole=True, version=newest.version)
    system = ""
    if host.which(lab.dut.testpmd):
        system = ask_version(host, (lab.dut.testpmd,))
        if of_version(system, name):
            return Dpdk(name, (lab.dut.testpmd,), lab.dut.testpmd, system)
    known = [*lab.dpdk, SYSTEM + (f" ({system})" if system else "")]
    known += [f"{one.name} ({one.version})" for one in added]
    raise InputError(
        f"{host.name}: there is no DPDK `{name}`; there are {', '.join(known)}; "
        "`vswitch dpdk add` brings others"
    )


def of_version(version: str, wanted: str) -> bool:
    """Whether e.g. `22.11.11` is what `22.11` asks for."""
    return version == wanted or version.startswith((f"{wanted}.", f"{wanted}-"))


def build(host: Host, hook: Sequence[str], revision: str) -> Dpdk:
    """What the user's command makes of a revision: made once, kept by hook and revision.

    Raises HostError with the command's last words, InputError when it leaves no DPDK.
    """
    root = dpdk_trees.built(host, hook, revision)
    return of_tree(host, revision, root, whole=False)


def _given(host: Host, name: str, given: DpdkVersion, where: str) -> Dpdk:
    try:
        if given.build:
            assert given.revision is not None
            root = dpdk_trees.built(host, given.build, given.revision)
        elif given.image:
            root = dpdk_trees.of_image(host, given.image)
        else:
            root = given.prefix or given.rootfs or ""
        return of_tree(host, name, root, whole=bool(given.rootfs or given.image))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def of_tree(host: Host, name: str, root: str, *, whole: bool, version: str = "") -> Dpdk:
    """The DPDK in a tree; it is asked for its version if that is not given.

    Raises InputError when there is none, or when EAL would not take its drivers.
    """
    tree = trees.look(host, root, whole=whole)
    program = trees.find(host, tree, _TESTPMD, "testpmd")
    found = [
        path
        for directory in tree.libraries
        for pattern in _DRIVERS
        for path in sorted(host.glob(f"{directory}/{pattern}"))
    ]
    drivers = found[-1] if found else ""
    if drivers:
        trees.refuse_writable(host, drivers)
        # EAL looks where it was configured to look, too; a driver that it sees twice ends it.
        own = drivers.removeprefix(tree.root)
        if whole and host.exists(own):
            raise InputError(
                f"{host.name}: the DPDK in {root} looks for drivers in {own}, where the system "
                "has its own: it would take both; `--dpdk system` is of the same release"
            )
    command = tree.command(program, *([drivers] if drivers else []))
    if not version:
        version = ask_version(host, command, drivers)
    return Dpdk(name, command, program, version, drivers, tree.root)


def ask_version(host: Host, command: Sequence[str], drivers: str = "") -> str:
    """What testpmd says of itself, started without a port. Raises DutError."""
    argv = [*command, "-v", "--no-huge", "--no-pci", "--no-shconf", "-m", "16"]
    argv += ["-d", drivers] if drivers else []
    said = host.ask(argv, timeout_s=_VERSION_S, check=False, why="which DPDK is it?").output
    version = parse_version(said)
    if version == "unknown":
        last = said.strip().replace("\n", "\n    ") or "(nothing)"
        raise DutError(f"{host.name}: {command[-1]} does not start; it says:\n    {last}")
    return version
