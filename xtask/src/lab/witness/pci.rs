//! A PCI function's config space and memory, by sysfs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const STATUS: usize = 0x06;
const HAS_CAPABILITIES: u16 = 1 << 4;
const FIRST_CAPABILITY: usize = 0x34;

pub(crate) struct Function {
    folder: PathBuf,
    config: Vec<u8>,
}

impl Function {
    pub(crate) fn open(bdf: &str) -> Result<Self> {
        let folder = Path::new("/sys/bus/pci/devices").join(bdf);
        let config =
            fs::read(folder.join("config")).with_context(|| format!("there is no PCI function {bdf}"))?;
        Ok(Self { folder, config })
    }

    #[cfg(test)]
    fn with_config(config: Vec<u8>) -> Self {
        Self { folder: PathBuf::new(), config }
    }

    pub(crate) fn read_u16(&self, offset: usize) -> Result<u16> {
        let bytes = self.config.get(offset..offset + 2);
        let bytes = bytes.with_context(|| format!("config space ends before {offset:#x}"))?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn read_u32(&self, offset: usize) -> Result<u32> {
        Ok(u32::from(self.read_u16(offset)?) | u32::from(self.read_u16(offset + 2)?) << 16)
    }

    /// Where the capability with this number begins.
    pub(crate) fn capability(&self, wanted: u8) -> Result<Option<usize>> {
        if self.read_u16(STATUS)? & HAS_CAPABILITIES == 0 {
            return Ok(None);
        }
        let mut offset = usize::from(self.read_u16(FIRST_CAPABILITY)? & 0xfc);
        // a list longer than the space that holds it is a circle
        for _ in 0..64 {
            if offset == 0 {
                return Ok(None);
            }
            let [number, next] = self.read_u16(offset)?.to_le_bytes();
            if number == wanted {
                return Ok(Some(offset));
            }
            offset = usize::from(next & 0xfc);
        }
        bail!("the list of capabilities is a circle")
    }

    /// The file by which a BAR is mapped.
    pub(crate) fn bar_file(&self, bar: u32) -> PathBuf {
        self.folder.join(format!("resource{bar}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(usize, u8)]) -> Function {
        let mut config = vec![0; 256];
        config[STATUS] = 0x10;
        for (offset, byte) in entries {
            config[*offset] = *byte;
        }
        Function::with_config(config)
    }

    #[test]
    fn a_capability_is_found_behind_others() {
        let function = config(&[(0x34, 0x40), (0x40, 0x01), (0x41, 0x50), (0x50, 0x11)]);
        assert_eq!(function.capability(0x11).unwrap(), Some(0x50));
        assert_eq!(function.capability(0x05).unwrap(), None);
    }

    #[test]
    fn a_circle_of_capabilities_is_an_error() {
        let function = config(&[(0x34, 0x40), (0x40, 0x01), (0x41, 0x40)]);
        assert!(function.capability(0x11).is_err());
    }
}
