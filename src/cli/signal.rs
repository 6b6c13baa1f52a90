//! Signals as people and engines write them. Used by `kill`.

use crate::error::bail;
use anyhow::Result;

/// The number of a signal, 0 to 64; 0 only asks whether the process exists (kill(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

/// The highest real-time signal (signal(7)).
const MAX: i32 = 64;
/// The first real-time signal that programs may use: C libraries keep 32 and 33.
const RTMIN: i32 = 34;

/// Names without `SIG`; the numbers of x86 and arm (signal(7)).
const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// SIGTERM, which `kill` sends by itself.
    pub const TERM: Signal = Signal(15);

    /// Reads a name with or without `SIG` in any case, `RTMIN+N`, `RTMAX-N`, or a number.
    pub fn parse(text: &str) -> Result<Signal> {
        match number(text).or_else(|| named(text)) {
            Some(number) => Ok(Signal(number)),
            None => bail!(
                "unknown signal {text:?}: use a name such as KILL or SIGTERM, or a number from 0 to {MAX}"
            ),
        }
    }

    /// The number for kill(2).
    pub fn number(self) -> i32 {
        self.0
    }
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<i32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= MAX)
}

fn named(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(rest, '+').map(|offset| RTMIN + offset);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(rest, '-').map(|offset| MAX - offset);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The offset after RTMIN or RTMAX: nothing, or a sign and a number within the range.
fn real_time(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    number(rest.strip_prefix(sign)?).filter(|offset| *offset <= MAX - RTMIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_spellings() {
        let table = [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigkill", 9),
            ("Term", 15),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("09", 9),
            ("WINCH", 28),
            ("SIGIOT", 6),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+30", 64),
            ("RTMAX", 64),
            ("SIGRTMAX-30", 34),
        ];
        for (text, number) in table {
            assert_eq!(Signal::parse(text).unwrap().number(), number, "{text}");
        }
        for (name, number) in NAMES {
            assert_eq!(Signal::parse(name).unwrap().number(), number);
        }
    }

    #[test]
    fn unknown_spellings() {
        let table = [
            "NOPE",
            "",
            "SIG",
            "SIGSIGKILL",
            "65",
            "-1",
            "+9",
            " 9",
            "9 ",
            "99999999999",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN+",
            "RTMIN++1",
            "RTMAX+1",
            "0x9",
            "SIG9",
        ];
        for text in table {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
        let text = Signal::parse("NOPE").unwrap_err().to_string();
        assert!(text.starts_with("unknown signal \"NOPE\""), "{text}");
    }

    #[test]
    fn numbers_are_the_system_s() {
        for (name, number) in [
            ("STKFLT", libc::SIGSTKFLT),
            ("SYS", libc::SIGSYS),
            ("CHLD", libc::SIGCHLD),
            ("PWR", libc::SIGPWR),
        ] {
            assert_eq!(Signal::parse(name).unwrap().number(), number);
        }
        assert_eq!((libc::SIGRTMIN(), libc::SIGRTMAX()), (RTMIN, MAX));
    }
}
