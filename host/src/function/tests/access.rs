//! Accesses to BARs of every width, across the bounds of table and pending bits.

use super::*;
use fake_pci::{ENTRIES, PBA};
use pvir_abi::Status;

/// The first byte behind the table.
const TABLE_END: u64 = ENTRIES as u64 * 16;

/// The byte that each offset of BAR3 reads as before ENABLE, of an access that is allowed everywhere: a masked table of
/// zeros, pending bits of zero, and the device.
fn expected(offset: u64) -> u8 {
    match offset {
        0..TABLE_END => u8::from(offset % 16 == 12),
        PBA..0x2008 => 0,
        _ => offset.to_le_bytes()[0],
    }
}

#[test]
fn reads_of_every_width_are_split_at_the_bounds() {
    let fixture = Fixture::decoding();
    for offset in [0, 8, TABLE_END - 8, TABLE_END - 4, PBA - 8, PBA - 4, PBA, PBA + 4, PBA + 8] {
        for len in [4, 8, 12, 16, 64] {
            let mut data = vec![0x5a; len];
            fixture.function.bar_read(3, offset, &mut data);
            let bytes: Vec<u8> = (offset..).take(len).map(expected).collect();
            // Doublewords and quadwords only: a rest of another width inside of a structure reads as ones.
            assert_eq!(data, bytes, "{len} bytes at {offset:#x}");
        }
    }
}

#[test]
fn odd_accesses_reach_the_device_beside_a_structure_and_nothing_inside() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.bar(3, TABLE_END - 1), [0xff, 0xa0], "a table takes no bytes");
    assert_eq!(fixture.bar(3, TABLE_END + 1), [0xa1]);
    fixture.pci.writes.lock().unwrap().clear();
    fixture.function.bar_write(3, TABLE_END - 2, &[1, 2, 3, 4, 5]);
    assert_eq!(*fixture.pci.writes.lock().unwrap(), [(3, TABLE_END, vec![3, 4, 5])]);
    assert_eq!(fixture.bar(3, TABLE_END - 4), [1, 0, 0, 0], "still masked, and nothing else");
}

#[test]
fn writes_across_bounds_reach_table_and_device_and_never_pending_bits() {
    let fixture = Fixture::decoding();
    fixture.function.bar_write(3, TABLE_END - 8, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]);
    assert_eq!(fixture.bar(3, TABLE_END - 8), [1, 0, 0, 0, 0, 0, 0, 0], "data, and unmasked");
    fixture.function.bar_write(3, PBA - 4, &[7; 16]);
    let writes = fixture.pci.writes.lock().unwrap();
    let expected = [(3, TABLE_END, vec![9; 4]), (3, PBA - 4, vec![7; 4]), (3, PBA + 8, vec![7; 4])];
    assert_eq!(*writes, expected);
}

#[test]
fn a_table_that_is_the_guests_own_is_the_devices_memory() {
    let fixture = Fixture::decoding();
    fixture.function.bar_write(3, 0, &[0x11; 4]);
    assert_eq!(fixture.enable(), Status::OK);
    assert_eq!(fixture.bar(3, 0), [0; 4], "the device's own, which is new");
    fixture.function.bar_write(3, 0x14, &[0x22; 8]);
    assert_eq!(fixture.bar(3, 0x10), [0, 0, 0, 0, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22]);
    assert!(fixture.pci.writes.lock().unwrap().is_empty(), "VFIO drops writes to the table");
    assert_eq!(fixture.disable(), Status::OK);
    assert_eq!(fixture.bar(3, 0x14), [0; 8]);
}

#[test]
fn registers_of_the_device_are_reached_with_one_access() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.bar(0, 0x1234), [0x34, 0x35, 0x36, 0x37]);
    fixture.function.bar_write(0, 8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(*fixture.pci.reads.lock().unwrap(), [(0, 0x1234, 4)]);
    assert_eq!(*fixture.pci.writes.lock().unwrap(), [(0, 8, vec![1, 2, 3, 4, 5, 6, 7, 8])]);
    assert_eq!(fixture.bar(1, 0), [0xff; 4], "no such BAR");
}
