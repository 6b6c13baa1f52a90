//! Hooks: the six lists checked and made C strings. Called by `lower.rs`.

use super::plan::{Hook, Hooks};
use super::problems::Problems;
use super::process::{c_string, c_strings};
use super::spec;

/// Lowers `hooks`.
pub fn lower(hooks: &spec::Hooks, problems: &mut Problems) -> Hooks {
    let mut list = |hooks: &[spec::Hook], name: &str| {
        let lower = |(i, hook)| lower_hook(hook, &format!("hooks.{name}[{i}]"), problems);
        hooks.iter().enumerate().filter_map(lower).collect()
    };
    Hooks {
        prestart: list(&hooks.prestart, "prestart"),
        create_runtime: list(&hooks.create_runtime, "createRuntime"),
        create_container: list(&hooks.create_container, "createContainer"),
        start_container: list(&hooks.start_container, "startContainer"),
        poststart: list(&hooks.poststart, "poststart"),
        poststop: list(&hooks.poststop, "poststop"),
    }
}

fn lower_hook(hook: &spec::Hook, path: &str, problems: &mut Problems) -> Option<Hook> {
    let program = c_string(&hook.path, || format!("{path}.path"), problems);
    if hook.path.is_empty() {
        problems.add(format!("{path}.path"), "missing: the absolute path of the program");
    } else if !hook.path.starts_with('/') {
        problems.add(format!("{path}.path"), format!("`{}` is relative: must be absolute", hook.path));
    }
    let mut args = c_strings(&hook.args, &format!("{path}.args"), problems);
    let env = hook.env.as_ref().map(|env| c_strings(env, &format!("{path}.env"), problems));
    let timeout = match hook.timeout {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds @ 1..) => Some(seconds),
            _ => {
                let text =
                    format!("{seconds} is out of range: 1 to 4294967295 seconds, or absent for no limit");
                problems.add(format!("{path}.timeout"), text);
                None
            }
        },
    };
    let program = program?;
    if args.is_empty() {
        args.push(program.clone());
    }
    Some(Hook { path: program, args, env, timeout })
}
