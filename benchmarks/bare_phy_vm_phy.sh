#!/usr/bin/env bash
# A Phy-VM-Phy whose guest's kernel routes, by hand, without any of this package: the same
# programs in the same order, and a third testpmd as generator. Ends at the first frame
# routed. `bring_up.py` times it.
# Usage: bare_phy_vm_phy.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
kernel=$1 initramfs=$2
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

vswitch 0,2,1,3 "$(vhost 0)" "$(vhost 1)"
# What it sends from its port 1 is for nobody: frames are to come back there.
generator --tx-ip=1.1.0.1,6.6.0.1 --eth-peer=0,52:54:00:02:d9:00 --eth-peer=1,00:00:5e:00:53:ff
# shellcheck disable=SC2046 # the words are options
guest "$kernel" "$initramfs" guest "vswitch.ports= vswitch.hugepages=0" \
    $(virtio 0 vhost0) $(virtio 1 vhost1)
cat >&5 <<'EOF'
for port in 0000:00:10.0 0000:00:11.0; do echo 0 > /sys/bus/pci/devices/$port/msi_bus; done
for conf in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $conf; done
for module in /modules/net/*.ko; do insmod $module; done
/usr/bin/ip addr add 2.2.2.1/24 dev eth0
/usr/bin/ip link set eth0 up
/usr/bin/ip addr add 3.3.3.1/24 dev eth1
/usr/bin/ip link set eth1 up
echo 1 > /proc/sys/net/ipv4/ip_forward
for conf in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $conf; done
/usr/bin/ip route add 5.5.0.0/16 via 2.2.2.2 dev eth0
/usr/bin/ip route add default via 3.3.3.2 dev eth1
/usr/bin/ip neigh replace 2.2.2.2 lladdr de:ad:be:ef:ca:fd nud permanent dev eth0
/usr/bin/ip neigh replace 3.3.3.2 lladdr de:ad:be:ef:ca:fe nud permanent dev eth1
for irq in $(grep -E 'virtio[12]' /proc/interrupts | cut -d: -f1); do
    echo 1 > /proc/irq/$irq/smp_affinity_list
done
echo routes
EOF
until_seen '^routes' guest.log
echo start >&3
first_frame
