//! The fence around `unsafe`: system calls that rustix lacks or wraps in a way that does not fit a
//! runtime (clone, execve, whole signal sets), each as one small safe function.

pub mod errno;
pub mod pty;
pub mod signal;
pub mod spawn;
