#!/bin/bash
# Docker with every container in a user namespace (userns-remap), configured by daemon.json with arguments for
# the runtime, as docs/integrations.md shows it.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$here/podman-lib.sh"
DOCKER=${DOCKER:-/usr/bin/docker}

d() { timeout -k 5 "$LIMIT" "$DOCKER" -H "unix://$WORK/docker.sock" "$@"; }
r() { d run --rm --name "$SCENARIO" --network none "$@"; }
b() { d run -d --name "$SCENARIO" --network none "$@"; }
inspect() { d inspect -f "$1" "$SCENARIO"; }

setup() {
    make_rootfs
    make_user
    FIRST=$(awk -F: -v u=$TEST_USER '$1 == u { print $2 }' /etc/subuid)
    jq -n --arg path "$RUNTIME" --arg user "$TEST_USER" '{"userns-remap": $user, "default-runtime": "tested",
        runtimes: {tested: {path: $path}, debugging: {path: $path, runtimeArgs: ["--debug"]}}}' > "$WORK/daemon.json"
    containerd_base | start_containerd
    start_daemon dockerd dockerd -H "unix://$WORK/docker.sock" --data-root "$WORK/data" --exec-root "$WORK/exec" \
        --pidfile "$WORK/dockerd.pidfile" --containerd "$WORK/containerd.sock" --config-file "$WORK/daemon.json" \
        --bridge none --iptables=false --ip-forward=false --ip-masq=false
    until_true d version
    d import "$WORK/rootfs.tar" box > /dev/null
}

tidy() {
    local ids
    ids=$(d ps -aq)
    # shellcheck disable=SC2086
    [ -z "$ids" ] || d rm -fv $ids
}

t_map() { eq "$(r box cat /proc/self/uid_map | xargs)" "0 $FIRST 65536"; }
t_output_and_status() {
    eq "$(r box echo one)" one
    status_of 42 r box sh -c 'exit 42'
}
t_process_of_host() {
    b box sleep 1000
    eq "$(stat -c %u "/proc/$(inspect '{{.State.Pid}}')")" "$FIRST"
}
t_exec() {
    b box sleep 1000
    eq "$(d exec "$SCENARIO" cat /proc/self/uid_map | xargs)" "0 $FIRST 65536"
    eq "$(d exec -u app "$SCENARIO" id -G)" "1000 1001"
}
t_exec_tty() {
    b box sleep 1000
    has "$(with_tty "$DOCKER" -H "unix://$WORK/docker.sock" exec -t "$SCENARIO" sh -c 'tty; sleep 0.2')" /dev/pts/
}
t_user_and_groups() { eq "$(r -u app box id -G)" "1000 1001"; }
t_tty() { eq "$(with_tty "$DOCKER" -H "unix://$WORK/docker.sock" run --rm -t --network none box sh -c 'tty; stat -c %u $(tty)' | xargs)" "/dev/pts/0 0"; }
t_volume() {
    eq "$(r -v keep:/data box sh -c 'echo saved > /data/f; cat /data/f; stat -c %u /data/f' | xargs)" "saved 0"
    d volume rm keep > /dev/null
}
t_devices() { eq "$(r box sh -c 'echo x > /dev/null; head -c 3 /dev/zero | wc -c')" 3; }
t_host_user_namespace() { eq "$(r --userns host box readlink /proc/self/ns/user)" "$(readlink /proc/self/ns/user)"; }
t_missing_program() { status_of 127 r box no-such-program; }
t_limits() {
    b --memory 64m --pids-limit 50 box sleep 1000
    eq "$(memory_limit "$(inspect '{{.State.Pid}}')")" 67108864
}
t_pause_and_stop() {
    b box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    d pause "$SCENARIO"
    eq "$(inspect '{{.State.Status}}')" paused
    d unpause "$SCENARIO"
    sleep 0.5
    d stop -t 20 "$SCENARIO"
    eq "$(inspect '{{.State.ExitCode}}')" 3
}
t_runtime_with_arguments() { eq "$(r --runtime debugging box echo wrapped)" wrapped; }
t_nothing_left() {
    tidy
    until_eq "" sh -c "ls $WORK/exec/runtime-*/moby"
}
after_all() {
    remove_user
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d -path '*/docker' -exec rmdir {} + 2>/dev/null
}

begin docker-userns
setup
run_scenarios
