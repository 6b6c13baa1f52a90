//! The completion for zsh, by its `_arguments`.

use super::{Kind, of_arguments, of_value};
use crate::cli::table::{COMMANDS, CommandRow, Flag, GLOBAL, HELP};

/// The whole file.
pub fn script() -> String {
    let commands: String = COMMANDS
        .iter()
        .map(|row| format!("        {}\n", quoted(&described(row.name, row.summary))))
        .collect();
    let global: String = GLOBAL.iter().map(|flag| format!("        {} \\\n", option(flag))).collect();
    let each: String = COMMANDS.iter().map(command).collect();
    TEMPLATE.replace("@COMMANDS@\n", &commands).replace("@GLOBAL@\n", &global).replace("@EACH@\n", &each)
}

fn command(row: &CommandRow) -> String {
    let options = row.flags.iter().chain([&HELP]).map(option);
    let positions = of_arguments(row);
    let last = row.raw_after.unwrap_or(usize::MAX);
    let arguments = positions.iter().enumerate().take(last).map(|(index, kind)| {
        let optional = if index < row.least { "" } else { ":" };
        quoted(&format!("{}:{optional}argument:{}", index + 1, action(kind)))
    });
    let rest = row.raw_after.map(|_| "'*::argument:_default'".to_string());
    let lines: String =
        options.chain(arguments).chain(rest).map(|spec| format!(" \\\n                {spec}")).collect();
    let stop = if row.raw_after.is_some() { " -A '-*'" } else { "" };
    format!("        {})\n            _arguments -s -S{stop}{lines}\n            ;;\n", row.name)
}

/// `'(-b --bundle)'{-b+,--bundle=}'[help]:DIR:_directories'`.
fn option(flag: &Flag) -> String {
    let long = format!("--{}", flag.long);
    let names: Vec<_> = flag.short.iter().map(|letter| format!("-{letter}")).chain([long]).collect();
    let value =
        of_value(flag).map(|kind| format!(":{}:{}", escaped(flag.value.unwrap_or_default()), action(&kind)));
    let takes = |name: &String| match (&value, name.starts_with("--")) {
        (None, _) => name.clone(),
        (Some(_), true) => format!("{name}="),
        (Some(_), false) => format!("{name}+"),
    };
    let exclusive = match flag.repeatable {
        true => "'*'".to_string(),
        false => format!("'({})'", names.join(" ")),
    };
    let names: Vec<_> = names.iter().map(takes).collect();
    let names = if names.len() == 1 { names.concat() } else { format!("{{{}}}", names.join(",")) };
    let tail = quoted(&format!("[{}]{}", escaped(flag.help), value.unwrap_or_default()));
    format!("{exclusive}{names}{tail}")
}

fn action(kind: &Kind) -> String {
    match kind {
        Kind::File => "_files".to_string(),
        Kind::Directory => "_directories".to_string(),
        Kind::Id => "_oxrun_ids".to_string(),
        Kind::Words(words) => format!("({})", words.join(" ")),
        Kind::Free => " ".to_string(),
    }
}

fn described(name: &str, text: &str) -> String {
    format!("{name}:{}", escaped(text))
}

/// Brackets and colons mean something in a specification.
fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '[' | ']' | ':' | '\\');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

const TEMPLATE: &str = r#"#compdef oxrun
# zsh completion for oxrun(8). By `make pages` from src/cli/table.rs.

_oxrun_commands() {
    local -a commands=(
@COMMANDS@
        'help:show the help of a command'
    )
    _describe command commands
}

_oxrun_ids() {
    local -a ids=(${(f)"$(command oxrun ${root:+--root} ${root:+$root} list -q 2>/dev/null)"})
    compadd -a ids
}

_oxrun() {
    local curcontext=$curcontext state root
    local -a line
    local -A opt_args
    _arguments -C -s -S -A '-*' \
@GLOBAL@
        '1:command:_oxrun_commands' \
        '*::argument:->arguments' && return
    [[ $state == arguments ]] || return
    root=${(Q)opt_args[--root]}
    case $words[1] in
@EACH@
        help)
            _arguments '1:command:_oxrun_commands'
            ;;
    esac
}

_oxrun "$@"
"#;
