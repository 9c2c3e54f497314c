//! What a Linux guest needs of the machine, by guests of a few instructions.

use crate::guest::{Code, kvm_is_here, run, split_json};

const COM1_IER: u16 = 0x3f9;
const SLEEP_CONTROL: u16 = 0x600;
const SLEEP_STATUS: u16 = 0x601;
const IO_APIC: u32 = 0xfec0_0000;
const LAPIC: u32 = 0xfee0_0000;

#[test]
fn power_off_by_the_sleep_register_ends_the_run_with_0() {
    if !kvm_is_here() {
        return;
    }
    // Clears the wake status, asks for another type of sleep, then for S5.
    let guest =
        Code::new().out8(SLEEP_STATUS, 0x80).out8(SLEEP_CONTROL, 0x24).out8(SLEEP_CONTROL, 0x34).exit(9);
    let output = run(&guest, &["--json", "-"]);
    let (_, json) = split_json(&output);
    assert_eq!((output.status.code(), &json["outcome"]["kind"]), (Some(0), &"guest-power-off".into()));
    assert_eq!(json["exits"], serde_json::json!({"port-other": 1, "port-power-off": 2}));
}

#[test]
fn reset_vector_has_code_that_writes_the_reset_register() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new().load(0xf_fff0).expect_eax(0xb00c_f9ba, 1).exit(0);
    assert_eq!(run(&guest, &[]).status.code(), Some(0));
}

#[test]
fn com1_interrupts_by_its_pin_of_the_io_apic() {
    if !kvm_is_here() {
        return;
    }
    let redirect = |code: Code, register: u32, value: u32| {
        code.eax(register).store(IO_APIC).eax(value).store(IO_APIC + 0x10)
    };
    // The local APIC is switched on; interrupts stay pending in it, for the CPU takes none.
    let guest = Code::new().eax(0x1ff).store(LAPIC + 0xf0);
    let guest = redirect(guest, 0x19, 0);
    let guest = redirect(guest, 0x18, 0x40);
    let guest = guest.load(LAPIC + 0x220).expect_eax(0, 1);
    // "transmitter empty" is a reason at once
    let guest = guest.out8(COM1_IER, 2).load(LAPIC + 0x220).expect_eax(1, 2).exit(0);
    let output = run(&guest, &["--json", "-"]);
    let (_, json) = split_json(&output);
    assert_eq!(output.status.code(), Some(0), "{json:#}");
    assert_eq!((&json["exits"]["mmio-io-apic"], &json["ioctls"]["KVM_SIGNAL_MSI"]), (&4.into(), &1.into()));
}
