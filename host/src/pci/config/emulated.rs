//! Configuration space of an emulated function.

use std::ops::Range;

use super::identity::Identity;
use super::reset::put_pci_express;
use super::space::{COMMAND, COMMAND_BITS, ConfigSpace, FIRST_CAPABILITY, HAS_LIST, PORT_DECODE, STATUS};
use crate::pci::MsiShape;
use crate::pci::capability::{MSI, MSIX, MSIX_LEN};
use pvir_abi::Pair;

/// The capability for messages.
const CAPABILITY: u8 = 0x40;
/// The capability for resets, behind the longest one for messages.
const RESET_CAPABILITY: u8 = 0x60;

/// Bits of MSI message control.
const MSI_ENABLE: u16 = 1;
const MSI_ENABLED_MESSAGES: u16 = 7 << 4;
const MSI_WIDE: u16 = 1 << 7;
const MSI_MASKABLE: u16 = 1 << 8;

/// Where the MSI-X table and the pending bits are: a BAR, and the offset of the pending bits in it. The table starts at
/// offset 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MsixLayout {
    pub(crate) bar: u8,
    pub(crate) pba: u64,
}

/// The MSI capability of an emulated function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MsiLayout(pub(crate) MsiShape);

/// The capability for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MessageCapability {
    Msix(MsixLayout),
    Msi(MsiLayout),
}

/// What a guest has written into the MSI capability of an emulated function (PCI Express Base Specification 6.0,
/// section 7.7.1 "MSI Capability Structures").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MsiRegisters {
    /// MSI Enable.
    pub enabled: bool,
    /// Multiple Message Enable: the logarithm of the number of messages, 0 to 7 as the guest has written it.
    pub messages_log2: u8,
    /// Message address and data.
    pub message: Pair,
    /// Mask bits, one for each message; zero where the capability has none.
    pub mask: u32,
}

/// Config space of a function of this identity. `ports` says whether it has a BAR of ports, `resets` whether it offers a
/// function level reset. Message control of MSI-X is the service's, and is zero here.
pub(crate) fn emulated(
    identity: &Identity,
    ports: bool,
    capability: Option<MessageCapability>,
    resets: bool,
) -> ConfigSpace {
    let mut space = ConfigSpace::new();
    for (at, id) in [
        (0x00, identity.vendor),
        (0x02, identity.device),
        (0x2c, identity.subsystem_vendor),
        (0x2e, identity.subsystem),
    ] {
        space.put(at, &id.to_le_bytes());
    }
    let [base, subclass, interface] = identity.class;
    space.put(0x08, &[identity.revision, interface, subclass, base]);
    let command = COMMAND_BITS | if ports { PORT_DECODE } else { 0 };
    space.let_write(COMMAND, &command.to_le_bytes());
    let mut link = FIRST_CAPABILITY;
    if let Some(capability) = capability {
        space.put(STATUS, &[HAS_LIST]);
        space.put(link, &[CAPABILITY]);
        link = CAPABILITY + 1;
        match capability {
            MessageCapability::Msix(layout) => put_msix(&mut space, layout),
            MessageCapability::Msi(layout) => layout.put(&mut space),
        }
    }
    if resets {
        space.put(STATUS, &[HAS_LIST]);
        put_pci_express(&mut space, RESET_CAPABILITY);
        space.put(link, &[RESET_CAPABILITY]);
    }
    space
}

impl MessageCapability {
    /// The range of config space in which the capability is.
    pub(crate) fn range(self) -> Range<u16> {
        let size = match self {
            Self::Msix(_) => MSIX_LEN,
            Self::Msi(MsiLayout(shape)) => shape.size(),
        };
        u16::from(CAPABILITY)..u16::from(CAPABILITY) + u16::from(size)
    }
}

/// PCI Express Base Specification 6.0, section 7.7.2 "MSI-X Capability and Table Structure".
fn put_msix(space: &mut ConfigSpace, MsixLayout { bar, pba }: MsixLayout) {
    space.put(CAPABILITY, &[MSIX, 0]);
    space.put(CAPABILITY + 4, &u32::from(bar).to_le_bytes());
    space.put(CAPABILITY + 8, &(u64::from(bar) | pba).to_le_bytes()[..4]);
}

impl MsiLayout {
    /// PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures".
    fn put(self, space: &mut ConfigSpace) {
        let Self(shape) = self;
        let capable = u16::from(shape.messages_log2.min(5)) << 1;
        let wide = if shape.wide { MSI_WIDE } else { 0 };
        let maskable = if shape.maskable { MSI_MASKABLE } else { 0 };
        space.put(CAPABILITY, &[MSI, 0]);
        space.put(CAPABILITY + 2, &(capable | wide | maskable).to_le_bytes());
        space.let_write(CAPABILITY + 2, &(MSI_ENABLE | MSI_ENABLED_MESSAGES).to_le_bytes());
        space.let_write(CAPABILITY + 4, &0xffff_fffc_u32.to_le_bytes());
        if shape.wide {
            space.let_write(CAPABILITY + 8, &[0xff; 4]);
        }
        space.let_write(CAPABILITY + shape.data(), &[0xff; 2]);
        if shape.maskable {
            let bits = u32::MAX >> (32 - shape.messages());
            space.let_write(CAPABILITY + shape.mask(), &bits.to_le_bytes());
            space.let_through(CAPABILITY + shape.mask() + 4, 4, 0);
        }
    }

    /// The byte at `offset` of the registers that the device itself answers: the pending bits.
    pub(crate) fn pending_byte(self, pending: u32, offset: u16) -> u8 {
        let at = offset.checked_sub(u16::from(CAPABILITY + self.0.mask()) + 4).map(usize::from);
        at.and_then(|at| pending.to_le_bytes().get(at).copied()).unwrap_or(0)
    }

    /// What the guest has written into the capability.
    pub(crate) fn registers(self, space: &ConfigSpace) -> MsiRegisters {
        let Self(shape) = self;
        let word = |at: u8| {
            let mut bytes = [0; 4];
            space.read((CAPABILITY + at).into(), &mut bytes, |_| 0);
            u32::from_le_bytes(bytes)
        };
        let control = word(0) >> 16;
        let high = if shape.wide { word(8) } else { 0 };
        MsiRegisters {
            enabled: control & u32::from(MSI_ENABLE) != 0,
            messages_log2: (control >> 4 & 7).to_le_bytes()[0],
            message: Pair {
                address: u64::from(high) << 32 | u64::from(word(4)),
                data: word(shape.data()) & 0xffff,
            },
            mask: if shape.maskable { word(shape.mask()) } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity::new(0x5056, 1).with_revision(3).with_class(2, 0, 7);

    fn msi(wide: bool, maskable: bool, messages_log2: u8) -> MsiLayout {
        MsiLayout(MsiShape { wide, maskable, messages_log2 })
    }

    fn space(layout: MsiLayout) -> ConfigSpace {
        emulated(&IDENTITY, false, Some(MessageCapability::Msi(layout)), false)
    }

    fn bytes(space: &ConfigSpace) -> [u8; 256] {
        let mut bytes = [0; 256];
        space.read(0, &mut bytes, |_| 0);
        bytes
    }

    #[test]
    fn a_function_is_what_it_says() {
        let mut space = emulated(&IDENTITY.with_subsystem(0x1af4, 9), true, None, false);
        let seen = bytes(&space);
        assert_eq!(seen[..12], [0x56, 0x50, 1, 0, 0, 0, 0, 0, 3, 7, 0, 2]);
        assert_eq!((seen[0x34], &seen[0x2c..0x30]), (0, &[0xf4, 0x1a, 9, 0][..]));
        space.write(4, &[0xff; 2]);
        assert_eq!(space.command(), COMMAND_BITS | PORT_DECODE);
    }

    #[test]
    fn a_guest_finds_the_table_of_the_largest_device() {
        let layout = MsixLayout { bar: 2, pba: 0x8000 };
        let bytes = bytes(&emulated(&IDENTITY, false, Some(MessageCapability::Msix(layout)), false));
        assert_eq!((bytes[6] & HAS_LIST, bytes[0x34]), (HAS_LIST, 0x40));
        assert_eq!(bytes[0x40..0x4c], [0x11, 0, 0, 0, 2, 0, 0, 0, 2, 0x80, 0, 0]);
        assert_eq!(MessageCapability::Msix(layout).range(), 0x40..0x4c);
    }

    #[test]
    fn a_reset_is_offered_behind_the_messages() {
        let capability = Some(MessageCapability::Msi(msi(true, true, 5)));
        for (capability, link) in [(capability, 0x41), (None, 0x34)] {
            let space = emulated(&IDENTITY, false, capability, true);
            let bytes = bytes(&space);
            assert_eq!(
                (bytes[6], bytes[link], &bytes[0x60..0x68]),
                (HAS_LIST, 0x60, &[0x10, 0, 0x92, 0, 0, 0x80, 0, 0x10][..])
            );
            assert!(space.asks_for_reset(0x68, &[0, 0x80]) && !space.asks_for_reset(0x68, &[0xff, 0x7f]));
        }
    }

    #[test]
    fn msi_has_the_registers_of_its_form_and_no_others() {
        for (layout, control, writable) in [
            (msi(false, false, 0), [0x00, 0x00], 0x4a..0x4a),
            (msi(true, false, 3), [0x86, 0x00], 0x4e..0x4e),
            (msi(false, true, 1), [0x02, 0x01], 0x4c..0x4d),
            (msi(true, true, 5), [0x8a, 0x01], 0x50..0x54),
        ] {
            let mut space = space(layout);
            assert_eq!(bytes(&space)[0x40..0x44], [5, 0, control[0], control[1]]);
            (0x40..0x60).for_each(|at| space.write(at, &[0xff]));
            let written = bytes(&space);
            assert_eq!((written[0x42], written[0x43]), (control[0] | 0x71, control[1]));
            assert_eq!(written[0x44..0x48], [0xfc, 0xff, 0xff, 0xff]);
            let end = usize::from(CAPABILITY + layout.0.data()) + 2;
            assert!(written[0x48..end].iter().all(|byte| *byte == 0xff), "{layout:?}");
            let beyond: Vec<usize> = (end..0x60).filter(|at| written[*at] != 0).collect();
            assert_eq!(beyond, writable.collect::<Vec<usize>>(), "{layout:?}");
        }
    }

    #[test]
    fn what_a_guest_writes_is_understood() {
        let layout = msi(true, true, 2);
        let mut space = space(layout);
        assert_eq!(layout.registers(&space), MsiRegisters::default());
        space.write(0x44, &0xfee0_0018_u32.to_le_bytes());
        space.write(0x48, &1_u32.to_le_bytes());
        space.write(0x4c, &0x40_u16.to_le_bytes());
        space.write(0x50, &[0b1010]);
        space.write(0x42, &[0x21]);
        let message = Pair { address: 0x1_fee0_0018, data: 0x40 };
        let expected = MsiRegisters { enabled: true, messages_log2: 2, message, mask: 0b1010 };
        assert_eq!(layout.registers(&space), expected);
        let mut pending = [0; 4];
        space.read(0x54, &mut pending, |at| layout.pending_byte(0x0403_0201, at));
        assert_eq!(pending, [1, 2, 3, 4]);
    }
}
