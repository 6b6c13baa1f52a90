//! Quantities as people write them: sizes in bytes, durations, ids. Used by the commands that take
//! them as option values.

use crate::error::{Context, bail};
use anyhow::Result;
use std::time::Duration;

/// R13: a user or group id: digits alone, at most 4294967294 (the next one means "none", chown(2)).
pub fn id(text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(id) if digits && id != u32::MAX => Ok(id),
        _ => bail!("`{text}` is not an id: use a number from 0 to {}", u32::MAX - 1),
    }
}

/// Bytes: a number with an optional unit `b`, `k`, `m`, `g`, `t` or `p` (powers of 1024, in any
/// case, also as `KB` and `KiB`), or -1 for no limit.
pub fn bytes(text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("`{text}` is not a size: use bytes, a number with k, m or g, or -1 for no limit");
    let (number, unit) = split(text.trim());
    let unit = unit.trim_start().to_ascii_lowercase();
    let exponent = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => bail!("{}", wrong()),
    };
    let bytes = scaled(number, 1u64 << (10 * exponent)).and_then(|bytes| i64::try_from(bytes).ok());
    bytes.with_context(wrong)
}

/// A duration longer than zero, as numbers with units: `5s`, `100ms`, `1m30s`, `1.5h`.
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("`{text}` is not a duration: use one like 5s, 100ms or 1m30s");
    let (mut rest, mut total) = (text, 0u64);
    while !rest.is_empty() {
        let (number, tail) = split(rest);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let nanoseconds: u64 = match &tail[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => bail!("{}", wrong()),
        };
        let part = scaled(number, nanoseconds);
        total = part.and_then(|part| total.checked_add(part)).with_context(wrong)?;
        rest = &tail[end..];
    }
    if total == 0 {
        bail!("{}; it must be longer than zero", wrong());
    }
    Ok(Duration::from_nanos(total))
}

/// The digits and dots that a text begins with, and what follows.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// A decimal number (`12`, `1.5`, `.5`) times a unit, rounded down; up to 18 decimals count.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let power = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scaled = whole.checked_mul(u128::from(unit))? + numerator * u128::from(unit) / power;
    u64::try_from(scaled).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (text, value) in [("0", 0), ("1000", 1000), ("4294967294", u32::MAX - 1)] {
            assert_eq!(id(text).unwrap(), value);
        }
        for text in ["", "-1", "+1", " 1", "1 ", "4294967295", "4294967296", "0x1", "root", "1:1"] {
            assert!(id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let table = [
            ("0", 0),
            ("-1", -1),
            ("123", 123),
            ("50M", 50 << 20),
            ("50m", 50 << 20),
            ("50MB", 50 << 20),
            ("50 MiB", 50 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("2b", 2),
            ("9223372036854775807", i64::MAX),
            ("8191p", 8191 << 50),
        ];
        for (text, value) in table {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for text in [
            "",
            "-2",
            "-1m",
            "M",
            ".",
            "1.2.3",
            "1x",
            "1mm",
            "+1",
            "0x10",
            "9223372036854775808",
            "8192p",
            "99999999999999999999999999999999999999999999p",
            "1 2",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        let table = [
            ("5s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1h", 3_600_000_000_000),
            ("7us", 7000),
            ("7µs", 7000),
            ("1ns", 1),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(duration(text).unwrap(), Duration::from_nanos(nanoseconds), "{text}");
        }
        for text in ["", "5", "0s", "0", "-5s", "s", "5 s", "5d", "1.2.3s", "99999999999h", "5s5"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
