# For the scripts `bare_*.sh`: what several of them start, in the directory they are in.

lcores="--lcores=0@(0,1),1@(0,1)"

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }

memif() { # PORT server|client [SOCKET]
    echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/${3:-memif$1},socket-abstract=no"
}

# A testpmd as vSwitch between two memif ports and what is named; told by `>&3`.
vswitch() { # PORTLIST VDEV...
    local portlist=$1
    shift
    mkfifo host.in
    "${inside[@]}" stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 \
        --file-prefix bare-host "$(memif 0 server)" "$(memif 1 server)" "$@" \
        -- -i --forward-mode=io "--portlist=$portlist" --total-num-mbufs=16384 \
        <host.in >host.out 2>&1 &
    exec 3>host.in
    until_seen 'testpmd>' host.out
}
inside=(env) # or a command that starts the vSwitch somewhere else

vhost() { echo "--vdev=net_vhost$1,iface=$PWD/vhost$1,client=0"; } # PORT

# A testpmd as generator at the other ends of memif0 and memif1; told by `>&4`.
generator() { # [TESTPMD-OPTION...]
    mkfifo generator.in
    stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
        "$(memif 0 client)" "$(memif 1 client)" \
        -- -i --forward-mode=rxonly --total-num-mbufs=8192 "$@" <generator.in >generator.out 2>&1 &
    exec 4>generator.in
}

# Until the generator has a frame back. A burst is lost if a link is not up yet.
first_frame() {
    until_seen 'testpmd>' generator.out
    until grep -q 'RX-packets: [1-9]' generator.out; do
        printf '%s\n' stop 'start tx_first' 'show port stats all' >&4
        sleep 0.02
    done
}

virtio() { # PORT SOCKET [server=on]
    echo "-chardev socket,id=c$1,path=$PWD/$2${3:+,$3} -netdev vhost-user,id=n$1,chardev=c$1" \
        "-device virtio-net-pci,netdev=n$1,mac=52:54:00:02:d9:0$1,addr=0x1$(($1 % 2))"
}

# A guest under QEMU whose shell is told by `>&5`; what a program in it says is in NAME.out.
guest() { # KERNEL INITRAMFS NAME KERNEL-PARAMETERS QEMU-OPTION...
    local kernel=$1 initramfs=$2 name=$3 parameters=$4
    shift 4
    mkfifo "$name"-{shell,testpmd}.{in,out}
    # shellcheck disable=SC2046 # the words are options
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -machine q35,memory-backend=memory -accel tcg -cpu max -smp 2 -m 1024 \
        -object memory-backend-memfd,id=memory,size=1024M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
        -kernel "$kernel" -initrd "$initramfs" -append "console=ttyS0 quiet $parameters" \
        "$@" -device virtio-serial-pci $(console "$name" shell) $(console "$name" testpmd) &
    exec 5>"$name-shell.in" 6<>"$name-shell.out" 7>"$name-testpmd.in" 8<>"$name-testpmd.out"
    cat <&8 >"$name.out" &
    cat <&6 >"$name.log" &
}

console() { # GUEST NAME
    echo "-chardev pipe,id=$2,path=$1-$2 -device virtserialport,chardev=$2,name=vswitch.$2"
}

# What gives a guest's testpmd its two ports and its hugepages.
# shellcheck disable=SC2034 # for the scripts
testpmd_parameters="vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160"

# testpmd in the guest that was started last, forwarding; told by `>&7`.
guest_testpmd() { # OUTPUT
    echo 'stdbuf -oL dpdk-testpmd --lcores 0@0,1@1 -n 1 -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=4096 --rxd=256 --txd=256 0<>/dev/vswitch.testpmd >&0 2>&1 &' >&5
    until_seen 'testpmd>' "$1"
    # At its start a testpmd drops what has come before.
    echo start >&7
    until_seen 'packets/burst' "$1"
}
