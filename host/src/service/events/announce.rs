//! Telling the guest: the event area first, its epoch last, and then the vector of NOTIFY.

use super::Event;
use crate::memory::GuestRam;
use crate::message::Message;
use crate::service::vm::Vm;
use pvir_abi::{Bdf, DeviceId, EventArea, GuestPhysAddr};
use std::io;
use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};
use zerocopy::IntoBytes;

/// The name of every device of the VM in the event area.
const EVERY_DEVICE: DeviceId = DeviceId::new(u16::MAX, Bdf(u16::MAX));

impl Vm {
    /// Raises the epoch and tells the guest of `event`. Answers with the new epoch, or with `None` if no guest has
    /// enabled pvir.
    pub(super) fn announce(&mut self, ram: &dyn GuestRam, event: Event) -> Option<u64> {
        let session = self.session.as_mut()?;
        self.epoch += 1;
        let epoch = self.epoch;
        let sequence = epoch.saturating_sub(session.first_epoch);
        session.owes_notify = session.notify.is_some();
        if let Some(at) = session.event_area {
            if !write_area(ram, at, event, sequence, epoch) {
                let reason = event.reason();
                self.log.warn(|| format!("{reason:?}: the event area at {:#x} is not RAM any more", at.0));
            }
        }
        // A failure is told once for the event, and not for each call that tries again.
        if let Err((message, error)) = self.try_announce() {
            let (vector, apic_id) = (message.vector(), message.destination());
            self.log.warn(|| {
                format!("announcing an event on vector {vector} of APIC id {apic_id} failed: {error}")
            });
        }
        Some(epoch)
    }

    /// Tries again to announce events whose vector could not be raised, with each call of the guest.
    #[inline]
    pub(in crate::service) fn announce_owed(&mut self) {
        if self.session.is_some_and(|session| session.owes_notify) {
            // The first failure was logged.
            let _ = self.try_announce();
        }
    }

    /// Raises the vector of NOTIFY if an event was not announced yet: one interrupt announces all events before it
    /// (statement V7).
    fn try_announce(&mut self) -> Result<(), (Message, io::Error)> {
        let Some(session) = self.session.as_mut().filter(|session| session.owes_notify) else {
            return Ok(());
        };
        let Some(message) = session.notify else { return Ok(()) };
        self.lines.signal(message).map_err(|error| (message, error))?;
        session.owes_notify = false;
        Ok(())
    }
}

/// Writes the area in the order of statement V2. Answers whether it was RAM.
fn write_area(ram: &dyn GuestRam, at: GuestPhysAddr, event: Event, sequence: u64, epoch: u64) -> bool {
    let device = event.device().unwrap_or(EVERY_DEVICE);
    let mut what = [0; 8];
    let (reason, of) = what.split_at_mut(size_of::<u32>());
    reason.copy_from_slice(event.reason().as_bytes());
    of.copy_from_slice(device.as_bytes());
    let fields = [
        (offset_of!(EventArea, sequence), sequence.to_le_bytes()),
        (offset_of!(EventArea, reason), what),
        (offset_of!(EventArea, epoch), epoch.to_le_bytes()),
    ];
    fields.iter().all(|(offset, bytes)| {
        let written = ram.write(GuestPhysAddr(at.0 + *offset as u64), bytes).is_ok();
        // A vCPU that sees one field sees those before it.
        fence(Ordering::Release);
        written
    })
}
