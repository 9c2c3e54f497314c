//! Interrupt messages of the machine's own: what an I/O APIC puts on the bus, given to KVM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;
use pvir_host::counters::Counters;

use super::layout;

/// An edge-triggered message to a local APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// APIC id, all 32 bits of it.
    pub(crate) destination: u32,
    /// The destination is a logical one.
    pub(crate) logical: bool,
    /// Bits 10:8 of the data.
    pub(crate) delivery_mode: u8,
    pub(crate) vector: u8,
}

impl Message {
    /// As KVM takes it: bits 31:8 of the destination are in the upper half of the address (`KVM_CAP_X2APIC_API`).
    fn to_kvm(self) -> kvm_msi {
        let [low, ..] = self.destination.to_le_bytes();
        kvm_msi {
            address_lo: layout::MESSAGES | u32::from(low) << 12 | u32::from(self.logical) << 2,
            address_hi: self.destination & !0xff,
            data: u32::from(self.delivery_mode) << 8 | u32::from(self.vector),
            ..Default::default()
        }
    }
}

/// Where messages go.
pub(crate) trait MessageSink: Send + Sync {
    fn send(&self, message: &Message);
}

/// The local APICs of a VM.
pub(crate) struct LocalApics {
    vm: Arc<VmFd>,
    counters: Arc<Counters>,
    /// Whether a failure was logged: a guest can repeat it without end.
    told: AtomicBool,
}

impl LocalApics {
    pub(crate) fn new(vm: Arc<VmFd>, counters: Arc<Counters>) -> Self {
        Self { vm, counters, told: AtomicBool::new(false) }
    }
}

impl MessageSink for LocalApics {
    /// A message that no local APIC takes is lost, as on hardware.
    fn send(&self, message: &Message) {
        self.counters.count_ioctl("KVM_SIGNAL_MSI");
        if let Err(error) = self.vm.signal_msi(message.to_kvm()) {
            if !self.told.swap(true, Relaxed) {
                tracing::warn!(?message, "KVM_SIGNAL_MSI: {error} (further failures are not told)");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_destination_is_split_between_the_halves_of_the_address() {
        let message = Message { destination: 300, logical: true, delivery_mode: 1, vector: 0x31 };
        let kvm = message.to_kvm();
        assert_eq!((kvm.address_lo, kvm.address_hi, kvm.data), (0xfee2_c004, 0x100, 0x131));
    }
}
