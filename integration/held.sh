# shellcheck shell=bash
# A runtime that can be stopped half way, for scenarios in which an engine dies in the middle of create or
# exec: a script around the runtime under test, with its name. Sourced by the engine scripts, after lib.sh.
#
# * While $WORK/held/create is there, a hook holds `create` (for a minute at most).
# * `exec` goes into a paused container too, where the freezer holds the new process on its way in.
# * While $WORK/held/deaf is there, nobody listens on the console socket any more.

# make_held: the script, as $HELD.
make_held() {
    HELD=$WORK/bin/held/$(basename "$RUNTIME")
    mkdir -p "$WORK/bin/held" "$WORK/held"
    chmod 1777 "$WORK/held"
    cat > "$HELD" <<SCRIPT
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
held=$WORK/held real=$RUNTIME
SCRIPT
    cat >> "$HELD" <<'SCRIPT'
args=() command='' before=''
for a; do
    case $before in
        --bundle) bundle=$a ;;
        --console-socket) [ ! -e "$held/deaf" ] || a=$held/nobody-listens ;;
    esac
    args+=("$a")
    before=$a
    [ -z "$command" ] || continue
    case $a in
        create) command=create ;;
        exec) command=exec args+=(--ignore-paused) ;;
    esac
done
if [ "$command" = create ] && [ -e "$held/create" ]; then
    hook="echo \$\$ > $held/in-hook; for i in \$(seq 300); do [ -e $held/create ] || exit 0; sleep 0.2; done"
    jq --arg hook "$hook" '.hooks.createRuntime += [{path: "/bin/sh", args: ["sh", "-c", $hook],
        env: ["PATH=/usr/bin:/bin"]}]' "$bundle/config.json" > "$held/config.json" &&
        cat "$held/config.json" > "$bundle/config.json"
fi
exec "$real" "${args[@]}"
SCRIPT
    chmod 755 "$WORK/bin/held" "$HELD"
}

# hold_create: the next create stops in its hook; in_create: it is there; the hook's pid is in $HOOK.
hold_create() { touch "$WORK/held/create"; }
in_create() {
    until_true test -s "$WORK/held/in-hook"
    HOOK=$(cat "$WORK/held/in-hook")
}
release() { rm -f "$WORK"/held/*; }
deafen() { touch "$WORK/held/deaf"; }

need_freezer() { [ -z "${ROOTLESS:-}" ] || cgroup2 || skip "no freezer for ordinary users on cgroup v1"; }

# in_exec PID: a second process is in the frozen cgroup of the container whose first process is PID.
in_exec() {
    local dir
    dir=$(cgroup_dir "$1" freezer)
    until_true second_process "$dir/cgroup.procs"
}
second_process() { [ "$(wc -l < "$1")" -ge 2 ]; }

# runtimes_of TEXT: processes of the runtime under test with TEXT in their arguments, by pid: the command that
# was called is the first, its clones come after it.
runtimes_of() { pgrep -f "^$RUNTIME .*$1" || true; }
kill_runtime() { kill -9 "$(runtimes_of "$1" | head -n 1)"; }
no_group() { [ ! -d "$1" ]; }
