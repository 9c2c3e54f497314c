//! RETARGET of thousands of entries, again and again: the requests are written once, and only the places change.
//! The driver's own RETARGET judges each answer whole; where the kernel is interpreted that is most of the time.

#![expect(unsafe_code, reason = "calls the host with blocks of its own")]

use crate::harness::live_entries::LiveEntry;
use crate::machine::memory::dma::Dma;
use arrayvec::ArrayVec;
use pvir_guest::Conduit;
use pvir_guest::abi::{
    CallFlags, EntryRecord, FIRST_DEVICE_VECTOR, GuestPhysAddr, Header, MAX_BLOCK_LEN, MAX_RECORDS,
    Operation, RECORD_LEN, Status, Version, X86Route,
};
use pvir_guest::conduit::HardwareConduit;
use zerocopy::IntoBytes;

/// Blocks for 2048 entries.
const BLOCKS: usize = 4;
/// Offsets of fields: in the header, then in a record.
const CALL_STATUS: u64 = 16;
const CALL_DONE: u64 = 20;
const STATUS: u64 = 4;
const DESTINATION: u64 = 32;
/// The vector and the bytes behind it, which are zero where delivery is fixed and the mode physical.
const VECTOR: u64 = 36;

/// One call for each block.
pub(crate) struct Moves {
    conduit: HardwareConduit,
    blocks: ArrayVec<Block, BLOCKS>,
}

struct Block {
    memory: Dma,
    first: usize,
    records: usize,
}

impl Moves {
    /// For these live entries.
    pub(crate) fn new(conduit: HardwareConduit, entries: &[LiveEntry]) -> Option<Self> {
        let max_records = MAX_RECORDS as usize;
        let mut blocks = ArrayVec::new();
        for (entries, first) in entries.chunks(max_records).zip((0..).step_by(max_records)) {
            let memory = Dma::allocate(MAX_BLOCK_LEN as u64)?;
            let count = u32::try_from(entries.len()).ok()?;
            put(
                &memory,
                0,
                &Header::request(Version::V1, Operation::RETARGET, CallFlags::ALL_OR_NOTHING, count),
            );
            for (place, entry) in entries.iter().enumerate() {
                let origin = entry.origin();
                let route = X86Route::fixed(0, FIRST_DEVICE_VECTOR);
                let record = EntryRecord::map(origin.device, origin.store, origin.index, route.into());
                put(&memory, unit(place + 1), &record.with_handle(entry.irte().handle()));
            }
            blocks.try_push(Block { memory, first, records: entries.len() }).ok()?;
        }
        Some(Self { conduit, blocks })
    }

    /// Sends each entry to this APIC id and vector.
    pub(crate) fn go(&self, target: impl Fn(usize) -> (u32, u8)) -> Result<(), Status> {
        for Block { memory, first, records } in &self.blocks {
            memory.write(CALL_STATUS, Status::PENDING.0);
            for place in 0..*records {
                memory.write(unit(place + 1) + STATUS, Status::PENDING.0);
                let (destination, vector) = target(first + place);
                memory.write(unit(place + 1) + DESTINATION, destination);
                memory.write(unit(place + 1) + VECTOR, vector.into());
            }
            // SAFETY: the block is the kernel's own, as long as the host may write, and holds no Rust object.
            let status = unsafe { self.conduit.call(GuestPhysAddr(memory.address())) };
            let all = memory.read(CALL_DONE) as usize == *records;
            if status != Status::OK || memory.read(CALL_STATUS) != Status::OK.0 || !all {
                return Err(status);
            }
        }
        Ok(())
    }
}

/// Offset of the header, 0, or of a record.
fn unit(number: usize) -> u64 {
    (number * RECORD_LEN) as u64
}

fn put(memory: &Dma, at: u64, value: &(impl IntoBytes + zerocopy::Immutable)) {
    for (bytes, offset) in value.as_bytes().chunks_exact(4).zip((at..).step_by(4)) {
        if let Ok(word) = bytes.try_into() {
            memory.write(offset, u32::from_le_bytes(word));
        }
    }
}
