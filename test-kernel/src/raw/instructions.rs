//! The conduits' instructions, one by one: what they leave in registers, and what a port says to other accesses.

#![expect(unsafe_code, reason = "executes the conduits' instructions, and port input and output")]

use crate::machine::cpu::probe::{self, Fault};
use core::arch::asm;
use pvir_guest::Discovered;
use pvir_guest::abi::{Conduits, GuestPhysAddr, HYPERCALL_NUMBER};
use x86_64::instructions::port::Port;

/// What stands in the registers that a call does not name.
const PATTERN: [u64; 7] = [0x1111, 0x2222_2222_2222, 0x33, 0x4444_4444, 0x55, 0xf666_6666_6666_6666, 0x77];

/// Executes an instruction with a pattern in RSI and R8 to R13, and answers whether RDI, RCX, RDX and they are as
/// before.
macro_rules! keeps {
    ($instruction:literal, $rax:expr, $rdi:expr, $rcx:expr, $rdx:expr) => {{
        let [rsi, r8, r9, r10, r11, r12, r13] = PATTERN;
        let before = [$rdi, $rcx, $rdx, rsi, r8, r9, r10, r11, r12, r13];
        let mut after = before;
        let [a, b, c, d, e, f, g, h, i, j] = &mut after;
        // SAFETY: the caller names a conduit that works and a block of the suite's.
        unsafe {
            asm!($instruction, inout("rax") $rax => _, inout("rdi") *a, inout("rcx") *b, inout("rdx") *c,
                inout("rsi") *d, inout("r8") *e, inout("r9") *f, inout("r10") *g, inout("r11") *h,
                inout("r12") *i, inout("r13") *j, options(nostack));
        }
        before == after
    }};
}

/// Calls by one conduit; whether all registers but RAX are as they were.
pub(crate) fn keeps_registers(discovered: &Discovered, conduit: Conduits, block: GuestPhysAddr) -> bool {
    let (number, block) = (u64::from(HYPERCALL_NUMBER), block.0);
    let (msr, port) = (u64::from(discovered.host.msr), u64::from(discovered.host.port));
    match conduit {
        Conduits::VMCALL => keeps!("vmcall", number, block, 3, 4),
        Conduits::VMMCALL => keeps!("vmmcall", number, block, 3, 4),
        Conduits::MSR => keeps!("wrmsr", block & 0xffff_ffff, 5, msr, block >> 32),
        Conduits::PORT => keeps!("out dx, eax", block >> 12, 5, 6, port),
        _ => false,
    }
}

/// Calls by one conduit, and gives all bits of its answer, 32 of a port. The instruction may fault.
pub(crate) fn guarded_call(
    discovered: &Discovered,
    conduit: Conduits,
    block: GuestPhysAddr,
) -> Result<u64, Fault> {
    match conduit {
        // SAFETY: the block is one of the suite's, which the host may write.
        Conduits::VMCALL => unsafe { probe::vmcall(HYPERCALL_NUMBER.into(), block.0) },
        // SAFETY: as above.
        Conduits::VMMCALL => unsafe { probe::vmmcall(HYPERCALL_NUMBER.into(), block.0) },
        Conduits::MSR => {
            // SAFETY: as above; the MSR lies where the contract has it.
            unsafe { probe::wrmsr(discovered.host.msr, block.0) }?;
            probe::rdmsr(discovered.host.msr)
        }
        _ => {
            port_out(discovered.host.port, u32::try_from(block.0 >> 12).unwrap_or(0));
            Ok(port_in(discovered.host.port).into())
        }
    }
}

/// The status of this vCPU's last call, by the conduit that can be asked among these: MSR, or else port.
pub(crate) fn last_status(discovered: &Discovered, among: Conduits) -> Option<u32> {
    let usable = discovered.usable & among;
    if usable.contains(Conduits::MSR) {
        let value = probe::rdmsr(discovered.host.msr).ok()?;
        u32::try_from(value).ok()
    } else if usable.contains(Conduits::PORT) {
        Some(port_in(discovered.host.port))
    } else {
        None
    }
}

/// OUT of 32 bits: a page number, for the conduit's port.
fn port_out(port: u16, page: u32) {
    // SAFETY: the page is that of a block of the suite's, which the host may write.
    unsafe { Port::new(port).write(page) };
}

/// IN of 32 bits.
pub(crate) fn port_in(port: u16) -> u32 {
    // SAFETY: the conduit's port or one beside it; reading has no effect on memory.
    unsafe { Port::new(port).read() }
}

/// IN of 8 and of 16 bits.
pub(crate) fn port_in_narrow(port: u16) -> (u8, u16) {
    // SAFETY: as for `port_in`.
    let byte = unsafe { Port::new(port).read() };
    // SAFETY: as for `port_in`.
    let word = unsafe { Port::new(port).read() };
    (byte, word)
}

/// OUT of 8 and of 16 bits of a page number.
pub(crate) fn port_out_narrow(port: u16, page: u32) {
    let [a, b, ..] = page.to_le_bytes();
    // SAFETY: the page is that of a block of the suite's; the host must not take it.
    unsafe { Port::new(port).write(a) };
    // SAFETY: as above.
    unsafe { Port::new(port).write(u16::from_le_bytes([a, b])) };
}
