#!/usr/bin/env bash
# Both places of a live migration and the guest at the first, by hand, without any of this
# package, and a third testpmd as generator. Ends at the first frame back. `bring_up` times it.
# Usage: bare_live_migration.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
kernel=$1 initramfs=$2
cd "$3"
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/$3memif$1,socket-abstract=no"; }
lcores="--lcores=0@(0,1),1@(0,1)"

mkfifo a.in b.in generator.in shell.in shell.out testpmd.in testpmd.out
place() {
    stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix "bare-$1" \
        "$(memif 0 server "$1")" "$(memif 1 server "$1")" \
        "--vdev=net_vhost0,iface=$PWD/$1vhost0,client=0" \
        "--vdev=net_vhost1,iface=$PWD/$1vhost1,client=0" \
        -- -i --forward-mode=io --portlist=0,2,1,3 --total-num-mbufs=16384 <"$1.in" >"$1.out" 2>&1 &
}
place a
exec 3>a.in
until_seen 'testpmd>' a.out
place b
exec 9>b.in
until_seen 'testpmd>' b.out
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
    "$(memif 0 client a)" "$(memif 1 client a)" \
    -- -i --forward-mode=rxonly --total-num-mbufs=4096 <generator.in >generator.out 2>&1 &
exec 4>generator.in

virtio() {
    echo "-chardev socket,id=c$1,path=$PWD/avhost$1 -netdev vhost-user,id=n$1,chardev=c$1" \
        "-device virtio-net-pci,netdev=n$1,mac=52:54:00:02:d9:0$1,addr=0x1$1"
}
port() { echo "-chardev pipe,id=$1,path=$1 -device virtserialport,chardev=$1,name=vswitch.$1"; }
# shellcheck disable=SC2046 # the words are options
qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,memory-backend=memory -accel tcg -cpu max -smp 2 -m 1024 \
    -object memory-backend-memfd,id=memory,size=1024M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
    -kernel "$kernel" -initrd "$initramfs" \
    -append "console=ttyS0 quiet vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160" \
    $(virtio 0) $(virtio 1) -device virtio-serial-pci $(port shell) $(port testpmd) &
exec 5>shell.in 6<>shell.out 7>testpmd.in 8<>testpmd.out
cat <&8 >guest.out &
cat <&6 >shell.log &
echo 'stdbuf -oL dpdk-testpmd --lcores 0@0,1@1 -n 1 -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=4096 --rxd=256 --txd=256 0<>/dev/vswitch.testpmd >&0 2>&1 &' >&5
until_seen 'testpmd>' guest.out
echo start >&7
echo start >&3
echo start >&9
until_seen 'testpmd>' generator.out
echo 'start tx_first' >&4
until grep -q 'RX-packets: [1-9]' generator.out; do
    echo 'show port stats all' >&4
    sleep 0.02
done
