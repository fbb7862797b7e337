#!/usr/bin/env bash
# A PVP by hand whose guest is a libvirt domain: `bare_pvp.sh` with `virsh define` and `virsh
# start` in place of QEMU. Uses the host's libvirt if it runs, else a libvirtd of its own, as
# the suite does. Ends at the first frame back. `bring_up.py` times it.
# Usage: bare_libvirt.sh KERNEL INITRAMFS DIRECTORY
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
kernel=$1 initramfs=$2
cd "$3"
uri=qemu:///system
clean_up() {
    virsh -q -c "$uri" destroy bare || true
    virsh -q -c "$uri" undefine bare || true
    # shellcheck disable=SC2046 # one word each
    kill -KILL $(jobs -p) || true
    wait || true
} 2>/dev/null
trap clean_up EXIT

vswitch 0,2,1,3 "$(vhost 0)" "$(vhost 1)"
generator

if ! virsh -q -c "$uri" version >/dev/null 2>&1; then
    mkdir -p etc var/lib var/log run /run/libvirt /var/cache/pytest-vswitch/libvirt
    ln -s /var/cache/pytest-vswitch/libvirt var/cache
    cat >etc/qemu.conf <<'END'
user = "root"
group = "root"
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = [ ]
namespaces = [ ]
END
    echo 'auth_unix_rw = "none"' >etc/libvirtd.conf
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --mount --pid --fork --kill-child --mount-proc sh -c '
        for place in etc var/lib var/log var/cache run; do
            mount --bind "$1/$place" "/$place/libvirt"
        done
        libvirtd --config "$1/etc/libvirtd.conf" --pid-file "$1/run/libvirtd.pid" & wait' \
        sh "$PWD" >libvirtd.out 2>&1 &
    until [ -S run/libvirt-sock ]; do sleep 0.01; done
    uri="qemu+unix:///system?socket=$PWD/run/libvirt-sock"
fi

interface() {
    cat <<END
<interface type='vhostuser'>
  <mac address='52:54:00:02:d9:0$1'/>
  <source type='unix' path='$PWD/vhost$1' mode='client'/>
  <model type='virtio'/>
  <address type='pci' domain='0x0000' bus='0x00' slot='0x1$1' function='0x0'/>
</interface>
END
}
channel() {
    echo "<channel type='unix'><source mode='bind' path='$PWD/$1'/>" \
        "<target type='virtio' name='vswitch.$1'/></channel>"
}
cat >domain.xml <<END
<domain type='qemu'>
  <name>bare</name>
  <memory unit='MiB'>1024</memory>
  <memoryBacking>
    <hugepages><page size='2048' unit='KiB'/></hugepages>
    <source type='memfd'/><access mode='shared'/><allocation mode='immediate'/>
  </memoryBacking>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$kernel</kernel><initrd>$initramfs</initrd>
    <cmdline>console=ttyS0 quiet $testpmd_parameters</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='maximum'>
    <numa><cell id='0' cpus='0-1' memory='1024' unit='MiB' memAccess='shared'/></numa>
  </cpu>
  <devices>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </controller>
    $(interface 0) $(interface 1) $(channel shell) $(channel testpmd)
    <memballoon model='none'/>
  </devices>
  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
</domain>
END
virsh -q -c "$uri" define domain.xml
virsh -q -c "$uri" start bare

# A program that talks to a Unix socket: what it is told is in NAME.in, what it says in NAME.out.
talk() {
    mkfifo "$1.in"
    python3 -c 'import os, socket, sys, threading
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
def told():
    while data := os.read(0, 4096):
        peer.sendall(data)
threading.Thread(target=told, daemon=True).start()
while data := peer.recv(4096):
    os.write(1, data)' "$1" <"$1.in" >"$1.out" &
}
talk shell
exec 5>shell.in
talk testpmd
exec 7>testpmd.in
guest_testpmd testpmd.out
echo start >&3
first_frame
