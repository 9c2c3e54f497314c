//! What the IOMMU's driver says in the kernel's log about messages that it blocked. (The kernel limits how often it
//! says so: one line may stand for many messages.)

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use serde::Serialize;

const LOG: &str = "/dev/kmsg";

#[derive(Serialize, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Since the machine started.
    microseconds: u64,
    /// The requester.
    device: Option<String>,
    /// The index in the remapping table that the message asked for.
    index: Option<String>,
    reason: Option<String>,
    text: String,
}

/// All faults in the log.
pub(crate) fn all() -> Result<Vec<Fault>> {
    // the log is endless for a reader that waits
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open(LOG)?;
    let mut faults = Vec::new();
    let mut record = vec![0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(faults),
            Ok(length) => faults.extend(parse(&String::from_utf8_lossy(&record[..length]))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(faults),
            // records were overwritten while we read; the next read goes on behind them
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).context("cannot read the kernel's log"),
        }
    }
}

/// A record is `priority,number,time,flags;text`.
fn parse(record: &str) -> Option<Fault> {
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    let intel = text.contains("DMAR") && (text.contains("INTR-REMAP") || text.contains("fault"));
    let amd = text.contains("AMD-Vi") && text.contains("Event logged");
    if !intel && !amd {
        return None;
    }
    let after = |key: &str, end: char| {
        let rest = text.split_once(key)?.1;
        Some(rest.split([end, ' ']).next()?.to_owned())
    };
    Some(Fault {
        microseconds: head.split(',').nth(2)?.parse().ok()?,
        device: after("device [", ']').or_else(|| after("device=", ' ')).map(without_segment),
        index: after("fault index ", ' '),
        reason: after("fault reason ", ']'),
        text: text.to_owned(),
    })
}

/// `bus:device.function`: kernels of about 7.0 and newer write the PCI segment before it.
fn without_segment(device: String) -> String {
    match device.split_once(':') {
        Some((_, rest)) if rest.contains(':') => rest.to_owned(),
        _ => device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_message_is_taken_apart() {
        let fault = parse(
            "3,912,2671474,-;DMAR: [INTR-REMAP] Request device [00:02.0] fault index 0x1234 [fault reason 0x22] \
             Present field in the IRTE entry is clear\n SUBSYSTEM=x\n",
        )
        .unwrap();
        assert_eq!(fault.microseconds, 2_671_474);
        assert_eq!(fault.device.as_deref(), Some("00:02.0"));
        assert_eq!(fault.index.as_deref(), Some("0x1234"));
        assert_eq!(fault.reason.as_deref(), Some("0x22"));
    }

    #[test]
    fn a_device_is_named_alike_by_old_and_new_kernels() {
        let of = |device: &str| {
            let text = format!(
                "3,1,2,-;DMAR: [INTR-REMAP] Request device [{device}] fault index 0x1 [fault reason 0x22]\n"
            );
            parse(&text).unwrap().device.unwrap()
        };
        assert_eq!(of("00:02.0"), "00:02.0");
        assert_eq!(of("0000:00:02.0"), "00:02.0");
    }

    #[test]
    fn other_lines_are_no_faults() {
        assert_eq!(parse("6,1,5,-;DMAR: IOMMU enabled\n"), None);
        assert_eq!(parse("6,1,5,-;Freeing initrd memory\n"), None);
    }
}
