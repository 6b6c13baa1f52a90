# bash completion for oxrun(8). By `make pages` from src/cli/table.rs.

_oxrun_commands='check checkpoint create delete doctor events exec features gc kill list mounts pause ps restore resume run seccomp spec start state update help'

# The options of a command; '' has those before the command.
_oxrun_options() {
    case $1 in
        '') echo '--debug --log --log-format --log-level --root --systemd-cgroup --trace --cgroup-manager --criu --rootless --help --version' ;;
        'check') echo '--bundle --config --format --help' ;;
        'checkpoint') echo '--image-path --work-path --parent-path --leave-running --pre-dump --tcp-established --tcp-close --tcp-skip-in-flight --ext-unix-sk --shell-job --lazy-pages --status-fd --page-server --file-locks --manage-cgroups-mode --empty-ns --auto-dedup --link-remap --network-lock --help' ;;
        'create') echo '--bundle --config --console-socket --pid-file --pidfd-socket --preserve-fds --no-pivot --no-new-keyring --no-subreaper --help' ;;
        'delete') echo '--force --regex --help' ;;
        'doctor') echo '--format --help' ;;
        'events') echo '--stats --interval --format --follow --help' ;;
        'exec') echo '--process --env --cwd --user --additional-gids --cap --no-new-privs --apparmor --process-label --tty --detach --console-socket --pid-file --pidfd-socket --preserve-fds --cgroup --ignore-paused --help' ;;
        'features') echo '--help' ;;
        'gc') echo '--force --format --help' ;;
        'kill') echo '--all --regex --help' ;;
        'list') echo '--format --quiet --help' ;;
        'mounts') echo '--help' ;;
        'pause') echo '--help' ;;
        'ps') echo '--format --help' ;;
        'restore') echo '--image-path --work-path --bundle --console-socket --pid-file --pidfd-socket --detach --no-subreaper --no-pivot --no-new-keyring --tcp-established --tcp-close --ext-unix-sk --shell-job --lazy-pages --file-locks --manage-cgroups-mode --empty-ns --auto-dedup --lsm-profile --lsm-mount-context --help' ;;
        'resume') echo '--help' ;;
        'run') echo '--bundle --config --console-socket --pid-file --pidfd-socket --preserve-fds --detach --keep --no-pivot --no-new-keyring --no-subreaper --help' ;;
        'seccomp') echo '--arch --help' ;;
        'spec') echo '--bundle --rootless --example --from --help' ;;
        'start') echo '--help' ;;
        'state') echo '--help' ;;
        'update') echo '--resources --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --memory --memory-reservation --memory-swap --kernel-memory --kernel-memory-tcp --pids-limit --l3-cache-schema --mem-bw-schema --help' ;;
    esac
}

# COMMAND:OPTION to what its value is; nothing for a switch.
_oxrun_value() {
    case $1 in
        ':--log') echo 'file' ;;
        ':--log-format') echo 'words text json' ;;
        ':--log-level') echo 'words error warning info debug' ;;
        ':--root') echo 'directory' ;;
        ':--trace') echo 'file' ;;
        ':--cgroup-manager') echo 'words cgroupfs systemd disabled' ;;
        ':--criu') echo 'free' ;;
        ':--rootless') echo 'words true false auto' ;;
        'check:-b' | 'check:--bundle') echo 'directory' ;;
        'check:--config') echo 'file' ;;
        'check:-f' | 'check:--format') echo 'words text json' ;;
        'checkpoint:--image-path') echo 'directory' ;;
        'checkpoint:--work-path') echo 'directory' ;;
        'checkpoint:--parent-path') echo 'directory' ;;
        'checkpoint:--status-fd') echo 'free' ;;
        'checkpoint:--page-server') echo 'free' ;;
        'checkpoint:--manage-cgroups-mode') echo 'free' ;;
        'checkpoint:--empty-ns') echo 'free' ;;
        'checkpoint:--network-lock') echo 'free' ;;
        'create:-b' | 'create:--bundle') echo 'directory' ;;
        'create:-f' | 'create:--config') echo 'file' ;;
        'create:--console-socket') echo 'file' ;;
        'create:--pid-file') echo 'file' ;;
        'create:--pidfd-socket') echo 'file' ;;
        'create:--preserve-fds') echo 'free' ;;
        'doctor:-f' | 'doctor:--format') echo 'words table json' ;;
        'events:--interval') echo 'free' ;;
        'events:-f' | 'events:--format') echo 'free' ;;
        'exec:-p' | 'exec:--process') echo 'file' ;;
        'exec:-e' | 'exec:--env') echo 'free' ;;
        'exec:--cwd') echo 'free' ;;
        'exec:-u' | 'exec:--user') echo 'free' ;;
        'exec:-g' | 'exec:--additional-gids') echo 'free' ;;
        'exec:-c' | 'exec:--cap') echo 'free' ;;
        'exec:--apparmor') echo 'free' ;;
        'exec:--process-label') echo 'free' ;;
        'exec:--console-socket') echo 'file' ;;
        'exec:--pid-file') echo 'file' ;;
        'exec:--pidfd-socket') echo 'file' ;;
        'exec:--preserve-fds') echo 'free' ;;
        'exec:--cgroup') echo 'free' ;;
        'gc:-f' | 'gc:--format') echo 'words table json' ;;
        'list:-f' | 'list:--format') echo 'words table json' ;;
        'ps:-f' | 'ps:--format') echo 'words table json' ;;
        'restore:--image-path') echo 'directory' ;;
        'restore:--work-path') echo 'directory' ;;
        'restore:-b' | 'restore:--bundle') echo 'directory' ;;
        'restore:--console-socket') echo 'file' ;;
        'restore:--pid-file') echo 'file' ;;
        'restore:--pidfd-socket') echo 'file' ;;
        'restore:--manage-cgroups-mode') echo 'free' ;;
        'restore:--empty-ns') echo 'free' ;;
        'restore:--lsm-profile') echo 'free' ;;
        'restore:--lsm-mount-context') echo 'free' ;;
        'run:-b' | 'run:--bundle') echo 'directory' ;;
        'run:-f' | 'run:--config') echo 'file' ;;
        'run:--console-socket') echo 'file' ;;
        'run:--pid-file') echo 'file' ;;
        'run:--pidfd-socket') echo 'file' ;;
        'run:--preserve-fds') echo 'free' ;;
        'seccomp:--arch') echo 'free' ;;
        'spec:-b' | 'spec:--bundle') echo 'directory' ;;
        'spec:--example') echo 'words shell service rootless host-network' ;;
        'spec:--from') echo 'file' ;;
        'update:-r' | 'update:--resources') echo 'file' ;;
        'update:--blkio-weight') echo 'free' ;;
        'update:--cpu-period') echo 'free' ;;
        'update:--cpu-quota') echo 'free' ;;
        'update:--cpu-burst') echo 'free' ;;
        'update:--cpu-share') echo 'free' ;;
        'update:--cpu-rt-period') echo 'free' ;;
        'update:--cpu-rt-runtime') echo 'free' ;;
        'update:--cpu-idle') echo 'free' ;;
        'update:--cpuset-cpus') echo 'free' ;;
        'update:--cpuset-mems') echo 'free' ;;
        'update:--memory') echo 'free' ;;
        'update:--memory-reservation') echo 'free' ;;
        'update:--memory-swap') echo 'free' ;;
        'update:--kernel-memory') echo 'free' ;;
        'update:--kernel-memory-tcp') echo 'free' ;;
        'update:--pids-limit') echo 'free' ;;
        'update:--l3-cache-schema') echo 'free' ;;
        'update:--mem-bw-schema') echo 'free' ;;
    esac
}

# COMMAND:INDEX to what this argument is.
_oxrun_argument() {
    case $1 in
        'check:0') echo 'directory' ;;
        'checkpoint:0') echo 'id' ;;
        'create:0') echo 'id' ;;
        'delete:0') echo 'id' ;;
        'events:0') echo 'id' ;;
        'exec:0') echo 'id' ;;
        'exec:1') echo 'free' ;;
        'exec:2') echo 'free' ;;
        'kill:0') echo 'id' ;;
        'kill:1') echo 'words TERM KILL HUP INT QUIT USR1 USR2 STOP CONT WINCH ABRT' ;;
        'mounts:0') echo 'words add remove' ;;
        'mounts:1') echo 'id' ;;
        'mounts:2') echo 'file' ;;
        'pause:0') echo 'id' ;;
        'ps:0') echo 'id' ;;
        'ps:1') echo 'free' ;;
        'ps:2') echo 'free' ;;
        'restore:0') echo 'id' ;;
        'resume:0') echo 'id' ;;
        'run:0') echo 'id' ;;
        'seccomp:0') echo 'words explain' ;;
        'seccomp:1') echo 'file' ;;
        'seccomp:2') echo 'free' ;;
        'seccomp:3') echo 'free' ;;
        'start:0') echo 'id' ;;
        'state:0') echo 'id' ;;
        'update:0') echo 'id' ;;
        'help:0' | ':0') echo command ;;
        *) echo free ;;
    esac
}

# After so many arguments the rest belongs to another program.
_oxrun_raw_after() {
    case $1 in
        'exec') echo 1 ;;
        'ps') echo 1 ;;
        *) echo 1000 ;;
    esac
}

_oxrun_words() {
    local word
    for word in $1; do
        [[ $word != "$cur"* ]] || COMPREPLY+=("$word")
    done
}

_oxrun() {
    local cur=${COMP_WORDS[COMP_CWORD]} command='' index=0 pending='' ended='' kind word i
    local root=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then
            # The value of a switch, which may be left out.
            [[ -n $pending ]] || pending=switch
        elif [[ -n $pending ]]; then
            [[ $pending != --root ]] || root=(--root "$word")
            pending=''
        elif [[ $word == -- ]]; then
            ended=yes
        elif [[ $word == -?* && -z $ended ]] && ((index < $(_oxrun_raw_after "$command"))); then
            # One dash does for long names too.
            [[ $word != -[!-]?* ]] || word=-$word
            [[ -z $(_oxrun_value "$command:$word") ]] || pending=$word
        elif [[ -z $command ]]; then
            command=$word
        else
            index=$((index + 1))
        fi
    done
    if [[ $cur == = ]]; then
        cur=''
        [[ -n $pending ]] || pending=switch
    fi
    if [[ $pending == switch ]]; then
        kind='words true false'
    elif [[ -n $pending ]]; then
        kind=$(_oxrun_value "$command:$pending")
    elif [[ $cur == -* && -z $ended ]] && ((index < $(_oxrun_raw_after "$command"))); then
        kind="words $(_oxrun_options "$command")"
    else
        kind=$(_oxrun_argument "$command:$index")
    fi
    case $kind in
        file)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            ;;
        directory)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            ;;
        id) _oxrun_words "$(oxrun "${root[@]}" list -q 2> /dev/null)" ;;
        command) _oxrun_words "$_oxrun_commands" ;;
        'words '*) _oxrun_words "${kind#words }" ;;
    esac
}

complete -F _oxrun oxrun
