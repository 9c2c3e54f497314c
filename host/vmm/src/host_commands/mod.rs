//! The commands that look at a host and start no guest of the user's: `pvir doctor`, `pvir devices`, `pvir bind` and
//! `pvir unbind`.

pub(crate) mod binding;
pub(crate) mod devices;
pub(crate) mod doctor;
