"""testpmd's command language on a PF and its VFs: words, answers, and what they set.

Strict: words, their order and their ranges are those of app/test-pmd (17.05 to 24.11), and so
is what it answers. Captured from real ones on null devices, and from their source for Intel's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.emulated.nic import PF, Function

if TYPE_CHECKING:
    from tests.emulated.testpmd import Testpmd

BAD = "Bad arguments\n"
UNKNOWN = "Command not found\n"
NOT_IMPLEMENTED = "function not implemented\n"
NO_PORT = "Invalid port {}\n"
_DONE = "Stopping ports...\nChecking link statuses...\nDone\n"

_TYPES = {
    "port": r"(\d+)",
    "vf": r"(\d+)",
    "on": r"(on|off)",
    "n": r"(\d+)",
    "hex": r"(0x[0-9a-fA-F]+|\d+)",
    "mac": r"([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})",
    "word": r"(\S+)",
    "list": r"(\S+)",
    "verb": "(add|rm)",
    "direction": "(rx|tx)",
    "mode": "(AUPE|ROPE|BAM|MPE)",
    "classes": "(4|8)",
}


@dataclass(frozen=True)
class Command:
    """One line of the language, and who carries it out."""

    form: str
    run: Callable[[Testpmd, list[str]], str]
    since: tuple[int, int] = (17, 5)
    models: tuple[str, ...] = ("82576", "82599", "X710")
    refusal: str = NOT_IMPLEMENTED
    """What those of other models say, with the port and the VF."""

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        words = re.split(r"\{(\w+)\}", self.form)
        text = "".join(word if n % 2 == 0 else _TYPES[word] for n, word in enumerate(words))
        return re.compile(text)


def answer(testpmd: Testpmd, line: str) -> str:
    """What a testpmd says to a line, which it carries out."""
    known = [command for command in COMMANDS if testpmd.words >= command.since]
    for command in known:
        if not (found := command.pattern.fullmatch(line)):
            continue
        for kind, word in zip(re.findall(r"\{(\w+)\}", command.form), found.groups(), strict=True):
            if kind == "port" and word != "0":
                return NO_PORT.format(word)
        lacking = testpmd.dut.nic.model not in command.models or any(
            line.startswith(words) for words in testpmd.dut.lacks
        )
        if lacking or (testpmd.number != PF and _is_pfs(command)):
            # `show vf stats` prints its table even when it was refused.
            table = statistics_table(Function(b""), "  vf 0") if "show" in command.form else ""
            return command.refusal + table
        return command.run(testpmd, list(found.groups()))
    first = line.split(" ")[0]
    return BAD if any(c.form.split(" ")[0] == first for c in known) else UNKNOWN


def _is_pfs(command: Command) -> bool:
    """Whether only a PF's driver has it."""
    return "{vf}" in command.form or "loopback" in command.form or "all queues" in command.form


# --- what the commands do -----------------------------------------------------------------


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _vf(testpmd: Testpmd, text: str) -> Function | None:
    functions = testpmd.dut.nic.functions
    return functions[int(text)] if int(text) < len(functions) else None


def _field(name: str) -> Callable[[Testpmd, list[str]], str]:
    """`... {port} {vf} {on}` sets that field of the VF."""

    def run(testpmd: Testpmd, words: list[str]) -> str:
        function = _vf(testpmd, words[1])
        if function is None:
            return f"invalid vf_id {words[1]} or is_on {int(words[2] == 'on')}\n"
        testpmd.dut.set_field(function, name, words[2] == "on")
        return ""

    return run


def _loopback(testpmd: Testpmd, words: list[str]) -> str:
    testpmd.dut.set_loopback(words[1] == "on")
    return ""


def _all_drop(testpmd: Testpmd, words: list[str]) -> str:
    testpmd.dut.set_all_drop(words[1] == "on")
    return ""


def _set_mac(testpmd: Testpmd, words: list[str]) -> str:
    mac, function = _mac(words[2]), _vf(testpmd, words[1])
    if function is None or mac[0] & 1 or not any(mac):
        return f"invalid vf_id {words[1]} or mac_addr\n"
    testpmd.dut.set_mac(int(words[1]), mac)
    return ""


def _insert(testpmd: Testpmd, words: list[str]) -> str:
    function = _vf(testpmd, words[1])
    if function is None or int(words[2]) > 4095:
        return f"invalid vf_id {words[1]} or vlan_id {words[2]}\n"
    testpmd.dut.set_insertion(function, int(words[2]))
    return ""


def _rx_vlan(testpmd: Testpmd, words: list[str]) -> str:
    verb, vlan, _, mask = words
    functions = testpmd.dut.nic.functions
    if int(vlan) > 4095 or int(mask, 0) >> len(functions):
        return f"invalid vlan_id {vlan} or vf_mask {int(mask, 0)}\n"
    for number, function in enumerate(functions):
        if int(mask, 0) >> number & 1:
            testpmd.dut.filter_vlan(function, int(vlan), add=verb == "add")
    return ""


def _rate(testpmd: Testpmd, words: list[str]) -> str:
    port, vf, mbps, mask = words
    function = _vf(testpmd, vf)
    if function is None:
        return f"set_vf_rate_limit for port_id={port} failed diag=-22\n"
    if int(mbps) > testpmd.dut.nic.line_rate_mbps:
        return f"Invalid rate value:{mbps} bigger than link speed: 10000\n"
    for queue in range(8):
        if int(mask, 0) >> queue & 1:
            testpmd.dut.set_rate(function, queue, float(mbps))
    return ""


def _traffic(testpmd: Testpmd, words: list[str]) -> str:
    port, vf, direction, on = words
    function = _vf(testpmd, vf)
    if function is None:
        return f"rte_pmd_ixgbe_set_vf_{direction} for port_id={port} failed diag=-22\n"
    testpmd.dut.set_field(function, direction, on == "on")
    return ""


_MODES = {"AUPE": "untagged", "ROPE": "hashed", "BAM": "broadcast", "MPE": "all_multicast"}


def _rx_mode(testpmd: Testpmd, words: list[str]) -> str:
    _, vf, mode, on = words
    function = _vf(testpmd, vf)
    if function is None:
        return "bad VF receive mode parameter, return code = -22\n"
    testpmd.dut.set_mode(function, _MODES[mode], on == "on")
    return ""


def _hash(testpmd: Testpmd, words: list[str]) -> str:
    table = testpmd.dut.nic.hash_table
    (table.add if words[2] == "on" else table.discard)(_mac(words[1]))
    return ""


def _bandwidth(testpmd: Testpmd, words: list[str]) -> str:
    function = _vf(testpmd, words[1])
    if function is None or int(words[2]) > testpmd.dut.nic.line_rate_mbps:
        return f"invalid vf_id {words[1]} or bandwidth {words[2]}\n"
    testpmd.dut.set_bandwidth(function, float(words[2]))
    return ""


def _shares(testpmd: Testpmd, words: list[str]) -> str:
    found = re.fullmatch(r"\((\d+(?:,\d+)*)\)", words[2])
    if not found:
        return "The bandwidth-list should be '(bw1, bw2, ...)'\n"
    shares = tuple(map(int, found[1].split(",")))
    function = _vf(testpmd, words[1])
    if function is None or sum(shares) != 100 or len(shares) != testpmd.dut.nic.traffic_classes:
        return f"invalid vf_id {words[1]} or bandwidth\n"
    testpmd.dut.set_shares(function, shares)
    return ""


def _tc_bandwidth(testpmd: Testpmd, words: list[str]) -> str:
    function, tc = _vf(testpmd, words[1]), int(words[2])
    if function is None or tc >= testpmd.dut.nic.traffic_classes:
        return f"invalid vf_id {words[1]}, tc_no {tc} or bandwidth {words[3]}\n"
    testpmd.dut.set_tc_bandwidth(function, tc, float(words[3]))
    return ""


def _strict(testpmd: Testpmd, words: list[str]) -> str:
    nic, classes = testpmd.dut.nic, int(words[1], 0)
    if classes >> nic.traffic_classes:
        return f"invalid tc_bitmap {classes:#x}\n"
    testpmd.dut.set_strict(classes)
    return ""


def _dcb(testpmd: Testpmd, words: list[str]) -> str:
    if testpmd.started:
        return "Please stop port 0 first\n"
    testpmd.dut.nic.traffic_classes = int(words[1])
    return ""


def _link(up: bool) -> Callable[[Testpmd, list[str]], str]:
    def run(testpmd: Testpmd, words: list[str]) -> str:
        testpmd.dut.nic.set_link(up)
        return ""

    return run


def statistics_table(function: Function, of: str = "") -> str:
    counters = function.counters
    bar = 24 * "#"
    return (
        f"\n  {bar} NIC statistics for port 0{of}  {bar}\n"
        f"  RX-packets: {counters.rx_packets:<10} RX-missed: {counters.rx_missed:<10} "
        f"RX-bytes:  {counters.rx_bytes}\n  RX-errors: 0\n  RX-nombuf:  0         \n"
        f"  TX-packets: {counters.tx_packets:<10} TX-errors: 0          "
        f"TX-bytes:  {counters.tx_bytes}\n  {76 * '#'}\n"
    )


def _port_stats(testpmd: Testpmd, words: list[str]) -> str:
    return statistics_table(testpmd.dut.nic.function(testpmd.number))


def _vf_stats(testpmd: Testpmd, words: list[str]) -> str:
    function = _vf(testpmd, words[1])
    if function is None:
        return f"invalid vf_id {words[1]}\n"
    return statistics_table(testpmd.dut.seen_by_pf(int(words[1])), f"  vf {words[1]}")


def _clear_vf_stats(testpmd: Testpmd, words: list[str]) -> str:
    if _vf(testpmd, words[1]) is None:
        return f"invalid vf_id {words[1]}\n"
    testpmd.dut.clear_seen_by_pf(int(words[1]))
    return ""


def _port_info(testpmd: Testpmd, words: list[str]) -> str:
    drivers = {"82576": "e1000_igb", "82599": "ixgbe", "X710": "i40e"}
    driver = f"net_{drivers[testpmd.dut.nic.model]}{'_vf' if testpmd.number != PF else ''}"
    up = "up" if testpmd.dut.link_seen(testpmd.number) else "down"
    return (
        f"\n{21 * '*'} Infos for port 0  {21 * '*'}\nMAC address: {testpmd.mac}\n"
        f"Device name: 0000:03:00.0\nDriver name: {driver}\nLink status: {up}\n"
    )


def _forwarding(testpmd: Testpmd, words: list[str]) -> str:
    lines = [
        f"\n  ------- Forward Stats for RX Port= 0/Queue={queue:2} -> "
        f"TX Port= 0/Queue={queue:2} -------\n"
        f"  RX-packets: {count:<14} TX-packets: {count:<14} TX-dropped: 0             \n"
        for queue, count in sorted(testpmd.sent_by_queue.items())
    ]
    return "".join(lines)


def _set_mode(testpmd: Testpmd, words: list[str]) -> str:
    if words[0] not in ("io", "mac", "macswap", "rxonly", "txonly"):
        return BAD
    testpmd.mode = words[0]
    return f"Set {words[0]} packet forwarding mode\n"


def _start(testpmd: Testpmd, words: list[str]) -> str:
    if testpmd.running:
        return "Packet forwarding already started\n"
    if not testpmd.started:
        return "Not all ports were started\n"
    testpmd.running = True
    testpmd.sent_by_queue.clear()
    return f"{testpmd.mode} packet forwarding - ports=1 - cores=1 - streams=1\n"


def _stop(testpmd: Testpmd, words: list[str]) -> str:
    if not testpmd.running:
        return "Packet forwarding not started\n"
    testpmd.running = False
    return "Telling cores to stop...\nWaiting for lcores to finish...\n\nDone.\n"


def _port(started: bool) -> Callable[[Testpmd, list[str]], str]:
    def run(testpmd: Testpmd, words: list[str]) -> str:
        testpmd.started = started
        return _DONE if not started else f"Port 0: {testpmd.mac}\nChecking link statuses...\nDone\n"

    return run


def _tx_vlan(testpmd: Testpmd, words: list[str]) -> str:
    if testpmd.started:
        return "Please stop port 0 first\n"
    testpmd.vlan = int(words[1]) if len(words) > 1 else 0
    return ""


def _promiscuous(testpmd: Testpmd, words: list[str]) -> str:
    testpmd.dut.nic.function(testpmd.number).promiscuous = words[1] == "on"
    return ""


def _all_multicast(testpmd: Testpmd, words: list[str]) -> str:
    testpmd.dut.nic.function(testpmd.number).all_multicast = words[1] == "on"
    return ""


_IXGBE, _I40E = ("82599",), ("X710",)

COMMANDS = (
    Command("set tx loopback {port} {on}", _loopback),
    Command("set vf mac addr {port} {vf} {mac}", _set_mac),
    Command("set vf mac antispoof {port} {vf} {on}", _field("check_mac")),
    Command("set vf vlan antispoof {port} {vf} {on}", _field("check_vlan")),
    Command("set vf vlan insert {port} {vf} {n}", _insert),
    Command("set vf vlan stripq {port} {vf} {on}", _field("strip")),
    Command("rx_vlan {verb} {n} port {port} vf {hex}", _rx_vlan),
    Command("set all queues drop {port} {on}", _all_drop, models=_IXGBE),
    Command(
        "set vf split drop {port} {vf} {on}",
        _field("drop"),
        models=_IXGBE,
        refusal="not supported on port 0\n",
    ),
    Command(
        "set port {port} vf {vf} rate {n} queue_mask {hex}",
        _rate,
        models=_IXGBE,
        refusal="set_vf_rate_limit for port_id=0 failed diag=-95\n"
        "vf_rate_limit_cmd error: (Operation not supported)\n",
    ),
    Command(
        "set port {port} vf {vf} {direction} {on}",
        _traffic,
        models=_IXGBE,
        refusal="rte_pmd_ixgbe_set_vf_rx for port_id=0 failed diag=-95\n",
    ),
    Command(
        "set port {port} vf {vf} rxmode {mode} {on}",
        _rx_mode,
        models=_IXGBE,
        refusal="bad VF receive mode parameter, return code = -95\n",
    ),
    Command(
        "set port {port} uta {mac} {on}",
        _hash,
        models=_IXGBE,
        refusal="bad unicast hash table parameter, return code = -95\n",
    ),
    Command("show vf stats {port} {vf}", _vf_stats, models=_I40E),
    Command("clear vf stats {port} {vf}", _clear_vf_stats, models=_I40E),
    Command("set link-up port {port}", _link(True)),
    Command("set link-down port {port}", _link(False)),
    Command("set vf broadcast {port} {vf} {on}", _field("broadcast"), models=_I40E),
    Command("set vf allmulti {port} {vf} {on}", _field("all_multicast"), models=_I40E),
    Command("set vf promisc {port} {vf} {on}", _field("promiscuous"), models=_I40E),
    Command("set vf tx max-bandwidth {port} {vf} {n}", _bandwidth, models=_I40E),
    Command("set vf tc tx min-bandwidth {port} {vf} {list}", _shares, models=_I40E),
    Command("set vf tc tx max-bandwidth {port} {vf} {n} {n}", _tc_bandwidth, models=_I40E),
    Command("set tx strict-link-priority {port} {hex}", _strict, models=_I40E),
    Command("port config {port} dcb vt on {classes} pfc off", _dcb),
    Command("show port stats {port}", _port_stats),
    Command("show port stats all", _port_stats),
    Command("show port info {port}", _port_info),
    Command("show fwd stats all", _forwarding, since=(19, 5)),
    Command("set fwd {word}", _set_mode),
    Command("start", _start),
    Command("stop", _stop),
    Command("port stop {port}", _port(False)),
    Command("port start {port}", _port(True)),
    Command("tx_vlan set {port} {n}", _tx_vlan),
    Command("tx_vlan reset {port}", _tx_vlan),
    Command("set promisc {port} {on}", _promiscuous),
    Command("set allmulti {port} {on}", _all_multicast),
)
