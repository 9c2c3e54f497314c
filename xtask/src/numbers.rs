//! Numbers for people.

use std::fmt::Display;

/// A whole number, with a comma for each thousand.
pub(crate) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let text = [0.0, 999.0, 1000.0, 1_234_567.0].map(|n: f64| grouped(n));
        assert_eq!(text, ["0", "999", "1,000", "1,234,567"]);
    }
}
