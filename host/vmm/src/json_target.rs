//! Where `--json` writes to.

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// The argument of `--json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonTarget {
    /// `-`: stdout, between the guest's own lines.
    Stdout,
    /// `fd=N`: a descriptor that was inherited.
    Descriptor(RawFd),
    /// A file.
    File(PathBuf),
}

impl FromStr for JsonTarget {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let number = text.strip_prefix("fd=").and_then(|number| number.parse::<u16>().ok());
        Ok(match number {
            Some(number) => Self::Descriptor(number.into()),
            None if text == "-" => Self::Stdout,
            None => Self::File(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_of_a_descriptor_is_a_file() {
        for (text, target) in [
            ("-", JsonTarget::Stdout),
            ("fd=3", JsonTarget::Descriptor(3)),
            ("fd=-1", JsonTarget::File("fd=-1".into())),
            ("./fd=3", JsonTarget::File("./fd=3".into())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
    }
}
