"""A guest of an Intel DPDK vSwitch that keeps state: files, modules, interfaces, routes, frames.

Its shell knows the commands of net-tools and of a build, as strict as the real ones; its kernel
forwards as RFC 1812 has it, and computes checksums by scapy.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass, field

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

RELEASE = "3.14.27-100.fc19.x86_64"
DPDK = "/root/kni/DPDK"
TARGET = f"{DPDK}/x86_64-ivshmem-linuxapp-gcc"


class Failed(Exception):
    """What a command says before it ends with a status other than 0."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Interface:
    port: int
    """OpenFlow number of the port of the vSwitch."""
    mac: str
    settable: bool
    up: bool = False
    network: ipaddress.IPv4Interface | None = None
    rx: int = 0
    tx: int = 0


@dataclass
class Guest:
    broken: set[str]
    share: dict[str, str]
    """What the FAT disk has, by path."""
    regions: list[tuple[int, bytearray]] = field(default_factory=list)
    """MEMNIC's, by port."""
    metadata: bytes = b""
    """KNI's, as the end of its device has it."""
    files: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    knobs: dict[str, str] = field(default_factory=dict)
    routes: list[tuple[ipaddress.IPv4Network, str, str]] = field(default_factory=list)
    neighbours: dict[str, tuple[str, str]] = field(default_factory=dict)
    kni_found: bool | None = None
    client: bool = False
    panicked: bool = False
    snmp: dict[str, int] = field(default_factory=dict)

    def run(self, line: str) -> str:
        """What a line of the shell prints. Raises Failed."""
        line = line.replace("$(uname -r)", RELEASE)
        if found := re.fullmatch(r"timeout \d+ sh -c 'until \[ -e (\S+) \]; do .* done'", line):
            if found[1].rpartition("/")[2] not in self.interfaces:
                raise Failed("", 124)
            return ""
        if found := re.fullmatch(r"(.*) > /tmp/kni_client.log 2>&1 &", line):
            self._start_client(shlex.split(found[1]))
            return ""
        first, _, second = line.partition(" | ")
        words = shlex.split(first)
        command = getattr(self, f"_{words[0]}", None)
        if command is None:
            raise Failed(f"sh: {words[0]}: command not found", 127)
        output: str = command(words[1:])
        if not second:
            return output
        grep = shlex.split(second)
        if grep[0] != "grep" or len(grep) > 3:
            raise Failed(f"sh: {grep[0]}: not a filter")
        hits = [text for text in output.splitlines() if grep[-1] in text]
        if not hits:
            raise Failed("0" if "-c" in grep else "")
        return f"{len(hits)}\n" if "-c" in grep else "".join(f"{hit}\n" for hit in hits)

    # --- files and builds ---

    def _true(self, words: list[str]) -> str:
        return ""

    def _uname(self, words: list[str]) -> str:
        return f"{RELEASE}\n"

    def _mkdir(self, words: list[str]) -> str:
        for path in words[1:]:
            self.files[path] = ""
        return ""

    def _mount(self, words: list[str]) -> str:
        if words[:3] != ["-o", "iocharset=utf8", "/dev/sdb1"] or words[3] not in self.files:
            raise Failed(f"mount: {words[-1]}: mount point does not exist", 32)
        self.files |= {f"{words[3]}/{path}": text for path, text in self.share.items()}
        return ""

    def _cp(self, words: list[str]) -> str:
        option, source, target = words
        if option != "-a" or not source.endswith("/.") or target not in self.files:
            raise Failed(f"cp: cannot stat '{source}'")
        source = source[:-2]
        for path in [path for path in self.files if path.startswith(f"{source}/")]:
            self.files[target + path.removeprefix(source)] = self.files[path]
        return ""

    def _patch(self, words: list[str]) -> str:
        if words[:3] != ["-N", "-p1", "-d"] or words[4] != "-i" or words[5] not in self.files:
            raise Failed(f"patch: **** Can't open patch file {words[-1]}", 2)
        target = f"{words[3]}/{self.files[words[5]]}"
        if target not in self.files:
            raise Failed(f"can't find file to patch: {target}")
        self.files[target] += " patched"
        return ""

    def _make(self, words: list[str]) -> str:
        match words:
            case ["-C", build, module, *clean] if build == f"/lib/modules/{RELEASE}/build":
                folder = module.removeprefix("M=")
                if f"{folder}/Makefile" not in self.files:
                    raise Failed(f"make: *** {folder}: No such file or directory.", 2)
                if not clean:
                    self.files[f"{folder}/memnic.ko"] = self.files[f"{folder}/memnic_net.c"]
            case ["-C", folder, "install", target] if folder == DPDK:
                source = f"{DPDK}/lib/kni_misc.c"
                if source not in self.files or target != f"T={TARGET.rpartition('/')[2]}":
                    raise Failed("make: *** No rule to make target", 2)
                self.files[f"{TARGET}/kmod/rte_kni.ko"] = self.files[source]
            case ["-C", folder, sdk, target]:
                built = sdk == f"RTE_SDK={DPDK}" and f"{TARGET}/kmod/rte_kni.ko" in self.files
                if f"{folder}/kni_client.c" not in self.files or not built:
                    raise Failed("make: *** No rule to make target", 2)
                self.files[f"{folder}/build/kni_client"] = ""
            case _:
                raise Failed("make: *** No targets specified and no makefile found.", 2)
        return ""

    # --- modules ---

    def _insmod(self, words: list[str]) -> str:
        if words[0] not in self.files:
            raise Failed(f"insmod: can't read '{words[0]}': No such file or directory")
        patched = "patched" in self.files[words[0]]
        if words[0].endswith("memnic.ko"):
            self._load_memnic(patched)
        else:
            self._load_kni(patched)
        return ""

    def _load_memnic(self, patched: bool) -> None:
        for port, region in self.regions:
            self.log.append("MEMNIC: Probing")
            if region[:8] != b"vNIC\x01\0\0\0":
                continue
            self.log.append("MEMNIC: new vNIC device found")
            name = f"eth{len(self.interfaces)}"
            self.interfaces[name] = Interface(port, region[24:30].hex(":"), patched)
        self.log.append("MEMNIC DRIVER: Loaded")

    def _load_kni(self, patched: bool) -> None:
        self.log.append("KNI: ######## DPDK kni module loading ########")
        if patched:
            self.kni_found = self.metadata[:4] == b"\xde\xc0\xad\x0b"
            self.log.append(f"KNI: IVSHMEM metadata {'found' if self.kni_found else 'NOT found'}")
        self.log.append("KNI: ######## DPDK kni module loaded ########")

    def _start_client(self, words: list[str]) -> None:
        program, *rest = words
        if program not in self.files or rest[:5] != ["-c", "0x1", "-n", "4", "--"]:
            return
        shared = self.metadata[4:].decode().split(",")
        names = rest[6::2]
        if set(rest[5::2]) != {"-p"} or not set(names) <= set(shared):
            return
        self.client = True
        for index, name in enumerate(names):
            port = int(name.removeprefix("port"))
            mac = f"02:00:00:00:00:0{index}"
            self.interfaces[f"vEth_{name}"] = Interface(port, mac, True)

    def _pgrep(self, words: list[str]) -> str:
        if not self.client or "kni_client dies" in self.broken:
            raise Failed("")
        return "1234\n"

    def _dmesg(self, words: list[str]) -> str:
        log = list(self.log)
        if "metadata not found" in self.broken:
            log = [line for line in log if "found" not in line]
        if "metadata of one port" in self.broken:
            log = [line for line in log if "found" not in line] + ["MEMNIC: new vNIC device found"]
        if "driver not loaded" in self.broken:
            log = [line for line in log if "Loaded" not in line]
        return "".join(f"[    1.000000] {line}\n" for line in log)

    # --- net-tools ---

    def _ls(self, words: list[str]) -> str:
        return "".join(f"{name}\n" for name in sorted(["lo", *self.interfaces]))

    def _ifconfig(self, words: list[str]) -> str:
        match words:
            case ["-a"]:
                return self._shown()
            case [name, "hw", "ether", mac] if name in self.interfaces:
                if self.interfaces[name].settable:
                    self.interfaces[name].mac = mac
            case [name, address, "up"] if name in self.interfaces:
                self._up(name, address)
            case _:
                raise Failed(f"{words[0]}: ERROR while getting interface flags: No such device")
        return ""

    def _up(self, name: str, address: str) -> None:
        port = self.interfaces[name]
        if name.startswith("vEth") and not self.kni_found:
            self.panicked = True
            raise Failed("Kernel panic")
        port.up, port.network = True, ipaddress.IPv4Interface(address)
        for number, region in self.regions:
            if number == port.port:  # the driver asks for a reset, which the vSwitch answers
                region[8:12] = bytes([1, 0, 0, 0])

    def _shown(self) -> str:
        text = "lo        Link encap:Local Loopback  \n          UP LOOPBACK RUNNING  MTU:16436\n\n"
        for name, port in self.interfaces.items():
            if "interface gone" in self.broken:
                continue
            mac = "02:00:00:00:00:ff" if "MAC address not set" in self.broken else port.mac
            flags = "UP " if port.up and "interface down" not in self.broken else ""
            flags += "BROADCAST "
            flags += "RUNNING " if "interface without carrier" not in self.broken else ""
            text += f"{name:<9} Link encap:Ethernet  HWaddr {mac.upper()}  \n"
            text += f"          {flags}MULTICAST  MTU:1500  Metric:1\n\n"
        return text

    def _sysctl(self, words: list[str]) -> str:
        if words[0] != "-w":
            for name in ("not forwarding", "paths filtered"):
                if name in self.broken:
                    knob = "ip_forward" if name == "not forwarding" else "conf.all.rp_filter"
                    self.knobs[f"net.ipv4.{knob}"] = "0" if knob == "ip_forward" else "1"
            return "".join(f"{name} = {self.knobs.get(name, _default(name))}\n" for name in words)
        name, _, value = words[1].partition("=")
        known = ["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"]
        known += [f"net.ipv4.conf.{interface}.rp_filter" for interface in self.interfaces]
        if name not in known:
            raise Failed(f"sysctl: cannot stat /proc/sys/{name}", 255)
        self.knobs[name] = value
        return f"{name} = {value}\n"

    def _route(self, words: list[str]) -> str:
        match words:
            case ["-n"]:
                return self._route_table()
            case ["add", "default", "gw", gateway, name]:
                network = ipaddress.IPv4Network("0.0.0.0/0")
            case ["add", "-net", target, "gw", gateway, name]:
                network = ipaddress.IPv4Network(target)
            case _:
                raise Failed("Usage: inet_route [-vF] del {-host|-net} Target", 4)
        port = self.interfaces.get(name)
        on_link = port and port.network and ipaddress.ip_address(gateway) in port.network.network
        if not on_link:
            raise Failed("SIOCADDRT: Network is unreachable", 7)
        self.routes.append((network, gateway, name))
        return ""

    def _route_table(self) -> str:
        text = "Kernel IP routing table\nDestination Gateway Genmask Flags Metric Ref Use Iface\n"
        routes = self.routes[:-1] if "route gone" in self.broken else self.routes
        for network, gateway, name in routes:
            gateway = "3.3.3.9" if "another gateway" in self.broken else gateway
            text += f"{network.network_address} {gateway} {network.netmask} UG 0 0 0 {name}\n"
        return text

    def _arp(self, words: list[str]) -> str:
        match words:
            case ["-n"]:
                text = "Address HWtype HWaddress Flags Mask Iface\n"
                for address, (mac, name) in self.neighbours.items():
                    mac = "02:00:00:00:00:fe" if "gateway's MAC unknown" in self.broken else mac
                    text += f"{address} ether {mac} CM {name}\n"
                return text
            case ["-s", address, mac]:
                for name, port in self.interfaces.items():
                    if port.network and ipaddress.ip_address(address) in port.network.network:
                        self.neighbours[address] = (mac, name)
                        return ""
        raise Failed("SIOCSARP: Network is unreachable", 255)

    def _cat(self, words: list[str]) -> str:
        text = ""
        for path in words:
            if found := re.fullmatch(r"/sys/class/net/(\w+)/statistics/(\w+)", path):
                port = self.interfaces[found[1]]
                counts = {"rx_packets": port.rx, "tx_packets": port.tx}
                text += f"{counts.get(found[2], 0)}\n"
            elif path == "/proc/net/snmp":
                names = ("InHdrErrors", "InDelivers", "OutNoRoutes")
                text += f"Ip: {' '.join(names)}\n"
                text += f"Ip: {' '.join(str(self.snmp.get(name, 0)) for name in names)}\n"
            elif path != "/proc/net/netstat":
                raise Failed(f"cat: {path}: No such file or directory")
        return text

    # --- frames ---

    def receive(self, number: int, frame: bytes) -> list[tuple[int, bytes]]:
        """What the kernel sends for a frame that came in by a port of the vSwitch."""
        name = next((n for n, port in self.interfaces.items() if port.port == number), "")
        port = self.interfaces.get(name)
        if port is None or not port.up:
            return []
        port.rx += 1
        packet = Ether(frame)
        to_me = packet.dst == port.mac.lower()
        if (not to_me and "promiscuous" not in self.broken) or IP not in packet:
            return []
        if self.knobs.get("net.ipv4.ip_forward") != "1" or self._filtered(name):
            return []
        if packet[IP].ttl <= 1 and "expired frames routed" not in self.broken:
            self.snmp["InHdrErrors"] = self.snmp.get("InHdrErrors", 0) + 1
            return []
        target = ipaddress.ip_address(packet[IP].dst)
        routes = [route for route in self.routes if target in route[0]]
        if not routes:
            self.snmp["OutNoRoutes"] = self.snmp.get("OutNoRoutes", 0) + 1
            return []
        _, gateway, leaves = max(routes, key=lambda route: route[0].prefixlen)
        if gateway not in self.neighbours:
            return []
        out = self.interfaces[leaves]
        out.tx += 1
        return [(out.port, sent) for sent in self._sent(packet, out, self.neighbours[gateway][0])]

    def _filtered(self, name: str) -> bool:
        knobs = ("all", name)
        return any(self.knobs.get(f"net.ipv4.conf.{knob}.rp_filter", "1") != "0" for knob in knobs)

    def _sent(self, packet: Ether, out: Interface, mac: str) -> list[bytes]:
        packet = packet.copy()
        if "source MAC kept" not in self.broken:
            packet.src = out.mac
        packet.dst = mac if "destination MAC kept" not in self.broken else packet.dst
        if "time to live kept" not in self.broken:
            packet[IP].ttl = max(packet[IP].ttl - 1, 0)
        if "checksum kept" not in self.broken:
            packet[IP].chksum = None
        data = bytearray(bytes(packet))
        if "payload changed" in self.broken:
            data[-1] ^= 1
        if "frames lost" in self.broken and packet[IP].id % 7 == 0:
            return []
        return [bytes(data)] * (2 if "frames doubled" in self.broken else 1)


def _default(knob: str) -> str:
    return "1" if knob.endswith("rp_filter") else "0"
