#!/bin/bash
# containerd's command `ctr` with the runtime as --runc-binary.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$here/held.sh"

c() { timeout -k 5 "$LIMIT" ctr -a "$WORK/containerd.sock" -n ox-ctr "$@"; }
opts=()

setup() {
    make_rootfs
    make_image box /bin/sh
    protoc -I "$here" --python_out="$WORK" "$here/rpc.proto"
    containerd_base | start_containerd
    c image import "$WORK/box.tar" > /dev/null
    IMAGE=$(c image ls -q | head -n 1)
    opts=(--runc-binary "$RUNTIME" --runc-root "$WORK/rr")
    ! by_systemd || opts+=(--runc-systemd-cgroup)
    make_held
}

tidy() {
    local id
    release
    for id in $(ls "$WORK/rr/ox-ctr" 2> /dev/null); do "$RUNTIME" --root "$WORK/rr/ox-ctr" resume "$id" || true; done
    for id in $(c task ls -q); do c task kill -a -s KILL "$id"; c task rm -f "$id"; done
    for id in $(c container ls -q); do c container rm "$id"; done
}

# With systemd every container needs the name of its unit.
group() { ! by_systemd || echo "--cgroup system.slice:ox-test:$SCENARIO${1:-}"; }

# r [FLAG…] -- COMMAND…: in the foreground, removed afterwards. b: the same in the background.
r() {
    local flags=()
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    c run --rm "${opts[@]}" $(group) "${flags[@]}" "$IMAGE" "$SCENARIO" "$@"
}
b() {
    local flags=()
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    c run -d "${opts[@]}" $(group) "${flags[@]}" "$IMAGE" "$SCENARIO" "$@"
}
x() { c task exec --exec-id "x$RANDOM" "$@"; }
pid_of() { c task ls | awk -v id="$SCENARIO" '$1 == id { print $2 }'; }
state_of() { c task ls | awk -v id="$SCENARIO" '$1 == id { print $3 }'; }
rpc() { PYTHONPATH=$WORK timeout "$LIMIT" /usr/bin/python3 "$here/rpc.py" "$WORK/containerd.sock" "$@"; }

t_output() { eq "$(r -- echo one two)" "one two"; }
# Not at once: an end of the input that ctr meets before it has made the task is never told to the shim.
t_stdin() { eq "$({ sleep "$PATIENCE"; echo in; } | r -- cat)" in; }
t_exit_code() { status_of 42 r -- sh -c 'exit 42'; }
t_killed_by_signal() {
    b -- sleep 1000
    kill -9 "$(pid_of)"
    until_eq STOPPED state_of
    has "$(c task rm "$SCENARIO" 2>&1)" "exit code 137"
}
t_missing_program() {
    status_of 1 r -- no-such-program
    has "$output" no-such-program
    has "$output" "executable file not found"
    eq "$(c task ls -q)" ""
    eq "$(ls "$WORK/rr/ox-ctr" 2>/dev/null)" "" "state directory"
}
t_not_executable() {
    status_of 1 r -- /bin/not-executable
    has "$output" "permission denied"
}
t_detached() {
    b -- sleep 1000
    eq "$(state_of)" RUNNING
    local pid
    pid=$(pid_of)
    has "$(tr '\0' ' ' < "/proc/$pid/cmdline")" "sleep 1000"
    c task kill -s KILL "$SCENARIO"
    until_eq STOPPED state_of
    c task rm "$SCENARIO" || true
    eq "$(c task ls -q)" ""
    gone "$pid"
}
t_tty() { eq "$(with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr run --rm -t "${opts[@]}" $(group) "$IMAGE" tty1 tty)" /dev/pts/0; }
t_tty_detached() {
    # `ctr run -d -t` needs no terminal of its own once it has returned.
    with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr run -d -t "${opts[@]}" $(group) "$IMAGE" "$SCENARIO" sh
    eq "$(state_of)" RUNNING
    eq "$(x "$SCENARIO" readlink /proc/1/fd/0)" /dev/pts/0
}
t_exec() {
    b -- sleep 1000
    eq "$(x "$SCENARIO" echo inside)" inside
    status_of 7 x "$SCENARIO" sh -c 'exit 7'
    eq "$(echo data | x "$SCENARIO" cat)" data
}
t_exec_tty() {
    b -- sleep 1000
    has "$(with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr task exec -t --exec-id t1 "$SCENARIO" sh -c 'sleep 0.3; tty')" /dev/pts/
}
t_exec_user_cwd() {
    b -- sleep 1000
    eq "$(x --user 1000:1000 --cwd /tmp "$SCENARIO" sh -c 'id -u; id -g; pwd' | xargs)" "1000 1000 /tmp"
}
t_exec_missing_program() {
    b -- sleep 1000
    status_of 1 x "$SCENARIO" no-such-program
    has "$output" "executable file not found"
    eq "$(state_of)" RUNNING
}
processes() { c task ps "$SCENARIO" | grep -c '^[0-9]'; }
t_exec_detached_and_ps() {
    b -- sleep 1000
    c task exec -d --exec-id side "$SCENARIO" sleep 2000
    until_eq 2 processes
    has "$(c task ps "$SCENARIO")" side
}
t_exec_in_stopped() {
    b -- true
    until_eq STOPPED state_of
    status_of 1 x "$SCENARIO" true
}
t_pause_resume() {
    b -- sleep 1000
    c task pause "$SCENARIO"
    eq "$(state_of)" PAUSED
    status_of 1 x "$SCENARIO" true
    c task resume "$SCENARIO"
    eq "$(state_of)" RUNNING
    eq "$(x "$SCENARIO" echo again)" again
}
t_kill_paused() {
    b -- sleep 1000
    c task pause "$SCENARIO"
    c task kill -s KILL "$SCENARIO"
    c task resume "$SCENARIO" || true
    until_eq STOPPED state_of
}
t_signals() {
    b -- sh -c 'trap "exit 9" USR1; while :; do sleep 0.1; done'
    sleep 0.5
    c task kill -s USR1 "$SCENARIO"
    until_eq STOPPED state_of
    has "$(c task rm "$SCENARIO" 2>&1)" "exit code 9"
}
t_kill_unknown() {
    b -- true
    until_eq STOPPED state_of
    status_of 1 c task kill "$SCENARIO"
    has "$output" "not found"
}
t_delete_running() {
    b -- sleep 1000
    status_of 1 c task rm "$SCENARIO"
    eq "$(state_of)" RUNNING
    local pid
    pid=$(pid_of)
    c task rm -f "$SCENARIO" || true
    gone "$pid"
    eq "$(c task ls -q)" ""
}
t_metrics() {
    b --memory-limit 67108864 -- sleep 1000
    local m
    m=$(c task metrics --format json "$SCENARIO")
    has "$m" usage
    has "$m" 67108864
}
t_limits() {
    b --memory-limit 67108864 --cpus 0.5 -- sleep 1000
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 67108864
    eq "$(cpu_limit "$pid")" "50000 100000"
}
t_update() {
    b --memory-limit 67108864 -- sleep 1000
    rpc update-task ox-ctr "$SCENARIO" '{"memory":{"limit":134217728},"cpu":{"quota":20000,"period":100000},"pids":{"limit":77}}'
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 134217728
    eq "$(cpu_limit "$pid")" "20000 100000"
    eq "$(pids_limit "$pid")" 77
}
t_update_refused() {
    b --memory-limit 67108864 -- sleep 1000
    status_of 1 rpc update-task ox-ctr "$SCENARIO" '{"memory":{"limit":134217728},"cpu":{"cpus":"999999"}}'
    eq "$(state_of)" RUNNING
}
t_out_of_memory() {
    status_of 137 r --memory-limit 16777216 -- tail /dev/zero
}
t_oom_event() {
    timeout 60 ctr -a "$WORK/containerd.sock" -n ox-ctr events > "$WORK/events" 2>&1 &
    local listener=$!
    sleep 0.5
    # The shim must be listening before the limit is hit.
    b --memory-limit 16777216 -- sh -c 'sleep 1; tail /dev/zero'
    until_true grep -q /tasks/oom "$WORK/events"
    kill "$listener"
}
t_env_cwd() { eq "$(r --env A=b --cwd /tmp -- sh -c 'echo $A; pwd' | xargs)" "b /tmp"; }
t_read_only() {
    status_of 1 r --read-only -- touch /file
    has "$output" "Read-only file system"
}
t_mount() {
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    eq "$(r --mount "type=bind,src=$WORK/vol,dst=/data,options=rbind:ro" -- cat /data/file)" content
    status_of 1 r --mount "type=bind,src=$WORK/vol,dst=/data,options=rbind:ro" -- touch /data/new
    has "$output" "Read-only file system"
}
t_missing_mount_source() {
    status_of 1 r --mount "type=bind,src=$WORK/absent,dst=/data,options=rbind" -- true
    has "$output" "$WORK/absent"
}
t_network_host() { eq "$(r --net-host -- readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
t_network_own() { eq "$(r -- cat /sys/class/net/lo/operstate)" unknown; }
t_privileged() {
    local mask
    mask=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
    has "$(r --privileged -- grep CapEff /proc/self/status)" "$mask"
}
t_capabilities() {
    local caps
    caps=$(r --cap-drop CAP_CHOWN -- sh -c 'touch /f && chown 1 /f' 2>&1) && die "chown was possible: $caps"
    has "$caps" "ot permitted"
}
t_seccomp() {
    local n
    n=$(r --seccomp -- awk '/^Seccomp:/ { print $2 }' /proc/self/status)
    eq "$n" 2
    status_of 1 r --seccomp -- unshare -U true
}
t_device() { eq "$(r --device /dev/zero -- stat -c %t:%T /dev/zero)" 1:5; }
t_device_denied() {
    status_of 1 r -- sh -c 'mknod /tmp/mem c 1 1 && cat /tmp/mem > /dev/null'
}
t_masked_paths() { eq "$(r -- sh -c 'cat /proc/keys /proc/timer_list | wc -c')" 0; }
t_cgroup_path() {
    if by_systemd; then
        b -- sleep 1000
        has "$(cat "/proc/$(pid_of)/cgroup")" "/system.slice/ox-test-$SCENARIO.scope"
        has "$(units "ox-test-$SCENARIO.scope")" running
        tidy
        eq "$(units 'ox-test-*')" ""
        return
    fi
    b --cgroup "/ox-test/$SCENARIO" -- sleep 1000
    has "$(cat "/proc/$(pid_of)/cgroup")" "/ox-test/$SCENARIO"
    tidy > /dev/null 2>&1
    until_eq "" find /sys/fs/cgroup -path "*/ox-test/$SCENARIO" -type d
}
t_pid_file() {
    b --pid-file "$WORK/pidfile" -- sleep 1000
    eq "$(cat "$WORK/pidfile")" "$(pid_of)"
}
t_null_io() {
    b --null-io -- sleep 1000
    eq "$(x "$SCENARIO" readlink /proc/1/fd/1)" /dev/null
}
t_no_leaked_descriptors() { eq "$(r -- sh -c 'ls /proc/self/fd | xargs')" "0 1 2 3"; }
t_rootfs_argument() {
    eq "$(c run --rm "${opts[@]}" $(group) --rootfs "$WORK/rootfs" "$SCENARIO" /bin/echo plain)" plain
}
t_many_at_once() {
    local pids=() i
    for i in $(seq 8); do
        c run --rm "${opts[@]}" $(group "-$i") "$IMAGE" "many$i" sh -c "echo n$i" > "$WORK/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(cat "$WORK"/many.*)"; done
    eq "$(cat "$WORK"/many.? | sort | xargs)" "n1 n2 n3 n4 n5 n6 n7 n8"
}

# config.json of `ctr` with a createRuntime hook that takes long.
slow_spec() {
    c oci spec | jq --arg root "$WORK/rootfs" '.root = {path: $root, readonly: true} | .process.terminal = false
        | .process.args = ["/bin/sleep", "1000"] | del(.process.rlimits, .process.apparmorProfile)
        | .linux.cgroupsPath = $group
        | .hooks = {createRuntime: [{path: "/bin/sh", args: ["sh", "-c", $hook]}]}' \
        --arg group "$(by_systemd && echo system.slice:ox-test:slow || echo /ox-test/slow)" \
        --arg hook "echo \$\$ > $WORK/in-hook; exec sleep 10" > "$WORK/slow.json"
}
t_shim_killed_in_create() {
    slow_spec
    # With --config ctr wants the name of the unit in both places.
    c run -d "${opts[@]}" $(group) --config "$WORK/slow.json" "$SCENARIO" > "$WORK/slow.log" 2>&1 &
    local run=$! shim
    (until_true test -s "$WORK/in-hook") || die "no hook ran: $(cat "$WORK/slow.log")"
    shim=$(pgrep -f "containerd-shim-runc-v2 .*-id $SCENARIO .*$WORK") || die "no shim found"
    kill -9 "$shim"
    if wait "$run"; then die "run succeeded"; fi
    gone "$(cat "$WORK/in-hook")"
    until_eq "" ls "$WORK/rr/ox-ctr"
    eq "$(c task ls -q)" ""
    oxrun_only
    until_eq "" find /sys/fs/cgroup -path '*/ox-test/slow' -type d
}
# held: containers of this scenario have the runtime that can be stopped half way, and a cgroup with a name.
held() {
    opts=(--runc-binary "$HELD" --runc-root "$WORK/rr")
    if by_systemd; then opts+=(--runc-systemd-cgroup); else opts+=(--cgroup "/ox-test/$SCENARIO"); fi
}
own_runtime() { "$RUNTIME" --root "$WORK/rr/ox-ctr" "$@"; }
shim_of() { pgrep -f "containerd-shim-runc-v2 .*-id $SCENARIO .*$WORK" || die "no shim found"; }
no_trace() {
    until_eq "" ls "$WORK/rr/ox-ctr"
    until_eq "" runtimes_of "$SCENARIO"
    until_eq "" find /sys/fs/cgroup '(' -path "*/ox-test/$SCENARIO" -o -name "ox-test-$SCENARIO.scope" ')' -type d
    until_eq "" mounts_below "$WORK/cd/state"
}
restart_containerd() {
    kill -9 "$(cat "$WORK/containerd.pid")"
    gone "$(cat "$WORK/containerd.pid")"
    start_daemon containerd containerd --config "$WORK/containerd.toml"
    until_true timeout 5 ctr -a "$WORK/containerd.sock" version
}
# exec_held: a container whose exec stops half way; its first process in $pid, the client in $client.
exec_held() {
    held
    b -- sleep 1000
    pid=$(pid_of)
    own_runtime pause "$SCENARIO"
    c task exec --exec-id x1 "$SCENARIO" sleep 2000.7 > "$WORK/exec.log" 2>&1 &
    client=$!
    in_exec "$pid"
}
t_containerd_killed_in_create() {
    held
    hold_create
    b -- sleep 1000 > "$WORK/create.log" 2>&1 &
    local client=$!
    in_create
    restart_containerd
    if wait "$client"; then die "run succeeded"; fi
    [ -s "$WORK/create.log" ] || die "the caller was told nothing"
    release
    gone "$HOOK"
    until_eq "" runtimes_of "create .*$SCENARIO"
    # The shim ends the command as its caller is gone. The restarted containerd forgets the task and leaves
    # shim and clean-up to the administrator.
    eq "$(c task ls -q)" ""
    kill -9 "$(shim_of)"
    own_runtime delete --force "$SCENARIO"
    c container rm "$SCENARIO"
    oxrun_only
    no_trace
}
t_runtime_killed_in_create() {
    held
    hold_create
    b -- sleep 1000 > "$WORK/create.log" 2>&1 &
    local client=$!
    in_create
    kill_runtime "create .*$SCENARIO"
    if wait "$client"; then die "run succeeded"; fi
    has "$(cat "$WORK/create.log")" "did not terminate successfully"
    oxrun_only
    no_trace
    gone "$HOOK"
}
t_shim_killed_in_exec() {
    local pid client
    exec_held
    kill -9 "$(shim_of)"
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    gone "$pid"
    until_eq "" pgrep -f '^sleep 2000.7'
    no_trace
}
t_containerd_killed_in_exec() {
    local pid client
    exec_held
    restart_containerd
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    own_runtime resume "$SCENARIO"
    eq "$(x "$SCENARIO" echo again)" again
    c task rm -f "$SCENARIO" || true
    gone "$pid"
    until_eq "" pgrep -f '^sleep 2000.7'
    no_trace
}
t_runtime_killed_in_exec() {
    local pid client
    exec_held
    kill_runtime "exec .*$SCENARIO"
    if wait "$client"; then die "exec succeeded"; fi
    has "$(cat "$WORK/exec.log")" "did not terminate successfully"
    own_runtime resume "$SCENARIO"
    eq "$(x "$SCENARIO" echo again)" again
    oxrun_only
    # The process that was on its way in has ended by itself.
    until_eq "$pid" cat "$(cgroup_dir "$pid" pids)/cgroup.procs"
}
t_console_dead_in_create() {
    held
    deafen
    output=$(with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr run -t "${opts[@]}" $(group) "$IMAGE" "$SCENARIO" sh)
    has "$output" nobody-listens
    eq "$(c task ls -q)" ""
    no_trace
}
t_console_dead_in_exec() {
    held
    b -- sleep 1000
    deafen
    output=$(with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr task exec -t --exec-id t2 "$SCENARIO" sh)
    has "$output" nobody-listens
    release
    eq "$(xargs < "$(cgroup_dir "$(pid_of)" pids)/cgroup.procs")" "$(pid_of)" "processes"
}
t_console_lost_while_running() {
    held
    with_tty ctr -a "$WORK/containerd.sock" -n ox-ctr run -d -t "${opts[@]}" $(group) "$IMAGE" "$SCENARIO" sh
    local pid
    pid=$(pid_of)
    # The shim held the other end of the terminal.
    kill -9 "$(shim_of)"
    gone "$pid"
    no_trace
}
t_shim_killed_while_running() {
    b -- sleep 1000
    local pid shim
    pid=$(pid_of)
    c task exec -d --exec-id side "$SCENARIO" sleep 2000.5
    until_true pgrep -f '^sleep 2000.5'
    shim=$(pgrep -f "containerd-shim-runc-v2 .*-id $SCENARIO") || die "no shim found"
    kill -9 "$shim"
    gone "$pid"
    until_eq "" pgrep -f '^sleep 2000.5'
    until_eq "" ls "$WORK/rr/ox-ctr"
}
t_containerd_restarted() {
    b -- sleep 1000
    local pid
    pid=$(pid_of)
    stop_daemon containerd
    start_daemon containerd containerd --config "$WORK/containerd.toml"
    until_eq "$pid" pid_of
    eq "$(x "$SCENARIO" echo back)" back
}
shims() { pgrep -f "containerd-shim-runc-v2 .*-address $WORK/" || true; }
t_nothing_left() {
    tidy > /dev/null 2>&1
    eq "$(ls "$WORK/rr/ox-ctr" 2>/dev/null)" "" "state directories"
    until_eq "" shims
    oxrun_only
    eq "$(find /sys/fs/cgroup '(' -path '*ox-test/*' -o -path '*/ox-test-*' ')' -type d 2>/dev/null | head)" "" "cgroups"
    eq "$(units 'ox-test-*')" "" units
}
after_all() {
    [ -z "${KEEP:-}" ] || return 0
    find /sys/fs/cgroup -depth -type d '(' -path '*/ox-test*' -o -path '*/ox-ctr*' ')' -exec rmdir {} + 2>/dev/null
}

begin ctr
setup
run_scenarios
