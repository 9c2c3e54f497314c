//! The storm, and messages of IMS, with a count of what the device sent: QEMU, which is the device and the remapping unit, logs each
//! message on L0.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::driver::drive;
use super::product::ONE_CPU;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding, Verdict};

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/storm", "20,000 interrupts of ten entries: device, host and handlers count the same"),
        ("intel/ims", "messages from transmit queues: device, host and handlers count the same"),
        (
            "intel/ims-table",
            "messages from spare entries of the table: device, host and handlers count the same",
        ),
    ],
    run: |names| run(Iommu::Intel, names),
};
/// Messages from transmit queues are not tried: QEMU gives what a device writes by DMA no requester id, and its AMD-Vi takes
/// a message without one for one of the I/O APIC. Its VT-d delivers such a message without verifying its source.
pub(super) const AMD: Batch = Batch {
    cases: &[
        ("amd/storm", "20,000 interrupts of ten entries: device, host and handlers count the same"),
        (
            "amd/ims-table",
            "messages from spare entries of the table: device, host and handlers count the same",
        ),
    ],
    run: |names| run(Iommu::Amd, names),
};

fn run(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let event = match iommu {
        Iommu::Intel => "vtd_ir_remap_msi_req",
        Iommu::Amd => "amdvi_ir_remap_msi_req",
        Iommu::IntelNoRemap | Iommu::Off => bail!("nothing is remapped there"),
    };
    let logs = tempfile::tempdir()?;
    let options = Options {
        iommu,
        cpus: ONE_CPU,
        devices: vec!["igb".into()],
        qemu: vec!["-trace".into(), event.into()],
        logs: Some(logs.path().to_path_buf()),
        ..Options::default()
    };
    let mut findings = Vec::new();
    // a machine for each, so that each has a log of its own
    for name in names {
        let driven = drive(&options, &[name])?.pop().context("no finding")?;
        let mut finding = driven.finding;
        if let Ok(Verdict::Passed(note)) = &finding.result {
            let started = Instant::now();
            finding.result = check(&logs.path().join("qemu.log"), event, &driven.data)
                .map(|sent| Verdict::Passed(format!("{note}; the device sent {sent}")));
            finding.took += started.elapsed();
        }
        findings.push(finding);
    }
    Ok(findings)
}

/// Holds what the guest handled, entry by entry, against the messages in QEMU's log.
fn check(log: &Path, event: &str, handled: &Value) -> Result<u64> {
    let text = fs::read_to_string(log).context("QEMU's log")?;
    let messages = count(&text, event);
    let entries = handled.as_array().context("the driver left no counts")?;
    ensure!(!entries.is_empty(), "the driver left no counts");
    let mut all = 0;
    for entry in entries {
        let address = entry["address"].as_str().unwrap_or_default().to_owned();
        let pair = (address, format!("{:#x}", entry["data"].as_u64().unwrap_or(u64::MAX)));
        let source = source_id(entry["device"].as_str().unwrap_or_default())?;
        // where pairs are a device's own, the trace names the device
        let of = |source: Option<String>| messages.get(&(source, pair.clone())).copied().unwrap_or(0);
        let sent = of(None) + of(Some(source));
        ensure!(entry["count"] == sent, "the device sent {pair:?} {sent} times, handled: {}", entry["count"]);
        all += sent;
    }
    Ok(all)
}

/// The source id of a device, as QEMU prints it.
fn source_id(bdf: &str) -> Result<String> {
    let parts: Vec<u32> =
        bdf.split([':', '.']).map(|part| u32::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
    let [_, bus, device, function] = parts[..] else { bail!("{bdf} is no address of a PCI function") };
    Ok(format!("{:#x}", bus << 8 | device << 3 | function))
}

/// How often each pair of address and data was sent, and by whom if the trace says.
fn count(log: &str, event: &str) -> BTreeMap<(Option<String>, (String, String)), u64> {
    let mut messages = BTreeMap::new();
    for line in log.lines().filter(|line| line.split(' ').next() == Some(event)) {
        let mut words = line.split([' ', ',']).filter(|word| word.starts_with("0x")).map(str::to_owned);
        if let (Some(address), Some(data)) = (words.next(), words.next()) {
            *messages.entry((words.next(), (address, data))).or_default() += 1;
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str, data: &str) -> (String, String) {
        (address.into(), data.into())
    }

    #[test]
    fn messages_are_counted_by_pair() {
        let log = "vtd_ir_remap_msi_req addr 0xfee00238 data 0x0\n\
                   vtd_ir_remap_msi (addr 0xfee00238, data 0x0) -> (addr 0xfee0100c, data 0x4021)\n\
                   vtd_ir_remap_msi_req addr 0xfee00258 data 0x0\nvtd_ir_remap_msi_req addr 0xfee00238 data 0x0\n";
        let messages = count(log, "vtd_ir_remap_msi_req");
        assert_eq!(messages[&(None, pair("0xfee00238", "0x0"))], 2);
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn messages_are_counted_by_device_where_it_is_named() {
        let log = "amdvi_ir_remap_msi_req addr 0xfee00000, data 0x1, sid 0x8\n\
                   amdvi_ir_remap_msi_req addr 0xfee00000, data 0x1, sid 0xf0\n";
        let messages = count(log, "amdvi_ir_remap_msi_req");
        assert_eq!(messages[&(Some(source_id("0000:00:01.0").unwrap()), pair("0xfee00000", "0x1"))], 1);
    }
}
