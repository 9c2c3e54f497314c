//! Interrupt messages of the machine itself, given to KVM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;
use pvir_abi::Pair;
use pvir_host::counters::{Counter, Counters};
use pvir_host::message::Message;

/// Takes interrupt messages.
pub(crate) trait MessageSink: Send + Sync {
    /// A message that no local APIC takes is lost, as on hardware.
    fn send(&self, message: Pair);
}

/// The local APICs of a VM.
pub(crate) struct LocalApics {
    vm: Arc<VmFd>,
    signal_msi: Counter,
    /// Whether a failure was logged: a guest can repeat it without end.
    logged: AtomicBool,
}

impl LocalApics {
    pub(crate) fn new(vm: Arc<VmFd>, counters: &Counters) -> Self {
        Self { vm, signal_msi: counters.ioctl("KVM_SIGNAL_MSI"), logged: AtomicBool::new(false) }
    }
}

impl MessageSink for LocalApics {
    fn send(&self, message: Pair) {
        // The guest composed it, so it is validated as those of its devices are.
        match Message::validate(message) {
            Ok(message) => {
                self.signal_msi.count();
                if let Err(error) = self.vm.signal_msi(to_kvm(message)) {
                    if !self.logged.swap(true, Relaxed) {
                        tracing::warn!(?message, "KVM_SIGNAL_MSI: {error} (further failures are not logged)");
                    }
                }
            }
            Err(reason) => tracing::debug!(?message, "message of the I/O APIC is lost: {reason}"),
        }
    }
}

fn to_kvm(message: Message) -> kvm_msi {
    kvm_msi {
        address_lo: message.address_lo(),
        address_hi: message.address_hi(),
        data: message.data(),
        ..Default::default()
    }
}
