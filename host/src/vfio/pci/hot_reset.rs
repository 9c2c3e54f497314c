//! The reset of a device by its slot or bus, together with all that are reset by it.

use super::VfioPci;
use crate::vfio::descriptor::{HOT_RESET_DEVICE, HOT_RESET_HEAD};
use pvir_abi::{Bdf, DeviceId};
use std::io;
use vfio_bindings::bindings::vfio::{VFIO_PCI_HOT_RESET_FLAG_DEV_ID, VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED};

/// What a hot reset of a device reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotResetScope {
    /// All devices that it resets, this one among them.
    pub devices: Vec<DeviceId>,
    /// Whether the iommufd of this device has them all, or has them in its IOMMU groups, or nobody has them open. `None`
    /// where the device was opened by its group: then the kernel wants the descriptors of all groups.
    pub owned: Option<bool>,
}

impl VfioPci {
    /// Asks what a hot reset of the device would reach (`VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`).
    ///
    /// # Errors
    /// The errno of the ioctl: `ENODEV` if neither slot nor bus of the device can be reset, as on a root bus.
    pub fn hot_reset_scope(&self) -> io::Result<HotResetScope> {
        parse(&self.device.hot_reset_info()?)
    }

    /// Resets the device by its slot or bus (`VFIO_DEVICE_PCI_HOT_RESET`), and with it all devices of
    /// [`hot_reset_scope`](Self::hot_reset_scope): for a device that [`reset`](Self::reset) does not support. It is for
    /// devices that were opened by their own files: no descriptor is passed, because the kernel knows what the iommufd has.
    ///
    /// The guest of none of these devices may use them meanwhile. What [`reset`](Self::reset) says of messages and masks
    /// holds for each.
    ///
    /// # Errors
    /// `Unsupported` for a device that was opened by its group, `PermissionDenied` if one of the devices belongs to somebody
    /// else; otherwise the errno of the ioctls or of writing COMMAND.
    pub fn hot_reset(&self) -> io::Result<()> {
        match self.hot_reset_scope()?.owned {
            None => Err(io::ErrorKind::Unsupported.into()),
            Some(false) => Err(io::ErrorKind::PermissionDenied.into()),
            Some(true) => {
                self.set_bus_master(false)?;
                self.device.hot_reset()
            }
        }
    }
}

/// Parses the kernel's answer (linux/vfio.h, Linux 6.12). An answer that is shorter than it says is none.
fn parse(words: &[u32]) -> io::Result<HotResetScope> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the answer ends before its last device");
    let &[_, flags, count] = words.first_chunk::<HOT_RESET_HEAD>().ok_or_else(short)?;
    let end = HOT_RESET_HEAD + count as usize * HOT_RESET_DEVICE;
    let devices = words.get(HOT_RESET_HEAD..end).ok_or_else(short)?;
    let devices = devices.chunks_exact(HOT_RESET_DEVICE).map(|device| {
        // Segment in bits 15:0, bus in 23:16, device and function in 31:24.
        let [segment_low, segment_high, bus, devfn] = device[1].to_le_bytes();
        DeviceId::new(u16::from_le_bytes([segment_low, segment_high]), Bdf(u16::from_be_bytes([bus, devfn])))
    });
    let owned = flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED != 0;
    Ok(HotResetScope {
        devices: devices.collect(),
        owned: (flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID != 0).then_some(owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_each_device_and_who_has_them() {
        let words = |flags| [28, flags, 2, 7, 0x0801_0000, u32::MAX, 0x0901_0002];
        let scope = parse(&words(3)).unwrap();
        assert_eq!(scope.devices, [DeviceId::new(0, Bdf(0x0108)), DeviceId::new(2, Bdf(0x0109))]);
        assert_eq!(scope.owned, Some(true));
        assert_eq!(parse(&words(1)).unwrap().owned, Some(false));
        assert_eq!(parse(&words(0)).unwrap().owned, None, "by groups");
    }

    #[test]
    fn an_answer_that_is_too_short_is_none() {
        for words in [&[][..], &[12, 1], &[28, 1, 2, 7, 0], &[12, 1, u32::MAX]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert_eq!(parse(&[12, 1, 0]).unwrap().devices, []);
    }
}
