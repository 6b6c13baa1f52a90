//! The words of error numbers where C libraries differ: those of glibc and of Go, in lower case, which
//! engines and people look for, whichever library the program was linked with. Asked by `why` alone.

/// What musl says otherwise (`resource busy`, `no file descriptors available`).
const WORDS: &[(i32, &str)] = &[
    (libc::EIO, "input/output error"),
    (libc::ECHILD, "no child processes"),
    (libc::ENOMEM, "cannot allocate memory"),
    (libc::EBUSY, "device or resource busy"),
    (libc::EXDEV, "invalid cross-device link"),
    (libc::EMFILE, "too many open files"),
    (libc::ENOTTY, "inappropriate ioctl for device"),
    (libc::ESPIPE, "illegal seek"),
    (libc::ERANGE, "numerical result out of range"),
    (libc::EDEADLK, "resource deadlock avoided"),
    (libc::ENAMETOOLONG, "file name too long"),
    (libc::ELOOP, "too many levels of symbolic links"),
    (libc::EOVERFLOW, "value too large for defined data type"),
    (libc::EILSEQ, "invalid or incomplete multibyte or wide character"),
    (libc::ENOTSOCK, "socket operation on non-socket"),
    (libc::EMSGSIZE, "message too long"),
    (libc::EOPNOTSUPP, "operation not supported"),
    (libc::EADDRINUSE, "address already in use"),
    (libc::EADDRNOTAVAIL, "cannot assign requested address"),
    (libc::ENETUNREACH, "network is unreachable"),
    (libc::ECONNABORTED, "software caused connection abort"),
    (libc::EISCONN, "transport endpoint is already connected"),
    (libc::ENOTCONN, "transport endpoint is not connected"),
    (libc::ETIMEDOUT, "connection timed out"),
    (libc::EHOSTUNREACH, "no route to host"),
    (libc::EINPROGRESS, "operation now in progress"),
    (libc::EUSERS, "too many users"),
    (libc::EUCLEAN, "structure needs cleaning"),
    (libc::EDQUOT, "disk quota exceeded"),
];

/// The words of an error number that libraries do not agree about.
pub fn of(errno: i32) -> Option<&'static str> {
    WORDS.iter().find(|(number, _)| *number == errno).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    /// Tests are linked with glibc, whose words these are.
    #[test]
    #[cfg(target_env = "gnu")]
    fn words_are_those_of_glibc() {
        for (errno, words) in super::WORDS {
            let said = std::io::Error::from_raw_os_error(*errno).to_string().to_lowercase();
            assert_eq!(said.split(" (os error").next(), Some(*words));
        }
    }
}
