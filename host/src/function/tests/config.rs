//! Configuration space, of every width from every byte on.

use super::*;
use pvir_abi::Status;

#[test]
fn reads_of_every_width_show_the_same_bytes() {
    let fixture = Fixture::decoding();
    let whole: [u8; 256] = fixture.config(0);
    assert_eq!(whole[..8], [0x86, 0x80, 0xc9, 0x10, 2, 0, 0x10, 0]);
    assert_eq!(whole[0x10..0x20], [0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0xc0]);
    assert_eq!(whole[0x70..0x7c], [0x11, 0, 9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0], "MSI is not shown beside it");
    for len in 1..=16 {
        for offset in 0..=256 - len {
            let mut data = vec![0x5a; len];
            fixture.function.config_read(u16::try_from(offset).unwrap(), &mut data);
            assert_eq!(data, whole[offset..offset + len], "{len} bytes at {offset:#x}");
        }
    }
    assert_eq!(fixture.config(0xfe), [0; 8], "nothing is behind the end");
    assert_eq!(fixture.config(u16::MAX), [0; 4]);
}

#[test]
fn command_takes_words_bytes_and_doublewords() {
    let fixture = Fixture::new();
    fixture.function.config_write(4, &[6, 0]);
    assert_eq!(*fixture.pci.bus_master.lock().unwrap(), [true]);
    fixture.function.config_write(4, &[2]);
    fixture.function.config_write(3, &[0xff, 6, 0, 0xff]);
    assert_eq!(*fixture.pci.bus_master.lock().unwrap(), [true, false, true]);
    fixture.function.config_write(5, &[0xff]);
    assert_eq!(fixture.config(4), [6, 5, 0x10, 0]);
    fixture.function.config_write(0, &[0; 8]);
    assert_eq!(fixture.config(0), [0x86, 0x80, 0xc9, 0x10, 0, 0, 0x10, 0], "STATUS and ids are read-only");
    assert_eq!(fixture.pci.bus_master.lock().unwrap().last(), Some(&false));
}

#[test]
fn bars_are_sized_and_moved_by_bytes_words_and_more() {
    let fixture = Fixture::decoding();
    fixture.function.config_write(0x1e, &[0x20, 0xc0]);
    assert_eq!(fixture.function.bar_address(3), Some(0xc020_0000));
    fixture.function.config_write(0x1f, &[0xd0]);
    assert_eq!(fixture.function.find_memory(0xd020_0000, 8), Some((3, 0)));
    let changes = fixture.mapper.space().changes;
    let all = [0xff; 24];
    fixture.function.config_write(0x10, &all);
    assert_eq!(fixture.config(0x10), [0, 0, 0xfe, 0xff, 0, 0, 0, 0]);
    assert_eq!(fixture.mapper.space().changes, changes + 3, "one move of both, to nowhere");
}

#[test]
fn message_control_of_msix_is_the_services() {
    let fixture = Fixture::decoding();
    fixture.function.config_write(0x70, &[0xff; 12]);
    assert_eq!(fixture.config(0x70), [0x11, 0, 9, 0xc0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
    assert_eq!(fixture.pci.config.lock().unwrap()[0x73], 0, "the device's is the host's");
}

#[test]
fn masks_of_msi_are_the_devices_once_the_guest_programs_it() {
    let fixture = Fixture::with_msi();
    fixture.function.config_write(0x54, &[0x10, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x40, 0, 0, 0, 0x0f]);
    assert_eq!(fixture.config(0x50), [5, 0, 0x84, 1, 0x10, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x40, 0, 0, 0, 0x0f]);
    assert_eq!(fixture.pci.config.lock().unwrap()[0x54..0x61], [0; 13]);
    assert_eq!(fixture.enable(), Status::OK);
    // From the data register, which the host keeps, over the mask bits, which are the device's.
    fixture.function.config_write(0x5e, &[9, 9, 3, 0, 0, 0]);
    assert_eq!(fixture.pci.config.lock().unwrap()[0x5c..0x64], [0, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(fixture.config(0x60), [3, 0, 0, 0]);
}

#[test]
fn vendor_specific_registers_are_the_devices_in_the_width_of_the_access() {
    let fixture = Fixture::with_vendor_specific();
    assert_eq!(fixture.config(0x7c), [9, 0, 20, 5, 0xa0, 0xa1, 0xa2, 0xa3]);
    fixture.function.config_write(0x84, &[1, 2, 3, 4]);
    fixture.function.config_write(0x88, &[5, 6]);
    fixture.function.config_write(0x8b, &[7]);
    assert_eq!(*fixture.pci.config_writes.lock().unwrap(), [(0x84, 4), (0x88, 2), (0x8b, 1)]);
    assert_eq!(fixture.config(0x84), [1, 2, 3, 4, 5, 6, 0, 7]);
    fixture.pci.config.lock().unwrap()[0x84] = 9;
    assert_eq!(fixture.config(0x84), [9], "as it is now");
    fixture.pci.config_writes.lock().unwrap().clear();
    fixture.function.config_write(0x70, &[0; 12]);
    fixture.function.config_write(0x7c, &[0; 2]);
    fixture.function.config_write(0x90, &[0xff; 4]);
    assert_eq!(*fixture.pci.config_writes.lock().unwrap(), [], "id, link and what is beside it");
}
