//! Guest memory, where the block of a call is read and written.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pvir_abi::{BLOCK_ALIGN, GuestPhysAddr, Header, block_len};
use pvir_host::memory::{GuestRam, NotRam};
use zerocopy::{FromZeros, IntoBytes};

use crate::list::Wrong;

/// Where a block's records begin, seen from the page.
const RECORDS: u64 = size_of::<Header>() as u64;
/// So much later the header is read again: the guest's other CPU writes it meanwhile.
const LATER: Duration = Duration::from_micros(50);

/// RAM around which something is wrong.
pub(crate) struct WrongMemory {
    pub(crate) ram: Arc<dyn GuestRam>,
    pub(crate) wrong: Option<Wrong>,
}

impl WrongMemory {
    fn are_records(at: GuestPhysAddr) -> bool {
        at.0 % BLOCK_ALIGN == RECORDS
    }

    /// Takes as many records as the header says now: they must be RAM.
    fn count_again(&self, records: GuestPhysAddr) -> Result<(), NotRam> {
        thread::sleep(LATER);
        let (at, mut header) = (GuestPhysAddr(records.0 - RECORDS), Header::new_zeroed());
        self.ram.read(at, header.as_mut_bytes())?;
        let len = block_len(header.count);
        if self.ram.is_ram(at, len) { Ok(()) } else { Err(NotRam(at, len)) }
    }
}

impl GuestRam for WrongMemory {
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam> {
        if self.wrong == Some(Wrong::HeaderReadTwice) && Self::are_records(at) {
            self.count_again(at)?;
        }
        self.ram.read(at, bytes)
    }

    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam> {
        if self.wrong == Some(Wrong::BlockOverrun) && Self::are_records(at) {
            let more = [bytes, &[1]].concat();
            // Behind RAM nothing can be written.
            return self.ram.write(at, &more).or_else(|_| self.ram.write(at, bytes));
        }
        self.ram.write(at, bytes)
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        self.ram.is_ram(at, len)
    }
}
