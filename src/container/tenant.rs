//! The process that `exec` runs, before it is lowered: from a process file, or from the container's
//! own `process` changed by options. Called by `exec`.

use crate::bundle::host::Host;
use crate::bundle::json;
use crate::bundle::spec::{Capabilities, Process, Spec};
use crate::bundle::{Problems, Warnings, lower_process, plan};
use crate::cli::exec::{self, Exec, Options};
use crate::error::{Context, Doing, anyhow};
use anyhow::Result;
use std::ffi::OsStr;
use std::path::Path;

/// The largest process file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The process asked for, checked.
pub fn process(args: &Exec, spec: &Spec, host: &Host) -> Result<plan::Process> {
    let (mut process, path) = match &args.process {
        exec::Process::File(file) => (read(file, spec)?, ""),
        exec::Process::Options(options) => (from_options(options, spec)?, "process"),
    };
    match args.process {
        exec::Process::File(_) => process.terminal |= args.tty,
        exec::Process::Options(_) => process.terminal = args.tty,
    }
    let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
    let lowered = lower_process(&process, path, host, &mut problems, &mut warnings);
    warnings.log();
    match problems.is_empty() {
        true => Ok(lowered),
        false => Err(problems).context("process of exec"),
    }
}

/// Reads a process file, also a pipe; what it does not say about rights and limits is as in the
/// container.
fn read(file: &Path, spec: &Spec) -> Result<Process> {
    let doing = || format!("read process file `{}` (--process)", file.display());
    let mut text = Vec::new();
    let opened = crate::hostfs::file(file).doing(doing)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(opened, MAX_FILE), &mut text).doing(doing)?;
    let mut process: Process = json::parse(&text).with_context(doing)?;
    let Some(own) = spec.process.clone() else { return Ok(process) };
    process.capabilities = process.capabilities.or(own.capabilities);
    process.oom_score_adj = process.oom_score_adj.or(own.oom_score_adj);
    process.scheduler = process.scheduler.or(own.scheduler);
    process.io_priority = process.io_priority.or(own.io_priority);
    process.exec_cpu_affinity = process.exec_cpu_affinity.or(own.exec_cpu_affinity);
    process.user.umask = process.user.umask.or(own.user.umask);
    let fill = |member: &mut String, own: String| {
        if member.is_empty() {
            *member = own;
        }
    };
    fill(&mut process.apparmor_profile, own.apparmor_profile);
    fill(&mut process.selinux_label, own.selinux_label);
    if process.rlimits.is_empty() {
        process.rlimits = own.rlimits;
    }
    Ok(process)
}

fn from_options(options: &Options, spec: &Spec) -> Result<Process> {
    let own = spec.process.clone();
    let mut process =
        own.context("the container has no process to take settings from: use --process FILE")?;
    let text = |given: &OsStr| {
        given.to_str().map(str::to_owned).with_context(|| format!("`{}` is not UTF-8", given.display()))
    };
    process.args = options.args.iter().map(|argument| text(argument)).collect::<Result<_>>()?;
    for variable in &options.env {
        process.env.push(text(variable)?);
    }
    if let Some(cwd) = &options.cwd {
        process.cwd = text(cwd.as_os_str())?;
    }
    if let Some((uid, gid)) = options.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&options.additional_gids);
    add_capabilities(&mut process, &options.capabilities);
    process.no_new_privileges = options.no_new_privileges.unwrap_or(process.no_new_privileges);
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &options.process_label {
        process.selinux_label.clone_from(label);
    }
    Ok(process)
}

/// R11: added capabilities are never inheritable, so that no file capability gives them on
/// (CVE-2022-29162); ambient ones need the container's own inheritable set.
fn add_capabilities(process: &mut Process, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let sets = process.capabilities.get_or_insert_with(Capabilities::default);
    sets.bounding.extend_from_slice(names);
    sets.effective.extend_from_slice(names);
    sets.permitted.extend_from_slice(names);
    let ambient: Vec<String> = names.iter().filter(|name| sets.inheritable.contains(name)).cloned().collect();
    sets.ambient.extend(ambient);
}
