//! The storm, with a count of what the device sent: QEMU, which is the device and the remapping unit, tells of each
//! message on L0.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::driver::drive;
use crate::lab::{Iommu, Options};
use crate::test::{Batch, Finding, Verdict};

pub(super) const INTEL: Batch = Batch {
    cases: &[("intel/storm", "20,000 interrupts of ten entries: device, host and handlers count the same")],
    run: |names| run(Iommu::Intel, names),
};
pub(super) const AMD: Batch = Batch {
    cases: &[("amd/storm", "20,000 interrupts of ten entries: device, host and handlers count the same")],
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
        devices: vec!["igb".into()],
        qemu: vec!["-trace".into(), event.into()],
        logs: Some(logs.path().to_path_buf()),
        ..Options::default()
    };
    let mut findings = Vec::new();
    for driven in drive(&options, names)? {
        let mut finding = driven.finding;
        if let Ok(Verdict::Passed(note)) = &finding.result {
            let started = Instant::now();
            finding.result = judge(&logs.path().join("qemu.log"), event, &driven.data)
                .map(|sent| Verdict::Passed(format!("{note}; the device sent {sent}")));
            finding.took += started.elapsed();
        }
        findings.push(finding);
    }
    Ok(findings)
}

/// Holds what the guest handled, entry by entry, against the messages in QEMU's log.
fn judge(log: &Path, event: &str, handled: &Value) -> Result<u64> {
    let text = fs::read_to_string(log).context("QEMU's log")?;
    let messages = count(&text, event);
    let entries = handled.as_array().context("the driver left no counts")?;
    ensure!(entries.len() == 10, "the driver left {} counts", entries.len());
    let mut all = 0;
    for entry in entries {
        let address = entry["address"].as_str().unwrap_or_default().to_owned();
        let pair = (address, format!("{:#x}", entry["data"].as_u64().unwrap_or(u64::MAX)));
        let sent = messages.get(&pair).copied().unwrap_or(0);
        ensure!(entry["count"] == sent, "the device sent {pair:?} {sent} times, handled: {}", entry["count"]);
        all += sent;
    }
    Ok(all)
}

/// How often each pair of address and data was sent.
fn count(log: &str, event: &str) -> BTreeMap<(String, String), u64> {
    let mut messages = BTreeMap::new();
    for line in log.lines().filter(|line| line.starts_with(event)) {
        let mut words = line.split([' ', ',']).filter(|word| word.starts_with("0x"));
        if let (Some(address), Some(data)) = (words.next(), words.next()) {
            *messages.entry((address.to_owned(), data.to_owned())).or_default() += 1;
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_pair() {
        let log = "vtd_ir_remap_msi_req addr 0xfee00238 data 0x0\n\
                   vtd_ir_remap_msi (addr 0xfee00238, data 0x0) -> (addr 0xfee0100c, data 0x4021)\n\
                   vtd_ir_remap_msi_req addr 0xfee00258 data 0x0\nvtd_ir_remap_msi_req addr 0xfee00238 data 0x0\n";
        let messages = count(log, "vtd_ir_remap_msi_req ");
        assert_eq!(messages[&("0xfee00238".into(), "0x0".into())], 2);
        assert_eq!(messages.len(), 2);
    }
}
