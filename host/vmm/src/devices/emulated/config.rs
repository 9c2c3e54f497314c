//! Config space of the emulated device.

use std::ops::Range;

use pvir_abi::Pair;
use pvir_host::emulation::{MessageStore, MsiForm, SharedTable, StoreLayout};

use super::msi::MsiRegisters;
use super::{DEVICE_ID, VENDOR_ID};
use crate::devices::config::space::{
    COMMAND, COMMAND_BITS, ConfigSpace, FIRST_CAPABILITY, HAS_LIST, MSI, MSIX, MSIX_SIZE, STATUS,
};

/// BAR of the MSI-X table and the pending bit array.
pub(crate) const TABLE_BAR: u8 = 2;
/// The only capability. Message control of MSI-X is the service's.
const CAPABILITY: u8 = 0x40;
/// Class ff: no class.
const CLASS: u8 = 0xff;

/// Bits of MSI message control.
const MSI_ENABLE: u16 = 1;
const MSI_ENABLED_MESSAGES: u16 = 7 << 4;
const MSI_WIDE: u16 = 1 << 7;
const MSI_MASKABLE: u16 = 1 << 8;

/// Config space of a device of this layout.
pub(crate) fn config(layout: &StoreLayout) -> ConfigSpace {
    let mut space = ConfigSpace::new();
    for id in [0, 0x2c] {
        space.put(id, &VENDOR_ID.to_le_bytes());
        space.put(id + 2, &DEVICE_ID.to_le_bytes());
    }
    space.put(0x0b, &[CLASS]);
    space.let_write(COMMAND, &COMMAND_BITS.to_le_bytes());
    space.put(STATUS, &[HAS_LIST]);
    space.put(FIRST_CAPABILITY, &[CAPABILITY]);
    match layout.store() {
        MessageStore::Msix => put_msix(&mut space, layout.vectors()),
        MessageStore::Msi(form) => put_msi(&mut space, layout.vectors(), form),
    }
    space
}

fn put_msix(space: &mut ConfigSpace, vectors: u32) {
    let (bar, pba) = (u32::from(TABLE_BAR), SharedTable::pba_offset(vectors));
    space.put(CAPABILITY, &[MSIX, 0]);
    space.put(CAPABILITY + 4, &bar.to_le_bytes());
    space.put(CAPABILITY + 8, &(u64::from(bar) | pba).to_le_bytes()[..4]);
}

/// PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures".
fn put_msi(space: &mut ConfigSpace, messages: u32, form: MsiForm) {
    let capable = u16::from(messages.trailing_zeros().to_le_bytes()[0]) << 1;
    let wide = if form.wide { MSI_WIDE } else { 0 };
    let maskable = if form.maskable { MSI_MASKABLE } else { 0 };
    space.put(CAPABILITY, &[MSI, 0]);
    space.put(CAPABILITY + 2, &(capable | wide | maskable).to_le_bytes());
    space.let_write(CAPABILITY + 2, &(MSI_ENABLE | MSI_ENABLED_MESSAGES).to_le_bytes());
    space.let_write(CAPABILITY + 4, &0xffff_fffc_u32.to_le_bytes());
    if form.wide {
        space.let_write(CAPABILITY + 8, &[0xff; 4]);
    }
    space.let_write(data(form), &[0xff; 2]);
    if form.maskable {
        let bits = u32::MAX >> (32 - messages);
        space.let_write(data(form) + 4, &bits.to_le_bytes());
        space.let_through(data(form) + 8, 4, 0);
    }
}

/// The range of config space in which the capability's registers are.
pub(crate) fn capability(layout: &StoreLayout) -> Range<u16> {
    let end = match layout.store() {
        MessageStore::Msix => CAPABILITY + MSIX_SIZE,
        MessageStore::Msi(form) => data(form) + if form.maskable { 12 } else { 2 },
    };
    CAPABILITY.into()..end.into()
}

/// The offset of message data; mask and pending bits follow it.
fn data(form: MsiForm) -> u8 {
    CAPABILITY + if form.wide { 12 } else { 8 }
}

/// The byte at `offset` of the registers that the device itself answers: the pending bits of MSI.
pub(crate) fn pending_byte(layout: &StoreLayout, pending: u32, offset: u16) -> u8 {
    let MessageStore::Msi(form) = layout.store() else { return 0 };
    let at = offset.checked_sub(u16::from(data(form)) + 8).map(usize::from);
    at.and_then(|at| pending.to_le_bytes().get(at).copied()).unwrap_or(0)
}

/// What the guest has written into the MSI capability, if the device has one.
pub(crate) fn msi(space: &ConfigSpace, layout: &StoreLayout) -> Option<MsiRegisters> {
    let MessageStore::Msi(form) = layout.store() else { return None };
    let word = |at: u8| {
        let mut bytes = [0; 4];
        space.read(at.into(), &mut bytes, |_| 0);
        u32::from_le_bytes(bytes)
    };
    let control = word(CAPABILITY) >> 16;
    let high = if form.wide { word(CAPABILITY + 8) } else { 0 };
    Some(MsiRegisters {
        enabled: control & u32::from(MSI_ENABLE) != 0,
        messages_log2: (control >> 4 & 7).to_le_bytes()[0],
        message: Pair {
            address: u64::from(high) << 32 | u64::from(word(CAPABILITY + 4)),
            data: word(data(form)) & 0xffff,
        },
        mask: if form.maskable { word(data(form) + 4) } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(wide: bool, maskable: bool, messages: u32) -> StoreLayout {
        StoreLayout::new(MessageStore::Msi(MsiForm { wide, maskable }), messages, 0).unwrap()
    }

    fn bytes(space: &ConfigSpace) -> [u8; 256] {
        let mut bytes = [0; 256];
        space.read(0, &mut bytes, |_| 0);
        bytes
    }

    #[test]
    fn a_guest_finds_the_table_of_the_largest_device() {
        let bytes = bytes(&config(&StoreLayout::msix(2048).unwrap()));
        assert_eq!(bytes[..4], [0x56, 0x50, 1, 0]);
        assert_eq!((bytes[6] & HAS_LIST, bytes[0x34]), (HAS_LIST, 0x40));
        assert_eq!(bytes[0x40..0x4c], [0x11, 0, 0, 0, 2, 0, 0, 0, 2, 0x80, 0, 0]);
    }

    #[test]
    fn msi_has_the_registers_of_its_form_and_no_others() {
        for (layout, control, writable) in [
            (layout(false, false, 1), [0x00, 0x00], 0x4a..0x4a),
            (layout(true, false, 8), [0x86, 0x00], 0x4e..0x4e),
            (layout(false, true, 2), [0x02, 0x01], 0x4c..0x4d),
            (layout(true, true, 32), [0x8a, 0x01], 0x50..0x54),
        ] {
            let mut space = config(&layout);
            assert_eq!(bytes(&space)[0x40..0x44], [5, 0, control[0], control[1]]);
            (0x40..0x60).for_each(|at| space.write(at, &[0xff]));
            let written = bytes(&space);
            assert_eq!((written[0x42], written[0x43]), (control[0] | 0x71, control[1]));
            assert_eq!(written[0x44..0x48], [0xfc, 0xff, 0xff, 0xff]);
            let end = usize::from(data(match layout.store() {
                MessageStore::Msi(form) => form,
                MessageStore::Msix => MsiForm::default(),
            })) + 2;
            assert!(written[0x48..end].iter().all(|byte| *byte == 0xff), "{layout:?}");
            let beyond: Vec<usize> = (end..0x60).filter(|at| written[*at] != 0).collect();
            assert_eq!(beyond, writable.collect::<Vec<usize>>(), "{layout:?}");
        }
    }

    #[test]
    fn what_a_guest_writes_is_understood() {
        let layout = layout(true, true, 4);
        let mut space = config(&layout);
        assert_eq!(msi(&space, &layout), Some(MsiRegisters::default()));
        space.write(0x44, &0xfee0_0018_u32.to_le_bytes());
        space.write(0x48, &1_u32.to_le_bytes());
        space.write(0x4c, &0x40_u16.to_le_bytes());
        space.write(0x50, &[0b1010]);
        space.write(0x42, &[0x21]);
        let message = Pair { address: 0x1_fee0_0018, data: 0x40 };
        let expected = MsiRegisters { enabled: true, messages_log2: 2, message, mask: 0b1010 };
        assert_eq!(msi(&space, &layout), Some(expected));
        let mut pending = [0; 4];
        space.read(0x54, &mut pending, |at| pending_byte(&layout, 0x0403_0201, at));
        assert_eq!(pending, [1, 2, 3, 4]);
        assert_eq!(msi(&space, &StoreLayout::msix(4).unwrap()), None);
    }
}
