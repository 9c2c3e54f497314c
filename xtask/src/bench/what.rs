//! What is measured, where, and whose way it is.

use serde::Serialize;

/// Where and what: the ways that are compared differ in nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Subject {
    pub(super) place: Testbed,
    pub(super) device: &'static str,
    pub(super) vectors: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Testbed {
    /// This machine's KVM.
    Kvm,
    /// The nested lab: an emulator.
    Lab,
}

/// Who programs the device, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    Direct,
    Trapped,
    Qemu,
    CloudHypervisor,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Direct, Self::Trapped, Self::Qemu, Self::CloudHypervisor];

    /// As tables and scripts call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Trapped => "trapped",
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    /// What the kernel calls it.
    pub(super) fn mode(self) -> &'static str {
        if self == Self::Direct { "direct" } else { "trapped" }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// From the kernel's first instruction to the device's first interrupt, all vectors set up: cold, once in a run.
    FirstInterrupt,
    /// All vectors.
    SetUp,
    RetargetOne,
    /// All vectors.
    RetargetAll,
    /// One vector.
    Mask,
    Unmask,
    /// All vectors.
    TearDown,
    /// One interrupt, to the processor that has raised it.
    Own,
    /// To another, which halts.
    Other,
    /// What one in a hundred of both exceeds.
    Tail,
    /// One interrupt of a burst.
    Interval,
}

impl Action {
    pub(super) const ALL: [Self; 11] = [
        Self::FirstInterrupt,
        Self::SetUp,
        Self::RetargetOne,
        Self::RetargetAll,
        Self::Mask,
        Self::Unmask,
        Self::TearDown,
        Self::Own,
        Self::Other,
        Self::Tail,
        Self::Interval,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FirstInterrupt => "boot to 1st interrupt",
            Self::SetUp => "set-up of all",
            Self::RetargetOne => "retarget of one",
            Self::RetargetAll => "retarget of all",
            Self::Mask => "mask of one",
            Self::Unmask => "unmask of one",
            Self::TearDown => "tear-down of all",
            Self::Own => "to handler, own CPU",
            Self::Other => "to handler, other CPU",
            Self::Tail => "to handler, 99% of all",
            Self::Interval => "interrupt of a burst",
        }
    }
}
