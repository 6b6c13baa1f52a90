//! Annotations that change what is done (`run.oci.…`), checked. All others are passed through in the
//! state. Called by `lower.rs`; `features` prints the names.

use super::json::NUL;
use super::plan::Extensions;
use super::problems::{Problems, Warnings};
use super::spec;
use std::path::PathBuf;

/// The annotations that are known, by name.
pub const KNOWN: [&str; 7] = [
    "run.oci.hooks.stderr",
    "run.oci.hooks.stdout",
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    "run.oci.pidfd_receiver",
    crate::seccomp::RAW,
    crate::seccomp::NO_UNKNOWN,
];

/// What a label on a mount can be of (mount(8), SELinux options).
const CONTEXT_TYPES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// Reads the annotations. An unknown one of their family is probably meant for the runtime: a
/// warning.
pub fn lower(spec: &spec::Spec, problems: &mut Problems, warnings: &mut Warnings) -> Extensions {
    for key in spec.annotations.keys() {
        if key.is_empty() {
            problems.add("annotations", "an empty key: every annotation needs a name");
        } else if key.starts_with("run.oci.") && !KNOWN.contains(&key.as_str()) {
            let known = KNOWN.into_iter();
            let text = "unknown and without effect";
            warnings.note_unknown(format!("annotations.{key}"), text, [key], known);
        }
    }
    let extensions = Extensions {
        hook_stdout: path(spec, "run.oci.hooks.stdout", problems),
        hook_stderr: path(spec, "run.oci.hooks.stderr", problems),
        keep_groups: switch(spec, "run.oci.keep_original_groups", problems),
        pidfd_receiver: path(spec, "run.oci.pidfd_receiver", problems),
        mount_context: context_type(spec, problems),
    };
    let groups = spec.process.as_ref().is_some_and(|process| !process.user.additional_gids.is_empty());
    if extensions.keep_groups && groups {
        let text = "without effect with run.oci.keep_original_groups";
        warnings.note("process.user.additionalGids", text);
    }
    extensions
}

fn path(spec: &spec::Spec, key: &str, problems: &mut Problems) -> Option<PathBuf> {
    let value = spec.annotations.get(key)?;
    if value.contains('\0') {
        problems.add(format!("annotations.{key}"), NUL);
    } else if !value.starts_with('/') {
        problems.add(format!("annotations.{key}"), format!("`{value}` is not absolute: must begin with `/`"));
    }
    Some(PathBuf::from(value))
}

/// Whether an annotation asks for something.
pub fn switch(spec: &spec::Spec, key: &str, problems: &mut Problems) -> bool {
    match spec.annotations.get(key).map(String::as_str) {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(other) => {
            problems.add(format!("annotations.{key}"), format!("`{other}` is neither 1 nor 0"));
            false
        }
    }
}

fn context_type(spec: &spec::Spec, problems: &mut Problems) -> &'static str {
    let key = "run.oci.mount_context_type";
    let Some(value) = spec.annotations.get(key) else { return CONTEXT_TYPES[0] };
    match CONTEXT_TYPES.iter().find(|known| *known == value) {
        Some(known) => known,
        None => {
            let known = CONTEXT_TYPES.join(", ");
            let text = format!("unknown value `{value}`: one of {known}");
            problems.add_unknown(format!("annotations.{key}"), text, [value], CONTEXT_TYPES);
            CONTEXT_TYPES[0]
        }
    }
}
