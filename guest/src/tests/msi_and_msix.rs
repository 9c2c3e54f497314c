//! MSI-X and MSI on the fake machine.

use super::*;
use crate::fake::FakeMachine;
use crate::{MsiCapability, MsixTable, PciError, StoreError};
use pvir_abi::Pair;

#[test]
fn opening_masks_every_entry_and_enables_msix() {
    let machine = FakeMachine::new(DEVICE, 2048);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    assert_eq!(table.len(), 2048);
    assert!(machine.msix_enabled());
    assert!((0..2048).all(|index| machine.is_masked(index)));
}

#[test]
fn an_entry_from_masked_to_live_and_back() {
    let machine = FakeMachine::new(DEVICE, 10);
    let (host, remapping) = enabled();
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let irte = remapping.map(msix(3)).unwrap();
    let pair = irte.pair();

    let programmed = table.claim(3).unwrap().program(irte).unwrap();
    assert_eq!((machine.pair(3), machine.is_masked(3)), (pair, true));
    let mut live = programmed.unmask();
    assert!(!machine.is_masked(3));
    remapping.retarget(&mut live, Target::fixed(2, 0x77)).unwrap();
    assert_eq!(live.irte().target(), Target::fixed(2, 0x77));
    assert_eq!((machine.pair(3), machine.is_masked(3)), (pair, false));

    assert_eq!(live.is_pending(), Some(false));
    machine.set_pending(3);
    let programmed = live.mask().unwrap();
    assert_eq!((programmed.is_pending(), machine.is_masked(3)), (Some(true), true));
    let (entry, irte) = programmed.retire();
    remapping.unmap(irte).unwrap();
    assert_eq!(host.held(), 0);
    assert!(table.claim(3).is_none());
    drop(entry);
    assert!(table.claim(3).is_some());
}

#[test]
fn an_entry_has_one_owner_and_the_table_an_end() {
    let machine = FakeMachine::new(DEVICE, 10);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = table.claim(9);
    assert!(entry.is_some() && table.claim(9).is_none() && table.claim(10).is_none());
}

#[test]
fn the_irte_of_another_entry_is_not_taken() {
    let machine = FakeMachine::new(DEVICE, 10);
    let (_host, remapping) = enabled();
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let before = machine.pair(4);
    let failed = table.claim(4).unwrap().program(remapping.map(msix(3)).unwrap()).unwrap_err();
    let (entry, irte) = (Origin::msix(DEVICE, 4), Origin::msix(DEVICE, 3));
    assert_eq!(failed.error, StoreError::OtherEntry { entry, irte });
    assert_eq!(machine.pair(4), before);
    assert!(table.claim(3).unwrap().program(failed.irte).is_ok());
}

#[test]
fn dropping_a_live_entry_masks_it_and_dropping_the_table_disables() {
    let machine = FakeMachine::new(DEVICE, 10);
    let (_host, remapping) = enabled();
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let live = table.claim(0).unwrap().program(remapping.map(msix(0)).unwrap()).unwrap().unmask();
    drop(live);
    assert!(machine.is_masked(0));
    drop(table);
    assert!(!machine.msix_enabled());
    assert_eq!(machine.mappings(), 0);
}

#[test]
fn a_table_in_use_is_not_opened_again() {
    let machine = FakeMachine::new(DEVICE, 10);
    let _table = MsixTable::open(&machine, DEVICE).unwrap();
    assert_eq!(MsixTable::open(&machine, DEVICE).unwrap_err(), PciError::InUse { device: DEVICE });
    assert_eq!(machine.mappings(), 2);
}

fn msi_host() -> FakeHost {
    FakeHost::new(&[FakeDevice::with_msi(DEVICE, 8)])
}

fn open_error(offset: u16, value: u32) -> PciError {
    let machine = FakeMachine::new(DEVICE, 10);
    machine.set_config(offset, value);
    let error = MsixTable::open(&machine, DEVICE).unwrap_err();
    assert_eq!(machine.mappings(), 0);
    error
}

#[test]
fn a_broken_configuration_space_is_named() {
    let device = DEVICE;
    assert_eq!(open_error(0x00, u32::MAX), PciError::Absent { device });
    assert_eq!(open_error(0x04, 0x0010_0000), PciError::DecodeOff { device });
    assert_eq!(open_error(0x04, 0x0000_0006), PciError::NoCapability { device, id: 0x11 });
    assert_eq!(open_error(0x50, 0x0000_5005), PciError::CapabilityLoop { device });
    assert_eq!(open_error(0x50, 0x0000_5000), PciError::CapabilityLoop { device });
    assert_eq!(open_error(0x50, 0x0000_2005), PciError::NoCapability { device, id: 0x11 });
}

#[test]
fn a_table_outside_of_memory_is_named() {
    let device = DEVICE;
    assert_eq!(open_error(0x74, 7), PciError::BadBar { device, bar: 7 });
    assert_eq!(open_error(0x78, 3), PciError::BadBar { device, bar: 3 });
    assert_eq!(open_error(0x10, 1), PciError::BadBar { device, bar: 0 });
    assert_eq!(open_error(0x14, u32::MAX), PciError::BadBar { device, bar: 0 });
    let address = 0x38_0000_0000 + 0xffff_fff8;
    assert_eq!(open_error(0x74, 0xffff_fff8), PciError::NotMapped { device, address, len: 160 });
}

#[test]
fn msi_is_written_while_disabled_and_enabled_by_unmask() {
    let machine = FakeMachine::new(DEVICE, 10);
    let remapping = enabled_with(&msi_host(), 1);
    let origin = Origin::msi(DEVICE, 4);
    let irte = remapping.map(MapRequest::new(origin, Target::fixed(1, 0x44))).unwrap();
    let pair = irte.pair();
    assert_eq!((pair.data & 3, irte.origin().count), (0, 4));
    let capability = MsiCapability::open(&machine, DEVICE).unwrap();
    assert_eq!(capability.messages(), 8);
    let programmed = capability.claim(4).unwrap().program(irte).unwrap();
    assert_eq!(machine.msi(), (false, pair));
    let live = programmed.unmask();
    assert_eq!(machine.msi(), (true, pair));
    assert_eq!(MsiCapability::open(&machine, DEVICE).unwrap_err(), PciError::InUse { device: DEVICE });
    let (entry, irte) = live.mask().unwrap().retire();
    let live = entry.program(irte).unwrap().unmask();
    assert_eq!(machine.msi(), (true, pair));
    drop(live);
    assert_eq!(machine.msi(), (false, pair));
}

#[test]
fn msi_takes_a_power_of_two_of_messages_that_it_has() {
    let machine = FakeMachine::new(DEVICE, 10);
    for asked in [0, 3, 16] {
        let capability = MsiCapability::open(&machine, DEVICE).unwrap();
        let expected = PciError::MessageCount { device: DEVICE, asked, has: 8 };
        assert_eq!(capability.claim(asked).unwrap_err(), expected);
    }
}

#[test]
fn msi_without_64_bits_has_its_data_4_bytes_lower() {
    let machine = FakeMachine::new(DEVICE, 10);
    machine.set_config(0x50, 0x0000_7005);
    let remapping = enabled_with(&msi_host(), 1);
    let irte = remapping.map(MapRequest::new(Origin::msi(DEVICE, 1), Target::fixed(1, 0x44))).unwrap();
    let pair = irte.pair();
    let entry = MsiCapability::open(&machine, DEVICE).unwrap().claim(1).unwrap().program(irte).unwrap();
    let high_is_data = u64::from(pair.data) << 32 | pair.address;
    assert_eq!(machine.msi().1, Pair { address: high_is_data, data: 0 });
    drop(entry);
}
