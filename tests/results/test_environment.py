from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.results.environment import fingerprint, stable_command_line, stable_facts
from pytest_vswitch.results.record import HostFacts
from tests.records import HOST

FIRST_BOOT = replace(
    HOST,
    kernel_command_line="BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.1 root=UUID=0b1e6c2e-aaaa-4bbb-8ccc-0123"
    "456789ab ro initrd=/initrd-1 systemd.machine_id=0123456789abcdef0123456789abcdef quiet "
    "default_hugepagesz=1G hugepagesz=1G hugepages=6 isolcpus=2-7 intel_pstate=disable "
    "-- --boot-id 71 --port 2024",
)
NEXT_BOOT = replace(
    FIRST_BOOT,
    hostname="bench-7b",
    cpu_mhz=2200.001,
    cpu_flags=tuple(reversed(HOST.cpu_flags)),
    memory_kb=HOST.memory_kb - 4096,
    kernel_command_line="BOOT_IMAGE=(hd1,gpt2)/vmlinuz-6.1 root=/dev/vda2 ro quiet "
    "virtio_mmio.device=4K@0xd0001000:6 default_hugepagesz=1G hugepagesz=1G hugepages=6 "
    "isolcpus=2-7 intel_pstate=disable",
    hugepages={"2048 kB": 512},
    fingerprint="whatever",
)


def test_a_reboot_keeps_the_fingerprint() -> None:
    assert stable_facts(FIRST_BOOT) == stable_facts(NEXT_BOOT)
    assert fingerprint(FIRST_BOOT) == fingerprint(NEXT_BOOT)
    assert len(fingerprint(HOST)) == 16


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST_BOOT, cpu_model="AMD EPYC 9654"),
        replace(FIRST_BOOT, cpu_flags=HOST.cpu_flags[1:]),
        replace(FIRST_BOOT, cores=3),
        replace(FIRST_BOOT, numa_nodes=2),
        replace(FIRST_BOOT, memory_kb=16 * 2**20),
        replace(FIRST_BOOT, kernel="6.1.0-19-amd64"),
        replace(FIRST_BOOT, kernel_command_line="quiet"),
        replace(FIRST_BOOT, governor="performance"),
        replace(FIRST_BOOT, turbo="off"),
        replace(FIRST_BOOT, microcode="0xd0003ba"),
        replace(FIRST_BOOT, hypervisor="none"),
        replace(FIRST_BOOT, operating_system="Debian GNU/Linux 13 (trixie)"),
    ],
)
def test_whatever_may_change_a_rate_changes_the_fingerprint(other: HostFacts) -> None:
    assert fingerprint(other) != fingerprint(FIRST_BOOT)


def test_only_what_says_where_from_is_left_out() -> None:
    assert stable_command_line(FIRST_BOOT.kernel_command_line) == (
        "ro quiet default_hugepagesz=1G hugepagesz=1G hugepages=6 isolcpus=2-7 intel_pstate=disable"
    )
    assert stable_command_line("nohz_full=2-7 rcu_nocbs=2-7 mitigations=off") == (
        "nohz_full=2-7 rcu_nocbs=2-7 mitigations=off"
    )
