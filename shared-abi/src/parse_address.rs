//! PCI addresses from text, in the form in which they are printed.

use crate::{Bdf, DeviceId};
use core::fmt;
use core::str::FromStr;

/// A text that is no PCI address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseAddressError;

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a PCI address; expected SSSS:BB:DD.F, for example 0000:01:00.0")
    }
}

impl core::error::Error for ParseAddressError {}

impl FromStr for Bdf {
    type Err = ParseAddressError;

    /// Reads `BB:DD.F`, in hexadecimal.
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let parts = text.split_once(':').and_then(|(bus, rest)| {
            let (device, function) = rest.split_once('.')?;
            Self::new(
                hex(bus, 2)?.try_into().ok()?,
                hex(device, 2)?.try_into().ok()?,
                hex(function, 1)?.try_into().ok()?,
            )
        });
        parts.ok_or(ParseAddressError)
    }
}

impl FromStr for DeviceId {
    type Err = ParseAddressError;

    /// Reads `SSSS:BB:DD.F`, in hexadecimal. `BB:DD.F` is in segment 0.
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        match text.split_once(':') {
            Some((segment, bdf)) if bdf.contains(':') => {
                Ok(Self::new(hex(segment, 4).ok_or(ParseAddressError)?, bdf.parse()?))
            }
            _ => Ok(Self::new(0, text.parse()?)),
        }
    }
}

/// A number of one to `max` digits, without a sign.
fn hex(text: &str, max: usize) -> Option<u16> {
    let digits = (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u16::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn an_address_is_read_as_it_is_printed() {
        for text in ["0000:00:00.0", "ffff:ff:1f.7", "0001:ab:03.5"] {
            assert_eq!(text.parse::<DeviceId>().unwrap().to_string(), text);
        }
        assert_eq!("1:1f.7".parse(), Ok(DeviceId::new(0, Bdf::new(1, 0x1f, 7).unwrap())));
        assert_eq!("ab:1F.7".parse(), Ok(Bdf(0xabff)));
    }

    #[test]
    fn what_is_no_address_is_refused() {
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
            assert_eq!(text.parse::<DeviceId>(), Err(ParseAddressError), "{text}");
        }
        assert_eq!("0000:01:00.0".parse::<Bdf>(), Err(ParseAddressError));
    }
}
