//! Debian's order of package versions.

use std::cmp::Ordering;

/// Compares two versions as dpkg does: epoch, upstream version, Debian revision.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = split_epoch(left);
    let (right_epoch, right) = split_epoch(right);
    let (left_upstream, left_revision) = left.rsplit_once('-').unwrap_or((left, ""));
    let (right_upstream, right_revision) = right.rsplit_once('-').unwrap_or((right, ""));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| compare_part(left_upstream, right_upstream))
        .then_with(|| compare_part(left_revision, right_revision))
}

fn split_epoch(version: &str) -> (u32, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Text and numbers in turn: text by letters, with `~` before everything, numbers by value.
fn compare_part(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_text, left_rest) = split_while(left, |c| !c.is_ascii_digit());
        let (right_text, right_rest) = split_while(right, |c| !c.is_ascii_digit());
        let (left_digits, left_next) = split_while(left_rest, |c| c.is_ascii_digit());
        let (right_digits, right_next) = split_while(right_rest, |c| c.is_ascii_digit());
        let order =
            compare_text(left_text, right_text).then_with(|| number(left_digits).cmp(&number(right_digits)));
        if order.is_ne() || (left_next.is_empty() && right_next.is_empty()) {
            return order;
        }
        (left, right) = (left_next, right_next);
    }
}

fn compare_text(left: &str, right: &str) -> Ordering {
    let weights = |text: &str| text.chars().map(weight).chain([0]).collect::<Vec<_>>();
    weights(left).cmp(&weights(right))
}

/// A tilde sorts before the end of the text, letters before all that is no letter.
fn weight(c: char) -> i64 {
    match c {
        '~' => -1,
        c if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        c => i64::from(u32::from(c)) + 256,
    }
}

fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or(0)
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ordered = [
            "1.0~rc1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0a",
            "1.0+x",
            "1.2",
            "1.10",
            "6.1.176-1",
            "6.12.95-1~bpo12+1",
            "6.12.95-1",
            "1:0.1",
        ];
        for (position, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                assert_eq!(compare(left, right), position.cmp(&other), "{left} and {right}");
            }
        }
    }
}
