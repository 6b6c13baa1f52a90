//! oxrun: an OCI container runtime. Arguments become a command, the command an exit status.

mod bundle;
mod cgroup;
mod seccomp;
mod sys;

fn main() {}
