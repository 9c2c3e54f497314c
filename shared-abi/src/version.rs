//! Versions of the contract, which are not those of the crate.

use crate::open_enum::open_enum;
use core::fmt;

open_enum! {
    /// A version of the contract (`docs/abi.md`, "Versions and features").
    Version(u16) {
        /// The first version, which this crate describes.
        V1 = 1,
    }
}

impl Version {
    /// The oldest version of the contract that this crate speaks.
    pub const OLDEST: Self = Self::V1;
    /// The newest version of the contract that this crate speaks.
    pub const NEWEST: Self = Self::V1;

    /// The newest version that lies in both ranges, each given as (oldest, newest) and both included. `None` if no
    /// version does.
    #[must_use]
    pub fn newest_common(ours: (Self, Self), theirs: (Self, Self)) -> Option<Self> {
        let newest = ours.1.min(theirs.1);
        (newest >= ours.0 && newest >= theirs.0).then_some(newest)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    const V: fn(u16) -> Version = Version;

    #[test]
    fn newest_common_takes_the_newest_common_version() {
        assert_eq!(Version::newest_common((V(1), V(3)), (V(2), V(5))), Some(V(3)));
        assert_eq!(Version::newest_common((V(1), V(1)), (V(1), V(9))), Some(V(1)));
    }

    #[test]
    fn newest_common_refuses_ranges_that_do_not_meet() {
        assert_eq!(Version::newest_common((V(1), V(1)), (V(2), V(3))), None);
        assert_eq!(Version::newest_common((V(4), V(5)), (V(2), V(3))), None);
        assert_eq!(Version::newest_common((V(1), V(2)), (V(5), V(0))), None);
    }

    #[test]
    fn a_version_is_shown_as_its_number_known_or_not() {
        assert_eq!([V(1), V(9)].map(|version| version.to_string()), ["1", "9"]);
    }
}
