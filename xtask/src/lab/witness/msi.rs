//! The messages that a device really sends: its MSI-X table and its MSI capability, as the hardware holds them.
//!
//! PCI Express Base Specification, revision 6.1: 7.7.1 (MSI) and 7.7.2 (MSI-X).

use anyhow::{Context, Result};
use serde::Serialize;

use crate::mmio::Window;
use crate::pci::Function;

const COMMAND: usize = 0x04;
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;

#[derive(Serialize)]
pub(crate) struct MsixTableEntry {
    bdf: String,
    index: usize,
    address: String,
    data: u32,
    control: u32,
    masked: bool,
    /// Of the whole function: entries of a function that is not enabled mean nothing.
    enabled: bool,
    function_masked: bool,
}

/// Every entry of the device's table.
pub(crate) fn msix_table(bdf: &str) -> Result<Vec<MsixTableEntry>> {
    let function = Function::open(bdf)?;
    let capability = function.capability(MSIX)?.with_context(|| format!("{bdf} has no MSI-X"))?;
    let control = function.read_u16(capability + 2)?;
    let place = function.read_u32(capability + 4)?;
    let count = usize::from(control & 0x7ff) + 1;
    if function.read_u16(COMMAND)? & 2 == 0 {
        anyhow::bail!("{bdf} does not decode its memory now, so its table cannot be read");
    }
    let table = Window::map(&function.bar_file(place & 7), u64::from(place & !7), count * 16)?;
    (0..count)
        .map(|index| {
            let offset = index * 16;
            let vector_control = table.read(offset + 12)?;
            Ok(MsixTableEntry {
                bdf: bdf.to_owned(),
                index,
                address: format!("{:#x}", table.read_pair(offset)?),
                data: table.read(offset + 8)?,
                control: vector_control,
                masked: vector_control & 1 == 1,
                enabled: control >> 15 & 1 == 1,
                function_masked: control >> 14 & 1 == 1,
            })
        })
        .collect()
}

#[derive(Serialize)]
pub(crate) struct Message {
    bdf: String,
    enabled: bool,
    /// How many messages are enabled.
    count: u32,
    address: String,
    data: u16,
    /// The mask bits, of a device that has them.
    mask: Option<u32>,
}

/// The device's MSI message.
pub(crate) fn message(bdf: &str) -> Result<Message> {
    let function = Function::open(bdf)?;
    let capability = function.capability(MSI)?.with_context(|| format!("{bdf} has no MSI"))?;
    let control = function.read_u16(capability + 2)?;
    let wide = control >> 7 & 1 == 1;
    let high = if wide { u64::from(function.read_u32(capability + 8)?) << 32 } else { 0 };
    let data = capability + if wide { 12 } else { 8 };
    let mask = (control >> 8 & 1 == 1).then(|| function.read_u32(data + 4)).transpose()?;
    Ok(Message {
        bdf: bdf.to_owned(),
        enabled: control & 1 == 1,
        count: 1 << (control >> 4 & 7),
        address: format!("{:#x}", high | u64::from(function.read_u32(capability + 4)?)),
        data: function.read_u16(data)?,
        mask,
    })
}
