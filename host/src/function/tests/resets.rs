//! A guest resets its function.

use super::*;
use pvir_abi::Status;
use std::sync::atomic::Ordering::Relaxed;

/// Device Control of the 82576, whose last bit begins a reset.
const CONTROL: u16 = 0xa8;
const INITIATE: [u8; 2] = [0, 0x80];

fn express() -> Fixture {
    let fixture = Fixture::with_pci_express();
    fixture.function.set_bar_address(fake_pci::TABLE.0, 0xc010_0000).unwrap();
    fixture.function.config_write(4, &[6, 0]);
    fixture
}

#[test]
fn the_guest_finds_the_reset_and_the_function_as_at_the_start_afterwards() {
    let fixture = express();
    assert_eq!(fixture.config::<4>(0xa4), [0, 0, 0, 0x10], "function level reset");
    fixture.function.config_write(0x72, &[0, 0xc0]);
    fixture.function.bar_write(fake_pci::TABLE.0, 16, &[1; 8]);
    fixture.function.bar_write(fake_pci::TABLE.0, 28, &[0; 4]);
    assert_eq!(fixture.function.decoded().len(), 1);
    fixture.function.config_write(CONTROL, &INITIATE);
    assert_eq!(*fixture.pci.resets.lock().unwrap(), [Some(false)], "with bus mastering off");
    assert_eq!(fixture.config::<4>(0xa8), [0; 4], "the bit reads as zero");
    assert_eq!((fixture.config::<2>(4), fixture.config::<4>(0x1c)), ([0; 2], [0; 4]), "COMMAND and BAR3");
    assert_eq!(fixture.config::<2>(0x72), [9, 0], "MSI-X is disabled, Function Mask clear");
    assert!(fixture.function.decoded().is_empty() && fixture.mapper.mapped().is_empty());
    fixture.move_bar(fake_pci::TABLE.0, 0xc010_0000);
    fixture.function.config_write(4, &[2, 0]);
    assert_eq!(fixture.bar(fake_pci::TABLE.0, 16), [0; 8]);
    assert_eq!(fixture.bar(fake_pci::TABLE.0, 28), [1, 0, 0, 0], "masked");
}

#[test]
fn a_table_that_the_guest_has_is_its_own_again_where_it_puts_the_bar() {
    let fixture = express();
    assert_eq!(fixture.enable(), Status::OK);
    assert!(!fixture.mapper.mapped().is_empty());
    fixture.function.config_write(0x72, &[0, 0xc0]);
    fixture.function.config_write(CONTROL, &INITIATE);
    assert_eq!((fixture.mapper.mapped(), fixture.config::<2>(0x72)), (vec![], [9, 0]));
    fixture.move_bar(fake_pci::TABLE.0, 0xd000_0000);
    fixture.function.config_write(4, &[2, 0]);
    let mapped: u64 = fixture.mapper.mapped().iter().map(|(_, size, _)| size).sum();
    assert_eq!((mapped, fixture.mapper.mapped()[0].0), (fake_pci::TABLE.1, 0xd000_0000));
}

#[test]
fn other_bits_and_other_registers_reset_nothing() {
    let fixture = express();
    for (at, data) in [(CONTROL, [0xff, 0x7f]), (CONTROL - 2, [0xff, 0xff]), (CONTROL + 2, [0xff, 0xff])] {
        fixture.function.config_write(at, &data);
    }
    assert!(fixture.pci.resets.lock().unwrap().is_empty());
    assert_eq!(fixture.config::<2>(4), [6, 0]);
    // Of any width, from any byte on.
    fixture.function.config_write(CONTROL + 1, &[0x80]);
    fixture.function.config_write(CONTROL - 4, &[0, 0, 0, 0, 0, 0x80, 0, 0]);
    assert_eq!(fixture.pci.resets.lock().unwrap().len(), 2);
}

#[test]
fn a_device_whose_reset_has_failed_does_not_answer_until_one_succeeds() {
    let fixture = express();
    fixture.pci.reset_fails.store(true, Relaxed);
    fixture.function.config_write(CONTROL, &INITIATE);
    assert_eq!(fixture.config::<4>(0), [0xff; 4]);
    assert!(fixture.function.decoded().is_empty());
    let error = fixture.function.reset().unwrap_err();
    assert_eq!(error.to_string(), "0000:06:00.0: the reset has failed");
    fixture.pci.reset_fails.store(false, Relaxed);
    fixture.function.config_write(CONTROL, &INITIATE);
    assert_eq!(fixture.config::<4>(0), [0x86, 0x80, 0xc9, 0x10]);
}
