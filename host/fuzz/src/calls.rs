//! Request blocks. What is judged is what the contract says of every answer, whatever was asked.

use crate::input::Input;
use crate::machine::{BLOCK, Machine, device};
use anyhow::{Result, ensure};
use pvir_abi::{
    CallFlags, EntryRecord, FIRST_DEVICE_VECTOR, Handle, Header, Operation, Status, Store, Version, block_len,
};
use pvir_host::fake::Delivery;
use pvir_host::service::Event;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, IntoBytes};

/// Records of a call at most; more of them show nothing new.
const RECORDS: usize = 4;
pub(crate) const LEN: usize = block_len(4);
const _: () = assert!(LEN == 64 + RECORDS * 64);

/// MAP and RETARGET route to vCPUs that there are, by vectors of devices.
fn is_granted(sent: Delivery) -> bool {
    [0, 1, 300].contains(&sent.destination) && sent.vector >= FIRST_DEVICE_VECTOR
}

pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let machine = Machine::new()?;
    let mut granted = vec![EntryRecord::query(device(0), Store::MSIX, 0)];
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => machine.touch(input.byte(), input.byte(), input.byte()),
            1 => {
                let id = device(input.byte() % 4);
                let event = input.one_of(&[
                    Event::StalePairs(Some(id)),
                    Event::DeviceCutOff(id),
                    Event::StalePairs(None),
                ]);
                // Of a device that is not there it is refused.
                let _ = machine.service.raise(event);
                let _ = machine.service.readmit(id);
            }
            2 => call(&machine, input.byte(), &raw(&mut input), &mut granted)?,
            _ => call(&machine, input.byte(), &likely(&mut input, &granted), &mut granted)?,
        }
        machine.check(is_granted)?;
    }
    machine.end(is_granted)
}

/// Any bytes.
fn raw(input: &mut Input<'_>) -> [u8; LEN] {
    input.bytes()
}

/// A block that comes far: right in most of its fields.
pub(crate) fn likely(input: &mut Input<'_>, granted: &[EntryRecord]) -> [u8; LEN] {
    const OPERATIONS: [Operation; 8] = [
        Operation::ENABLE,
        Operation::MAP,
        Operation::MAP,
        Operation::RETARGET,
        Operation::UNMAP,
        Operation::QUERY,
        Operation::ATTACH,
        Operation::DETACH,
    ];
    let operation = match input.byte() {
        number @ 0..16 => Operation(u16::from(number)),
        number => OPERATIONS[usize::from(number) % OPERATIONS.len()],
    };
    let count = match operation {
        Operation::ENABLE | Operation::FEATURES => 1,
        Operation::DISABLE => 0,
        _ => u32::from(input.byte() % 4) + 1,
    };
    let is_entries = operation.takes_entries();
    let all_or_nothing = is_entries && operation != Operation::QUERY && input.byte() % 4 == 0;
    let flags = if all_or_nothing { CallFlags::ALL_OR_NOTHING } else { CallFlags::empty() };
    let mut block = [0; LEN];
    let header = Header::request(Version::V1, operation, flags, count);
    block[..64].copy_from_slice(header.as_bytes());
    for record in block[64..].chunks_exact_mut(64).take(count as usize) {
        let number = input.byte();
        record[..4].copy_from_slice(device(number % 4).as_bytes());
        if operation == Operation::ENABLE {
            let [low, high] = input.bytes();
            record[..4].fill(0);
            record[8..10].copy_from_slice(&[low, high & 7]);
        } else if is_entries {
            let [store, index, what, vector, destination] = input.bytes();
            // What was granted lately, or anything.
            let lately =
                granted.iter().rev().nth(usize::from(what & 3)).filter(|_| operation != Operation::MAP);
            if let Some(lately) = lately {
                record[..4].copy_from_slice(lately.device.as_bytes());
                (record[8], record[12]) = (lately.store.as_bytes()[0], lately.index.as_bytes()[0]);
                record[24..32].copy_from_slice(lately.handle.as_bytes());
            } else {
                (record[8], record[12]) = ([2, 2, 3, 1][usize::from(store & 3)], index % 9);
            }
            record[16] = 1;
            let is_routed = matches!(operation, Operation::MAP | Operation::RETARGET);
            if is_routed && what >> 6 == 0 {
                record[20] = 1;
            } else if is_routed {
                record[10] = 1;
                record[32..34]
                    .copy_from_slice(&[[0, 0], [1, 0], [0x2c, 1], [2, 0]][usize::from(destination) % 4]);
                record[36] = vector;
            }
        }
        // One byte that is something else, now and then.
        let [place, value] = input.bytes();
        if value & 0xc0 == 0xc0 {
            record[usize::from(place) % 64] ^= value;
        }
    }
    block
}

pub(crate) fn call(
    machine: &Machine,
    vcpu: u8,
    block: &[u8; LEN],
    granted: &mut Vec<EntryRecord>,
) -> Result<()> {
    let at = GuestAddress(BLOCK);
    machine.ram.write_slice(block, at)?;
    let before = machine.platform.lock().footprint();
    let asked = Header::read_from_prefix(block).map(|(header, _)| header);
    let Ok(asked) = asked else { return Ok(()) };
    machine.platform.lock().expect(None);
    let status = machine.call(vcpu);
    let mut answer = [0; LEN];
    machine.ram.read_slice(&mut answer, at)?;
    let Ok((header, _)) = Header::read_from_prefix(&answer) else { return Ok(()) };
    // B3, B4, C3.
    ensure!(status.0 < 0x40 && header.status == status, "B4, C3: {status:?} and {:?}", header.status);
    ensure!(
        answer[..16] == block[..16] && answer[32..64] == block[32..64],
        "B3: what was read came back otherwise"
    );
    let records: Vec<EntryRecord> = answer[64..]
        .chunks_exact(64)
        .filter_map(|record| EntryRecord::read_from_bytes(record).ok())
        .collect();
    let records = &records[..RECORDS.min(asked.count as usize)];
    if ![Status::OK, Status::PARTIAL, Status::ABORTED].contains(&status) {
        let untouched = if asked.operation == Operation::ENABLE { 128 } else { 64 };
        ensure!(
            header.done == 0 && answer[untouched..] == block[untouched..],
            "B4: {status:?}, and something was written"
        );
        ensure!(machine.platform.lock().footprint() == before, "B4: {status:?}, and something was done");
        return Ok(());
    }
    if (asked.count as usize) <= RECORDS {
        // O1, O2, O3.
        let done = records.iter().filter(|record| record.status == Status::OK).count();
        ensure!(header.done as usize == done, "O1: done {}, and {done} are OK", header.done);
        ensure!(
            (status == Status::OK) == (done == records.len()),
            "O2: {status:?} with {done} of {}",
            records.len()
        );
        ensure!(status != Status::ABORTED || done == 0, "O3: ABORTED with {done} done");
        ensure!(records.iter().all(|record| record.status != Status::PENDING), "a record has no answer");
    }
    let changes = !matches!(asked.operation, Operation::QUERY | Operation::FEATURES | Operation::DEVICE_INFO);
    if !changes || status == Status::ABORTED {
        ensure!(machine.platform.lock().footprint() == before, "Q1, F1, I2, O3: something has changed");
    }
    if asked.operation == Operation::MAP {
        for record in records.iter().filter(|record| record.status == Status::OK) {
            ensure!(record.handle != Handle::NONE, "H1: handle 0");
            ensure!(
                record.address >> 20 == 0xfee && record.address % 4 == 0 && record.data < 0x1_0000,
                "M9: {:?}",
                record.pair()
            );
            granted.push(*record);
        }
    }
    if asked.operation == Operation::UNMAP {
        for record in records {
            let lives = machine.service.irtes().iter().any(|irte| irte.handle == record.handle);
            ensure!(record.status != Status::OK || !lives, "U2: {:?} is alive", record.handle);
        }
    }
    Ok(())
}
