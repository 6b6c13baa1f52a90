#!/bin/bash
# containerd's CRI plugin with the runtime as BinaryName, driven through CRI calls as the kubelet makes them.
set -eu
. "$(dirname "$(readlink -f "$0")")/lib.sh"
. "$here/held.sh"

rpc() { PYTHONPATH=$WORK timeout -k 5 "$LIMIT" /usr/bin/python3 "$here/rpc.py" "$WORK/containerd.sock" "$@"; }
c() { timeout -k 5 "$LIMIT" ctr -a "$WORK/containerd.sock" -n k8s.io "$@"; }

config() {
    containerd_base
    cat <<TOML
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$WORK/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "tested"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
  BinaryName = "$HELD"
  Root = "$WORK/rr"
  SystemdCgroup = $(by_systemd && echo true || echo false)
TOML
}

# A point-to-point pair of interfaces per pod: no bridge, no packet filter, nothing shared with the host.
cni_config() {
    mkdir -p "$WORK/cni"
    jq -n --arg dir "$WORK/cni-addresses" '{cniVersion: "0.4.0", name: "ox", plugins: [{type: "ptp", ipMasq: false,
        ipam: {type: "host-local", subnet: "10.244.99.0/24", dataDir: $dir}}]}' > "$WORK/cni/10-ox.conflist"
}

# Everything goes through the script that can stop the runtime half way; unless asked to, it stops nothing.
setup() {
    make_rootfs
    make_held
    make_image docker.io/library/box:1 /bin/sh
    make_image docker.io/library/pause:1 /bin/sleep 2147483647
    protoc -I "$here" --python_out="$WORK" "$here/rpc.proto"
    cni_config
    config | start_containerd
    c image import "$WORK/box.tar" > /dev/null
    c image import "$WORK/pause.tar" > /dev/null
    until_true rpc Version
}

tidy() {
    local id
    release
    for id in $(own_runtime list -q); do own_runtime resume "$id" || true; done
    for id in $(rpc ListPodSandbox | jq -r '.items[].id'); do
        rpc StopPodSandbox "{\"podSandboxId\":\"$id\"}"
        rpc RemovePodSandbox "{\"podSandboxId\":\"$id\"}"
    done
}

# pod [JSON]: start a pod with this in its configuration; its id is in $POD.
pod() {
    POD_CONFIG=$(jq -cn --arg name "$SCENARIO" --arg log "$WORK/pods/$SCENARIO" --argjson more "${1:-{\}}" \
        '{metadata: {name: $name, uid: ("uid-" + $name), namespace: "default"}, logDirectory: $log, hostname: "boxy",
        linux: {securityContext: {namespaceOptions: {pid: "CONTAINER"}}}} * $more')
    # Below this slice systemd makes a scope for every container, as the kubelet asks for.
    ! by_systemd || POD_CONFIG=$(jq -c '.linux.cgroupParent //= "ox-pods.slice"' <<< "$POD_CONFIG")
    POD=$(rpc RunPodSandbox "{\"config\":$POD_CONFIG,\"runtimeHandler\":\"tested\"}" | jq -r .podSandboxId)
    [ -n "$POD" ] || die "no pod"
}

# create NAME JSON COMMAND…: a container in $POD; its id is in $ID.
create() {
    local name=$1 more=$2 config
    shift 2
    config=$(jq -cn --arg name "$name" --argjson more "$more" '{metadata: {name: $name}, command: $ARGS.positional,
        image: {image: "docker.io/library/box:1"}, logPath: ($name + ".log"),
        linux: {securityContext: {namespaceOptions: {pid: "CONTAINER"}}}} * $more' --args -- "$@")
    ID=$(rpc CreateContainer "{\"podSandboxId\":\"$POD\",\"config\":$config,\"sandboxConfig\":$POD_CONFIG}" | jq -r .containerId)
    [ -n "$ID" ] || die "no container"
}
start() { rpc StartContainer "{\"containerId\":\"${1:-$ID}\"}" > /dev/null; }
# container NAME JSON COMMAND…: created and started.
container() { create "$@"; start; }
status() { rpc ContainerStatus "{\"containerId\":\"${2:-$ID}\"}" | jq -r ".status.$1"; }
pid_of() { rpc ContainerStatus "{\"containerId\":\"${1:-$ID}\",\"verbose\":true}" | jq -r '.info.info | fromjson.pid'; }
pod_state() { rpc PodSandboxStatus "{\"podSandboxId\":\"$POD\"}" | jq -r .status.state; }

# run_sync COMMAND…: ExecSync in $ID; output in $output, exit status in $code.
run_sync() {
    local answer
    answer=$(rpc ExecSync "$(jq -cn --arg id "$ID" '{containerId: $id, timeout: 20, cmd: $ARGS.positional}' --args -- "$@")")
    output=$(jq -r '.stdout, .stderr' <<< "$answer" | while read -r part; do base64 -d <<< "$part"; done)
    code=$(jq -r .exitCode <<< "$answer")
}
# says WANT COMMAND…
says() {
    local want=$1
    shift
    run_sync "$@"
    eq "$(xargs <<< "$output")" "$want"
    eq "$code" 0 "exit status of $*"
}
log_of() { sed 's/^[^ ]* [^ ]* [^ ]* //' "$WORK/pods/$SCENARIO/$1.log"; }

t_pod() {
    pod
    eq "$(pod_state)" SANDBOX_READY
    eq "$(rpc PodSandboxStatus "{\"podSandboxId\":\"$POD\"}" | jq -r .status.runtimeHandler)" tested
    rpc StopPodSandbox "{\"podSandboxId\":\"$POD\"}"
    eq "$(pod_state)" SANDBOX_NOTREADY
    rpc RemovePodSandbox "{\"podSandboxId\":\"$POD\"}"
    eq "$(rpc ListPodSandbox | jq '.items | length')" 0
}
t_pod_network() {
    pod
    local ip
    ip=$(rpc PodSandboxStatus "{\"podSandboxId\":\"$POD\"}" | jq -r .status.network.ip)
    has "$ip" 10.244.99.
    container main '{}' sh -c 'mkdir /w; echo page > /w/index.html; httpd -f -p 80 -h /w'
    until_eq page busybox wget -q -O - "http://$ip/"
}
t_shared_namespaces() {
    pod
    container one '{}' sleep 1000
    local first=$ID kind
    container two '{}' sleep 1000
    for kind in net ipc uts; do
        eq "$(readlink "/proc/$(pid_of "$first")/ns/$kind")" "$(readlink "/proc/$(pid_of)/ns/$kind")" "$kind"
    done
    [ "$(readlink "/proc/$(pid_of "$first")/ns/pid")" != "$(readlink "/proc/$(pid_of)/ns/pid")" ] || die "pid namespace shared"
    says boxy hostname
}
t_shared_pid_namespace() {
    pod '{"linux":{"securityContext":{"namespaceOptions":{"pid":"POD"}}}}'
    container one '{"linux":{"securityContext":{"namespaceOptions":{"pid":"POD"}}}}' sh -c 'sleep 31415 & sleep 1000'
    local first pid
    first=$ID
    container two '{"linux":{"securityContext":{"namespaceOptions":{"pid":"POD"}}}}' sleep 2000
    run_sync ps
    has "$output" 31415
    pid=$(pid_of "$first")
    local group
    group=$(cgroup_dir "$pid" memory)
    rpc StopContainer "{\"containerId\":\"$first\",\"timeout\":1}"
    until_eq CONTAINER_EXITED status state "$first"
    # The other processes of the container end with it, those of the pod do not.
    until_true sh -c "! test -s '$group/cgroup.procs'"
    eq "$(status state)" CONTAINER_RUNNING
    rpc RemoveContainer "{\"containerId\":\"$first\"}"
    until_true test ! -d "$group"
}
t_target_pid_namespace() {
    pod
    container one '{}' sleep 1000
    local first=$ID
    container two "{\"linux\":{\"securityContext\":{\"namespaceOptions\":{\"pid\":\"TARGET\",\"targetId\":\"$first\"}}}}" sleep 2000
    run_sync ps
    has "$output" "sleep 1000"
}
t_host_network() {
    pod '{"hostname":"","linux":{"securityContext":{"namespaceOptions":{"network":"NODE"}}}}'
    container main '{"linux":{"securityContext":{"namespaceOptions":{"network":"NODE"}}}}' sleep 1000
    says "$(readlink /proc/self/ns/net)" readlink /proc/self/ns/net
}
t_host_pid_and_ipc() {
    pod '{"linux":{"securityContext":{"namespaceOptions":{"pid":"NODE","ipc":"NODE"}}}}'
    container main '{"linux":{"securityContext":{"namespaceOptions":{"pid":"NODE","ipc":"NODE"}}}}' sleep 1000
    says "$(readlink /proc/self/ns/pid)" readlink /proc/self/ns/pid
    says "$(readlink /proc/self/ns/ipc)" readlink /proc/self/ns/ipc
    local pid
    pid=$(pid_of)
    rpc StopContainer "{\"containerId\":\"$ID\",\"timeout\":1}"
    gone "$pid"
}
t_created_only() {
    pod
    create main '{}' sleep 1000
    eq "$(status state)" CONTAINER_CREATED
    rpc RemoveContainer "{\"containerId\":\"$ID\"}"
}
t_exit_code() {
    pod
    container main '{}' sh -c 'exit 42'
    until_eq CONTAINER_EXITED status state
    eq "$(status exitCode)" 42
    eq "$(status reason)" Error
}
t_completed() {
    pod
    container main '{}' true
    until_eq CONTAINER_EXITED status state
    eq "$(status reason)" Completed
}
t_missing_program() {
    pod
    create main '{}' no-such-program
    status_of 1 start
    has "$output" "executable file not found"
    eq "$(status reason)" StartError
    eq "$(status exitCode)" 128
    rpc RemoveContainer "{\"containerId\":\"$ID\"}"
    eq "$(find "$WORK/rr" -mindepth 2 -maxdepth 2 -name "$ID")" ""
}
t_exec_sync() {
    pod
    container main '{}' sleep 1000
    says hello echo hello
    run_sync sh -c 'echo e >&2; exit 7'
    eq "$code" 7
    eq "$output" e
}
t_exec_sync_timeout() {
    pod
    container main '{}' sleep 1000
    local request
    request="{\"containerId\":\"$ID\",\"timeout\":1,\"cmd\":[\"sleep\",\"2000\"]}"
    status_of 1 rpc ExecSync "$request"
    has "$output" "timeout"
    run_sync ps
    lacks "$output" "sleep 2000"
}
t_exec_missing_program() {
    pod
    container main '{}' sleep 1000
    status_of 1 rpc ExecSync "{\"containerId\":\"$ID\",\"cmd\":[\"no-such-program\"]}"
    has "$output" "executable file not found"
    eq "$(status state)" CONTAINER_RUNNING
}
t_exec_probes() {
    pod
    container main '{}' sleep 1000
    for _ in $(seq 20); do says up echo up; done
    run_sync sh -c 'grep -l "^State:.*Z" /proc/[0-9]*/status'
    eq "$output" "" "defunct processes"
}
t_exec_stream() {
    pod
    container main '{}' sleep 1000
    local got=0
    output=$(rpc exec "$ID" pipes sh -c 'echo out; echo err >&2; exit 5' 2> "$WORK/err") || got=$?
    eq "$output" out
    has "$(cat "$WORK/err")" err
    eq "$got" 5
}
t_exec_stream_input() {
    pod
    container main '{}' sleep 1000
    eq "$(echo typed | rpc exec "$ID" pipes sh -c 'read x; echo "got $x"')" "got typed"
}
t_exec_stream_tty() {
    pod
    container main '{}' sleep 1000
    has "$(rpc exec "$ID" tty sh -c 'tty; sleep 0.3' | tr -d '\r')" /dev/pts/
}
t_attach() {
    pod
    container main '{"stdin":true}' sh -c 'while read x; do echo "got $x"; done'
    output=$( (sleep 1; echo one; sleep 1) | timeout 5 /bin/sh -c "PYTHONPATH=$WORK /usr/bin/python3 $here/rpc.py $WORK/containerd.sock attach $ID pipes" || true)
    has "$output" "got one"
}
t_attach_tty() {
    pod
    container main '{"stdin":true,"tty":true}' sh
    output=$( (sleep 1; echo 'tty; exit 3'; sleep 1) | timeout 10 /bin/sh -c "PYTHONPATH=$WORK /usr/bin/python3 $here/rpc.py $WORK/containerd.sock attach $ID tty" || true)
    has "$output" /dev/pts/0
    until_eq CONTAINER_EXITED status state
    eq "$(status exitCode)" 3
}
t_logs() {
    pod
    container main '{}' sh -c 'echo out; echo err >&2'
    until_eq CONTAINER_EXITED status state
    eq "$(log_of main | sort | xargs)" "err out"
    has "$(cat "$WORK/pods/$SCENARIO/main.log")" "stderr F err"
}
t_stop_graceful() {
    pod
    container main '{}' sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    sleep 0.5
    rpc StopContainer "{\"containerId\":\"$ID\",\"timeout\":20}"
    eq "$(status exitCode)" 3
}
t_stop_after_timeout() {
    pod
    container main '{}' sh -c 'trap "" TERM; while :; do sleep 0.1; done'
    rpc StopContainer "{\"containerId\":\"$ID\",\"timeout\":1}"
    eq "$(status exitCode)" 137
}
t_stop_exited() {
    pod
    container main '{}' true
    until_eq CONTAINER_EXITED status state
    rpc StopContainer "{\"containerId\":\"$ID\",\"timeout\":1}"
    rpc RemoveContainer "{\"containerId\":\"$ID\"}"
}
t_remove_running_pod() {
    pod
    container main '{}' sleep 1000
    local pid
    pid=$(pid_of)
    rpc StopPodSandbox "{\"podSandboxId\":\"$POD\"}"
    rpc RemovePodSandbox "{\"podSandboxId\":\"$POD\"}"
    gone "$pid"
}
t_restart_in_pod() {
    pod
    container main '{}' sh -c 'exit 1'
    until_eq CONTAINER_EXITED status state
    container main '{"metadata":{"attempt":1}}' sleep 1000
    eq "$(status state)" CONTAINER_RUNNING
}
t_out_of_memory() {
    pod
    container main '{"linux":{"resources":{"memoryLimitInBytes":16777216}}}' sh -c 'sleep 1; tail /dev/zero'
    until_eq CONTAINER_EXITED status state
    eq "$(status reason)" OOMKilled
    eq "$(status exitCode)" 137
}
t_out_of_memory_as_init() {
    pod
    container main '{"linux":{"resources":{"memoryLimitInBytes":16777216}}}' sh -c 'sleep 1; exec tail /dev/zero'
    until_eq CONTAINER_EXITED status state
    eq "$(status exitCode)" 137
}
t_resources() {
    pod
    container main '{"linux":{"resources":{"memoryLimitInBytes":67108864,"cpuQuota":50000,"cpuPeriod":100000,"cpuShares":512,"oomScoreAdj":500,"cpusetCpus":"0"}}}' sleep 1000
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 67108864
    eq "$(cpu_limit "$pid")" "50000 100000"
    eq "$(cat "/proc/$pid/oom_score_adj")" 500
}
t_update() {
    pod
    container main '{"linux":{"resources":{"memoryLimitInBytes":67108864}}}' sleep 1000
    rpc UpdateContainerResources "{\"containerId\":\"$ID\",\"linux\":{\"memoryLimitInBytes\":134217728,\"cpuQuota\":20000,\"cpuPeriod\":100000}}"
    local pid
    pid=$(pid_of)
    eq "$(memory_limit "$pid")" 134217728
    eq "$(cpu_limit "$pid")" "20000 100000"
}
t_stats() {
    pod
    container main '{}' sh -c 'while :; do :; done'
    sleep 0.5
    local s
    s=$(rpc ContainerStats "{\"containerId\":\"$ID\"}")
    [ "$(jq -r '.stats.cpu.usageCoreNanoSeconds.value | tonumber' <<< "$s")" -gt 0 ] || die "no cpu time: $s"
    [ "$(jq -r '.stats.memory.workingSetBytes.value | tonumber' <<< "$s")" -gt 0 ] || die "no memory: $s"
}
t_cgroup_parent() {
    if by_systemd; then
        pod '{"linux":{"cgroupParent":"ox-pods-one.slice"}}'
        container main '{}' sleep 1000
        has "$(cat "/proc/$(pid_of)/cgroup")" "/ox-pods.slice/ox-pods-one.slice/cri-containerd-$ID.scope"
        has "$(units "cri-containerd-$ID.scope")" running
        tidy
        eq "$(units 'cri-containerd-*')" ""
        return
    fi
    pod '{"linux":{"cgroupParent":"/ox-pods/pod1"}}'
    container main '{}' sleep 1000
    has "$(cat "/proc/$(pid_of)/cgroup")" "/ox-pods/pod1/$ID"
    tidy
    # The kubelet removes the pod's directory itself: it must be empty by then.
    eq "$(find /sys/fs/cgroup -mindepth 1 -path '*/ox-pods/pod1/*' -type d)" ""
}
t_privileged() {
    pod '{"linux":{"securityContext":{"privileged":true}}}'
    container main '{"linux":{"securityContext":{"privileged":true}}}' sleep 1000
    run_sync grep CapEff /proc/self/status
    has "$output" "$(awk '/^CapBnd/ { print $2 }' /proc/self/status)"
    run_sync sh -c 'mount -t tmpfs x /data && test -c /dev/kmsg && echo fine'
    eq "$output" fine
}
t_user_and_groups() {
    pod
    container main '{"linux":{"securityContext":{"runAsUser":{"value":1000},"runAsGroup":{"value":2000},"supplementalGroups":[3000]}}}' sleep 1000
    run_sync sh -c 'id -u; id -g; id -G'
    has "$(xargs <<< "$output")" "1000 2000 2000"
    has "$output" 3000
}
t_user_name() {
    pod
    container main '{"linux":{"securityContext":{"runAsUsername":"app"}}}' sleep 1000
    says 1000 id -u
}
t_read_only_root() {
    pod
    container main '{"linux":{"securityContext":{"readonlyRootfs":true}}}' sleep 1000
    run_sync touch /file
    eq "$code" 1
    has "$output" "Read-only file system"
}
t_capabilities() {
    pod
    container main '{"linux":{"securityContext":{"capabilities":{"dropCapabilities":["ALL"],"addCapabilities":["NET_ADMIN"]}}}}' sleep 1000
    run_sync grep -E 'Cap(Eff|Bnd)' /proc/self/status
    eq "$(tr -s '\t\n' '  ' <<< "$output" | xargs)" "CapEff: 0000000000001000 CapBnd: 0000000000001000"
}
t_no_new_privileges() {
    pod
    container main '{"linux":{"securityContext":{"noNewPrivs":true}}}' sleep 1000
    says "NoNewPrivs: 1" grep NoNewPrivs /proc/self/status
}
t_seccomp() {
    pod
    container main '{"linux":{"securityContext":{"seccomp":{"profileType":"RuntimeDefault"}}}}' sleep 1000
    says "Seccomp: 2" grep Seccomp: /proc/self/status
    run_sync unshare -U true
    eq "$code" 1
}
t_seccomp_profile_file() {
    echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' > "$WORK/profile.json"
    pod
    container main "{\"linux\":{\"securityContext\":{\"seccomp\":{\"profileType\":\"Localhost\",\"localhostRef\":\"$WORK/profile.json\"}}}}" sleep 1000
    run_sync mkdir /tmp/d
    has "$output" "No space left"
}
t_masked_and_read_only_paths() {
    pod
    container main '{"linux":{"securityContext":{"maskedPaths":["/proc/keys","/proc/acpi"],"readonlyPaths":["/proc/sys"]}}}' sleep 1000
    says 0 sh -c 'wc -c < /proc/keys'
    run_sync sh -c 'echo 1 > /proc/sys/kernel/domainname'
    [ "$code" != 0 ] || die "/proc/sys is writable"
}
t_mounts() {
    mkdir -p "$WORK/vol"
    echo content > "$WORK/vol/file"
    pod
    container main "{\"mounts\":[{\"containerPath\":\"/data\",\"hostPath\":\"$WORK/vol\",\"readonly\":true},{\"containerPath\":\"/etc/one\",\"hostPath\":\"$WORK/vol/file\"}]}" sleep 1000
    says content cat /data/file
    says content cat /etc/one
    run_sync touch /data/new
    has "$output" "Read-only file system"
}
t_mount_propagation() {
    mkdir -p "$WORK/prop"
    mount -t tmpfs -o size=64k prop "$WORK/prop"
    mount --make-shared "$WORK/prop"
    mkdir "$WORK/prop/in" "$WORK/prop/out"
    pod '{"linux":{"securityContext":{"privileged":true}}}'
    container main "{\"linux\":{\"securityContext\":{\"privileged\":true}},\"mounts\":[{\"containerPath\":\"/data\",\"hostPath\":\"$WORK/prop\",\"propagation\":\"PROPAGATION_BIDIRECTIONAL\"}]}" sleep 1000
    mount -t tmpfs -o size=64k x "$WORK/prop/in"
    touch "$WORK/prop/in/later"
    says later ls /data/in
    run_sync sh -c 'mount -t tmpfs y /data/out && touch /data/out/seen'
    eq "$code" 0
    [ -e "$WORK/prop/out/seen" ] || die "the container's mount is not seen on the host"
    tidy
    umount -R "$WORK/prop"
}
t_devices() {
    pod
    container main '{"devices":[{"containerPath":"/dev/nothing","hostPath":"/dev/zero","permissions":"rwm"}]}' sleep 1000
    says "1:5" stat -c %t:%T /dev/nothing
    run_sync sh -c 'mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem'
    has "$output" "peration not permitted"
}
t_environment_and_directory() {
    pod
    container main '{"workingDir":"/tmp","envs":[{"key":"A","value":"b"}]}' sh -c 'echo $A; pwd'
    until_eq CONTAINER_EXITED status state
    eq "$(log_of main | xargs)" "b /tmp"
}
t_sysctl() {
    pod '{"linux":{"sysctls":{"net.ipv4.ip_unprivileged_port_start":"7","kernel.shm_rmid_forced":"1"}}}'
    container main '{}' sleep 1000
    says "7 1" cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced
}
t_terminal() {
    pod
    container main '{"tty":true}' sh -c 'tty'
    until_eq CONTAINER_EXITED status state
    eq "$(log_of main | tr -d '\r')" /dev/pts/0
}
t_oom_score_of_pod() {
    pod
    container main '{"linux":{"resources":{"oomScoreAdj":1000}}}' sleep 1000
    says 1000 cat /proc/self/oom_score_adj
}
t_unknown_handler() {
    status_of 1 rpc RunPodSandbox '{"config":{"metadata":{"name":"a","uid":"b","namespace":"c"}},"runtimeHandler":"other"}'
    has "$output" "no runtime for \"other\""
}
t_many_pods() {
    local pids=() i
    for i in 1 2 3 4; do
        (SCENARIO=many$i; pod; container main '{}' sleep 1000; says "n$i" echo "n$i") > "$WORK/log/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(tail -n 3 "$WORK"/log/many.*)"; done
}
t_many_in_one_pod() {
    pod
    local pids=() i
    for i in 1 2 3 4 5 6; do
        (container "c$i" '{}' sleep 1000; says "n$i" echo "n$i") > "$WORK/log/many.$i" 2>&1 &
        pids+=("$!")
    done
    for i in "${pids[@]}"; do wait "$i" || die "one failed: $(tail -n 3 "$WORK"/log/many.*)"; done
}
t_containerd_restarted() {
    pod
    container main '{}' sleep 1000
    local pid
    pid=$(pid_of)
    stop_daemon containerd
    start_daemon containerd containerd --config "$WORK/containerd.toml"
    until_eq "$pid" pid_of
    says back echo back
    eq "$(pod_state)" SANDBOX_READY
}
t_shim_killed() {
    pod
    container main '{}' sleep 1000
    local pid
    pid=$(pid_of)
    kill -9 "$(pgrep -f "containerd-shim-runc-v2 .*-id $POD")"
    until_eq CONTAINER_EXITED status state
    until_eq SANDBOX_NOTREADY pod_state
    gone "$pid"
}
own_runtime() { "$RUNTIME" --root "$WORK/rr/k8s.io" "$@"; }
no_trace() {
    until_eq "" find "$WORK/rr/k8s.io" -maxdepth 1 -name "$1"
    until_eq "" runtimes_of "$1"
    until_eq "" find /sys/fs/cgroup -name "$1" -type d
}
restart_containerd() {
    kill -9 "$(cat "$WORK/containerd.pid")"
    gone "$(cat "$WORK/containerd.pid")"
    start_daemon containerd containerd --config "$WORK/containerd.toml"
    until_true rpc Version
}
# start_held: a container in a pod whose start stops in the middle of the runtime's create.
start_held() {
    pod
    create main '{}' sleep 1000
    hold_create
    start > "$WORK/start.log" 2>&1 &
    client=$!
    in_create
}
exec_held() {
    pod
    container main '{}' sleep 1000
    pid=$(pid_of)
    own_runtime pause "$ID"
    rpc ExecSync "{\"containerId\":\"$ID\",\"timeout\":60,\"cmd\":[\"sleep\",\"2000.6\"]}" > "$WORK/exec.log" 2>&1 &
    client=$!
    in_exec "$pid"
}
t_runtime_killed_in_create() {
    local client
    start_held
    kill_runtime "create .*$ID"
    if wait "$client"; then die "start succeeded"; fi
    has "$(cat "$WORK/start.log")" "did not terminate successfully"
    eq "$(status reason)" StartError
    rpc RemoveContainer "{\"containerId\":\"$ID\"}"
    eq "$(pod_state)" SANDBOX_READY
    oxrun_only
    gone "$HOOK"
    no_trace "$ID"
}
t_shim_killed_in_create() {
    local client
    start_held
    kill -9 "$(pgrep -f "containerd-shim-runc-v2 .*-id $POD")"
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/start.log" ] || die "the caller was told nothing"
    until_eq SANDBOX_NOTREADY pod_state
    release
    tidy
    gone "$HOOK"
    no_trace "$POD"
    # The clean-up that containerd calls is for the pod alone, as the shim served both.
    own_runtime delete --force "$ID"
    oxrun_only
    no_trace "$ID"
}
t_containerd_killed_in_create() {
    local client
    start_held
    restart_containerd
    if wait "$client"; then die "start succeeded"; fi
    [ -s "$WORK/start.log" ] || die "the caller was told nothing"
    release
    gone "$HOOK"
    until_eq "" runtimes_of "create .*$ID"
    tidy
    oxrun_only
    own_runtime delete --force "$ID"
    no_trace "$ID"
    no_trace "$POD"
}
t_runtime_killed_in_exec() {
    local client pid
    exec_held
    kill_runtime "exec .*$ID"
    if wait "$client"; then die "exec succeeded"; fi
    has "$(cat "$WORK/exec.log")" "did not terminate successfully"
    own_runtime resume "$ID"
    says again echo again
    oxrun_only
    until_eq "$pid" cat "$(cgroup_dir "$pid" pids)/cgroup.procs"
}
t_shim_killed_in_exec() {
    local client pid
    exec_held
    kill -9 "$(pgrep -f "containerd-shim-runc-v2 .*-id $POD")"
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    until_eq CONTAINER_EXITED status state
    gone "$pid"
    tidy
    no_trace "$ID"
}
t_containerd_killed_in_exec() {
    local client pid
    exec_held
    restart_containerd
    if wait "$client"; then die "exec succeeded"; fi
    [ -s "$WORK/exec.log" ] || die "the caller was told nothing"
    own_runtime resume "$ID"
    says again echo again
    eq "$(status state)" CONTAINER_RUNNING
}
t_console_dead_in_create() {
    pod
    create main '{"tty":true}' sh
    deafen
    status_of 1 start
    has "$output" nobody-listens
    eq "$(status reason)" StartError
    no_trace "$ID"
}
t_console_dead_in_exec() {
    pod
    container main '{}' sleep 1000
    deafen
    output=$(rpc exec "$ID" tty sh 2>&1) && die "exec succeeded"
    has "$output" nobody-listens
    release
    says again echo again
}
t_nothing_left() {
    tidy
    until_eq "" sh -c "ls $WORK/rr/k8s.io"
    until_eq "" shims
    oxrun_only
    eq "$(find /sys/fs/cgroup '(' -path '*/k8s.io/*' -o -path '*/cri-containerd-*' ')' -type d 2>/dev/null | head -n 3)" "" cgroups
    eq "$(units 'cri-containerd-*')" "" units
}
shims() { pgrep -f "containerd-shim-runc-v2 .*-address $WORK/" || true; }
after_all() {
    by_systemd && systemctl stop ox-pods.slice
    [ -n "${KEEP:-}" ] || find /sys/fs/cgroup -depth -type d '(' -path '*/ox-pods*' -o -path '*/k8s.io' -o -path '*/k8s.io/*' ')' -exec rmdir {} + 2>/dev/null
    rm -rf /run/netns/cni-* 2>/dev/null
}

begin cri
setup
run_scenarios
