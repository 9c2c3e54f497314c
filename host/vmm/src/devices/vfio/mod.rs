//! A host device passed through by VFIO.

pub(crate) mod bar;
pub(crate) mod function;
pub(crate) mod layout;
