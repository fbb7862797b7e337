#!/usr/bin/env bash
# The memif chain by hand, without any of this package: a testpmd that serves, one that connects,
# and one more as generator. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_memif.sh KERNEL INITRAMFS DIRECTORY (there is no guest: the first two are not used)
set -euo pipefail
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/$3,socket-abstract=no"; }
lcores="--lcores=0@(0,1),1@(0,1)"

mkfifo host.in peer.in generator.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix bare-host \
    "$(memif 0 server memif0)" "$(memif 1 server memif1)" \
    "$(memif 2 server server0)" "$(memif 3 server server1)" \
    -- -i --forward-mode=io --portlist=0,2,3,1 --total-num-mbufs=16384 <host.in >host.out 2>&1 &
exec 3>host.in
until_seen 'testpmd>' host.out
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
    "$(memif 0 client memif0)" "$(memif 1 client memif1)" \
    -- -i --forward-mode=rxonly --total-num-mbufs=4096 <generator.in >generator.out 2>&1 &
exec 4>generator.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 256 --file-prefix bare-peer \
    "$(memif 0 client server0)" "$(memif 1 client server1)" \
    -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=16384 \
    <peer.in >peer.out 2>&1 &
exec 5>peer.in
until_seen 'testpmd>' peer.out
echo start >&5
echo start >&3
until_seen 'testpmd>' generator.out
# A link is up a moment after the prompt: frames before that are lost.
until grep -q 'RX-packets: [1-9]' generator.out; do
    printf '%s\n' stop 'start tx_first' 'show port stats all' >&4
    sleep 0.02
done
