"""A VPP that forwards nothing: it keeps what it is told, and prints it as VPP does.

Run as `vpp` it serves the socket of its `cli-listen`; run as `vppctl` it asks that socket. A
file `faults` beside the programs, JSON, breaks it: by the beginning of a command, what it says
in place of obeying; `start` ends it at once, with those words. A file `counters`, JSON, is what
`show interface` and `show errors` count: {"interfaces": {name: {counter: count}}, "errors":
[[count, node, reason]], "runtime": [[node, calls, frames]]}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def told(name: str) -> dict[str, Any]:
    path = HERE / name
    return dict(json.loads(path.read_text())) if path.exists() else {}


class State:
    """What it was told, in order."""

    def __init__(self) -> None:
        self.sockets: dict[int, str] = {}
        self.up: dict[str, bool] = {}
        self.connected: dict[str, str] = {}
        self.listening: list[socket.socket] = []

    def obey(self, command: str) -> str:
        for start, words in told("faults").items():
            if command.startswith(start):
                return str(words)
        match command.split():
            case ["show", "version"]:
                return "vpp v25.10-release built by root on a build host"
            case ["show", "interface"]:
                return self.interfaces()
            case ["show", "errors"]:
                rows = told("counters").get("errors", [])
                return "\n".join(
                    ["   Count                  Node              Reason               Severity "]
                    + [
                        f"{count:>10} {node:>24}    {reason:<30} error   "
                        for count, node, reason in rows
                    ]
                )
            case ["show", "runtime"]:
                return self.runtime()
            case ["create", "memif", "socket", "id", number, "filename", path]:
                if int(number) in self.sockets:
                    return "create memif socket: socket id already exists"
                self.sockets[int(number)] = path
                return ""
            case ["create", "interface", "memif", "id", number, "socket-id", sock, "master"]:
                if int(sock) not in self.sockets:
                    return "create interface memif: unknown socket id"
                return self.make(f"memif{sock}/{number}", "")
            case ["create", "vhost-user", "socket", path, "server"]:
                made = sum(name.startswith("Virtual") for name in self.up)
                name = f"VirtualEthernet0/0/{made}"
                self.listen(path, socket.SOCK_STREAM)
                return self.make(name, name)
            case ["set", "interface", "state", name, "up"]:
                return self.set_up(name)
            case ["set", "interface", "rx-mode", name, "polling"]:
                return "" if name in self.up else self.unknown(command, name)
            case ["set", "interface", "l2", "xconnect", enter, leave]:
                for name in (enter, leave):
                    if name not in self.up:
                        return self.unknown(command, name)
                self.connected[enter] = leave
                return ""
        return f"unknown input `{command}'"

    def make(self, name: str, answer: str) -> str:
        self.up[name] = False
        return answer

    def set_up(self, name: str) -> str:
        if name not in self.up:
            return self.unknown("set interface state", name)
        self.up[name] = True
        if name.startswith("memif"):
            self.listen(self.sockets[int(name[5:].partition("/")[0])], socket.SOCK_SEQPACKET)
        return ""

    def unknown(self, command: str, name: str) -> str:
        return f"{command.rpartition(' ')[0]}: unknown interface `{name}'"

    def listen(self, path: str, kind: socket.SocketKind) -> None:
        made = socket.socket(socket.AF_UNIX, kind)
        made.bind(path)
        made.listen()
        self.listening.append(made)

    def interfaces(self) -> str:
        counted = told("counters").get("interfaces", {})
        columns = {"Name": 34, "Idx": 8, "State": 7, "MTU (L3/IP4/IP6/MPLS)": 22, "Counter": 16}
        head = "".join(f"{name:^{width}}" for name, width in columns.items())
        lines = [f"{head}{'Count':>14}"]
        for index, (name, up) in enumerate({**self.up, "local0": False}.items()):
            state = "up" if up else "down"
            head = f"{name:<34}{index:^8}{state:^7}{'9000/0/0/0':^22}"
            rows = list(counted.get(name, {}).items()) or [("", "")]
            for row, (counter, count) in enumerate(rows):
                lines.append(f"{head if row == 0 else ' ' * 71}{counter:<16}{count:>14}".rstrip())
        return "\n".join(lines)

    def runtime(self) -> str:
        lines = ["Thread 0 vpp_main (lcore 0)", "Time 4.5, 10 sec internal node vector rate 0.00"]
        columns = {"Name": 31, "State": 15, "Calls": 15, "Vectors": 16, "Suspends": 16}
        head = "".join(f"{name:^{width}}" for name, width in columns.items())
        lines.append(f"{head}{'Clocks':>14}{'Vectors/Call':>16}")
        for node, calls, frames in told("counters").get("runtime", []):
            per_call = frames / calls if calls else 0
            lines.append(
                f"{node:<32}{'active':<12}{calls:>10}{frames:>16}{0:>16}{'1.34e2':>15}{per_call:>16.2f}"
            )
        lines.append(
            f"{'unix-epoll-input':<32}{'polling':<12}{77:>10}{0:>16}{0:>16}{'1.10e3':>15}{0:>16.2f}"
        )
        return "\n".join(lines)


def vpp(words: list[str]) -> int:
    if fault := told("faults").get("start"):
        print(fault)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    state = State()
    (HERE / "argv").write_text("\n".join(words))
    # With DPDK, interfaces of NICs are there from the start.
    for place, word in enumerate(words):
        if word == "dev" and words[place + 3] == "name":
            state.up[words[place + 4]] = False
    path = words[words.index("cli-listen") + 1]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()
    print("vpp ready", flush=True)
    while True:
        client, _ = server.accept()
        with client:
            command = client.recv(4096).decode()
            client.sendall(state.obey(command).encode().replace(b"\n", b"\r\n"))
            (HERE / "state").write_text(json.dumps({"up": state.up, "connected": state.connected}))


def vppctl(words: list[str]) -> int:
    assert words[0] == "-s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(words[1])
        except OSError as error:
            print(f"connect: {os.strerror(error.errno or 0)}")
            return 1
        client.sendall(" ".join(words[2:]).encode())
        while data := client.recv(4096):
            sys.stdout.write(data.decode())
    return 0


if __name__ == "__main__":
    programs = {"vpp": vpp, "vppctl": vppctl}
    sys.exit(programs[Path(sys.argv[0]).name](sys.argv[1:]))
