//! The PVH entry point in a kernel's notes.
//!
//! A note is three words of 32 bits (lengths of name and descriptor, type), then name and descriptor, each padded. In what
//! way they are padded is disputed: the specification (System V ABI, chapter 5 "Note Section") has 4 bytes, and 8 for
//! ELF64; what linkers write are 4 bytes, and in a segment of alignment 8 the end of the name and that of the descriptor
//! at multiples of 8; some loaders pad name and descriptor to 8 by themselves. The alignment in the program header does
//! not tell these apart. So each reading is tried, and the first one in which the note is found counts.

const HEADER: usize = 12;
const NAME: &[u8] = b"Xen\0";
/// `XEN_ELFNOTE_PHYS32_ENTRY` (Xen, xen/include/public/elfnote.h).
const ENTRY: u32 = 18;

/// Where the descriptor of a note begins, and where the next note does, from the lengths of name and descriptor.
type Reading = fn(usize, usize) -> Option<(usize, usize)>;

const READINGS: [Reading; 3] = [
    |name, descriptor| {
        let start = HEADER.checked_add(name)?.checked_next_multiple_of(4)?;
        Some((start, start.checked_add(descriptor)?.checked_next_multiple_of(4)?))
    },
    |name, descriptor| {
        let start = HEADER.checked_add(name)?.checked_next_multiple_of(8)?;
        Some((start, start.checked_add(descriptor)?.checked_next_multiple_of(8)?))
    },
    |name, descriptor| {
        let start = HEADER.checked_add(name.checked_next_multiple_of(8)?)?;
        Some((start, start.checked_add(descriptor.checked_next_multiple_of(8)?)?))
    },
];

/// The entry point in a segment of notes. It is an address of 32 bits, whatever the length of the descriptor.
pub(super) fn pvh_entry(notes: &[u8]) -> Option<u64> {
    READINGS.iter().find_map(|reading| find(notes, *reading))
}

fn find(mut notes: &[u8], reading: Reading) -> Option<u64> {
    loop {
        let (name, descriptor, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let (name, descriptor) = (usize::try_from(name).ok()?, usize::try_from(descriptor).ok()?);
        let (start, next) = reading(name, descriptor)?;
        let named = name == NAME.len() && notes.get(HEADER..HEADER + name) == Some(NAME);
        if kind == ENTRY && named && descriptor >= 4 {
            return word(notes, start).map(u64::from);
        }
        // The padding of the last one may be missing.
        notes = notes.get(next..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, descriptor: &[u8], pad: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in [name.len(), descriptor.len()] {
            bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
        }
        bytes.extend(kind.to_le_bytes());
        bytes.extend(name);
        pad(&mut bytes);
        bytes.extend(descriptor);
        pad(&mut bytes);
        bytes
    }

    fn padded(to: usize) -> impl Fn(&mut Vec<u8>) {
        move |bytes| bytes.resize(bytes.len().next_multiple_of(to), 0)
    }

    #[test]
    fn the_entry_is_found_with_every_padding() {
        for to in [4, 8] {
            for other in 0..10 {
                let notes = [
                    note(b"GNU\0", 5, &vec![7; other], padded(to)),
                    note(b"longer\0", ENTRY, &[9; 4], padded(to)),
                    note(NAME, 6, &[1, 2, 3], padded(to)),
                    note(NAME, ENTRY, &0x10_0200_u32.to_le_bytes(), padded(to)),
                ];
                assert_eq!(pvh_entry(&notes.concat()), Some(0x10_0200), "{other} bytes, padded to {to}");
            }
        }
    }

    #[test]
    fn the_entry_is_found_where_name_and_descriptor_are_padded_by_themselves() {
        let mut bytes = vec![];
        for (kind, descriptor) in [(5_u32, 3_u32), (ENTRY, 8)] {
            [4, descriptor, kind].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
            bytes.extend(NAME);
            bytes.extend([0; 4]);
            bytes.extend(0x20_0000_u64.to_le_bytes());
        }
        assert_eq!(pvh_entry(&bytes), Some(0x20_0000));
    }

    #[test]
    fn a_descriptor_of_64_bits_and_a_last_note_without_padding_do() {
        let long = note(NAME, ENTRY, &0x1234_0010_0000_u64.to_le_bytes(), padded(4));
        assert_eq!(pvh_entry(&long), Some(0x10_0000), "32 bits of it");
        assert_eq!(pvh_entry(&note(NAME, ENTRY, &[1, 2, 3, 4], |_| {})), Some(0x0403_0201));
    }

    #[test]
    fn what_is_no_such_note_or_damaged_is_not_found() {
        let note = |name, kind, descriptor| note(name, kind, descriptor, padded(4));
        assert_eq!(pvh_entry(&[]), None);
        assert_eq!(pvh_entry(&note(b"Xen", ENTRY, &[0; 4])), None);
        assert_eq!(pvh_entry(&note(NAME, ENTRY, &[0; 2])), None, "too short");
        assert_eq!(pvh_entry(&note(NAME, 1, &[0; 4])), None);
        let mut huge = note(NAME, 1, &[0; 4]);
        huge[..8].fill(0xff);
        assert_eq!(pvh_entry(&huge), None);
        assert_eq!(pvh_entry(&[0; 12 * 1000]), None, "it comes to an end");
    }
}
