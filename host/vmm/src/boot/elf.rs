//! The kernel file, looked at before it is loaded, so that each way in which it is wrong has its own message.

use crate::vm::layout;
use crate::vm::memory::GuestRange;

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const SHARED_OBJECT: u16 = 3;
const X86_64: u16 = 62;
const LOAD: u32 = 1;

/// What is wrong with a kernel file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ElfError {
    #[error("it is not an ELF file\nhelp: give an uncompressed vmlinux, not a bzImage")]
    NotElf,
    #[error(
        "it is a 32-bit ELF file, but a guest kernel is ELF64\nhelp: convert it with `objcopy -O elf64-x86-64`"
    )]
    Elf32,
    #[error("it is an ELF file for another machine (e_machine {0}), not for x86-64")]
    Machine(u16),
    #[error("it is an ELF file, but not an executable one (e_type {0})")]
    Type(u16),
    #[error("it is cut off or damaged: {0} lies outside of the file")]
    Truncated(&'static str),
    #[error("it has no segment to load")]
    Empty,
    #[error("its segment {0:#x}..{1:#x} does not fit into guest memory{2}")]
    DoesNotFit(u64, u64, &'static str),
    #[error("its segment {0:#x}..{1:#x} covers {2:#x}..{3:#x}, where the VMM puts boot information")]
    Reserved(u64, u64, u64, u64),
}

/// Checks the file's headers against the guest's memory. Gives the end of the loaded kernel.
pub(crate) fn check(file: &[u8], ram: &[GuestRange]) -> Result<u64, ElfError> {
    if file.get(..4) != Some(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    if file.get(4) != Some(&CLASS_64) {
        return Err(ElfError::Elf32);
    }
    if file.len() < HEADER_SIZE {
        return Err(ElfError::Truncated("its header"));
    }
    let machine = u16_at(file, 18);
    if machine != X86_64 || file.get(5) != Some(&LITTLE_ENDIAN) {
        return Err(ElfError::Machine(machine));
    }
    let kind = u16_at(file, 16);
    if kind != EXECUTABLE && kind != SHARED_OBJECT {
        return Err(ElfError::Type(kind));
    }
    let mut end = None;
    for header in program_headers(file)? {
        if let Some(segment) = check_segment(file, header, ram)? {
            end = end.max(Some(segment.end()));
        }
    }
    end.ok_or(ElfError::Empty)
}

fn program_headers(file: &[u8]) -> Result<impl Iterator<Item = &[u8]>, ElfError> {
    let count = usize::from(u16_at(file, 56));
    let start = usize::try_from(u64_at(file, 32)).unwrap_or(usize::MAX);
    let end = start.saturating_add(count * PROGRAM_HEADER_SIZE);
    let headers = file.get(start..end).ok_or(ElfError::Truncated("its program header table"))?;
    Ok(headers.chunks_exact(PROGRAM_HEADER_SIZE))
}

/// The range of a segment that is loaded.
fn check_segment(file: &[u8], header: &[u8], ram: &[GuestRange]) -> Result<Option<GuestRange>, ElfError> {
    let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let (offset, address, in_file, in_memory) =
        (u64_at(header, 8), u64_at(header, 24), u64_at(header, 32), u64_at(header, 40));
    let file_end = offset.checked_add(in_file);
    if file_end.is_none_or(|end| end > file.len() as u64) {
        return Err(ElfError::Truncated("the content of a segment"));
    }
    if kind != LOAD || in_memory == 0 {
        return Ok(None);
    }
    if in_file > in_memory {
        return Err(ElfError::Truncated("a segment that is larger in the file than in memory: its end"));
    }
    let segment = GuestRange::new(address, in_memory);
    let inside = |range: &GuestRange| {
        range.start <= address && address.checked_add(in_memory).is_some_and(|end| end <= range.end())
    };
    if !ram.iter().any(inside) {
        let remedy = if address < layout::HOLE_START { "\nhelp: use a larger --memory" } else { "" };
        return Err(ElfError::DoesNotFit(address, segment.end(), remedy));
    }
    if let Some(taken) = RESERVED.iter().find(|taken| taken.overlaps(&segment)) {
        return Err(ElfError::Reserved(address, segment.end(), taken.start, taken.end()));
    }
    Ok(Some(segment))
}

/// What the VMM writes, or does not tell the guest of.
const RESERVED: [GuestRange; 3] = [
    GuestRange { start: layout::START_INFO, size: 0x2000 },
    GuestRange { start: layout::COMMAND_LINE, size: layout::COMMAND_LINE_SIZE },
    GuestRange { start: layout::LOW_RAM_END, size: layout::HIGH_RAM - layout::LOW_RAM_END },
];

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|field| field.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: [GuestRange; 1] = [GuestRange { start: 0, size: 16 << 20 }];

    fn elf(address: u64, in_memory: u64) -> Vec<u8> {
        let mut file = vec![0; HEADER_SIZE + PROGRAM_HEADER_SIZE];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 2;
        file[18] = 62;
        file[32] = 64;
        file[56] = 1;
        file[64] = 1;
        file[64 + 24..64 + 32].copy_from_slice(&address.to_le_bytes());
        file[64 + 40..64 + 48].copy_from_slice(&in_memory.to_le_bytes());
        file
    }

    #[test]
    fn a_kernel_that_fits_is_accepted_with_its_end() {
        assert_eq!(check(&elf(0x10_0000, 0x5000), &RAM), Ok(0x10_5000));
    }

    #[test]
    fn each_kind_of_wrong_file_has_its_own_error() {
        let mut other_machine = elf(0x10_0000, 1);
        other_machine[18] = 183;
        let mut object = elf(0x10_0000, 1);
        object[16] = 1;
        let mut no_segment = elf(0x10_0000, 1);
        no_segment[56] = 0;
        let mut cut = elf(0x10_0000, 1);
        cut.truncate(100);
        assert_eq!(check(b"MZ", &RAM), Err(ElfError::NotElf));
        assert_eq!(check(b"\x7fELF\x01\x01", &RAM), Err(ElfError::Elf32));
        assert_eq!(check(&other_machine, &RAM), Err(ElfError::Machine(183)));
        assert_eq!(check(&object, &RAM), Err(ElfError::Type(1)));
        assert_eq!(check(&no_segment, &RAM), Err(ElfError::Empty));
        assert_eq!(check(&cut, &RAM), Err(ElfError::Truncated("its program header table")));
    }

    #[test]
    fn a_segment_beyond_memory_or_around_the_address_space_does_not_fit() {
        assert!(matches!(check(&elf(0xff_f000, 0x2000), &RAM), Err(ElfError::DoesNotFit(..))));
        assert!(matches!(check(&elf(u64::MAX - 5, 0x2000), &RAM), Err(ElfError::DoesNotFit(..))));
    }

    #[test]
    fn a_segment_over_boot_information_is_refused() {
        assert!(matches!(check(&elf(0x7000, 0x10), &RAM), Err(ElfError::Reserved(..))));
        assert!(matches!(check(&elf(0x9_0000, 0x10_0000), &RAM), Err(ElfError::Reserved(..))));
        assert_eq!(check(&elf(0x8000, 0x1000), &RAM), Ok(0x9000), "a trampoline may be there");
    }
}
