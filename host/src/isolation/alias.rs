//! Devices that send messages under a requester id that is not their own.
//!
//! The IOMMU attributes what they send to another function, and the other way round. Linux knows most of them by
//! vendor and device id (Linux 6.18, drivers/pci/quirks.c).

use super::Host;
use super::NotIsolated;
use pvir_abi::{DeviceId, Refusal};

/// Vendor, devices, and the quirk of `drivers/pci/quirks.c` that names them.
const ALIASED: &[(u16, &[u16], &str)] = &[
    (0x1180, &[0xe476, 0xe832], "quirk_dma_func0_alias"),
    (0x6766, &[0x3d40, 0x3d41], "quirk_dma_func0_alias"),
    (
        0x1b4b,
        &[
            0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917a, 0x9182, 0x9183, 0x91a0, 0x9215,
            0x9220, 0x9230, 0x9235,
        ],
        "quirk_dma_func1_alias",
    ),
    (0x1103, &[0x0642, 0x0645], "quirk_dma_func1_alias"),
    (0x197b, &[0x2392], "quirk_dma_func1_alias"),
    (0x1c28, &[0x0122], "quirk_dma_func1_alias"),
    // Linux looks at the subsystem too: cards of the same chip that it does not know are refused here.
    (0x9005, &[0x0285], "quirk_fixed_dma_alias"),
    (0x8086, &[0x2260, 0x2264], "quirk_mic_x200_dma_alias"),
    (0x8086, &[0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295a], "quirk_pex_vca_alias"),
];

/// Class of the bridges that are none between PCI buses: non-transparent ones send what comes from their other side
/// (`quirk_switchtec_ntb_dma_alias`, `quirk_plx_ntb_dma_alias`).
const OTHER_BRIDGE: u32 = 0x0680;

impl Host {
    /// Refuses a device that is known for a requester id which is not its own.
    pub(super) fn validate_alias(&self, device: DeviceId) -> Result<(), NotIsolated> {
        let function = self.function(device)?;
        let known = |(vendor, devices, _): &&(u16, &[u16], &str)| {
            *vendor == function.vendor && devices.contains(&function.device)
        };
        let quirk = match ALIASED.iter().find(known) {
            Some((_, _, quirk)) => *quirk,
            None if function.class >> 8 == OTHER_BRIDGE => "class 0x0680, a non-transparent bridge",
            None => return Ok(()),
        };
        Err(NotIsolated {
            refusal: Refusal::ALIASED_REQUESTER,
            what: format!(
                "{device} ({:04x}:{:04x}) is known to send messages under a requester id that is not its own ({quirk})",
                function.vendor, function.device
            ),
            remedy: "use another device: this one cannot be told apart from others".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::*;

    fn refusal(ids: (u16, u16), class: u32) -> Option<Refusal> {
        let fixture = Fixture::new();
        fixture.add(id(5), ids, class);
        fixture.host.validate_alias(id(5)).err().map(|reason| reason.refusal)
    }

    #[test]
    fn devices_of_the_table_are_refused_and_their_neighbours_are_not() {
        for (vendor, devices, _) in ALIASED {
            for device in *devices {
                assert_eq!(refusal((*vendor, *device), 0x01_0601), Some(Refusal::ALIASED_REQUESTER));
            }
        }
        assert_eq!(refusal((0x1b4b, 0x9121), 0x01_0601), None);
        assert_eq!(refusal((0x8086, 0x10c9), 0x02_0000), None);
    }

    #[test]
    fn non_transparent_bridges_are_refused_of_every_vendor() {
        assert_eq!(refusal((0x11f8, 0x8531), 0x06_8000), Some(Refusal::ALIASED_REQUESTER));
        assert_eq!(refusal((0x10b5, 0x87b0), 0x06_8000), Some(Refusal::ALIASED_REQUESTER));
    }

    #[test]
    fn a_device_whose_ids_cannot_be_read_is_refused() {
        let fixture = Fixture::new();
        assert_eq!(fixture.host.validate_alias(id(5)).unwrap_err().refusal, Refusal::POLICY);
    }
}
