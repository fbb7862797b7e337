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

# put_back_in NETNS FILE BEFORE [AFTER]: as put_back, of a file as a network namespace sees it
put_back_in() {
    local now
    now=$(ip netns exec "$1" cat -- "$2") || return 0
    if [[ $now = "$3" ]]; then
        return 0
    elif [[ $# -lt 4 || $now = "$4" ]]; then
        ip netns exec "$1" tee -- "$2" <<<"$3" >/dev/null
    else
        say "someone else has changed $2 in $1 to '$now': left so (it was '$3')"
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

# at NETNS COMMAND...: in a network namespace; none: the host's own
at() {
    local -a there=()
    [[ ! $1 ]] || there=(ip netns exec "$1")
    shift
    "${there[@]}" "$@"
}

# delete_filter NETNS INTERFACE LOCATION: of a network card, if it is there
delete_filter() {
    if at "$1" ethtool -n "$2" rule "$3" >/dev/null 2>&1; then
        at "$1" ethtool -N "$2" delete "$3"
    fi
}

# set_feature NETNS INTERFACE NAME VALUE: on or off, as it was
set_feature() { at "$1" ethtool -K "$2" "$3" "$4"; }

# unmount DIRECTORY COUNT: what is mounted there beyond that
unmount() {
    if (($(awk -v target="$1" '$5 == target' /proc/self/mountinfo | wc -l) > $2)); then
        umount "$1"
    fi
}

# remove_containers DIRECTORY CGROUP: those that podman or docker keeps there
remove_containers() {
    local group path pid
    local -x CONTAINERS_CONF=$1/containers.conf
    local -a rm=(podman "--root=$1/store" "--runroot=$1" --storage-driver=vfs rm --all --force)
    if [[ -e $CONTAINERS_CONF ]]; then
        # podman 4.3 finds only by failing that a container is dead whose conmon is, too
        "${rm[@]}" 2>/dev/null || "${rm[@]}"
    elif [[ -e $1/daemon.json ]]; then
        pkill -KILL -f "^([^ ]*/)?(dockerd?|containerd[-a-z0-9]*) .*$1/" || true
        for path in "/sys/fs/cgroup/$2" /sys/fs/cgroup/*/"$2"; do
            [[ -d $path ]] || continue
            while read -r pid; do
                kill -KILL "$pid" || true
            done < <(find "$path" -name cgroup.procs -exec cat {} +)
        done
        while read -r path; do
            rm -f -- "${path#unix://}"
        done < <(find "$1/exec" -name address -exec awk 1 {} +)
    fi
    rm -rf --one-file-system -- "$1"
    for group in "/sys/fs/cgroup/$2" /sys/fs/cgroup/*/"$2"; do
        [[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} \;
    done
}

# take_back FILE CONTROLLER: limits groups by it no more, unless others want it, too
take_back() {
    if [[ " $(<"$1") " = *" $2 "* ]]; then
        echo "-$2" >"$1" || say "someone else has groups limited by $2: left so"
    fi
}

# remove_domain NAME URI: destroys and undefines one, if it is there
remove_domain() {
    local -a virsh=(virsh --quiet --connect "$2")
    if "${virsh[@]}" list --all --name | grep -qxF -- "$1"; then
        "${virsh[@]}" destroy "$1" || true
        "${virsh[@]}" undefine "$1"
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
