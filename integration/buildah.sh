#!/bin/bash
# Buildah with the runtime as --runtime, as root; buildah-rootless.sh runs the same as an ordinary user.
set -eu
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
. "$here/podman-lib.sh"
. "$here/held.sh"
export BUILDAH_ISOLATION=oci

bu() { e buildah "$@"; }
run() { bu run --runtime "$RUNTIME" "$@"; }
# build [FLAG…]: with the file from standard input.
build() {
    mkdir -p "$WORK/context"
    cat > "$WORK/context/Containerfile"
    chmod -R a+rX "$WORK/context"
    bu build --runtime "$RUNTIME" --network none "$@" "$WORK/context"
}
# working: a working container in $C.
working() { C=$(bu from --network none localhost/box); }
tty_bu() {
    export -f bu e as_user
    export ROOTLESS WORK RUNTIME LIMIT TEST_USER USER_ID=${USER_ID:-} FOREGROUND=yes
    with_tty bash -c 'bu "$@"' - "$@"
}

setup() {
    make_rootfs
    make_held
    configure
    chmod 644 "$WORK/rootfs.tar"
    local c
    c=$(bu from scratch)
    bu add -q "$c" "$WORK/rootfs.tar" / > /dev/null
    bu config --cmd /bin/sh --env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$c"
    bu commit -q "$c" localhost/box > /dev/null
    bu rm "$c" > /dev/null
}

tidy() {
    release
    bu rm -a
}

t_run() { working; eq "$(run "$C" -- echo one two)" "one two"; }
t_run_stdin() { working; eq "$(echo in | run "$C" -- cat)" in; }
t_run_exit_code() { working; status_of 42 run "$C" -- sh -c 'exit 42'; }
t_run_killed() { working; status_of 137 run "$C" -- sh -c 'sh -c "kill -9 \$\$"; exit $?'; }
t_run_missing_program() {
    working
    local got=0
    output=$(run "$C" -- no-such-program 2>&1) || got=$?
    [ "$got" != 0 ] || die "a missing program ran"
    has "$output" no-such-program
}
t_run_keeps_changes() {
    working
    run "$C" -- sh -c 'echo kept > /kept'
    eq "$(run "$C" -- cat /kept)" kept
}
t_run_user() { working; eq "$(run --user 1000:1000 "$C" -- sh -c 'id -u; id -g' | xargs)" "1000 1000"; }
t_run_env_and_workdir() {
    working
    bu config --workingdir /tmp "$C"
    eq "$(run --env A=b "$C" -- sh -c 'echo $A; pwd' | xargs)" "b /tmp"
}
t_run_terminal() { working; has "$(tty_bu run --runtime "$RUNTIME" -t "$C" -- tty)" /dev/pts/0; }
t_run_hostname() { working; eq "$(run --hostname boxy "$C" -- hostname)" boxy; }
t_run_volume() {
    working
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    chmod -R a+rX "$WORK/vol"
    eq "$(run -v "$WORK/vol:/data:ro" "$C" -- cat /data/file)" content
    status_of 1 run -v "$WORK/vol:/data:ro" "$C" -- touch /data/new
}
t_run_capabilities() {
    working
    has "$(run --cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN "$C" -- grep CapBnd /proc/self/status)" "$(
        printf '%016x' $((0x$(run "$C" -- awk '/^CapBnd/ { print $2 }' /proc/self/status) & ~1 | 0x1000)))"
}
t_run_own_network() { working; eq "$(run --network none "$C" -- awk -F: 'NR > 2 { print $1 }' /proc/net/dev | xargs)" lo; }
t_run_host_network() { working; eq "$(run --network host "$C" -- readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
t_run_masked_paths() { working; eq "$(run "$C" -- sh -c 'cat /proc/keys /proc/timer_list | wc -c')" 0; }
t_run_descriptors() { working; eq "$(run "$C" -- sh -c 'ls /proc/self/fd | xargs')" "0 1 2 3"; }
t_run_input_ends() { working; eq "$(printf 'a\nb\n' | run "$C" -- wc -l | xargs)" 2; }
t_run_fast() {
    # A process that ends at once races with Buildah's polling of the state.
    working
    for _ in $(seq 10); do run "$C" -- true; done
}
t_build() {
    build -q -t built > /dev/null << 'F'
FROM localhost/box
RUN echo built > /made && id -u > /who
USER 1000
RUN id -u > /tmp/who
ENTRYPOINT ["cat"]
F
    C=$(bu from --network none built)
    eq "$(run "$C" -- cat /made /who /tmp/who | xargs)" "built 0 1000"
    bu rmi -f built > /dev/null
}
t_build_failing_step() {
    local got=0
    output=$(build 2>&1 << 'F'
FROM localhost/box
RUN echo before && exit 9
F
    ) || got=$?
    eq "$got" 9
    has "$output" before
}
t_build_missing_program() {
    local got=0
    output=$(build 2>&1 << 'F'
FROM localhost/box
RUN ["no-such-program"]
F
    ) || got=$?
    [ "$got" != 0 ] || die "a missing program ran"
    has "$output" no-such-program
}
t_build_workdir_env_shell() {
    output=$(build 2>&1 << 'F'
FROM localhost/box
ENV A=b
WORKDIR /made/here
SHELL ["/bin/sh", "-e", "-c"]
RUN echo "$A $(pwd)"
F
    )
    has "$output" "b /made/here"
}
t_build_mounts() {
    output=$(build 2>&1 << 'F'
FROM localhost/box
RUN --mount=type=tmpfs,target=/t grep ' /t ' /proc/mounts
F
    )
    has "$output" "/t tmpfs"
}
t_build_volume() {
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    chmod -R a+rX "$WORK/vol"
    output=$(build -v "$WORK/vol:/data:ro" 2>&1 << 'F'
FROM localhost/box
RUN cat /data/file
F
    )
    has "$output" content
}
t_build_memory_limit() {
    limits_possible
    output=$(build --memory 64m --memory-swap 64m 2>&1 << 'F'
FROM localhost/box
RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max
F
    )
    has "$output" 67108864
}
t_build_cgroup_parent() {
    rootful
    output=$(build --cgroup-parent /ox-build 2>&1 << 'F'
FROM localhost/box
RUN cat /proc/self/cgroup
RUN cat /proc/self/cgroup
F
    )
    has "$output" ox-build
}
t_build_user_namespace() {
    rootful
    output=$(build --userns-uid-map 0:100000:65536 --userns-gid-map 0:100000:65536 2>&1 << 'F'
FROM localhost/box
RUN cat /proc/self/uid_map
F
    )
    has "$(tr -s ' ' <<< "$output")" "0 100000 65536"
}
t_build_isolation_rootless() {
    output=$(build --isolation rootless 2>&1 << 'F'
FROM localhost/box
RUN echo "from $(id -u)"
F
    )
    has "$output" "from 0"
}
t_build_many_at_once() {
    local pids=() i
    for i in 1 2 3; do
        (C=$(bu from --network none localhost/box); run "$C" -- sh -c "echo n$i") > "$WORK/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(cat "$WORK"/many.?)"; done
    eq "$(cat "$WORK"/many.? | sort | xargs)" "n1 n2 n3"
}
t_build_interrupted() {
    working
    run "$C" -- sleep 31.41 &
    local engine=$! pid
    until_true pgrep -f '^[^ ]*sleep 31.41'
    pid=$(pgrep -f '^[^ ]*sleep 31.41')
    kill -INT "$(pgrep -f "buildah run --runtime $RUNTIME .*31.41" | tail -n 1)"
    wait "$engine" && die "the step succeeded"
    gone "$pid"
}
# run_held: a step that stops in the middle of create; the client in $client, the runtime's pid in $MAKER.
run_held() {
    working
    hold_create
    bu run --runtime "$HELD" "$C" -- sleep 31.42 > "$WORK/run.log" 2>&1 &
    client=$!
    in_create
    MAKER=$(runtimes_of "create .*buildah-buildah" | head -n 1)
}
t_run_runtime_killed_in_create() {
    local client
    run_held
    kill -9 "$MAKER"
    if wait "$client"; then die "the step succeeded"; fi
    has "$(cat "$WORK/run.log")" "signal: killed"
    oxrun_only
    gone "$HOOK"
    forget_half_made
}
t_run_engine_killed_in_create() {
    local client name
    run_held
    # The helper that calls the runtime, and with it the runtime.
    kill -9 "$(awk '/^PPid:/ { print $2 }' "/proc/$MAKER/status")"
    if wait "$client"; then die "the step succeeded"; fi
    [ -s "$WORK/run.log" ] || die "the caller was told nothing"
    gone "$MAKER"
    oxrun_only
    gone "$HOOK"
    forget_half_made
}
# forget_half_made: Buildah deletes what it has started only; the name is new for each step.
forget_half_made() {
    local dir name
    dir=/run/oxrun
    [ -z "$ROOTLESS" ] || dir=$WORK/xdg/oxrun
    until_eq "" runtimes_of buildah-buildah
    for name in $(find "$dir" -maxdepth 1 -name 'buildah-buildah*' -printf '%f '); do
        if [ -z "$ROOTLESS" ]; then "$RUNTIME" delete --force "$name"; else as_user "$RUNTIME" delete --force "$name"; fi
    done
    eq "$(find "$dir" -maxdepth 1 -name 'buildah-buildah*')" "" "states"
    until_eq "" find /sys/fs/cgroup -name 'buildah-buildah*' -type d
}
t_run_console_dead() {
    working
    deafen
    output=$(tty_bu run -t --runtime "$HELD" "$C" -- tty)
    has "$output" nobody-listens
}
t_nothing_left() {
    tidy > /dev/null
    eq "$(bu containers -q)" ""
    eq "$(grep -c "$WORK/store/overlay/.*/merged" /proc/self/mountinfo || true)" 0 mounts
    if [ -z "$ROOTLESS" ]; then
        lacks "$("$RUNTIME" list -q)" buildah- "runtime's list"
        eq "$(find /sys/fs/cgroup -name 'buildah-buildah*' -type d 2>/dev/null | head -n 3)" "" cgroups
    else
        eq "$(find "$WORK/xdg" -name 'buildah-buildah*')" ""
    fi
}
after_all() {
    [ -z "$ROOTLESS" ] || remove_user
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d -path '*/ox-build*' -exec rmdir {} + 2>/dev/null
}

begin "${ENGINE:-buildah}"
setup
run_scenarios
