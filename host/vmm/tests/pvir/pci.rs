//! The PCI bus on the real KVM, with the scratch device.

use std::process::Command;

use crate::guest::{Code, Kernel, kvm_is_here, run, split_json, stderr};

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

/// The physical address bits of this machine's KVM (CPUID leaf 0x80000008).
fn address_bits() -> u32 {
    let kvm = kvm_ioctls::Kvm::new().unwrap();
    let cpuid = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES).unwrap();
    let leaf = cpuid.as_slice().iter().find(|entry| entry.function == 0x8000_0008).unwrap();
    let [bits, _, of_guest, _] = leaf.eax.to_le_bytes();
    [bits, of_guest].into_iter().filter(|bits| *bits != 0).min().unwrap().into()
}

#[test]
fn a_bar_of_64_gib_has_a_place_where_the_address_bits_allow_it() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new()
        .pci_read(1, 0x20)
        .expect_eax(4, 1)
        .pci_read(1, 0x24)
        .expect_eax(0x10, 2)
        .pci_write(1, 0x20, u32::MAX)
        .pci_write(1, 0x24, u32::MAX)
        .pci_read(1, 0x24)
        .expect_eax(0xffff_fff0, 3)
        .exit(0);
    let output = run(&guest, &["--device", "scratch,large=64G"]);
    let expected = if address_bits() > 36 { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
}

/// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, sections 4.5 "4-Level Paging" and 9.8.5
/// "Initializing IA-32e Mode": 32-bit code in compatibility mode, for not every KVM has PAE paging. The first 2 MiB are
/// where they are, and 2 MiB from [`WINDOW`] on are at the upper half of an address, in units of 4 GiB.
fn with_a_window_at(upper: u32) -> Code {
    const ROOT: u32 = 0x1f_000;
    const POINTERS: u32 = 0x20_000;
    const LOW: u32 = 0x21_000;
    const HIGH: u32 = 0x22_000;
    const WRITABLE: u32 = 3;
    const LARGE_WRITABLE: u32 = 0x83;
    Code::new()
        .eax(POINTERS | WRITABLE)
        .store(ROOT)
        .eax(LOW | WRITABLE)
        .store(POINTERS)
        .eax(HIGH | WRITABLE)
        .store(POINTERS + 16)
        .eax(LARGE_WRITABLE)
        .store(LOW)
        .store(HIGH)
        .eax(upper)
        .store(HIGH + 4)
        // CR3, CR4.PAE
        .eax(ROOT)
        .bytes(&[0x0f, 0x22, 0xd8])
        .eax(0x20)
        .bytes(&[0x0f, 0x22, 0xe0])
        // mov ecx, IA32_EFER; rdmsr; or eax, LME; wrmsr
        .bytes(&[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x0d, 0, 1, 0, 0, 0x0f, 0x30])
        // CR0.PG beside CR0.PE
        .eax(0x8000_0011)
        .bytes(&[0x0f, 0x22, 0xc0])
}

/// Where the guest sees what is up there.
const WINDOW: u32 = 0x8000_0000;

#[test]
fn a_bar_of_64_gib_answers_from_its_start_to_its_end() {
    if !kvm_is_here() || address_bits() <= 36 {
        return;
    }
    // It is placed from 64 GiB on. In units of 4 GiB, in it and of the guest's addresses:
    for of_bar in [0_u32, 12, 15] {
        let page = of_bar << 20 | 3;
        let guest = Code::new().pci_write(1, 4, 2);
        let guest = guest.append(&with_a_window_at(16 + of_bar)).load(WINDOW + 0x3008).expect_eax(page, 1);
        let output = run(&guest.exit(7), &["--device", "scratch,large=64G"]);
        assert_eq!(output.status.code(), Some(7), "{of_bar}: {}", stderr(&output));
    }
}

#[test]
fn what_no_address_reaches_is_refused_with_what_is_possible() {
    if !kvm_is_here() {
        return;
    }
    // 2 to the power of 52, which is the most that the architecture has.
    let output = run(&Code::new().exit(0), &["--device", "scratch,large=4194304G"]);
    let (code, text) = (output.status.code(), stderr(&output));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("no room for BAR4 of 0x10000000000000 bytes"), "{text}");
    assert!(text.contains("physical address bits, and there is room for 0x"), "{text}");
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    let output = command.arg("run").arg(&kernel.path).args(["--memory", "4194304G"]).output().unwrap();
    let (code, text) = (output.status.code(), stderr(&output));
    assert_eq!(code, Some(3), "{text}");
    let bits = format!("--memory 4194304 GiB: this CPU has {} physical address bits", address_bits());
    assert!(text.contains(&bits) && text.contains("GiB of RAM at most"), "{text}");
}
