#!/bin/bash
# tools/register on the files of a scratch directory: what they hold survives, engines understand what was
# entered, and --undo gives the same bytes back.
# shellcheck source=integration/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

begin register
ROOT=$WORK/host

register() { "$here/../tools/register" --root "$ROOT" --path /opt/oxrun "$@"; }

# Files with layouts of people: tabs, no last newline, comments.
host() {
    rm -rf "$ROOT" "$WORK/before"
    mkdir -p "$ROOT"/etc/{docker,containerd,containers/containers.conf.d}
    printf '{\n    "log-driver": "none",  \n\t"runtimes": {"other": {"path": "/bin/other"}}\n}' > "$ROOT/etc/docker/daemon.json"
    chmod 600 "$ROOT/etc/docker/daemon.json"
    printf '# ours\nversion = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/cni"' > "$ROOT/etc/containerd/config.toml"
    printf '[containers]\numask = "0027"\n' > "$ROOT/etc/containers/containers.conf.d/10-ours.conf"
    cp -a "$ROOT" "$WORK/before"
}

t_docker() {
    host
    local file=$ROOT/etc/docker/daemon.json
    register --yes --default docker
    eq "$(jq -r '."log-driver", .runtimes.other.path, .runtimes.oxrun.path, ."default-runtime"' "$file" | xargs)" \
        "none /bin/other /opt/oxrun oxrun"
    eq "$(stat -c %a "$file" "$file.before-oxrun" | xargs)" "600 600"
    register --yes --undo docker
    diff -r "$ROOT" "$WORK/before"
}

t_docker_edited_since() {
    host
    local file=$ROOT/etc/docker/daemon.json
    register --yes --default docker
    jq '.debug = true' "$file" > "$WORK/edited"
    cp "$WORK/edited" "$file"
    register --yes --undo docker
    eq "$(jq -c . "$file")" '{"log-driver":"none","runtimes":{"other":{"path":"/bin/other"}},"debug":true}'
    [ ! -e "$file.before-oxrun" ]
}

t_containerd() {
    host
    local file=$ROOT/etc/containerd/config.toml dump
    register --yes --default containerd
    dump=$(containerd --config "$file" config dump)
    has "$dump" 'bin_dir = "/cni"'
    has "$dump" 'default_runtime_name = "oxrun"'
    has "$dump" 'BinaryName = "/opt/oxrun"'
    register --yes --undo containerd
    diff -r "$ROOT" "$WORK/before"
}

t_containerd_table_taken() {
    host
    printf '\n[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "native"\n' >> "$ROOT/etc/containerd/config.toml"
    cp -a "$ROOT/." "$WORK/before"
    status_of 1 register --yes --default containerd
    has "$output" 'already: edit that by hand'
    diff -r "$ROOT" "$WORK/before"
    register --yes containerd
    has "$(containerd --config "$ROOT/etc/containerd/config.toml" config dump)" 'snapshotter = "native"'
}

t_podman() {
    host
    register --yes --default podman
    cp "$ROOT/etc/containers/containers.conf.d/oxrun.conf" "$WORK/podman.conf"
    sed -i "s|/opt/oxrun|$RUNTIME|" "$WORK/podman.conf"
    CONTAINERS_CONF=$WORK/podman.conf status_of 0 podman --root "$WORK/p" --runroot "$WORK/pr" --storage-driver vfs \
        info --format '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}'
    has "$output" "oxrun $RUNTIME"
    register --yes --undo podman
    diff -r "$ROOT" "$WORK/before"
}

t_asks_first() {
    host
    status_of 1 register docker < /dev/null
    has "$output" '+    "oxrun": {'
    has "$output" 'is left as it is'
    diff -r "$ROOT" "$WORK/before"
    echo y | register docker
    [ -e "$ROOT/etc/docker/daemon.json.before-oxrun" ]
}

t_twice_and_elsewhere() {
    host
    register --yes docker containerd podman
    has "$(register --yes docker containerd podman)" 'nothing to change'
    "$here/../tools/register" --root "$ROOT" --path /elsewhere/oxrun --yes docker containerd podman
    eq "$(grep -rl /elsewhere/oxrun "$ROOT" | wc -l)" 3
    eq "$(grep -rl /opt/oxrun "$ROOT" | wc -l)" 0
    register --yes --undo docker containerd podman
    diff -r "$ROOT" "$WORK/before"
}

t_no_files_before() {
    rm -rf "$ROOT"
    mkdir "$ROOT"
    register --yes docker containerd podman
    eq "$(find "$ROOT" -type f | wc -l)" 3
    register --yes --undo docker containerd podman
    eq "$(find "$ROOT" -type f | wc -l)" 0
}

t_broken_files() {
    host
    echo '{' > "$ROOT/etc/docker/daemon.json"
    status_of 1 register --yes docker
    has "$output" 'it is no JSON'
    echo 'version = 1' > "$ROOT/etc/containerd/config.toml"
    status_of 1 register --yes containerd
    has "$output" 'containerd config migrate'
    eq "$(cat "$ROOT/etc/docker/daemon.json" "$ROOT/etc/containerd/config.toml" | xargs)" '{ version = 1'
}


t_nothing_left() { [ -z "$(find "$WORK" -name ".oxrun-register-*")" ]; }

run_scenarios
