//! `hvm_start_info`, version 0 and 1, of the Xen x86/HVM direct boot ABI (public/arch-x86/hvm/start_info.h).
//!
//! Everything is copied out at once: the VMM's structures lie in low memory that is used for other things later.

use crate::machine::memory::physical;
use core::fmt;
use pvir_test_kernel::cmdline::CommandLine;
use spin::{Mutex, MutexGuard};

const MAGIC: u32 = 0x336e_c578;
const MAX_TEXT: usize = 4096;
const MAX_REGIONS: usize = 32;
const TYPE_RAM: u32 = 1;

/// A range of guest RAM: first byte, and the first behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What the VMM told.
#[derive(Debug)]
pub(crate) struct BootInfo {
    pub(crate) command_line: CommandLine<'static>,
    /// Address of ACPI's root pointer; 0 when there is none.
    pub(crate) rsdp: u64,
    regions: [Region; MAX_REGIONS],
    region_count: usize,
}

impl BootInfo {
    /// The ranges of RAM.
    pub(crate) fn ram(&self) -> &[Region] {
        &self.regions[..self.region_count]
    }
}

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartInfoError {
    Unreadable(u64),
    Magic(u32),
    NoMemoryMap,
    CommandLine,
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(at) => write!(f, "hvm_start_info: {at:#x} is not in memory"),
            Self::Magic(found) => {
                write!(
                    f,
                    "hvm_start_info: magic is {found:#x}, not {MAGIC:#x} (help: boot this kernel by PVH)"
                )
            }
            Self::NoMemoryMap => {
                write!(f, "hvm_start_info: no RAM in the memory map (help: version 1 is needed)")
            }
            Self::CommandLine => write!(f, "command line: not ASCII, or {MAX_TEXT} bytes or more"),
        }
    }
}

static TEXT: Mutex<[u8; MAX_TEXT]> = Mutex::new([0; MAX_TEXT]);

/// Copies out the structure at `address`.
pub(crate) fn read(address: u64) -> Result<BootInfo, StartInfoError> {
    let magic = read_u32(address)?;
    if magic != MAGIC {
        return Err(StartInfoError::Magic(magic));
    }
    let version = read_u32(address + 4)?;
    let mut boot = BootInfo {
        command_line: read_command_line(read_u64(address + 24)?)?,
        rsdp: read_u64(address + 32)?,
        regions: [Region::default(); MAX_REGIONS],
        region_count: 0,
    };
    if version >= 1 {
        read_memory_map(&mut boot, read_u64(address + 40)?, read_u32(address + 48)?)?;
    }
    if boot.region_count == 0 { Err(StartInfoError::NoMemoryMap) } else { Ok(boot) }
}

fn read_memory_map(boot: &mut BootInfo, map: u64, entries: u32) -> Result<(), StartInfoError> {
    for entry in 0..u64::from(entries) {
        let at = map.wrapping_add(entry * 24);
        let (start, size, kind) =
            (read_u64(at)?, read_u64(at.wrapping_add(8))?, read_u32(at.wrapping_add(16))?);
        let Some(end) = start.checked_add(size) else { continue };
        if kind == TYPE_RAM && size > 0 && boot.region_count < MAX_REGIONS {
            boot.regions[boot.region_count] = Region { start, end };
            boot.region_count += 1;
        }
    }
    Ok(())
}

fn read_command_line(address: u64) -> Result<CommandLine<'static>, StartInfoError> {
    let text = MutexGuard::leak(TEXT.try_lock().ok_or(StartInfoError::CommandLine)?);
    let length = if address == 0 { 0 } else { copy_text(address, text)? };
    let text = text.get(..length).ok_or(StartInfoError::CommandLine)?;
    core::str::from_utf8(text).map(CommandLine::new).map_err(|_| StartInfoError::CommandLine)
}

/// Copies the text up to its zero; returns its length.
fn copy_text(address: u64, text: &mut [u8; MAX_TEXT]) -> Result<usize, StartInfoError> {
    for (length, at) in (0..MAX_TEXT).zip(address..) {
        let mut byte = [0];
        if !physical::read(at, &mut byte) {
            return Err(StartInfoError::Unreadable(at));
        }
        if byte[0] == 0 {
            return Ok(length);
        }
        text[length] = byte[0];
    }
    Err(StartInfoError::CommandLine)
}

fn read_u32(address: u64) -> Result<u32, StartInfoError> {
    let mut bytes = [0; 4];
    if physical::read(address, &mut bytes) {
        Ok(u32::from_le_bytes(bytes))
    } else {
        Err(StartInfoError::Unreadable(address))
    }
}

fn read_u64(address: u64) -> Result<u64, StartInfoError> {
    Ok(u64::from(read_u32(address)?) | u64::from(read_u32(address.wrapping_add(4))?) << 32)
}
