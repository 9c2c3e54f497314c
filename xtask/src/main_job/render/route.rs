//! The way of one interrupt, drawn from the device's entry to the handler.

use std::fmt::Write;

use super::{AMD, Paint, Report, iommu, store_name};
use crate::main_job::crosscheck::{Row, STAGES};
use crate::numbers::grouped;

/// Between the two sides of a box.
const INNER: usize = 88;
/// Where the way leaves a box.
const WAY: usize = 12;

pub(super) fn draw(row: &Row, report: &Report<'_>, paint: Paint) -> String {
    let title = format!("The way of one interrupt ({})", row.title());
    let mut text = format!("{}\n", paint.title(&title));
    for part in boxes(row, report) {
        let _ = writeln!(text, "┌{}┐", edge(&format!("─ {} ", part.title)));
        for line in &part.lines {
            let _ = writeln!(text, "│ {line:<width$} │", width = INNER - 2);
        }
        let _ = match &part.link {
            Some(link) => {
                let bottom = edge(&format!("{}┬", "─".repeat(WAY)));
                writeln!(text, "└{bottom}┘\n {:WAY$}▼ {link}", "")
            }
            None => writeln!(text, "└{}┘", edge("")),
        };
    }
    text.pop();
    text
}

struct Part {
    title: String,
    lines: Vec<String>,
    /// What goes on to the next.
    link: Option<String>,
}

/// A horizontal edge of a box that begins with `title`.
fn edge(title: &str) -> String {
    title.chars().chain(std::iter::repeat('─')).take(INNER).collect()
}

fn boxes(row: &Row, report: &Report<'_>) -> Vec<Part> {
    let Some(host) = &row.host else {
        let lines = vec!["the host did not report it".to_owned()];
        return vec![device(row, None), Part { title: "host".into(), lines, link: None }];
    };
    let address = host.host_address();
    let counted =
        host.count.map_or("not counted".to_owned(), |count| format!("counted {} times", grouped(count)));
    let kind = iommu(report.run_log);
    let table = if kind == Some(AMD) { "the device's own table" } else { "the host's table" };
    let unit = match address {
        Some(_) => Part {
            title: format!("interrupt remapping: {}", kind.unwrap_or("IOMMU")),
            lines: vec![format!("IRTE {} of {table}; the guest's handle is {}", host.irte_index, row.handle)],
            link: Some("an interrupt of the host".into()),
        },
        None => Part {
            title: "interrupt remapping: pvir's own, in place of an IOMMU".into(),
            lines: vec![format!("virtual IRTE {}; the guest's handle is {}", host.irte_index, row.handle)],
            link: Some(format!("eventfd {}, {counted}", host.eventfd)),
        },
    };
    let kernel = host.host_irq.map(|irq| Part {
        title: "host's kernel: VFIO".into(),
        lines: vec![format!("host IRQ {irq}, {counted}")],
        link: Some(format!("eventfd {}", host.eventfd)),
    });
    let mut routes = vec![format!("irqfd: eventfd {} raises GSI {}", host.eventfd, host.gsi)];
    let mut handlers = Vec::new();
    for (name, stage) in STAGES.iter().zip(&row.stages) {
        let Some(stage) = stage else { continue };
        let place = format!("APIC id {}, vector {:#04x}", stage.apic_id, stage.vector);
        routes.push(format!("GSI {} while {name}: {place}", host.gsi));
        handlers.push(format!(
            "handler at {place}: ran {} times for {} raised",
            grouped(stage.handled),
            grouped(stage.raised)
        ));
    }
    let kvm = Part {
        title: "KVM".into(),
        lines: routes,
        link: Some("injected into the vCPU's local APIC, with no exit to user space".into()),
    };
    let guest = Part { title: "guest".into(), lines: handlers, link: None };
    [Some(device(row, address)), Some(unit), kernel, Some(kvm), Some(guest)].into_iter().flatten().collect()
}

fn device(row: &Row, host: Option<&str>) -> Part {
    let place = match host {
        Some(host) => format!("{}: {host} on the host, {} in the guest", row.name, row.device),
        None => format!("{}: in pvir, {} in the guest", row.name, row.device),
    };
    let how = if row.store == "MSIX" { "written by the guest, no exit" } else { "in config space" };
    Part {
        title: "device".into(),
        lines: vec![
            place,
            format!(
                "{} entry {}: address {}, data {:#06x} ({how})",
                store_name(&row.store),
                row.index,
                row.address,
                row.data
            ),
        ],
        link: Some("the message: this address and data".into()),
    }
}
