//! What a Linux guest does to a trapped MSI-X table is what the test kernel does when it stands for one.

use std::cell::Cell;
use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use pvir_test_kernel::linux::{self, Message};
use serde_json::Value;

use super::counts::InterruptCounts;
use super::trace::{self, Access, Recorder};
use super::{Console, WORD, boot};
use crate::lab::Iommu;
use crate::runner::Verdict;

pub(super) fn run() -> Result<Verdict> {
    let output = boot(Iommu::Intel, [0, 1], WORD, "pvir.run=accesses", &["--log", trace::FILTER])?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    let report = console.report("guest-power-off")?;
    let log = String::from_utf8_lossy(&output.stderr);
    let note = check(&console, &log, &report).with_context(|| format!("the console:\n{}", console.0))?;
    Ok(Verdict::Passed(note))
}

fn check(console: &Console, log: &str, report: &Value) -> Result<String> {
    console.said("done").context("the guest's script did not come to its end")?;
    let parts = trace::parts(log)?;
    let all: usize = parts.iter().map(Vec::len).sum();
    let counted = counted(report)?;
    ensure!(all as u64 == counted, "{all} accesses were logged, {counted} were counted");
    // By the questions of accesses.sh.
    let [bring_up, request, spread, moves, release, _power_off] = &*parts else {
        bail!("{} parts", parts.len())
    };

    let shown = InterruptCounts::find(&console.0, "@counts requested ")?;
    let entries = |named: fn(&str) -> bool| -> BTreeSet<u16> {
        let lines = shown.lines.iter().filter(|line| named(&line.name));
        lines.filter_map(|line| u16::try_from(line.entry?).ok()).collect()
    };
    let (used, queues) = (entries(|_| true), entries(|name| name.contains('-')));
    ensure!(queues.len() >= 2, "the card has {} queues with an interrupt", queues.len());

    let table = Recorder::default();
    table.repeat(bring_up);
    let requests = compare("request_irq", &table, request, &used, |table, entry, _, now| {
        linux::request(table, entry, now);
        Ok(())
    })?;
    table.repeat(spread);
    let (moves, pairs) = without_pairs(moves);
    let directly = Cell::new(0);
    let moved = compare("a change of affinity", &table, &moves, &queues, |table, entry, before, now| {
        ensure!(before.0 != now.0, "it is where it was: {before:x?}");
        if before.1 == now.1 {
            directly.set(directly.get() + 1);
            linux::set_affinity_directly(table, entry, now);
        } else {
            linux::set_affinity(table, entry, before, now);
        }
        Ok(())
    })?;
    let directly = directly.get();
    ensure!(
        directly < queues.len(),
        "all {directly} moves kept their vectors: none shows the usual sequence"
    );
    let released = compare("free_irq", &table, release, &used, |table, entry, _, _| {
        linux::free(table, entry);
        Ok(())
    })?;
    Ok(format!(
        "{} entries requested by {requests} accesses each, {} moved by {moved}, {} freed by {released}, word for word as \
         the test kernel does it; {directly} moves kept their vectors and took fewer; {pairs} bare masks and unmasks \
         beside; all {all} as counted",
        used.len(),
        queues.len(),
        used.len()
    ))
}

/// The accesses of a part without bare pairs of mask and unmask, which come with moves and depend on when interrupts
/// arrive: one that comes on the new CPU while the handler still runs on the old one masks the entry until that has ended
/// (`handle_edge_irq` in kernel/irq/chip.c), and a move is put off that way while the vector of an earlier one is still to
/// be cleaned up (`irq_move_masked_irq` in kernel/irq/migration.c). Answers also with how many there were.
fn without_pairs(part: &[Access]) -> (Vec<Access>, usize) {
    let (mut kept, mut pairs) = (Vec::new(), 0);
    for (entry, mut done) in trace::by_entry(part) {
        let pair = Recorder::default();
        linux::mask(&pair, entry);
        linux::unmask(&pair, entry);
        let pair = pair.accesses();
        while let Some(at) = done.windows(pair.len()).position(|window| *window == pair) {
            done.drain(at..at + pair.len());
            pairs += 1;
        }
        kept.extend(done);
    }
    (kept, pairs)
}

/// Holds the accesses that a part of the log has for each of the `expected` entries against what `act` does to a table.
/// `act` is given the message of the entry before and after. How many there are for an entry, at most.
fn compare(
    what: &str,
    table: &Recorder,
    part: &[Access],
    expected: &BTreeSet<u16>,
    act: impl Fn(&Recorder, u16, Message, Message) -> Result<()>,
) -> Result<usize> {
    let entries = trace::by_entry(part);
    ensure!(entries.keys().eq(expected), "{what}: of entries {:?}, not {expected:?}", entries.keys());
    let before = |entry| table.message(entry);
    let messages: Vec<Message> = expected.iter().map(|entry| before(*entry).unwrap_or_default()).collect();
    table.repeat(part);
    let mut each = 0;
    for ((entry, done), before) in entries.iter().zip(messages) {
        let wanted = Recorder::default();
        let in_entry = || format!("{what}, entry {entry}");
        act(&wanted, *entry, before, table.message(*entry)?).with_context(in_entry)?;
        let wanted = wanted.accesses();
        ensure!(
            *done == wanted,
            "{}: the guest did\n  {}\nand the test kernel does\n  {}",
            in_entry(),
            line(done),
            line(&wanted)
        );
        each = each.max(wanted.len());
    }
    Ok(each)
}

fn line(accesses: &[Access]) -> String {
    accesses.iter().map(ToString::to_string).collect::<Vec<_>>().join("  ")
}

/// The trapped accesses to the BAR with the table, as the VMM counts them.
fn counted(report: &Value) -> Result<u64> {
    let devices = report["devices"].as_array().context("no devices")?;
    let bars = devices.iter().filter_map(|device| device["bars"].as_array()).flatten();
    let mut tables = bars.filter(|bar| bar["msix"] == true);
    let bar = tables.next().context("no BAR with a table")?;
    Ok(bar["reads"].as_u64().context("reads")? + bar["writes"].as_u64().context("writes")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of it when entries 1 and 2 are released, one of them by `act`.
    fn released(act: impl Fn(&Recorder)) -> Result<usize> {
        let guest = Recorder::default();
        linux::free(&guest, 1);
        act(&guest);
        let both = BTreeSet::from([1, 2]);
        compare("free_irq", &Recorder::default(), &guest.accesses(), &both, |table, entry, _, _| {
            linux::free(table, entry);
            Ok(())
        })
    }

    #[test]
    fn a_bare_mask_and_unmask_may_stand_beside_a_move_and_nothing_else() {
        let (old, new) = ((0xfee0_0000, 0x21), (0xfee0_1000, 0x22));
        let guest = Recorder::default();
        linux::mask(&guest, 4);
        linux::unmask(&guest, 4);
        linux::set_affinity(&guest, 4, old, new);
        linux::mask(&guest, 4);
        linux::unmask(&guest, 4);
        linux::mask(&guest, 4);
        let wanted = Recorder::default();
        linux::set_affinity(&wanted, 4, old, new);
        linux::mask(&wanted, 4);
        assert_eq!(without_pairs(&guest.accesses()), (wanted.accesses(), 2));
    }

    #[test]
    fn another_sequence_and_another_entry_are_told() {
        assert_eq!(
            released(|guest| {
                linux::free(guest, 2);
            })
            .unwrap(),
            6
        );
        let error = |act: fn(&Recorder)| released(act).unwrap_err().to_string();
        let twice = error(|guest| {
            linux::free(guest, 2);
            linux::mask(guest, 2);
        });
        assert!(
            twice.starts_with("free_irq, entry 2: the guest did\n  W e2.Control=0x1  R e0.Low"),
            "{twice}"
        );
        let of_three = error(|guest| {
            linux::free(guest, 3);
        });
        assert_eq!(of_three, "free_irq: of entries [1, 3], not {1, 2}");
        assert!(error(|_| {}).starts_with("free_irq: of entries [1]"));
    }
}
