//! Decimal fractions as whole numbers of their last digit: the binary needs no code that reads and prints
//! floating point numbers, which is large. Read from the kernel's pressure files and from properties of
//! units, printed in tables.

/// `1.25` with two digits is 125, with one it is 12, with three 1250. None for anything but digits with at
/// most one point, and for what is too large.
pub fn parse(text: &str, digits: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(digits);
    whole
        .bytes()
        .chain(padded)
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// 125 with two digits is `1.25`.
pub fn show(value: u64, digits: u32) -> String {
    let one = 10u64.pow(digits);
    format!("{}.{:0width$}", value / one, value % one, width = digits as usize)
}

/// `part` of `whole`, times `scale`, rounded; 0 of nothing.
pub fn ratio(part: u64, whole: u64, scale: u64) -> u64 {
    let (part, whole, scale) = (u128::from(part), u128::from(whole.max(1)), u128::from(scale));
    u64::try_from((part * scale + whole / 2) / whole).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_shown() {
        for (text, digits, value) in [
            ("1.25", 2, 125),
            ("1.25", 1, 12),
            ("1.25", 3, 1250),
            ("0.00", 2, 0),
            ("90", 6, 90_000_000),
            ("0.3333333333333333333333333", 3, 333),
        ] {
            assert_eq!(parse(text, digits), Some(value), "{text} with {digits} digits");
        }
        for text in
            ["", ".", "-1", "+1", "1.-", "1.2.3", "1e3", "99999999999999999999", "18446744073709551615.9"]
        {
            assert_eq!(parse(text, 2), None, "{text}");
        }
        assert_eq!([show(125, 2), show(5, 1), show(7, 2)], ["1.25", "0.5", "0.07"]);
        assert_eq!(
            [ratio(1, 3, 1000), ratio(2, 3, 1000), ratio(5, 0, 1), ratio(u64::MAX, 1, 2)],
            [333, 667, 5, u64::MAX]
        );
    }
}
