#!/usr/bin/env bash
# A chain of testpmd and guests by hand, without any of this package: the same programs in the
# same order, and one more testpmd as generator. Ends at the first frame back. One guest is a
# PVP, two are a PVVP, none is a P2P. `bring_up.py` times it.
# Usage: bare_pvp.sh KERNEL INITRAMFS DIRECTORY [GUESTS]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
kernel=$1 initramfs=$2 guests=${4:-1}
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

vhosts=() portlist=0
for ((port = 0; port < 2 * guests; port++)); do
    vhosts+=("$(vhost $port)")
    portlist+=,$((port + 2))
done
vswitch "$portlist,1" "${vhosts[@]}"
generator
for ((number = 0; number < guests; number++)); do
    first=$((2 * number)) second=$((2 * number + 1))
    # shellcheck disable=SC2046 # the words are options
    guest "$kernel" "$initramfs" "guest$number" "$testpmd_parameters" \
        $(virtio $first vhost$first) $(virtio $second vhost$second)
    guest_testpmd "guest$number.out"
done
echo start >&3
first_frame
