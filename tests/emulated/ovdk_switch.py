"""An Intel DPDK vSwitch that keeps state: database, ports, flows, and a data plane.

Written from the release's own sources and manuals (ovs_dpdk's getopt, ovs-vsctl's grammar,
ovs-ofctl's flow syntax). A word that the real one would refuse is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

TYPES = {"dpdk": range(16, 32), "dpdkphy": range(16, 32), "dpdkkni": range(32, 48)}
TYPES["dpdkmemnic"] = range(48, 64)


class Refused(Exception):
    """What a program says before it ends with status 1."""


@dataclass
class Port:
    name: str
    kind: str = ""
    number: int = 0
    option: str = ""
    rx: int = 0
    tx: int = 0
    rx_drop: int = 0
    tx_drop: int = 0


@dataclass
class Switch:
    """What is kept from one command to the next."""

    broken: set[str]
    database: bool = False
    serving: bool = False
    bridge: bool = False
    ports: dict[str, Port] = field(default_factory=dict)
    plane: dict[str, int] = field(default_factory=dict)
    """What `ovs_dpdk` was told: NICs, clients, kni, memnic; empty: it does not run."""
    daemon: bool = False
    flows: list[tuple[int, int]] = field(default_factory=list)
    to_guest: Callable[[int, bytes], list[tuple[int, bytes]]] = lambda port, frame: []
    """Gives a frame to a guest by an OpenFlow port; what comes back, by port."""

    # --- ovs-vsctl ---

    def vsctl(self, words: list[str]) -> str:
        if not self.serving:
            raise Refused("ovs-vsctl: unix:db.sock: database connection failed")
        for command in _split(words, "--"):
            match command:
                case ["show"]:
                    return self._show()
                case ["add-br", name]:
                    if self.bridge:
                        raise Refused(f"ovs-vsctl: cannot create a bridge named {name}")
                    self.bridge = True
                case ["set", "Bridge", "br0", "datapath_type=dpdk"]:
                    pass
                case ["add-port", "br0", name] if self.bridge and name not in self.ports:
                    self.ports[name] = Port(name)
                case ["set", "Interface", name, *settings] if name in self.ports:
                    for setting in settings:
                        self._set(self.ports[name], setting)
                case _:
                    raise Refused(f"ovs-vsctl: {' '.join(command)}: unknown command or no row")
        return ""

    def _set(self, port: Port, setting: str) -> None:
        if found := re.fullmatch(r"type=(\w+)", setting):
            port.kind = found[1]
        elif found := re.fullmatch(r"ofport_request=(\d+)", setting):
            port.number = int(found[1])
        elif found := re.fullmatch(r"option:port=(\d+)", setting):
            port.option = found[1]
        else:
            raise Refused(f"ovs-vsctl: {setting}: Interface has no such column")

    def _show(self) -> str:
        lines = ["00000000-0000-0000-0000-000000000000"]
        if self.bridge:
            lines += ['    Bridge "br0"', '        Port "br0"', '            Interface "br0"']
            lines += ["                type: internal"]
        for port in self.ports.values():
            if "port not shown" in self.broken and port.number == 17:
                continue
            kind = "system" if "port of another type" in self.broken else port.kind
            lines += [f'        Port "{port.name}"', f'            Interface "{port.name}"']
            lines += [f"                type: {kind}"]
            option = "9" if "port of another NIC" in self.broken else port.option
            if port.option:
                lines += [f'                options: {{port="{option}"}}']
            wrong = self.daemon and port.number not in TYPES.get(port.kind, ())
            if wrong or "port in error" in self.broken:
                lines += [f'                error: "could not open network device {port.name}"']
        return "\n".join(lines) + "\n"

    # --- ovs_dpdk and ovs-vswitchd ---

    def start_plane(self, words: list[str], mounted: set[str], nics: set[str]) -> list[str]:
        """Names of the shared memory that it makes."""
        eal, own = _split(words, "--")
        options = _options(eal, {"-c", "-n", "-m", "-w", "--huge-dir"})
        if not re.fullmatch(r"0x[0-9a-f]+", options["-c"][0]) or options["-n"] != ["4"]:
            raise Refused("EAL: invalid coremask or number of channels")
        if options["--proc-type"] != ["primary"]:
            raise Refused("EAL: a primary process is needed")
        if options["--huge-dir"][0] not in mounted:
            raise Refused("EAL: no mounted hugetlbfs found")
        if not set(options["-w"]) <= nics:
            raise Refused("Total ports: 0")
        own_options = _options(own, {"-p", "-n", "-k", "-m"})
        known = {"-p", "-n", "-k", "-m", "--stats", "--vswitchd"}
        known |= {"--client_switching_core", "--config"}
        if unknown := set(own_options) - known:
            raise Refused(f"ERROR: Unknown option '{min(unknown)}'")
        count = {key: int(own_options.get(key, ["0"])[0], 0) for key in ("-p", "-n", "-k", "-m")}
        cores = int(options["-c"][0], 16)
        queues = re.findall(r"\((\d+),0,(\d+)\)", own_options["--config"][0])
        wanted = [
            int(own_options[f"--{name}"][0]) for name in ("vswitchd", "client_switching_core")
        ]
        wanted += [int(core) for _, core in queues]
        if any(not cores >> core & 1 for core in wanted) or len(set(wanted)) < len(wanted):
            raise Refused("EAL: a core is not in the coremask, or has two roles")
        if count["-p"] != (1 << len(queues)) - 1:
            raise Refused("WARNING: requested port not present")
        self.plane = {"nics": len(queues), "kni": count["-k"], "memnic": count["-m"]}
        return [f"ovs_dpdk_{48 + index}" for index in range(count["-m"])]

    def start_daemon(self, words: list[str]) -> None:
        eal, own = _split(words, "--")
        if _options(eal, {"-c"})["--proc-type"] != ["secondary"] or not self.plane:
            raise Refused("EAL: no primary process")
        if len(own) != 1 or not self.serving:
            raise Refused("ovs-vswitchd: database connection failed")
        self.daemon = True

    # --- ovs-ofctl ---

    def ofctl(self, words: list[str]) -> str:
        if not self.daemon:
            raise Refused("ovs-ofctl: br0 is not a bridge or a socket")
        match words:
            case ["del-flows", "br0"]:
                self.flows.clear()
                return ""
            case ["add-flow", "br0", text]:
                self._add_flow(text)
                return ""
            case ["dump-flows", "br0"]:
                return self._dump_flows()
            case ["dump-ports", "br0"]:
                return self._dump_ports()
        raise Refused(f"ovs-ofctl: unknown command '{words[0]}'")

    def _add_flow(self, text: str) -> None:
        match_, found, action = text.partition(",action=")
        fields = dict(word.partition("=")[::2] for word in match_.split(","))
        out = re.fullmatch(r"output:(\d+)", action)
        if not found or not out or set(fields) != {"in_port", "dl_type", "idle_timeout"}:
            raise Refused(f"ovs-ofctl: {text}: unknown keyword")
        if fields["dl_type"] != "0x0800" or fields["idle_timeout"] != "0":
            raise Refused(f"ovs-ofctl: {text}: not IPv4, or not for ever")
        self.flows.append((int(fields["in_port"]), int(out[1])))

    def _dump_flows(self) -> str:
        lines = ["NXST_FLOW reply (xid=0x4):"]
        flows = self.flows[1:] if "flow not kept" in self.broken else self.flows
        extra = [(17, 16)] if "flow from elsewhere" in self.broken else []
        for enter, leave in [*flows, *extra]:
            lines.append(
                f" cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, idle_age=1, "
                f"ip,in_port={enter} actions=output:{leave}"
            )
        return "\n".join(lines) + "\n"

    def _dump_ports(self) -> str:
        lines = [f"OFPST_PORT reply (xid=0x2): {len(self.ports)} ports"]
        for port in self.ports.values():
            twice = 2 if "counter counts twice" in self.broken and port.number == 16 else 1
            lines += [
                f"  port {port.number:2}: rx pkts={port.rx * twice}, bytes=0, "
                f"drop={port.rx_drop}, errs=0, frame=?, over=?, crc=?",
                f"           tx pkts={port.tx}, bytes=0, drop={port.tx_drop}, errs=0, coll=?",
            ]
        return "\n".join(lines) + "\n"

    # --- frames ---

    def receive(self, number: int, frame: bytes) -> list[tuple[int, bytes]]:
        """What leaves by which NIC (its OpenFlow number) after a frame came in by one."""
        by_number = {port.number: port for port in self.ports.values()}
        left: list[tuple[int, bytes]] = []
        under_way = [(number, frame)]
        while under_way:
            enter, data = under_way.pop()
            by_number[enter].rx += 1
            targets = [leave for match, leave in self.flows if match == enter]
            if data[12:14] != b"\x08\x00" or not targets:
                by_number[enter].rx_drop += 1
                continue
            out = by_number[targets[-1]]
            out.tx += 1
            if out.number < 32:
                left.append((out.number, data))
            else:
                under_way += self.to_guest(out.number, data)
        return left


def _split(words: list[str], at: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == at:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _options(words: list[str], separate: set[str]) -> dict[str, list[str]]:
    """As getopt_long reads them; `separate` take the next word."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in separate:
            if not rest:
                raise Refused(f"option requires an argument -- '{word}'")
            found.setdefault(word, []).append(rest.pop(0))
        elif re.fullmatch(r"--[\w-]+=.+", word):
            name, _, value = word.partition("=")
            found.setdefault(name, []).append(value)
        else:
            raise Refused(f"unrecognized option '{word}'")
    return found
