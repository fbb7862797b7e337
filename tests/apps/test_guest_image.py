"""The guest's initramfs: what is in it, and when it is made anew."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch.apps import guest_image, libraries
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.local import LocalHost
from tests.apps.conftest import with_kernel
from tests.hosts.machine import machine


def listing(host: LocalHost, image: GuestImage) -> dict[str, str]:
    """By path, without the leading dot: mode, owner and, for a link, where it leads."""
    unpacked = Path(host.scratch) / "unpacked.cpio"
    unpacked.write_bytes(gzip.decompress(Path(image.initramfs).read_bytes()))
    lines = host.run(["cpio", "-tv", "--quiet", "-n", "-F", str(unpacked)]).output.splitlines()
    found = {}
    for line in lines:
        mode, _, user, group, *_ = line.split()
        path, _, target = line.split(maxsplit=8)[8].partition(" -> ")
        found["/" + path.removeprefix("./")] = f"{mode} {user}:{group} {target}".rstrip()
    return found


def resolve(files: dict[str, str], path: str) -> str:
    """Where a path leads inside the image, all links followed."""
    done = ""
    for name in path.split("/")[1:]:
        done = f"{done}/{name}"
        for _ in range(8):
            entry = files.get(done, "")
            if not entry.startswith("l"):
                break
            done = os.path.normpath(os.path.join(os.path.dirname(done), entry.split()[-1]))
            done = resolve(files, done)
    return done


def test_what_the_guest_needs_is_in_it(host: LocalHost, image: GuestImage) -> None:
    files = listing(host, image)
    assert Path(image.initramfs).stat().st_size < 12 << 20
    assert files["/init"] == "-rwxr-xr-x 0:0"
    assert resolve(files, "/bin/busybox") in files
    program = resolve(files, str(shutil.which("dpdk-testpmd")))
    assert files[program].startswith("-rwx")
    for program in (str(shutil.which("dpdk-testpmd")), str(shutil.which("stdbuf"))):
        for line in host.run(["ldd", program]).output.splitlines():
            library = line.split()[2] if "=>" in line else line.split()[0]
            if library.startswith("/"):
                assert files[resolve(files, library)].startswith("-"), library


def test_modules_are_in_loading_order(host: LocalHost, image: GuestImage) -> None:
    modules = [path for path in sorted(listing(host, image)) if path.endswith(".ko")]
    names = {
        part: [path.rpartition("/")[2].partition("-")[2] for path in modules if f"/{part}/" in path]
        for part in ("dpdk", "control")
    }
    assert names["dpdk"] == ["uio.ko", "uio_pci_generic.ko"]
    control = names["control"]
    assert control[-1] == "virtio_console.ko"
    for needed in ("virtio.ko", "virtio_ring.ko"):
        assert control.index(needed) < control.index("virtio_pci.ko")


def test_no_driver_appears_under_two_inodes(host: LocalHost, image: GuestImage) -> None:
    files = listing(host, image)
    for name in guest_image.DRIVERS:
        paths = [path for path in files if f"librte_{name}.so" in path]
        assert f"{guest_image.DRIVER_DIRECTORY}/librte_{name}.so" in paths
        targets = {resolve(files, path) for path in paths}
        assert len(targets) == 1, f"{name}: {targets}"
        assert targets <= files.keys()


def builds(logs: Path) -> int:
    return (logs / "transcript.log").read_text().count("\n$ cpio -o ")


def prepare(host: LocalHost) -> GuestImage:
    return guest_image.prepare(host, kernel="auto", testpmd="dpdk-testpmd")


def test_it_is_built_once_and_again_when_its_content_changes(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernel(host)
    first = prepare(host)
    assert builds(tmp_path) == 1
    assert prepare(host) == first
    assert builds(tmp_path) == 1

    monkeypatch.setattr(guest_image, "_CONTROL_MODULES", ("virtio_pci",))
    second = prepare(host)
    assert builds(tmp_path) == 2
    assert second.initramfs != first.initramfs
    assert "virtio_console" not in str(sorted(listing(host, second)))

    cached = sorted(path.name for path in Path(host.cache).glob("guest-*"))
    assert cached == sorted(Path(image.initramfs).name for image in (first, second))


def test_the_image_used_longest_ago_makes_room(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernel(host)
    cache = Path(host.cache)
    for age in range(6):
        (cache / f"guest-{age}.cpio.gz").touch()
        os.utime(cache / f"guest-{age}.cpio.gz", (1e9 - age, 1e9 - age))
    (cache / "guest-5.cpio.gz.killed-run").touch()
    os.utime(cache / "guest-5.cpio.gz.killed-run", (1e8, 1e8))
    image = prepare(host)
    kept = {path.name for path in cache.glob("guest-*")}
    assert kept == {Path(image.initramfs).name, *(f"guest-{age}.cpio.gz" for age in range(3))}

    # Used again, it is the newest, however old it is.
    os.utime(image.initramfs, (1e8, 1e8))
    prepare(host)
    assert Path(image.initramfs).stat().st_mtime > 1e9


def test_two_runs_may_build_at_once(host: LocalHost, tmp_path: Path) -> None:
    with_kernel(host)
    images: list[GuestImage] = []
    with machine(tmp_path) as second:
        second.cache = host.cache
        runs = [
            threading.Thread(target=lambda h=h: images.append(prepare(h))) for h in (host, second)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    assert len(images) == 2
    assert images[0] == images[1]
    assert [str(path) for path in Path(host.cache).glob("guest-*")] == [images[0].initramfs]
    gzip.decompress(Path(images[0].initramfs).read_bytes())


def test_a_build_that_failed_is_no_obstacle(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernel(host)
    with monkeypatch.context() as broken:
        broken.setattr(LocalHost, "write_text", fail)
        with pytest.raises(HostError, match="disk full"):
            prepare(host)
    assert not list(Path(host.cache).glob("guest-*"))
    assert Path(prepare(host).initramfs).exists()


def fail(self: LocalHost, path: str, text: str) -> None:
    raise HostError("disk full")


# --- kernels and their modules ------------------------------------------------------------


def module(*depends: str) -> bytes:
    """What of a kernel module names its dependencies."""
    return b"\0license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"


def unpack_kernel(root: Path, release: str, modules: dict[str, bytes], builtin: str = "") -> str:
    directory = root / "lib/modules" / release
    (directory / "kernel/drivers").mkdir(parents=True)
    for name, content in modules.items():
        (directory / "kernel/drivers" / name).write_bytes(content)
    (directory / "modules.builtin").write_text(builtin)
    (root / "boot").mkdir(exist_ok=True)
    (root / f"boot/vmlinuz-{release}").touch()
    return str(directory)


def test_a_missing_kernel_is_one_clear_error(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"local: guest.kernel /no/vmlinuz-1 does not exist"):
        guest_image.prepare(host, kernel="/no/vmlinuz-1", testpmd="dpdk-testpmd")
    monkeypatch.setattr(LocalHost, "glob", lambda self, pattern: [])
    with pytest.raises(
        InputError, match=r"no kernel for the guest, neither in /boot nor in .*ci/setup"
    ):
        guest_image.prepare(host, kernel="auto", testpmd="dpdk-testpmd")


def test_a_kernel_without_modules_is_named(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-6.1").touch()
    message = f"the guest's kernel has no modules in {tmp_path}/lib/modules/6.1"
    with pytest.raises(InputError, match=message):
        guest_image.prepare(host, kernel=f"{tmp_path}/boot/vmlinuz-6.1", testpmd="dpdk-testpmd")


def test_the_newest_kernel_with_modules_is_taken(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(host.cache) / "kernel"
    for release in ("6.9.0-1-amd64", "6.10.0-1-amd64", "6.1.0-99-amd64"):
        unpack_kernel(root, release, {})
    (root / "boot/vmlinuz-7.0").touch()  # its modules are not there
    found = [str(path) for path in sorted((root / "boot").iterdir())]
    monkeypatch.setattr(
        LocalHost, "glob", lambda self, pattern: found if "cache" in pattern else []
    )
    assert guest_image.find_kernel(host, "auto") == f"{root}/boot/vmlinuz-6.10.0-1-amd64"


def test_modules_with_what_they_depend_on_once_and_first(host: LocalHost, tmp_path: Path) -> None:
    directory = unpack_kernel(
        tmp_path,
        "6.1",
        {
            "virtio.ko": module(),
            "virtio_ring.ko.xz": lzma.compress(module("virtio")),
            "virtio-pci.ko.gz": gzip.compress(module("virtio_ring", "virtio")),
            "virtio_console.ko": module("virtio", "virtio-ring"),
            "other.ko": module(),
        },
    )
    found = guest_image._modules(host, directory, ("virtio_pci", "virtio_console"))
    assert [module.name for module in found] == [
        "virtio",
        "virtio_ring",
        "virtio_pci",
        "virtio_console",
    ]
    assert found[1].content == module("virtio")


@pytest.mark.parametrize(
    ("ending", "packed"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)]
)
def test_a_module_is_unpacked_on_its_way_into_the_image(
    host: LocalHost, ending: str, packed: Callable[[bytes], bytes]
) -> None:
    path = Path(host.scratch) / f"uio.ko{ending}"
    path.write_bytes(packed(module()))
    place = Path(host.scratch) / "00-uio.ko"
    guest_image._copy_module(host, guest_image._Module("uio", str(path), module()), str(place))
    assert place.read_bytes() == module()
    assert sorted(Path(host.scratch).glob("*uio*")) == [place, path]


def test_a_module_that_is_built_in_is_left_out(host: LocalHost, tmp_path: Path) -> None:
    files = {"uio_pci_generic.ko": module("uio")}
    builtin = "kernel/drivers/uio/uio.ko\nkernel/fs/ext4/ext4.ko\n"
    directory = unpack_kernel(tmp_path, "6.1", files, builtin)
    found = guest_image._modules(host, directory, ("uio_pci_generic",))
    assert [module.name for module in found] == ["uio_pci_generic"]


def test_a_module_that_is_nowhere_is_named(host: LocalHost, tmp_path: Path) -> None:
    directory = unpack_kernel(tmp_path, "6.1", {"uio_pci_generic.ko": module("uio")})
    with pytest.raises(InputError, match=f"the guest's kernel lacks uio.ko in {directory}"):
        guest_image._modules(host, directory, ("uio_pci_generic",))


def test_a_module_of_unknown_packing_is_named(host: LocalHost, tmp_path: Path) -> None:
    directory = unpack_kernel(tmp_path, "6.1", {"uio.ko.zst": b"(\xb5/\xfd"})
    with pytest.raises(InputError, match=r"do not know how to uncompress .*/uio.ko.zst"):
        guest_image._modules(host, directory, ("uio",))


def test_a_missing_library_is_named(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\tlibrte_eal.so.23 => not found\n"
    monkeypatch.setattr(LocalHost, "ask", lambda self, argv, **how: Completed((), 0, said))
    with pytest.raises(
        HostError, match=r"librte_eal.so.23, needed by /opt/testpmd, is not installed"
    ):
        libraries.linked(host, ["/opt/testpmd"])


def test_a_testpmd_off_the_path_is_found_in_the_guest(host: LocalHost, tmp_path: Path) -> None:
    """A lab that certifies a DPDK of its own names its testpmd by path."""
    with_kernel(host)
    own = tmp_path / "bin" / "testpmd-of-my-own"
    own.parent.mkdir()
    shutil.copy2(str(shutil.which("dpdk-testpmd")), own)
    image = guest_image.prepare(host, kernel="auto", testpmd=str(own))
    assert image.testpmd == str(own)
    assert listing(host, image)[image.testpmd].startswith("-rwx")
