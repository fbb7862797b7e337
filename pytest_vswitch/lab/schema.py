"""The lab file: what its keys are, their units, defaults and ranges.

Importing this module imports pydantic; only what loads a lab does so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from pytest_vswitch import registry
from pytest_vswitch.lab.address import FORM, LOCAL, SIM
from pytest_vswitch.lab.container import Container
from pytest_vswitch.lab.dpdk import SYSTEM, DpdkVersion, QemuVersion, Version
from pytest_vswitch.lab.limits import Limits
from pytest_vswitch.lab.ovdk import Ovdk
from pytest_vswitch.lab.ports import PortSpec, named
from pytest_vswitch.lab.remote import HostName, Reached, SshSection
from pytest_vswitch.lab.section import Matching, Section, on_off, wrong
from pytest_vswitch.lab.trex import Trex

CASE_ID = re.compile(r"[a-z][a-z0-9_-]*(:[a-z][a-z0-9_]*=[^\s,=]+(,[a-z][a-z0-9_]*=[^\s,=]+)*)?")
"""`suite:name=value,name=value`, e.g. `pvp:frame_bytes=64`."""


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise wrong(f"must be a power of two, e.g. {1 << (number.bit_length() - 1)}")
    return number


def _lcores(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, list) and value and all(type(n) is int and n >= 0 for n in value):
        return value
    raise wrong("must be `auto` or a list of lcore numbers, e.g. [2, 3]")


def _not_simulated(host: str) -> str:
    if host == SIM:
        raise wrong(f"only the DUT can be a simulation; write `{LOCAL}`, or {FORM}")
    return host


Program = Annotated[str, Matching(r"[^\s\x00-\x1f\x7f-][^\x00-\x1f\x7f]*", "name a program")]
Registered = Annotated[str, Matching(r"[a-z0-9][a-z0-9_-]*", "lower case, e.g. `testpmd`")]
Property = Annotated[
    str, Matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "letters, digits, `_`, `.` and `-` only")
]
PropertyValue = Annotated[
    Property,
    BeforeValidator(on_off),
    WithJsonSchema({"type": ["string", "integer", "boolean"]}),
]
DutPath = Annotated[
    str, Matching(r"/[^\x00-\x1f\x7f,]+", "give an absolute path on the DUT, without commas")
]
KernelArguments = Annotated[
    str, Matching(r"[^\x00-\x1f\x7f]*", "arguments of a kernel stand on one line")
]
HostKey = Annotated[
    str,
    Matching(
        r"(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*",
        "write type and key, as in a .pub file, e.g. `ssh-ed25519 AAAA...`",
    ),
]
CaseId = Annotated[
    str,
    Matching(CASE_ID.pattern, "a case is written suite:name=value, e.g. pvp:frame_bytes=64"),
]
NetworkNamespace = Annotated[
    str, Matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "name a network namespace (`ip netns`)")
]
Place = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}", "name a labgrid place")]
RemoteHost = Annotated[HostName, AfterValidator(_not_simulated)]
Memory = Annotated[int, Field(ge=64, le=1_048_576)]


class Dut(Reached):
    """The device under test: where the data plane runs, and what it may use."""

    host: HostName
    """`local`: this machine; `sim`: a simulation; or over SSH: `[user@]name[:port]`."""
    ssh: SshSection = None
    """How the host is reached over SSH; not with `local` and `sim`."""
    lcores: Annotated[Literal["auto"] | list[int], BeforeValidator(_lcores)] = "auto"
    """CPUs for the host's testpmd, the first for its command line; `auto` chooses."""
    forwarding: Annotated[int, Field(ge=1, le=256)] | None = None
    """So many lcores forward in the vSwitch; default: all of `lcores` but the first, or the
    guide's four, if there are enough. With too few CPUs they share."""
    hugepages: Literal["auto", "none", "2M", "1G"] = "auto"
    """Page size of DPDK and guest memory; `auto` takes what the DUT has, or none."""
    memory_mb: Memory = 512
    """Memory for the host's testpmd [MiB]."""
    mtu: Annotated[int, Field(ge=1500, le=9706)] = 1500
    """Largest IP packet that every hop carries [bytes]; 18 more are the largest frame."""
    vswitch: Registered = "testpmd"
    """The vSwitch between the ports and what is behind it; `vswitch topologies` lists them."""
    testpmd: Program = "dpdk-testpmd"
    """Testpmd of the DPDK `system` (20.11 or later), a name on PATH or a path."""
    dpdk: Version = SYSTEM
    """The DPDK to certify: `system`, a name of the section `dpdk`, or one that was added."""

    @field_validator("forwarding")
    @classmethod
    def _of_the_lcores(cls, forwarding: int | None, info: ValidationInfo) -> int | None:
        lcores = info.data.get("lcores", "auto")
        if forwarding and lcores != "auto" and forwarding >= len(lcores):
            raise wrong(
                f"of {len(lcores)} lcores in `dut.lcores` at most {len(lcores) - 1} forward"
            )
        return forwarding

    @field_validator("lcores")
    @classmethod
    def _once_each(cls, lcores: Literal["auto"] | list[int]) -> Literal["auto"] | list[int]:
        if len(set(lcores)) != len(lcores) and lcores != "auto":
            raise wrong("names an lcore twice")
        return lcores


class GuestLogin(Section):
    """How a guest of one's own is reached over SSH, on the DUT's loopback only."""

    user: Annotated[str, Matching(r"[a-z_][a-z0-9_.-]*", "name a user of the guest")] = "root"
    """Who logs in; if not root, `sudo` must not ask for a password."""
    key: DutPath
    """Path on the DUT of a private key without a passphrase."""
    host_key: HostKey | None = None
    """The guest's host key; default: whichever it shows, as an image makes one at first boot."""


class Guest(Section):
    """The virtual machine of the topologies that have one."""

    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`kvm` needs a working /dev/kvm; `tcg` is emulation: slow, runs anywhere."""
    hypervisor: Registered = "qemu"
    """What starts it: `qemu`, or `libvirt` for the same guest as a domain."""
    memory_mb: Annotated[int, Field(ge=256, le=1_048_576)] = 1024
    """Memory of the guest [MiB]."""
    vcpus: Annotated[int, Field(ge=1, le=256)] = 3
    """Virtual CPUs of the guest: one for Linux, the others forward."""
    qemu: Program = "qemu-system-x86_64"
    """QEMU: a name on PATH, a path, a name of the section `qemu`, or one that was added."""
    dpdk: Version = SYSTEM
    """DPDK of what is behind the vSwitch: built-in guest, container, memif peer; as `dut.dpdk`."""
    image: str = "builtin"
    """`builtin`, or the path on the DUT of a disk image (qcow2, raw); it is never written."""
    kernel: str = "auto"
    """`auto`, or the path of a vmlinuz; the built-in guest's modules are found by its version."""
    initramfs: DutPath | None = None
    """Path on the DUT of an initramfs for `guest.kernel`; default: the built-in guest's."""
    arguments: KernelArguments = ""
    """More for the kernel of a guest that is not built in, e.g. `root=/dev/vda1`."""
    login: GuestLogin | None = None
    """How `guest.image` is reached over SSH; default: its cloud-init gets a NoCloud disk."""
    testpmd: Program = "dpdk-testpmd"
    """Testpmd in a guest that is not built in, a name on its PATH or a path."""
    driver_directory: DutPath | None = None
    """Where that testpmd finds its drivers; default: where it looks by itself."""
    boot_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 90.0
    """How long the guest may take until it answers [s]."""
    queues: Annotated[int, Field(ge=1, le=64)] = 1
    """Queue pairs of each virtio port, polled in turn by the virtual CPUs that forward."""
    nic: Literal["virtio", "sriov"] = "virtio"
    """Second slave of the bond in bonded_migration: a virtio device, or a VF (`sriov`)."""
    virtio: dict[Property, PropertyValue] = Field(default_factory=dict)
    """Properties of QEMU's virtio-net-pci device, e.g. `mrg_rxbuf: off`."""

    @field_validator("image", "kernel")
    @classmethod
    def _path_or_word(cls, path: str, info: ValidationInfo) -> str:
        word, what = {
            "image": ("builtin", "a disk image"),
            "kernel": ("auto", "a vmlinuz"),
        }[str(info.field_name)]
        if path != word and not re.fullmatch(r"/[^\x00-\x1f\x7f,]+", path):
            raise wrong(f"must be `{word}` or the absolute path of {what}")
        return path

    @field_validator("initramfs")
    @classmethod
    def _for_a_kernel(cls, initramfs: str | None, info: ValidationInfo) -> str | None:
        if initramfs is not None and info.data.get("kernel") == "auto":
            raise wrong("an initramfs belongs to a kernel: set `guest.kernel`, too")
        return initramfs

    @field_validator("arguments")
    @classmethod
    def _of_a_kernel(cls, arguments: str, info: ValidationInfo) -> str:
        if arguments and info.data.get("kernel") == "auto":
            raise wrong(
                "the image boots its own kernel, with its own arguments; set `guest.kernel`"
            )
        return arguments

    @field_validator("login")
    @classmethod
    def _to_an_image(cls, login: Any, info: ValidationInfo) -> Any:
        if login is not None and info.data.get("image") == "builtin":
            raise wrong("only a `guest.image` is logged in to")
        return login

    @field_validator("arguments", "testpmd", "driver_directory")
    @classmethod
    def _of_a_guest_of_ones_own(cls, value: Any, info: ValidationInfo) -> Any:
        own = info.data.get("image") != "builtin" or info.data.get("initramfs") is not None
        if not own and value != cls.model_fields[str(info.field_name)].default:
            raise wrong(
                f"`{info.field_name}` is for a guest of your own: set `guest.image`, or "
                "`guest.kernel` and `guest.initramfs`"
            )
        return value


class Generator(Reached):
    """The traffic generator."""

    kind: Registered
    """`af_packet`, `scapy`, `trex` for NIC ports; `memif`, `trex`; `sim`; or one that a package
    adds (`pytest_vswitch.generators`); default: the first that fits the ports."""
    host: RemoteHost | None = None
    """Where it runs: `local`, or over SSH `[user@]name[:port]`; default: on the DUT."""
    ssh: SshSection = None
    """How its host is reached over SSH; only with `generator.host`."""
    netns: NetworkNamespace | None = None
    """Network namespace that its interfaces are in; default: none. Not for memif."""
    cpu: Annotated[int, Field(ge=0)] | None = None
    """CPU that the generator is pinned to; default: chosen apart from the DUT's lcores."""
    ring_size: Annotated[int, Field(ge=64, le=16384), AfterValidator(_power_of_two)] = 1024
    """Frames that a memif port queues in each direction, like a NIC's descriptors."""
    buffer_bytes: Annotated[int, Field(ge=256, le=9720)] | None = None
    """Buffers of a memif port [bytes]; a longer frame lies in several. Default: none does."""
    queues: Annotated[int, Field(ge=1, le=64)] = 1
    """Queues of each memif port of the DUT that flows are spread over, by UDP source port."""


class Target(Reached):
    """A second DUT, which live migration moves the guest to."""

    host: RemoteHost
    """`local`, or over SSH: `[user@]name[:port]`."""
    ssh: SshSection = None
    """How the host is reached over SSH; not with `local`."""


class SimModel(Section):
    """How the simulated DUT behaves."""

    seed: Annotated[int, Field(ge=0, lt=2**64)] = 1
    """Start of its random numbers; the same seed gives the same results."""
    capacity_pps: Annotated[float, Field(ge=1e3, le=1e8)] = 1e7
    """Frames of 64 bytes that it can forward, sum of both directions [frames/s]."""


class Lab(Section):
    """A lab: DUT, ports, generator, and what is asked of each case."""

    name: str
    """The lab file's name without `.yaml`; not a key of the file."""
    description: str = ""
    """For readers of reports: where it stands, whose it is."""
    dut: Dut
    """The device under test."""
    guest: Guest = Guest()
    """The virtual machine, in the topologies that have one."""
    container: Container = Container()
    """The container, in the topologies that have one."""
    target: Target | None = None
    """A second DUT, which live migration moves the guest to."""
    ports: Annotated[list[PortSpec], Field(min_length=1)]
    """Where the generator attaches, in order; frames into the first come out of the second."""
    ovdk: Ovdk | None = None
    """The Intel DPDK vSwitch; only for `dut.vswitch: ovdk`."""
    trex: Trex | None = None
    """TRex as traffic generator; only with `generator.kind: trex`, which is then the default."""
    generator: Generator
    """The traffic generator; default: the one that fits the ports."""
    sim: SimModel | None = None
    """How the simulated DUT behaves; only with `dut.host: sim`."""
    place: Place | None = None
    """Name of the labgrid place to acquire for a run; default: none."""
    dpdk: dict[Version, DpdkVersion] = Field(default_factory=dict)
    """DPDKs beside the distribution's, by the name that `--dpdk` and `--guest-dpdk` take."""
    qemu: dict[Version, QemuVersion] = Field(default_factory=dict)
    """QEMUs beside the distribution's, by the name that `--qemu` takes."""
    thresholds: dict[CaseId, Limits] = Field(default_factory=dict)
    """What each case must reach, by case id; `vswitch threshold` writes them."""

    _path: Path | None = PrivateAttr(default=None)
    _marks: Mapping[tuple[str | int, ...], tuple[int, int]] = PrivateAttr(default={})

    @property
    def path(self) -> Path | None:
        """The file that this lab was read from; None if it was made in code."""
        return self._path

    def where(self, *key: str | int) -> str:
        """`FILE:LINE` of a key, e.g. `where("ports", 0)`, or of the nearest one above it."""
        if self._path is None:
            return f"lab `{self.name}`"
        while key and key not in self._marks:
            key = key[:-1]
        return f"{shown(self._path)}:{self._marks.get(key, (1, 1))[0]}"

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_host(cls, data: Any) -> Any:
        """Fill in the generator, and the model of a simulated DUT."""
        if not isinstance(data, Mapping):
            return data
        dut, generator = data.get("dut"), data.get("generator")
        sim = isinstance(dut, Mapping) and dut.get("host") == SIM
        filled = dict(data)
        if generator is None or isinstance(generator, Mapping):
            filled["generator"] = dict(generator or {})
            if filled["generator"].get("kind") is None:
                kind = _first_kind(data.get("ports"))
                fitting = "trex" if "trex" in data else _GENERATORS.get(kind, ("memif",))[0]
                filled["generator"]["kind"] = "sim" if sim else fitting
        if sim and filled.get("sim") is None:
            filled["sim"] = {}
        return filled

    @field_validator("ports")
    @classmethod
    def _name_the_ports(cls, ports: list[PortSpec]) -> list[PortSpec]:
        return named(ports)

    @field_validator("ports", "generator", "sim", "target")
    @classmethod
    def _one_world(cls, value: Any, info: ValidationInfo) -> Any:
        """Simulated and real parts do not mix: a simulated number must never pass for a real."""
        if not (dut := info.data.get("dut")):
            return value
        simulated = dut.host == SIM
        with_host = f"with `dut.host: {dut.host}`"
        if info.field_name == "sim" and value is not None and not simulated:
            raise wrong(f"{with_host} there is no simulated DUT; take `sim` out")
        if info.field_name == "target" and value is not None and simulated:
            raise wrong(f"{with_host} there is no second DUT; take `target` out")
        if info.field_name == "ports":
            _check_ports(value, simulated, with_host)
        if info.field_name == "generator" and (ports := info.data.get("ports")):
            _check_generator(value, ports[0].kind, dut, with_host)
            if value.kind != "trex" and info.data.get("trex") is not None:
                raise wrong(f"a generator of kind `{value.kind}` is not TRex; take `trex` out")
        return value


_GENERATORS = {
    "nic": ("af_packet", "scapy", "trex"),
    "memif": ("memif", "trex"),
    "sim": ("sim",),
}
"""Our kinds of generator, by kind of port, the default first; others' know themselves."""


def _first_kind(ports: object) -> str:
    first = ports[0] if isinstance(ports, list) and ports else None
    return str(first.get("kind")) if isinstance(first, Mapping) else ""


def _check_ports(ports: list[PortSpec], simulated: bool, with_host: str) -> None:
    kinds = {port.kind for port in ports}
    if simulated and kinds != {"sim"}:
        raise wrong(f"{with_host} every port is of kind `sim`")
    if not simulated and "sim" in kinds:
        raise wrong(f"{with_host} every port is of kind `nic` or `memif`")
    if len(kinds) > 1:
        raise wrong("ports of kind `nic` and `memif` do not mix; a lab has one kind")


def _check_generator(generator: Generator, port: str, dut: Dut, with_host: str) -> None:
    fitting = _GENERATORS[port]
    if (dut.host == SIM) != (generator.kind == "sim"):
        other = "sim" if dut.host == SIM else fitting[0]
        raise wrong(f"{with_host} the generator is of kind `{other}`, not `{generator.kind}`")
    if generator.kind not in (names := registry.Registered(registry.GENERATORS).names()):
        raise wrong(f"no generator is called `{generator.kind}`; there are {', '.join(names)}")
    ours = {kind for kinds in _GENERATORS.values() for kind in kinds}
    if generator.kind in ours and generator.kind not in fitting:
        *rest, last = (f"`{kind}`" for kind in fitting)
        either = f"{', '.join(rest)} or {last}" if rest else last
        raise wrong(
            f"ports of kind `{port}` want a generator of kind {either}, not `{generator.kind}`"
        )
    for key, what in (("buffer_bytes", "buffers"), ("queues", "queues")):
        default = Generator.model_fields[key].default
        if getattr(generator, key) != default and generator.kind != "memif":
            raise wrong(f"a generator of kind `{generator.kind}` has no {what}; take `{key}` out")
    if port == "nic":
        return
    if generator.netns is not None:
        raise wrong(f"ports of kind `{port}` are in no network namespace; take `netns` out")
    if generator.host not in (None, dut.host):
        raise wrong(
            f"ports of kind `{port}` are reached from the DUT only; take `host` out, "
            f"or write `{dut.host}`"
        )


def shown(path: Path) -> str:
    """The path as messages show it: relative when it is below the current directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
