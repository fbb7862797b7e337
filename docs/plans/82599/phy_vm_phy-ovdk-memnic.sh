#!/usr/bin/env bash
# The topology phy_vm_phy on root@dut2, as `pytest suites/phy_vm_phy --dut 82599 --vswitch ovdk`
# wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-kmods-dkms genisoimage kmod qemu-utils
# - for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that poll
#   taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; `vswitch lab check`
#   says what is missing
# - memory for the pages of 2 MB that are taken below, not in pieces yet
# - the guest's image, /var/lib/images/fedora-20.qcow2: yours; see docs/guest.md
# - the Intel DPDK vSwitch, built in /opt/dpdk-ovs, and /opt/memnic, of which the guest builds its
#   driver: docs/ovdk.md
# - wire: x520_0, 0000:03:00.0 of root@dut2, to enp2s0f0 of root@gen2
# - wire: x520_1, 0000:03:00.1 of root@dut2, to enp2s0f1 of root@gen2
# - wire: x520_2, 0000:04:00.0 of root@dut2, to enp3s0f0 of root@gen2
# - wire: x520_3, 0000:04:00.1 of root@dut2, to enp3s0f1 of root@gen2
set -eEu
export LC_ALL=C.UTF-8
declare -A pids inputs from
run=/run/vswitch-plan

say() { echo "plan: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# quote NAME: the last that a program said
quote() { tail -n 15 "$run/$1.log" | sed 's/^/    /' >&2; }

# start NAME COMMAND...: a program in the background, in a session of its own, so that Ctrl-C
# is not for it. Its input is a pipe, its output a log; it is killed should this shell be.
start() {
    local name=$1 input
    shift
    mkfifo "$run/$name.in"
    exec {input}<>"$run/$name.in"
    : >"$run/$name.log"
    setsid setpriv --pdeathsig KILL -- "$@" <&"$input" >>"$run/$name.log" 2>&1 &
    pids[$name]=$! inputs[$name]=$input from[$name]=1
}

# connect NAME SOCKET: to a Unix socket that a program talks on, as `start`
connect() {
    start "$1" python3 -c '
import os, select, socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
while True:
    for ready in select.select([0, stream], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else stream.recv(65536)
        if not data:
            sys.exit()
        stream.sendall(data) if ready == 0 else os.write(1, data)
' "$2"
}

# tell NAME TEXT: types it
tell() {
    from[$1]=$(($(stat -c %s "$run/$1.log") + 1))
    printf '%s' "$2" >&"${inputs[$1]}"
}

# await NAME SECONDS WHAT REGEX: until that is among what it said since it was told something
await() {
    local name=$1 seconds=$2 what=$3 regex=$4 began=$SECONDS
    until tail -c "+${from[$name]}" "$run/$name.log" | tr -d '\r' | grep -Pzqa -e "$regex"; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null; then
            quote "$name"
            fail "$name ended before $what; above, the last that it said"
        elif ((SECONDS - began >= seconds)); then
            quote "$name"
            fail "$name: no $what within $seconds s; above, the last that it said"
        fi
        sleep 0.1
    done
}

# appears FILE NAME: waits until a program has made it
appears() {
    local began=$SECONDS
    until [[ -e $1 ]]; do
        if ! kill -0 "${pids[$2]}" 2>/dev/null || ((SECONDS - began >= 60)); then
            quote "$2"
            fail "$2 has not made $1; above, the last that it said"
        fi
        sleep 0.1
    done
}

# stop NAME TEXT: tells it to end (a signal, without a text), kills it after 1.5 s
stop() {
    local pid=${pids[$1]-}
    [[ $pid ]] || return 0
    if kill -0 "$pid" 2>/dev/null; then
        if [[ $2 ]]; then printf '%s' "$2" >&"${inputs[$1]}"; else kill "$pid"; fi
        for _ in {1..15}; do
            kill -0 "$pid" 2>/dev/null && sleep 0.1
        done
    fi
    kill -KILL -- "-$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

# expect FILE TEXT: what follows was planned for a host where this is so. Of several choices
# the kernel shows the one that is made in brackets.
expect() {
    local now
    now=$(<"$1")
    [[ $now = "$2" || " $now " = *" [$2] "* ]] ||
        fail "$1 holds '$now', not '$2' as was planned for: print a new plan"
}

# put_back FILE BEFORE [AFTER [TEXT]]: writes TEXT, by which it reads BEFORE, unless someone
# else has changed it from AFTER (`*`: anything). The kernel may have given less than asked for.
put_back() {
    local now after=${3-*}
    now=$(<"$1")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $after = '*' || $now = "$after" ]] ||
        { [[ $2$now$after =~ ^[0-9]+$ ]] && ((now > $2 && now < after)); }; then
        printf '%s\n' "${4-$2}" >"$1"
    else
        say "someone else has changed $1 to '$now': left so (it was '$2')"
    fi
}

# driver ADDRESS: which one a PCI device is bound to
driver() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }

# expect_driver ADDRESS DRIVER: what follows was planned with it
expect_driver() {
    [[ $(driver "$1") = "$2" ]] || fail "$2 did not take $1: dmesg says why"
}

# rebind ADDRESS DRIVER [AFTER]: gives a PCI device back to the driver that it had, or to
# none, unless someone else has bound it to another than AFTER
rebind() {
    local now device=/sys/bus/pci/devices/$1
    now=$(driver "$1")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $# = 3 && $now && $now != "$3" ]]; then
        say "someone else has bound $1 to '$now': left so (it was bound to '$2')"
        return 0
    fi
    [[ ! $now ]] || echo "$1" >"$device/driver/unbind"
    if [[ $2 ]]; then
        echo "$2" >"$device/driver_override"
        echo "$1" >/sys/bus/pci/drivers_probe
    fi
    echo >"$device/driver_override"
}

# at NETNS COMMAND...: in a network namespace; none: the host's own
at() {
    local -a there=()
    [[ ! $1 ]] || there=(ip netns exec "$1")
    shift
    "${there[@]}" "$@"
}

# unmount DIRECTORY COUNT: what is mounted there beyond that
unmount() {
    if (($(awk -v target="$1" '$5 == target' /proc/self/mountinfo | wc -l) > $2)); then
        umount "$1"
    fi
}

# hold: until Ctrl-C, or until a program ends
hold() {
    local name
    wait -n "${pids[@]}" || true
    for name in "${!pids[@]}"; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null; then
            quote "$name"
            say "$name has ended; above, the last that it said"
        fi
    done
    return 1
}

up() {
    # changed now, put back at the end
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0
    echo 512 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 512
    # the driver for DPDK (guide, 4.2.4)
    modprobe igb_uio
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)'
    echo igb_uio >/sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override igb_uio
    echo 0000:03:00.0 >/sys/bus/pci/devices/0000:03:00.0/driver/unbind
    echo 0000:03:00.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:00.0 igb_uio
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)'
    echo igb_uio >/sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override igb_uio
    echo 0000:03:00.1 >/sys/bus/pci/devices/0000:03:00.1/driver/unbind
    echo 0000:03:00.1 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:00.1 igb_uio
    mkdir -- /run/vswitch-plan/ovdk
    mkdir -- /run/vswitch-plan/ovdk/huge
    mount -t hugetlbfs -o pagesize=2048K -- none /run/vswitch-plan/ovdk/huge
    # a database of its own, for this run only
    /opt/dpdk-ovs/openvswitch/ovsdb/ovsdb-tool create /run/vswitch-plan/ovdk/conf.db \
        /opt/dpdk-ovs/openvswitch/vswitchd/vswitch.ovsschema
    # what keeps the bridge and its ports
    start ovsdb-server env OVS_RUNDIR=/run/vswitch-plan/ovdk \
        /opt/dpdk-ovs/openvswitch/ovsdb/ovsdb-server /run/vswitch-plan/ovdk/conf.db \
        --remote=punix:/run/vswitch-plan/ovdk/db.sock
    # the bridge
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait add-br br0 -- set Bridge br0 datapath_type=dpdk
    # port 16
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait add-port br0 ovs_dpdk_16 -- set Interface ovs_dpdk_16 \
        type=dpdk ofport_request=16
    # port 17
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait add-port br0 ovs_dpdk_17 -- set Interface ovs_dpdk_17 \
        type=dpdk ofport_request=17
    # port 48
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait add-port br0 ovs_dpdk_48 -- set Interface ovs_dpdk_48 \
        type=dpdkmemnic ofport_request=48
    # port 49
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait add-port br0 ovs_dpdk_49 -- set Interface ovs_dpdk_49 \
        type=dpdkmemnic ofport_request=49
    # the data plane, which makes shared memory
    start ovs_dpdk /opt/dpdk-ovs/openvswitch/datapath/dpdk/build/ovs_dpdk -c 0xf00 -n 4 \
        --proc-type=primary --base-virtaddr=0x2aaa2aa00000 -m 1024 \
        --huge-dir /run/vswitch-plan/ovdk/huge -w 0000:03:00.0 -w 0000:03:00.1 -- -p 0x3 -n 2 \
        -m 2 --stats=0 --vswitchd=8 --client_switching_core=9 '--config=(0,0,10),(1,0,11)'
    await ovs_dpdk 60 $'the data plane\'s ports' $'CPU frequency is \\d+ MHz'
    # which the data plane asks about flows
    start ovs-vswitchd env OVS_RUNDIR=/run/vswitch-plan/ovdk \
        /opt/dpdk-ovs/openvswitch/vswitchd/ovs-vswitchd -c 0x1000 --proc-type=secondary \
        -- unix:/run/vswitch-plan/ovdk/db.sock
    # has the shared memory its metadata?
    od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_48 || true
    # has the shared memory its metadata?
    od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_49 || true
    # are the ports there?
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait show
    mkdir -- /run/vswitch-plan/guest-share
    # what the guest builds of
    cp -aL -- /opt/memnic/. /run/vswitch-plan/guest-share
    # what the guest builds of
    cp -aL -- /opt/dpdk-ovs/guest/memnic/memnic_set_mac_address.patch \
        /run/vswitch-plan/guest-share/memnic_set_mac_address.patch
    mkdir -p -- /var/cache/pytest-vswitch
    # the guest's image itself is never written
    qemu-img create -q -f qcow2 -b /var/lib/images/fedora-20.qcow2 -F qcow2 \
        -- /var/cache/pytest-vswitch/disk-vswitch-plan-guest.qcow2
    # what cloud-init in the guest shall do
    mkdir -p -- /run/vswitch-plan/guest-seed
    cat >/run/vswitch-plan/guest-seed/meta-data <<'END'
instance-id: vswitch-vswitch-plan-guest
local-hostname: guest
END
    cat >/run/vswitch-plan/guest-seed/network-config <<'END'
version: 2
ethernets: {}
END
    cat >/run/vswitch-plan/guest-seed/user-data <<'END'
#!/bin/sh
wishes='vswitch.ports= vswitch.hugepages=0'
# Makes a Linux that is the user's ready for DPDK, and serves a shell and a terminal to
# pytest-vswitch on two virtio-serial ports. Run as root, by cloud-init or over SSH, after a line
# that sets `wishes`. What fails here is asked for afterwards, from outside.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
option() { echo "$wishes" | tr ' ' '\n' | sed -n "s/^vswitch.$1=//p"; }

modprobe -q virtio_console || true

# The data ports go to DPDK.
driver=uio_pci_generic
if ! modprobe -q "$driver"; then
    driver=vfio-pci
    modprobe -q vfio-pci || true
    # As the guide says (4.3.3), for a guest without an IOMMU.
    echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode || true
fi
for address in $(option ports | tr , ' '); do
    device=/sys/bus/pci/devices/$address
    [ ! -e "$device/driver" ] || echo "$address" >"$device/driver/unbind"
    echo "$driver" >"$device/driver_override"
    echo "$address" >/sys/bus/pci/drivers_probe
done

option hugepages >/proc/sys/vm/nr_hugepages
mkdir -p /dev/hugepages
mount | grep -q ' on /dev/hugepages type hugetlbfs' ||
    mount -t hugetlbfs hugetlbfs /dev/hugepages

for name in vswitch.shell vswitch.testpmd; do
    tries=100
    until port=$(grep -lx "$name" /sys/class/virtio-ports/*/name 2>/dev/null); do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "vswitch: there is no port $name"; exit 1; }
        sleep 0.1
    done
    port=${port%/name}
    ln -sf "/dev/${port##*/}" "/dev/$name"
done

# A port can be opened only once: one descriptor for both ways. It outlives who starts it.
setsid sh 0<>/dev/vswitch.shell >&0 2>&1 &
END
    genisoimage -quiet -output /run/vswitch-plan/guest-seed/seed.iso -volid cidata -joliet \
        -rock /run/vswitch-plan/guest-seed/meta-data /run/vswitch-plan/guest-seed/network-config \
        /run/vswitch-plan/guest-seed/user-data
    # the guest's consoles, QMP and kernel log
    mkdir -p /run/vswitch-plan/guest
    # the guest, two virtio ports on the switch's sockets (guide, 4.2.5)
    start qemu /opt/dpdk-ovs/qemu/x86_64-softmmu/qemu-system-x86_64 -c 0x2100 \
        --proc-type secondary -n 4 -- -cpu host -enable-kvm -boot c \
        -drive file=/var/cache/pytest-vswitch/disk-vswitch-plan-guest.qcow2,format=qcow2,index=0 \
        -drive file=fat:rw:/run/vswitch-plan/guest-share,format=raw,snapshot=off,index=1 \
        -drive file=/run/vswitch-plan/guest-seed/seed.iso,format=raw,media=cdrom,index=2 -m 2048M \
        -smp 2 -name guest -display none -no-reboot -nodefaults -vga std \
        -serial file:/run/vswitch-plan/guest/guest-kernel.log -device virtio-serial-pci \
        -chardev socket,id=shell,path=/run/vswitch-plan/guest/shell,server=on,wait=off \
        -device virtserialport,chardev=shell,name=vswitch.shell \
        -chardev socket,id=testpmd,path=/run/vswitch-plan/guest/testpmd,server=on,wait=off \
        -device virtserialport,chardev=testpmd,name=vswitch.testpmd \
        -qmp unix:/run/vswitch-plan/guest/qmp,server=on,wait=off \
        -device ivshmem,size=16,shm=/ovs_dpdk_48 -device ivshmem,size=16,shm=/ovs_dpdk_49
    appears /run/vswitch-plan/guest/qmp qemu
    # what the guest shell says and is told
    connect guest-shell /run/vswitch-plan/guest/shell
    # what the guest testpmd says and is told
    connect guest-testpmd /run/vswitch-plan/guest/testpmd
    # a shell that answers: the guest is up
    tell guest-shell $'true\necho vswitch-1-ended:$?\n'
    await guest-shell 90 $'end of `true`' $'vswitch-1-ended:(\\d+)\\n'
    # where the guides have them
    tell guest-shell $'mkdir -p /mnt/memnic /root/memnic\necho vswitch-2-ended:$?\n'
    await guest-shell 10 $'end of `mkdir -p /mnt/memnic /root/memnic`' $'vswitch-2-ended:(\\d+)\\n'
    # what the host has for it
    tell guest-shell $'mount -o iocharset=utf8 /dev/sdb1 /mnt/memnic\necho vswitch-3-ended:$?\n'
    await guest-shell 10 $'end of `mount -o iocharset=utf8 /dev/sdb1 /mnt/memnic`' $'vswitch-3-ended:(\\d+)\\n'
    # sources to build of
    tell guest-shell $'cp -a /mnt/memnic/. /root/memnic\necho vswitch-4-ended:$?\n'
    await guest-shell 10 $'end of `cp -a /mnt/memnic/. /root/memnic`' $'vswitch-4-ended:(\\d+)\\n'
    # the interfaces before the driver's
    tell guest-shell $'ls /sys/class/net\necho vswitch-5-ended:$?\n'
    await guest-shell 10 $'end of `ls /sys/class/net`' $'vswitch-5-ended:(\\d+)\\n'
    # so that the MAC addresses may be set
    tell guest-shell $'patch -N -p1 -d /root/memnic -i /root/memnic/memnic_set_mac_address.patch\necho vswitch-6-ended:$?\n'
    await guest-shell 900 $'end of `patch -N -p1 -d /root/memnic -i /root/memnic/memnic_...' $'vswitch-6-ended:(\\d+)\\n'
    # the driver is built for this kernel
    tell guest-shell $'make -C /lib/modules/$(uname -r)/build M=/root/memnic/linux clean\necho vswitch-7-ended:$?\n'
    await guest-shell 900 $'end of `make -C /lib/modules/$(uname -r)/build M=/root/memni...' $'vswitch-7-ended:(\\d+)\\n'
    # the driver itself
    tell guest-shell $'make -C /lib/modules/$(uname -r)/build M=/root/memnic/linux\necho vswitch-8-ended:$?\n'
    await guest-shell 900 $'end of `make -C /lib/modules/$(uname -r)/build M=/root/memni...' $'vswitch-8-ended:(\\d+)\\n'
    # the driver finds the shared memory
    tell guest-shell $'insmod /root/memnic/linux/memnic.ko\necho vswitch-9-ended:$?\n'
    await guest-shell 900 $'end of `insmod /root/memnic/linux/memnic.ko`' $'vswitch-9-ended:(\\d+)\\n'
    # is it in the kernel's log, for each port?
    tell guest-shell $'dmesg | grep -c \'MEMNIC: new vNIC device found\'\necho vswitch-10-ended:$?\n'
    await guest-shell 10 $'end of `dmesg | grep -c \'MEMNIC: new vNIC device found\'`' $'vswitch-10-ended:(\\d+)\\n'
    # is it in the kernel's log?
    tell guest-shell $'dmesg | grep \'NIC DRIVER: Loaded\'\necho vswitch-11-ended:$?\n'
    await guest-shell 10 $'end of `dmesg | grep \'NIC DRIVER: Loaded\'`' $'vswitch-11-ended:(\\d+)\\n'
    # and with them: two more
    tell guest-shell $'ls /sys/class/net\necho vswitch-12-ended:$?\n'
    await guest-shell 10 $'end of `ls /sys/class/net`' $'vswitch-12-ended:(\\d+)\\n'
    # the MAC address of eth1
    tell guest-shell $'ifconfig eth1 hw ether 00:4b:4e:49:30:00\necho vswitch-13-ended:$?\n'
    await guest-shell 10 $'end of `ifconfig eth1 hw ether 00:4b:4e:49:30:00`' $'vswitch-13-ended:(\\d+)\\n'
    # the MAC address of eth2
    tell guest-shell $'ifconfig eth2 hw ether 00:4b:4e:49:30:01\necho vswitch-14-ended:$?\n'
    await guest-shell 10 $'end of `ifconfig eth2 hw ether 00:4b:4e:49:30:01`' $'vswitch-14-ended:(\\d+)\\n'
    # eth1 is up
    tell guest-shell $'ifconfig eth1 2.2.2.1/24 up\necho vswitch-15-ended:$?\n'
    await guest-shell 10 $'end of `ifconfig eth1 2.2.2.1/24 up`' $'vswitch-15-ended:(\\d+)\\n'
    # eth2 is up
    tell guest-shell $'ifconfig eth2 3.3.3.1/24 up\necho vswitch-16-ended:$?\n'
    await guest-shell 10 $'end of `ifconfig eth2 3.3.3.1/24 up`' $'vswitch-16-ended:(\\d+)\\n'
    # it routes
    tell guest-shell $'sysctl -w net.ipv4.ip_forward=1\necho vswitch-17-ended:$?\n'
    await guest-shell 10 $'end of `sysctl -w net.ipv4.ip_forward=1`' $'vswitch-17-ended:(\\d+)\\n'
    # sources need no route back
    tell guest-shell $'sysctl -w net.ipv4.conf.all.rp_filter=0\necho vswitch-18-ended:$?\n'
    await guest-shell 10 $'end of `sysctl -w net.ipv4.conf.all.rp_filter=0`' $'vswitch-18-ended:(\\d+)\\n'
    # sources need no route back
    tell guest-shell $'sysctl -w net.ipv4.conf.eth1.rp_filter=0\necho vswitch-19-ended:$?\n'
    await guest-shell 10 $'end of `sysctl -w net.ipv4.conf.eth1.rp_filter=0`' $'vswitch-19-ended:(\\d+)\\n'
    # sources need no route back
    tell guest-shell $'sysctl -w net.ipv4.conf.eth2.rp_filter=0\necho vswitch-20-ended:$?\n'
    await guest-shell 10 $'end of `sysctl -w net.ipv4.conf.eth2.rp_filter=0`' $'vswitch-20-ended:(\\d+)\\n'
    # the gateways
    tell guest-shell $'route add -net 5.5.0.0/16 gw 2.2.2.2 eth1\necho vswitch-21-ended:$?\n'
    await guest-shell 10 $'end of `route add -net 5.5.0.0/16 gw 2.2.2.2 eth1`' $'vswitch-21-ended:(\\d+)\\n'
    # the gateways
    tell guest-shell $'route add default gw 3.3.3.2 eth2\necho vswitch-22-ended:$?\n'
    await guest-shell 10 $'end of `route add default gw 3.3.3.2 eth2`' $'vswitch-22-ended:(\\d+)\\n'
    # of the generator's ports
    tell guest-shell $'arp -s 2.2.2.2 de:ad:be:ef:ca:fd\necho vswitch-23-ended:$?\n'
    await guest-shell 10 $'end of `arp -s 2.2.2.2 de:ad:be:ef:ca:fd`' $'vswitch-23-ended:(\\d+)\\n'
    # of the generator's ports
    tell guest-shell $'arp -s 3.3.3.2 de:ad:be:ef:ca:fe\necho vswitch-24-ended:$?\n'
    await guest-shell 10 $'end of `arp -s 3.3.3.2 de:ad:be:ef:ca:fe`' $'vswitch-24-ended:(\\d+)\\n'
    # are both interfaces up and running?
    tell guest-shell $'ifconfig -a\necho vswitch-25-ended:$?\n'
    await guest-shell 10 $'end of `ifconfig -a`' $'vswitch-25-ended:(\\d+)\\n'
    # does it route as it was told?
    tell guest-shell $'sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.eth1.rp_filter net.ipv4.conf.eth2.rp_filter\necho vswitch-26-ended:$?\n'
    await guest-shell 10 $'end of `sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filt...' $'vswitch-26-ended:(\\d+)\\n'
    # does it route as it was told?
    tell guest-shell $'route -n\necho vswitch-27-ended:$?\n'
    await guest-shell 10 $'end of `route -n`' $'vswitch-27-ended:(\\d+)\\n'
    # does it route as it was told?
    tell guest-shell $'arp -n\necho vswitch-28-ended:$?\n'
    await guest-shell 10 $'end of `arp -n`' $'vswitch-28-ended:(\\d+)\\n'
    # has the shared memory its metadata?
    od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_48 || true
    # has the shared memory its metadata?
    od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_49 || true
    # are the ports there?
    /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
        --retry --timeout=20 --no-wait show
    # flows of an older time
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        del-flows br0
    # from port 16 to port 48
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        add-flow br0 in_port=16,dl_type=0x0800,idle_timeout=0,action=output:48
    # from port 48 to port 16
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        add-flow br0 in_port=48,dl_type=0x0800,idle_timeout=0,action=output:16
    # from port 17 to port 49
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        add-flow br0 in_port=17,dl_type=0x0800,idle_timeout=0,action=output:49
    # from port 49 to port 17
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        add-flow br0 in_port=49,dl_type=0x0800,idle_timeout=0,action=output:17
    # are the flows there?
    env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
        dump-flows br0
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x520_0: de:ad:be:ef:ca:fd to 00:4b:4e:49:30:00, 1.1.0.1 to 6.6.0.1,
    #   ports 49184; out of x520_1 they come back
    # - into x520_1: de:ad:be:ef:ca:fe to 00:4b:4e:49:30:01, 6.6.0.1 to 5.5.0.1,
    #   ports 49184; out of x520_0 they come back
    # After the headers each has its number and its time of sending, so that what comes back
    # is counted as received, doubled, reordered, changed or foreign: lost is what was sent
    # and is not received when nothing more has come for a while.
    #
    # What the suite then asks, test by test. From another terminal, `tell NAME TEXT` is
    #   printf '%s\n' 'TEXT' >/run/vswitch-plan/NAME.in
    # and the answer is at the end of /run/vswitch-plan/NAME.log; other lines are typed
    # as they are. After a # is what is sent, and what is to be expected: else the test fails.
    #
    # counters, before and after each of these, and of each trial
    #     env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
    #             dump-ports br0
    #     tell guest-shell $'cat /sys/class/net/eth1/statistics/rx_packets /sys/class/net/eth1/statistics/rx_dropped /sys/class/net/eth1/statistics/tx_packets /sys/class/net/eth1/statistics/tx_dropped /sys/class/net/eth2/statistics/rx_packets /sys/class/net/eth2/statistics/rx_dropped /sys/class/net/eth2/statistics/tx_packets /sys/class/net/eth2/statistics/tx_dropped /proc/net/snmp /proc/net/netstat\necho vswitch-29-ended:$?\n'
    #
    # suites/phy_vm_phy/test_ovdk.py::test_ports_are_as_asked_for
    #   Steps: `ovs-vsctl show`.
    #   Verify: it names every port, of the type and with the option that it was added with.
    #     # are the ports there?
    #     /opt/dpdk-ovs/openvswitch/utilities/ovs-vsctl --db=unix:/run/vswitch-plan/ovdk/db.sock \
    #             --retry --timeout=20 --no-wait show
    #
    # suites/phy_vm_phy/test_ovdk.py::test_flows_are_as_added
    #   Steps: `ovs-ofctl dump-flows`.
    #   Verify: there is a flow for each port, to its partner, and no other.
    #     # are the flows there?
    #     env OVS_RUNDIR=/run/vswitch-plan/ovdk /opt/dpdk-ovs/openvswitch/utilities/ovs-ofctl \
    #             dump-flows br0
    #
    # suites/phy_vm_phy/test_ovdk.py::test_shared_memory_has_its_metadata
    #   Steps: read the beginning of what the vSwitch shares with the guest.
    #   Verify: it is MEMNIC's or IVSHMEM's metadata; a MEMNIC region is in use by the guest.
    #     # has the shared memory its metadata?
    #     od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_48 || true
    #     # has the shared memory its metadata?
    #     od -A d -v -t x1 -N 30 -- /dev/shm/ovs_dpdk_49 || true
    #
    # suites/phy_vm_phy/test_ovdk.py::test_guest_found_the_metadata
    #   Steps: `dmesg` in the guest.
    #   Verify: its driver has found the metadata, of each port for MEMNIC.
    #     # is it in the kernel's log, for each port?
    #     tell guest-shell $'dmesg | grep -c \'MEMNIC: new vNIC device found\'\necho vswitch-30-ended:$?\n'
    #     # is it in the kernel's log?
    #     tell guest-shell $'dmesg | grep \'NIC DRIVER: Loaded\'\necho vswitch-31-ended:$?\n'
    #
    # suites/phy_vm_phy/test_ovdk.py::test_interfaces_are_up_and_running
    #   Steps: `ifconfig -a` in the guest.
    #   Verify: both interfaces are up and running, with the MAC addresses that they were given.
    #     # are both interfaces up and running?
    #     tell guest-shell $'ifconfig -a\necho vswitch-32-ended:$?\n'
    #
    # suites/phy_vm_phy/test_ovdk.py::test_routes_and_neighbours_are_set
    #   Steps: `sysctl`, `route -n` and `arp -n` in the guest.
    #   Verify: it routes, reverse paths are not filtered, and gateways and their MAC addresses are
    #   those of the generator's side.
    #     # does it route as it was told?
    #     tell guest-shell $'sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.eth1.rp_filter net.ipv4.conf.eth2.rp_filter\necho vswitch-33-ended:$?\n'
    #     # does it route as it was told?
    #     tell guest-shell $'route -n\necho vswitch-34-ended:$?\n'
    #     # does it route as it was told?
    #     tell guest-shell $'arp -n\necho vswitch-35-ended:$?\n'
    #
    # suites/phy_vm_phy/test_phy_vm_phy.py::test_frames_are_routed_exactly, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send a few hundred distinct frames into each port, to the guest's MAC address.
    #   Verify: each comes out of the other port once, from the guest's MAC address to that of the
    #   gateway there, its time to live one less, its header checksum right, and every other byte
    #   as it was sent.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/phy_vm_phy/test_phy_vm_phy.py::test_expired_frames_are_not_routed, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send frames with a time to live of 1 (RFC 1812, 5.3.1), and good ones between.
    #   Verify: the good ones come back, the others nowhere.
    #     # send frames with a time to live of 1
    #     # expect none of them back, and all of the frames that are sent between them
    #
    # suites/phy_vm_phy/test_phy_vm_phy.py::test_frames_to_others_are_not_routed, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send frames to a foreign MAC address, and good ones between.
    #   Verify: the good ones come back, the others nowhere.
    #     # send frames with a time to live of 64 to 00:00:5e:00:53:ff
    #     # expect none of them back, and all of the frames that are sent between them
    #
    # suites/phy_vm_phy/test_phy_vm_phy.py::test_throughput, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: search the no-drop and the partial drop rate, both directions at once.
    #   Verify: the counters of every hop reconcile in every trial; each threshold that the
    #   lab sets for this case is met.
    #     # search (MLRsearch; by hand, by halves) between 200 and the line rate (29,761,905
    #     # frames/s of 64 bytes, both directions): a trial at the line rate, then at what came
    #     # back, then halving the interval between the highest load that passed and the lowest that
    #     # failed until it is within 1 % of itself; trials of 5 s, 3 at each load that decides, by
    #     # majority; all frames of a trial are waited for before they are counted
    #     # a load passes for NDR: none is lost; for PDR: at most 0.5 % are lost
    #     # expect, in every trial and at every hop, entered = left + dropped by its own counters
    #
    say 'phy_vm_phy is up; Ctrl-C ends it. Frames go between'
    say '  x520_0, 0000:03:00.0, at the other end of its wire enp2s0f0'
    say '  x520_1, 0000:03:00.1, at the other end of its wire enp2s0f1'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop guest-testpmd ''
    stop guest-shell ''
    stop qemu ''
    rm -rf -- /run/vswitch-plan/guest
    rm -rf -- /run/vswitch-plan/guest-seed
    rm -rf -- /var/cache/pytest-vswitch/disk-vswitch-plan-guest.qcow2
    rm -rf -- /run/vswitch-plan/guest-share
    stop ovs-vswitchd ''
    stop ovs_dpdk ''
    stop ovsdb-server ''
    unmount /run/vswitch-plan/ovdk/huge 0
    rm -rf -- /run/vswitch-plan/ovdk
    rm -rf -- /dev/shm/ovs_dpdk_49
    rm -rf -- /dev/shm/ovs_dpdk_48
    rm -rf -- /var/run/.rte_hugepage_info
    rm -rf -- /var/run/.rte_config
    rebind 0000:03:00.1 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)' igb_uio ''
    rebind 0000:03:00.0 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)' igb_uio ''
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 512
    rm -rf -- "$run"
}

[[ $(uname -n) = dut2 ]] || fail 'this was planned for the host dut2'
[[ $EUID = 0 ]] || fail 'run this as root'
mkdir -m 711 "$run" ||
    fail "one is up; was it killed, 'bash $run/undo' cleans up"
# The way back, should this shell be killed.
{ declare -p run pids inputs from; declare -f; echo undo; } >"$run/undo"
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'say "failed: $BASH_COMMAND"' ERR
up
hold
