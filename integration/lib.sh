# shellcheck shell=bash
# Common part of the engine scripts: the work directory and its removal, daemons, images made from
# busybox, assertions, and one line of output per scenario. Sourced by every engine script; `run`
# only takes the packages and the totals from here.

# The runtime under test: a path or a name on PATH.
RUNTIME=${RUNTIME:-oxrun}
# A pattern of scenario names; the others are left out.
ONLY=${ONLY:-*}
# Lines of output of all engines, when `run` collects them.
RESULTS=${RESULTS:-}
# Engine calls are ended after this many seconds, and nothing is waited for longer than 20; an emulated
# machine has more PATIENCE: how many times as much.
PATIENCE=${PATIENCE:-1}
LIMIT=${LIMIT:-$((90 * PATIENCE))}
# Who makes the containers' cgroups: cgroupfs or systemd.
CGROUP_MANAGER=${CGROUP_MANAGER:-cgroupfs}
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

failures=0

# begin ENGINE: make the work directory, and undo everything on exit.
begin() {
    ENGINE=$1
    command -v "$RUNTIME" > /dev/null || { echo "no runtime $RUNTIME: set RUNTIME to its path" >&2; exit 1; }
    RUNTIME=$(command -v "$RUNTIME")
    [ "$(id -u)" = 0 ] || { echo "run as root: the engines need it" >&2; exit 1; }
    WORK=$(mktemp -d "/tmp/ox-$ENGINE.XXXX")
    chmod 755 "$WORK"
    mkdir -p "$WORK/log" "$WORK/bin"
    # A copy that ordinary users can run, under the runtime's own name.
    install -m 755 "$(readlink -f "$RUNTIME")" "$WORK/bin/$(basename "$RUNTIME")"
    RUNTIME=$WORK/bin/$(basename "$RUNTIME")
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# finish: stop what was started, unmount, remove; the exit status says whether a scenario failed.
finish() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    set +e
    tidy >/dev/null 2>&1
    stop_daemons
    end_own_processes
    unmount_below "$WORK"
    if declare -F after_all >/dev/null; then after_all; fi
    if [ -n "${KEEP:-}" ]; then echo "kept: $WORK" >&2; else rm -rf --one-file-system "$WORK"; fi
    [ "$failures" = 0 ] || status=1
    exit "$status"
}

# tidy: remove what a scenario left; every engine script has its own.
tidy() { :; }

# start_daemon NAME COMMAND…: in the background, with its output in log/NAME and its pid in NAME.pid.
start_daemon() {
    local name=$1
    shift
    "$@" >> "$WORK/log/$name" 2>&1 &
    echo "$!" > "$WORK/$name.pid"
    disown "$!"
}

# stop_daemon NAME: end it and wait until it is gone.
stop_daemon() {
    local pid
    pid=$(cat "$WORK/$1.pid")
    rm -f "$WORK/$1.pid"
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 150); do
        is_running "$pid" || return 0
        sleep 0.1
    done
    kill -9 "$pid"
}
is_running() { grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }

# The last started first.
stop_daemons() {
    local file
    for file in $(cd "$WORK" && ls -t ./*.pid 2>/dev/null); do stop_daemon "$(basename "$file" .pid)"; done
}

# Processes that name this run's work directory (shims, monitors, helpers), and no others.
own_processes() {
    local p
    for p in /proc/[0-9]*; do
        case ${p#/proc/} in "$$" | "$BASHPID") continue ;; esac
        tr '\0' ' ' 2>/dev/null < "$p/cmdline" | grep -qF "$WORK/" && echo "${p#/proc/}"
    done
    return 0
}

end_own_processes() {
    local pid
    for pid in $(own_processes); do kill -9 "$pid" 2>/dev/null; done
}

mounts_below() { awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo; }

unmount_below() {
    local m
    mounts_below "$1" | sort -r | while read -r m; do umount -l "$m" 2>/dev/null; done
}

# scenario NAME: run t_NAME in a subshell and print one line.
scenario() {
    local name=$1 status=0 log=$WORK/log/$1 reason
    # shellcheck disable=SC2053
    [[ $name == $ONLY ]] || return 0
    SCENARIO=$name
    (set -e; "t_${name//-/_}") > "$log" 2>&1 < /dev/null &
    wait $! || status=$?
    case $status in
        0) report "ok $ENGINE $name" ;;
        77) reason=$(tail -n 1 "$log"); report "skip $ENGINE $name ($reason)" ;;
        *)
            failures=$((failures + 1))
            report "FAIL $ENGINE $name"
            tail -n "${LINES_OF_LOG:-12}" "$log" | sed 's/^/    /'
            ;;
    esac
    tidy >> "$log" 2>&1 || true
}

# run_scenarios: every function t_NAME, by name, and `nothing-left` at the end.
run_scenarios() {
    local name
    for name in $(declare -F | sed -n 's/^declare -f t_//p' | tr _ -); do
        [ "$name" = nothing-left ] || scenario "$name"
    done
    scenario nothing-left
}

report() {
    echo "$1"
    if [ -n "$RESULTS" ]; then echo "$1" >> "$RESULTS"; fi
}

die() { echo "$*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }

# oxrun_only: what follows is promised by oxrun and need not hold for another RUNTIME.
oxrun_only() { [ "$(basename "$RUNTIME")" = oxrun ] || exit 0; }

# eq GOT WANT [WHAT]
eq() { [ "$1" = "$2" ] || die "${3:-value}: got '$1', wanted '$2'"; }

# one_of GOT WANT…
one_of() {
    local got=$1 want
    shift
    for want; do [ "$got" != "$want" ] || return 0; done
    die "got '$got', wanted one of: $*"
}

# has TEXT PART [WHAT]
has() { [[ $1 == *"$2"* ]] || die "${3:-text}: no '$2' in '$1'"; }

lacks() { [[ $1 != *"$2"* ]] || die "${3:-text}: '$2' in '$1'"; }

# status_of WANT COMMAND…: the command must exit with WANT; its output (both streams) is in $output.
status_of() {
    local want=$1 got=0
    shift
    output=$("$@" 2>&1) || got=$?
    [ "$got" = "$want" ] || die "$*: exit status $got, wanted $want: $output"
}

# until_true COMMAND…: within 20 seconds.
until_true() {
    local end=$((SECONDS + 20 * PATIENCE))
    while [ "$SECONDS" -le "$end" ]; do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    die "not within $((20 * PATIENCE)) seconds: $*"
}

# until_eq WANT COMMAND…: the output becomes WANT within 20 seconds.
until_eq() {
    local want=$1 got end=$((SECONDS + 20 * PATIENCE))
    shift
    while [ "$SECONDS" -le "$end" ]; do
        got=$("$@" 2>&1) || true
        [ "$got" != "$want" ] || return 0
        sleep 0.2
    done
    die "$*: still '$got' after $((20 * PATIENCE)) seconds, wanted '$want'"
}

# gone PID: the process ends within 20 seconds.
gone() { until_true not_alive "$1"; }
not_alive() { ! is_running "$1"; }

# with_tty COMMAND…: run on a new terminal; the output without carriage returns and the echo of the
# end of file that script(1) types.
with_tty() {
    local line
    printf -v line '%q ' "$@"
    timeout -k 5 "$LIMIT" script -qec "$line" /dev/null | tr -d '\r' | sed 's/\^@//g'
}

by_systemd() { [ "$CGROUP_MANAGER" = systemd ]; }

# units PATTERN: the scopes that systemd knows.
units() { ! by_systemd || systemctl ${ROOTLESS:+--machine "$TEST_USER@" --user} list-units --all --plain --no-legend "$1"; }

cgroup2() { [ -f /sys/fs/cgroup/cgroup.controllers ]; }

# cgroup_dir PID CONTROLLER: the directory of the process in that controller's hierarchy.
cgroup_dir() {
    local path
    if cgroup2; then
        path=$(awk -F: '$1 == 0 { print $3 }' "/proc/$1/cgroup")
        echo "/sys/fs/cgroup$path"
    else
        path=$(awk -F: -v c="$2" '("," $2 ",") ~ ("," c ",") { print $3 }' "/proc/$1/cgroup")
        echo "/sys/fs/cgroup/$2$path"
    fi
}

# memory_limit PID, pids_limit PID, cpu_limit PID: as the kernel has them; cpu as "quota period".
memory_limit() {
    local d
    d=$(cgroup_dir "$1" memory)
    if cgroup2; then cat "$d/memory.max"; else cat "$d/memory.limit_in_bytes"; fi
}
pids_limit() { cat "$(cgroup_dir "$1" pids)/pids.max"; }
cpu_limit() {
    local d
    d=$(cgroup_dir "$1" cpu)
    if cgroup2; then cat "$d/cpu.max"; else echo "$(cat "$d/cpu.cfs_quota_us") $(cat "$d/cpu.cfs_period_us")"; fi
}

# has_capability NUMBER: in root's bounding set on this machine.
has_capability() {
    local set
    set=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
    (((0x$set >> $1) & 1))
}
need_sys_resource() { has_capability 24 || skip "root has no CAP_SYS_RESOURCE on this machine"; }

# A root filesystem of static busybox in $WORK/rootfs and the same as $WORK/rootfs.tar.
make_rootfs() {
    local root=$WORK/rootfs applet
    mkdir -p "$root"/{bin,etc,tmp,root,home/app,proc,sys,dev,run,var/tmp,usr/bin,data}
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    chmod 1777 "$root/tmp" "$root/var/tmp"
    printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n' > "$root/etc/passwd"
    printf 'root:x:0:\napp:x:1000:\nextra:x:1001:app\n' > "$root/etc/group"
    printf 'no program\n' > "$root/bin/not-executable"
    chown 1000:1000 "$root/home/app"
    tar -C "$root" --numeric-owner --sort=name --mtime=@0 -cf "$WORK/rootfs.tar" .
}

# blob FILE: store under its digest in the layout being made; prints "digest size".
blob() {
    local sum
    sum=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$WORK/layout/blobs/sha256/$sum"
    echo "sha256:$sum $(stat -c %s "$1")"
}

# make_image NAME COMMAND…: $WORK/NAME.tar, an OCI image archive of the root filesystem.
make_image() {
    local name=$1 layer config manifest diff
    shift
    rm -rf "$WORK/layout"
    mkdir -p "$WORK/layout/blobs/sha256"
    layer=$(blob "$WORK/rootfs.tar")
    diff=${layer% *}
    jq -cn --arg diff "$diff" '{created: "2000-01-01T00:00:00Z", architecture: "amd64", os: "linux",
        config: {Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: $ARGS.positional, WorkingDir: "/"},
        rootfs: {type: "layers", diff_ids: [$diff]}, history: []}' --args -- "$@" > "$WORK/config.json"
    config=$(blob "$WORK/config.json")
    jq -cn --arg c "${config% *}" --argjson cs "${config#* }" --arg l "$diff" --argjson ls "${layer#* }" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $c, size: $cs},
        layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $l, size: $ls}]
    }' > "$WORK/manifest.json"
    manifest=$(blob "$WORK/manifest.json")
    jq -cn --arg m "${manifest% *}" --argjson ms "${manifest#* }" --arg name "$name" '{schemaVersion: 2,
        manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $m, size: $ms,
        annotations: {"io.containerd.image.name": $name, "org.opencontainers.image.ref.name": $name}}]
    }' > "$WORK/layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' > "$WORK/layout/oci-layout"
    tar -C "$WORK/layout" -cf "$WORK/$(basename "${name%%:*}").tar" oci-layout index.json blobs
    rm -rf "$WORK/layout"
}

# containerd_config EXTRA…: a private containerd on $WORK/containerd.sock.
start_containerd() {
    mkdir -p "$WORK/cd"
    cat > "$WORK/containerd.toml"
    start_daemon containerd containerd --config "$WORK/containerd.toml"
    until_true timeout 5 ctr -a "$WORK/containerd.sock" version
}

# The part of containerd's configuration that all scripts share.
containerd_base() {
    cat <<TOML
version = 2
root = "$WORK/cd/root"
state = "$WORK/cd/state"
oom_score = 0
[grpc]
  address = "$WORK/containerd.sock"
[ttrpc]
  address = "$WORK/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "$WORK/cd/opt"
TOML
}
