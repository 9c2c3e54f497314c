#![doc = include_str!("../README.md")]

pub mod counters;
pub mod device;
pub mod irte;
pub mod kvm;
mod log_limit;
pub mod memory;
pub mod service;
