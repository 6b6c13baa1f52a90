#!/bin/bash
# The Debian package, in a root filesystem of a minimal Debian: it is installed, runs a container, and is removed.
# shellcheck source=integration/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

begin deb
[ "$(basename "$RUNTIME")" = oxrun ] || { report "skip deb all (the package is oxrun's)"; exit 0; }
"$here/../tools/packages" mmdebstrap > /dev/null
ROOT=$WORK/root

# in_root COMMAND…: in a mount namespace of its own, whose root the new system is.
in_root() {
    # shellcheck disable=SC2016
    unshare --mount --propagation private --fork --pid sh -ec '
        root=$1; shift
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        cd "$root"
        exec unshare --root=. env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"' sh "$ROOT" "$@"
}

# The scenarios depend on each other, so each has a number.
t_1_install() {
    "$here/../tools/deb" "$RUNTIME" "$(uname -m)-unknown-linux-gnu" "$WORK"
    mmdebstrap --quiet --variant=essential "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$ROOT"
    cp "$WORK"/oxrun_*.deb "$ROOT/oxrun.deb"
    in_root dpkg -i /oxrun.deb
    eq "$(in_root oxrun --version | head -n 1)" "$("$RUNTIME" --version | head -n 1)"
}

t_2_files() {
    local commands
    commands=$("$RUNTIME" --help | sed -n '/^COMMANDS/,/^$/s/^   \([a-z]*\) .*/\1/p' | grep -vx help)
    for command in $commands; do
        gzip -t "$ROOT/usr/share/man/man8/oxrun-$command.8.gz"
    done
    in_root bash -c '. /usr/share/bash-completion/completions/oxrun; complete -p oxrun'
    in_root dpkg --verify oxrun
    in_root dpkg-query -L oxrun | grep -qx /usr/share/doc/oxrun/copyright
}

t_3_container() {
    make_rootfs
    mkdir -p "$ROOT/bundle"
    cp -a "$WORK/rootfs" "$ROOT/bundle/rootfs"
    in_root sh -ec 'cd /bundle; oxrun spec; sed -i -e "s/\"terminal\": true/\"terminal\": false/" \
        -e "s/\"sh\"/\"echo\", \"from a package\"/" config.json'
    eq "$(in_root oxrun run -b /bundle packaged)" 'from a package'
    eq "$(in_root oxrun list -q)" ''
}

t_4_remove() {
    in_root dpkg -P oxrun
    eq "$(find "$ROOT/usr" -name '*oxrun*' | wc -l)" 0
}

t_nothing_left() { eq "$(mounts_below "$WORK")" ''; }

run_scenarios
