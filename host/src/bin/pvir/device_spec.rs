//! The argument of `--device`.

use std::fmt;
use std::str::FromStr;

/// The place of a PCI function on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PciAddress {
    pub(crate) segment: u16,
    pub(crate) bus: u8,
    pub(crate) device: u8,
    pub(crate) function: u8,
}

impl FromStr for PciAddress {
    type Err = String;

    /// `SSSS:BB:DD.F`, `BB:DD.F`, or a path whose last part is one of them.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a PCI address; expected SSSS:BB:DD.F, for example 0000:01:00.0");
        let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let (front, function) = name.rsplit_once('.').ok_or_else(bad)?;
        let mut parts = front.rsplit(':');
        let mut hex = |most_digits: usize| -> Option<Result<u16, String>> {
            let part = parts.next()?;
            let plain =
                (1..=most_digits).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            Some(if plain { u16::from_str_radix(part, 16).map_err(|_| bad()) } else { Err(bad()) })
        };
        let device = hex(2).ok_or_else(bad)??;
        let bus = hex(2).ok_or_else(bad)??;
        let segment = hex(4).transpose()?.unwrap_or(0);
        let function = match function.as_bytes() {
            [digit @ b'0'..=b'7'] => digit - b'0',
            _ => return Err(bad()),
        };
        if parts.next().is_some() || device > 31 {
            return Err(bad());
        }
        let byte = |value: u16| u8::try_from(value).map_err(|_| bad());
        Ok(Self { segment, bus: byte(bus)?, device: byte(device)?, function })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

/// One device for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeviceSpec {
    /// A host function passed through.
    Vfio(PciAddress),
    /// The emulated device, with its options in the order given.
    Emulated(Vec<(String, String)>),
    /// A function with a little memory, with which the machine itself is tested.
    Scratch,
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
            ("vfio", Some(address)) => Ok(Self::Vfio(address.parse()?)),
            ("vfio", None) => Err("vfio needs a device, for example vfio=0000:01:00.0".to_owned()),
            ("emulated", options) => Ok(Self::Emulated(parse_options(options.unwrap_or_default())?)),
            ("scratch", None) => Ok(Self::Scratch),
            _ => Err(format!("unknown kind of device `{kind}`; use vfio=BDF or emulated")),
        }
    }
}

fn parse_options(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |option: &str| match option.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{option}` is not KEY=VALUE")),
    };
    text.split(',').filter(|option| !option.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_with_and_without_segment_and_as_sysfs_path() {
        let expected = PciAddress { segment: 0, bus: 1, device: 0x1f, function: 7 };
        for text in ["0000:01:1f.7", "01:1f.7", "/sys/bus/pci/devices/0000:01:1f.7/", "1:1f.7"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "0000:01:1f.7");
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "",
            "01:00",
            "01:20.0",
            "01:00.8",
            "01:00.",
            "1:2:3:4.0",
            "zz:00.0",
            "+1:00.0",
            "10000:00:00.0",
            "100:00.0",
        ] {
            let error = text.parse::<PciAddress>().unwrap_err();
            assert!(error.contains("not a PCI address"), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_of_devices() {
        let options = vec![("vectors".to_owned(), "8".to_owned()), ("ims".to_owned(), "1".to_owned())];
        assert_eq!("emulated,vectors=8,ims=1".parse(), Ok(DeviceSpec::Emulated(options.clone())));
        assert_eq!("emulated=vectors=8,ims=1".parse(), Ok(DeviceSpec::Emulated(options)));
        assert_eq!("emulated".parse(), Ok(DeviceSpec::Emulated(vec![])));
        assert!("vfio".parse::<DeviceSpec>().unwrap_err().contains("needs a device"));
        assert!("usb=1".parse::<DeviceSpec>().unwrap_err().contains("unknown kind"));
        assert!("emulated,x".parse::<DeviceSpec>().unwrap_err().contains("KEY=VALUE"));
    }
}
