#!/usr/bin/env bash
# Both places of a live migration and the guest at the first, by hand, without any of this
# package, and a third testpmd as generator. Ends at the first frame back. `bring_up` times it.
# Usage: bare_live_migration.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
kernel=$1 initramfs=$2
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

vswitch 0,2,1,3 "$(vhost 0)" "$(vhost 1)"
mkfifo there.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix bare-there \
    "$(memif 0 server there0)" "$(memif 1 server there1)" \
    "--vdev=net_vhost0,iface=$PWD/vhost-there0,client=0" \
    "--vdev=net_vhost1,iface=$PWD/vhost-there1,client=0" \
    -- -i --forward-mode=io --portlist=0,2,1,3 --total-num-mbufs=16384 <there.in >there.out 2>&1 &
exec 9>there.in
until_seen 'testpmd>' there.out
generator
# shellcheck disable=SC2046 # the words are options
guest "$kernel" "$initramfs" guest "$testpmd_parameters" $(virtio 0 vhost0) $(virtio 1 vhost1)
guest_testpmd guest.out
echo start >&3
echo start >&9
first_frame
