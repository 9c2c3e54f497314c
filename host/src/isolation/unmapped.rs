//! Interrupts that an AMD unit lets a device send unmapped, because the firmware says so.
//!
//! A device table entry has bits that let INIT, NMI, ExtINT, LINT0 and LINT1 of the device pass without being remapped:
//! INITPass, NMIPass, EIntPass, Lint0Pass, Lint1Pass (AMD 48882 Rev 3.11, "Device Table Entry Format"). Linux sets them
//! where the firmware's IVRS does, for a device that a guest has too.

use super::function::link_name;
use super::switches::unread;
use super::unit::RemappingUnit;
use super::{Host, NotIsolated, ivrs};
use pvir_abi::{DeviceId, Refusal};
use std::fs;
use std::io;

const TABLE: &str = "sys/firmware/acpi/tables/IVRS";

impl Host {
    /// Refuses a device behind an AMD unit if the firmware lets interrupts of it pass unmapped, or names an alias of it,
    /// or if that cannot be determined. Units of other kinds have nothing of the sort.
    pub(super) fn validate_unmapped(&self, device: DeviceId) -> Result<(), NotIsolated> {
        let unit = link_name(&self.device_path(device).join("iommu"));
        if unit.as_deref().and_then(RemappingUnit::by_name) != Some(RemappingUnit::Amd) {
            return Ok(());
        }
        let unknown = |error: io::Error| {
            let remedy = "run pvir as root, or let this user read the file (chmod, until the next boot)";
            unread(&format!("what the firmware says of AMD's IOMMU (/{TABLE})"), &error, remedy)
        };
        let table = fs::read(self.path(TABLE)).map_err(unknown)?;
        let found = ivrs::find(&table, device).map_err(|what| unknown(io::Error::other(what)))?;
        if let Some(passes) = found.passes() {
            return Err(NotIsolated {
                refusal: Refusal::NO_REMAPPING,
                what: format!("the firmware (/{TABLE}) lets {device} send without remapping: {passes}"),
                remedy: "ask the machine's maker for firmware that does not, or use another device".into(),
            });
        }
        if let Some(alias) = found.alias {
            return Err(NotIsolated {
                refusal: Refusal::ALIASED_REQUESTER,
                what: format!("the firmware (/{TABLE}) names {device} and {alias} as one requester"),
                remedy: "use another device: this one cannot be told apart from others".into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::super::ivrs::tests::{block, table};
    use super::*;
    use std::os::unix::fs::symlink;

    /// Device 5, behind this unit.
    fn behind(unit: &str) -> Fixture {
        let fixture = Fixture::new();
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        let link = fixture.host.device_path(id(5)).join("iommu");
        symlink(format!("/sys/devices/virtual/iommu/{unit}"), link).unwrap();
        fixture
    }

    fn refusal(fixture: &Fixture) -> Option<Refusal> {
        let all = fixture.host.reasons(id(5), &[id(5)]);
        assert_eq!(all.first().cloned(), fixture.host.validate(id(5), &[id(5)]).err());
        all.first().map(|reason| reason.refusal)
    }

    #[test]
    fn a_device_whose_interrupts_pass_unmapped_is_refused() {
        let fixture = behind("ivhd0");
        for (setting, refused) in [
            (0, false),
            (8, false),
            (1, true),
            (2, true),
            (4, true),
            (0x10, true),
            (0x40, true),
            (0x80, true),
        ] {
            fixture.write(TABLE, table(&[block(0x11, 0, &[2, 0x28, 0, setting])]));
            assert_eq!(refusal(&fixture), refused.then_some(Refusal::NO_REMAPPING), "{setting:#x}");
        }
        fixture.write(TABLE, table(&[block(0x11, 0, &[2, 0x30, 0, 0xff])]));
        assert_eq!(refusal(&fixture), None, "another device");
        fixture.write(TABLE, table(&[block(0x11, 0, &[0x42, 0x28, 0, 0, 0, 0x30, 0, 0])]));
        assert_eq!(refusal(&fixture), Some(Refusal::ALIASED_REQUESTER));
    }

    #[test]
    fn a_table_that_cannot_be_read_is_refused_behind_an_amd_unit_only() {
        assert_eq!(refusal(&behind("ivhd0")), Some(Refusal::POLICY), "no table");
        assert_eq!(refusal(&behind("dmar0")), None);
        let fixture = behind("ivhd1");
        fixture.write(TABLE, b"IVRS");
        assert_eq!(refusal(&fixture), Some(Refusal::POLICY), "cut off");
    }
}
