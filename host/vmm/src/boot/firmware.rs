//! What there is of a BIOS: the place to which a kernel jumps in real mode when it wants the machine reset.
//!
//! Linux does so on hardware-reduced ACPI without EFI: it then tries neither ACPI's reset register nor the keyboard
//! controller first (`reboot_init` and `native_machine_emergency_restart` in "arch/x86/kernel/reboot.c").

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::vm::layout;

/// Writes to the reset register as ACPI's FADT says, and waits for it to act.
#[rustfmt::skip]
const RESET: [u8; 9] = [
    0xba, 0xf9, 0x0c, // mov dx, 0xcf9
    0xb0, layout::RESET_VALUE, // mov al, 6
    0xee,             // out dx, al
    0xf4,             // hlt
    0xeb, 0xfd,       // jmp to the hlt
];

/// Puts it into memory.
pub(crate) fn load(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    memory.write_slice(&RESET, GuestAddress(layout::RESET_VECTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stub_has_the_port_of_the_reset_register_and_fits_below_one_mib() {
        assert_eq!(RESET[1..3], layout::RESET_PORT.to_le_bytes());
        assert!(layout::RESET_VECTOR + RESET.len() as u64 <= layout::HIGH_RAM);
    }
}
