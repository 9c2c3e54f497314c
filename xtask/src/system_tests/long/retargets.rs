//! Every vector is moved by several vCPUs while the device raises.

use anyhow::{Context, Result};
use serde_json::Value;

use super::in_a_lab;
use crate::build::Programs;
use crate::lab::Iommu;
use crate::system_tests::own_kvm::{Ran, guest};

/// The machine: as many entries as the kernel moves.
pub(in crate::system_tests) const MACHINE: [&str; 8] =
    ["--cpus", "2", "--storm-limit", "off", "--rate-limit", "off", "--device", "emulated,vectors=64"];

/// What a run came to; nothing was lost, twice or elsewhere, or it would be an error.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) raised: u64,
    pub(crate) handled: u64,
    pub(crate) merged: u64,
    pub(crate) retargets: u64,
}

impl Moved {
    fn of(event: &Value) -> Self {
        let number = |key: &str| event[key].as_u64().unwrap_or(0);
        Self {
            raised: number("raised"),
            handled: number("handled"),
            merged: number("merged"),
            retargets: number("retargets"),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            raised: self.raised + other.raised,
            handled: self.handled + other.handled,
            merged: self.merged + other.merged,
            retargets: self.retargets + other.retargets,
        }
    }
}

/// What the guest has said.
pub(in crate::system_tests) fn moved(ran: &Ran) -> Result<Moved> {
    let event = ran.events.iter().find(|event| event["event"] == "retargets");
    Ok(Moved::of(event.context("no event `retargets`")?))
}

/// One VM of this machine: rounds with a look at each interrupt, and rounds at the device's own rate.
pub(crate) fn on_own_kvm(programs: &Programs, rounds: u64, free: u64) -> Result<Moved> {
    moved(&guest(programs, &MACHINE, &format!("retargets rounds={rounds} free={free}"))?)
}

/// One lab of two CPUs, between which the host moves its interrupts meanwhile.
pub(crate) fn in_lab(iommu: Iommu, rounds: u64) -> Result<(Moved, String)> {
    let (note, event) = in_a_lab(iommu, 2, &["igb"], "retargets", rounds)?;
    Ok((Moved::of(&event), note))
}
