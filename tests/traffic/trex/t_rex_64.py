"""Stands in for the program `t-rex-64`: reads its configuration, serves as it says.

Words and keys that it does not know are refused, as by the real one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.traffic.trex.emulated_server import EmulatedServer

KEYS = {
    *("version", "port_limit", "interfaces", "zmq_rpc_port", "zmq_pub_port", "prefix"),
    *("limit_memory", "port_bandwidth_gb", "port_info", "low_end", "low_end_core", "c"),
    "platform",
}


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-i", action="store_true", required=True)
    parser.add_argument("--cfg", type=Path, required=True)
    parser.add_argument("--iom", type=int, choices=(0, 1, 2))
    parser.add_argument("--no-scapy-server", action="store_true")
    parser.add_argument("--software", action="store_true")
    arguments = parser.parse_args()
    (configuration,) = YAML(typ="safe").load(arguments.cfg.read_text())
    if unknown := set(configuration) - KEYS:
        sys.exit(f"unknown keys {sorted(unknown)}")
    if len(configuration["interfaces"]) != configuration["port_limit"]:
        sys.exit("port_limit is not the number of interfaces")
    server = EmulatedServer(ports=configuration["port_limit"])
    server.bind(configuration["zmq_rpc_port"], configuration["zmq_pub_port"])
    with server:
        print("zmq publisher at: tcp://*:4500", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
