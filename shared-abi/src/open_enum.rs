//! Integers with names: the form of every enumeration of the contract.
//!
//! A Rust `enum` must never hold a value that the other side chose: an unknown discriminant is undefined behaviour.
//! These types hold any integer, print a name when they have one, and the number when not.

/// Defines a newtype over an integer with named values, `ALL`, `name()` and a `Debug` that keeps unknown numbers.
macro_rules! open_enum {
    (
        $(#[$attr:meta])*
        $name:ident($int:ty) {
            $( $(#[$vattr:meta])* $value:ident = $number:expr, )*
        }
    ) => {
        $(#[$attr])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            $( $(#[$vattr])* pub const $value: Self = Self($number); )*

            /// Every value that this version of the contract knows, with its name in `docs/abi.md`.
            pub const ALL: &'static [(Self, &'static str)] = &[ $( (Self::$value, stringify!($value)), )* ];

            /// The name of the value in `docs/abi.md`. `None` for a number that this version does not know.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                Self::ALL.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({:#x})"), self.0),
                }
            }
        }
    };
}

pub(crate) use open_enum;
