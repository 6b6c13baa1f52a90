#!/bin/bash
# Checkpoint and restore by the engines: podman, docker (experimental) and ctr, as far as their versions can
# do it. CRIU must work on this kernel; `tools/test-criu engines` boots a machine where it does.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$here/podman-lib.sh"
DOCKER=${DOCKER:-/usr/bin/docker}

p() { e podman --runtime "$RUNTIME" "$@"; }
d() { timeout -k 5 "$LIMIT" "$DOCKER" -H "unix://$WORK/docker.sock" "$@"; }
c() { timeout -k 5 "$LIMIT" ctr -a "$WORK/containerd.sock" -n ox-ctr "$@"; }
opts=()

# Writes a number down again and again: one that was started anew would begin at 1.
COUNT='n=0; while :; do n=$((n + 1)); echo $n > /tmp/n.new; mv /tmp/n.new /tmp/n; sleep 0.05; done'
# Holds a lock. Not in one long sleep: CRIU interrupts it, and busybox 1.37 then ends.
LOCK=(flock /tmp/lock sh -c 'while :; do sleep 1; done')
# Two ends of a connection.
TALK='nc -l -p 7000 -e cat & sleep 1; { while :; do echo x; sleep 0.1; done; } | nc 127.0.0.1 7000 > /tmp/heard'

# No network of an engine's making: there is none in the machine, and CRIU has nothing to do with it.
setup() {
    make_rootfs
    # Busybox has no program that locks a file.
    local file
    for file in "$(command -v flock)" $(ldd "$(command -v flock)" | grep -o '/[^ ]*'); do
        install -D -m 755 "$file" "$WORK/rootfs$file"
    done
    tar -C "$WORK/rootfs" --numeric-owner -cf "$WORK/rootfs.tar" .
    chmod 644 "$WORK/rootfs.tar"
    criu check > "$WORK/log/criu" 2>&1 || WITHOUT_CRIU="CRIU does not work here: $(tail -n 1 "$WORK/log/criu")"
    [ -z "${WITHOUT_CRIU:-}" ] || return 0
    has_engine docker || has_engine ctr || return 0
    containerd_base | start_containerd
    if has_engine ctr; then
        make_image box /bin/sh
        c image import "$WORK/box.tar" > /dev/null
        IMAGE=$(c image ls -q | head -n 1)
        opts=(--runc-binary "$RUNTIME" --runc-root "$WORK/rr")
        ! by_systemd || opts+=(--runc-systemd-cgroup)
    fi
    ! has_engine docker || start_dockerd
}
setup_podman() {
    configure
    p import -q "$WORK/rootfs.tar" box > /dev/null
}
start_dockerd() {
    echo '{"experimental": true}' > "$WORK/daemon.json"
    start_daemon dockerd dockerd -H "unix://$WORK/docker.sock" --data-root "$WORK/data" --exec-root "$WORK/exec" \
        --pidfile "$WORK/dockerd.pidfile" --containerd "$WORK/containerd.sock" --config-file "$WORK/daemon.json" \
        --bridge none --iptables=false --ip-forward=false --ip-masq=false \
        --exec-opt "native.cgroupdriver=$CGROUP_MANAGER" \
        --add-runtime "tested=$RUNTIME" --default-runtime tested
    until_true d version
    d import "$WORK/rootfs.tar" box > /dev/null
}
has_engine() { command -v "$1" > /dev/null && [[ " ${ENGINES:-podman docker ctr} " == *" $1 "* ]]; }
need() {
    [ -z "${WITHOUT_CRIU:-}" ] || skip "$WITHOUT_CRIU"
    has_engine "$1" || skip "no $1"
}

tidy() {
    local id
    # Then no engine runs.
    [ -z "${WITHOUT_CRIU:-}" ] || return 0
    if has_engine podman; then p pod rm -f -a -t 0; p rm -f -a -t 0; p volume prune -f; p image rm -f checkpointed; fi
    if has_engine docker; then for id in $(d ps -aq); do d rm -fv "$id"; done; fi
    if has_engine ctr; then
        for id in $(c task ls -q); do c task kill -a -s KILL "$id"; c task rm -f "$id"; done
        for id in $(c container ls -q); do c container rm "$id"; done
        for id in $(c image ls -q | grep ^checkpoint/); do c image rm "$id"; done
    fi
}

# counted COMMAND…: the number that is there now, at least 3; the command is an engine's exec.
counted() {
    local n
    n=$("$@" cat /tmp/n)
    [ "${n:-0}" -ge 3 ] || return 1
    echo "$n"
}
# counts COMMAND…: the number, as soon as there is one; an engine's exec may lose it.
counts() {
    local n
    for _ in $(seq $((100 * PATIENCE))); do
        if n=$(counted "$@"); then echo "$n"; return 0; fi
        sleep 0.2
    done
    die "it does not count"
}
# goes_on FROM COMMAND…: it counts, and has not begun anew.
goes_on() {
    local first
    first=$(counts "${@:2}")
    [ "$first" -ge "$1" ] || die "it has begun anew: $first after $1"
    until_true is_beyond "$first" "${@:2}"
}
is_beyond() { [ "$(counted "${@:2}")" -gt "$1" ]; }

pb() { p run -d --name "$SCENARIO" "$@"; }
px() { p exec "$SCENARIO" "$@"; }
p_inspect() { p inspect -f "$1" "${2:-$SCENARIO}"; }
ck() { p container checkpoint "$@"; }
re() { p container restore "$@"; }

t_podman_twice() {
    need podman
    pb box sh -c "$COUNT"
    local at
    for _ in 1 2; do
        at=$(counts px)
        ck "$SCENARIO"
        eq "$(p_inspect '{{.State.Status}} {{.State.Checkpointed}}')" "exited true"
        re "$SCENARIO"
        eq "$(p_inspect '{{.State.Status}}')" running
        goes_on "$at" px
    done
    p stop -t 1 "$SCENARIO"
    eq "$(p_inspect '{{.State.Status}}')" exited
}
t_podman_leave_running() {
    need podman
    pb box sh -c "$COUNT"
    local at pid
    at=$(counts px)
    pid=$(p_inspect '{{.State.Pid}}')
    ck --leave-running --keep "$SCENARIO"
    eq "$(p_inspect '{{.State.Pid}}')" "$pid"
    goes_on "$at" px
}
t_podman_export_import() {
    need podman
    pb box sh -c "echo kept > /tmp/file; $COUNT"
    local at one
    at=$(counts px)
    ck --export "$WORK/tmp/$SCENARIO.tar.gz" --compress gzip "$SCENARIO"
    p rm "$SCENARIO"
    # Two containers from one checkpoint, and its first name.
    for one in "$SCENARIO" "$SCENARIO-1" "$SCENARIO-2"; do
        re --import "$WORK/tmp/$SCENARIO.tar.gz" --name "$one"
        goes_on "$at" p exec "$one"
        eq "$(p exec "$one" cat /tmp/file)" kept
    done
    eq "$(p ps -q | wc -l)" 3
}
t_podman_export_left_running() {
    need podman
    pb box sh -c "$COUNT"
    local at
    at=$(counts px)
    ck --leave-running --export "$WORK/tmp/$SCENARIO.tar.gz" --compress gzip "$SCENARIO"
    goes_on "$at" px
    p rm -f -t 0 "$SCENARIO"
    re --import "$WORK/tmp/$SCENARIO.tar.gz"
    goes_on "$at" px
}
t_podman_image() {
    need podman
    pb box sh -c "$COUNT"
    local at
    at=$(counts px)
    ck --create-image checkpointed "$SCENARIO"
    p rm "$SCENARIO"
    re checkpointed
    goes_on "$at" px
}
t_podman_tcp_established() {
    need podman
    pb box sh -c "$TALK"
    until_true px test -s /tmp/heard
    status_of 125 ck "$SCENARIO"
    has "$output" tcp-established
    eq "$(p_inspect '{{.State.Status}}')" running
    ck --tcp-established "$SCENARIO"
    re --tcp-established "$SCENARIO"
    local size
    size=$(px stat -c %s /tmp/heard)
    until_true longer "$size"
}
longer() { [ "$(px stat -c %s /tmp/heard)" -gt "$1" ]; }
t_podman_file_locks() {
    need podman
    pb box "${LOCK[@]}"
    until_true px test -e /tmp/lock
    status_of 125 ck "$SCENARIO"
    has "$output" "file lock"
    ck --file-locks "$SCENARIO"
    re --file-locks "$SCENARIO"
    status_of 1 px flock -n /tmp/lock true
}
t_podman_pre_checkpoint() {
    need podman
    criu check --feature mem_dirty_track > /dev/null 2>&1 || skip "no memory tracking here"
    pb box sh -c "$COUNT"
    local at
    counts px
    ck --pre-checkpoint "$SCENARIO"
    eq "$(p_inspect '{{.State.Status}}')" running
    at=$(counts px)
    ck --with-previous "$SCENARIO"
    re "$SCENARIO"
    goes_on "$at" px
    # As files: one before, one that needs it.
    ck --pre-checkpoint --export "$WORK/tmp/$SCENARIO.pre.tar.gz" --compress gzip "$SCENARIO"
    at=$(counts px)
    ck --with-previous --export "$WORK/tmp/$SCENARIO.tar.gz" --compress gzip "$SCENARIO"
    p rm "$SCENARIO"
    re --import-previous "$WORK/tmp/$SCENARIO.pre.tar.gz" --import "$WORK/tmp/$SCENARIO.tar.gz"
    goes_on "$at" px
}
t_podman_terminal() {
    need podman
    pb -t box sh -c "$COUNT"
    local at
    at=$(counts px)
    ck "$SCENARIO"
    re "$SCENARIO"
    goes_on "$at" px
    eq "$(px readlink /proc/1/fd/0)" /dev/pts/0
}
t_podman_volumes_and_limits() {
    need podman
    pb -v kept:/data --memory 64m --pids-limit 50 --read-only --tmpfs /tmp box sh -c "echo v > /data/file; $COUNT"
    local at pid
    at=$(counts px)
    ck "$SCENARIO"
    re "$SCENARIO"
    goes_on "$at" px
    eq "$(px cat /data/file)" v
    status_of 1 px touch /file
    pid=$(p_inspect '{{.State.Pid}}')
    eq "$(memory_limit "$pid")" 67108864
    eq "$(pids_limit "$pid")" 50
}
t_podman_refused() {
    need podman
    pb box "${LOCK[@]}"
    until_true px test -e /tmp/lock
    local pid
    pid=$(p_inspect '{{.State.Pid}}')
    status_of 125 ck --export "$WORK/tmp/$SCENARIO.tar.gz" "$SCENARIO"
    local refusal=$output
    eq "$(p_inspect '{{.State.Status}} {{.State.Pid}}')" "running $pid"
    status_of 1 px flock -n /tmp/lock true
    oxrun_only
    has "$refusal" "file lock"
}

db() { d run -d --name "$SCENARIO" "$@"; }
dx() { d exec "$SCENARIO" "$@"; }
d_inspect() { d inspect -f "$1" "$SCENARIO"; }

# Docker gives images to containerd, which refuses what it has not yet thrown away since the last time.
from_checkpoint() {
    for _ in $(seq 20); do
        output=$(d start --checkpoint "$1" "$SCENARIO" 2>&1) && return 0
        [[ $output == *"already exists"* ]] || break
        sleep 1
    done
    die "$output"
}
docker_survives() {
    local at
    counts dx
    for round in one two; do
        at=$(counts dx)
        d checkpoint create "$SCENARIO" "$round"
        until_eq exited d_inspect '{{.State.Status}}'
        has "$(d checkpoint ls "$SCENARIO")" "$round"
        from_checkpoint "$round"
        eq "$(d_inspect '{{.State.Status}}')" running
        goes_on "$at" dx
    done
    d checkpoint rm "$SCENARIO" one
    lacks "$(d checkpoint ls "$SCENARIO")" one
}
t_docker_host_network() {
    need docker
    db --network host box sh -c "$COUNT"
    docker_survives
}
t_docker_own_network() {
    need docker
    db --network none box sh -c "$COUNT"
    docker_survives
}
t_docker_terminal() {
    need docker
    db -t --network none box sh -c "$COUNT"
    docker_survives
    eq "$(dx readlink /proc/1/fd/0)" /dev/pts/0
}
t_docker_leave_running() {
    need docker
    db --network host box sh -c "$COUNT"
    local at pid
    at=$(counts dx)
    pid=$(d_inspect '{{.State.Pid}}')
    d checkpoint create --leave-running --checkpoint-dir "$WORK/tmp-cp" "$SCENARIO" one
    eq "$(d_inspect '{{.State.Status}} {{.State.Pid}}')" "running $pid"
    goes_on "$at" dx
    [ -e "$WORK/tmp-cp/one/pstree.img" ] || [ -e "$WORK/tmp-cp/one/config.json" ] || die "no images: $(find "$WORK/tmp-cp")"
}
t_docker_refused() {
    need docker
    # Docker has no option for file locks.
    db --network host box "${LOCK[@]}"
    until_true dx test -e /tmp/lock
    local refusal
    status_of 1 d checkpoint create "$SCENARIO" one
    refusal=$output
    eq "$(d_inspect '{{.State.Status}}')" running
    status_of 1 dx flock -n /tmp/lock true
    oxrun_only
    has "$refusal" "file lock"
}

group() { ! by_systemd || echo "--cgroup system.slice:ox-test:$SCENARIO"; }
cb() { c run -d --null-io "${opts[@]}" $(group) "$IMAGE" "$SCENARIO" "$@"; }
cx() { c task exec --exec-id "x$RANDOM" "$SCENARIO" "$@"; }
c_state() { c task ls | awk -v id="$SCENARIO" '$1 == id { print $3 }'; }

t_ctr_left_running() {
    need ctr
    cb sh -c "$COUNT"
    local at
    at=$(counts cx)
    c task checkpoint --image-path "$WORK/$SCENARIO" --work-path "$WORK/$SCENARIO-work" "$SCENARIO"
    [ -e "$WORK/$SCENARIO/pstree.img" ] || die "no images"
    eq "$(c_state)" RUNNING
    goes_on "$at" cx
}
t_ctr_exit() {
    need ctr
    cb sh -c "$COUNT"
    counts cx
    c task checkpoint --exit --image-path "$WORK/$SCENARIO" --work-path "$WORK/$SCENARIO-work" "$SCENARIO"
    [ -e "$WORK/$SCENARIO/pstree.img" ] || die "no images"
    until_eq STOPPED c_state
}
t_ctr_restore() {
    need ctr
    cb sh -c "$COUNT"
    local at
    at=$(counts cx)
    c container checkpoint --rw --image --task "$SCENARIO" "checkpoint/$SCENARIO:1"
    c task kill -s KILL "$SCENARIO"
    until_eq STOPPED c_state
    c task rm "$SCENARIO" || true
    c container rm "$SCENARIO"
    c container restore --rw --live "$SCENARIO" "checkpoint/$SCENARIO:1"
    goes_on "$at" cx
}

t_nothing_left() {
    tidy > /dev/null 2>&1
    oxrun_only
    eq "$(mounts_below "$WORK" | grep /merged)" "" mounts
    eq "$(ls "$WORK/rr/ox-ctr" "$WORK"/exec/runtime-*/moby 2> /dev/null | grep -v :)" "" "state directories"
    eq "$(find /sys/fs/cgroup '(' -path '*libpod_parent/libpod-*' -o -path '*/ox-test*' ')' -type d 2> /dev/null | grep -v conmon | head -n 3)" "" cgroups
}
after_all() {
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d '(' -path '*/libpod_parent*' -o -path '*/docker' ')' \
        -exec rmdir {} + 2> /dev/null
}

begin checkpoint
setup
[ -n "${WITHOUT_CRIU:-}" ] || ! has_engine podman || setup_podman
run_scenarios
