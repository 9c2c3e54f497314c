//! The emulated device: its registers, its table and its capability, while a guest maps its entries.

use crate::input::Input;
use crate::machine::{BLOCK, Machine, RAM_LEN, device};
use anyhow::{Context, Result, ensure};
use pvir_abi::{
    CallFlags, EnableRecord, EntryRecord, EventReason, Features, Header, Operation, Status, Store, Version,
};
use pvir_host::emulation::{MessageStore, MsiForm, StoreLayout};
use pvir_host::function::{BarMapper, FunctionError, MappedPart, PciFunction};
use pvir_test_device::function_with_events;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, IntoBytes};

/// Interrupts of a device at most: 6 MSI-X entries and 3 of IMS.
const INTERRUPTS: u64 = 9;
/// What the device takes for one write of RAISE grows with TIMES; a test wants it short.
const MOST_TIMES: u32 = 12;
/// Registers, as docs/emulated-device.md has them.
const TIMES: u64 = 0x08;
const SEQUENCES_LOW: u64 = 0x38;
const SEQUENCES_HIGH: u64 = 0x3c;
const RATE_ROUNDS: u64 = 0x4c;
const EVENT: u64 = 0x54;
const IDENTITY: u32 = u32::from_le_bytes(*b"PVED");

/// A VMM that maps whatever it is asked for.
struct AnyMapper;

impl BarMapper for AnyMapper {
    fn map(&self, _: u64, _: &MappedPart) -> io::Result<()> {
        Ok(())
    }

    fn unmap(&self, _: u64, _: &MappedPart) -> io::Result<()> {
        Ok(())
    }
}

/// A test device at a place of the machine.
pub(crate) fn test_device(machine: &Machine, number: u8, is_msi: bool) -> Result<Arc<PciFunction>> {
    let form = MsiForm { wide: true, maskable: true };
    let layout = match is_msi {
        true => StoreLayout::new(MessageStore::Msi(form), 4, 0)?,
        false => StoreLayout::new(MessageStore::Msix, 6, 3)?,
    };
    let first = u32::from(number) * 64;
    let handles = first..first + layout.handles();
    let (ram, service) = (machine.ram.clone(), &machine.service);
    let (new, _) = function_with_events(device(number), layout, &handles, ram, Arc::new(AnyMapper), service)?;
    Ok(new.attach(service)?)
}

/// What has come of what the guest has written.
#[derive(Default)]
struct Written {
    /// The lower half of the place at which a device is to put its sequence numbers.
    low: [u32; 2],
    /// Where a device may write: at each place that it was told.
    bases: Vec<u64>,
    /// Devices that have gone, by EVENT: the VM does not have them.
    gone: [bool; 2],
}

impl Written {
    /// A reset is refused if the device has gone, and not otherwise; what it resets is as at the start.
    fn reset(&mut self, function: &PciFunction, which: usize) -> Result<()> {
        let result = function.reset();
        let mut config = [0; 4];
        function.config_read(0, &mut config);
        if self.gone[which] {
            let refused = matches!(&result, Err(FunctionError::Device { source, .. }) if source.kind() == ErrorKind::NotFound);
            ensure!(refused, "the reset of a device that has gone: {result:?}");
            ensure!(config == [0xff; 4], "a device that was not reset shows {config:x?}");
        } else {
            result?;
            ensure!(config != [0xff; 4], "a device that was reset does not answer");
            self.low[which] = 0;
        }
        Ok(())
    }

    /// The guest's own reset, which is told by no error. A device that has gone keeps its registers.
    fn see_guest_reset(&mut self, function: &PciFunction, which: usize) {
        let mut low = [0; 4];
        function.bar_read(0, SEQUENCES_LOW, &mut low);
        if low == [0; 4] {
            self.low[which] = 0;
        }
    }
}

pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let machine = Machine::bare()?;
    let functions = [test_device(&machine, 0, false)?, test_device(&machine, 1, true)?];
    let mut written = Written::default();
    machine.ram.write_slice(&[0x5a; RAM_LEN], GuestAddress(0))?;
    machine.platform.lock().expect(None);
    let mut granted = Vec::new();
    while !input.is_empty() {
        let what = input.byte();
        let which = usize::from(what >> 4 & 1);
        let function = &functions[which];
        match what % 16 {
            0..5 => register(function, which, &mut input, &mut written),
            5..7 => read(function, &mut input)?,
            7 | 8 => {
                let [low, high] = input.bytes();
                let offset = u64::from(u16::from_le_bytes([low, high])) % 0x2000;
                let data: [u8; 8] = input.bytes();
                function.bar_write(2, offset, &data[..usize::from(data[7] % 9)]);
            }
            9 | 10 => {
                let [offset, low, high] = input.bytes();
                let offset = if low & 0x80 == 0 {
                    [4, 0x42, 0x44, 0x48, 0x4c, 0x50, 0x70][usize::from(offset) % 7]
                } else {
                    offset
                };
                function.config_write(offset.into(), &[low, high]);
                written.see_guest_reset(function, which);
            }
            11 => {
                function.pause();
                let saved = function.save()?;
                function.resume();
                let _ = postcard::to_stdvec(&saved)?;
            }
            12 => written.reset(function, which)?,
            _ => call(&machine, &mut input, &mut granted)?,
        }
        machine.check(|_| true)?;
    }
    // Before RAM is looked at: their threads end with them.
    for function in &functions {
        function.bar_write(0, 0x50, &[0; 4]);
        function.pause();
    }
    check_ram(&machine, &written)?;
    drop(functions);
    machine.end(|_| true)
}

fn register(function: &PciFunction, which: usize, input: &mut Input<'_>, written: &mut Written) {
    let what = input.byte();
    let offset = if what & 0x80 == 0 {
        u64::from(what % 24) * 4
    } else {
        u64::from(input.byte()) | u64::from(what & 0x10) << 8
    };
    let value = match input.byte() % 4 {
        0 => input.number(),
        // In RAM, or at its end.
        1 => u32::from(input.byte()) << 9,
        2 => input.number() & !7,
        _ => u32::from(input.byte() % 10),
    };
    let value = match offset {
        TIMES | RATE_ROUNDS => value.min(MOST_TIMES),
        _ => value,
    };
    let width = if what & 0x60 == 0x60 { usize::from(input.byte() % 9) } else { 4 };
    if width == 4 && offset == SEQUENCES_LOW {
        written.low[which] = value;
    }
    if width == 4 && offset == SEQUENCES_HIGH {
        written.bases.push(u64::from(value) << 32 | u64::from(written.low[which]));
    }
    if width == 4 && offset == EVENT {
        let reason = EventReason(value);
        written.gone[which] =
            reason == EventReason::DEVICE_GONE || written.gone[which] && reason != EventReason::NONE;
    }
    let data = [value.to_le_bytes(), value.to_le_bytes()].concat();
    function.bar_write(0, offset, &data[..width]);
}

fn read(function: &PciFunction, input: &mut Input<'_>) -> Result<()> {
    let [bar, low, high, width] = input.bytes();
    let mut data = [0x5a; 10];
    function.bar_read(
        bar % 7,
        u64::from(u16::from_le_bytes([low, high])) % 0x2000,
        &mut data[..usize::from(width % 9)],
    );
    function.config_read(u16::from_le_bytes([high, low]), &mut data[..usize::from(width % 9)]);
    let mut identity = [0; 4];
    function.bar_read(0, 0, &mut identity);
    ensure!(u32::from_le_bytes(identity) == IDENTITY, "the device is another one: {identity:x?}");
    function.bar_read(0, EVENT, &mut identity);
    Ok(())
}

/// A guest's call, which the contract grants or not.
fn call(machine: &Machine, input: &mut Input<'_>, granted: &mut Vec<EntryRecord>) -> Result<()> {
    let [what, number, index, vector, count] = input.bytes();
    let operations = [
        Operation::ENABLE,
        Operation::MAP,
        Operation::MAP,
        Operation::UNMAP,
        Operation::RETARGET,
        Operation::DISABLE,
    ];
    let operation = operations[usize::from(what) % operations.len()];
    let mut entry = EntryRecord::query(
        device(number % 2),
        [Store::MSIX, Store::IMS, Store::MSI][usize::from(what >> 4) % 3],
        u32::from(index % 10),
    );
    entry.count = u32::from(count % 5);
    let lately = granted.get(usize::from(index) % granted.len().max(1)).copied();
    if let Some(lately) = lately.filter(|_| operation != Operation::MAP) {
        entry = EntryRecord::query(lately.device, lately.store, lately.index).with_handle(lately.handle);
        entry.count = lately.count;
    }
    if matches!(operation, Operation::MAP | Operation::RETARGET) {
        entry.as_mut_bytes()[10] = 1;
        entry.as_mut_bytes()[36] = vector | 0x20;
    }
    let features = Features::MSI | Features::MSIX | Features::IMS | Features::MSI_MULTI | Features::PARKING;
    let enable = EnableRecord::request(features, None);
    let record = match operation {
        Operation::ENABLE => Some(enable.as_bytes()),
        Operation::DISABLE => None,
        _ => Some(entry.as_bytes()),
    };
    let header = Header::request(Version::V1, operation, CallFlags::empty(), record.map_or(0, |_| 1));
    machine.ram.write_slice(header.as_bytes(), GuestAddress(BLOCK))?;
    machine.ram.write_slice(record.unwrap_or_default(), GuestAddress(BLOCK + 64))?;
    let status = machine.call(number);
    let mut answer = [0; 64];
    machine.ram.read_slice(&mut answer, GuestAddress(BLOCK + 64))?;
    if operation == Operation::MAP && status == Status::OK {
        granted.push(EntryRecord::read_from_bytes(&answer[..]).ok().context("no record")?);
    }
    if matches!(operation, Operation::DISABLE) {
        granted.clear();
    }
    Ok(())
}

/// RAM is as it was but for the request block and the sequence numbers.
fn check_ram(machine: &Machine, written: &Written) -> Result<()> {
    let mut ram = vec![0; RAM_LEN];
    machine.ram.read_slice(&mut ram, GuestAddress(0))?;
    let of_a_base =
        |at: u64| written.bases.iter().any(|base| (*base..base.saturating_add(8 * INTERRUPTS)).contains(&at));
    for (at, byte) in (0_u64..).zip(ram) {
        let is_block = (BLOCK..BLOCK + 128).contains(&at);
        ensure!(byte == 0x5a || is_block || of_a_base(at), "the device has written {byte:#x} at {at:#x}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_has_gone_is_not_reset_and_is_once_it_has_come_back() {
        let machine = Machine::bare().unwrap();
        let function = test_device(&machine, 0, false).unwrap();
        let event = |reason: EventReason| function.bar_write(0, EVENT, &reason.0.to_le_bytes());
        let times = || {
            let mut times = [0; 4];
            function.bar_read(0, TIMES, &mut times);
            u32::from_le_bytes(times)
        };
        function.bar_write(0, TIMES, &5_u32.to_le_bytes());
        let mut written = Written { gone: [true, false], ..Written::default() };
        event(EventReason::DEVICE_GONE);
        written.reset(&function, 0).unwrap();
        assert_eq!(times(), 5, "it was reset");
        event(EventReason::NONE);
        written.gone = [false; 2];
        written.reset(&function, 0).unwrap();
        assert_eq!(times(), 1);
        machine.end(|_| true).unwrap();
    }
}
