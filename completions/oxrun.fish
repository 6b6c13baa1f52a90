# fish completion for oxrun(8). By `make pages` from src/cli/table.rs.

# Whether an option of a command takes the next word.
function __oxrun_takes_value
    switch $argv[1]
        case ''
            contains -- $argv[2] --log --log-format --log-level --root --trace --cgroup-manager --criu --rootless
        case check
            contains -- $argv[2] -b --bundle --config -f --format
        case checkpoint
            contains -- $argv[2] --image-path --work-path --parent-path --status-fd --page-server --manage-cgroups-mode --empty-ns --network-lock
        case create
            contains -- $argv[2] -b --bundle -f --config --console-socket --pid-file --pidfd-socket --preserve-fds
        case doctor
            contains -- $argv[2] -f --format
        case events
            contains -- $argv[2] --interval -f --format
        case exec
            contains -- $argv[2] -p --process -e --env --cwd -u --user -g --additional-gids -c --cap --apparmor --process-label --console-socket --pid-file --pidfd-socket --preserve-fds --cgroup
        case gc
            contains -- $argv[2] -f --format
        case list
            contains -- $argv[2] -f --format
        case ps
            contains -- $argv[2] -f --format
        case restore
            contains -- $argv[2] --image-path --work-path -b --bundle --console-socket --pid-file --pidfd-socket --manage-cgroups-mode --empty-ns --lsm-profile --lsm-mount-context
        case run
            contains -- $argv[2] -b --bundle -f --config --console-socket --pid-file --pidfd-socket --preserve-fds
        case seccomp
            contains -- $argv[2] --arch
        case spec
            contains -- $argv[2] -b --bundle --example --from
        case update
            contains -- $argv[2] -r --resources --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --memory --memory-reservation --memory-swap --kernel-memory --kernel-memory-tcp --pids-limit --l3-cache-schema --mem-bw-schema
        case '*'
            return 1
    end
end

# The command before the cursor and how many arguments it has, on two lines.
function __oxrun_place
    set -l command ''
    set -l index 0
    set -l skip no
    for word in (commandline -opc)[2..]
        if test $skip = yes
            set skip no
        else if string match -q -- '-*' $word
            if __oxrun_takes_value "$command" $word
                set skip yes
            end
        else if test -z "$command"
            set command $word
        else
            set index (math $index + 1)
        end
    end
    printf '%s\n' "$command" $index
end

# __oxrun_in COMMAND: its options may stand here.
function __oxrun_in
    set -l place (__oxrun_place)
    test "$place[1]" = "$argv[1]"
end

# __oxrun_at COMMAND INDEX: this argument of it stands here.
function __oxrun_at
    set -l place (__oxrun_place)
    test "$place[1]" = "$argv[1]" -a "$place[2]" = "$argv[2]"
end

function __oxrun_ids
    set -l root
    set -l words (commandline -opc)
    if set -l at (contains -i -- --root $words)
        set root --root $words[(math $at + 1)]
    end
    for word in $words
        if string match -q -- '--root=*' $word
            set root $word
        end
    end
    command -q oxrun; or return
    command oxrun $root list -q 2>/dev/null
end

complete -c oxrun -f
complete -c oxrun -n '__oxrun_in ""' -l debug -d 'log everything, for finding faults'
complete -c oxrun -n '__oxrun_in ""' -l log -r -F -d 'log to FILE or file:FILE, syslog:NAME, journald:NAME instead of stderr'
complete -c oxrun -n '__oxrun_in ""' -l log-format -x -a 'text json' -d 'shape of log lines: text (default) or json'
complete -c oxrun -n '__oxrun_in ""' -l log-level -x -a 'error warning info debug' -d 'least important level to log: error, warning, info or debug'
complete -c oxrun -n '__oxrun_in ""' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'directory of the containers\' states (default: /run/oxrun, or $XDG_RUNTIME_DIR/oxrun without root)'
complete -c oxrun -n '__oxrun_in ""' -l systemd-cgroup -d 'let systemd manage cgroups; cgroupsPath is then slice:prefix:name'
complete -c oxrun -n '__oxrun_in ""' -l trace -r -F -d 'add each step and its time to FILE, to be opened in Perfetto or chrome://tracing (or OXRUN_TRACE=FILE)'
complete -c oxrun -n '__oxrun_in ""' -l cgroup-manager -x -a 'cgroupfs systemd disabled' -d 'what manages cgroups: cgroupfs (default), systemd or disabled'
complete -c oxrun -n '__oxrun_in ""' -l criu -x -d 'the CRIU of checkpoint and restore, by path or name (default: criu in $PATH)'
complete -c oxrun -n '__oxrun_in ""' -l rootless -x -a 'true false auto' -d 'tolerate missing rights to cgroups: true, false or auto (default)'
complete -c oxrun -n '__oxrun_in ""' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in ""' -s v -s V -l version -d 'show the version'
complete -c oxrun -n '__oxrun_at "" 0' -a check -d 'say everything that is wrong with a bundle'
complete -c oxrun -n '__oxrun_at "" 0' -a checkpoint -d 'write a running container to images'
complete -c oxrun -n '__oxrun_at "" 0' -a create -d 'create a container'
complete -c oxrun -n '__oxrun_at "" 0' -a delete -d 'remove a container and all it holds'
complete -c oxrun -n '__oxrun_at "" 0' -a doctor -d 'say what this host offers to containers'
complete -c oxrun -n '__oxrun_at "" 0' -a events -d 'show statistics and events of a container'
complete -c oxrun -n '__oxrun_at "" 0' -a exec -d 'run another process in a container'
complete -c oxrun -n '__oxrun_at "" 0' -a features -d 'show what this binary supports'
complete -c oxrun -n '__oxrun_at "" 0' -a gc -d 'list or remove what killed runtimes left'
complete -c oxrun -n '__oxrun_at "" 0' -a kill -d 'send a signal to a container\'s process'
complete -c oxrun -n '__oxrun_at "" 0' -a list -d 'list the containers'
complete -c oxrun -n '__oxrun_at "" 0' -a mounts -d 'add mounts to a running container or remove them'
complete -c oxrun -n '__oxrun_at "" 0' -a pause -d 'suspend all processes of a container'
complete -c oxrun -n '__oxrun_at "" 0' -a ps -d 'show the processes of a container'
complete -c oxrun -n '__oxrun_at "" 0' -a restore -d 'make a container from the images of a checkpoint'
complete -c oxrun -n '__oxrun_at "" 0' -a resume -d 'let the processes of a paused container go on'
complete -c oxrun -n '__oxrun_at "" 0' -a run -d 'create and start a container, and wait for it'
complete -c oxrun -n '__oxrun_at "" 0' -a seccomp -d 'show what a seccomp profile does'
complete -c oxrun -n '__oxrun_at "" 0' -a spec -d 'write a config.json to start from'
complete -c oxrun -n '__oxrun_at "" 0' -a start -d 'run the program of a created container'
complete -c oxrun -n '__oxrun_at "" 0' -a state -d 'show the state of a container'
complete -c oxrun -n '__oxrun_at "" 0' -a update -d 'change the limits of a container'
complete -c oxrun -n '__oxrun_at "" 0' -a help -d 'show the help of a command'
complete -c oxrun -n '__oxrun_at help 0' -a 'check checkpoint create delete doctor events exec features gc kill list mounts pause ps restore resume run seccomp spec start state update'
complete -c oxrun -n '__oxrun_in check' -s b -l bundle -x -a '(__fish_complete_directories (commandline -ct))' -d 'the bundle directory (default: the current one)'
complete -c oxrun -n '__oxrun_in check' -l config -r -F -d 'read this file instead of config.json in the bundle'
complete -c oxrun -n '__oxrun_in check' -s f -l format -x -a 'text json' -d 'shape of the output: text (default) or json'
complete -c oxrun -n '__oxrun_in check' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at check 0' -a '(__fish_complete_directories (commandline -ct))'
complete -c oxrun -n '__oxrun_in checkpoint' -l image-path -x -a '(__fish_complete_directories (commandline -ct))' -d 'the directory of the images (default: checkpoint in the current one)'
complete -c oxrun -n '__oxrun_in checkpoint' -l work-path -x -a '(__fish_complete_directories (commandline -ct))' -d 'the directory of logs and passing files (default: that of the images)'
complete -c oxrun -n '__oxrun_in checkpoint' -l parent-path -x -a '(__fish_complete_directories (commandline -ct))' -d 'the images of an earlier --pre-dump, relative to --image-path'
complete -c oxrun -n '__oxrun_in checkpoint' -l leave-running -d 'let the container go on'
complete -c oxrun -n '__oxrun_in checkpoint' -l pre-dump -d 'write memory alone and let the container go on'
complete -c oxrun -n '__oxrun_in checkpoint' -l tcp-established -d 'keep established TCP connections'
complete -c oxrun -n '__oxrun_in checkpoint' -l tcp-close -d 'close established TCP connections'
complete -c oxrun -n '__oxrun_in checkpoint' -l tcp-skip-in-flight -d 'leave out TCP connections that are not accepted yet'
complete -c oxrun -n '__oxrun_in checkpoint' -l ext-unix-sk -d 'unix sockets may be connected to the outside'
complete -c oxrun -n '__oxrun_in checkpoint' -l shell-job -d 'the terminal, or the session\'s leader, may be outside'
complete -c oxrun -n '__oxrun_in checkpoint' -l lazy-pages -d 'transfer memory when it is touched (userfaultfd)'
complete -c oxrun -n '__oxrun_in checkpoint' -l status-fd -x -d 'write a null byte to this descriptor when pages are served'
complete -c oxrun -n '__oxrun_in checkpoint' -l page-server -x -d 'send pages there; with --lazy-pages, serve them there'
complete -c oxrun -n '__oxrun_in checkpoint' -l file-locks -d 'keep file locks'
complete -c oxrun -n '__oxrun_in checkpoint' -l manage-cgroups-mode -x -d 'how cgroups below the container\'s are kept: soft (default), full, strict or ignore'
complete -c oxrun -n '__oxrun_in checkpoint' -l empty-ns -x -d 'leave out what is in this namespace: network'
complete -c oxrun -n '__oxrun_in checkpoint' -l auto-dedup -d 'free pages of earlier images that are not needed any more'
complete -c oxrun -n '__oxrun_in checkpoint' -l link-remap -d 'give removed files that are still open a name'
complete -c oxrun -n '__oxrun_in checkpoint' -l network-lock -x -d 'how packets are held back meanwhile: iptables (default), nftables or skip'
complete -c oxrun -n '__oxrun_in checkpoint' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at checkpoint 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in create' -s b -l bundle -x -a '(__fish_complete_directories (commandline -ct))' -d 'the bundle directory (default: the current one)'
complete -c oxrun -n '__oxrun_in create' -s f -l config -r -F -d 'read this file instead of config.json in the bundle'
complete -c oxrun -n '__oxrun_in create' -l console-socket -r -F -d 'send the terminal\'s master side over this unix socket'
complete -c oxrun -n '__oxrun_in create' -l pid-file -r -F -d 'write the process id to this file'
complete -c oxrun -n '__oxrun_in create' -l pidfd-socket -r -F -d 'send a pidfd of the process over this unix socket'
complete -c oxrun -n '__oxrun_in create' -l preserve-fds -x -d 'hand over N more descriptors, after stdio and those of LISTEN_FDS'
complete -c oxrun -n '__oxrun_in create' -l no-pivot -d 'change the root without pivot_root, for a root filesystem on a ramdisk'
complete -c oxrun -n '__oxrun_in create' -l no-new-keyring -d 'keep the caller\'s session keyring instead of making a new one'
complete -c oxrun -n '__oxrun_in create' -l no-subreaper -d 'do not become a subreaper'
complete -c oxrun -n '__oxrun_in create' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at create 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in delete' -s f -l force -d 'kill the container first if it runs; a container that does not exist is no error'
complete -c oxrun -n '__oxrun_in delete' -s r -l regex -d 'the id is a regular expression: do it to every container whose id has a match'
complete -c oxrun -n '__oxrun_in delete' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at delete 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in doctor' -s f -l format -x -a 'table json' -d 'shape of the output: table (default) or json'
complete -c oxrun -n '__oxrun_in doctor' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in events' -l stats -d 'print statistics once and end'
complete -c oxrun -n '__oxrun_in events' -l interval -x -d 'time between statistics, like 100ms or 1m30s (default: 5s)'
complete -c oxrun -n '__oxrun_in events' -s f -l format -x -d 'json (default) or table, which needs no container-id'
complete -c oxrun -n '__oxrun_in events' -l follow -d 'with --format table: again at each interval, in place on a terminal'
complete -c oxrun -n '__oxrun_in events' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at events 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in exec' -s p -l process -r -F -d 'read the process from this JSON file'
complete -c oxrun -n '__oxrun_in exec' -s e -l env -x -d 'set an environment variable; may be repeated'
complete -c oxrun -n '__oxrun_in exec' -l cwd -x -d 'working directory in the container'
complete -c oxrun -n '__oxrun_in exec' -s u -l user -x -d 'user and group'
complete -c oxrun -n '__oxrun_in exec' -s g -l additional-gids -x -d 'add a group; may be repeated'
complete -c oxrun -n '__oxrun_in exec' -s c -l cap -x -d 'add a capability; may be repeated'
complete -c oxrun -n '__oxrun_in exec' -l no-new-privs -d 'the process and its children cannot gain privileges'
complete -c oxrun -n '__oxrun_in exec' -l apparmor -x -d 'AppArmor profile'
complete -c oxrun -n '__oxrun_in exec' -l process-label -x -d 'SELinux label'
complete -c oxrun -n '__oxrun_in exec' -s t -l tty -d 'give it a terminal'
complete -c oxrun -n '__oxrun_in exec' -s d -l detach -d 'return once the process runs instead of waiting for it'
complete -c oxrun -n '__oxrun_in exec' -l console-socket -r -F -d 'send the terminal\'s master side over this unix socket'
complete -c oxrun -n '__oxrun_in exec' -l pid-file -r -F -d 'write the process id to this file'
complete -c oxrun -n '__oxrun_in exec' -l pidfd-socket -r -F -d 'send a pidfd of the process over this unix socket'
complete -c oxrun -n '__oxrun_in exec' -l preserve-fds -x -d 'hand over N more descriptors, after stdio and those of LISTEN_FDS'
complete -c oxrun -n '__oxrun_in exec' -l cgroup -x -d 'run in this existing cgroup below the container\'s; may be repeated'
complete -c oxrun -n '__oxrun_in exec' -l ignore-paused -d 'in a paused container wait until it is resumed'
complete -c oxrun -n '__oxrun_in exec' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at exec 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in features' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in gc' -l force -d 'remove what is listed'
complete -c oxrun -n '__oxrun_in gc' -s f -l format -x -a 'table json' -d 'shape of the output: table (default) or json'
complete -c oxrun -n '__oxrun_in gc' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in kill' -s a -l all -d 'send it to every process of the container'
complete -c oxrun -n '__oxrun_in kill' -s r -l regex -d 'the id is a regular expression: do it to every container whose id has a match'
complete -c oxrun -n '__oxrun_in kill' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at kill 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_at kill 1' -a 'TERM KILL HUP INT QUIT USR1 USR2 STOP CONT WINCH ABRT'
complete -c oxrun -n '__oxrun_in list' -s f -l format -x -a 'table json' -d 'shape of the output: table (default) or json'
complete -c oxrun -n '__oxrun_in list' -s q -l quiet -d 'print ids alone, one per line'
complete -c oxrun -n '__oxrun_in list' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in mounts' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at mounts 0' -a 'add remove'
complete -c oxrun -n '__oxrun_at mounts 1' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_at mounts 2' -F
complete -c oxrun -n '__oxrun_in pause' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at pause 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in ps' -s f -l format -x -a 'table json' -d 'shape of the output: table (default) or json'
complete -c oxrun -n '__oxrun_in ps' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at ps 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in restore' -l image-path -x -a '(__fish_complete_directories (commandline -ct))' -d 'the directory of the images (default: checkpoint in the current one)'
complete -c oxrun -n '__oxrun_in restore' -l work-path -x -a '(__fish_complete_directories (commandline -ct))' -d 'the directory of logs and passing files (default: that of the images)'
complete -c oxrun -n '__oxrun_in restore' -s b -l bundle -x -a '(__fish_complete_directories (commandline -ct))' -d 'the bundle directory (default: the current one)'
complete -c oxrun -n '__oxrun_in restore' -l console-socket -r -F -d 'send the terminal\'s master side over this unix socket'
complete -c oxrun -n '__oxrun_in restore' -l pid-file -r -F -d 'write the process id to this file'
complete -c oxrun -n '__oxrun_in restore' -l pidfd-socket -r -F -d 'send a pidfd of the process over this unix socket'
complete -c oxrun -n '__oxrun_in restore' -s d -l detach -d 'return once the process runs instead of waiting for it'
complete -c oxrun -n '__oxrun_in restore' -l no-subreaper -d 'do not become a subreaper'
complete -c oxrun -n '__oxrun_in restore' -l no-pivot -d 'change the root without pivot_root, for a root filesystem on a ramdisk'
complete -c oxrun -n '__oxrun_in restore' -l no-new-keyring -d 'keep the caller\'s session keyring instead of making a new one'
complete -c oxrun -n '__oxrun_in restore' -l tcp-established -d 'keep established TCP connections'
complete -c oxrun -n '__oxrun_in restore' -l tcp-close -d 'close established TCP connections'
complete -c oxrun -n '__oxrun_in restore' -l ext-unix-sk -d 'unix sockets may be connected to the outside'
complete -c oxrun -n '__oxrun_in restore' -l shell-job -d 'the terminal, or the session\'s leader, may be outside'
complete -c oxrun -n '__oxrun_in restore' -l lazy-pages -d 'transfer memory when it is touched (userfaultfd)'
complete -c oxrun -n '__oxrun_in restore' -l file-locks -d 'keep file locks'
complete -c oxrun -n '__oxrun_in restore' -l manage-cgroups-mode -x -d 'how cgroups below the container\'s are kept: soft (default), full, strict or ignore'
complete -c oxrun -n '__oxrun_in restore' -l empty-ns -x -d 'leave out what is in this namespace: network'
complete -c oxrun -n '__oxrun_in restore' -l auto-dedup -d 'free pages of earlier images that are not needed any more'
complete -c oxrun -n '__oxrun_in restore' -l lsm-profile -x -d 'give the processes this apparmor or selinux profile'
complete -c oxrun -n '__oxrun_in restore' -l lsm-mount-context -x -d 'give mounts this SELinux context'
complete -c oxrun -n '__oxrun_in restore' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at restore 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in resume' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at resume 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in run' -s b -l bundle -x -a '(__fish_complete_directories (commandline -ct))' -d 'the bundle directory (default: the current one)'
complete -c oxrun -n '__oxrun_in run' -s f -l config -r -F -d 'read this file instead of config.json in the bundle'
complete -c oxrun -n '__oxrun_in run' -l console-socket -r -F -d 'send the terminal\'s master side over this unix socket'
complete -c oxrun -n '__oxrun_in run' -l pid-file -r -F -d 'write the process id to this file'
complete -c oxrun -n '__oxrun_in run' -l pidfd-socket -r -F -d 'send a pidfd of the process over this unix socket'
complete -c oxrun -n '__oxrun_in run' -l preserve-fds -x -d 'hand over N more descriptors, after stdio and those of LISTEN_FDS'
complete -c oxrun -n '__oxrun_in run' -s d -l detach -d 'return once the process runs instead of waiting for it'
complete -c oxrun -n '__oxrun_in run' -l keep -d 'keep the container after its process has ended'
complete -c oxrun -n '__oxrun_in run' -l no-pivot -d 'change the root without pivot_root, for a root filesystem on a ramdisk'
complete -c oxrun -n '__oxrun_in run' -l no-new-keyring -d 'keep the caller\'s session keyring instead of making a new one'
complete -c oxrun -n '__oxrun_in run' -l no-subreaper -d 'do not become a subreaper'
complete -c oxrun -n '__oxrun_in run' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at run 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in seccomp' -l arch -x -d 'the call\'s architecture, such as x86 (default: this machine\'s)'
complete -c oxrun -n '__oxrun_in seccomp' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at seccomp 0' -a 'explain'
complete -c oxrun -n '__oxrun_at seccomp 1' -F
complete -c oxrun -n '__oxrun_in spec' -s b -l bundle -x -a '(__fish_complete_directories (commandline -ct))' -d 'the bundle directory (default: the current one)'
complete -c oxrun -n '__oxrun_in spec' -l rootless -d 'write one that works without root'
complete -c oxrun -n '__oxrun_in spec' -l example -x -a 'shell service rootless host-network' -d 'what to write: shell (default), service, rootless or host-network'
complete -c oxrun -n '__oxrun_in spec' -l from -r -F -d 'take program, environment and user from an image in this OCI image layout'
complete -c oxrun -n '__oxrun_in spec' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_in start' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at start 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in state' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at state 0' -a '(__oxrun_ids)'
complete -c oxrun -n '__oxrun_in update' -s r -l resources -r -F -d 'read linux.resources as JSON from this file, or from stdin for `-`'
complete -c oxrun -n '__oxrun_in update' -l blkio-weight -x -d 'block I/O weight, 10 to 1000'
complete -c oxrun -n '__oxrun_in update' -l cpu-period -x -d 'microseconds of the period that --cpu-quota counts in'
complete -c oxrun -n '__oxrun_in update' -l cpu-quota -x -d 'microseconds of CPU time per period, -1 for no limit'
complete -c oxrun -n '__oxrun_in update' -l cpu-burst -x -d 'microseconds of unused quota that may be saved up'
complete -c oxrun -n '__oxrun_in update' -l cpu-share -x -d 'CPU weight relative to other containers'
complete -c oxrun -n '__oxrun_in update' -l cpu-rt-period -x -d 'microseconds of the real-time period'
complete -c oxrun -n '__oxrun_in update' -l cpu-rt-runtime -x -d 'microseconds of real-time CPU time per period'
complete -c oxrun -n '__oxrun_in update' -l cpu-idle -x -d '1 to run only when the CPUs are idle, else 0'
complete -c oxrun -n '__oxrun_in update' -l cpuset-cpus -x -d 'CPUs, like 0-2,7'
complete -c oxrun -n '__oxrun_in update' -l cpuset-mems -x -d 'memory nodes, like 0-1'
complete -c oxrun -n '__oxrun_in update' -l memory -x -d 'memory limit, -1 for none'
complete -c oxrun -n '__oxrun_in update' -l memory-reservation -x -d 'soft memory limit, -1 for none'
complete -c oxrun -n '__oxrun_in update' -l memory-swap -x -d 'limit of memory and swap together, -1 for none'
complete -c oxrun -n '__oxrun_in update' -l kernel-memory -x -d 'limit of kernel memory, on old kernels with cgroup v1'
complete -c oxrun -n '__oxrun_in update' -l kernel-memory-tcp -x -d 'limit of TCP buffers, on cgroup v1'
complete -c oxrun -n '__oxrun_in update' -l pids-limit -x -d 'limit of processes and threads, -1 for none'
complete -c oxrun -n '__oxrun_in update' -l l3-cache-schema -x -d 'Intel RDT schema of the L3 cache'
complete -c oxrun -n '__oxrun_in update' -l mem-bw-schema -x -d 'Intel RDT schema of the memory bandwidth'
complete -c oxrun -n '__oxrun_in update' -s h -l help -d 'show this help'
complete -c oxrun -n '__oxrun_at update 0' -a '(__oxrun_ids)'
