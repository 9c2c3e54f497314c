//! The kernel file, looked at before it is loaded, so that each way in which it is wrong has its own message.

use super::notes;
use crate::vm::layout;
use crate::vm::memory::GuestRange;

const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const SHARED_OBJECT: u16 = 3;
const I386: u16 = 3;
const X86_64: u16 = 62;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// `e_phnum` of a file whose number of program headers stands in `sh_info` of its first section header.
const MANY: u16 = 0xffff;

/// What is wrong with a kernel file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ElfError {
    #[error("it is not an ELF file\nhelp: give an uncompressed vmlinux, not a bzImage")]
    NotElf,
    #[error("it is an ELF file of class {0}, neither ELF32 nor ELF64")]
    Class(u8),
    #[error("it is a big-endian ELF file (EI_DATA {0}), so not for x86")]
    BigEndian(u8),
    #[error("it is an ELF file for another machine (e_machine {0}), not for x86")]
    Machine(u16),
    #[error("it is an ELF file, but not an executable one (e_type {0})")]
    Type(u16),
    #[error("it is cut off or damaged: {0} lies outside of the file")]
    Truncated(&'static str),
    #[error("its program headers have {0} bytes each, at least {1} were expected")]
    HeaderSize(u64, usize),
    #[error(
        "it has no PVH note (a note \"Xen\" of type 18), so its entry point is not known\nhelp: a Linux kernel has it \
         with CONFIG_PVH=y"
    )]
    NoEntry,
    #[error("its PVH entry point {0:#x} is not in guest memory")]
    Entry(u64),
    #[error("it has no segment to load")]
    Empty,
    #[error("its segment {0:#x}..{1:#x} does not fit into guest memory{2}")]
    DoesNotFit(u64, u64, &'static str),
    #[error("its segment {0:#x}..{1:#x} covers {2:#x}..{3:#x}, where the VMM puts boot information")]
    Reserved(u64, u64, u64, u64),
}

/// A kernel as it goes into guest memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel<'a> {
    /// Where the boot CPU starts, by the PVH note.
    pub(crate) entry: u64,
    /// Guest physical addresses, and what is there. Behind that a segment is zero, as guest memory is.
    pub(crate) segments: Vec<(u64, &'a [u8])>,
    /// The end of the loaded kernel.
    pub(crate) end: u64,
}

/// Where the fields of a file's headers are, by its class (Tool Interface Standard, Portable Formats Specification 1.1,
/// "ELF Header" and "Program Header"; System V ABI, edition 4.1, chapters 4 and 5).
struct Form {
    header: usize,
    phoff: usize,
    shoff: usize,
    phentsize: usize,
    phnum: usize,
    section_info: usize,
    program_header: usize,
    offset: usize,
    address: usize,
    in_file: usize,
    in_memory: usize,
    wide: bool,
}

const FORM_32: Form = Form {
    header: 52,
    phoff: 28,
    shoff: 32,
    phentsize: 42,
    phnum: 44,
    section_info: 28,
    program_header: 32,
    offset: 4,
    address: 12,
    in_file: 16,
    in_memory: 20,
    wide: false,
};

const FORM_64: Form = Form {
    header: 64,
    phoff: 32,
    shoff: 40,
    phentsize: 54,
    phnum: 56,
    section_info: 44,
    program_header: 56,
    offset: 8,
    address: 24,
    in_file: 32,
    in_memory: 40,
    wide: true,
};

/// A program header: the range of the file and that of memory.
struct ProgramHeader {
    kind: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
}

/// Checks the file's headers against the guest's memory.
pub(crate) fn parse<'a>(file: &'a [u8], ram: &[GuestRange]) -> Result<Kernel<'a>, ElfError> {
    let form = form(file)?;
    let headers = program_headers(file, form)?;
    // Without an entry nothing else matters, and it says more: a program for Linux has none.
    let notes = headers.iter().filter(|header| header.kind == NOTE);
    let entry = notes
        .filter_map(|header| content(file, header))
        .find_map(notes::pvh_entry)
        .ok_or(ElfError::NoEntry)?;
    let mut segments = Vec::new();
    let mut end = None;
    for header in headers.iter().filter(|header| header.kind == LOAD && header.in_memory > 0) {
        end = end.max(Some(check_segment(header, ram)?.end()));
        segments.push((
            header.address,
            content(file, header).ok_or(ElfError::Truncated("the content of a segment"))?,
        ));
    }
    let end = end.ok_or(ElfError::Empty)?;
    if !ram.iter().any(|range| range.start <= entry && entry < range.end()) {
        return Err(ElfError::Entry(entry));
    }
    Ok(Kernel { entry, segments, end })
}

fn form(file: &[u8]) -> Result<&'static Form, ElfError> {
    if file.get(..4) != Some(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let (class, order) = (byte(file, 4), byte(file, 5));
    let form = match class {
        CLASS_32 => &FORM_32,
        CLASS_64 => &FORM_64,
        _ => return Err(ElfError::Class(class)),
    };
    if order != LITTLE_ENDIAN {
        return Err(ElfError::BigEndian(order));
    }
    if file.len() < form.header {
        return Err(ElfError::Truncated("its header"));
    }
    let (kind, machine) = (u16_at(file, 16), u16_at(file, 18));
    if machine != X86_64 && (machine != I386 || form.wide) {
        return Err(ElfError::Machine(machine));
    }
    if kind != EXECUTABLE && kind != SHARED_OBJECT {
        return Err(ElfError::Type(kind));
    }
    Ok(form)
}

fn program_headers(file: &[u8], form: &Form) -> Result<Vec<ProgramHeader>, ElfError> {
    let truncated = ElfError::Truncated("its program header table");
    let size = usize::from(u16_at(file, form.phentsize));
    let count = match u16_at(file, form.phnum) {
        MANY => {
            let section = form.word(file, form.shoff);
            let info = usize::try_from(section).ok().and_then(|at| at.checked_add(form.section_info));
            u32_at(file, info.ok_or(ElfError::Truncated("its section header table"))?)
        }
        count => count.into(),
    };
    if count == 0 {
        return Ok(Vec::new());
    }
    if size < form.program_header {
        return Err(ElfError::HeaderSize(size as u64, form.program_header));
    }
    let start = usize::try_from(form.word(file, form.phoff)).unwrap_or(usize::MAX);
    let end = (count as usize).checked_mul(size).and_then(|length| start.checked_add(length));
    let headers = end.and_then(|end| file.get(start..end)).ok_or(truncated)?;
    let header = |bytes: &[u8]| ProgramHeader {
        kind: u32_at(bytes, 0),
        offset: form.word(bytes, form.offset),
        address: form.word(bytes, form.address),
        in_file: form.word(bytes, form.in_file),
        in_memory: form.word(bytes, form.in_memory),
    };
    Ok(headers.chunks_exact(size).map(header).collect())
}

/// What the file has of a segment; `None` if that is not inside of the file. Headers of other kinds than those that are
/// used may hold anything, those of PT_NULL by definition.
fn content<'a>(file: &'a [u8], header: &ProgramHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(header.offset).ok()?;
    let end = start.checked_add(usize::try_from(header.in_file).ok()?)?;
    // An empty one may be anywhere.
    if start == end { Some(&[]) } else { file.get(start..end) }
}

/// The range of a segment that is loaded.
fn check_segment(header: &ProgramHeader, ram: &[GuestRange]) -> Result<GuestRange, ElfError> {
    let ProgramHeader { address, in_file, in_memory, .. } = *header;
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
    Ok(segment)
}

/// What the VMM writes, or does not tell the guest of.
pub(super) const RESERVED: [GuestRange; 3] = [
    GuestRange { start: layout::START_INFO, size: 0x2000 },
    GuestRange { start: layout::COMMAND_LINE, size: layout::COMMAND_LINE_SIZE },
    GuestRange { start: layout::LOW_RAM_END, size: layout::HIGH_RAM - layout::LOW_RAM_END },
];

impl Form {
    /// An address, an offset or a size.
    fn word(&self, bytes: &[u8], at: usize) -> u64 {
        if self.wide { u64_at(bytes, at) } else { u32_at(bytes, at).into() }
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    field(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    field(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    field(bytes, at).map_or(0, u64::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
