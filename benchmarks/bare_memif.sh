#!/usr/bin/env bash
# The memif chain by hand, without any of this package: a testpmd that serves, one that connects,
# and one more as generator. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_memif.sh KERNEL INITRAMFS DIRECTORY (there is no guest: the first two are not used)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

vswitch 0,2,3,1 "$(memif 2 server server0)" "$(memif 3 server server1)"
generator
mkfifo peer.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 256 --file-prefix bare-peer \
    "$(memif 0 client server0)" "$(memif 1 client server1)" \
    -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=16384 \
    <peer.in >peer.out 2>&1 &
exec 5>peer.in
until_seen 'testpmd>' peer.out
echo start >&5
echo start >&3
first_frame
