//! What a table and its entries share, whoever of them lives longest.
#![expect(unsafe_code, reason = "unmaps device memory")]

use super::mapping;
use super::memory::Memory;
use crate::Platform;
use crate::claims::Claims;
use crate::pci::Function;

/// MSI-X Enable: bit 15 of message control, which is the high half of the capability's first dword.
pub(super) const ENABLE: u32 = 1 << 31;

/// One share of an open table: the table itself has one, and each entry that was claimed. With the last one MSI-X is
/// disabled and the memory unmapped.
pub(super) struct Share<P: Platform> {
    pub(super) function: Function<P>,
    /// Offset of the MSI-X capability.
    pub(super) capability: u16,
    pub(super) memory: Memory,
    pub(super) claims: Claims,
}

impl<P: Platform + Clone> Clone for Share<P> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), claims: self.claims.share(), ..*self }
    }
}

impl<P: Platform> Drop for Share<P> {
    fn drop(&mut self) {
        if !self.claims.leave() {
            return;
        }
        for index in 0..self.memory.entries() {
            self.memory.mask(index);
        }
        let control = self.function.read(self.capability);
        self.function.write(self.capability, control & !ENABLE);
        // SAFETY: this was the last share, and every access is made by one; mapped when the table was opened, by the
        // same platform.
        unsafe { mapping::unmap(&self.function, &self.memory) };
        self.claims.free();
    }
}
