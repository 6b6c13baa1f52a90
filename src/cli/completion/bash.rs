//! The completion for bash. It needs no helper functions of the bash-completion package, which only loads it.

use super::{Kind, of_arguments, of_value, spellings};
use crate::cli::table::{COMMANDS, Flag, GLOBAL, HELP};

/// The whole file.
pub fn script() -> String {
    let scopes = || [("", GLOBAL)].into_iter().chain(COMMANDS.iter().map(|row| (row.name, row.flags)));
    let mut options = String::new();
    let mut values = String::new();
    for (scope, flags) in scopes() {
        let all: Vec<_> = flags
            .iter()
            .chain((!scope.is_empty()).then_some(&HELP))
            .map(|f| format!("--{}", f.long))
            .collect();
        options += &format!("        '{scope}') echo '{}' ;;\n", all.join(" "));
        for flag in flags {
            values += &value_row(scope, flag);
        }
    }
    let mut arguments = String::new();
    let mut raw = String::new();
    for row in COMMANDS {
        for (index, kind) in of_arguments(row).iter().enumerate() {
            arguments += &format!("        '{}:{index}') echo '{}' ;;\n", row.name, word(kind));
        }
        if let Some(count) = row.raw_after {
            raw += &format!("        '{}') echo {count} ;;\n", row.name);
        }
    }
    let names: Vec<_> = COMMANDS.iter().map(|row| row.name).chain(["help"]).collect();
    TEMPLATE
        .replace("@COMMANDS@", &names.join(" "))
        .replace("@OPTIONS@\n", &options)
        .replace("@VALUES@\n", &values)
        .replace("@ARGUMENTS@\n", &arguments)
        .replace("@RAW@\n", &raw)
}

fn value_row(scope: &str, flag: &Flag) -> String {
    let Some(kind) = of_value(flag) else { return String::new() };
    let patterns: Vec<_> = spellings(flag).iter().map(|name| format!("'{scope}:{name}'")).collect();
    format!("        {}) echo '{}' ;;\n", patterns.join(" | "), word(&kind))
}

/// The kind as the script's own word.
fn word(kind: &Kind) -> String {
    match kind {
        Kind::File => "file".to_string(),
        Kind::Directory => "directory".to_string(),
        Kind::Id => "id".to_string(),
        Kind::Words(words) => format!("words {}", words.join(" ")),
        Kind::Free => "free".to_string(),
    }
}

const TEMPLATE: &str = r#"# bash completion for oxrun(8). By `make pages` from src/cli/table.rs.

_oxrun_commands='@COMMANDS@'

# The options of a command; '' has those before the command.
_oxrun_options() {
    case $1 in
@OPTIONS@
    esac
}

# COMMAND:OPTION to what its value is; nothing for a switch.
_oxrun_value() {
    case $1 in
@VALUES@
    esac
}

# COMMAND:INDEX to what this argument is.
_oxrun_argument() {
    case $1 in
@ARGUMENTS@
        'help:0' | ':0') echo command ;;
        *) echo free ;;
    esac
}

# After so many arguments the rest belongs to another program.
_oxrun_raw_after() {
    case $1 in
@RAW@
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
"#;
