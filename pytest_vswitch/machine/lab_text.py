"""A lab file from what was found on its hosts, each choice explained; and renewing one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.document import compose
from pytest_vswitch.lab.edit import Edit, edited, put
from pytest_vswitch.lab.loader import parse_lab
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.discovery import Discovery, Found, driver_for, unfit
from pytest_vswitch.machine.facts_text import BEGIN, END, found, gbps, on_node, plain, wrapped
from pytest_vswitch.machine.memory import Memory

_UNSEEN = "10  # NOT KNOWN: no link was seen; write what the link has"


def written(discovery: Discovery, command: str, path: Path) -> str:
    """The text of a new lab file; it loads. `command` is what was typed."""
    lines = chain(
        _head(discovery, command, path),
        found(discovery),
        _dut(discovery),
        _ports(discovery),
        _generator(discovery),
    )
    text = "".join(f"{line}\n" for line in lines)
    parse_lab(text, path)
    return text


def renewed(text: str, path: Path, discovery: Discovery) -> tuple[str, list[str]]:
    """The text of a lab file with what was found put in, and what of it no longer fits its host.

    The comment between `BEGIN` and `END` is replaced, and of the NIC ports the line rate
    (with a link) and the generator's end (when wires were looked for). All else stays.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if 0 <= begin < end:
        text = text[:begin] + "\n".join(found(discovery, text[begin:end])) + text[end + len(END) :]
    lab = parse_lab(text, path)
    nics = {nic.bdf: nic for nic in discovery.found.nics}
    wired = discovery.wires.wired if discovery.wires else {}
    expected = lab.model_dump()
    edits: list[Edit] = []
    nodes = _items(compose(text, path), "ports")
    for port, node, new in zip(lab.ports, nodes, expected["ports"], strict=True):
        if port.kind != "nic" or not (nic := nics.get(port.bdf)):
            continue
        if nic.speed_mbps and port.line_rate_gbps != nic.speed_mbps / 1000:
            start, end, value = put(text, node, "line_rate_gbps", gbps(nic))
            if text.startswith(_UNSEEN, start):
                end = start + len(_UNSEEN)
            edits.append((start, end, value))
            new["line_rate_gbps"] = nic.speed_mbps / 1000
        other = wired.get(nic.netdev)
        if other and port.generator != other:
            edits.append(put(text, node, "generator", _scalar(other)))
            new["generator"] = other
    result = edited(text, edits)
    if parse_lab(result, path).model_dump() != expected:
        raise InputError(
            f"{lab.where('ports')}: what was found cannot be put in without changing something "
            "else: is the list written with aliases? Write it plainly, or write a new file"
        )
    return result, list(_gone(lab, discovery.found))


def _gone(lab: Lab, found: Found) -> Iterator[str]:
    nics = {nic.bdf: nic for nic in found.nics}
    for index, port in enumerate(lab.ports):
        if port.kind != "nic":
            continue
        where = f"{lab.where('ports', index, 'bdf')}: NIC port {port.bdf}"
        if port.bdf not in nics:
            yield f"{where} is not there any more"
        elif reason := unfit(nics[port.bdf]):
            yield f"{where} will not do: {reason}"
    if lab.dut.lcores != "auto" and (absent := set(lab.dut.lcores) - found.cpus.online):
        yield (
            f"{lab.where('dut', 'lcores')}: CPUs {format_list(absent)} are not online; "
            f"online: {format_list(found.cpus.online)}"
        )


def _items(root: Node, name: str) -> list[MappingNode]:
    """The mappings in the list below a key of the document."""
    (items,) = (value for key, value in root.value if key.value == name)
    return list(items.value)


# --- the parts of a new file ----------------------------------------------------------------


def _head(discovery: Discovery, command: str, path: Path) -> Iterator[str]:
    yield f"# Written by `{plain(command)}`; yours to edit."
    yield f"# `vswitch lab check {path.stem}` tells what its hosts lack; docs/lab.md has every key."
    where = f"{discovery.dut}, generator {discovery.generator}" if discovery.generator else ""
    yield f"description: {_scalar(where or discovery.dut)}"
    yield ""


def _dut(discovery: Discovery) -> Iterator[str]:
    found, lcores = discovery.found, discovery.lcores
    yield ""
    yield "dut:"
    yield f"  host: {_scalar(discovery.dut)}"
    yield from _ssh(discovery, discovery.dut)
    yield from wrapped(f"{lcores.why}.", indent=2)
    yield f"  lcores: {json.dumps(list(lcores.host)) if lcores.host else 'auto'}"
    size, why = _hugepages(found.memory)
    yield from wrapped(why, indent=2)
    yield f"  hugepages: {size}"


def _ports(discovery: Discovery) -> Iterator[str]:
    yield ""
    if not discovery.ports.chosen:
        yield from wrapped(
            "No NIC port of the DUT can be used (the reasons stand above): the ports are shared "
            "memory on the DUT, as in the lab `local`."
        )
        yield "ports:"
        yield from ["  - kind: memif"] * 2
        return
    yield "# Frames that are sent into the first port are expected at the second, and back."
    yield "ports:"
    for nic in discovery.ports.chosen:
        driver, why = driver_for(nic, discovery.found)
        yield "  - kind: nic"
        name = f"{nic.netdev}, " if nic.netdev else ""
        yield from wrapped(f"{name}{nic.vendor}:{nic.device}, {on_node(nic)}.", indent=4)
        yield f"    bdf: {_scalar(nic.bdf)}"
        yield from wrapped(f"{why}.", indent=4)
        yield f"    driver: {driver}"
        if nic.speed_mbps:
            yield f"    line_rate_gbps: {gbps(nic)}"
        else:
            yield f"    line_rate_gbps: {_UNSEEN}"
        wired = discovery.wires.wired.get(nic.netdev, "") if discovery.wires else ""
        yield "    # The generator's end of the wire, as --probe-wiring finds it."
        yield f"    generator: {_scalar(wired) if wired else ''}".rstrip()


def _generator(discovery: Discovery) -> Iterator[str]:
    shared_memory = not discovery.ports.chosen
    lines: list[str] = []
    if discovery.generator and not shared_memory:
        lines.append(f"  host: {_scalar(discovery.generator)}")
        lines += _ssh(discovery, discovery.generator)
    if discovery.netns and not shared_memory:
        lines.append(f"  netns: {_scalar(discovery.netns)}")
    if discovery.lcores.generator is not None:
        lines += wrapped("A core that neither Linux, testpmd nor the guest needs.", indent=2)
        lines.append(f"  cpu: {discovery.lcores.generator}")
    if discovery.generator and shared_memory:
        yield ""
        yield f"# The generator runs on the DUT, not on {discovery.generator}: see above."
    if lines:
        yield ""
        yield from ["generator:", *lines]


def _ssh(discovery: Discovery, address: str) -> Iterator[str]:
    if discovery.ssh and address != "local":
        yield "  ssh:"
        yield from (f"    {name}: {_scalar(value)}" for name, value in discovery.ssh.items())


_SMALL_MB = 12 * 1024
"""With less memory than this, six pages of 1 GB are more than half of it."""


def _hugepages(memory: Memory) -> tuple[str, str]:
    """Page size, and why."""
    for size_kb, word in ((1048576, "1G"), (2048, "2M")):
        if free_mb := memory.free_mb(size_kb):
            return word, f"{free_mb} MiB were free in pages of {word}."
    small = sum(node.total_mb for node in memory.nodes) < _SMALL_MB
    pages = "hugepagesz=2M hugepages=640" if small else "hugepagesz=1G hugepages=6"
    return "auto", (
        "None were free. For numbers that count, reserve them at boot: "
        f"default_{pages.partition(' ')[0]} {pages}"
    )


def _scalar(text: str) -> str:
    """As YAML; in quotes where a plain scalar could be read as something else."""
    simple = re.fullmatch(r"[A-Za-z/~][A-Za-z0-9@._/-]*(:\d+)?", text)
    words = ("true", "false", "null", "yes", "no", "y", "n", "on", "off", "~")
    return text if simple and text.lower() not in words else json.dumps(text)
