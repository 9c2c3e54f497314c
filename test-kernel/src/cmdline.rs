//! The kernel's command line: words separated by blanks, each a flag (`checkpoints`) or `key=value`.
//!
//! There is no quoting. A word that comes twice counts as it was given last, so that a caller can append to
//! a default. Numbers are decimal or `0x` hexadecimal; lists are `1,5,300` with ranges `0-3`.

use core::fmt;

/// A borrowed command line.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a>(&'a str);

/// A value that should have been a number or a list of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber<'a> {
    /// The key, as asked for.
    pub key: &'a str,
    /// What stands behind the equals sign.
    pub value: &'a str,
}

impl fmt::Display for NotANumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "command line: {}={} is not a number (help: decimal, or hexadecimal with 0x)",
            self.key, self.value
        )
    }
}

impl core::error::Error for NotANumber<'_> {}

impl<'a> CommandLine<'a> {
    /// Wraps the text; nothing can be wrong with it as a whole.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as it was given.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.0
    }

    /// All words, in order.
    pub fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split_ascii_whitespace()
    }

    /// Whether `name` stands there as a word of its own.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.words().any(|word| word == name)
    }

    /// The text behind the last `key=`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.values(key).last()
    }

    /// The texts behind every `key=`, in order: for keys that may be repeated.
    pub fn values<'k>(&self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.words().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The number behind the last `key=`.
    ///
    /// # Errors
    /// When there is a value that is no number.
    pub fn number<'k>(&self, key: &'k str) -> Result<Option<u64>, NotANumber<'k>>
    where
        'a: 'k,
    {
        match self.value(key) {
            None => Ok(None),
            Some(value) => parse_number(value).map(Some).ok_or(NotANumber { key, value }),
        }
    }

    /// The numbers of a list such as `0-3,300`, given to `each` in order.
    ///
    /// # Errors
    /// When a part is no number or a range runs backwards; `each` may have seen the parts before it.
    pub fn list<'k>(&self, key: &'k str, mut each: impl FnMut(u64)) -> Result<(), NotANumber<'k>>
    where
        'a: 'k,
    {
        let Some(value) = self.value(key) else { return Ok(()) };
        let wrong = NotANumber { key, value };
        for part in value.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = parse_number(first).ok_or(wrong)?;
            let last = parse_number(last).ok_or(wrong)?;
            if last < first {
                return Err(wrong);
            }
            (first..=last).for_each(&mut each);
        }
        Ok(())
    }
}

/// A decimal or `0x` hexadecimal number.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: CommandLine<'_> =
        CommandLine::new("selftest  cpus=0-2,300 rounds=10 rounds=0x20 log=debug  dry");

    #[test]
    fn flags_are_whole_words() {
        assert!(LINE.flag("selftest"));
        assert!(LINE.flag("dry"));
        assert!(!LINE.flag("self"));
        assert!(!LINE.flag("rounds"));
    }

    #[test]
    fn the_last_value_counts() {
        assert_eq!(LINE.number("rounds"), Ok(Some(0x20)));
        assert_eq!(LINE.values("rounds").collect::<Vec<_>>(), ["10", "0x20"]);
        assert_eq!(LINE.value("log"), Some("debug"));
        assert_eq!(LINE.value("lo"), None);
    }

    #[test]
    fn a_list_holds_numbers_and_ranges() {
        let mut seen = Vec::new();
        LINE.list("cpus", |n| seen.push(n)).unwrap();
        assert_eq!(seen, [0, 1, 2, 300]);
    }

    #[test]
    fn a_word_that_is_no_number_is_named() {
        let line = CommandLine::new("n=ten cpus=3-1");
        let error = line.number("n").unwrap_err();
        assert_eq!(error, NotANumber { key: "n", value: "ten" });
        assert!(error.to_string().contains("n=ten"));
        assert!(line.list("cpus", |_| ()).is_err());
    }
}
