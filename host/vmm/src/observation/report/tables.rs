//! The report as tables, for people.

use std::fmt::Write;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};

use super::summary::Summary;

/// All tables of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    let seconds = f64::from(u32::try_from(summary.elapsed_ms).unwrap_or(u32::MAX)) / 1000.0;
    let _ = writeln!(
        text,
        "{} after {seconds:.2} s, {} exits to user space",
        summary.outcome.describe(),
        summary.exits_total
    );
    let sections = [
        ("Exits to user space, by vCPU (APIC id)", exits(summary)),
        ("Trapped accesses, by device", devices(summary)),
        ("ioctls", ioctls(summary)),
        ("Interrupts", interrupts(summary)),
    ];
    for (title, table) in sections {
        if !table.is_empty() {
            let _ = writeln!(text, "\n{title}\n{table}");
        }
    }
    for row in &summary.cut_off {
        let _ = writeln!(text, "\n{}", row.describe());
    }
    if summary.interrupts_forgotten > 0 {
        let count = summary.interrupts_forgotten;
        let _ = writeln!(text, "\nInterrupts that were given back and are not shown: {count}");
    }
    text
}

pub(crate) fn table(head: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(head);
    table
}

pub(crate) fn number(value: u64) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// The number of vCPUs that fit a screen at most. Of more, only the sum is shown.
const MAX_COLUMNS: usize = 8;

fn exits(summary: &Summary) -> Table {
    let shown = if summary.vcpus.len() <= MAX_COLUMNS { &summary.vcpus[..] } else { &[] };
    let ids = shown.iter().map(|vcpu| vcpu.apic_id.to_string());
    let mut table = table(["cause".to_owned()].into_iter().chain(ids).chain(["all".to_owned()]).collect());
    for (cause, sum) in &summary.exits {
        let own = shown.iter().map(|vcpu| number(vcpu.exits.get(cause).copied().unwrap_or(0)));
        table.add_row([Cell::new(cause)].into_iter().chain(own).chain([number(*sum)]));
    }
    table
}

fn devices(summary: &Summary) -> Table {
    let mut table = table(["place", "device", "what", "reads", "writes"].map(str::to_owned).to_vec());
    for device in &summary.devices {
        let bars = device.bars.iter().map(|bar| (format!("BAR{}", bar.bar), bar.reads, bar.writes));
        let config = ("config".to_owned(), device.config_reads, device.config_writes);
        for (what, reads, writes) in
            [config].into_iter().chain(bars).filter(|(_, reads, writes)| reads + writes > 0)
        {
            table.add_row([
                Cell::new(&device.address),
                Cell::new(&device.name),
                Cell::new(what),
                number(reads),
                number(writes),
            ]);
        }
    }
    table
}

fn ioctls(summary: &Summary) -> Table {
    let mut table = table(["ioctl", "calls"].map(str::to_owned).to_vec());
    for (name, count) in &summary.ioctls {
        table.add_row([Cell::new(name), number(*count)]);
    }
    table
}

/// What there is no number for.
pub(crate) const NONE: &str = "-";

/// A count of the host's, if it was read.
pub(crate) fn host_count(count: Option<u64>) -> Cell {
    count.map_or_else(|| Cell::new("not counted").set_alignment(CellAlignment::Right), number)
}

fn interrupts(summary: &Summary) -> Table {
    let head = [
        "guest",
        "device",
        "entry",
        "pair",
        "IRTE",
        "handle",
        "host IRQ",
        "eventfd",
        "GSI",
        "APIC id",
        "vector",
        "host count",
    ];
    let mut table = table(head.map(str::to_owned).to_vec());
    for row in &summary.interrupts {
        table.add_row([
            Cell::new(&row.guest),
            Cell::new(&row.device),
            Cell::new(format!("{}[{}]", row.store, row.index)),
            Cell::new(format!("{}/{}", row.address, row.data)),
            number(row.irte_index.into()),
            Cell::new(&row.handle),
            row.host_irq.map_or_else(|| Cell::new(NONE), |irq| number(irq.into())),
            Cell::new(row.eventfd).set_alignment(CellAlignment::Right),
            number(row.gsi.into()),
            row.apic_id.map_or_else(|| Cell::new(NONE), |id| number(id.into())),
            Cell::new(row.vector.map_or_else(|| NONE.to_owned(), |vector| format!("{vector:#04x}"))),
            host_count(row.count),
        ]);
    }
    table
}
