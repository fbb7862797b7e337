#!/usr/bin/env bash
# The exception path through the TAP or the af_packet PMD by hand, without any of this package:
# the same namespaces, interfaces and programs in the same order, and one more testpmd as
# generator. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_exception_path.sh KERNEL INITRAMFS DIRECTORY tap|af_packet
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
way=$4
cd "$3"
run=bare-$$
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null
    for side in kernel pmd; do ip netns del "$run-$side" 2>/dev/null || true; done' EXIT

for side in kernel pmd; do
    ip netns add "$run-$side"
    ip -n "$run-$side" link set lo up
    echo 1 | ip netns exec "$run-$side" tee /proc/sys/net/ipv6/conf/default/disable_ipv6 >tee.out
done
if [[ $way = tap ]]; then
    # shellcheck disable=SC2054 # the commas are DPDK's
    inner=tap vdevs=(--vdev=net_tap0,iface=tap0 --vdev=net_tap1,iface=tap1)
else
    inner=veth
    for index in 0 1; do
        ip -n "$run-pmd" link add "port$index" type veth peer name "veth$index"
        ip -n "$run-pmd" link set "port$index" up
        vdevs+=("--vdev=net_af_packet$index,iface=port$index")
    done
fi
inside=(ip netns exec "$run-pmd")
vswitch 0,2,1,3 "${vdevs[@]}"
generator --tx-ip=198.18.0.1,198.19.0.1 \
    --eth-peer=0,52:54:00:07:07:01 --eth-peer=1,52:54:00:07:07:02
for index in 0 1; do
    ip -n "$run-pmd" link set "$inner$index" netns "$run-kernel"
    ip -n "$run-kernel" -batch - <<EOF
link set dev $inner$index address 52:54:00:07:07:0$((index + 1))
addr add 10.7.$index.1/24 dev $inner$index
link set dev $inner$index up
route add 198.$((18 + index)).0.0/16 via 10.7.$index.2 dev $inner$index
neigh replace 10.7.$index.2 lladdr 02:00:c6:12:00:0$((index + 1)) nud permanent dev $inner$index
EOF
    echo 0 | ip netns exec "$run-kernel" tee "/proc/sys/net/ipv4/conf/$inner$index/rp_filter" >tee.out
done
echo 0 | ip netns exec "$run-kernel" tee /proc/sys/net/ipv4/conf/all/rp_filter >tee.out
echo 1 | ip netns exec "$run-kernel" tee /proc/sys/net/ipv4/ip_forward >tee.out
echo start >&3
first_frame
