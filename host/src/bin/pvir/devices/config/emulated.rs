//! Config space of the emulated device.

use pvir_host::emulated::{DEVICE_ID, SharedTable, VENDOR_ID};

use super::space::{COMMAND, COMMAND_BITS, ConfigSpace, FIRST_CAPABILITY, HAS_LIST, MSIX, MSIX_SIZE, STATUS};

/// BAR of the MSI-X table and the pending bit array.
pub(crate) const TABLE_BAR: u8 = 2;
/// The only capability, and where it ends. Its message control is the service's.
const CAPABILITY: u8 = 0x40;
pub(crate) const MSIX_REGISTERS: std::ops::Range<u16> = 0x40..0x40 + MSIX_SIZE as u16;
/// Class ff: no class.
const CLASS: u8 = 0xff;

/// For a device with so many vectors, 1 to 2048.
pub(crate) fn config(vectors: u32) -> ConfigSpace {
    let mut space = ConfigSpace::new();
    for id in [0, 0x2c] {
        space.put(id, &VENDOR_ID.to_le_bytes());
        space.put(id + 2, &DEVICE_ID.to_le_bytes());
    }
    space.put(0x0b, &[CLASS]);
    space.let_write(COMMAND, &COMMAND_BITS.to_le_bytes());
    space.put(STATUS, &[HAS_LIST]);
    space.put(FIRST_CAPABILITY, &[CAPABILITY]);
    let (bar, pba) = (u32::from(TABLE_BAR), SharedTable::pba_offset(vectors));
    space.put(CAPABILITY, &[MSIX, 0]);
    space.put(CAPABILITY + 4, &bar.to_le_bytes());
    space.put(CAPABILITY + 8, &(u64::from(bar) | pba).to_le_bytes()[..4]);
    space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_finds_the_table_of_the_largest_device() {
        let mut bytes = [0; 256];
        config(2048).read(0, &mut bytes, |_| 0xee);
        assert_eq!(bytes[..4], [0x56, 0x50, 1, 0]);
        assert_eq!((bytes[6] & HAS_LIST, bytes[0x34]), (HAS_LIST, 0x40));
        assert_eq!(bytes[0x40..0x4c], [0x11, 0, 0, 0, 2, 0, 0, 0, 2, 0x80, 0, 0]);
    }
}
