//! alioth's interrupts beside pvir's. alioth's own irqfds would replace the VM's whole table of GSI routes, pvir's among
//! them. These have their routes in the table that both share.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alioth::hv::{Error, Hypervisor, IrqFd, Kvm, MsiSender, Result, Vm};
use pvir_host::kvm::{GsiRouting, VmmRoute};

use crate::pvir::FIRST_GSI;

/// alioth's GSIs begin behind the pins of its I/O APIC.
const PINS: u32 = 24;

/// The GSIs that alioth's irqfds use.
pub type UsedGsis = Arc<Mutex<BTreeSet<u32>>>;

type KvmSender = <<Kvm as Hypervisor>::Vm as Vm>::MsiSender;

/// Sends alioth's messages, and makes its irqfds.
#[derive(Debug)]
pub struct SharedSender {
    pub kvm: KvmSender,
    pub routing: GsiRouting,
    pub used: UsedGsis,
}

impl MsiSender for SharedSender {
    type IrqFd = SharedIrqFd;

    fn send(&self, addr: u64, data: u32) -> Result<()> {
        self.kvm.send(addr, data)
    }

    fn create_irqfd(&self) -> Result<SharedIrqFd> {
        let eventfd = self.kvm.create_irqfd()?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (PINS..FIRST_GSI).find(|gsi| !used.contains(gsi));
        let gsi = free.ok_or_else(|| failed("no GSI is left"))?;
        used.insert(gsi);
        let message = Mutex::new(Message { masked: true, ..Message::default() });
        Ok(SharedIrqFd { eventfd, gsi, message, routing: self.routing.clone(), used: Arc::clone(&self.used) })
    }
}

/// An eventfd that sends a message.
#[derive(Debug)]
pub struct SharedIrqFd {
    /// alioth's own irqfd, masked for good: its eventfd is what counts.
    eventfd: <KvmSender as MsiSender>::IrqFd,
    gsi: u32,
    message: Mutex<Message>,
    routing: GsiRouting,
    used: UsedGsis,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Message {
    low: u32,
    high: u32,
    data: u32,
    masked: bool,
}

impl SharedIrqFd {
    fn message(&self) -> MutexGuard<'_, Message> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the message, and KVM with it while it is not masked. Answers whether there was something to change.
    fn change(&self, edit: impl FnOnce(&mut Message)) -> Result<bool> {
        let mut message = self.message();
        let (before, mut after) = (*message, *message);
        edit(&mut after);
        if !after.masked && after != before {
            let address = u64::from(after.high) << 32 | u64::from(after.low);
            self.routing
                .set(self.gsi, &[VmmRoute::msi(self.gsi, address, after.data).target])
                .map_err(failed)?;
        }
        match (before.masked, after.masked) {
            (true, false) => self.routing.attach_irqfd(self.eventfd.as_fd(), self.gsi).map_err(failed)?,
            (false, true) => self.routing.detach_irqfd(self.eventfd.as_fd(), self.gsi).map_err(failed)?,
            _ => {}
        }
        *message = after;
        Ok(after != before)
    }
}

impl Drop for SharedIrqFd {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.change(|message| message.masked = true);
        let _ = self.routing.set(self.gsi, &[]);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.gsi);
    }
}

impl AsFd for SharedIrqFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// The functions that read and write a part of the message.
macro_rules! part {
    ($part:ident, $get:ident, $set:ident) => {
        fn $get(&self) -> u32 {
            self.message().$part
        }

        fn $set(&self, val: u32) -> Result<()> {
            self.change(|message| message.$part = val).map(|_| ())
        }
    };
}

impl IrqFd for SharedIrqFd {
    part!(low, get_addr_lo, set_addr_lo);
    part!(high, get_addr_hi, set_addr_hi);
    part!(data, get_data, set_data);

    fn set_masked(&self, val: bool) -> Result<bool> {
        self.change(|message| message.masked = val)
    }

    fn get_masked(&self) -> bool {
        self.message().masked
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::IrqFd { error: io::Error::other(error), _location: snafu::location!() }
}

#[cfg(test)]
mod tests {
    use alioth::hv::{KvmConfig, VmConfig};

    use super::*;
    use crate::hypervisor::PvirKvm;

    /// On the machine's KVM.
    #[test]
    fn routes_of_alioths_irqfds_are_in_the_shared_table_while_they_live() {
        let kvm = PvirKvm { kvm: Kvm::new(KvmConfig::default()).unwrap(), cpus: 1 };
        let vm = kvm.create_vm(&VmConfig { coco: None }).unwrap();
        let (sender, routing) = (vm.create_msi_sender().unwrap(), &vm.pvir.routing);
        let irqfds = [(); 2].map(|()| sender.create_irqfd().unwrap());
        irqfds[0].set_addr_lo(0xfee0_0000).unwrap();
        irqfds[0].set_data(0x41).unwrap();
        assert_eq!(routing.routes(), []);
        assert!(irqfds[0].set_masked(false).unwrap() && !irqfds[0].set_masked(false).unwrap());
        assert_eq!(routing.routes(), [VmmRoute::msi(24, 0xfee0_0000, 0x41)]);
        irqfds[1].set_masked(false).unwrap();
        irqfds[0].set_data(0x42).unwrap();
        let [first, second] = irqfds;
        drop(second);
        assert_eq!(routing.routes(), [VmmRoute::msi(24, 0xfee0_0000, 0x42)]);
        drop(first);
        assert_eq!(routing.routes(), []);
    }
}
