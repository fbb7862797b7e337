#!/usr/bin/env bash
# A Phy-VM-Phy whose guest's kernel routes, by hand, without any of this package: the same
# programs in the same order, and a third testpmd as generator. Ends at the first frame
# routed. `bring_up.py` times it.
# Usage: bare_phy_vm_phy.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
kernel=$1 initramfs=$2
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/memif$1,socket-abstract=no"; }
lcores="--lcores=0@(0,1),1@(0,1)"

mkfifo host.in generator.in shell.in shell.out testpmd.in testpmd.out
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix bare-host \
    "$(memif 0 server)" "$(memif 1 server)" \
    "--vdev=net_vhost0,iface=$PWD/vhost0,client=0" "--vdev=net_vhost1,iface=$PWD/vhost1,client=0" \
    -- -i --forward-mode=io --portlist=0,2,1,3 --total-num-mbufs=16384 <host.in >host.out 2>&1 &
exec 3>host.in
until_seen 'testpmd>' host.out
# What it sends from its port 1 is for nobody: frames are to come back there.
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
    "$(memif 0 client)" "$(memif 1 client)" \
    -- -i --forward-mode=rxonly --total-num-mbufs=4096 --tx-ip=1.1.0.1,6.6.0.1 \
    --eth-peer=0,52:54:00:02:d9:01 --eth-peer=1,00:00:5e:00:53:ff \
    <generator.in >generator.out 2>&1 &
exec 4>generator.in

virtio() {
    echo "-chardev socket,id=c$1,path=$PWD/vhost$1 -netdev vhost-user,id=n$1,chardev=c$1" \
        "-device virtio-net-pci,netdev=n$1,mac=52:54:00:02:d9:0$(($1 + 1)),addr=0x1$1"
}
port() { echo "-chardev pipe,id=$1,path=$1 -device virtserialport,chardev=$1,name=vswitch.$1"; }
# shellcheck disable=SC2046 # the words are options
qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,memory-backend=memory -accel tcg -cpu max -smp 2 -m 1024 \
    -object memory-backend-memfd,id=memory,size=1024M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
    -kernel "$kernel" -initrd "$initramfs" \
    -append "console=ttyS0 quiet vswitch.ports= vswitch.hugepages=0" \
    $(virtio 0) $(virtio 1) -device virtio-serial-pci $(port shell) $(port testpmd) &
exec 5>shell.in 6<>shell.out
cat <&6 >shell.log &
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
until_seen '^routes' shell.log
echo start >&3
until_seen 'testpmd>' generator.out
echo 'start tx_first' >&4
until grep -q 'RX-packets: [1-9]' generator.out; do
    echo 'show port stats all' >&4
    sleep 0.02
done
