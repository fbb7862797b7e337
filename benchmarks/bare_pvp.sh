#!/usr/bin/env bash
# A chain of testpmd and guests by hand, without any of this package: the same programs in the
# same order, and one more testpmd as generator. Ends at the first frame back. One guest is a
# PVP, two are a PVVP, none is a P2P. `bring_up.py` times it.
# Usage: bare_pvp.sh KERNEL INITRAMFS DIRECTORY [GUESTS]
set -euo pipefail
kernel=$1 initramfs=$2 guests=${4:-1}
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/memif$1,socket-abstract=no"; }
lcores="--lcores=0@(0,1),1@(0,1)"

vhosts=() portlist=0
for ((port = 0; port < 2 * guests; port++)); do
    vhosts+=("--vdev=net_vhost$port,iface=$PWD/vhost$port,client=0")
    portlist+=,$((port + 2))
done
mkfifo host.in generator.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix bare-host \
    "$(memif 0 server)" "$(memif 1 server)" "${vhosts[@]}" \
    -- -i --forward-mode=io "--portlist=$portlist,1" --total-num-mbufs=16384 \
    <host.in >host.out 2>&1 &
exec 3>host.in
until_seen 'testpmd>' host.out
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
    "$(memif 0 client)" "$(memif 1 client)" \
    -- -i --forward-mode=rxonly --total-num-mbufs=4096 <generator.in >generator.out 2>&1 &
exec 4>generator.in

virtio() {
    echo "-chardev socket,id=c$1,path=$PWD/vhost$1 -netdev vhost-user,id=n$1,chardev=c$1" \
        "-device virtio-net-pci,netdev=n$1,mac=52:54:00:02:d9:0$1,addr=0x1$(($1 % 2))"
}
port() { echo "-chardev pipe,id=$1,path=$2-$1 -device virtserialport,chardev=$1,name=vswitch.$1"; }
for ((guest = 0; guest < guests; guest++)); do
    mkfifo "$guest-shell.in" "$guest-shell.out" "$guest-testpmd.in" "$guest-testpmd.out"
    # shellcheck disable=SC2046 # the words are options
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -machine q35,memory-backend=memory -accel tcg -cpu max -smp 2 -m 1024 \
        -object memory-backend-memfd,id=memory,size=1024M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
        -kernel "$kernel" -initrd "$initramfs" \
        -append "console=ttyS0 quiet vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160" \
        $(virtio $((2 * guest))) $(virtio $((2 * guest + 1))) -device virtio-serial-pci \
        $(port shell $guest) $(port testpmd $guest) &
    exec 5>"$guest-shell.in" 6<>"$guest-shell.out" 7>"$guest-testpmd.in" 8<>"$guest-testpmd.out"
    cat <&8 >guest.out &
    cat <&6 >shell.log &
    echo 'stdbuf -oL dpdk-testpmd --lcores 0@0,1@1 -n 1 -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=4096 --rxd=256 --txd=256 0<>/dev/vswitch.testpmd >&0 2>&1 &' >&5
    until_seen 'testpmd>' guest.out
    echo start >&7
done
echo start >&3
until_seen 'testpmd>' generator.out
echo 'start tx_first' >&4
# The first burst is lost if a link is not up yet.
until grep -q 'RX-packets: [1-9]' generator.out; do
    printf '%s\n' stop 'start tx_first' 'show port stats all' >&4
    sleep 0.05
done
