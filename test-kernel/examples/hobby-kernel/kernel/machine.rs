//! The machine: ports, the local APIC in x2APIC mode, the interrupt table, and what the VMM says at the start.

#![expect(unsafe_code, reason = "the processor and its ports")]

use core::arch::{asm, global_asm};
use core::fmt::{Display, Write};
use core::ops::Range;
use core::panic::PanicInfo;
use pvir_guest::x86_64::VirtAddr;
use pvir_guest::x86_64::instructions::hlt;
use pvir_guest::x86_64::instructions::port::Port;
use pvir_guest::x86_64::instructions::tables::lidt;
use pvir_guest::x86_64::registers::model_specific::Msr;
use pvir_guest::x86_64::structures::DescriptorTablePointer;
use spin::{Mutex, MutexGuard};

global_asm!(include_str!("entry.s"), options(att_syntax));

const X2APIC_ID: u32 = 0x802;
const X2APIC_EOI: u32 = 0x80b;

/// Called by `entry.s`.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry(start_info: u64) -> ! {
    super::run(start_info);
    exit(0)
}

/// Called by the stubs in `entry.s`.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn device_interrupt(vector: u64) {
    super::interrupt(vector.to_le_bytes()[0]);
    msr(X2APIC_EOI, 0);
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    print("panic\n");
    exit(10)
}

/// Fills the gates of two vectors, and switches the local APIC to x2APIC mode and on.
pub(super) fn enable_interrupts_of(vectors: [u8; 2]) {
    static GATES: Mutex<[[u64; 2]; 256]> = Mutex::new([[0; 2]; 256]);
    unsafe extern "C" {
        fn interrupt_stub_0();
        fn interrupt_stub_1();
    }
    let gates = MutexGuard::leak(GATES.lock());
    for (vector, stub) in vectors.into_iter().zip([interrupt_stub_0 as *const (), interrupt_stub_1 as _]) {
        let at = stub as u64;
        // A 64-bit interrupt gate in code segment 0x08.
        let low = at & 0xffff | 0x08 << 16 | 0x8e << 40 | (at >> 16 & 0xffff) << 48;
        gates[usize::from(vector)] = [low, at >> 32];
    }
    let base = VirtAddr::new(gates.as_ptr() as u64);
    // SAFETY: the gates live for ever, and those that are present lead to the stubs.
    unsafe { lidt(&DescriptorTablePointer { limit: 256 * 16 - 1, base }) };
    // SAFETY: IA32_APIC_BASE of the boot processor.
    let apic = unsafe { Msr::new(0x1b).read() };
    for (register, value) in [
        (0x1b, apic | 1 << 11),
        (0x1b, apic | 1 << 11 | 1 << 10), // from xAPIC to x2APIC mode
        (0x808, 0),                       // every priority comes through
        (0x80f, 0x1ff),                   // software enable; 0xff for spurious interrupts
    ] {
        msr(register, value);
    }
}

fn msr(register: u32, value: u64) {
    // SAFETY: only the registers of the local APIC are written here, with values that switch it on or end an interrupt.
    unsafe { Msr::new(register).write(value) };
}

pub(super) fn apic_id() -> u32 {
    // SAFETY: the APIC is in x2APIC mode, where this MSR is its id.
    let id = unsafe { Msr::new(X2APIC_ID).read() }.to_le_bytes();
    u32::from_le_bytes([id[0], id[1], id[2], id[3]])
}

/// Waits for an interrupt. This is the one place where they are on, and everything that a handler may change is given
/// up here: so the stubs need not keep registers, and no red zone is written over.
pub(super) fn wait() {
    // SAFETY: handlers are in place; the assembly says what they change, and leaves interrupts off.
    unsafe { asm!("sti", "hlt", "cli", clobber_abi("C")) };
}

/// Reads a register of configuration space, or writes it.
pub(super) fn config(selector: u32, value: Option<u32>) -> u32 {
    // SAFETY: only selects the register for the other port.
    unsafe { Port::new(0xcf8).write(selector) };
    let mut data = Port::<u32>::new(0xcfc);
    if let Some(value) = value {
        // SAFETY: the register is the caller's to write.
        unsafe { data.write(value) };
    }
    // SAFETY: reading configuration space has no side effect.
    unsafe { data.read() }
}

/// Writes a device's register, which is mapped at its physical address.
pub(super) fn write_register(address: u64, value: u32) {
    // SAFETY: the driver names a register of its device.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// The ranges of RAM in the VMM's memory map: `hvm_start_info` version 1 points to it at offset 40, and says at offset
/// 48 how many entries of 24 bytes it has, type 1 being RAM.
pub(super) fn ram(start_info: u64) -> impl Iterator<Item = Range<u64>> {
    // SAFETY: the VMM has put both there, below 4 GiB, and the kernel uses no memory but its own image.
    let read = |at: u64| unsafe { (at as *const u64).read_unaligned() };
    let (map, entries) = (read(start_info + 40), read(start_info + 48) & 0xffff_ffff);
    let entry = move |at| (read(at)..read(at) + read(at + 8), read(at + 16) & 0xffff_ffff);
    (0..entries).map(move |n| entry(map + n * 24)).filter(|(_, kind)| *kind == 1).map(|(range, _)| range)
}

/// COM1.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: the data port of COM1, which the VMM always takes.
        text.bytes().for_each(|byte| unsafe { Port::new(0x3f8).write(byte) });
        Ok(())
    }
}

pub(super) fn print(text: &str) {
    let _ = Console.write_str(text);
}

/// Ends the VM with this code.
pub(super) fn exit(code: u32) -> ! {
    // SAFETY: the exit port of pvir, and of QEMU's isa-debug-exit.
    unsafe { Port::new(0xf4).write(code) };
    loop {
        hlt();
    }
}

/// The value, or the end of the VM: the error is printed.
pub(super) fn or_exit<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        let _ = writeln!(Console, "error: {error}");
        exit(1)
    })
}
