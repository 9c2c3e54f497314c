//! The binary `pvir`, run on the machine's own KVM.

mod ending;
mod guest;
mod machine;
mod pci;
