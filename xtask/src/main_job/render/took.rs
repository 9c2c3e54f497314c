//! What the run took in exits and ioctls.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Paint, wrap};
use crate::main_job::crosscheck::{Crosscheck, table_exits};
use crate::main_job::run_log::Host;
use crate::numbers::grouped;

/// Causes of exits that are calls of pvir.
const CALLS: &str = "pvir-";
/// A signal of the host's own, which is counted with them.
const NO_EXIT: &str = "interrupted";
const IOCTLS: [&str; 5] = [
    "KVM_SET_GSI_ROUTING",
    "KVM_IRQFD (ahead)",
    "KVM_IRQFD",
    "KVM_IRQFD (de-assign)",
    "VFIO_DEVICE_SET_IRQS",
];
/// Irqfds that ended with their eventfds, at no ioctl.
const CLOSED: &str = "KVM_IRQFD (close)";
const LABEL: usize = 34;
const COUNT: usize = 8;

pub(super) fn draw(host: &Host, crosscheck: &Crosscheck, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.title("What it took"));
    let mut add = |label: &str, count: u64, notes: &str| {
        let row = format!("{label:<LABEL$}{:>COUNT$}", grouped(count));
        let start = row.chars().count() + 2;
        let width = super::WIDTH - start;
        let notes = fit(notes, width, start);
        let _ = writeln!(text, "{}", format!("{row}  {notes}").trim_end());
    };
    let operations = &host.service.operations;
    add("hypercalls", operations.values().sum(), &list(operations.iter()));
    let calls = || host.exits.iter().filter(|(cause, _)| cause.starts_with(CALLS));
    add("their exits", calls().map(|(_, count)| count).sum(), &list(calls()));
    let tables = host.devices.iter().filter(|device| device.bars.iter().any(|bar| bar.msix));
    let tables: Vec<&str> = tables.map(|device| device.name.as_str()).collect();
    let whose = if tables.is_empty() { "no device has one".to_owned() } else { tables.join(", ") };
    add(
        "exits by access to MSI-X tables",
        table_exits(host),
        &format!("to program, mask and unmask: {whose}"),
    );
    let none = 0;
    let asked: Vec<_> = IOCTLS.iter().map(|name| (*name, host.ioctls.get(*name).unwrap_or(&none))).collect();
    add("ioctls for interrupts", asked.iter().map(|(_, count)| *count).sum(), &list(asked));
    let closed = host.ioctls.get(CLOSED).copied().unwrap_or(0);
    if closed > 0 {
        add("irqfds closed", closed, "with their eventfds, after UNMAP or DISABLE: no ioctl");
    }
    let other = |(cause, _): &(&String, &u64)| !cause.starts_with(CALLS) && *cause != NO_EXIT;
    let others: BTreeMap<_, _> = host.exits.iter().filter(other).collect();
    add("other exits", others.values().copied().sum(), &list(others));
    for device in host.devices.iter().filter(|device| !device.bars.iter().any(|bar| bar.msix)) {
        let msi = |row: &&super::super::crosscheck::Row| {
            row.store == "MSI" && row.host.as_ref().is_some_and(|host| host.device == device.name)
        };
        if crosscheck.rows.iter().any(|row| msi(&row)) {
            let why = format!("{}: MSI has its registers there", device.name);
            add("  of them writes to config space", device.config_writes, &why);
        }
    }
    for device in &host.devices {
        for bar in device.bars.iter().filter(|bar| !bar.msix && bar.reads + bar.writes > 0) {
            let what = format!("{}, BAR{}: the driver's way to raise an interrupt", device.name, bar.bar);
            add("  of them by device registers", bar.reads + bar.writes, &what);
        }
    }
    let compare = "Where the VMM traps the table, each vector costs 9 exits to set up (request_irq) and 11 to move, \
                   and 1 to mask or unmask: measured for QEMU 10.0 / Cloud Hypervisor with a Linux 6.12 guest. \
                   Here one MAP sets up all vectors of a device and one RETARGET moves them; two more park one and un-park it.";
    let _ = write!(text, "{}", wrap(compare, ""));
    text
}

/// `MAP 2, UNMAP 1`.
fn list<'a, N: AsRef<str>>(counts: impl IntoIterator<Item = (N, &'a u64)>) -> String {
    let counts = counts.into_iter().filter(|(_, count)| **count > 0);
    counts
        .map(|(name, count)| format!("{} {}", name.as_ref(), grouped(*count)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Broken at commas so that each line has `width`, all but the first indented by `indent`.
fn fit(text: &str, width: usize, indent: usize) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for part in text.split_inclusive(", ") {
        let length = part.trim_end().chars().count();
        if column > 0 && column + length > width {
            let _ = write!(lines, "\n{:indent$}", "");
            column = 0;
        }
        lines.push_str(part);
        column += part.chars().count();
    }
    let trimmed: Vec<&str> = lines.lines().map(str::trim_end).collect();
    trimmed.join("\n")
}
