#!/usr/bin/env bash
# A PVP behind Open vSwitch with DPDK by hand, without any of this package: the same programs in
# the same order, and a testpmd as generator, with as many queues as the switch has transmit
# queues. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_ovs.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
kernel=$1 initramfs=$2
cd "$3"
trap '{ kill -KILL $(jobs -p); wait; ip link delete dev br; ip link delete dev ovs-netdev; } 2>/dev/null' EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "net_memif$1,role=$2,id=0,socket=$PWD/memif$1,socket-abstract=no"; }
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
    $(port memif0 dpdk 1) "options:dpdk-devargs=\"$(memif 0 server)\"" options:n_rxq=2 \
    $(port memif1 dpdk 2) "options:dpdk-devargs=\"$(memif 1 server)\"" options:n_rxq=2 \
    $(port vhost0 dpdkvhostuserclient 3) "options:vhost-server-path=$PWD/vhost0" \
    $(port vhost1 dpdkvhostuserclient 4) "options:vhost-server-path=$PWD/vhost1"

mkfifo generator.in shell.in shell.out testpmd.in testpmd.out
stdbuf -oL dpdk-testpmd '--lcores=0@(0,1),1@(0,1)' -n 1 --no-pci --no-huge -m 128 \
    --file-prefix bare-generator "--vdev=$(memif 0 client)" "--vdev=$(memif 1 client)" \
    -- -i --forward-mode=rxonly --rxq=2 --txq=2 --total-num-mbufs=8192 \
    <generator.in >generator.out 2>&1 &
exec 4>generator.in

virtio() {
    echo "-chardev socket,id=c$1,path=$PWD/vhost$1,server=on" \
        "-netdev vhost-user,id=n$1,chardev=c$1" \
        "-device virtio-net-pci,netdev=n$1,mac=52:54:00:02:d9:0$1,addr=0x1$1"
}
console() { echo "-chardev pipe,id=$1,path=$1 -device virtserialport,chardev=$1,name=vswitch.$1"; }
# shellcheck disable=SC2046 # the words are options
qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,memory-backend=memory -accel tcg -cpu max -smp 2 -m 1024 \
    -object memory-backend-memfd,id=memory,size=1024M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
    -kernel "$kernel" -initrd "$initramfs" \
    -append "console=ttyS0 quiet vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160" \
    $(virtio 0) $(virtio 1) -device virtio-serial-pci $(console shell) $(console testpmd) &
exec 5>shell.in 6<>shell.out 7>testpmd.in 8<>testpmd.out
cat <&8 >guest.out &
cat <&6 >shell.log &
echo 'stdbuf -oL dpdk-testpmd --lcores 0@0,1@1 -n 1 -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=4096 --rxd=256 --txd=256 0<>/dev/vswitch.testpmd >&0 2>&1 &' >&5
until_seen 'testpmd>' guest.out
echo start >&7
vsctl wait-until Interface vhost0 link_state=up -- wait-until Interface vhost1 link_state=up
ovs-ofctl del-flows "$PWD/br.mgmt"
printf 'in_port=%s,actions=output:%s\n' 1 3 3 1 2 4 4 2 | ovs-ofctl add-flows "$PWD/br.mgmt" -
until_seen 'testpmd>' generator.out
echo 'start tx_first' >&4
until grep -q 'RX-packets: [1-9]' generator.out; do
    echo 'show port stats all' >&4
    sleep 0.02
done
