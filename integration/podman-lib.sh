# shellcheck shell=bash
# What the Podman and Buildah scripts share: the temporary user for rootless runs, private storage, and
# configuration files. ROOTLESS=yes makes every engine call that user's.
ROOTLESS=${ROOTLESS:-}
TEST_USER=oxtest

# as_user COMMAND…: as the temporary user, with an environment as after a login.
as_user() {
    setpriv --reuid "$USER_ID" --regid "$USER_ID" --init-groups --inh-caps=-all \
        env -i HOME="$WORK/home" USER=$TEST_USER LOGNAME=$TEST_USER PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm \
        XDG_RUNTIME_DIR="$XDG" DBUS_SESSION_BUS_ADDRESS="unix:path=$XDG/bus" TMPDIR="$WORK/tmp" CONTAINERS_CONF="$WORK/containers.conf" \
        CONTAINERS_STORAGE_CONF="$WORK/storage.conf" REGISTRIES_CONFIG_PATH=/dev/null \
        BUILDAH_ISOLATION="${BUILDAH_ISOLATION:-}" "$@"
}

# e COMMAND…: an engine's command, as root or as the user.
e() {
    if [ -n "$ROOTLESS" ]; then
        (cd "$WORK/home" && as_user timeout ${FOREGROUND:+--foreground} -k 5 "$LIMIT" "$@")
    else
        (cd "$WORK/tmp" && TMPDIR="$WORK/tmp" CONTAINERS_CONF="$WORK/containers.conf" \
            CONTAINERS_STORAGE_CONF="$WORK/storage.conf" timeout ${FOREGROUND:+--foreground} -k 5 "$LIMIT" "$@")
    fi
}

# The user has 65536 subordinate ids; it is removed by after_all.
make_user() {
    getent passwd $TEST_USER > /dev/null && { echo "user $TEST_USER exists already" >&2; exit 1; }
    useradd --no-create-home --home-dir "$WORK/home" --shell /bin/sh $TEST_USER
    grep -q "^$TEST_USER:" /etc/subuid || usermod --add-subuids 4200000-4265535 --add-subgids 4200000-4265535 $TEST_USER
    USER_ID=$(id -u $TEST_USER)
    XDG=$WORK/xdg
    mkdir -p "$WORK/home" "$XDG"
    chmod 700 "$XDG"
    chown -R "$USER_ID:$USER_ID" "$WORK/home" "$XDG"
    by_systemd || return 0
    # The user's systemd, without a login.
    loginctl enable-linger $TEST_USER
    XDG=/run/user/$USER_ID
    until_true test -S "$XDG/bus"
}
# Podman leaves a process that holds the user namespace; nobody else has this user's id.
remove_user() {
    [ -n "${USER_ID:-}" ] || return 0
    local p
    if by_systemd; then
        loginctl disable-linger $TEST_USER
        systemctl stop "user@$USER_ID.service"
    fi
    for p in /proc/[0-9]*; do
        [ "$(stat -c %u "$p" 2>/dev/null)" = "$USER_ID" ] && kill -9 "${p#/proc/}" 2>/dev/null
    done
    for _ in $(seq 20); do userdel $TEST_USER 2>/dev/null && return 0; sleep 0.2; done
}

rootful() { [ -z "$ROOTLESS" ] || skip "needs root"; }
limits_possible() { [ -z "$ROOTLESS" ] || cgroup2 || skip "no limits for ordinary users on cgroup v1"; }

configure() {
    mkdir -p "$WORK/tmp" "$WORK/store" "$WORK/storerun" "$WORK/networks"
    chmod 1777 "$WORK/tmp"
    if [ -n "$ROOTLESS" ]; then
        make_user
        chown "$USER_ID:$USER_ID" "$WORK/store" "$WORK/storerun" "$WORK/networks"
    fi
    cat > "$WORK/storage.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$WORK/store"
runroot = "$WORK/storerun"
rootless_storage_path = "$WORK/store"
TOML
    local without_cgroups=''
    if [ "$(basename "$RUNTIME")" = oxrun ]; then without_cgroups='"tested", "oxrun"'; fi
    cat > "$WORK/containers.conf" <<TOML
[containers]
netns = "none"
default_ulimits = []
[network]
network_config_dir = "$WORK/networks"
[engine]
cgroup_manager = "$CGROUP_MANAGER"
events_logger = "file"
runtime = "tested"
static_dir = "$WORK/store/libpod"
volume_path = "$WORK/store/volumes"
tmp_dir = "$WORK/storerun/libpod"
lock_type = "file"
runtime_supports_json = ["tested", "$(basename "$RUNTIME")"]
runtime_supports_nocgroup = [$without_cgroups]
[engine.runtimes]
tested = ["$RUNTIME"]
TOML
    chmod 644 "$WORK"/*.conf
    chmod -R a+rX "$WORK/bin"
}
