"""The facts of a DUT: read here, and not guessed where there is nothing to read."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.results import host_facts
from pytest_vswitch.results.host_facts import UNKNOWN
from tests.hosts.machine import machine


class Elsewhere(LocalHost):
    """A machine that has the files of `files` and no others."""

    files: dict[str, str]

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def glob(self, pattern: str) -> list[str]:
        return sorted({str(Path(path).parent) for path in self.files if "hugepages-" in path})


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as here:
        yield here


def elsewhere(host: LocalHost, files: dict[str, str]) -> Elsewhere:
    other = object.__new__(Elsewhere)
    other.__dict__.update(host.__dict__, files=files)
    return other


def test_this_machine(host: LocalHost) -> None:
    facts = host_facts.collect(host)
    assert facts.hostname == platform.node()
    assert facts.kernel.startswith(platform.release())
    assert facts.cores == os.cpu_count()
    assert facts.memory_kb * 1024 == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts.numa_nodes >= 1
    assert facts.cpu_model != UNKNOWN
    assert facts.cpu_mhz > 100
    assert "sse2" in facts.cpu_flags
    assert facts.kernel_command_line == Path("/proc/cmdline").read_text().strip()
    assert facts.turbo in ("on", "off", UNKNOWN)


def test_the_same_machine_has_the_same_fingerprint(host: LocalHost) -> None:
    first, second = host_facts.collect(host), host_facts.collect(host)
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 16


def test_nothing_is_guessed(host: LocalHost) -> None:
    facts = host_facts.collect(elsewhere(host, {}))
    for name in ("hostname", "cpu_model", "kernel", "governor", "turbo", "microcode"):
        assert getattr(facts, name) == UNKNOWN
    assert (facts.hypervisor, facts.operating_system) == (UNKNOWN, UNKNOWN)
    assert (facts.cpu_mhz, facts.cores, facts.memory_kb, facts.cpu_flags) == (0, 0, 0, ())
    assert (facts.kernel_command_line, facts.hugepages) == ("", {})
    assert host_facts.remarks(facts) == ()


def test_a_lab_machine(host: LocalHost) -> None:
    facts = host_facts.collect(
        elsewhere(
            host,
            {
                "/proc/cpuinfo": (
                    "processor\t: 0\nmodel name\t: Xeon Gold 6338N\ncpu MHz\t\t: 1500.5\n"
                    "microcode\t: 0xd0003b9\nflags\t\t: sse2 fpu\n\n"
                    "processor\t: 1\nmodel name\t: Xeon Gold 6338N\nflags\t\t: sse2 fpu\n"
                ),
                "/proc/meminfo": "MemTotal:       131072 kB\nMemFree: 5 kB\n",
                "/etc/os-release": 'NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
                "/proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
                "/proc/sys/kernel/version": "#1 SMP\n",
                "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
                "/sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
                "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
            },
        )
    )
    assert (facts.cpu_model, facts.cpu_mhz, facts.cores) == ("Xeon Gold 6338N", 3500, 2)
    assert facts.cpu_flags == ("fpu", "sse2")
    assert (facts.memory_kb, facts.kernel) == (131072, "6.1.0-18-amd64 #1 SMP")
    assert facts.operating_system == "Debian GNU/Linux 12 (bookworm)"
    assert facts.hugepages == {"2048 kB": 512}
    assert (facts.microcode, facts.hypervisor, facts.turbo) == ("0xd0003b9", "none", "on")
    turbo, governor = host_facts.remarks(facts)
    assert turbo.startswith("turbo is on")
    assert "governor is `powersave`" in governor


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({"/sys/devices/system/cpu/intel_pstate/no_turbo": "1\n"}, "off"),
        ({"/sys/devices/system/cpu/cpufreq/boost": "1\n"}, "on"),
        ({"/sys/devices/system/cpu/cpufreq/boost": "0\n"}, "off"),
    ],
)
def test_turbo(host: LocalHost, files: dict[str, str], turbo: str) -> None:
    assert host_facts.collect(elsewhere(host, files)).turbo == turbo


def test_a_virtual_machine_says_so(host: LocalHost) -> None:
    files = {"/proc/cpuinfo": "flags : fpu hypervisor\n"}
    facts = host_facts.collect(elsewhere(host, files))
    assert facts.hypervisor == "of unknown make"
    facts = host_facts.collect(elsewhere(host, {**files, "/sys/class/dmi/id/sys_vendor": "QEMU\n"}))
    assert facts.hypervisor == "QEMU"
    assert host_facts.remarks(facts) == ("the DUT is itself a virtual machine (QEMU)",)
    assert host_facts.remarks(replace(facts, hypervisor="none")) == ()


def test_an_emulated_machine_is_no_measure_of_speed(host: LocalHost) -> None:
    """As `/proc/cpuinfo` says it in a QEMU 10 without KVM, `-cpu max`."""
    files = {"/proc/cpuinfo": "model name\t: QEMU TCG CPU version 2.5+\nflags : hypervisor\n"}
    [remark] = host_facts.remarks(host_facts.collect(elsewhere(host, files)))
    assert "emulated in software (QEMU TCG CPU version 2.5+): no measure of speed" in remark
