//! The argument of `--device`.

use std::str::FromStr;

use pvir_abi::DeviceId;
use pvir_host::emulation::{MessageStore, MsiForm, StoreLayout};

use crate::memory_size::MemorySize;

/// Reads the place of a PCI function on the host: `SSSS:BB:DD.F`, `BB:DD.F`, or a path whose last part is one of them.
pub(crate) fn parse_address(text: &str) -> Result<DeviceId, String> {
    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    name.parse().map_err(|error| format!("`{text}`: {error}"))
}

/// One device for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeviceSpec {
    /// A host function passed through.
    Vfio(DeviceId),
    /// The emulated device.
    Emulated(StoreLayout),
    /// A function with a little memory, with which the machine itself is tested; with another BAR of this size.
    Scratch(Option<MemorySize>),
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `emulated,vectors=8` and `emulated=vectors=8` are the same.
        let (kind, rest) = match text.find(['=', ',']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        match (kind, rest) {
            ("vfio", Some(address)) => Ok(Self::Vfio(parse_address(address)?)),
            ("vfio", None) => Err("vfio needs a device, for example vfio=0000:01:00.0".to_owned()),
            ("emulated", options) => Ok(Self::Emulated(emulated(options.unwrap_or_default())?)),
            ("scratch", None) => Ok(Self::Scratch(None)),
            ("scratch", Some(option)) => scratch(option),
            _ => Err(format!("unknown kind of device `{kind}`; use vfio=BDF or emulated")),
        }
    }
}

/// The option of the scratch device.
fn scratch(option: &str) -> Result<DeviceSpec, String> {
    let size = option.strip_prefix("large=").ok_or_else(|| format!("`{option}`: expected large=SIZE"))?;
    Ok(DeviceSpec::Scratch(Some(size.parse()?)))
}

/// Vectors of the emulated device where nothing else is said.
const DEFAULT_VECTORS: u32 = 16;
/// The number of its IMS entries where the user does not say.
const DEFAULT_IMS: u32 = 16;

/// The options of the emulated device.
fn emulated(options: &str) -> Result<StoreLayout, String> {
    let (mut msi, mut form, mut vectors, mut ims) =
        (false, MsiForm { wide: true, maskable: false }, DEFAULT_VECTORS, DEFAULT_IMS);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number =
            || value.parse().map_err(|_| format!("`{option}`: expected a number, for example {key}=8"));
        match (key, value) {
            ("vectors", _) => vectors = number()?,
            ("ims", _) => ims = number()?,
            ("store", "msix") => msi = false,
            ("store", "msi") => msi = true,
            ("narrow", "") => form.wide = false,
            ("maskable", "") => form.maskable = true,
            _ => {
                return Err(format!(
                    "`{option}` is no option of the emulated device; it has vectors=N, ims=N, store=msix, store=msi, and with MSI `narrow` and `maskable`"
                ));
            }
        }
    }
    if !msi && form != (MsiForm { wide: true, maskable: false }) {
        return Err("`narrow` and `maskable` are forms of MSI; help: add store=msi".to_owned());
    }
    let store = if msi { MessageStore::Msi(form) } else { MessageStore::Msix };
    StoreLayout::new(store, vectors, ims).map_err(|error| format!("`{options}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;

    #[test]
    fn address_with_and_without_segment_and_as_sysfs_path() {
        let expected = DeviceId::new(0, Bdf::new(1, 0x1f, 7).unwrap());
        for text in ["0000:01:1f.7", "01:1f.7", "/sys/bus/pci/devices/0000:01:1f.7/", "1:1f.7"] {
            assert_eq!(parse_address(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        // The rest is for the type to try, in the contract's crate.
        for text in ["", "01:20.0", "/sys/bus/pci/devices/"] {
            let error = parse_address(text).unwrap_err();
            assert!(error.contains("not a PCI address"), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_of_devices() {
        let msix = |vectors, ims| {
            Ok(DeviceSpec::Emulated(StoreLayout::new(MessageStore::Msix, vectors, ims).unwrap()))
        };
        assert_eq!("emulated,vectors=8".parse(), msix(8, 16));
        assert_eq!("emulated=vectors=2048,ims=0".parse(), msix(2048, 0));
        assert_eq!("emulated".parse(), msix(16, 16));
        assert_eq!("emulated,store=msix,ims=2048".parse(), msix(16, 2048));
        let msi = |wide, maskable| {
            let store = MessageStore::Msi(MsiForm { wide, maskable });
            Ok(DeviceSpec::Emulated(StoreLayout::new(store, 4, 16).unwrap()))
        };
        assert_eq!("emulated,store=msi,vectors=4".parse(), msi(true, false));
        assert_eq!("emulated,vectors=4,store=msi,narrow,maskable".parse(), msi(false, true));
        assert!("vfio".parse::<DeviceSpec>().unwrap_err().contains("needs a device"));
        assert!("usb=1".parse::<DeviceSpec>().unwrap_err().contains("unknown kind"));
        for (text, part) in [
            ("emulated,msi=1", "it has vectors=N"),
            ("emulated,narrow=1", "it has vectors=N"),
            ("emulated,store=intx", "it has vectors=N"),
            ("emulated,vectors=0", "1 to 2048"),
            ("emulated,vectors=2049", "1 to 2048"),
            ("emulated,vectors=", "expected a number"),
            ("emulated,ims=2049", "at most 2048"),
            ("emulated,store=msi,vectors=3", "1, 2, 4, 8, 16 or 32"),
            ("emulated,maskable", "add store=msi"),
        ] {
            assert!(text.parse::<DeviceSpec>().unwrap_err().contains(part), "{text}");
        }
    }
}
