"""What a lab's runs will use of a host: the checks look at this, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Port:
    """A NIC port that the lab names."""

    bdf: str
    driver: str
    """That it is bound to for a run; `kernel`: it keeps its own."""
    line_rate_gbps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What will be used."""

    polling: tuple[int, ...]
    """CPUs that poll: of the host's lcores, of the guest's, and of a generator on this host."""
    other: tuple[int, ...] = ()
    """CPUs used beside them: of the main lcore and of the guest's Linux."""
    shared: str = ""
    """Why polling threads share CPUs; empty: each has its own."""
    ports: tuple[Port, ...] = ()
    hugepages: str = "auto"
    """The lab's word: `auto`, `none`, `2M` or `1G`."""
    memory_mb: tuple[int, ...] = ()
    """Pieces of memory that lie on hugepages, of testpmd and of the guest [MiB]."""
    frame_bytes: int = 1518
    """The longest frame that will be sent, with FCS."""
    mbuf_bytes: int = 2048
    """Bytes of a frame that a buffer of DPDK holds; testpmd's own, by default."""
    vcpus: int = 0
    """Of the guest: one for Linux, the others poll; 0: there is no guest."""
    guest_command_line: str = ""

    @property
    def certifies(self) -> bool:
        """Ports of a NIC are there for numbers that count; shared memory is for trying."""
        return bool(self.ports)

    @property
    def cpus(self) -> tuple[int, ...]:
        return (*self.other, *self.polling)
