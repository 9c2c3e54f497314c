//! Phantom functions: a device that uses the function numbers next to its own as further requester ids.
//!
//! PCI Express Base Specification 6.0, sections 7.5.3.3 "Device Capabilities Register" (Phantom Functions Supported) and
//! 7.5.3.4 "Device Control Register" (Phantom Functions Enable).

use super::Host;
use super::NotIsolated;
use crate::pci::ConfigHeader;
use pvir_abi::{DeviceId, Refusal};
use std::fs;

impl Host {
    /// Refuses a device whose phantom functions are switched on, as far as this user can read the device's
    /// configuration space: without privilege only its first 64 bytes are readable. VFIO shows the registers to the
    /// process that has the device ([`validate_phantom`]).
    pub(super) fn validate_phantom_functions(&self, device: DeviceId) -> Result<(), NotIsolated> {
        let config = fs::read(self.device_path(device).join("config")).unwrap_or_default();
        config.first_chunk().map_or(Ok(()), |config| validate_phantom(device, config))
    }
}

/// Refuses a device whose config space says that phantom functions are switched on.
pub(crate) fn validate_phantom(device: DeviceId, config: &[u8; 256]) -> Result<(), NotIsolated> {
    if !ConfigHeader(config).phantom_functions() {
        return Ok(());
    }
    Err(NotIsolated {
        refusal: Refusal::ALIASED_REQUESTER,
        what: format!("{device} has phantom functions switched on: it sends under other functions' requester ids"),
        remedy: "switch them off (Device Control, bit 9; the firmware or the device's driver did it), or use another \
                 device"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::*;

    /// Config space of an endpoint with these device capabilities and this device control.
    fn config(capabilities: u32, control: u16) -> [u8; 256] {
        let mut config = [0; 256];
        config[6] = 0x10;
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x10, 0, 2, 0]);
        config[0x44..0x48].copy_from_slice(&capabilities.to_le_bytes());
        config[0x48..0x4a].copy_from_slice(&control.to_le_bytes());
        config
    }

    #[test]
    fn refused_only_where_they_are_there_and_on() {
        let refused =
            |capabilities, control| validate_phantom(id(5), &config(capabilities, control)).is_err();
        for supported in 1..4 {
            assert!(refused(supported << 3, 1 << 9), "{supported}");
            assert!(!refused(supported << 3, !(1 << 9)), "{supported}");
        }
        assert!(!refused(!(3 << 3), !0), "the bit means nothing without the capability");
        assert!(validate_phantom(id(5), &[0; 256]).is_ok(), "conventional PCI");
    }

    #[test]
    fn the_host_sees_what_sysfs_shows() {
        let fixture = Fixture::new();
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        let file = format!("sys/bus/pci/devices/{}/config", id(5));
        let bytes = config(1 << 3, 1 << 9);
        fixture.write(&file, bytes);
        assert_eq!(
            fixture.host.validate_phantom_functions(id(5)).unwrap_err().refusal,
            Refusal::ALIASED_REQUESTER
        );
        fixture.write(&file, &bytes[..64]);
        assert!(fixture.host.validate_phantom_functions(id(5)).is_ok());
    }
}
