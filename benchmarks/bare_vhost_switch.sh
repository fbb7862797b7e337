#!/usr/bin/env bash
# vhost-switch by hand, without any of this package: the same programs in the same order, on the
# DUT itself. Ends when both addresses of the guest are learned. For the virtual DUT:
#   ssh -F /var/cache/pytest-vswitch/vlab/labs/vlab/ssh_config vlab \
#       bash -s PROGRAM 0000:01:00.0 <benchmarks/bare_vhost_switch.sh
# PROGRAM: dpdk-vhost, which a run of suites/vhost_switch leaves in /var/cache/pytest-vswitch.
# Usage: bare_vhost_switch.sh PROGRAM BDF
set -euo pipefail
program=$1 bdf=$2
directory=$(mktemp -d)
cd "$directory"

device=/sys/bus/pci/devices/$bdf
pages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
had=$(cat $pages)
bind() { # to $1, or to whatever takes it
    echo "$bdf" >"$device/driver/unbind"
    echo "$1" >"$device/driver_override"
    echo "$bdf" >/sys/bus/pci/drivers_probe
}
cleanup() {
    # shellcheck disable=SC2046 # one word for each process
    kill -KILL $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
    bind "" || true
    echo "$had" >$pages
    rm -rf "$directory" /var/run/dpdk/bare-switch /var/run/dpdk/bare-guest
}
trap cleanup EXIT
until_seen() { until [ "$(grep -c "$1" "$2" 2>/dev/null)" -ge "$3" ]; do sleep 0.05; done; }

began=$(date +%s.%N)
modprobe vfio-pci
echo $((had + 320)) >$pages
bind vfio-pci
stdbuf -oL "$program" --lcores 0@1,1@2 -n 1 --file-prefix bare-switch -m 512 --in-memory -a "$bdf" \
    -- -p 0x1 --socket-file "$PWD/vhost0" --socket-file "$PWD/vhost1" --stats 1 \
    </dev/null >switch.out 2>&1 &
until_seen 'binding succeeded' switch.out 2
mkfifo guest.in
stdbuf -oL dpdk-testpmd --lcores 0@1,1@3 -n 1 --file-prefix bare-guest -m 128 --in-memory \
    --single-file-segments --no-pci \
    --vdev "net_virtio_user0,path=$PWD/vhost0,mac=52:54:00:02:d9:01" \
    --vdev "net_virtio_user1,path=$PWD/vhost1,mac=52:54:00:02:d9:02" \
    -- -i --forward-mode=macswap --total-num-mbufs=4096 <guest.in >guest.out 2>&1 &
exec 3>guest.in
until_seen 'testpmd>' guest.out 1
echo 'start tx_first' >&3
until_seen 'registered' switch.out 2
ended=$(date +%s.%N)
echo "up after $(awk "BEGIN {printf \"%.1f\", $ended - $began}") s"
