//! What the service is given for guest RAM: the guest's, and beside it blocks that the guest does not have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pvir_abi::GuestPhysAddr;
use pvir_host::memory::{GuestRam, NotRam};

use crate::list::Wrong;

/// The first address that no guest has: physical addresses of x86 have 52 bits at most.
const BEYOND_GUEST: u64 = 1 << 52;
/// From the block of one vCPU to that of the next: more than the longest block.
const STRIDE: u64 = 0x1_0000;
/// How late an event is written: a handler has read the area long before.
const LATE: Duration = Duration::from_secs(2);

type Blocks = BTreeMap<u64, Vec<u8>>;
/// Bytes for an address, and since when they wait.
type Write = (Instant, GuestPhysAddr, Vec<u8>);

/// Memory of the service.
pub(crate) struct ServiceMemory {
    /// The guest's.
    ram: Arc<dyn GuestRam>,
    wrong: Option<Wrong>,
    /// By address.
    blocks: Mutex<Blocks>,
    /// What is still to be written, by when it should have been.
    late: Mutex<Vec<Write>>,
}

impl ServiceMemory {
    pub(crate) fn new(ram: Arc<dyn GuestRam>, wrong: Option<Wrong>) -> Self {
        Self { ram, wrong, blocks: Mutex::default(), late: Mutex::default() }
    }

    pub(super) fn guest_ram(&self) -> &dyn GuestRam {
        &*self.ram
    }

    /// Puts a block of a vCPU where the service finds it.
    pub(super) fn lay_out(&self, vcpu: usize, block: Vec<u8>) -> GuestPhysAddr {
        let at = BEYOND_GUEST + vcpu as u64 * STRIDE;
        self.blocks().insert(at, block);
        GuestPhysAddr(at)
    }

    /// Takes it away, as the service has left it.
    pub(super) fn take_away(&self, at: GuestPhysAddr) -> Option<Vec<u8>> {
        self.blocks().remove(&at.0)
    }

    fn late(&self) -> MutexGuard<'_, Vec<Write>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is late enough by now. A thread that did it would be one more than the sandbox lets in.
    fn write_late(&self) {
        self.late().retain(|(since, at, bytes)| {
            let waits = since.elapsed() < LATE;
            if !waits {
                // It may be RAM no more.
                let _ = self.ram.write(*at, bytes);
            }
            waits
        });
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The block in which `len` bytes from `at` lie, and where in it.
fn place(blocks: &Blocks, at: GuestPhysAddr, len: usize) -> Option<(u64, Range<usize>)> {
    let (start, block) = blocks.range(..=at.0).next_back()?;
    let from = usize::try_from(at.0 - start).ok()?;
    let to = from.checked_add(len).filter(|to| *to <= block.len())?;
    Some((*start, from..to))
}

impl GuestRam for ServiceMemory {
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam> {
        self.write_late();
        if at.0 < BEYOND_GUEST {
            return self.ram.read(at, bytes);
        }
        let blocks = self.blocks();
        let found = place(&blocks, at, bytes.len());
        let held = found.and_then(|(start, range)| blocks.get(&start)?.get(range));
        bytes.copy_from_slice(held.ok_or(NotRam(at, bytes.len()))?);
        Ok(())
    }

    /// The service's blocks are here, so all that it writes to the guest's RAM is the event area.
    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam> {
        if at.0 < BEYOND_GUEST {
            // An event is written in words, and ENABLE writes the whole area.
            let of_event = bytes.len() == size_of::<u64>();
            return match self.wrong {
                Some(Wrong::AreaNotWritten) => Ok(()),
                Some(Wrong::AreaStuck) if of_event => Ok(()),
                Some(Wrong::AreaLate) if of_event => {
                    self.late().push((Instant::now(), at, bytes.to_vec()));
                    Ok(())
                }
                _ => self.ram.write(at, bytes),
            };
        }
        let mut blocks = self.blocks();
        let found = place(&blocks, at, bytes.len());
        let held = found.and_then(|(start, range)| blocks.get_mut(&start)?.get_mut(range));
        held.ok_or(NotRam(at, bytes.len()))?.copy_from_slice(bytes);
        Ok(())
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        if at.0 < BEYOND_GUEST { self.ram.is_ram(at, len) } else { place(&self.blocks(), at, len).is_some() }
    }
}
