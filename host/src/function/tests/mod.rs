//! Functions as a guest and the service use them, over a mapper and a host device that record what happens.

mod access;
mod config;
mod emulated;
mod failures;
mod fake_mapper;
mod fake_pci;
mod fixture;
mod handing_back;
mod mapping;
mod random;
mod resets;
mod saved;

use super::*;
use fake_mapper::FakeMapper;
use fake_pci::FakePci;
use fixture::{Fixture, RW};
