#!/usr/bin/env bash
# A PVP behind Open vSwitch with DPDK by hand, without any of this package: the same programs in
# the same order, and a testpmd as generator, with as many queues as the switch has transmit
# queues. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_ovs.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
kernel=$1 initramfs=$2
cd "$3"
trap '{ kill -KILL $(jobs -p); wait; ip link delete dev br; ip link delete dev ovs-netdev; } 2>/dev/null' EXIT

devargs() { memif "$1" server | cut -d= -f2-; }
vsctl() { ovs-vsctl "--db=unix:$PWD/db.sock" --timeout=60 "$@"; }

ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server conf.db "--remote=punix:$PWD/db.sock" "--unixctl=$PWD/ovsdb.ctl" \
    -vconsole:info -vsyslog:off -vfile:off >ovsdb.log 2>&1 &
vsctl --retry --no-wait init -- set Open_vSwitch . other_config:dpdk-init=true \
    'other_config:dpdk-extra="-m 512 --file-prefix bare-ovs --no-pci"' \
    other_config:dpdk-socket-limit=512 other_config:pmd-cpu-mask=0x2
OVS_RUNDIR=$PWD /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk "unix:$PWD/db.sock" \
    "--unixctl=$PWD/vswitchd.ctl" -vconsole:info -vsyslog:off -vfile:off >vswitchd.log 2>&1 &
port() { echo "-- add-port br $1 -- set Interface $1 type=$2 ofport_request=$3"; }
# shellcheck disable=SC2046 # the words are arguments
vsctl add-br br -- set Bridge br datapath_type=netdev fail_mode=secure \
    $(port memif0 dpdk 1) "options:dpdk-devargs=\"$(devargs 0)\"" options:n_rxq=2 \
    $(port memif1 dpdk 2) "options:dpdk-devargs=\"$(devargs 1)\"" options:n_rxq=2 \
    $(port vhost0 dpdkvhostuserclient 3) "options:vhost-server-path=$PWD/vhost0" \
    $(port vhost1 dpdkvhostuserclient 4) "options:vhost-server-path=$PWD/vhost1"

generator --rxq=2 --txq=2
# shellcheck disable=SC2046 # the words are options
guest "$kernel" "$initramfs" guest "$testpmd_parameters" \
    $(virtio 0 vhost0 server=on) $(virtio 1 vhost1 server=on)
guest_testpmd guest.out
vsctl wait-until Interface vhost0 link_state=up -- wait-until Interface vhost1 link_state=up
ovs-ofctl del-flows "$PWD/br.mgmt"
printf 'in_port=%s,actions=output:%s\n' 1 3 3 1 2 4 4 2 | ovs-ofctl add-flows "$PWD/br.mgmt" -
first_frame
