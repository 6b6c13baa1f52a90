//! Error numbers as clients of a runtime match them: the text in lower case and without the number
//! ("no such file or directory"). Used wherever a failed system call becomes a message.

use rustix::io::Errno;
use std::fmt::Display;

/// The text of an error number, its first letter in lower case.
pub fn text(errno: Errno) -> String {
    let full = std::io::Error::from(errno).to_string();
    let words = full.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_ascii_lowercase().to_string() + letters.as_str(),
        None => format!("error {}", errno.raw_os_error()),
    }
}

/// Turns an error number into a message: what was being done, then the text.
pub fn failed(doing: impl Display) -> impl FnOnce(Errno) -> anyhow::Error {
    move |errno| anyhow::anyhow!("{doing}: {}", text(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_clients_match_it() {
        assert_eq!(text(Errno::NOENT), "no such file or directory");
        assert_eq!(failed("open `/x`")(Errno::ACCESS).to_string(), "open `/x`: permission denied");
    }
}
