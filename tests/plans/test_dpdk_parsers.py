"""QEMU and testpmd read every command line of every plan, and every line that is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.apps.conftest import KERNEL
from tests.plans.judged import everything, of, run, told

_RUNTIME = Path("/var/run/dpdk")
"""Where EAL keeps a directory for each prefix, and leaves it."""


@pytest.fixture
def prefix(tmp_path: Path) -> Iterator[str]:
    """How the files of a test's DPDK programs begin; they are gone afterwards."""
    name = f"plans-{os.getpid()}-{tmp_path.name}"
    yield name
    for left in _RUNTIME.glob(f"{name}*"):
        shutil.rmtree(left)


# --- QEMU -----------------------------------------------------------------------------------


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Options with their values."""
    rest = iter(words)
    for word in rest:
        alone = not word.startswith("-") or word in ("-nodefaults", "-no-user-config", "-no-reboot")
        yield (word,) if alone else (word, next(rest))


def _for_this_machine(words: Sequence[str], scratch: Path, kernel: str) -> tuple[str, ...]:
    """As a machine without KVM and hugepages can take it: QEMU reads all, and starts nothing."""
    initrd = scratch / "initrd"
    initrd.write_bytes(b"")
    found = []
    words = [word for pair in _pairs(words) for word in pair if "vfio-pci," not in pair[-1]]
    for option, word in zip(["", *words], words, strict=False):
        if option in ("-kernel", "-initrd"):
            word = {"-kernel": kernel, "-initrd": str(initrd)}[option]
        word = {"-accel": "tcg", "-cpu": "max", "-m": "256", "-qmp": "stdio"}.get(option, word)
        word = re.sub(r"size=\d+M,", "size=256M,", word)
        word = re.sub(r",hugetlb=on,hugetlbsize=\d+k,prealloc=on", "", word)
        if "id=vhost" in word:
            word = word.replace(",server=on", "").replace(",wait=off", "")
        word = re.sub(r"/run/vswitch-plan(/[\w-]+)*/(\w[\w.-]*)", rf"{scratch}/\2", word)
        found.append(word)
    return tuple(found)


def test_qemu(tmp_path: Path, prefix: str) -> None:
    """Each is told to end before the first instruction; testpmd is at the ports' other ends."""
    (kernel,) = KERNEL.glob("boot/vmlinuz-*")
    found = {
        _for_this_machine(command.words, tmp_path, str(kernel)): None
        for command in of("qemu-system-x86_64")
    }
    vhosts = sorted(
        {path for words in found for path in re.findall(r"path=(\S+/vhost\d)", " ".join(words))}
    )
    assert vhosts
    backend = ["dpdk-testpmd", "--lcores", "0@0,1@0", "--no-huge", "-m", "128", "--no-pci"]
    backend += ["--file-prefix", prefix, "--no-shconf"]
    for number, path in enumerate(vhosts):
        backend += ["--vdev", f"net_vhost{number},iface={path},client=0"]
    backend += ["--", "-i", "--total-num-mbufs=2048"]
    with subprocess.Popen(backend, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ends:
        assert ends.stdin
        assert ends.stdout
        said = b""
        while b"testpmd> " not in said:
            more = os.read(ends.stdout.fileno(), 4096)
            assert more, said
            said += more
        try:
            for words in found:
                talk = '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
                status, answer = run([*words, "-S"], talk)
                assert status == 0, f"{' '.join(words)}: {answer[-600:]}"
                assert '"SHUTDOWN"' in answer
        finally:
            ends.kill()


@pytest.mark.parametrize(
    ("option", "kind"), [("-object", "memory-backend-memfd"), ("-device", "vfio-pci")]
)
def test_qemu_knows_the_properties(option: str, kind: str) -> None:
    """Of what not every machine has: hugepages, and cards."""
    _, known = run(["qemu-system-x86_64", option, f"{kind},help"])
    given = {
        word
        for command in of("qemu-system-x86_64")
        for word in command.words
        if word.startswith(f"{kind},")
    }
    for word in given:
        for part in word.split(",")[1:]:
            name = part.partition("=")[0]
            assert name in ("id", "bus") or re.search(rf"^\s+{name}=", known, re.MULTILINE), part


# --- testpmd --------------------------------------------------------------------------------


def _testpmds() -> dict[tuple[str, ...], None]:
    """Argument lists: of programs, and of what guests and containers are told to start."""
    found = {command.words: None for command in everything() if command.program == "dpdk-testpmd"}
    for _, line in told():
        if inside := re.match(r"\((?:stdbuf -oL )?(\S*dpdk-testpmd .*?); status=", line):
            found[tuple(inside[1].split())] = None
    for command in of("podman"):
        for number, word in enumerate(command.words):
            if word.endswith("dpdk-testpmd"):
                found[command.words[number:]] = None
    return found


def _on_null(words: Sequence[str]) -> tuple[str, ...]:
    """The same with devices, CPUs and memory that every machine has."""
    argv = ["dpdk-testpmd", "--no-huge", "--no-pci", "--no-shconf", "-m", "64"]
    devices = 0
    pairs = iter(words[1:])
    for word in pairs:
        if word in ("-a", "--vdev"):
            next(pairs)
            argv += ["--vdev", f"net_null{devices}"]
            devices += 1
        elif word in ("-m", "-d", "--file-prefix"):
            next(pairs)
        elif word == "--lcores":
            argv += [word, re.sub(r"@(\d+|\([\d,]+\))", "@0", next(pairs))]
        elif word in ("--in-memory", "--no-pci", "--no-huge", "--single-file-segments"):
            continue
        elif word.startswith("--total-num-mbufs"):
            argv.append("--total-num-mbufs=2048")
        else:
            argv.append(word)
    if not devices:  # in a guest they are found on its bus
        argv[1:1] = ["--vdev", "net_null0", "--vdev", "net_null1"]
    return tuple(argv)


def test_testpmd_takes_its_arguments(prefix: str) -> None:
    found = dict.fromkeys(map(_on_null, _testpmds()))
    assert len(found) > 5

    def started(number: int, argv: tuple[str, ...]) -> tuple[int, str]:
        place = argv.index("--")
        own = ["--file-prefix", f"{prefix}-{number}"]
        return run([*argv[:place], *own, *argv[place:]], "quit\n")

    with ThreadPoolExecutor(4) as several:  # most of its time it waits
        ended = list(several.map(started, range(len(found)), found))
    for argv, (status, said) in zip(found, ended, strict=True):
        assert status == 0, f"{' '.join(argv)}: {said[-600:]}"
        assert "testpmd> " in said


_TYPED = re.compile(
    r"(?:add|clear|create|device|mac_addr|mcast_addr|port|remove|rx_vlan|set|show|csum|tso|tx_vlan)"
    r" |(?:start(?: tx_first)?|stop)$"
)


def test_testpmd_understands_each_line(prefix: str) -> None:
    """On null devices: what they cannot do is no matter."""
    lines = dict.fromkeys(
        line for name, line in told() if name.endswith("testpmd") and line not in ("", "quit")
    )
    assert len(lines) > 60
    assert [line for line in lines if not _TYPED.match(line)] == []
    argv = ["dpdk-testpmd", "--lcores", "0@0,1@0", "--no-huge", "--no-pci", "--no-shconf"]
    argv += ["-m", "64", "--file-prefix", prefix]
    argv += ["--vdev", "net_null0", "--vdev", "net_null1", "--", "-i", "--total-num-mbufs=2048"]
    # Some of these take its ports away, without which it must not be started.
    typed = ["start", "stop", *(line for line in lines if not line.startswith("st"))]
    status, said = run(argv, "\n".join([*typed, "set nonsense", "quit", ""]))
    assert status == 0
    answers = said.split("testpmd> ")[1:]
    wrong = ("Bad arguments", "Command not found", "Ambiguous command")
    refused = [answer for answer in answers if any(word in answer for word in wrong)]
    assert len(refused) == 1, refused
    assert "set nonsense" in refused[0] or len(answers) > len(typed)


def test_drivers_know_the_arguments_of_devices() -> None:
    """Each has them written into its file (RTE_PMD_REGISTER_PARAM_STRING)."""
    devices = {
        words[number + 1]
        for words in _testpmds()
        for number, word in enumerate(words)
        if word == "--vdev"
    }
    kinds = {}
    for device in devices:
        name, *given = device.split(",")
        kind = re.sub(r"\d+$", "", name)
        if kind not in kinds:
            (driver,) = Path("/usr/lib/x86_64-linux-gnu/dpdk").glob(
                f"pmds-*/librte_{'net_virtio' if kind == 'net_virtio_user' else kind}.so"
            )
            told = rb'PMD_INFO_STRING= \{"name": "%s", "params": "([^"]*)"' % kind.encode()
            (kinds[kind],) = re.findall(told, driver.read_bytes())
        for pair in given:
            assert pair.partition("=")[0].encode() + b"=" in kinds[kind], f"{device}: {pair}"
    assert len(kinds) > 3
