//! The file of a snapshot: any bytes, and one that was written here with a byte changed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, ensure};
use pvir_host::service::SavedState;
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::file::{open, write};
use super::state::MachineState;

/// Bytes of the machine's RAM.
const RAM: usize = 0x4000;

fn ram() -> Result<GuestMemoryMmap> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).context("no RAM")
}

fn new_file() -> Result<File> {
    Ok(memfd_create("snapshot", MemfdFlags::CLOEXEC).context("no file")?.into())
}

/// Reads a file of these bytes, as a restore does before it touches the machine.
///
/// # Errors
/// A state that is accepted, and comes back as another one.
pub fn raw_file(bytes: &[u8]) -> Result<()> {
    let mut file = new_file()?;
    file.write_all(bytes)?;
    file.rewind()?;
    let Ok((state, memory)) = open(file) else { return Ok(()) };
    read_state(&state)?;
    // Refused or not: it is the machine's RAM that it would be read into.
    let _ = memory.read_memory(&ram()?);
    Ok(())
}

/// What stands in the state's place is accepted, or refused.
fn read_state(state: &[u8]) -> Result<()> {
    let Ok(machine) = MachineState::from_bytes(state) else { return Ok(()) };
    let again = MachineState::from_bytes(&machine.to_bytes()?).context("it does not come back")?;
    ensure!(again.shape == machine.shape, "it came back with another shape");
    machine.shape.check(&again.shape).context("it does not fit itself")?;
    // The library's part is refused or not, whatever the checksum in front of it says.
    let _ = SavedState::from_bytes(&machine.service);
    Ok(())
}

/// Writes a file with this `state`, and RAM that holds `in_ram` at `place`. It reads back as it is, and is refused with
/// one byte of it changed: the one at `at` modulo its length, by `change` if that is not 0.
///
/// # Errors
/// What came back as another one, or a change that went unnoticed.
pub fn written_file(state: &[u8], in_ram: &[u8], place: u16, at: u64, change: u8) -> Result<()> {
    let (mut file, memory) = (new_file()?, ram()?);
    let place = usize::from(place) % RAM;
    let in_ram = &in_ram[..in_ram.len().min(RAM - place)];
    memory.write_slice(in_ram, GuestAddress(place as u64))?;
    let end = write(&mut file, state, &memory)?;
    file.rewind()?;
    let (read, opened) = open(file.try_clone()?).context("what was written is not read")?;
    ensure!(read == state, "the state came back as another one");
    let back = ram()?;
    opened.read_memory(&back).context("RAM that was written is not read")?;
    ensure!(contents(&memory)? == contents(&back)?, "RAM came back as another one");
    read_state(state)?;
    if change == 0 {
        return Ok(());
    }
    let at = at % end;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ change])?;
    file.rewind()?;
    let noticed = open(file).and_then(|(_, opened)| opened.read_memory(&ram()?)).is_err();
    ensure!(noticed, "byte {at:#x} of {end:#x} was changed by {change:#x}, and nobody has noticed");
    Ok(())
}

fn contents(memory: &GuestMemoryMmap) -> Result<Vec<u8>> {
    let mut bytes = vec![0; RAM];
    memory.read_slice(&mut bytes, GuestAddress(0))?;
    Ok(bytes)
}
