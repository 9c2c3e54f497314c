use super::*;

const RAM: [GuestRange; 1] = [GuestRange { start: 0, size: 16 << 20 }];
const ENTRY: u32 = 0x10_0000;

/// A header of the file: kind, offset, address, size in the file and in memory.
type Header = (u32, u64, u64, u64, u64);

/// A file with these headers, which have `size` bytes each, and a PVH note of its own behind them.
fn file(form: &Form, size: usize, headers: &[Header]) -> Vec<u8> {
    let note = [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), ENTRY].map(u32::to_le_bytes).concat();
    let at = form.header + (headers.len() + 1) * size;
    let own = (NOTE, at as u64, 0, note.len() as u64, 0);
    let mut file = vec![0; at];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[4] = if form.wide { CLASS_64 } else { CLASS_32 };
    file[16] = 2;
    file[18] = if form.wide { 62 } else { 3 };
    file[form.phoff] = u8::try_from(form.header).unwrap();
    file[form.phentsize] = u8::try_from(size).unwrap();
    file[form.phnum] = u8::try_from(headers.len() + 1).unwrap();
    for (index, (kind, offset, address, in_file, in_memory)) in headers.iter().chain([&own]).enumerate() {
        let header = &mut file[form.header + index * size..][..size];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        for (at, value) in [
            (form.offset, offset),
            (form.address, address),
            (form.in_file, in_file),
            (form.in_memory, in_memory),
        ] {
            let width = if form.wide { 8 } else { 4 };
            header[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    file.extend(note);
    file
}

fn elf(address: u64, in_memory: u64) -> Vec<u8> {
    file(&FORM_64, 56, &[(LOAD, 0, address, 0, in_memory)])
}

fn end(file: &[u8]) -> Result<u64, ElfError> {
    parse(file, &RAM).map(|kernel| kernel.end)
}

#[test]
fn a_kernel_that_fits_is_accepted_with_entry_content_and_end() {
    for form in [&FORM_32, &FORM_64] {
        let file = file(form, form.program_header, &[(LOAD, 0, 0x10_0000, 4, 0x5000)]);
        let kernel = parse(&file, &RAM).unwrap();
        let expected =
            Kernel { entry: ENTRY.into(), segments: vec![(0x10_0000, &b"\x7fELF"[..])], end: 0x10_5000 };
        assert_eq!(kernel, expected);
    }
}

#[test]
fn each_kind_of_wrong_file_has_its_own_error() {
    let changed = |at: usize, value: u8| {
        let mut file = elf(0x10_0000, 1);
        file[at] = value;
        end(&file)
    };
    assert_eq!(end(b"MZ"), Err(ElfError::NotElf));
    assert_eq!(end(b"\x7fELF"), Err(ElfError::Class(0)));
    assert_eq!(end(b"\x7fELF\x02\x01"), Err(ElfError::Truncated("its header")));
    assert_eq!(changed(4, 3), Err(ElfError::Class(3)));
    assert_eq!(changed(5, 2), Err(ElfError::BigEndian(2)));
    assert_eq!(changed(18, 183), Err(ElfError::Machine(183)));
    assert_eq!(changed(18, 3), Err(ElfError::Machine(3)), "in ELF64");
    assert_eq!(changed(16, 1), Err(ElfError::Type(1)));
    assert_eq!(changed(FORM_64.phentsize, 55), Err(ElfError::HeaderSize(55, 56)));
    assert_eq!(changed(FORM_64.phnum, 0), Err(ElfError::NoEntry));
    assert_eq!(end(&file(&FORM_64, 56, &[])), Err(ElfError::Empty));
    assert_eq!(end(&elf(0x10_0000, 1)[..130]), Err(ElfError::Truncated("its program header table")));
    let large = file(&FORM_64, 56, &[(LOAD, 0, 0x10_0000, 1 << 20, 1 << 20)]);
    assert_eq!(end(&large), Err(ElfError::Truncated("the content of a segment")));
    let below = elf(0x8_0000, 1);
    let entry_outside = parse(&below, &[GuestRange { start: 0, size: 1 << 20 }]);
    assert_eq!(entry_outside, Err(ElfError::Entry(ENTRY.into())));
}

#[test]
fn a_file_without_a_note_says_that_first() {
    let mut file = elf(u64::MAX - 5, 0x2000);
    let note = file.len() - 12;
    file[note] = 17;
    assert_eq!(end(&file), Err(ElfError::NoEntry), "whatever its segments are");
}

#[test]
fn what_is_not_loaded_may_say_anything() {
    let garbage = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    for kind in [0, 2, 3, 6, 7, 0x6474_e551, u32::MAX] {
        let (offset, address, in_file, in_memory) = garbage;
        let headers = [(kind, offset, address, in_file, in_memory), (LOAD, 0, 0x10_0000, 0, 0x1000)];
        assert_eq!(end(&file(&FORM_64, 56, &headers)), Ok(0x10_1000), "p_type {kind:#x}");
    }
    let nothing = [(LOAD, u64::MAX, u64::MAX, 0, 0), (LOAD, u64::MAX, 0x10_0000, 0, 0x1000)];
    assert_eq!(end(&file(&FORM_64, 56, &nothing)), Ok(0x10_1000), "empty segments");
}

#[test]
fn other_notes_and_larger_headers_do_no_harm() {
    let beside = [(NOTE, u64::MAX, 0, 8, 0), (NOTE, 0, 0, 0, 0), (LOAD, 0, 0x10_0000, 0, 0x1000)];
    assert_eq!(end(&file(&FORM_64, 64, &beside)), Ok(0x10_1000), "notes before, one outside of the file");
    let mut behind = file(&FORM_64, 56, &[(LOAD, 0, 0x10_0000, 0, 0x1000), (NOTE, 0, 0, 0, 0)]);
    let (second, third) = (64 + 56, 64 + 2 * 56);
    let own = behind[third..third + 56].to_vec();
    behind.copy_within(second..third, third);
    behind[second..third].copy_from_slice(&own);
    assert_eq!(end(&behind), Ok(0x10_1000), "an empty one behind that of PVH");
}

#[test]
fn the_number_of_headers_may_stand_in_the_first_section_header() {
    let mut file = elf(0x10_0000, 0x1000);
    let section = file.len();
    file.extend([0; 64]);
    file[FORM_64.phnum..FORM_64.phnum + 2].fill(0xff);
    file[FORM_64.shoff..FORM_64.shoff + 8].copy_from_slice(&(section as u64).to_le_bytes());
    file[section + FORM_64.section_info] = 2;
    assert_eq!(end(&file), Ok(0x10_1000));
}

#[test]
fn a_segment_beyond_memory_or_around_the_address_space_does_not_fit() {
    assert!(matches!(end(&elf(0xff_f000, 0x2000)), Err(ElfError::DoesNotFit(..))));
    assert!(matches!(end(&elf(u64::MAX - 5, 0x2000)), Err(ElfError::DoesNotFit(..))));
}

#[test]
fn a_segment_over_boot_information_is_refused() {
    assert!(matches!(end(&elf(0x7000, 0x10)), Err(ElfError::Reserved(..))));
    assert!(matches!(end(&elf(0x9_0000, 0x10_0000)), Err(ElfError::Reserved(..))));
    assert_eq!(end(&elf(0x8000, 0x1000)), Ok(0x9000), "a trampoline may be there");
}
