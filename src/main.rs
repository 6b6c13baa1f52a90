//! oxrun: an OCI container runtime. Arguments become a command, the command an exit status.

mod bundle;
mod cgroup;
mod cli;
mod container;
mod error;
mod init;
mod log;
mod namespaces;
mod procfs;
mod rootfs;
mod seccomp;
mod sys;

use anyhow::{Result, bail};
use cli::command::{Command, Global};
use cli::{help, output};
use std::process::ExitCode;

fn main() -> ExitCode {
    match invoke() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error!("{}", log::describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn invoke() -> Result<u8> {
    let invocation = cli::parse::parse(std::env::args_os().skip(1))?;
    log::open(&invocation.global.log_settings())?;
    run(&invocation.global, invocation.command?)
}

fn run(_global: &Global, command: Command) -> Result<u8> {
    match command {
        Command::Help(topic) => output::print(&help::help(topic))?,
        Command::Version => output::print(&help::version())?,
        other => bail!("{other:?}"),
    }
    Ok(0)
}
