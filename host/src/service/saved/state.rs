//! What of a service is saved: numbers, and neither a pair nor anything of this host's.

use crate::device::{Capabilities, StoreShape};
use crate::trapped::EmulatedRegisters;
use pvir_abi::{Bdf, DeviceId};
use serde::{Deserialize, Serialize};

/// The state of a [`Service`](crate::service::Service) that goes into a snapshot of its VM.
///
/// [`Service::save`](crate::service::Service::save) makes one, and
/// [`Service::restore`](crate::service::Service::restore) takes it. To a VMM it is the bytes of
/// [`to_bytes`](Self::to_bytes), of about 33 KiB for a device with the longest table. They have a version and a checksum
/// of their own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedState {
    /// APIC ids of the vCPUs, ascending.
    pub(super) apic_ids: Vec<u32>,
    /// The status of each vCPU's last call, by the index of the vCPU: it may have been saved before it has read it.
    pub(super) statuses: Vec<u32>,
    /// The epoch of the latest session; 0 before the first.
    pub(super) epoch: u64,
    pub(super) session: Option<SavedSession>,
    /// For each slot of a handle, the generation that it gives next.
    pub(super) generations: Vec<u32>,
    /// Ascending by id.
    pub(super) devices: Vec<SavedDevice>,
    /// Segment and BDF of each device that went in this session.
    pub(super) gone: Vec<(u16, u16)>,
}

/// What ENABLE has granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SavedSession {
    pub(super) features: u64,
    /// The epoch that ENABLE gave.
    pub(super) first_epoch: u64,
    /// Guest physical address of the event area, or 0.
    pub(super) event_area: u64,
    pub(super) notify_apic_id: u32,
    /// 0 for none.
    pub(super) notify_vector: u8,
}

/// One device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SavedDevice {
    pub(super) segment: u16,
    pub(super) bdf: u16,
    pub(super) shape: SavedShape,
    /// Whether the guest programs it.
    pub(super) open: bool,
    /// Whether the host has cut it off.
    pub(super) cut_off: bool,
    /// Whether it came in this session, and is not there for its guest.
    pub(super) unseen: bool,
    /// The registers that are emulated while the guest does not program it.
    pub(super) registers: Option<EmulatedRegisters>,
    /// The messages for which the host holds an interrupt, ascending.
    pub(super) held: Vec<HeldMessage>,
}

impl SavedDevice {
    pub(super) fn new(id: DeviceId, shape: SavedShape) -> Self {
        let DeviceId { segment, bdf } = id;
        Self {
            segment,
            bdf: bdf.0,
            shape,
            open: false,
            cut_off: false,
            unseen: false,
            registers: None,
            held: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        DeviceId::new(self.segment, Bdf(self.bdf))
    }
}

/// What a device has, as far as its guest can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SavedShape {
    stores: u32,
    flags: u32,
    msix_entries: u32,
    msi_messages: u32,
    ims_entries: u32,
    /// Of an MSI capability: 64-bit address, mask bits.
    msi_form: Option<(bool, bool)>,
}

impl SavedShape {
    pub(super) fn of(capabilities: &Capabilities, shape: StoreShape) -> Self {
        let Capabilities { stores, flags, msix_entries, msi_messages, ims_entries } = *capabilities;
        let msi_form = match shape {
            StoreShape::Msi(shape) => Some((shape.wide, shape.maskable)),
            StoreShape::None | StoreShape::Msix(_) => None,
        };
        let (stores, flags) = (stores.bits(), flags.bits());
        Self { stores, flags, msix_entries, msi_messages, ims_entries, msi_form }
    }
}

impl std::fmt::Display for SavedShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stores, flags, msix_entries, msi_messages, ims_entries, msi_form } = self;
        write!(f, "{msix_entries} MSI-X entries, {msi_messages} messages of MSI, {ims_entries} IMS entries")?;
        if let Some((wide, maskable)) = msi_form {
            write!(f, ", MSI with a {}-bit address", if *wide { 64 } else { 32 })?;
            f.write_str(if *maskable { " and mask bits" } else { "" })?;
        }
        write!(f, " (stores {stores:#x}, flags {flags:#x})")
    }
}

/// A message for which the host holds an interrupt: store kind, index of the entry, number of the message in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct HeldMessage {
    pub(super) store: u16,
    pub(super) index: u32,
    pub(super) message: u8,
}
