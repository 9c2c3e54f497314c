//! The service through its front door: real wire bytes in real guest RAM, over a KVM and devices that know the order.

mod ahead;
mod attach;
mod batches;
mod blocks;
mod changing_ram;
mod enabling;
mod entries;
mod events;
mod events_faults;
mod faults;
mod fixture;
mod headers;
mod ims;
mod limits;
mod live;
mod logs;
mod messages;
mod model;
mod operations;
mod order;
mod parking;
mod plugging;
mod rate;
mod records;
mod reset;
mod resets;
mod retire;
mod routing;
mod saving;
mod storm;
mod teardown;
mod threads;
mod trapped;
mod trapped_costs;
mod trapped_faults;

use super::*;
use crate::fake::{Entry, FakeDevice, FakeKvm, Footprint, SharedPlatform};
use fixture::ServiceFixture;
use pvir_abi::{
    Bdf, CallFlags, DeviceRecord, EnableRecord, EntryRecord, FeaturesRecord, Handle, Header, Operation,
    Store, Version, X86Route,
};
use records::*;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const FIRST_GSI: u32 = 24;
const APIC_IDS: [u32; 3] = [0, 1, 300];
/// Where calls have their block, unless a test is about just that.
const BLOCK: u64 = 0x1_0000;
const AREA: u64 = 0x2040;
/// RAM: two ranges that touch, a hole, and a third.
const RAM: [(u64, usize); 3] = [(0, 0x5_0000), (0x5_0000, 0x1_0000), (0x8_0000, 0x1_0000)];
/// Entries of the MSI-X tables of devices 0 and 1. Device 0 makes IMS of its MSI-X, as one of VFIO does.
const ENTRIES: [u32; 2] = [64, 8];
/// IMS entries that device 1 has of its own.
const IMS: u32 = 4;
/// Messages of device 2, which has MSI and nothing else.
const MESSAGES: u32 = 16;

fn device(number: u8) -> DeviceId {
    DeviceId::new(0, Bdf::new(0, number + 1, 0).unwrap())
}

fn config() -> Config {
    Config {
        apic_ids: APIC_IDS.to_vec(),
        conduits: Conduits::MSR | Conduits::PORT,
        msr: 0x5056_0000,
        port: 0x5058,
        first_gsi: FIRST_GSI,
        max_irtes: 4072,
        max_irtes_per_device: 2048,
        armed_ahead: 0,
        rate_limit: RateLimit::OFF,
        storm_limit: StormLimit::default(),
    }
}
