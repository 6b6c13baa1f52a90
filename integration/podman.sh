#!/bin/bash
# Podman with the runtime as --runtime, as root; podman-rootless.sh runs the same as an ordinary user.
set -eu
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
. "$here/podman-lib.sh"
. "$here/held.sh"

p() { e podman --runtime "$RUNTIME" "$@"; }
r() { p run --rm --name "$SCENARIO" "$@"; }
b() { p run -d --name "$SCENARIO" "$@"; }
inspect() { p inspect -f "$1" "$SCENARIO"; }
pid_of() { inspect '{{.State.Pid}}'; }
state_of() { inspect '{{.State.Status}}'; }

# tty_p …: podman on a terminal.
tty_p() {
    export -f p e as_user
    export ROOTLESS WORK RUNTIME LIMIT TEST_USER USER_ID=${USER_ID:-} XDG=${XDG:-} FOREGROUND=yes
    with_tty bash -c 'p "$@"' - "$@"
}

setup() {
    make_rootfs
    make_held
    configure
    chmod 644 "$WORK/rootfs.tar"
    iptables -S CNI-FORWARD > /dev/null 2>&1 || OWN_CHAINS=yes
    p import -q "$WORK/rootfs.tar" box > /dev/null
}

tidy() {
    release
    p pod rm -f -a -t 0
    p rm -f -a -t 0
    p volume prune -f
}

t_info() {
    eq "$(p info -f '{{.Host.OCIRuntime.Path}}')" "$RUNTIME"
    has "$(p info -f '{{.Host.OCIRuntime.Version}}')" "$(basename "$RUNTIME")"
}
t_output() { eq "$(r box echo one two)" "one two"; }
t_runtime_by_name() {
    eq "$(e podman --runtime tested run --rm --name "$SCENARIO" box echo named)" named
    e podman run -d --name "$SCENARIO" box sleep 1000 > /dev/null
    eq "$(inspect '{{.OCIRuntime}}')" tested
}
t_stderr() { eq "$(r box sh -c 'echo e >&2' 2>&1 > /dev/null)" e; }
t_stdin() { eq "$(echo in | r -i box cat)" in; }
t_exit_code() { status_of 42 r box sh -c 'exit 42'; }
t_killed_by_signal() {
    b box sleep 1000
    kill -9 "$(pid_of)"
    eq "$(p wait "$SCENARIO")" 137
}
t_missing_program() {
    status_of 127 r box no-such-program
    has "$output" no-such-program
}
t_missing_program_without_log() {
    # A name that Podman does not know as one that writes JSON: the text comes from stderr.
    sed 's/^runtime_supports_json.*/runtime_supports_json = []/' "$WORK/containers.conf" > "$WORK/plain.conf"
    cp "$WORK/containers.conf" "$WORK/kept.conf"
    cp "$WORK/plain.conf" "$WORK/containers.conf"
    local got=0
    output=$(r box no-such-program 2>&1) || got=$?
    cp "$WORK/kept.conf" "$WORK/containers.conf"
    eq "$got" 127
    has "$output" no-such-program
}
t_not_executable() { status_of 126 r box /bin/not-executable; }
t_directory_as_program() {
    local got=0
    output=$(r box /etc 2>&1) || got=$?
    if [ "$(basename "$RUNTIME")" = oxrun ]; then eq "$got" 126; else one_of "$got" 126 127; fi
}
t_env_and_workdir() { eq "$(r -e A=b -w /tmp box sh -c 'echo $A; pwd' | xargs)" "b /tmp"; }
t_hostname() { eq "$(r -h boxy box hostname)" boxy; }
t_detached_logs_wait() {
    b box sh -c "echo early; sleep $PATIENCE; echo late; exit 5"
    eq "$(state_of)" running
    eq "$(p wait "$SCENARIO")" 5
    eq "$(p logs "$SCENARIO" | xargs)" "early late"
}
t_create_init_start() {
    p create --name "$SCENARIO" box sh -c 'echo started; exit 3'
    p init "$SCENARIO"
    one_of "$(state_of)" initialized created
    status_of 3 p start -a "$SCENARIO"
    eq "$output" started
}
t_start_again() {
    b box echo run
    p wait "$SCENARIO"
    p start "$SCENARIO"
    p wait "$SCENARIO"
    eq "$(p logs "$SCENARIO" | xargs)" "run run"
}
t_attach() {
    b box sh -c 'sleep 2; echo attached; exit 4'
    eq "$(p attach "$SCENARIO")" attached
    eq "$(p wait "$SCENARIO")" 4
}
t_exec() {
    b box sleep 1000
    eq "$(p exec "$SCENARIO" echo inside)" inside
    status_of 7 p exec "$SCENARIO" sh -c 'exit 7'
    eq "$(echo data | p exec -i "$SCENARIO" cat)" data
}
t_exec_options() {
    b box sleep 1000
    eq "$(p exec -u 1000:1000 -w /tmp -e K=v "$SCENARIO" sh -c 'id -u; pwd; echo $K' | xargs)" "1000 /tmp v"
    p exec -d "$SCENARIO" sh -c 'echo side > /tmp/side'
    until_eq side p exec "$SCENARIO" cat /tmp/side
}
t_exec_missing_program() {
    b box sleep 1000
    status_of 127 p exec "$SCENARIO" no-such-program
    status_of 126 p exec "$SCENARIO" /bin/not-executable
    eq "$(state_of)" running
}
t_exec_bad_directory() {
    b box sleep 1000
    status_of 127 p exec -w /absent "$SCENARIO" true
}
t_exec_in_stopped() {
    b box true
    p wait "$SCENARIO"
    status_of 255 p exec "$SCENARIO" true
}
t_exec_privileged() {
    need_sys_resource
    b box sleep 1000
    p exec --privileged "$SCENARIO" true
}
t_exec_preserved_descriptors() {
    b box sleep 1000
    echo kept > "$WORK/kept"
    chmod 644 "$WORK/kept"
    eq "$(p exec --preserve-fds 1 "$SCENARIO" sh -c 'cat <&3' 3< "$WORK/kept")" kept
}
t_preserved_descriptors() {
    echo kept > "$WORK/kept"
    chmod 644 "$WORK/kept"
    eq "$(r --preserve-fds 1 box sh -c 'cat <&3' 3< "$WORK/kept")" kept
}
t_tty() { eq "$(tty_p run --rm -t box tty)" /dev/pts/0; }
t_tty_interactive() { has "$(tty_p run --rm -it box sh -c 'test -t 0 && test -t 1 && test -t 2 && echo yes')" yes; }
t_tty_detached() {
    b -t box sh -c 'echo line; tty'
    p wait "$SCENARIO"
    eq "$(p logs "$SCENARIO" | tr -d '\r' | xargs)" "line /dev/pts/0"
}
t_exec_tty() {
    b box sleep 1000
    has "$(tty_p exec -t "$SCENARIO" sh -c 'tty; sleep 0.2')" /dev/pts/
}
t_stop_graceful() {
    b box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    sleep 0.5
    p stop -t 20 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 3
}
t_stop_after_timeout() {
    b box sh -c 'trap "" TERM; while :; do sleep 0.1; done'
    sleep 0.5
    p stop -t 1 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 137
}
t_kill_signal() {
    b box sh -c 'trap "exit 4" USR1; while :; do sleep 0.1; done'
    sleep 0.5
    p kill -s USR1 "$SCENARIO"
    eq "$(p wait "$SCENARIO")" 4
}
t_kill_exited() {
    b box true
    p wait "$SCENARIO"
    status_of 125 p kill "$SCENARIO"
}
t_remove_running() {
    b box sleep 1000
    local pid
    pid=$(pid_of)
    p rm -f -t 0 "$SCENARIO"
    gone "$pid"
    status_of 1 p container exists "$SCENARIO"
}
t_restart() {
    b box sleep 1000
    local before
    before=$(pid_of)
    p restart -t 0 "$SCENARIO"
    [ "$(pid_of)" != "$before" ] || die "same process"
    eq "$(state_of)" running
}
t_restart_policy() {
    b --restart on-failure:2 box sh -c 'exit 1'
    until_eq 2 inspect '{{.RestartCount}}'
    until_eq exited state_of
}
t_pause() {
    [ -z "$ROOTLESS" ] || cgroup2 || skip "no freezer for ordinary users on cgroup v1"
    b box sleep 1000
    p pause "$SCENARIO"
    eq "$(state_of)" paused
    status_of 255 p exec "$SCENARIO" true
    p unpause "$SCENARIO"
    eq "$(state_of)" running
    eq "$(p exec "$SCENARIO" echo again)" again
}
t_limits() {
    limits_possible
    b --memory 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 box sleep 1000
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 67108864
    eq "$(cpu_limit "$pid")" "50000 100000"
    eq "$(pids_limit "$pid")" 50
}
t_update() {
    limits_possible
    b --memory 64m box sleep 1000
    p update --memory 128m --cpus 0.25 "$SCENARIO"
    eq "$(memory_limit "$(pid_of)")" 134217728
    eq "$(cpu_limit "$(pid_of)")" "25000 100000"
}
oom_noticed() { [ -e "$WORK/tmp/oom" ] || [ "$(inspect '{{.State.OOMKilled}}')" = true ]; }
t_out_of_memory() {
    limits_possible
    b --memory 16m --memory-swap 16m box sh -c 'sleep 1; tail /dev/zero; sleep 1; exit 137'
    eq "$(p wait "$SCENARIO")" 137
    # conmon 2.1.6 of Debian 12 writes its note into Podman's working directory, where Podman does not look, and
    # with another runtime too none where it belongs to an ordinary user.
    [ -n "$ROOTLESS" ] || until_true oom_noticed
}
t_stats() {
    limits_possible
    b --memory 64m box sleep 1000
    has "$(p stats --no-stream --format '{{.MemUsage}}' "$SCENARIO")" 67.11MB
}
t_top() {
    b box sh -c 'sleep 1000 & sleep 2000'
    sleep 0.5
    has "$(p top "$SCENARIO")" "sleep 1000"
}
t_user() { eq "$(r -u 1000:1000 box sh -c 'id -u; id -g; echo $HOME' | xargs)" "1000 1000 /home/app"; }
t_user_by_name() { has "$(r -u app --group-add 2000 box id -G)" 2000; }
t_user_namespace() {
    if [ -n "$ROOTLESS" ]; then
        eq "$(r --userns keep-id box id -u)" "$USER_ID"
    else
        eq "$(r --uidmap 0:100000:65536 --gidmap 0:100000:65536 box cat /proc/self/uid_map | xargs)" "0 100000 65536"
    fi
}
t_user_namespace_exec() {
    local map=(--uidmap 0:100000:65536)
    [ -z "$ROOTLESS" ] || map=(--uidmap 0:1:5000)
    b "${map[@]}" box sleep 1000
    eq "$(p exec -u 1000 "$SCENARIO" id -u)" 1000
    eq "$(p exec "$SCENARIO" readlink /proc/self/ns/user)" "$(p exec "$SCENARIO" readlink /proc/1/ns/user)"
}
t_read_only() {
    status_of 1 r --read-only box touch /file
    has "$output" "Read-only file system"
    r --read-only box touch /tmp/file
}
t_tmpfs() { has "$(r --tmpfs /t:size=1m,noexec box grep ' /t ' /proc/mounts)" size=1024k; }
t_volume() {
    r -v "keep-$ENGINE:/data" box sh -c 'echo saved > /data/f'
    eq "$(r -v "keep-$ENGINE:/data:ro" box cat /data/f)" saved
}
t_bind_mount() {
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    chmod -R a+rX "$WORK/vol"
    eq "$(r -v "$WORK/vol:/data" box cat /data/file)" content
    status_of 1 r -v "$WORK/vol:/data:ro" box touch /data/new
}
t_volume_propagation() {
    rootful
    mkdir -p "$WORK/prop"
    mount -t tmpfs -o size=64k prop "$WORK/prop"
    mount --make-shared "$WORK/prop"
    mkdir "$WORK/prop/sub"
    b -v "$WORK/prop:/data:rslave" box sleep 1000
    mount -t tmpfs -o size=64k sub "$WORK/prop/sub"
    touch "$WORK/prop/sub/later"
    eq "$(p exec "$SCENARIO" ls /data/sub)" later
    p rm -f -t 0 "$SCENARIO"
    umount -R "$WORK/prop"
}
t_missing_bind_source() {
    status_of 125 r -v "$WORK/absent:/data" box true
    has "$output" "$WORK/absent"
}
t_copy_and_commit() {
    b box sh -c 'echo made > /made; sleep 1000'
    until_eq made p exec "$SCENARIO" cat /made
    p cp "$SCENARIO:/made" "$WORK/tmp/copied-$ENGINE"
    eq "$(cat "$WORK/tmp/copied-$ENGINE")" made
    p commit -q "$SCENARIO" made-image > /dev/null
    p rm -f -t 0 "$SCENARIO"
    eq "$(r made-image cat /made)" made
    p rmi -f made-image > /dev/null
}
t_init() {
    b --init box sleep 1000
    has "$(p exec "$SCENARIO" cat /proc/1/cmdline | tr '\0' ' ')" "-- sleep 1000"
    p stop -t 5 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 143
}
t_privileged() {
    r --privileged box sh -c 'mount -t tmpfs x /data && touch /data/f'
    eq "$(r --privileged box awk '/^Seccomp:/ { print $2 }' /proc/self/status)" 0
}
t_capabilities() {
    has "$(r --cap-drop ALL box grep CapEff /proc/self/status)" 0000000000000000
    has "$(r --cap-drop ALL --cap-add NET_ADMIN box grep CapEff /proc/self/status)" 0000000000001000
    has "$(r --cap-drop ALL --cap-add NET_ADMIN -u 1000 box grep CapBnd /proc/self/status)" 0000000000001000
}
t_no_new_privileges() { eq "$(r --security-opt no-new-privileges box awk '/^NoNewPrivs/ { print $2 }' /proc/self/status)" 1; }
t_seccomp_default() {
    eq "$(r box awk '/^Seccomp:/ { print $2 }' /proc/self/status)" 2
    status_of 1 r box unshare -m true
}
t_seccomp_profile() {
    echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' > "$WORK/profile.json"
    chmod 644 "$WORK/profile.json"
    status_of 1 r --security-opt "seccomp=$WORK/profile.json" box mkdir /tmp/d
    has "$output" "No space left"
}
t_masked_paths() {
    eq "$(r box sh -c 'cat /proc/keys /proc/timer_list | wc -c')" 0
    eq "$(r --security-opt mask=/etc/group box sh -c 'cat /etc/group | wc -c')" 0
}
t_device() {
    rootful
    [ -c /dev/fuse ] || skip "no /dev/fuse here"
    eq "$(r --device /dev/fuse:/dev/other:r box stat -c %t:%T /dev/other)" a:e5
    status_of 1 r --device /dev/fuse:/dev/other:r box sh -c ': > /dev/other'
}
t_device_bound() { r --device /dev/zero:/dev/nothing box sh -c 'head -c 3 /dev/nothing | wc -c'; }
t_ulimit() { eq "$(r --ulimit nofile=512:1024 --ulimit nproc=900:900 box sh -c 'ulimit -Sn; ulimit -Hn' | xargs)" "512 1024"; }
t_sysctl() { eq "$(r --sysctl net.ipv4.ip_unprivileged_port_start=7 box cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" 7; }
t_oom_score() { eq "$(r --oom-score-adj 500 box cat /proc/self/oom_score_adj)" 500; }
t_shm_size() { has "$(r --shm-size 1m box grep ' /dev/shm ' /proc/mounts)" size=1024k; }
t_health() {
    b --health-cmd 'test -e /healthy' --health-interval disable --health-retries 1 box sh -c 'touch /healthy; sleep 1000'
    until_true p exec "$SCENARIO" test -e /healthy
    p healthcheck run "$SCENARIO"
    p exec "$SCENARIO" rm /healthy
    status_of 1 p healthcheck run "$SCENARIO"
}
t_namespaces_shared() {
    b box sleep 1000
    local kind
    for kind in net ipc uts; do
        eq "$(p run --rm "--$([ $kind = net ] && echo network || echo $kind)" "container:$SCENARIO" box readlink "/proc/self/ns/$kind")" \
            "$(p exec "$SCENARIO" readlink "/proc/self/ns/$kind")" "$kind"
    done
    has "$(p run --rm --pid "container:$SCENARIO" box ps)" "sleep 1000"
}
t_namespaces_of_host() {
    eq "$(r --network host box readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
    eq "$(r --uts host box readlink /proc/self/ns/uts)" "$(readlink /proc/self/ns/uts)"
    [ ! -e /dev/mqueue ] || eq "$(r --ipc host box readlink /proc/self/ns/ipc)" "$(readlink /proc/self/ns/ipc)"
    eq "$(r --pid host box readlink /proc/self/ns/pid)" "$(readlink /proc/self/ns/pid)"
}
t_host_pid_killed() {
    b --pid host box sh -c 'sleep 1000 & sleep 2000'
    local pid
    pid=$(pid_of)
    p rm -f -t 0 "$SCENARIO"
    gone "$pid"
}
t_cgroups_disabled() {
    b --cgroups disabled box sleep 1000 2> "$WORK/tmp/err" ||
        { grep -q 'not compatible with NoCgroups' "$WORK/tmp/err" && skip "not in runtime_supports_nocgroup"; die "$(cat "$WORK/tmp/err")"; }
    eq "$(state_of)" running
    eq "$(p exec "$SCENARIO" echo inside)" inside
}
t_cgroup_parent() {
    if by_systemd; then
        b --cgroup-parent ox-parent.slice box sleep 1000
        has "$(cat "/proc/$(pid_of)/cgroup")" "/ox-parent.slice/libpod-$(inspect '{{.Id}}').scope"
        has "$(units 'libpod-*')" running
        return
    fi
    rootful
    b --cgroup-parent /ox-parent box sleep 1000
    has "$(cat "/proc/$(pid_of)/cgroup")" /ox-parent/
}
t_hooks() {
    rootful
    mkdir -p "$WORK/hooks"
    printf '#!/bin/sh\ncat > %s/hook.state\n' "$WORK" > "$WORK/bin/hook"
    chmod 755 "$WORK/bin/hook"
    jq -n --arg path "$WORK/bin/hook" '{version: "1.0.0", hook: {path: $path}, when: {always: true}, stages: ["prestart"]}' > "$WORK/hooks/h.json"
    e podman --runtime "$RUNTIME" --hooks-dir "$WORK/hooks" run --rm --name "$SCENARIO" box true
    [ "$(jq .pid "$WORK/hook.state")" -gt 0 ] || die "no pid in the hook's state"
}
t_notify() {
    b --sdnotify conmon box sleep 1000
    eq "$(state_of)" running
}
t_pod() {
    p pod create --name pod1 --infra=false > /dev/null
    p run -d --pod pod1 --name "$SCENARIO" box sleep 1000 > /dev/null
    eq "$(p pod inspect -f '{{.State}}' pod1)" Running
    p pod stop -t 0 pod1 > /dev/null
    eq "$(state_of)" exited
    p pod rm -f pod1 > /dev/null
}
t_pod_with_infra() {
    p pod create --name pod2 --infra-image box --infra-command '/bin/sleep 1000' --share net,ipc,uts > /dev/null
    p run -d --pod pod2 --name "$SCENARIO" box sleep 1000 > /dev/null
    p run -d --pod pod2 --name "$SCENARIO-2" box sleep 1000 > /dev/null
    eq "$(p exec "$SCENARIO" readlink /proc/self/ns/net)" "$(p exec "$SCENARIO-2" readlink /proc/self/ns/net)"
    eq "$(p pod ps --format '{{.NumberOfContainers}}')" 3
    p pod kill pod2 > /dev/null
    p pod rm -f -t 0 pod2 > /dev/null
}
t_pod_pause() {
    [ -z "$ROOTLESS" ] || cgroup2 || skip "no freezer for ordinary users on cgroup v1"
    p pod create --name pod3 --infra-image box --infra-command '/bin/sleep 1000' > /dev/null
    p run -d --pod pod3 --name "$SCENARIO" box sleep 1000 > /dev/null
    p pod pause pod3 > /dev/null
    eq "$(state_of)" paused
    p pod unpause pod3 > /dev/null
    eq "$(state_of)" running
}
t_network_bridge() {
    rootful
    mkdir -p "$WORK/networks"
    p network create --internal oxnet > /dev/null 2> "$WORK/tmp/net" || skip "no bridge here: $(tail -c 120 "$WORK/tmp/net")"
    p run -d --name "$SCENARIO" --network oxnet box sleep 1000 > /dev/null 2> "$WORK/tmp/net" ||
        { output=$(tail -n 1 "$WORK/tmp/net"); p network rm -f oxnet > /dev/null; skip "no bridge here: ${output: -120}"; }
    has "$(p exec "$SCENARIO" ls /sys/class/net | xargs)" eth0
    p rm -f -t 0 "$SCENARIO" > /dev/null
    p network rm -f oxnet > /dev/null
}
t_network_slirp() {
    [ -n "$ROOTLESS" ] || skip "for ordinary users only"
    [ -c /dev/net/tun ] && [ -w /dev/net/tun ] && [ "$(stat -c %a /dev/net/tun)" = 666 ] || skip "/dev/net/tun is closed to ordinary users here"
    has "$(r --network slirp4netns box ls /sys/class/net | xargs)" tap0
}
t_signals_are_default() {
    eq "$(r box awk '/^SigBlk/ { print $2 }' /proc/self/status)" 0000000000000000
    # make(1) may ignore signal 32 in what it starts, and the engines pass that on.
    oxrun_only
    eq "$(r box awk '/^SigIgn/ { print $2 }' /proc/self/status)" 0000000000000000
}
t_no_leaked_descriptors() { eq "$(r box sh -c 'ls /proc/self/fd | xargs')" "0 1 2 3"; }
t_build() {
    mkdir -p "$WORK/build"
    printf 'FROM localhost/box\nRUN echo built > /made && id -u > /who\nUSER 1000\nRUN id -u > /tmp/who\n' > "$WORK/build/Containerfile"
    chmod -R a+rX "$WORK/build"
    p build -q --network none -t built "$WORK/build" > /dev/null
    eq "$(r built cat /made /who /tmp/who | xargs)" "built 0 1000"
    p rmi -f built > /dev/null
}
t_many_at_once() {
    local pids=() i
    for i in $(seq 6); do
        p run --rm --name "many$i" box sh -c "echo n$i" > "$WORK/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(cat "$WORK"/many.?)"; done
    eq "$(cat "$WORK"/many.? | sort | xargs)" "n1 n2 n3 n4 n5 n6"
}
t_monitor_killed() {
    b box sleep 1000
    local pid monitor id
    pid=$(pid_of)
    monitor=$(inspect '{{.State.ConmonPid}}')
    kill -9 "$monitor"
    id=$(inspect '{{.Id}}')
    p rm -f -t 0 "$SCENARIO" > /dev/null
    gone "$pid"
    # Without its monitor Podman calls no delete.
    [ -n "$ROOTLESS" ] || "$RUNTIME" delete --force "$id"
}
# h: podman with the runtime that can be stopped half way. own_runtime: the runtime itself, as root.
h() { e podman --runtime "$HELD" "$@"; }
own_runtime() { if [ -z "$ROOTLESS" ]; then "$RUNTIME" "$@"; else e podman unshare "$RUNTIME" "$@"; fi; }
states_of() { find /run/"$(basename "$RUNTIME")" "$WORK/xdg" -maxdepth 2 -name "$1" 2> /dev/null || true; }
no_trace() {
    until_eq "" states_of "$1"
    until_eq "" runtimes_of "$1"
    until_eq "" find /sys/fs/cgroup -path "*$1*" -name '*[0-9a-f]' -type d
}
# create_held: `podman start` that stops in the middle of create; the container's id in $id, the client in
# $client, its monitor in $monitor.
create_held() {
    hold_create
    id=$(h create --name "$SCENARIO" box sleep 1000)
    h start "$SCENARIO" > "$WORK/create.log" 2>&1 &
    client=$!
    in_create
    monitor=$(pgrep -f "conmon .*-c $id")
}
exec_held() {
    need_freezer
    h run -d --name "$SCENARIO" box sleep 1000
    id=$(inspect '{{.Id}}')
    pid=$(pid_of)
    own_runtime pause "$id"
    h exec "$SCENARIO" sleep 2000.9 > "$WORK/exec.log" 2>&1 &
    client=$!
    in_exec "$pid"
}
t_monitor_killed_in_create() {
    local id client monitor
    create_held
    kill -9 $monitor
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/create.log" ] || die "the caller was told nothing"
    release
    h rm -f -t 0 "$SCENARIO"
    gone "$HOOK"
    oxrun_only
    no_trace "$id"
}
t_podman_killed_in_create() {
    local id client monitor
    create_held
    kill -9 $(pgrep -f "podman --runtime $HELD start $SCENARIO")
    if wait "$client"; then die "start succeeded"; fi
    release
    h rm -f -t 0 "$SCENARIO"
    gone "$HOOK"
    oxrun_only
    # Podman does not know what its monitor went on to make.
    own_runtime delete --force "$id"
    no_trace "$id"
}
t_runtime_killed_in_create() {
    local id client monitor
    create_held
    kill_runtime "create .*$id"
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/create.log" ] || die "the caller was told nothing"
    release
    h rm -f -t 0 "$SCENARIO"
    oxrun_only
    gone "$HOOK"
    no_trace "$id"
}
t_monitor_killed_in_exec() {
    local id pid client
    exec_held
    # Two of them: the one that Podman waits for, and its child.
    kill -9 $(pgrep -f "conmon .*-c $id .*--exec-process-spec")
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    own_runtime resume "$id"
    eq "$(h exec "$SCENARIO" echo again)" again
    oxrun_only
    until_eq "$pid" cat "$(cgroup_dir "$pid" pids)/cgroup.procs"
    h rm -f -t 0 "$SCENARIO"
    no_trace "$id"
}
t_runtime_killed_in_exec() {
    local id pid client
    exec_held
    kill_runtime "exec .*$id"
    if wait "$client"; then die "exec succeeded"; fi
    own_runtime resume "$id"
    eq "$(h exec "$SCENARIO" echo again)" again
    oxrun_only
    until_eq "$pid" cat "$(cgroup_dir "$pid" pids)/cgroup.procs"
}
t_console_dead_in_create() {
    deafen
    output=$(h run -dt --name "$SCENARIO" box sh 2>&1) && die "run succeeded"
    has "$output" nobody-listens
    local id
    id=$(inspect '{{.Id}}')
    h rm -f "$SCENARIO"
    no_trace "$id"
}
t_console_dead_in_exec() {
    h run -d --name "$SCENARIO" box sleep 1000
    deafen
    output=$(h exec -t "$SCENARIO" sh 2>&1) && die "exec succeeded"
    has "$output" nobody-listens
    release
    # The first process, and the shell that lists them.
    eq "$(h exec "$SCENARIO" sh -c 'set -- /proc/[0-9]*; echo $#')" 2 processes
}
t_console_lost_while_running() {
    h run -dt --name "$SCENARIO" box sh
    local pid id
    pid=$(pid_of)
    id=$(inspect '{{.Id}}')
    # The monitor held the other end of the terminal.
    kill -9 "$(inspect '{{.State.ConmonPid}}')"
    gone "$pid"
    # The first call finds that the container has stopped, which Podman did not know without its monitor.
    h rm -f -t 0 "$SCENARIO" || h rm -f -t 0 "$SCENARIO"
    # Without its monitor Podman calls no delete.
    [ -n "$ROOTLESS" ] || own_runtime delete --force "$id"
}
t_nothing_left() {
    tidy > /dev/null
    eq "$(p ps -aq)" ""
    eq "$(grep -c "$WORK/store/overlay/.*/merged" /proc/self/mountinfo || true)" 0 mounts
    oxrun_only
    eq "$(find /sys/fs/cgroup '(' -path '*libpod_parent/libpod-*' -o -path '*/libpod-*.scope' ')' -type d 2>/dev/null | grep -v conmon | head -n 3)" "" cgroups
    until_eq "" eval "units 'libpod-*.scope' | grep -v conmon"
}

# The chains that the network plugin makes and never removes.
remove_chains() {
    [ -z "$ROOTLESS" ] && [ -n "${OWN_CHAINS:-}" ] || return 0
    iptables -D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
    iptables -F CNI-FORWARD
    iptables -X CNI-FORWARD
    iptables -X CNI-ADMIN
}
after_all() {
    remove_chains 2> /dev/null
    [ -z "$ROOTLESS" ] || remove_user
    rm -rf "/run/user/${USER_ID:-none}/oxrun"
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d '(' -path '*/ox-parent*' -o -path '*/libpod_parent*' ')' -exec rmdir {} + 2>/dev/null
}

begin "${ENGINE:-podman}"
setup
run_scenarios
