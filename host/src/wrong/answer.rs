//! What a wrong host does to requests and answers on their way.

use super::{Wrong, is};
use crate::irte::Irte;
use crate::memory::GuestRam;
use pvir_abi::{Entry, EntryState, GuestPhysAddr, Header, Operation, RECORD_LEN, Routing, Status};
use zerocopy::{FromBytes, IntoBytes};

/// Changes an answer before it is written; the result is what the conduit says.
pub(crate) fn answer(
    ram: &dyn GuestRam,
    at: GuestPhysAddr,
    header: &mut Header,
    records: &mut [u8],
) -> Status {
    let failed = header.status != Status::OK;
    if header.operation.takes_entries() {
        for bytes in records.chunks_exact_mut(RECORD_LEN) {
            if let Ok(mut entry) = Entry::read_from_bytes(bytes) {
                record(header.operation, &mut entry);
                bytes.copy_from_slice(entry.as_bytes());
            }
        }
    }
    if is(Wrong::BlockOverrun) {
        let behind = RECORD_LEN as u64 * (1 + u64::from(header.count.min(1)));
        // Behind RAM nothing can be written.
        let _ = ram.write(GuestPhysAddr(at.0 + behind), &[1]);
    }
    if is(Wrong::DoneOfFailed) && failed && records.is_empty() {
        header.done = 1;
    }
    if is(Wrong::WrongDone) && !records.is_empty() {
        header.done = header.count;
    }
    if is(Wrong::PartialIsOk) && header.status == Status::PARTIAL {
        header.status = Status::OK;
    }
    if is(Wrong::EpochMissing) && header.operation == Operation::MAP {
        header.epoch = 0;
    }
    if is(Wrong::StatusDiffers) { Status::OK } else { header.status }
}

fn record(operation: Operation, entry: &mut Entry) {
    let ok = entry.status == Status::OK;
    match operation {
        _ if is(Wrong::InFieldChanged) => entry.index ^= 1,
        _ if is(Wrong::FailedHasPair) && !ok => entry.address = 0xfee0_0010,
        _ if !ok => {}
        Operation::MAP if is(Wrong::PairOfAnotherEntry) => entry.address += 1 << 5,
        Operation::MAP if is(Wrong::OnePairForAll) => entry.address &= !0xf_ffe0,
        Operation::MAP if is(Wrong::ExistingUnsaid) => entry.state &= !EntryState::EXISTING.bits(),
        Operation::RETARGET if is(Wrong::RetargetNewPair) => entry.address += 1 << 5,
        Operation::QUERY if is(Wrong::QueryForgets) => entry.routing.vector ^= 1,
        _ => {}
    }
}

/// Reads the header again, a little later.
pub(crate) fn header_again(ram: &dyn GuestRam, at: GuestPhysAddr, header: &mut Header) {
    if is(Wrong::HeaderReadTwice) {
        std::thread::sleep(std::time::Duration::from_micros(50));
        // It was RAM a moment ago.
        let _ = ram.read(at, header.as_mut_bytes());
    }
}

/// The routing that is judged in place of the one that was asked for.
pub(crate) fn routing(mut asked: Routing) -> Routing {
    if is(Wrong::VectorFive) && asked.vector < 32 {
        asked.vector += 32;
    }
    if is(Wrong::BroadcastTaken) && asked.destination == u32::MAX {
        asked.destination = 0;
    }
    asked
}

/// Drops what waits in the eventfds of an IRTE.
pub(crate) fn lose(irte: &Irte) {
    irte.eventfds().for_each(|eventfd| {
        // Nothing may be in it.
        let _ = eventfd.read();
    });
}
