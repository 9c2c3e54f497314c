//! The part of the DSDT by which devices come and go: a generic event device, and a slot for each place of the bus.
//!
//! "ACPI Specification 6.5", sections 5.6.9 "Interrupt-signaled ACPI events", 5.6.6 "Device Object Notifications", 6.3.3
//! "_EJx (Eject)".

use std::ops::RangeInclusive;

use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Interrupt, Local,
    Method, Name, Notify, OpRegion, OpRegionSpace, Path, ResourceTemplate, Store, Zero,
};
use acpi_tables::{Aml, AmlSink};

use crate::vm::layout;

/// The places that have a slot: all but the host bridge's.
pub(super) const SLOTS: RangeInclusive<u8> = 1..=31;
const REGION: &str = "HPRG";
const UP: &str = "HPUP";
const DOWN: &str = "HPDN";
const EJECT: &str = "HPEJ";
/// The three registers.
const SIZE: u8 = 12;
const REGISTER_BITS: usize = 32;
/// What an object is told ("ACPI Specification 6.5", tables 5.127 and 5.128).
const BUS_CHECK: u8 = 0;
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;
/// The bit of UP that is no device's.
const LOOK: u32 = crate::pci::hotplug::LOOK;

/// The registers, in the scope of both that use them.
pub(super) struct Registers;

impl Aml for Registers {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let first = layout::HOTPLUG_UP;
        OpRegion::new(REGION.into(), OpRegionSpace::SystemIO, &first, &SIZE).to_aml_bytes(sink);
        let fields = [*b"HPUP", *b"HPDN", *b"HPEJ"].map(|name| FieldEntry::Named(name, REGISTER_BITS));
        let (lock, update) = (FieldLockRule::NoLock, FieldUpdateRule::WriteAsZeroes);
        Field::new(REGION.into(), FieldAccessType::DWord, lock, update, fields.to_vec()).to_aml_bytes(sink);
    }
}

fn slot_name(number: u8) -> String {
    format!("S{number:02}_")
}

/// The place of the device with this number.
pub(super) struct PciSlot(pub(super) u8);

impl Aml for PciSlot {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let number = self.0;
        let bit = 1_u32 << number;
        let eject = Path::new(EJECT);
        let body = Store::new(&eject, &bit);
        Device::new(
            slot_name(number).as_str().into(),
            vec![
                &Name::new("_ADR".into(), &(u32::from(number) << 16)),
                &Name::new("_SUN".into(), &number),
                &Method::new("_EJ0".into(), 1, true, vec![&body]),
            ],
        )
        .to_aml_bytes(sink);
    }
}

/// The generic event device: reads the registers when its interrupt comes, and tells the slots.
pub(super) struct EventDevice;

impl Aml for EventDevice {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let interrupt = Interrupt::new(true, true, false, false, layout::HOTPLUG_PIN.into());
        Device::new(
            "GED_".into(),
            vec![
                &Name::new("_HID".into(), &"ACPI0013"),
                &Name::new("_UID".into(), &Zero {}),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt])),
                &Method::new("_EVT".into(), 1, true, vec![&Notices]),
            ],
        )
        .to_aml_bytes(sink);
    }
}

/// The body of `_EVT`.
struct Notices;

impl Aml for Notices {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let (up, down) = (Local(0), Local(1));
        Store::new(&up, &Path::new(UP)).to_aml_bytes(sink);
        Store::new(&down, &Path::new(DOWN)).to_aml_bytes(sink);
        let bus = Path::new("\\_SB_.PCI0");
        tell(sink, &up, LOOK, &bus, BUS_CHECK);
        for number in SLOTS {
            let slot = Path::new(&format!("\\_SB_.PCI0.{}", slot_name(number)));
            let bit = 1 << number;
            tell(sink, &up, bit, &slot, DEVICE_CHECK);
            tell(sink, &down, bit, &slot, EJECT_REQUEST);
        }
    }
}

/// `If (value & bit) { Notify (whom, what) }`
fn tell(sink: &mut dyn AmlSink, value: &dyn Aml, bit: u32, whom: &dyn Aml, what: u8) {
    let is_set = And::new(&Zero {}, value, &bit);
    If::new(&is_set, vec![&Notify::new(whom, &what)]).to_aml_bytes(sink);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(part: &dyn Aml) -> Vec<u8> {
        let mut bytes = Vec::new();
        part.to_aml_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn a_slot_has_its_address_its_number_and_a_way_out() {
        #[rustfmt::skip]
        let expected = [
            // Device (S03)
            &[0x5b, 0x82, 0x2b][..], b"S03_",
            // Name (_ADR, 0x00030000), Name (_SUN, 3)
            &[0x08], b"_ADR", &[0x0c, 0, 0, 3, 0], &[0x08], b"_SUN", &[0x0a, 3],
            // Method (_EJ0, 1, Serialized) { Store (8, HPEJ) }
            &[0x14, 0x0d], b"_EJ0", &[0x09, 0x70, 0x0a, 8], b"HPEJ",
        ].concat();
        let got = bytes(&PciSlot(3));
        assert_eq!(got[3..], expected[3..]);
        assert_eq!(usize::from(got[2]), got.len() - 2, "its length");
    }

    #[test]
    fn registers_are_ports_of_four_bytes() {
        let expected = [
            &[0x5b, 0x80][..],
            b"HPRG",
            &[1, 0x0b, 0x08, 0x06, 0x0a, 12],
            &[0x5b, 0x81, 0x15],
            b"HPRG",
            &[0x43],
            b"HPUP",
            &[0x20],
            b"HPDN",
            &[0x20],
            b"HPEJ",
            &[0x20],
        ];
        assert_eq!(bytes(&Registers), expected.concat());
    }

    #[test]
    fn each_bit_is_told_to_its_slot() {
        let code = bytes(&EventDevice);
        let has = |part: &[u8]| code.windows(part.len()).any(|window| window == part);
        assert!(has(b"ACPI0013"));
        assert!(has(&[0x89, 6, 0, 3, 1, 5, 0, 0, 0]), "an edge at pin 5");
        // If (Local0 & 0x40000000) { Notify (\_SB.PCI0.S30, 1) }, and of Local1 with 3.
        for (local, what) in [(0x60, &[1][..]), (0x61, &[0x0a, 3])] {
            let bit =
                [&[0x7b, local, 0x0c, 0, 0, 0, 0x40, 0, 0x86, b'\\', 0x2f, 3][..], b"_SB_PCI0S30_"].concat();
            assert!(has(&[&bit[..], what].concat()), "{local:#x}");
        }
        assert!(has(&[0x70, b'H', b'P', b'U', b'P', 0x60]) && has(&[0x70, b'H', b'P', b'D', b'N', 0x61]));
    }
}
