//! Device registers: a bounded window of uncached memory, accessed 32 bits at a time by volatile pointers.

#![expect(unsafe_code, reason = "makes volatile pointers from physical addresses")]

use super::paging::{self, Caching};
use core::arch::asm;
use core::ptr::NonNull;
use volatile::VolatilePtr;

/// The registers of one BAR.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    base: NonNull<u8>,
    length: u64,
}

// SAFETY: the window is plain addresses; concurrent volatile accesses are the device's to order.
unsafe impl Send for Registers {}

impl Registers {
    /// Maps `length` bytes of device memory.
    ///
    /// # Safety
    /// The range belongs to a device, not to RAM that Rust objects live in.
    pub(crate) unsafe fn map(address: u64, length: u64) -> Option<Self> {
        if !paging::map(address, length, Caching::Uncached) {
            return None;
        }
        Some(Self { base: NonNull::new(address as *mut u8)?, length })
    }

    /// Guest-physical address of the window.
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Reads the register at `offset`; all ones, as from a device that is gone, outside of the window.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        self.register(offset).map_or(u32::MAX, VolatilePtr::read)
    }

    /// Writes the register at `offset`; nothing outside of the window.
    pub(crate) fn write(&self, offset: u64, value: u32) {
        if let Some(register) = self.register(offset) {
            register.write(value);
        }
    }

    /// Reads 1, 2, 4 or 8 bytes, aligned or not; all ones outside of the window.
    pub(crate) fn read_any(&self, offset: u64, bytes: u8) -> u64 {
        let Some(at) = self.place(offset, bytes) else { return u64::MAX };
        let value: u64;
        // Rust has no volatile access that is not aligned.
        match bytes {
            // SAFETY: mapped device memory by the contract of `map`, as wide as `place` was asked for.
            1 => unsafe { asm!("movzx {0:e}, byte ptr [{1}]", out(reg) value, in(reg) at, options(nostack)) },
            // SAFETY: as above.
            2 => unsafe { asm!("movzx {0:e}, word ptr [{1}]", out(reg) value, in(reg) at, options(nostack)) },
            // SAFETY: as above.
            4 => unsafe { asm!("mov {0:e}, dword ptr [{1}]", out(reg) value, in(reg) at, options(nostack)) },
            // SAFETY: as above.
            _ => unsafe { asm!("mov {0}, qword ptr [{1}]", out(reg) value, in(reg) at, options(nostack)) },
        }
        value
    }

    /// Writes so many; nothing outside of the window.
    pub(crate) fn write_any(&self, offset: u64, bytes: u8, value: u64) {
        let Some(at) = self.place(offset, bytes) else { return };
        match bytes {
            // SAFETY: as for `read_any`.
            1 => unsafe {
                asm!("mov byte ptr [{1}], {0:l}", in(reg_abcd) value, in(reg) at, options(nostack));
            },
            // SAFETY: as for `read_any`.
            2 => unsafe {
                asm!("mov word ptr [{1}], {0:x}", in(reg) value, in(reg) at, options(nostack));
            },
            // SAFETY: as for `read_any`.
            4 => unsafe {
                asm!("mov dword ptr [{1}], {0:e}", in(reg) value, in(reg) at, options(nostack));
            },
            // SAFETY: as for `read_any`.
            _ => unsafe {
                asm!("mov qword ptr [{1}], {0}", in(reg) value, in(reg) at, options(nostack));
            },
        }
    }

    /// Where 1, 2, 4 or 8 bytes of the window are.
    fn place(&self, offset: u64, bytes: u8) -> Option<*mut u8> {
        let inside = [1, 2, 4, 8].contains(&bytes) && offset.checked_add(bytes.into())? <= self.length;
        inside.then(|| (self.address() + offset) as *mut u8)
    }

    /// The register at `offset`, if it is aligned and in the window.
    pub(crate) fn register(&self, offset: u64) -> Option<VolatilePtr<'_, u32>> {
        let end = offset.checked_add(4)?;
        if offset % 4 != 0 || end > self.length {
            return None;
        }
        let at = NonNull::new((self.address() + offset) as *mut u32)?;
        // SAFETY: aligned, mapped and device memory by the contract of `map`; any bits are a valid u32.
        Some(unsafe { VolatilePtr::new(at) })
    }
}

/// The low and the high half of an address, as devices have registers for them.
pub(crate) const fn halves(address: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
