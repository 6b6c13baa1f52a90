#!/bin/bash
# nerdctl, where it is on PATH: Debian 12 has no package. It uses the same shim as ctr.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"

n() { timeout -k 5 "$LIMIT" nerdctl --address "$WORK/containerd.sock" --data-root "$WORK/nerd" --cgroup-manager cgroupfs "$@"; }
r() { n run --rm --name "$SCENARIO" --runtime "$RUNTIME" --network none --security-opt apparmor=unconfined "$@"; }
b() { n run -d --name "$SCENARIO" --runtime "$RUNTIME" --network none --security-opt apparmor=unconfined "$@"; }

tidy() {
    local ids
    ids=$(n ps -aq)
    # shellcheck disable=SC2086
    [ -z "$ids" ] || n rm -f $ids
}

t_output() { eq "$(r box echo one two)" "one two"; }
t_exit_code() { status_of 42 r box sh -c 'exit 42'; }
t_exec() {
    b box sleep 1000
    eq "$(n exec "$SCENARIO" echo inside)" inside
}
t_limits() {
    b --memory 64m box sleep 1000
    eq "$(memory_limit "$(n inspect -f '{{.State.Pid}}' "$SCENARIO")")" 67108864
}
t_pause() {
    b box sleep 1000
    n pause "$SCENARIO"
    n unpause "$SCENARIO"
    n stop -t 0 "$SCENARIO"
}
t_nothing_left() { eq "$(n ps -aq)" ""; }

begin nerdctl
if ! command -v nerdctl > /dev/null; then
    report "skip nerdctl all (nerdctl is not on PATH)"
    exit 0
fi
make_rootfs
make_image docker.io/library/box:latest /bin/sh
containerd_base | start_containerd
n load -i "$WORK/box.tar" > /dev/null
run_scenarios
