#!/bin/bash
# Docker with the runtime as its default runtime (dockerd --add-runtime), a daemon of its own.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$here/held.sh"
DOCKER=${DOCKER:-/usr/bin/docker}

d() { timeout -k 5 "$LIMIT" "$DOCKER" -H "unix://$WORK/docker.sock" "$@"; }
# r: run in the foreground and remove; b: run in the background under the scenario's name.
r() { d run --rm --name "$SCENARIO" --network none "$@"; }
b() { d run -d --name "$SCENARIO" --network none "$@"; }
tty_d() { with_tty "$DOCKER" -H "unix://$WORK/docker.sock" "$@"; }
inspect() { d inspect -f "$1" "$SCENARIO"; }
pid_of() { inspect '{{.State.Pid}}'; }
state_of() { inspect '{{.State.Status}}'; }

start_dockerd() {
    start_daemon dockerd dockerd -H "unix://$WORK/docker.sock" --data-root "$WORK/data" --exec-root "$WORK/exec" \
        --pidfile "$WORK/dockerd.pidfile" --containerd "$WORK/containerd.sock" --config-file "$WORK/daemon.json" \
        --bridge none --iptables=false --ip-forward=false --ip-masq=false --live-restore \
        --add-runtime "tested=$RUNTIME" --add-runtime "held=$HELD" --default-runtime tested
    until_true d version
}

setup() {
    make_rootfs
    make_held
    echo '{}' > "$WORK/daemon.json"
    containerd_base | start_containerd
    start_dockerd
    d import "$WORK/rootfs.tar" box > /dev/null
}

tidy() {
    local ids id
    release
    for id in $(own_runtime list -q); do own_runtime resume "$id" || true; done
    ids=$(d ps -aq)
    # shellcheck disable=SC2086
    [ -z "$ids" ] || d rm -fv $ids
    d network prune -f
}

t_info() {
    eq "$(d info -f '{{.DefaultRuntime}}')" tested
    has "$(d info -f '{{json .Runtimes}}')" "$RUNTIME"
    [ -n "$(d version -f '{{range .Server.Components}}{{.Name}}={{.Version}} {{end}}')" ] || die "no components"
}
t_output() { eq "$(r box echo one two)" "one two"; }
t_runtime_by_name() { eq "$(r --runtime tested box echo named)" named; }
t_stderr() { eq "$(r box sh -c 'echo e >&2' 2>&1 >/dev/null)" e; }
t_stdin() { eq "$(echo in | r -i box cat)" in; }
t_exit_code() { status_of 42 r box sh -c 'exit 42'; }
t_killed_by_signal() {
    b box sleep 1000
    kill -9 "$(pid_of)"
    eq "$(d wait "$SCENARIO")" 137
}
t_missing_program() {
    status_of 127 r box no-such-program
    has "$output" no-such-program
    has "$output" "executable file not found"
}
t_missing_path() { status_of 127 r box /no/such/program; }
t_not_executable() { status_of 126 r box /bin/not-executable; }
t_directory_as_program() {
    local got=0
    r box /etc || got=$?
    # The reference's text for a directory changed between versions, and with it this status.
    if [ "$(basename "$RUNTIME")" = oxrun ]; then eq "$got" 126; else [ "$got" -ge 125 ] || die "status $got"; fi
}
t_env_and_workdir() { eq "$(r -e A=b -w /made/here box sh -c 'echo $A; pwd' | xargs)" "b /made/here"; }
t_hostname() { eq "$(r -h boxy --domainname example.org box sh -c 'hostname; cat /proc/sys/kernel/domainname' | xargs)" "boxy example.org"; }
t_detached_logs_wait() {
    b box sh -c 'echo early; sleep 1; echo late; exit 5'
    eq "$(state_of)" running
    eq "$(d wait "$SCENARIO")" 5
    eq "$(d logs "$SCENARIO" | xargs)" "early late"
    eq "$(state_of)" exited
}
t_create_start_attach() {
    d create --name "$SCENARIO" --network none box sh -c 'echo attached; exit 3' > /dev/null
    eq "$(state_of)" created
    status_of 3 d start -a "$SCENARIO"
    eq "$output" attached
}
t_start_again() {
    b box sh -c 'echo run; exit 0'
    d wait "$SCENARIO"
    d start "$SCENARIO"
    d wait "$SCENARIO"
    eq "$(d logs "$SCENARIO" | xargs)" "run run"
}
t_exec() {
    b box sleep 1000
    eq "$(d exec "$SCENARIO" echo inside)" inside
    status_of 7 d exec "$SCENARIO" sh -c 'exit 7'
    eq "$(echo data | d exec -i "$SCENARIO" cat)" data
}
t_exec_options() {
    b box sleep 1000
    eq "$(d exec -u 1000:1000 -w /tmp -e K=v "$SCENARIO" sh -c 'id -u; pwd; echo $K; echo $HOME' | xargs)" \
        "1000 /tmp v /home/app"
    d exec -d "$SCENARIO" sh -c 'echo side > /tmp/side'
    until_eq side d exec "$SCENARIO" cat /tmp/side
}
t_exec_missing_program() {
    b box sleep 1000
    local got=0
    output=$(d exec "$SCENARIO" no-such-program 2>&1) || got=$?
    one_of "$got" 126 127
    has "$output" "executable file not found"
    status_of 126 d exec "$SCENARIO" /bin/not-executable
    eq "$(state_of)" running
}
t_exec_bad_directory() {
    b box sleep 1000
    local got=0
    output=$(d exec -w /absent "$SCENARIO" true 2>&1) || got=$?
    one_of "$got" 126 127
    has "$output" "no such file or directory"
}
t_exec_in_stopped() {
    b box true
    d wait "$SCENARIO"
    status_of 1 d exec "$SCENARIO" true
    has "$output" "is not running"
}
t_exec_privileged() {
    need_sys_resource
    b box sleep 1000
    has "$(d exec --privileged "$SCENARIO" grep CapEff /proc/self/status)" "$(awk '/^CapBnd/ { print $2 }' /proc/self/status)"
}
t_exec_capabilities_follow() {
    b --cap-drop ALL --cap-add KILL box sleep 1000
    has "$(d exec "$SCENARIO" grep CapEff /proc/self/status)" 0000000000000020
}
t_exec_many() {
    b box sleep 1000
    local i pids=()
    for i in $(seq 8); do
        d exec "$SCENARIO" sh -c "exit $i" &
        pids+=("$!")
    done
    for i in $(seq 8); do
        local got=0
        wait "${pids[i - 1]}" || got=$?
        eq "$got" "$i"
    done
}
t_tty() { eq "$(tty_d run --rm -t --network none box tty)" /dev/pts/0; }
t_tty_interactive() {
    eq "$(tty_d run --rm -it --network none box sh -c 'test -t 0 && test -t 1 && test -t 2 && echo yes')" yes
}
t_exec_tty() {
    b box sleep 1000
    has "$(tty_d exec -t "$SCENARIO" sh -c 'tty; sleep 0.2')" /dev/pts/
}
t_tty_detached_output() {
    b -t box sh -c 'echo line; tty'
    d wait "$SCENARIO"
    eq "$(d logs "$SCENARIO" | tr -d '\r' | xargs)" "line /dev/pts/0"
}
t_stop_graceful() {
    b box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    sleep 0.5
    d stop -t 20 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 3
}
t_stop_after_timeout() {
    b box sh -c 'trap "" TERM; while :; do sleep 0.1; done'
    d stop -t 1 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 137
}
t_stop_paused() {
    b box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    sleep 0.5
    d pause "$SCENARIO"
    d stop -t 20 "$SCENARIO"
    eq "$(state_of)" exited
}
t_kill_signal() {
    b box sh -c 'trap "echo got; exit 4" USR1; while :; do sleep 0.1; done'
    sleep 0.5
    d kill -s USR1 "$SCENARIO"
    eq "$(d wait "$SCENARIO")" 4
}
t_kill_exited() {
    b box true
    d wait "$SCENARIO"
    status_of 1 d kill "$SCENARIO"
    has "$output" "is not running"
}
t_remove_running() {
    b box sleep 1000
    local pid
    pid=$(pid_of)
    d rm -f "$SCENARIO"
    gone "$pid"
}
t_restart() {
    b box sleep 1000
    local before
    before=$(pid_of)
    d restart -t 0 "$SCENARIO"
    [ "$(pid_of)" != "$before" ] || die "same process"
    eq "$(state_of)" running
}
t_restart_policy_on_failure() {
    b --restart on-failure:2 box sh -c 'exit 1'
    until_eq 2 inspect '{{.RestartCount}}'
    until_eq exited state_of
    eq "$(inspect '{{.State.ExitCode}}')" 1
}
restarted_twice() { [ "$(inspect '{{.RestartCount}}')" -ge 2 ]; }
t_restart_policy_always() {
    b --restart always box sleep 0.3
    until_true restarted_twice
}
t_limits() {
    b --memory 64m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --pids-limit 50 --cpuset-cpus 0 box sleep 1000
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 67108864
    eq "$(cpu_limit "$pid")" "50000 100000"
    eq "$(pids_limit "$pid")" 50
    has "$(grep Cpus_allowed_list "/proc/$pid/status" | tr -d '\t')" "Cpus_allowed_list:0"
}
t_pids_limit_holds() {
    status_of 2 r --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo end'
    has "$output" "fork"
}
t_blkio_weight() {
    [ -e /sys/fs/cgroup/blkio/blkio.bfq.weight ] || [ -e /sys/fs/cgroup/blkio/blkio.weight ] ||
        skip "no block weight in this kernel"
    b --blkio-weight 300 box sleep 1000
    eq "$(state_of)" running
}
t_update() {
    b --memory 64m box sleep 1000
    d update --memory 128m --memory-swap 256m --cpus 0.25 --pids-limit 77 "$SCENARIO"
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 134217728
    eq "$(cpu_limit "$pid")" "25000 100000"
    eq "$(pids_limit "$pid")" 77
    d update --cpu-shares 300 "$SCENARIO"
    eq "$(memory_limit "$pid")" 134217728 "memory after an update of something else"
}
t_update_restart_policy() {
    b box sleep 1000
    d update --restart on-failure:3 "$SCENARIO"
    eq "$(inspect '{{.HostConfig.RestartPolicy.Name}}')" on-failure
}
t_pause() {
    b box sleep 1000
    d pause "$SCENARIO"
    eq "$(state_of)" paused
    status_of 1 d exec "$SCENARIO" true
    has "$output" "is paused"
    d unpause "$SCENARIO"
    eq "$(state_of)" running
    eq "$(d exec "$SCENARIO" echo again)" again
}
t_stats() {
    b --memory 64m box sleep 1000
    local s
    s=$(d stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' "$SCENARIO")
    has "$s" 64MiB
    [[ $s == *" 1" ]] || die "one process expected: $s"
}
t_top() {
    b box sh -c 'sleep 1000 & sleep 2000'
    sleep 0.5
    local t
    t=$(d top "$SCENARIO")
    has "$t" "sleep 1000"
    has "$t" "sleep 2000"
    has "$(d top "$SCENARIO" -o pid,args)" "$(pid_of)"
}
t_user() { eq "$(r -u 1000:1000 box sh -c 'id -u; id -g; echo $HOME' | xargs)" "1000 1000 /home/app"; }
t_user_by_name() { eq "$(r -u app --group-add 2000 box id -G)" "1000 1001 2000"; }
t_umask_and_home() { eq "$(r box sh -c 'umask; echo $HOME' | xargs)" "0022 /root"; }
t_read_only() {
    status_of 1 r --read-only box touch /file
    has "$output" "Read-only file system"
    r --read-only --tmpfs /run box touch /run/file
}
t_tmpfs() {
    local m
    m=$(r --tmpfs /t:size=1m,mode=1770,noexec box grep ' /t ' /proc/mounts)
    has "$m" size=1024k
    has "$m" mode=1770
    has "$m" noexec
}
t_volume() {
    b -v keep:/data box sh -c 'echo saved > /data/f; sleep 1000'
    until_eq saved d exec "$SCENARIO" cat /data/f
    d rm -f "$SCENARIO"
    eq "$(r -v keep:/data:ro box cat /data/f)" saved
    d volume rm keep
}
t_bind_mount() {
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    eq "$(r -v "$WORK/vol:/data" box cat /data/file)" content
    status_of 1 r -v "$WORK/vol:/data:ro" box touch /data/new
    eq "$(r -v "$WORK/vol/file:/etc/one-file:ro" box cat /etc/one-file)" content
}
t_volume_propagation() {
    mkdir -p "$WORK/prop"
    mount -t tmpfs -o size=64k prop "$WORK/prop"
    mount --make-shared "$WORK/prop"
    mkdir "$WORK/prop/sub"
    b -v "$WORK/prop:/data:rslave" box sleep 1000
    mount -t tmpfs -o size=64k sub "$WORK/prop/sub"
    touch "$WORK/prop/sub/later"
    eq "$(d exec "$SCENARIO" ls /data/sub)" later
    d rm -f "$SCENARIO"
    b -v "$WORK/prop:/data:rshared" --cap-add SYS_ADMIN box sh -c 'mkdir /data/out; mount -t tmpfs x /data/out; touch /data/out/seen; sleep 1000'
    until_true test -e "$WORK/prop/out/seen"
    d rm -f "$SCENARIO"
    umount -R "$WORK/prop"
}
t_missing_bind_source() {
    status_of 125 r --mount "type=bind,src=$WORK/absent,dst=/data" box true
    has "$output" "does not exist"
}
t_copy_and_commit() {
    b box sh -c 'echo made > /made; sleep 1000'
    until_eq made d exec "$SCENARIO" cat /made
    d cp "$SCENARIO:/made" "$WORK/copied"
    eq "$(cat "$WORK/copied")" made
    d commit "$SCENARIO" made-image > /dev/null
    d rm -f "$SCENARIO"
    eq "$(r made-image cat /made)" made
    d rmi made-image > /dev/null
}
t_init() {
    command -v docker-init > /dev/null || skip "no docker-init in the Debian package"
    b --init box sleep 1000
    has "$(d exec "$SCENARIO" cat /proc/1/cmdline | tr '\0' ' ')" "init -- sleep 1000"
    d stop -t 5 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 143
}
t_privileged() {
    need_sys_resource
    has "$(r --privileged box grep CapEff /proc/self/status)" "$(awk '/^CapBnd/ { print $2 }' /proc/self/status)"
}
t_privileged_by_parts() {
    b --cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined --security-opt systempaths=unconfined box sleep 1000
    d exec "$SCENARIO" sh -c 'mount -t tmpfs x /data && touch /data/f && umount /data'
    eq "$(d exec "$SCENARIO" awk '/^Seccomp:/ { print $2 }' /proc/self/status)" 0
    eq "$(d exec "$SCENARIO" sh -c 'grep -c " /proc/" /proc/mounts || true')" 0
}
t_capabilities() {
    has "$(r box grep CapEff /proc/self/status)" 00000000a80425fb
    has "$(r --cap-drop ALL box grep CapEff /proc/self/status)" 0000000000000000
    has "$(r --cap-add NET_ADMIN box grep CapEff /proc/self/status)" 00000000a80435fb
    has "$(r -u 1000 box grep CapEff /proc/self/status)" 0000000000000000
}
t_no_new_privileges() {
    eq "$(r --security-opt no-new-privileges box awk '/^NoNewPrivs/ { print $2 }' /proc/self/status)" 1
    eq "$(r box awk '/^NoNewPrivs/ { print $2 }' /proc/self/status)" 0
}
t_seccomp_default() {
    eq "$(r box awk '/^Seccomp:/ { print $2 }' /proc/self/status)" 2
    status_of 1 r box unshare -U true
    has "$output" "ot permitted"
}
t_seccomp_profile() {
    echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' > "$WORK/profile.json"
    status_of 1 r --security-opt "seccomp=$WORK/profile.json" box mkdir /tmp/d
    has "$output" "No space left"
}
t_seccomp_unconfined() { eq "$(r --security-opt seccomp=unconfined box awk '/^Seccomp:/ { print $2 }' /proc/self/status)" 0; }
t_masked_paths() {
    eq "$(r box sh -c 'cat /proc/keys /proc/timer_list /proc/kcore | wc -c')" 0
    status_of 1 r box sh -c 'echo b > /proc/sysrq-trigger'
}
t_apparmor() {
    [ -d /sys/kernel/security/apparmor ] || skip "no AppArmor in this kernel"
    has "$(r box cat /proc/self/attr/current)" docker-default
}
t_device() {
    [ -c /dev/fuse ] || skip "no /dev/fuse here"
    eq "$(r --device /dev/fuse:/dev/other:r box sh -c 'stat -c %t:%T /dev/other; : < /dev/other')" a:e5
    status_of 1 r --device /dev/fuse:/dev/other:r box sh -c ': > /dev/other'
    has "$output" "peration not permitted"
}
t_device_denied() {
    status_of 1 r box sh -c 'mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem'
    has "$output" "peration not permitted"
}
t_device_cgroup_rule() {
    r --device-cgroup-rule 'c 1:5 r' box sh -c 'mknod /tmp/z c 1 5 && head -c 1 /tmp/z > /dev/null'
}
t_default_devices() {
    eq "$(r box sh -c 'cd /dev; ls -d full null ptmx random shm stdin stdout stderr tty urandom zero fd pts mqueue 2>/dev/null | sort | xargs')" \
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
}
t_ulimit() { eq "$(r --ulimit nofile=512:1024 --ulimit core=0 box sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c' | xargs)" "512 1024 0"; }
t_sysctl() { eq "$(r --sysctl net.ipv4.ip_unprivileged_port_start=7 --sysctl kernel.msgmax=9000 box sh -c 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax' | xargs)" "7 9000"; }
t_oom_score() { eq "$(r --oom-score-adj 500 box cat /proc/self/oom_score_adj)" 500; }
t_shm_size() { has "$(r --shm-size 1m box grep ' /dev/shm ' /proc/mounts)" size=1024k; }
t_health() {
    b --health-cmd 'test -e /healthy' --health-interval 1s --health-retries 1 box sh -c 'touch /healthy; sleep 1000'
    until_eq healthy inspect '{{.State.Health.Status}}'
    d exec "$SCENARIO" rm /healthy
    until_eq unhealthy inspect '{{.State.Health.Status}}'
}
t_out_of_memory() {
    b --memory 16m --memory-swap 16m box sh -c 'sleep 0.5; tail /dev/zero'
    eq "$(d wait "$SCENARIO")" 137
    until_eq true inspect '{{.State.OOMKilled}}'
}
t_oom_of_child() {
    b --memory 16m --memory-swap 16m box sh -c 'sleep 0.5; tail /dev/zero; sleep 1000'
    sleep 2
    eq "$(state_of)" running
}
t_namespaces_shared() {
    b box sh -c 'sleep 1000'
    eq "$(d run --rm --pid "container:$SCENARIO" --network none box sh -c 'cat /proc/1/cmdline | tr "\0" " "' | xargs)" "sleep 1000"
    local net
    net=$(d exec "$SCENARIO" readlink /proc/self/ns/net)
    eq "$(d run --rm --network "container:$SCENARIO" box readlink /proc/self/ns/net)" "$net"
}
t_ipc_shared() {
    b --ipc shareable box sleep 1000
    eq "$(d run --rm --network none --ipc "container:$SCENARIO" box readlink /proc/self/ns/ipc)" "$(d exec "$SCENARIO" readlink /proc/self/ns/ipc)"
}
t_namespaces_of_host() {
    local kind
    eq "$(d run --rm --network host box readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)" net
    for kind in pid ipc uts; do
        eq "$(r "--$kind" host box readlink "/proc/self/ns/$kind")" "$(readlink "/proc/self/ns/$kind")" "$kind"
    done
}
t_host_pid_children_end() {
    b --pid host box sh -c 'sleep 31415 & sleep 1000'
    sleep 0.5
    local group
    group=$(cgroup_dir "$(pid_of)" memory)
    d kill "$SCENARIO"
    until_eq exited state_of
    until_true test ! -s "$group/cgroup.procs"
}
t_cgroup_parent() {
    b --cgroup-parent /ox-parent box sleep 1000
    has "$(cat "/proc/$(pid_of)/cgroup")" /ox-parent/
}
t_cgroup_namespace() {
    has "$(r --cgroupns private box cat /proc/self/cgroup)" ":/"
    lacks "$(r --cgroupns private box cat /proc/self/cgroup)" docker
    has "$(r --cgroupns host box cat /proc/self/cgroup)" docker
}
t_cgroup_read_only() {
    local dir=/sys/fs/cgroup
    cgroup2 || dir+=/memory
    status_of 1 r box mkdir "$dir/x"
    has "$output" "Read-only"
}
t_loopback() { eq "$(r box cat /sys/class/net/lo/operstate)" unknown; }
page_of() { d run --rm --network net1 box wget -q -O - "$1" 2>/dev/null; }
t_bridge_network() {
    d network create --internal net1 > /dev/null 2> "$WORK/net.log" || skip "no bridge here: $(tail -c 150 "$WORK/net.log")"
    d run -d --name "$SCENARIO" --network net1 box sh -c 'mkdir /w; echo page > /w/index.html; httpd -f -p 80 -h /w' > /dev/null
    local address
    address=$(inspect '{{.NetworkSettings.Networks.net1.IPAddress}}')
    until_eq page page_of "http://$address/"
    eq "$(d run --rm --network net1 --mac-address 02:00:00:00:00:99 box cat /sys/class/net/eth0/address)" 02:00:00:00:00:99
}
t_network_connect_later() {
    d network create --internal net2 > /dev/null 2> "$WORK/net.log" || skip "no bridge here: $(tail -c 150 "$WORK/net.log")"
    d run -d --name "$SCENARIO" --network net2 box sleep 1000 > /dev/null
    d network disconnect net2 "$SCENARIO"
    eq "$(d exec "$SCENARIO" ls /sys/class/net | xargs)" lo
    d network connect net2 "$SCENARIO"
    has "$(d exec "$SCENARIO" ls /sys/class/net | xargs)" eth
}
t_etc_files() {
    d network create --internal net3 > /dev/null 2> "$WORK/net.log" || skip "no bridge here: $(tail -c 150 "$WORK/net.log")"
    has "$(d run --rm --network net3 --add-host h:1.2.3.4 box cat /etc/hosts)" 1.2.3.4
    has "$(d run --rm --network net3 --dns 9.9.9.9 box cat /etc/resolv.conf)" nameserver
}
t_no_leaked_descriptors() { eq "$(r box sh -c 'ls /proc/self/fd | xargs')" "0 1 2 3"; }
t_signals_are_default() {
    eq "$(r box awk '/^SigBlk/ { print $2 }' /proc/self/status)" 0000000000000000
    # make(1) may ignore signal 32 in what it starts, and the engines pass that on.
    oxrun_only
    eq "$(r box awk '/^SigIgn/ { print $2 }' /proc/self/status)" 0000000000000000
}
t_removed_state() {
    b box true
    d wait "$SCENARIO"
    d rm "$SCENARIO"
    until_eq "" find "$WORK/exec" -path '*runtime-*/moby/*' -maxdepth 4
}
t_many_at_once() {
    local pids=() i
    for i in $(seq 8); do
        d run --rm --name "many$i" --network none box sh -c "echo n$i" > "$WORK/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(cat "$WORK"/many.?)"; done
    eq "$(cat "$WORK"/many.? | sort | xargs)" "n1 n2 n3 n4 n5 n6 n7 n8"
}
t_build() {
    mkdir -p "$WORK/build"
    printf 'FROM box\nRUN echo built > /made && id -u > /who\nUSER 1000\nRUN id -u > /tmp/who\n' > "$WORK/build/Dockerfile"
    DOCKER_BUILDKIT=0 d build --network none -q -t built "$WORK/build" > /dev/null
    eq "$(r built cat /made /who /tmp/who | xargs)" "built 0 1000"
    printf 'FROM box\nRUN exit 9\n' > "$WORK/build/Dockerfile"
    local got=0
    DOCKER_BUILDKIT=0 d build --network none -q "$WORK/build" > "$WORK/build.log" 2>&1 || got=$?
    [ "$got" != 0 ] || die "a failing step built"
    has "$(cat "$WORK/build.log")" "non-zero code: 9"
    d rmi -f built > /dev/null
}
t_daemon_restarted() {
    b box sh -c 'sleep 1000'
    local pid
    pid=$(pid_of)
    stop_daemon dockerd
    start_dockerd
    eq "$(pid_of)" "$pid"
    eq "$(d exec "$SCENARIO" echo back)" back
    d stop -t 0 "$SCENARIO"
    eq "$(state_of)" exited
}
t_daemon_killed() {
    b box sh -c 'sleep 1000'
    local pid
    pid=$(pid_of)
    kill -9 "$(cat "$WORK/dockerd.pid")"
    gone "$(cat "$WORK/dockerd.pid")"
    rm -f "$WORK/dockerd.pidfile"
    start_dockerd
    eq "$(pid_of)" "$pid"
    d rm -f "$SCENARIO"
    gone "$pid"
}
t_shim_killed() {
    b box sleep 1000
    local pid id
    pid=$(pid_of)
    id=$(inspect '{{.Id}}')
    kill -9 "$(pgrep -f "containerd-shim-runc-v2 .*-id $id")"
    until_eq exited state_of
    gone "$pid"
}
own_runtime() { "$RUNTIME" --root "$WORK/exec/runtime-runc/moby" "$@"; }
shim_of() { pgrep -f "containerd-shim-runc-v2 .*-id $1 " || die "no shim found"; }
# no_trace ID: nothing is left of a container in the runtime, the cgroups, the mounts and the processes.
no_trace() {
    until_eq "" find "$WORK/exec/runtime-runc/moby" -maxdepth 1 -name "$1"
    until_eq "" runtimes_of "$1"
    until_eq "" find /sys/fs/cgroup -name "$1" -type d
    until_true not_mounted "$1"
}
not_mounted() { ! grep -q "$WORK/cd/state/.*/$1/" /proc/self/mountinfo; }
restart_dockerd() {
    kill -9 "$(cat "$WORK/dockerd.pid")"
    gone "$(cat "$WORK/dockerd.pid")"
    rm -f "$WORK/dockerd.pidfile"
    start_dockerd
}
# create_held: `docker start` that stops in the middle of create; the container's id in $id, the client in $client.
create_held() {
    hold_create
    id=$(d create --runtime held --network none --name "$SCENARIO" box sleep 1000)
    d start "$SCENARIO" > "$WORK/create.log" 2>&1 &
    client=$!
    in_create
}
# exec_held: an exec that stops half way in a container with the first process $pid.
exec_held() {
    b --runtime held box sleep 1000
    id=$(inspect '{{.Id}}')
    pid=$(pid_of)
    own_runtime pause "$id"
    d exec "$SCENARIO" sleep 2000.8 > "$WORK/exec.log" 2>&1 &
    client=$!
    in_exec "$pid"
}
t_daemon_killed_in_create() {
    local id client
    create_held
    restart_dockerd
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/create.log" ] || die "the caller was told nothing"
    release
    d rm -f "$SCENARIO"
    gone "$HOOK"
    # containerd calls the clean-up as its client is gone, but may forget the shim.
    local shim
    if shim=$(shim_of "$id"); then kill -9 $shim; fi
    oxrun_only
    no_trace "$id"
}
t_shim_killed_in_create() {
    local id client
    create_held
    kill -9 "$(shim_of "$id")"
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/create.log" ] || die "the caller was told nothing"
    eq "$(state_of)" created
    oxrun_only
    gone "$HOOK"
    no_trace "$id"
}
t_runtime_killed_in_create() {
    local id client
    create_held
    kill_runtime "create .*$id"
    if wait "$client"; then die "start succeeded"; fi
    has "$(cat "$WORK/create.log")" "did not terminate successfully"
    oxrun_only
    gone "$HOOK"
    no_trace "$id"
    # Nothing stands in the way of another start.
    release
    d start "$SCENARIO"
    eq "$(d exec "$SCENARIO" echo started)" started
}
t_daemon_killed_in_exec() {
    local id pid client
    exec_held
    restart_dockerd
    # The client says nothing when its daemon is gone, but fails.
    if wait "$client"; then die "exec succeeded"; fi
    own_runtime resume "$id"
    eq "$(d exec "$SCENARIO" echo again)" again
    d rm -f "$SCENARIO"
    gone "$pid"
    until_eq "" pgrep -f '^sleep 2000.8'
    no_trace "$id"
}
t_shim_killed_in_exec() {
    local id pid client
    exec_held
    kill -9 "$(shim_of "$id")"
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    until_eq exited state_of
    gone "$pid"
    until_eq "" pgrep -f '^sleep 2000.8'
    no_trace "$id"
}
t_runtime_killed_in_exec() {
    local id pid client
    exec_held
    kill_runtime "exec .*$id"
    if wait "$client"; then die "exec succeeded"; fi
    has "$(cat "$WORK/exec.log")" "did not terminate successfully"
    own_runtime resume "$id"
    eq "$(d exec "$SCENARIO" echo again)" again
    oxrun_only
    until_eq "$pid" cat "$(cgroup_dir "$pid" pids)/cgroup.procs"
}
t_console_dead_in_create() {
    deafen
    output=$(b -t --runtime held box sh 2>&1) && die "run succeeded"
    has "$output" nobody-listens
    no_trace "$(inspect '{{.Id}}')"
}
t_console_dead_in_exec() {
    b --runtime held box sleep 1000
    deafen
    output=$(tty_d exec -t "$SCENARIO" sh)
    has "$output" nobody-listens
    release
    eq "$(cat "$(cgroup_dir "$(pid_of)" pids)/cgroup.procs")" "$(pid_of)" processes
    eq "$(d exec "$SCENARIO" echo again)" again
}
t_console_lost_while_running() {
    b -t --runtime held box sh
    local pid id
    pid=$(pid_of)
    id=$(inspect '{{.Id}}')
    # The shim held the other end of the terminal.
    kill -9 "$(shim_of "$id")"
    until_eq exited state_of
    gone "$pid"
    no_trace "$id"
}
t_nothing_left() {
    tidy
    until_eq "" sh -c "ls $WORK/exec/runtime-*/moby"
    until_eq "" shims
    eq "$(find /sys/fs/cgroup -mindepth 3 -path '*/docker/*' -type d 2>/dev/null | head -n 3)" "" cgroups
    eq "$(grep -c "$WORK/data/overlay2/.*/merged" /proc/self/mountinfo || true)" 0 mounts
}
shims() { pgrep -f "containerd-shim-runc-v2 .*-address $WORK/" || true; }
after_all() {
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d '(' -path '*/ox-parent' -o -path '*/ox-parent/*' -o -path '*/docker' ')' -exec rmdir {} + 2>/dev/null
}

begin docker
setup
run_scenarios
