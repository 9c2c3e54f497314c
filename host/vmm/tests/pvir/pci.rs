//! The PCI bus on the real KVM, with the scratch device.

use crate::guest::{Code, kvm_is_here, run, split_json, stderr};

/// BAR0 is trapped, BAR2 mapped; where the guest puts them here.
const TRAPPED: u32 = 0xd000_0000;
const MAPPED: u32 = 0xd100_0000;
const COMMAND: u32 = 0x04;
const MEMORY_DECODE: u32 = 2;

fn moved_bars() -> Code {
    Code::new().pci_write(1, 0x10, TRAPPED).pci_write(1, 0x18, MAPPED).pci_write(1, 0x1c, 0).pci_write(
        1,
        COMMAND,
        MEMORY_DECODE,
    )
}

#[test]
fn functions_are_found_and_absent_ones_read_as_ones() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new()
        .pci_read(0, 0)
        .expect_eax(0x0008_1b36, 1)
        .pci_read(1, 0)
        .expect_eax(0x0001_7670, 2)
        .pci_read(2, 0)
        .expect_eax(u32::MAX, 3)
        .exit(0);
    let output = run(&guest, &["--device", "scratch"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn bars_are_assigned_and_can_be_sized() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new()
        .pci_read(1, 0x10)
        .expect_eax(0xc000_0000, 1)
        .pci_write(1, 0x10, u32::MAX)
        .pci_read(1, 0x10)
        .expect_eax(0xffff_f000, 2)
        .pci_read(1, 0x18)
        .expect_eax(0xc000_100c, 3)
        .exit(0);
    let output = run(&guest, &["--device", "scratch"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn trapped_bar_is_counted_by_access_and_mapped_bar_takes_none() {
    if !kvm_is_here() {
        return;
    }
    let guest = moved_bars()
        .eax(0x1234_5678)
        .store(TRAPPED + 8)
        .eax(0)
        .load(TRAPPED + 8)
        .expect_eax(0x1234_5678, 1)
        .eax(0x8765_4321)
        .store(MAPPED + 4)
        .eax(0)
        .load(MAPPED + 4)
        .expect_eax(0x8765_4321, 2)
        .exit(0);
    let output = run(&guest, &["--device", "scratch", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = split_json(&output).1;
    let device = &json["devices"][1];
    let expected = serde_json::json!([{"bar": 0, "msix": false, "reads": 1, "writes": 1}, {"bar": 2, "msix": false, "reads": 0, "writes": 0}]);
    assert_eq!((&device["bars"], &device["config_writes"]), (&expected, &4.into()), "{json:#}");
    assert_eq!(
        (&json["exits"]["mmio-bar"], &json["exits"]["mmio-other"]),
        (&2.into(), &serde_json::Value::Null)
    );
}

#[test]
fn nothing_answers_while_decoding_is_off() {
    if !kvm_is_here() {
        return;
    }
    let guest = moved_bars()
        .eax(7)
        .store(MAPPED)
        .pci_write(1, COMMAND, 0)
        .load(MAPPED)
        .expect_eax(u32::MAX, 1)
        .load(TRAPPED)
        .expect_eax(u32::MAX, 2)
        .pci_write(1, COMMAND, MEMORY_DECODE)
        .load(MAPPED)
        .expect_eax(7, 3)
        .exit(0);
    let output = run(&guest, &["--device", "scratch"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_bar_over_ram_or_over_another_bar_does_not_decode() {
    if !kvm_is_here() {
        return;
    }
    let guest = moved_bars()
        .eax(7)
        .store(TRAPPED)
        .eax(99)
        .store(0x20_0000)
        .pci_write(1, 0x18, 0x20_0000)
        .load(0x20_0000)
        .expect_eax(99, 1)
        .pci_write(1, 0x18, TRAPPED)
        .load(TRAPPED)
        .expect_eax(7, 2)
        .exit(0);
    let output = run(&guest, &["--device", "scratch"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_bar_beyond_the_last_address_is_told_once() {
    if !kvm_is_here() {
        return;
    }
    // Beyond every physical address, there and back again.
    let far = |code: Code| code.pci_write(1, 0x1c, 0x1000_0000).pci_write(1, 0x1c, 0);
    let guest = (0..50).fold(moved_bars(), |code, _| far(code)).eax(7).store(MAPPED).exit(0);
    let output = run(&guest, &["--device", "scratch"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("does not decode").count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("physical address bits"), "{}", stderr(&output));
}
