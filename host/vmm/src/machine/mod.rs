//! The machine: VM, memory, interrupt controllers, vCPUs, and the way of every exit to what serves it.

pub(crate) mod acpi;
pub(crate) mod boot;
pub(crate) mod conduit;
pub(crate) mod cpuid;
pub(crate) mod crash;
pub(crate) mod elf;
pub(crate) mod ending;
pub(crate) mod exit;
pub(crate) mod firmware;
pub(crate) mod kick;
pub(crate) mod layout;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod msr;
pub(crate) mod ports;
pub(crate) mod privilege;
pub(crate) mod probe;
pub(crate) mod selftest;
pub(crate) mod slots;
pub(crate) mod vcpu;
pub(crate) mod vm;
pub(crate) mod xen;
