//! What was saved, and somebody has changed since: the file, the library's state, and a function of the test device.

use crate::calls::{call, likely};
use crate::devices::test_device;
use crate::input::{Input, edit};
use crate::machine::{Machine, device};
use anyhow::{Context, Result, ensure};
use pvir_abi::{EntryRecord, Store};
use pvir_host::fake::Delivery;
use pvir_host::function::SavedFunction;
use pvir_host::service::{SaveOptions, SavedState};

pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => pvir::fuzz::raw_file(input.rest()),
        1 => {
            let [low, high, a0, a1, change, length] = input.bytes();
            let mut in_ram = vec![0; usize::from(length)];
            in_ram.fill_with(|| input.byte());
            let (place, at) = (u16::from_le_bytes([low, high]), u16::from_le_bytes([a0, a1]));
            pvir::fuzz::written_file(input.rest(), &in_ram, place, at.into(), change)
        }
        2 => service(&mut input),
        _ => function(&mut input),
    }
}

/// After a restore nothing is refused to the guest that the contract grants; what a saved store holds may be any message.
fn may_be_sent(sent: Delivery) -> bool {
    sent.vector >= 16
}

/// A service has been used, and is saved; the bytes are changed, and another service takes them, or does not.
fn service(input: &mut Input<'_>) -> Result<()> {
    let (before, mut granted) = (Machine::new()?, vec![EntryRecord::query(device(0), Store::MSIX, 0)]);
    for _ in 0..input.byte() % 8 {
        let block = likely(input, &granted);
        call(&before, input.byte(), &block, &mut granted)?;
        before.touch(input.byte(), input.byte(), input.byte());
    }
    let saved =
        before.service.save_with(SaveOptions::default().with_untold_resets()).context("it is not saved")?;
    let mut body = postcard::to_stdvec(&saved)?;
    edit(input, &mut body);
    let Ok(changed) = postcard::from_bytes::<SavedState>(&body) else { return Ok(()) };
    let bytes = changed.to_bytes()?;
    ensure!(SavedState::from_bytes(&bytes)? == changed, "it came back as another one");
    let machine = Machine::new()?;
    let before = machine.platform.lock().footprint();
    machine.platform.lock().expect(None);
    let restored = machine.service.restore(&changed);
    ensure!(restored.is_ok() || changed != saved, "what was saved is not restored: {restored:?}");
    ensure!(
        restored.is_ok() || machine.platform.lock().footprint() == before,
        "{restored:?}, and something was done"
    );
    machine.check(may_be_sent)?;
    let mut granted = vec![EntryRecord::query(device(0), Store::MSIX, 0)];
    for number in 0..8 {
        let steps = [0x10, 1, 0, 0, 0x51, number, 2, 0, 0x41, 1];
        let block = likely(&mut Input::new(&steps), &granted);
        call(&machine, 0, &block, &mut granted)?;
        machine.touch(number, number, number);
        machine.check(may_be_sent)?;
    }
    machine.end(may_be_sent)
}

/// The same with a function of the test device, and what is in it.
fn function(input: &mut Input<'_>) -> Result<()> {
    let machine = Machine::bare()?;
    let is_msi = input.byte() % 2 == 1;
    let before = test_device(&machine, 0, is_msi)?;
    for _ in 0..input.byte() % 8 {
        let [register, value, count] = input.bytes();
        before.bar_write(0, u64::from(register % 24) * 4, &u32::from(value).to_le_bytes());
        before.config_write(u16::from(register), &[value, count]);
    }
    before.pause();
    let saved = before.save()?;
    let mut body = postcard::to_stdvec(&saved)?;
    edit(input, &mut body);
    let Ok(changed) = postcard::from_bytes::<SavedFunction>(&body) else { return Ok(()) };
    let other = test_device(&machine, 1, is_msi)?;
    other.pause();
    let restored = other.restore(&changed);
    ensure!(restored.is_ok() || changed != saved, "what was saved is not restored: {restored:?}");
    if restored.is_ok() {
        let again = other.save()?;
        let same = other.restore(&again);
        ensure!(same.is_ok(), "what was restored is not restored again: {same:?}");
    }
    other.resume();
    for number in 0..8_u8 {
        other.bar_write(0, 0x08, &1_u32.to_le_bytes());
        other.bar_write(0, 0x0c, &u32::from(number).to_le_bytes());
        other.config_write(0x04, &[6, 0]);
        other.bar_read(0, u64::from(number) * 4, &mut [0; 4]);
    }
    machine.service.shut_down();
    Ok(())
}
