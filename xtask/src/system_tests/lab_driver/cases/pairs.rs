//! Each pair that the guest was given is what the device's table really holds, and names an entry of the remapping
//! table that is present and the device's own; and so it stays when the guest retargets and when the host moves its
//! interrupts to another CPU.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::Vm;
use crate::witness::{ask, has_intel, hex, index_of, irte};

/// The host's CPUs that its interrupts are moved between.
const FROM: usize = 0;
const TO: usize = 1;

/// Address and data of each entry.
type Pairs = Vec<(u64, u64)>;

/// What was seen of a VM.
pub(super) struct Shown {
    /// For people.
    pub(super) note: String,
    /// The VMM's last report.
    pub(super) report: Value,
}

pub(super) fn run() -> Result<CaseReport> {
    Ok(with(&[])?.note.into())
}

/// The same with further arguments of `pvir run`.
pub(super) fn with(arguments: &[&str]) -> Result<Shown> {
    let device = host::device(0)?;
    let vfio = format!("vfio={device}");
    let arguments = [&["--device", vfio.as_str()], arguments].concat();
    let mut vm = Vm::start(&arguments, "direct interrupts=2000 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let given = pairs_of(&vm.events("entry"))?;
    same("entries", &given.len(), &10)?;
    check(&device, &given).context("when mapped")?;
    // the kernel spreads them: from one CPU each can be moved to the other
    ask(&["move-irqs", &device, &FROM.to_string()])?;
    vm.resume()?;
    vm.until("stormed")?;
    vm.resume()?;

    vm.until("retargeted")?;
    let all = pairs_of(&vm.events("entry"))?;
    same("pairs that the guest holds after RETARGET", &all[given.len()..].to_vec(), &given)?;
    check(&device, &given).context("after RETARGET")?;

    let table = remapping_table()?;
    ask(&["move-irqs", &device, &TO.to_string()])?;
    check(&device, &given).context("after the host's move")?;
    let moved = moved_entries(&given, &table, &remapping_table()?)?;
    let at_move = ask(&["irqs", &device])?;
    vm.resume()?;

    vm.until("masked")?;
    check(&device, &given).context("after interrupts on the other CPU")?;
    let mut arrived = 0;
    for (then, now) in at_move.iter().zip(ask(&["irqs", &device])?) {
        same("effective CPU", &text(&now, "effective"), &TO.to_string().as_str())?;
        let grown =
            |cpu: usize| number(&now, &format!("/counts/{cpu}")) - number(then, &format!("/counts/{cpu}"));
        ensure!(
            grown(TO) >= 100,
            "{} interrupts of entry {} arrived after the move",
            grown(TO),
            now["index"]
        );
        same("interrupts on the CPU that was left", &grown(FROM), &0)?;
        arrived += grown(TO);
    }
    let ended = vm.run_out()?;
    ended.passed()?;
    let remapped = match moved {
        Some(moved) => {
            format!("IRTEs present with this device's source id, {moved} of them moved by the host")
        }
        None => "no remapping table to read on this IOMMU".to_owned(),
    };
    let count = given.len();
    let note = format!(
        "{count} pairs as in the device's table, 4 times; {remapped}; {arrived} arrived after the move"
    );
    Ok(Shown { note, report: ended.report })
}

fn pairs_of(entries: &[Value]) -> Result<Pairs> {
    entries.iter().map(|entry| Ok((hex(entry, "address")?, number(entry, "/data")))).collect()
}

/// Holds the pairs against the device's table and the remapping table.
fn check(device: &str, given: &Pairs) -> Result<()> {
    let table = ask(&["msix", device])?;
    same("pairs in the device's table", &pairs_of(&table)?, given)?;
    for entry in &table {
        let live = entry["enabled"] == true && entry["function_masked"] == false && entry["masked"] == false;
        ensure!(live, "the entry cannot send: {entry}");
    }
    let Some(irtes) = remapping_table()? else { return Ok(()) };
    for pair in given {
        let index = index_of(*pair)?;
        let irte = irte(&irtes, index).with_context(|| format!("IRTE {index} is not present"))?;
        let source = format!("0000:{}", text(irte, "sid"));
        same("source id of the IRTE", &source.as_str(), &device)?;
        ensure!(number(irte, "/svt") == 1, "the IRTE does not verify the whole source id: {irte}");
    }
    Ok(())
}

fn remapping_table() -> Result<Option<Vec<Value>>> {
    if has_intel() { Ok(Some(ask(&["irt"])?)) } else { Ok(None) }
}

/// How many IRTEs the host's move has changed; each must have been.
fn moved_entries(
    given: &Pairs,
    before: &Option<Vec<Value>>,
    after: &Option<Vec<Value>>,
) -> Result<Option<usize>> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
    for pair in given {
        let index = index_of(*pair)?;
        let (then, now) = (irte(before, index), irte(after, index));
        ensure!(then != now, "the host's move did not change IRTE {index}: {now:?}");
    }
    Ok(Some(given.len()))
}
