//! A guest that sends messages that it was not given, in bulk.

use anyhow::{Context, Result};

use super::{in_a_lab, in_this_lab};
use crate::lab::Iommu;

/// The attacker's device, one that writes by DMA, the victim's, and another of the attacker's. Each igb keeps two more slots for its
/// virtual functions, 16 behind its own: two of them are no neighbours.
const DEVICES: [&str; 4] = ["igb", "edu,dma_mask=0xffffffff", "igb", "igb,addr=0x6"];

/// So many messages of each class, a hundredth of it by DMA; how many of each class were sent, and what came of it.
pub(crate) fn isolation(iommu: Iommu, times: u64) -> Result<(Vec<(String, u64)>, String)> {
    let (note, data) = in_a_lab(iommu, 1, &DEVICES, "isolation", times)?;
    let classes = data.as_array().context("no classes")?;
    let sent =
        |class: &serde_json::Value| Some((class["class"].as_str()?.to_owned(), class["attempts"].as_u64()?));
    Ok((classes.iter().filter_map(sent).collect(), note))
}

/// The control: where the host checks no source ids the messages arrive. What came of it.
pub(crate) fn bites() -> Result<String> {
    Ok(in_this_lab(Iommu::Intel, 1, &DEVICES, ("isolation-bites", 1), "intremap=nosid")?.0)
}
