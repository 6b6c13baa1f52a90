//! The completion for fish: a line for every option, and a function that finds the command among the words.

use super::{Kind, of_arguments, of_value, spellings};
use crate::cli::table::{COMMANDS, Flag, GLOBAL, HELP};

/// The whole file.
pub fn script() -> String {
    let mut lines = String::new();
    let mut valued = String::new();
    for flag in GLOBAL {
        lines += &option("", flag);
    }
    valued += &valued_row("''", GLOBAL);
    for row in COMMANDS {
        let (name, text) = (row.name, quoted(row.summary));
        lines += &format!("complete -c oxrun -n '__oxrun_at \"\" 0' -a {name} -d {text}\n");
    }
    lines += "complete -c oxrun -n '__oxrun_at \"\" 0' -a help -d 'show the help of a command'\n";
    let names: Vec<_> = COMMANDS.iter().map(|row| row.name).collect();
    lines += &format!("complete -c oxrun -n '__oxrun_at help 0' -a '{}'\n", names.join(" "));
    for row in COMMANDS {
        valued += &valued_row(row.name, row.flags);
        for flag in row.flags.iter().chain([&HELP]) {
            lines += &option(row.name, flag);
        }
        for (index, kind) in of_arguments(row).iter().enumerate() {
            let candidates = action(kind);
            if !candidates.is_empty() {
                lines += &format!("complete -c oxrun -n '__oxrun_at {} {index}' {candidates}\n", row.name);
            }
        }
    }
    TEMPLATE.replace("@VALUED@\n", &valued).replace("@LINES@\n", &lines)
}

/// The options of a command that take the next word.
fn valued_row(scope: &str, flags: &[Flag]) -> String {
    let names: Vec<_> = flags.iter().filter(|flag| flag.value.is_some()).flat_map(spellings).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("        case {scope}\n            contains -- $argv[2] {}\n", names.join(" "))
}

fn option(scope: &str, flag: &Flag) -> String {
    let condition = match scope {
        "" => "'__oxrun_in \"\"'".to_string(),
        name => format!("'__oxrun_in {name}'"),
    };
    let short: String = flag.short.iter().map(|letter| format!(" -s {letter}")).collect();
    let value = match of_value(flag) {
        None => String::new(),
        Some(Kind::Free) => " -x".to_string(),
        Some(Kind::File) => " -r -F".to_string(),
        Some(kind) => format!(" -x {}", action(&kind)),
    };
    format!("complete -c oxrun -n {condition}{short} -l {}{value} -d {}\n", flag.long, quoted(flag.help))
}

fn action(kind: &Kind) -> String {
    match kind {
        Kind::File => "-F".to_string(),
        Kind::Directory => "-a '(__fish_complete_directories (commandline -ct))'".to_string(),
        Kind::Id => "-a '(__oxrun_ids)'".to_string(),
        Kind::Words(words) => format!("-a '{}'", words.join(" ")),
        Kind::Free => String::new(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

const TEMPLATE: &str = r#"# fish completion for oxrun(8). By `make pages` from src/cli/table.rs.

# Whether an option of a command takes the next word.
function __oxrun_takes_value
    switch $argv[1]
@VALUED@
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
@LINES@
"#;
