//! The host bridge at 00:00.0: identity only.

use super::bars::BarSpec;
use super::function::PciFunction;

/// Vendor and device id of a generic host bridge (1b36:0008, which guests know and leave alone).
const ID: u32 = 0x0008_1b36;
/// Class 06 (bridge), subclass 00 (host).
const CLASS: u32 = 0x0600_0000;

pub(crate) struct HostBridge;

impl PciFunction for HostBridge {
    fn name(&self) -> String {
        "host bridge".to_owned()
    }

    fn bars(&self) -> [Option<BarSpec>; 6] {
        [None; 6]
    }

    fn config_read(&self, offset: u16, data: &mut [u8]) {
        let register = match offset & !3 {
            0x00 => ID,
            0x08 => CLASS,
            _ => 0,
        };
        let bytes = register.to_le_bytes();
        for (byte, value) in data.iter_mut().zip(bytes.iter().skip(usize::from(offset & 3))) {
            *byte = *value;
        }
    }

    fn config_write(&self, _offset: u16, _data: &[u8]) {}

    fn bar_read(&self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn bar_write(&self, _bar: u8, _offset: u64, _data: &[u8]) {}
}
