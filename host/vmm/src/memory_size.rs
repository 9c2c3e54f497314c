//! Sizes of memory as people write them.

use std::fmt;
use std::str::FromStr;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A size of guest memory in bytes: whole pages, and enough of them to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemorySize(u64);

impl MemorySize {
    /// Below this there is no room for a kernel above the first MiB.
    const SMALLEST: u64 = 2 * MIB;

    pub(crate) fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "b" => 1,
            "k" | "kb" | "kib" => KIB,
            "" | "m" | "mb" | "mib" => MIB,
            "g" | "gb" | "gib" => GIB,
            other => return Err(format!("unknown unit `{other}`; use K, M or G (KiB, MiB, GiB)")),
        };
        let bytes = times(number, unit)?;
        if bytes % 4096 != 0 {
            return Err("not a whole number of 4 KiB pages".to_owned());
        }
        if bytes < Self::SMALLEST {
            return Err(format!("a guest needs {} at least", Self(Self::SMALLEST)));
        }
        Ok(Self(bytes))
    }
}

/// A decimal number, with a point or without one, of units: exactly.
fn times(number: &str, unit: u64) -> Result<u64, String> {
    let wrong = || "expected a number and a unit, for example 512M or 1.5G".to_owned();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(part)) || part.len() > 9 {
        return Err(wrong());
    }
    let too_large = || "larger than any address".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(unit).ok_or_else(too_large)?;
    // Nine digits at most, so that both fit.
    let scale = 10_u128.pow(u32::try_from(part.len()).map_err(|_| wrong())?);
    let part = part.bytes().fold(0_u128, |value, digit| value * 10 + u128::from(digit - b'0'));
    let part = part * u128::from(unit);
    if part % scale != 0 {
        return Err("not a whole number of bytes".to_owned());
    }
    let part = u64::try_from(part / scale).map_err(|_| too_large())?;
    whole.checked_add(part).ok_or_else(too_large)
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(GIB, "GiB"), (MIB, "MiB")] {
            if self.0 >= unit && self.0 % unit == 0 {
                return write!(f, "{} {name}", self.0 / unit);
            }
        }
        write!(f, "{} KiB", self.0 / KIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_and_a_bare_number_is_mebibytes() {
        for (text, bytes) in [
            ("256M", 256 * MIB),
            ("2GiB", 2 * GIB),
            ("8192k", 8 * MIB),
            ("64", 64 * MIB),
            ("4194304b", 4 * MIB),
            ("1.5G", 3 * GIB / 2),
            ("2.25 MiB", 9 * MIB / 4),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "number and a unit"),
            ("G", "number and a unit"),
            ("12Q", "unknown unit `q`"),
            ("99999999999999G", "larger than any address"),
            ("3000001b", "whole number"),
            ("1.1G", "whole number"),
            ("1.G", "number and a unit"),
            (".5G", "number and a unit"),
            ("1.2.3G", "number and a unit"),
            ("1M", "2 MiB at least"),
            ("-5M", "unknown unit"),
        ] {
            let error = text.parse::<MemorySize>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn shown_in_the_largest_whole_unit() {
        assert_eq!(MemorySize(3 * GIB).to_string(), "3 GiB");
        assert_eq!(MemorySize(1536 * MIB).to_string(), "1536 MiB");
    }
}
