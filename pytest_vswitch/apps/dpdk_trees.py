"""DPDK trees in a host's cache: Debian releases, container images, what builds left.

Each appears whole: half a download or build leaves nothing that anybody would take for one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Host

SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
"""Debian releases with DPDK 20.11 and later."""

PACKAGES = ("dpdk", "dpdk-dev")
QEMU_PACKAGES = ("qemu-system-x86",)

_FETCH_S = 1800.0
"""A slow line is not an error [s]."""
_BUILD_S = 7200.0
_UNPACK_S = 600.0
_MIRROR = "http://deb.debian.org/debian"
_FACTS = "added.json"


@dataclass(frozen=True, slots=True)
class Added:
    """What `vswitch dpdk add` brought."""

    name: str
    root: str
    """Directory on the host with the tree."""
    version: str
    """Of its DPDK, as its testpmd told."""
    qemu: str = ""
    """Of its QEMU; empty: it has none."""


def directory(host: Host) -> str:
    """Where added trees are. Not below /tmp: EAL refuses drivers there."""
    return f"{host.cache}/dpdk"


def added(host: Host) -> list[Added]:
    """Those that are there, by version."""
    found = []
    for path, text in host.read_texts(f"{directory(host)}/*/{_FACTS}").items():
        place = str(PurePosixPath(path).parent)
        try:
            facts = json.loads(text)
            found.append(
                Added(
                    PurePosixPath(place).name,
                    f"{place}/tree",
                    str(facts["version"]),
                    str(facts.get("qemu", "")),
                )
            )
        except (ValueError, KeyError, TypeError):
            continue  # not ours, or cut off
    return sorted(found, key=lambda one: [int(n) for n in re.findall(r"\d+", one.version)])


def add(
    host: Host,
    suite: str,
    look: Callable[[str], tuple[str, str]],
    *,
    qemu: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Added:
    """Unpack a Debian release's DPDK into the cache; nothing is installed.

    `look` is given the tree and tells the versions of its DPDK and QEMU. Raises InputError for
    what is there already, HostError with mmdebstrap's last words.
    """
    if suite not in SUITES:
        raise InputError(f"there is no Debian release `{suite}`; give {', '.join(SUITES)}")
    place = f"{directory(host)}/{suite}"
    if host.exists(place):
        raise InputError(f"{host.name}: {suite} is there: {place}; `vswitch dpdk remove {suite}`")
    if not host.which("mmdebstrap"):
        raise InputError(f"{host.name} has no program `mmdebstrap`: apt-get install mmdebstrap")
    part = f"{directory(host)}/.{suite}.part"
    _remove(host, part)
    host.run(["mkdir", "-p", "--", part])
    try:
        tell(f"{host.name}: unpacking the DPDK of Debian {suite}: about a minute")
        _unpack(host, suite, f"{part}/tree", (*PACKAGES, *(QEMU_PACKAGES if qemu else ())), tell)
        version, qemu_version = look(f"{part}/tree")
        made = Added(suite, f"{place}/tree", version, qemu_version)
        host.write_text(f"{part}/{_FACTS}", json.dumps(asdict(made)))
        host.run(["sync", "--file-system", part], timeout_s=_UNPACK_S)
        host.run(["mv", "--no-target-directory", "--", part, place])
    finally:
        _remove(host, part)
    return made


def remove(host: Host, name: str) -> None:
    """Raises InputError when it is not there."""
    if name not in {one.name for one in added(host)}:
        known = ", ".join(one.name for one in added(host)) or "none"
        raise InputError(f"{host.name}: no DPDK `{name}` was added; there is {known}")
    # Renamed first, so that half a tree is never taken for one.
    part = f"{directory(host)}/.{name}.part"
    _remove(host, part)
    host.run(["mv", "--no-target-directory", "--", f"{directory(host)}/{name}", part])
    _remove(host, part)


def size_mb(host: Host, place: str) -> int:
    """What a directory takes [MiB]."""
    return int(host.ask(["du", "-sm", "--", place], timeout_s=60).output.split()[0])


def of_image(host: Host, image: str) -> str:
    """The tree of a container image that podman has; unpacked once for each image id.

    Raises InputError when podman has no such image, HostError when it cannot be unpacked.
    """
    if not host.which("podman"):
        raise InputError(f"{host.name} has no program `podman`: apt-get install podman")
    asked = host.ask(["podman", "image", "inspect", "--format={{.Id}}", "--", image], check=False)
    if asked.status:
        raise InputError(f"{host.name}: podman has no image {image}: `podman pull` it first")
    number = asked.output.split()[-1].removeprefix("sha256:")

    def unpack(part: str) -> None:
        archive = f"{part}.tar"
        container = f"vswitch-{PurePosixPath(host.scratch).name}-{number[:12]}"
        try:
            # Made and never started: its files are all that is wanted.
            host.run(["podman", "create", f"--name={container}", "--", image, "true"])
            host.run(["podman", "export", f"--output={archive}", container], timeout_s=_UNPACK_S)
            host.run(["mkdir", "--", part])
            argv = ["tar", "--extract", f"--file={archive}", f"--directory={part}"]
            host.run([*argv, "--exclude=dev/*"], timeout_s=_UNPACK_S)
        finally:
            host.run(["podman", "rm", "--force", "--ignore", container], check=False)
            host.run(["rm", "-f", "--", archive])

    return _once(host, f"image-{number[:16]}", unpack)


def built(host: Host, hook: Sequence[str], revision: str) -> str:
    """The prefix that the user's command made of a revision; made once.

    Raises HostError with the command's last words.
    """
    digest = hashlib.sha256(json.dumps([*hook, revision]).encode()).hexdigest()[:16]
    place = f"{host.cache}/dpdk-builds/{digest}"
    done = f"{place}/done"
    if not host.exists(done):
        # What it installs has the place written into it: it cannot be renamed when it is whole.
        _remove(host, place)
        host.run(["mkdir", "-p", "--", f"{place}/prefix"])
        argv = [*hook, revision, f"{place}/prefix"]
        try:
            host.run(argv, timeout_s=_BUILD_S, why=f"DPDK {revision}, built by your command")
        except BaseException:
            _remove(host, place)
            raise
        host.run(["sync", "--file-system", place], timeout_s=_UNPACK_S)
        host.write_text(done, f"{revision}\n")
    return f"{place}/prefix"


def _once(host: Host, name: str, make: Callable[[str], None]) -> str:
    place = f"{host.cache}/dpdk-builds/{name}"
    if host.exists(place):
        return place
    part = f"{place}.{PurePosixPath(host.scratch).name}"
    host.run(["mkdir", "-p", "--", f"{host.cache}/dpdk-builds"])
    try:
        make(part)
        host.run(["mv", "--no-target-directory", "--", part, place])
    finally:
        _remove(host, part)
    return place


def _unpack(
    host: Host, suite: str, root: str, packages: Sequence[str], tell: Callable[[str], None]
) -> None:
    argv = ["mmdebstrap", "--variant=extract", f"--include={','.join(packages)}", "--quiet"]
    argv += ["--format=directory"]
    if suite == "sid":
        argv += ['--aptopt=Acquire::Check-Valid-Until "false"']
    try:
        host.run([*argv, suite, root], timeout_s=_FETCH_S, why=f"DPDK of Debian {suite}")
    except HostError as error:
        if "Failed to fetch" not in str(error) and "apt download failed" not in str(error):
            raise
        # Security updates of an old release vanish from the mirrors before its main archive.
        tell(f"{host.name}: not all updates of {suite} can be had: taking the release itself")
        _remove(host, root)
        mirror = f"deb {_mirror(host)} {suite} main"
        host.run([*argv, suite, root, mirror], timeout_s=_FETCH_S, why=f"Debian {suite}, main")


def _mirror(host: Host) -> str:
    """Where this machine gets Debian from."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    asked = host.ask([*argv, "Origin: Debian", "Label: Debian"], check=False)
    found = [line for line in asked.output.splitlines() if re.match(r"https?://\S+$", line)]
    return found[0].rstrip("/") if found and not asked.status else _MIRROR


def _remove(host: Host, path: str) -> None:
    host.run(["rm", "-rf", "--one-file-system", "--", path], timeout_s=_UNPACK_S)
