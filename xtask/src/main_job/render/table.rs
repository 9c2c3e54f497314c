//! All vectors, counted on both sides.

use std::fmt::Write;

use super::Paint;
use crate::main_job::crosscheck::{Crosscheck, Row, Stage};
use crate::numbers::grouped;

/// Titles of the columns, in groups with a title each.
const GROUPS: [(&str, &[&str]); 4] = [
    ("", &["entry", "pair", "IRTE", "IRQ", "GSI"]),
    ("mapped", &["APIC", "vec", "raised", "handled"]),
    ("retargeted", &["APIC", "vec", "raised", "handled"]),
    ("host", &["counted"]),
];
/// Columns with text are on the left.
const LEFT: [&str; 2] = ["entry", "pair"];
const BETWEEN_GROUPS: &str = " │ ";
const NOTHING: &str = "-";

type Cells = Vec<Vec<String>>;

pub(super) fn draw(crosscheck: &Crosscheck, paint: Paint) -> String {
    let titles: Cells =
        GROUPS.iter().map(|(_, columns)| columns.iter().map(ToString::to_string).collect()).collect();
    let rows: Vec<Cells> = crosscheck.rows.iter().map(cells).collect();
    let widths = widths(&titles, &rows);

    let mut text = format!(
        "{}\n",
        paint.title("All vectors, counted in the guest's driver, in the host, and in its handlers")
    );
    let groups: Vec<String> = GROUPS
        .iter()
        .zip(&widths)
        .map(|((title, _), widths)| format!("{title:^width$}", width = group_width(widths)))
        .collect();
    let _ = writeln!(text, "{}", groups.join(BETWEEN_GROUPS).trim_end());
    let _ = writeln!(text, "{}", line(&titles, &widths));
    let rules: Vec<String> = widths.iter().map(|widths| "─".repeat(group_width(widths))).collect();
    let _ = writeln!(text, "{}", rules.join("─┼─"));
    for (row, cells) in crosscheck.rows.iter().zip(&rows) {
        let mark = if row.problems.is_empty() { paint.good("✓") } else { paint.bad("✗") };
        let _ = writeln!(text, "{} {mark}", line(cells, &widths));
    }
    text.pop();
    text
}

fn cells(row: &Row) -> Cells {
    let host = row.host.as_ref();
    let known = |value: Option<String>| value.unwrap_or_else(|| NOTHING.to_owned());
    vec![
        vec![
            row.title(),
            format!("{}/{:#06x}", row.address, row.data),
            known(host.map(|host| host.irte_index.to_string())),
            known(host.and_then(|host| host.host_irq).map(|irq| irq.to_string())),
            known(host.map(|host| host.gsi.to_string())),
        ],
        stage(row.stages[0].as_ref()),
        stage(row.stages[1].as_ref()),
        vec![known(host.and_then(|host| host.count).map(grouped))],
    ]
}

fn stage(stage: Option<&Stage>) -> Vec<String> {
    match stage {
        None => vec![NOTHING.to_owned(); 4],
        Some(stage) => vec![
            stage.apic_id.to_string(),
            format!("{:#04x}", stage.vector),
            grouped(stage.raised),
            grouped(stage.handled),
        ],
    }
}

fn widths(titles: &Cells, rows: &[Cells]) -> Vec<Vec<usize>> {
    let width = |group: usize, column: usize| {
        let all = std::iter::once(titles).chain(rows);
        all.filter_map(|cells| cells.get(group)?.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let of_group = |(group, (_, columns)): (usize, &(&str, &[&str]))| {
        (0..columns.len()).map(|column| width(group, column)).collect()
    };
    GROUPS.iter().enumerate().map(of_group).collect()
}

fn group_width(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + widths.len().saturating_sub(1)
}

fn line(cells: &Cells, widths: &[Vec<usize>]) -> String {
    let groups: Vec<String> = cells
        .iter()
        .zip(widths)
        .zip(GROUPS)
        .map(|((cells, widths), (_, titles))| {
            let padded = cells.iter().zip(widths).zip(titles).map(|((cell, &width), title)| {
                if LEFT.contains(title) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            padded.collect::<Vec<_>>().join(" ")
        })
        .collect();
    groups.join(BETWEEN_GROUPS)
}
