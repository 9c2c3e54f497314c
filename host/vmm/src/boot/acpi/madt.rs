//! The MADT: the local APICs, by 32-bit ids where 8 bits do not do, and the I/O APIC.

use std::ops::Range;

use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::{Aml, AmlSink, aml_as_bytes};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::{OEM, OEM_REVISION, OEM_TABLE};
use crate::vm::layout;

/// APIC ids from here on need the x2APIC form of an entry: 255 is everybody in the short one.
const X2APIC_FROM: u32 = 255;
const IO_APIC_ID: u8 = 0;

/// A processor local x2APIC structure ("ACPI Specification 6.5", section 5.2.12.12), which the library lacks.
#[repr(C)]
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
struct LocalX2Apic {
    kind: u8,
    length: u8,
    reserved: U16,
    apic_id: U32,
    flags: U32,
    processor_uid: U32,
}

aml_as_bytes!(LocalX2Apic);

impl LocalX2Apic {
    fn new(apic_id: u32) -> Self {
        const ENABLED: u32 = 1;
        Self {
            kind: 9,
            length: 16,
            reserved: U16::ZERO,
            apic_id: apic_id.into(),
            flags: ENABLED.into(),
            processor_uid: apic_id.into(),
        }
    }
}

pub(super) fn table(apic_ids: &[u32]) -> MADT {
    let mut madt =
        MADT::new(OEM, OEM_TABLE, OEM_REVISION, LocalInterruptController::Address(address32(&layout::LAPIC)));
    for id in apic_ids {
        match u8::try_from(*id) {
            Ok(short) if *id < X2APIC_FROM => {
                madt.add_structure(ProcessorLocalApic::new(short, short, EnabledStatus::Enabled));
            }
            _ => madt.add_structure(LocalX2Apic::new(*id)),
        }
    }
    madt.add_structure(IoApic::new(IO_APIC_ID, address32(&layout::IO_APIC), 0));
    madt
}

/// The table has 32-bit addresses, and these registers are below 4 GiB on every PC.
fn address32(registers: &Range<u64>) -> u32 {
    u32::try_from(registers.start).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::HEADER_SIZE;
    use super::*;

    /// What follows the header.
    fn body(apic_ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        table(apic_ids).to_aml_bytes(&mut bytes);
        bytes.split_off(HEADER_SIZE as usize)
    }

    #[test]
    fn bytes_for_a_narrow_and_a_wide_apic_id() {
        #[rustfmt::skip]
        let expected = [
            0x00, 0x00, 0xe0, 0xfe, 0, 0, 0, 0,
            0, 8, 7, 7, 1, 0, 0, 0,
            9, 16, 0, 0, 0x2c, 0x01, 0, 0, 1, 0, 0, 0, 0x2c, 0x01, 0, 0,
            1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,
        ];
        assert_eq!(body(&[7, 300]), expected);
    }

    #[test]
    fn id_255_is_broadcast_in_the_short_form_and_so_gets_the_long_one() {
        assert_eq!(body(&[254])[8], 0);
        assert_eq!(body(&[255])[8], 9);
    }
}
