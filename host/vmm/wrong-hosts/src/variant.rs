//! Which variant of the host this is.

use std::ffi::OsStr;

use crate::list::Wrong;

/// A variant by its name on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    /// Nothing is wrong, and nothing unusual.
    Honest,
    /// Nothing is wrong: it takes so many records in a call, which the contract allows.
    FewRecords(u32),
    /// Nothing is wrong: its devices are not isolated, so that it refuses every ENABLE.
    Refusing,
    /// It breaks a statement.
    Wrong(Wrong),
}

impl Variant {
    /// Those that keep the contract.
    pub(crate) const RIGHT: &'static [(Self, &'static str)] = &[
        (Self::Honest, "honest"),
        (Self::FewRecords(1), "records-1"),
        (Self::FewRecords(2), "records-2"),
        (Self::FewRecords(16), "records-16"),
        (Self::Refusing, "refuses"),
    ];

    /// The variant of this name.
    pub(crate) fn named(name: &OsStr) -> Option<Self> {
        let right = Self::RIGHT.iter().find(|(_, known)| name == *known).map(|(variant, _)| *variant);
        let wrong =
            || Wrong::ALL.iter().find(|(_, known, _)| name == *known).map(|(wrong, ..)| Self::Wrong(*wrong));
        right.or_else(wrong)
    }

    /// What is wrong, if something is.
    pub(crate) fn wrong(self) -> Option<Wrong> {
        match self {
            Self::Wrong(wrong) => Some(wrong),
            Self::Honest | Self::FewRecords(_) | Self::Refusing => None,
        }
    }
}

impl From<Option<Wrong>> for Variant {
    fn from(wrong: Option<Wrong>) -> Self {
        wrong.map_or(Self::Honest, Self::Wrong)
    }
}
