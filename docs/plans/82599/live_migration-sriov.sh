#!/usr/bin/env bash
# The topology bonded_migration on root@dut2, as `pytest suites/live_migration --dut 82599 --nic
# sriov` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends busybox-static cpio dpdk-dev dpdk-kmods-dkms
#   iproute2 kmod qemu-system-x86
# - an IOMMU: VT-d or AMD-Vi on in the BIOS, `intel_iommu=on iommu=pt` (AMD: `iommu=pt`) on the
#   kernel's command line; `ls /sys/kernel/iommu_groups` must show groups
# - a switch with the generator's first port, and with the PF of either place: one that learns
#   addresses, or sends frames to both (guide, 1.2 and 1.6)
# - SR-IOV on in the BIOS; the first port has no virtual functions yet
# - for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that poll
#   taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; `vswitch lab check`
#   says what is missing
# - memory for the pages of 2 MB that are taken below, not in pieces yet
# - the guest needs no image of yours: its kernel is the host's (a package linux-image-*), its
#   initramfs is made below, of the host's files
# - KVM: VT-x or AMD-V on in the BIOS, modprobe kvm_intel or kvm_amd
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

# pin NAME THREAD CPU: a program's thread, by its name
pin() {
    local comm
    for comm in "/proc/${pids[$1]}/task"/*/comm; do
        if [[ $(<"$comm") = "$2" ]]; then
            taskset -cp "$3" "$(basename "${comm%/comm}")"
            return
        fi
    done
    fail "$1 has no thread $2"
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

# functions ADDRESS BEFORE [AFTER]: gives a PCI device as many virtual functions as before
functions() {
    local now knob=/sys/bus/pci/devices/$1/sriov_numvfs
    now=$(<"$knob")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $# = 3 && $now != 0 && $now != "$3" ]]; then
        say "someone else has given $1 $now virtual functions: left so (it had $2)"
        return 0
    fi
    [[ $now = 0 ]] || echo 0 >"$knob"
    [[ $2 = 0 ]] || echo "$2" >"$knob"
}

# delete_interface NAME [INDEX]: unless it is another one of that name
delete_interface() {
    local index=/sys/class/net/$1/ifindex
    if [[ -e $index && $(<"$index") = "${2-$(<"$index")}" ]]; then
        ip link delete dev "$1"
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
    echo 2048 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 2048
    # all that belongs to the source
    mkdir -p /run/vswitch-plan/vswitch-plan-source
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/sriov_drivers_autoprobe
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/sriov_drivers_autoprobe 0
    echo 1 >/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs
    # QEMU gives the VF to the guest by it
    modprobe vfio-pci
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:03:10.0/driver_override
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override vfio-pci
    echo 0000:03:10.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:10.0 vfio-pci
    # changed now, put back at the end
    expect /sys/class/net/ens1f0/flags 0x1003
    ip link add name vs-br-source index 1816197610 type bridge forward_delay 0 mcast_snooping \
        0
    ip tuntap add dev vs-tap-source mode tap
    ip link set dev ens1f0 down
    # the PF (guide, 1.4.3: brctl addif)
    ip link set dev ens1f0 master vs-br-source
    ip link set dev vs-tap-source down
    # the back-end of the guest's virtio port (guide, 1.4.3: brctl addif)
    ip link set dev vs-tap-source master vs-br-source
    sysctl -q -w net.ipv6.conf.vs-br-source.disable_ipv6=1
    sysctl -q -w net.ipv6.conf.vs-tap-source.disable_ipv6=1
    ip link set dev ens1f0 up
    ip link set dev vs-tap-source up
    ip link set dev vs-br-source up
    # an earlier try may have failed
    rm -rf /run/vswitch-plan/initramfs /run/vswitch-plan/guest.cpio \
        /run/vswitch-plan/guest.cpio.gz
    # the guest's initramfs, built from this host's own packages (in place of the guide's disk
    # image, 4.2.5)
    mkdir -p /var/cache/pytest-vswitch /run/vswitch-plan/initramfs/bin \
        /run/vswitch-plan/initramfs/dev /run/vswitch-plan/initramfs/proc \
        /run/vswitch-plan/initramfs/sys /run/vswitch-plan/initramfs/tmp \
        /run/vswitch-plan/initramfs/var/run /run/vswitch-plan/initramfs/usr/lib \
        /run/vswitch-plan/initramfs/usr/lib64 /run/vswitch-plan/initramfs/usr/bin \
        /run/vswitch-plan/initramfs/modules/dpdk /run/vswitch-plan/initramfs/modules/control \
        /run/vswitch-plan/initramfs/modules/net /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers
    # busybox and testpmd, with the libraries and drivers that they need
    cp --parents --no-dereference --target-directory /run/vswitch-plan/initramfs \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_e1000.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_iavf.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so \
        /usr/lib/x86_64-linux-gnu/libbpf.so.1 /usr/lib/x86_64-linux-gnu/libbsd.so.0 \
        /usr/lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/libcap.so.2 \
        /usr/lib/x86_64-linux-gnu/libdbus-1.so.3 /usr/lib/x86_64-linux-gnu/libelf.so.1 \
        /usr/lib/x86_64-linux-gnu/libfdt.so.1 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1 \
        /usr/lib/x86_64-linux-gnu/libgcrypt.so.20 /usr/lib/x86_64-linux-gnu/libgpg-error.so.0 \
        /usr/lib/x86_64-linux-gnu/libibverbs.so.1 /usr/lib/x86_64-linux-gnu/libjansson.so.4 \
        /usr/lib/x86_64-linux-gnu/liblz4.so.1 /usr/lib/x86_64-linux-gnu/liblzma.so.5 \
        /usr/lib/x86_64-linux-gnu/libm.so.6 /usr/lib/x86_64-linux-gnu/libmd.so.0 \
        /usr/lib/x86_64-linux-gnu/libmlx5.so.1 /usr/lib/x86_64-linux-gnu/libmnl.so.0 \
        /usr/lib/x86_64-linux-gnu/libnl-3.so.200 /usr/lib/x86_64-linux-gnu/libnl-route-3.so.200 \
        /usr/lib/x86_64-linux-gnu/libnuma.so.1 /usr/lib/x86_64-linux-gnu/libpcap.so.0.8 \
        /usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_bpf.so.23 /usr/lib/x86_64-linux-gnu/librte_bus_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_bus_vdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_cmdline.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_eal.so.23 /usr/lib/x86_64-linux-gnu/librte_ethdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_eventdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_gro.so.23 /usr/lib/x86_64-linux-gnu/librte_gso.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_hash.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_kvargs.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_latencystats.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_mbuf.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_mempool.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_meter.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_metrics.so.23 /usr/lib/x86_64-linux-gnu/librte_net.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_pcapng.so.23 /usr/lib/x86_64-linux-gnu/librte_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_pdump.so.23 /usr/lib/x86_64-linux-gnu/librte_rcu.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_reorder.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_ring.so.23 /usr/lib/x86_64-linux-gnu/librte_sched.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_security.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_telemetry.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_timer.so.23 /usr/lib/x86_64-linux-gnu/libsystemd.so.0 \
        /usr/lib/x86_64-linux-gnu/libxtables.so.12 /usr/lib/x86_64-linux-gnu/libz.so.1 \
        /usr/lib/x86_64-linux-gnu/libzstd.so.1 /usr/lib64/ld-linux-x86-64.so.2 /usr/bin/busybox \
        /usr/bin/dpdk-testpmd /usr/bin/ip /usr/bin/stdbuf /usr/bin/tc \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23 \
        /usr/libexec/coreutils/libstdbuf.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23 \
        /usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2 /usr/lib/x86_64-linux-gnu/libbsd.so.0.11.7 \
        /usr/lib/x86_64-linux-gnu/libcap.so.2.66 /usr/lib/x86_64-linux-gnu/libdbus-1.so.3.32.4 \
        /usr/lib/x86_64-linux-gnu/libelf-0.188.so /usr/lib/x86_64-linux-gnu/libfdt-1.6.1.so \
        /usr/lib/x86_64-linux-gnu/libgcrypt.so.20.4.1 \
        /usr/lib/x86_64-linux-gnu/libgpg-error.so.0.33.1 \
        /usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.44.0 \
        /usr/lib/x86_64-linux-gnu/libjansson.so.4.14.0 /usr/lib/x86_64-linux-gnu/liblz4.so.1.9.4 \
        /usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1 /usr/lib/x86_64-linux-gnu/libmd.so.0.0.5 \
        /usr/lib/x86_64-linux-gnu/libmlx5.so.1.24.44.0 /usr/lib/x86_64-linux-gnu/libmnl.so.0.2.0 \
        /usr/lib/x86_64-linux-gnu/libnl-3.so.200.26.0 \
        /usr/lib/x86_64-linux-gnu/libnl-route-3.so.200.26.0 \
        /usr/lib/x86_64-linux-gnu/libnuma.so.1.0.0 /usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3 \
        /usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_bpf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_cmdline.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_eal.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ethdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_eventdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_gro.so.23.0 /usr/lib/x86_64-linux-gnu/librte_gso.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_hash.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_kvargs.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_latencystats.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_mbuf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_mempool.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_meter.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_metrics.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_net.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pcapng.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pci.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pdump.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_rcu.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_reorder.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ring.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_sched.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_security.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_telemetry.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_timer.so.23.0 \
        /usr/lib/x86_64-linux-gnu/libsystemd.so.0.35.0 \
        /usr/lib/x86_64-linux-gnu/libxtables.so.12.7.0 /usr/lib/x86_64-linux-gnu/libz.so.1.2.13 \
        /usr/lib/x86_64-linux-gnu/libzstd.so.1.5.4 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23.0
    ln -sf usr/lib /run/vswitch-plan/initramfs/lib
    ln -sf usr/lib64 /run/vswitch-plan/initramfs/lib64
    ln -sf /usr/bin/busybox /run/vswitch-plan/initramfs/bin/busybox
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_net_virtio.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_mempool_ring.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_bus_pci.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_bus_vdev.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_net_ixgbe.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_iavf.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_net_iavf.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_e1000.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_net_e1000.so
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/uio.ko \
        /run/vswitch-plan/initramfs/modules/dpdk/00-uio.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/uio_pci_generic.ko \
        /run/vswitch-plan/initramfs/modules/dpdk/01-uio_pci_generic.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/igb_uio.ko \
        /run/vswitch-plan/initramfs/modules/dpdk/02-igb_uio.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_ring.ko \
        /run/vswitch-plan/initramfs/modules/control/00-virtio_ring.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio.ko \
        /run/vswitch-plan/initramfs/modules/control/01-virtio.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci_modern_dev.ko \
        /run/vswitch-plan/initramfs/modules/control/02-virtio_pci_modern_dev.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci_legacy_dev.ko \
        /run/vswitch-plan/initramfs/modules/control/03-virtio_pci_legacy_dev.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci.ko \
        /run/vswitch-plan/initramfs/modules/control/04-virtio_pci.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_console.ko \
        /run/vswitch-plan/initramfs/modules/control/05-virtio_console.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/failover.ko \
        /run/vswitch-plan/initramfs/modules/net/00-failover.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/net_failover.ko \
        /run/vswitch-plan/initramfs/modules/net/01-net_failover.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_net.ko \
        /run/vswitch-plan/initramfs/modules/net/02-virtio_net.ko
    cat >/run/vswitch-plan/initramfs/init <<'END'
#!/bin/busybox sh
# First process of the guest. Makes the machine ready for DPDK, then serves a shell
# on a virtio-serial port; pytest-vswitch does the rest from outside.
export PATH=/usr/bin:/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

option() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# The data ports go to DPDK before the kernel's own virtio driver can take them.
insmod_all() { for module in /modules/$1/*.ko; do insmod "$module"; done; }
insmod_all dpdk
for address in $(option vswitch.ports | tr , ' '); do
    device=/sys/bus/pci/devices/$address
    [ ! -e "$device/driver" ] || echo "$address" > "$device/driver/unbind"
    echo uio_pci_generic > "$device/driver_override"
    echo "$address" > /sys/bus/pci/drivers_probe
done
insmod_all control

option vswitch.hugepages > /proc/sys/vm/nr_hugepages
mkdir -p /dev/hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages

# The serial ports' names arrive from the host a moment after their driver.
named() { grep -l "$1" /sys/class/virtio-ports/*/name 2>/dev/null; }
for name in vswitch.shell vswitch.testpmd; do
    until port=$(named "$name"); do usleep 10000; done
    port=${port%/name}
    ln -s "/dev/${port##*/}" "/dev/$name"
done

# A port can be opened only once: one descriptor for both ways.
exec sh 0<>/dev/vswitch.shell >&0 2>&1
END
    chmod 755 /run/vswitch-plan/initramfs/init
    # packed as the kernel reads it
    cpio -o -H newc --quiet --reproducible --owner=+0:+0 -D /run/vswitch-plan/initramfs \
        -F /run/vswitch-plan/guest.cpio <<'END'
.
bin
bin/busybox
dev
init
lib
lib64
modules
modules/control
modules/control/00-virtio_ring.ko
modules/control/01-virtio.ko
modules/control/02-virtio_pci_modern_dev.ko
modules/control/03-virtio_pci_legacy_dev.ko
modules/control/04-virtio_pci.ko
modules/control/05-virtio_console.ko
modules/dpdk
modules/dpdk/00-uio.ko
modules/dpdk/01-uio_pci_generic.ko
modules/dpdk/02-igb_uio.ko
modules/net
modules/net/00-failover.ko
modules/net/01-net_failover.ko
modules/net/02-virtio_net.ko
proc
sys
tmp
usr
usr/bin
usr/bin/busybox
usr/bin/dpdk-testpmd
usr/bin/ip
usr/bin/stdbuf
usr/bin/tc
usr/lib
usr/lib/dpdk-drivers
usr/lib/dpdk-drivers/librte_bus_pci.so
usr/lib/dpdk-drivers/librte_bus_vdev.so
usr/lib/dpdk-drivers/librte_mempool_ring.so
usr/lib/dpdk-drivers/librte_net_e1000.so
usr/lib/dpdk-drivers/librte_net_iavf.so
usr/lib/dpdk-drivers/librte_net_ixgbe.so
usr/lib/dpdk-drivers/librte_net_virtio.so
usr/lib/x86_64-linux-gnu
usr/lib/x86_64-linux-gnu/dpdk
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_e1000.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_iavf.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23.0
usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
usr/lib/x86_64-linux-gnu/libbpf.so.1
usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2
usr/lib/x86_64-linux-gnu/libbsd.so.0
usr/lib/x86_64-linux-gnu/libbsd.so.0.11.7
usr/lib/x86_64-linux-gnu/libc.so.6
usr/lib/x86_64-linux-gnu/libcap.so.2
usr/lib/x86_64-linux-gnu/libcap.so.2.66
usr/lib/x86_64-linux-gnu/libdbus-1.so.3
usr/lib/x86_64-linux-gnu/libdbus-1.so.3.32.4
usr/lib/x86_64-linux-gnu/libelf-0.188.so
usr/lib/x86_64-linux-gnu/libelf.so.1
usr/lib/x86_64-linux-gnu/libfdt-1.6.1.so
usr/lib/x86_64-linux-gnu/libfdt.so.1
usr/lib/x86_64-linux-gnu/libgcc_s.so.1
usr/lib/x86_64-linux-gnu/libgcrypt.so.20
usr/lib/x86_64-linux-gnu/libgcrypt.so.20.4.1
usr/lib/x86_64-linux-gnu/libgpg-error.so.0
usr/lib/x86_64-linux-gnu/libgpg-error.so.0.33.1
usr/lib/x86_64-linux-gnu/libibverbs.so.1
usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.44.0
usr/lib/x86_64-linux-gnu/libjansson.so.4
usr/lib/x86_64-linux-gnu/libjansson.so.4.14.0
usr/lib/x86_64-linux-gnu/liblz4.so.1
usr/lib/x86_64-linux-gnu/liblz4.so.1.9.4
usr/lib/x86_64-linux-gnu/liblzma.so.5
usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1
usr/lib/x86_64-linux-gnu/libm.so.6
usr/lib/x86_64-linux-gnu/libmd.so.0
usr/lib/x86_64-linux-gnu/libmd.so.0.0.5
usr/lib/x86_64-linux-gnu/libmlx5.so.1
usr/lib/x86_64-linux-gnu/libmlx5.so.1.24.44.0
usr/lib/x86_64-linux-gnu/libmnl.so.0
usr/lib/x86_64-linux-gnu/libmnl.so.0.2.0
usr/lib/x86_64-linux-gnu/libnl-3.so.200
usr/lib/x86_64-linux-gnu/libnl-3.so.200.26.0
usr/lib/x86_64-linux-gnu/libnl-route-3.so.200
usr/lib/x86_64-linux-gnu/libnl-route-3.so.200.26.0
usr/lib/x86_64-linux-gnu/libnuma.so.1
usr/lib/x86_64-linux-gnu/libnuma.so.1.0.0
usr/lib/x86_64-linux-gnu/libpcap.so.0.8
usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3
usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23
usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23.0
usr/lib/x86_64-linux-gnu/librte_bpf.so.23
usr/lib/x86_64-linux-gnu/librte_bpf.so.23.0
usr/lib/x86_64-linux-gnu/librte_bus_pci.so.23
usr/lib/x86_64-linux-gnu/librte_bus_vdev.so.23
usr/lib/x86_64-linux-gnu/librte_cmdline.so.23
usr/lib/x86_64-linux-gnu/librte_cmdline.so.23.0
usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23
usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23.0
usr/lib/x86_64-linux-gnu/librte_eal.so.23
usr/lib/x86_64-linux-gnu/librte_eal.so.23.0
usr/lib/x86_64-linux-gnu/librte_ethdev.so.23
usr/lib/x86_64-linux-gnu/librte_ethdev.so.23.0
usr/lib/x86_64-linux-gnu/librte_eventdev.so.23
usr/lib/x86_64-linux-gnu/librte_eventdev.so.23.0
usr/lib/x86_64-linux-gnu/librte_gro.so.23
usr/lib/x86_64-linux-gnu/librte_gro.so.23.0
usr/lib/x86_64-linux-gnu/librte_gso.so.23
usr/lib/x86_64-linux-gnu/librte_gso.so.23.0
usr/lib/x86_64-linux-gnu/librte_hash.so.23
usr/lib/x86_64-linux-gnu/librte_hash.so.23.0
usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23
usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23.0
usr/lib/x86_64-linux-gnu/librte_kvargs.so.23
usr/lib/x86_64-linux-gnu/librte_kvargs.so.23.0
usr/lib/x86_64-linux-gnu/librte_latencystats.so.23
usr/lib/x86_64-linux-gnu/librte_latencystats.so.23.0
usr/lib/x86_64-linux-gnu/librte_mbuf.so.23
usr/lib/x86_64-linux-gnu/librte_mbuf.so.23.0
usr/lib/x86_64-linux-gnu/librte_mempool.so.23
usr/lib/x86_64-linux-gnu/librte_mempool.so.23.0
usr/lib/x86_64-linux-gnu/librte_meter.so.23
usr/lib/x86_64-linux-gnu/librte_meter.so.23.0
usr/lib/x86_64-linux-gnu/librte_metrics.so.23
usr/lib/x86_64-linux-gnu/librte_metrics.so.23.0
usr/lib/x86_64-linux-gnu/librte_net.so.23
usr/lib/x86_64-linux-gnu/librte_net.so.23.0
usr/lib/x86_64-linux-gnu/librte_pcapng.so.23
usr/lib/x86_64-linux-gnu/librte_pcapng.so.23.0
usr/lib/x86_64-linux-gnu/librte_pci.so.23
usr/lib/x86_64-linux-gnu/librte_pci.so.23.0
usr/lib/x86_64-linux-gnu/librte_pdump.so.23
usr/lib/x86_64-linux-gnu/librte_pdump.so.23.0
usr/lib/x86_64-linux-gnu/librte_rcu.so.23
usr/lib/x86_64-linux-gnu/librte_rcu.so.23.0
usr/lib/x86_64-linux-gnu/librte_reorder.so.23
usr/lib/x86_64-linux-gnu/librte_reorder.so.23.0
usr/lib/x86_64-linux-gnu/librte_ring.so.23
usr/lib/x86_64-linux-gnu/librte_ring.so.23.0
usr/lib/x86_64-linux-gnu/librte_sched.so.23
usr/lib/x86_64-linux-gnu/librte_sched.so.23.0
usr/lib/x86_64-linux-gnu/librte_security.so.23
usr/lib/x86_64-linux-gnu/librte_security.so.23.0
usr/lib/x86_64-linux-gnu/librte_telemetry.so.23
usr/lib/x86_64-linux-gnu/librte_telemetry.so.23.0
usr/lib/x86_64-linux-gnu/librte_timer.so.23
usr/lib/x86_64-linux-gnu/librte_timer.so.23.0
usr/lib/x86_64-linux-gnu/libsystemd.so.0
usr/lib/x86_64-linux-gnu/libsystemd.so.0.35.0
usr/lib/x86_64-linux-gnu/libxtables.so.12
usr/lib/x86_64-linux-gnu/libxtables.so.12.7.0
usr/lib/x86_64-linux-gnu/libz.so.1
usr/lib/x86_64-linux-gnu/libz.so.1.2.13
usr/lib/x86_64-linux-gnu/libzstd.so.1
usr/lib/x86_64-linux-gnu/libzstd.so.1.5.4
usr/lib64
usr/lib64/ld-linux-x86-64.so.2
usr/libexec
usr/libexec/coreutils
usr/libexec/coreutils/libstdbuf.so
var
var/run
END
    gzip -6 /run/vswitch-plan/guest.cpio
    mv /run/vswitch-plan/guest.cpio.gz \
        /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan
    # it is given its name when it is whole and on disk
    sync /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan
    mv /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan \
        /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz
    rm -rf /run/vswitch-plan/initramfs
    # all that belongs to the target
    mkdir -p /run/vswitch-plan/vswitch-plan-target
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:04:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/devices/pci0000:80/0000:80:02.0/0000:04:00.0/sriov_drivers_autoprobe
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:04:00.0/sriov_drivers_autoprobe 0
    echo 1 >/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs
    expect /sys/bus/pci/devices/0000:04:10.0/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:04:10.0/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:04:10.0/driver_override
    expect /sys/bus/pci/devices/0000:04:10.0/driver_override vfio-pci
    echo 0000:04:10.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:04:10.0 vfio-pci
    # changed now, put back at the end
    expect /sys/class/net/ens2f0/flags 0x1003
    ip link add name vs-br-target index 1782164937 type bridge forward_delay 0 mcast_snooping \
        0
    ip tuntap add dev vs-tap-target mode tap
    ip link set dev ens2f0 down
    # the PF (guide, 1.4.3: brctl addif)
    ip link set dev ens2f0 master vs-br-target
    ip link set dev vs-tap-target down
    # the back-end of the guest's virtio port (guide, 1.4.3: brctl addif)
    ip link set dev vs-tap-target master vs-br-target
    sysctl -q -w net.ipv6.conf.vs-br-target.disable_ipv6=1
    sysctl -q -w net.ipv6.conf.vs-tap-target.disable_ipv6=1
    ip link set dev ens2f0 up
    ip link set dev vs-tap-target up
    ip link set dev vs-br-target up
    # whether KVM works holds until the next boot
    mkdir -p /var/cache/pytest-vswitch
    printf %s '{"asked": {"boot": "0d3f7c1e-6a39-4c55-9f0b-2f3f0c3b8a11", "qemu": "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)", "kernel": "6.1.0-37-amd64"}, "found": {"name": "kvm", "reason": ""}}' >/var/cache/pytest-vswitch/kvm.json.vswitch-plan-source
    mv /var/cache/pytest-vswitch/kvm.json.vswitch-plan-source \
        /var/cache/pytest-vswitch/kvm.json
    # the guest's consoles, QMP and kernel log
    mkdir -p /run/vswitch-plan/vswitch-plan-source/guest
    # the guest, with virtio and a VF (guide, 1.4.2)
    start source-qemu qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -name guest,debug-threads=on -machine q35,memory-backend=memory -accel kvm -cpu host \
        -smp 3 -m 2048 \
        -object memory-backend-memfd,id=memory,size=2048M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
        -kernel /boot/vmlinuz-6.1.0-37-amd64 \
        -initrd /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz \
        -append 'console=ttyS0 quiet panic=-1 nmi_watchdog=0 isolcpus=1-2 rcu_nocbs=1-2 irqaffinity=0 vswitch.ports= vswitch.hugepages=160' \
        -serial file:/run/vswitch-plan/vswitch-plan-source/guest/guest-kernel.log \
        -device virtio-serial-pci \
        -chardev socket,id=shell,path=/run/vswitch-plan/vswitch-plan-source/guest/shell,server=on,wait=off \
        -device virtserialport,chardev=shell,name=vswitch.shell \
        -chardev socket,id=testpmd,path=/run/vswitch-plan/vswitch-plan-source/guest/testpmd,server=on,wait=off \
        -device virtserialport,chardev=testpmd,name=vswitch.testpmd \
        -qmp unix:/run/vswitch-plan/vswitch-plan-source/guest/qmp,server=on,wait=off \
        -netdev tap,id=net0,ifname=vs-tap-source,script=no,downscript=no \
        -device virtio-net-pci,netdev=net0,id=ua-port0,mac=02:00:c6:12:d9:01,addr=0x10,guest_announce=off \
        -device pcie-root-port,id=slot0,chassis=1,addr=0x18 \
        -device vfio-pci,host=0000:03:10.0,id=vf1,bus=slot0
    appears /run/vswitch-plan/vswitch-plan-source/guest/qmp source-qemu
    # what the source qmp says and is told
    connect source-qmp /run/vswitch-plan/vswitch-plan-source/guest/qmp
    await source-qmp 10 'QMP greeting' $'\\{"QMP".*\\}'
    tell source-qmp $'{"execute": "qmp_capabilities", "id": 1}\n'
    await source-qmp 10 'answer to qmp_capabilities' $'(?m)^\\{.*"id": 1[,}].*\\n'
    # what the source guest shell says and is told
    connect source-guest-shell /run/vswitch-plan/vswitch-plan-source/guest/shell
    # what the source guest testpmd says and is told
    connect source-guest-testpmd /run/vswitch-plan/vswitch-plan-source/guest/testpmd
    # a shell that answers: the guest is up
    tell source-guest-shell $'true\necho vswitch-1-ended:$?\n'
    await source-guest-shell 90 $'end of `true`' $'vswitch-1-ended:(\\d+)\\n'
    # a CPU for each virtual one
    pin source-qemu 'CPU 0/KVM' 8
    # a CPU for each virtual one
    pin source-qemu 'CPU 1/KVM' 11
    # a CPU for each virtual one
    pin source-qemu 'CPU 2/KVM' 12
    tell source-guest-shell $'until [ -e /sys/bus/pci/devices/0000:00:10.0 ]; do usleep 20000; done\necho vswitch-2-ended:$?\n'
    await source-guest-shell 30 $'end of `until [ -e /sys/bus/pci/devices/0000:00:10.0 ]; do u...' $'vswitch-2-ended:(\\d+)\\n'
    # `dpdk-devbind.py -b uio_pci_generic 0000:00:10.0` (guide, 1.5.1)
    tell source-guest-shell $'[ ! -e /sys/bus/pci/devices/0000:00:10.0/driver ] || echo 0000:00:10.0 > /sys/bus/pci/devices/0000:00:10.0/driver/unbind; echo uio_pci_generic > /sys/bus/pci/devices/0000:00:10.0/driver_override; echo 0000:00:10.0 > /sys/bus/pci/drivers_probe; [ -e /sys/bus/pci/devices/0000:00:10.0/driver ]\necho vswitch-3-ended:$?\n'
    await source-guest-shell 10 $'end of `[ ! -e /sys/bus/pci/devices/0000:00:10.0/driver ] ||...' $'vswitch-3-ended:(\\d+)\\n'
    tell source-guest-shell $'until [ -e /sys/bus/pci/devices/0000:01:00.0 ]; do usleep 20000; done\necho vswitch-4-ended:$?\n'
    await source-guest-shell 30 $'end of `until [ -e /sys/bus/pci/devices/0000:01:00.0 ]; do u...' $'vswitch-4-ended:(\\d+)\\n'
    # `dpdk-devbind.py -b igb_uio 0000:01:00.0` (guide, 1.5.1)
    tell source-guest-shell $'[ ! -e /sys/bus/pci/devices/0000:01:00.0/driver ] || echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind; echo igb_uio > /sys/bus/pci/devices/0000:01:00.0/driver_override; echo 0000:01:00.0 > /sys/bus/pci/drivers_probe; [ -e /sys/bus/pci/devices/0000:01:00.0/driver ]\necho vswitch-5-ended:$?\n'
    await source-guest-shell 10 $'end of `[ ! -e /sys/bus/pci/devices/0000:01:00.0/driver ] ||...' $'vswitch-5-ended:(\\d+)\\n'
    # the guest's testpmd, on a console of its own (guide, 4.3.3)
    tell source-guest-shell $'(stdbuf -oL /usr/bin/dpdk-testpmd -v --lcores 0@0,1@1,2@2 -n 1 --file-prefix guest -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=4096 --rxd=256 --txd=256; status=$?; echo; echo vswitch: testpmd ended with status $status) 0<>/dev/vswitch.testpmd >&0 2>&1 &\necho vswitch-6-ended:$?\n'
    await source-guest-shell 10 $'end of `(stdbuf -oL /usr/bin/dpdk-testpmd -v --lcores 0@0,1@...' $'vswitch-6-ended:(\\d+)\\n'
    await source-guest-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # virtio is port 0, the VF port 1 (1.3.3)
    tell source-guest-testpmd $'show port info all\n'
    await source-guest-testpmd 10 $'answer to `show port info all`' $'(?s)show\\ port\\ info\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # the PF is asked to let it in
    tell source-guest-testpmd $'mac_addr add port 1 vf 0 02:00:c6:12:d9:01\n'
    await source-guest-testpmd 10 $'answer to `mac_addr add port 1 vf 0 02:00:c6:12:d9:01`' $'(?s)mac_addr\\ add\\ port\\ 1\\ vf\\ 0\\ 02:00:c6:12:d9:01\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # mode 1, active backup, on socket 0 (guide, 1.3.3)
    tell source-guest-testpmd $'create bonded device 1 0\n'
    await source-guest-testpmd 10 $'answer to `create bonded device 1 0`' $'(?s)create\\ bonded\\ device\\ 1\\ 0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'add bonding slave 0 2\n'
    await source-guest-testpmd 10 $'answer to `add bonding slave 0 2`' $'(?s)add\\ bonding\\ slave\\ 0\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'add bonding slave 1 2\n'
    await source-guest-testpmd 10 $'answer to `add bonding slave 1 2`' $'(?s)add\\ bonding\\ slave\\ 1\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'set bonding primary 1 2\n'
    await source-guest-testpmd 10 $'answer to `set bonding primary 1 2`' $'(?s)set\\ bonding\\ primary\\ 1\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'port start 2\n'
    await source-guest-testpmd 10 $'answer to `port start 2`' $'(?s)port\\ start\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # the bond only (guide, 1.3.3)
    tell source-guest-testpmd $'set portlist 2\n'
    await source-guest-testpmd 10 $'answer to `set portlist 2`' $'(?s)set\\ portlist\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show config fwd\n'
    await source-guest-testpmd 10 $'answer to `show config fwd`' $'(?s)show\\ config\\ fwd\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell source-guest-testpmd $'start\n'
    await source-guest-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # until slave 1 is active
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    read -r -p 'plan: Enter, when the generator sends ' _ </dev/tty
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show port stats all\n'
    await source-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'set bonding primary 0 2\n'
    await source-guest-testpmd 10 $'answer to `set bonding primary 0 2`' $'(?s)set\\ bonding\\ primary\\ 0\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'remove bonding slave 1 2\n'
    await source-guest-testpmd 10 $'answer to `remove bonding slave 1 2`' $'(?s)remove\\ bonding\\ slave\\ 1\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # frames for it go to the bridge
    tell source-guest-testpmd $'mac_addr remove 1 02:00:c6:12:d9:01\n'
    await source-guest-testpmd 10 $'answer to `mac_addr remove 1 02:00:c6:12:d9:01`' $'(?s)mac_addr\\ remove\\ 1\\ 02:00:c6:12:d9:01\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'port stop 1\n'
    await source-guest-testpmd 10 $'answer to `port stop 1`' $'(?s)port\\ stop\\ 1\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'port close 1\n'
    await source-guest-testpmd 10 $'answer to `port close 1`' $'(?s)port\\ close\\ 1\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # `port detach`, of a closed port
    tell source-guest-testpmd $'device detach 0000:01:00.0\n'
    await source-guest-testpmd 10 $'answer to `device detach 0000:01:00.0`' $'(?s)device\\ detach\\ 0000:01:00\\.0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show port stats all\n'
    await source-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # (guide, 1.3.4)
    tell source-qmp $'{"execute": "device_del", "arguments": {"id": "vf1"}, "id": 2}\n'
    await source-qmp 10 'answer to device_del' $'(?m)^\\{.*"id": 2[,}].*\\n'
    await source-qmp 30 'end of vf1, which the guest must let go' $'(?m)^\\{.*"event": "DEVICE_DELETED".*"device": "vf1".*\\n'
    # the VF has left the guest
    tell source-guest-shell $'until [ ! -e /sys/bus/pci/devices/0000:01:00.0 ]; do usleep 20000; done\necho vswitch-7-ended:$?\n'
    await source-guest-shell 30 $'end of `until [ ! -e /sys/bus/pci/devices/0000:01:00.0 ]; do...' $'vswitch-7-ended:(\\d+)\\n'
    # virtio and bond are left (1.3.5)
    tell source-guest-testpmd $'show port info all\n'
    await source-guest-testpmd 10 $'answer to `show port info all`' $'(?s)show\\ port\\ info\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show bonding config 2\n'
    await source-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell source-guest-testpmd $'show port stats all\n'
    await source-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # of the QEMU that waits
    mkdir -p /run/vswitch-plan/vswitch-plan-target/guest
    # the same guest, in migration-listen mode
    start target-qemu qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -name guest,debug-threads=on -machine q35,memory-backend=memory -accel kvm -cpu host \
        -smp 3 -m 2048 \
        -object memory-backend-memfd,id=memory,size=2048M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
        -kernel /boot/vmlinuz-6.1.0-37-amd64 \
        -initrd /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz \
        -append 'console=ttyS0 quiet panic=-1 nmi_watchdog=0 isolcpus=1-2 rcu_nocbs=1-2 irqaffinity=0 vswitch.ports= vswitch.hugepages=160' \
        -serial file:/run/vswitch-plan/vswitch-plan-target/guest/guest-kernel.log \
        -device virtio-serial-pci \
        -chardev socket,id=shell,path=/run/vswitch-plan/vswitch-plan-target/guest/shell,server=on,wait=off \
        -device virtserialport,chardev=shell,name=vswitch.shell \
        -chardev socket,id=testpmd,path=/run/vswitch-plan/vswitch-plan-target/guest/testpmd,server=on,wait=off \
        -device virtserialport,chardev=testpmd,name=vswitch.testpmd \
        -qmp unix:/run/vswitch-plan/vswitch-plan-target/guest/qmp,server=on,wait=off \
        -netdev tap,id=net0,ifname=vs-tap-target,script=no,downscript=no \
        -device virtio-net-pci,netdev=net0,id=ua-port0,mac=02:00:c6:12:d9:01,addr=0x10,guest_announce=off \
        -device pcie-root-port,id=slot0,chassis=1,addr=0x18 -incoming defer
    appears /run/vswitch-plan/vswitch-plan-target/guest/qmp target-qemu
    # what the target qmp says and is told
    connect target-qmp /run/vswitch-plan/vswitch-plan-target/guest/qmp
    await target-qmp 10 'QMP greeting' $'\\{"QMP".*\\}'
    tell target-qmp $'{"execute": "qmp_capabilities", "id": 1}\n'
    await target-qmp 10 'answer to qmp_capabilities' $'(?m)^\\{.*"id": 1[,}].*\\n'
    # what the target guest shell says and is told
    connect target-guest-shell /run/vswitch-plan/vswitch-plan-target/guest/shell
    # what the target guest testpmd says and is told
    connect target-guest-testpmd /run/vswitch-plan/vswitch-plan-target/guest/testpmd
    tell source-qmp $'{"execute": "query-version", "id": 3}\n'
    await source-qmp 10 'answer to query-version' $'(?m)^\\{.*"id": 3[,}].*\\n'
    tell target-qmp $'{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "events", "state": true}, {"capability": "return-path", "state": true}]}, "id": 2}\n'
    await target-qmp 10 'answer to migrate-set-capabilities' $'(?m)^\\{.*"id": 2[,}].*\\n'
    tell target-qmp $'{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 4000000000, "downtime-limit": 300, "announce-rounds": 5}, "id": 3}\n'
    await target-qmp 10 'answer to migrate-set-parameters' $'(?m)^\\{.*"id": 3[,}].*\\n'
    tell source-qmp $'{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "events", "state": true}, {"capability": "return-path", "state": true}]}, "id": 4}\n'
    await source-qmp 10 'answer to migrate-set-capabilities' $'(?m)^\\{.*"id": 4[,}].*\\n'
    tell source-qmp $'{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 4000000000, "downtime-limit": 300, "announce-rounds": 5}, "id": 5}\n'
    await source-qmp 10 'answer to migrate-set-parameters' $'(?m)^\\{.*"id": 5[,}].*\\n'
    # -incoming (guide, 1.4.6)
    tell target-qmp $'{"execute": "migrate-incoming", "arguments": {"uri": "unix:/run/vswitch-plan/vswitch-plan-target/migration"}, "id": 4}\n'
    await target-qmp 10 'answer to migrate-incoming' $'(?m)^\\{.*"id": 4[,}].*\\n'
    # (guide, 1.3.7: inmigrate)
    tell target-qmp $'{"execute": "query-status", "id": 5}\n'
    await target-qmp 10 'answer to query-status' $'(?m)^\\{.*"id": 5[,}].*\\n'
    # (guide, 1.3.8)
    tell source-qmp $'{"execute": "migrate", "arguments": {"uri": "unix:/run/vswitch-plan/vswitch-plan-target/migration"}, "id": 6}\n'
    await source-qmp 10 'answer to migrate' $'(?m)^\\{.*"id": 6[,}].*\\n'
    await source-qmp 120 'end of the migration' $'(?m)^\\{.*"event": "MIGRATION".*"status": "(completed|failed|cancelled)".*\\n'
    # `info migrate` (guide, 1.3.8)
    tell source-qmp $'{"execute": "query-migrate", "id": 7}\n'
    await source-qmp 10 'answer to query-migrate' $'(?m)^\\{.*"id": 7[,}].*\\n'
    # (guide, 1.3.8: postmigrate)
    tell source-qmp $'{"execute": "query-status", "id": 8}\n'
    await source-qmp 10 'answer to query-status' $'(?m)^\\{.*"id": 8[,}].*\\n'
    await target-qmp 30 'guest that runs there' $'(?m)^\\{.*"event": "RESUME".*.*\\n'
    # (guide, 1.3.10: running)
    tell target-qmp $'{"execute": "query-status", "id": 6}\n'
    await target-qmp 10 'answer to query-status' $'(?m)^\\{.*"id": 6[,}].*\\n'
    # (guide, 1.3.8)
    tell source-qmp $'{"execute": "quit", "id": 9}\n'
    await source-qmp 10 'answer to quit' $'(?m)^\\{.*"id": 9[,}].*\\n'
    stop source-guest-testpmd ''
    stop source-guest-shell ''
    stop source-qmp ''
    stop source-qemu ''
    rm -rf -- /run/vswitch-plan/vswitch-plan-source/guest
    tell target-guest-testpmd $'\n'
    await target-guest-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show port stats all\n'
    await target-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # a VF of where the guest is now (guide, 1.3.10)
    tell target-qmp $'{"execute": "device_add", "arguments": {"driver": "vfio-pci", "host": "0000:04:10.0", "id": "vf1", "bus": "slot0"}, "id": 7}\n'
    await target-qmp 10 'answer to device_add' $'(?m)^\\{.*"id": 7[,}].*\\n'
    tell target-guest-shell $'until [ -e /sys/bus/pci/devices/0000:01:00.0 ]; do usleep 20000; done\necho vswitch-1-ended:$?\n'
    await target-guest-shell 30 $'end of `until [ -e /sys/bus/pci/devices/0000:01:00.0 ]; do u...' $'vswitch-1-ended:(\\d+)\\n'
    # `dpdk-devbind.py -b igb_uio 0000:01:00.0` (guide, 1.5.1)
    tell target-guest-shell $'[ ! -e /sys/bus/pci/devices/0000:01:00.0/driver ] || echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind; echo igb_uio > /sys/bus/pci/devices/0000:01:00.0/driver_override; echo 0000:01:00.0 > /sys/bus/pci/drivers_probe; [ -e /sys/bus/pci/devices/0000:01:00.0/driver ]\necho vswitch-2-ended:$?\n'
    await target-guest-shell 10 $'end of `[ ! -e /sys/bus/pci/devices/0000:01:00.0/driver ] ||...' $'vswitch-2-ended:(\\d+)\\n'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show port stats all\n'
    await target-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # (guide, 1.3.11)
    tell target-guest-testpmd $'port attach 0000:01:00.0\n'
    await target-guest-testpmd 10 $'answer to `port attach 0000:01:00.0`' $'(?s)port\\ attach\\ 0000:01:00\\.0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'port start 1\n'
    await target-guest-testpmd 10 $'answer to `port start 1`' $'(?s)port\\ start\\ 1\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # the PF is asked to let it in
    tell target-guest-testpmd $'mac_addr add port 1 vf 0 02:00:c6:12:d9:01\n'
    await target-guest-testpmd 10 $'answer to `mac_addr add port 1 vf 0 02:00:c6:12:d9:01`' $'(?s)mac_addr\\ add\\ port\\ 1\\ vf\\ 0\\ 02:00:c6:12:d9:01\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'add bonding slave 1 2\n'
    await target-guest-testpmd 10 $'answer to `add bonding slave 1 2`' $'(?s)add\\ bonding\\ slave\\ 1\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # until slave 1 is active
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'set bonding primary 1 2\n'
    await target-guest-testpmd 10 $'answer to `set bonding primary 1 2`' $'(?s)set\\ bonding\\ primary\\ 1\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'stop\n'
    await target-guest-testpmd 10 $'answer to `stop`' $'(?s)stop\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'set portlist 2\n'
    await target-guest-testpmd 10 $'answer to `set portlist 2`' $'(?s)set\\ portlist\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'start\n'
    await target-guest-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show port stats all\n'
    await target-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'remove bonding slave 0 2\n'
    await target-guest-testpmd 10 $'answer to `remove bonding slave 0 2`' $'(?s)remove\\ bonding\\ slave\\ 0\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'port stop 0\n'
    await target-guest-testpmd 10 $'answer to `port stop 0`' $'(?s)port\\ stop\\ 0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'port close 0\n'
    await target-guest-testpmd 10 $'answer to `port close 0`' $'(?s)port\\ close\\ 0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # `port detach`, of a closed port
    tell target-guest-testpmd $'device detach 0000:00:10.0\n'
    await target-guest-testpmd 10 $'answer to `device detach 0000:00:10.0`' $'(?s)device\\ detach\\ 0000:00:10\\.0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show port stats all\n'
    await target-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # (guide, 1.3.11)
    tell target-guest-testpmd $'port attach 0000:00:10.0\n'
    await target-guest-testpmd 10 $'answer to `port attach 0000:00:10.0`' $'(?s)port\\ attach\\ 0000:00:10\\.0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'port start 0\n'
    await target-guest-testpmd 10 $'answer to `port start 0`' $'(?s)port\\ start\\ 0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'add bonding slave 0 2\n'
    await target-guest-testpmd 10 $'answer to `add bonding slave 0 2`' $'(?s)add\\ bonding\\ slave\\ 0\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # until slave 0 is active
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'stop\n'
    await target-guest-testpmd 10 $'answer to `stop`' $'(?s)stop\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'set portlist 2\n'
    await target-guest-testpmd 10 $'answer to `set portlist 2`' $'(?s)set\\ portlist\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'start\n'
    await target-guest-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show bonding config 2\n'
    await target-guest-testpmd 10 $'answer to `show bonding config 2`' $'(?s)show\\ bonding\\ config\\ 2\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell target-guest-testpmd $'show port stats all\n'
    await target-guest-testpmd 10 $'answer to `show port stats all`' $'(?s)show\\ port\\ stats\\ all\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x520_0: 02:00:c6:12:00:01 to 02:00:c6:12:d9:01, 198.18.0.1 to 198.19.0.1,
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
    #     tell target-guest-testpmd $'show port stats 2\n'
    #     tell target-guest-testpmd $'show fwd stats all\n'
    #
    # suites/live_migration/test_live_migration.py::test_bonded_migration, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: a guest forwards by a bond of virtio and VF, whose primary is the VF. Take the VF
    #   out of the bond and of the guest, move the guest, give it a VF again, and the bond, too.
    #   Verify: frames go on in every step, with `--nic sriov` by the slave that the guide names and
    #   at the place where the guest is; the guest is announced; then every frame returns exactly;
    #   the outage is within the lab's threshold.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #     # its steps are above, from the first `show bonding config 2` after `start` on; meanwhile
    #     # send 1000 frames/s, so that each millisecond is seen
    #     # expect with the VF: primary 1, slaves 0 and 1 active; RX-packets of ports 1 and 2 grow,
    #     # not of 0
    #     # expect without the VF: primary 0, the only slave; rx_packets of the PF (ip -s link) and
    #     # RX-packets of ports 0 and 2 grow
    #     # expect query-status: inmigrate at the target, postmigrate at the source, then running at
    #     # the target
    #     # expect after the move: as without the VF, but rx_packets grow at the target's PF, and
    #     # not at the source's, unless the switch sends to both from the beginning
    #     # expect one RARP frame of the guest's address at least from the switch; no frame changed;
    #     # none twice but 256 for each change of slaves
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    say 'bonded_migration is up; Ctrl-C ends it. Frames go between'
    say '  x520_0, 0000:03:00.0, at the other end of its wire enp2s0f0'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop target-guest-testpmd ''
    stop target-guest-shell ''
    stop target-qmp ''
    stop target-qemu ''
    rm -rf -- /run/vswitch-plan/vswitch-plan-target/guest
    delete_interface vs-tap-target
    delete_interface vs-br-target 1782164937
    put_back /sys/class/net/ens2f0/flags 0x1003
    rebind 0000:04:10.0 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:04:10.0/driver_override '(null)' vfio-pci ''
    functions 0000:04:00.0 0 1
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:04:00.0/sriov_drivers_autoprobe 1 0
    rm -rf -- /run/vswitch-plan/vswitch-plan-target
    delete_interface vs-tap-source
    delete_interface vs-br-source 1816197610
    put_back /sys/class/net/ens1f0/flags 0x1003
    rebind 0000:03:10.0 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)' vfio-pci ''
    functions 0000:03:00.0 0 1
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/sriov_drivers_autoprobe 1 0
    rm -rf -- /run/vswitch-plan/vswitch-plan-source
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 2048
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
