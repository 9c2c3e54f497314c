//! Several messages of one MSI capability: what the device was programmed with, the IRTEs, and the counts of host and guest,
//! message by message; and what it costs to write the capability.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::tally::{agree, handled};
use crate::CaseReport;
use crate::cases::counts::OF_CONSOLES;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::Vm;
use crate::witness::{ask, hex, index_of, irte};

const MESSAGES: u64 = 16;

pub(super) fn run() -> Result<CaseReport> {
    let device = host::device(1)?;
    let mut vm = Vm::start(&["--device", &format!("vfio={device}")], "multi rounds=50 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let entry = vm.events("entry").pop().context("no entry was mapped")?;
    same("messages", &number(&entry, "/count"), &MESSAGES)?;
    programmed(&device, &entry)?;
    let mapped = exits(&mut vm)?;
    vm.resume()?;
    vm.until("programmed")?;
    let written = exits(&mut vm)? - mapped;
    vm.resume()?;
    vm.until("unmasked")?;
    let enabled = exits(&mut vm)? - mapped - written;
    vm.resume()?;
    vm.until("stormed")?;
    let first = handled(&vm.events("vector"), |stage| stage == "mapped")?;
    let irqs = ask(&["irqs", &device])?;
    let of_kernel =
        irqs.iter().map(|irq| (("MSI".to_owned(), number(irq, "/index")), number(irq, "/count"))).collect();
    same("the host's kernel, message by message", &first, &of_kernel)?;
    vm.resume()?;
    vm.until("retargeted")?;
    programmed(&device, &entry).context("after RETARGET")?;
    let ended = vm.run_out()?;
    let checks = ended.passed()?;
    let total = agree(&ended, |stage| stage == "mapped" || stage == "released")?;
    Ok(format!(
        "{total} handled, host and report count the same for each of {MESSAGES} messages, all of them delivered; {written} \
         exits to write the capability, {enabled} to enable it; {checks} checks"
    )
    .into())
}

/// The device sends what the guest was given, and every message has a present IRTE of this device, one after the other.
fn programmed(device: &str, entry: &Value) -> Result<()> {
    let message = ask(&["msi", device])?.pop().context("no message")?;
    same("address in the device", &hex(&message, "address")?, &hex(entry, "address")?)?;
    same("data in the device", &number(&message, "/data"), &number(entry, "/data"))?;
    same("messages enabled in the device", &number(&message, "/count"), &MESSAGES)?;
    ensure!(message["enabled"] == true, "MSI is off: {message}");
    let Ok(table) = ask(&["irt"]) else { return Ok(()) };
    let first = index_of((hex(entry, "address")?, number(entry, "/data")))?;
    for message in 0..MESSAGES {
        let pair = (hex(entry, "address")?, number(entry, "/data") + message);
        let index = index_of(pair)?;
        same("index of the message", &index, &(first + message))?;
        let irte = irte(&table, index)
            .with_context(|| format!("IRTE {index} of message {message} is not present"))?;
        same("source id of the IRTE", &format!("0000:{}", text(irte, "sid")).as_str(), &device)?;
    }
    Ok(())
}

/// Exits so far, but for those of the guest's lines.
fn exits(vm: &mut Vm) -> Result<u64> {
    let counts = vm.counts()?;
    let all = counts["exits"].as_object().context("no exits")?;
    Ok(all
        .iter()
        .filter(|(cause, _)| !OF_CONSOLES.contains(&cause.as_str()))
        .filter_map(|(_, count)| count.as_u64())
        .sum())
}
