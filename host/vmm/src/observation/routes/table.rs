//! Routes as a table, for people.

use comfy_table::{Cell, CellAlignment};

use crate::observation::report::routes::{Posted, Programmed, RouteRow, Routes};
use crate::observation::report::tables::{NONE, host_count, number, table};

const HEAD: [&str; 14] = [
    "guest", "device", "entry", "by", "pair", "IRTE", "posted", "IRQ", "host CPU", "eventfd", "GSI", "vCPU",
    "count", "per s",
];

pub(super) fn render(routes: &Routes) -> String {
    let mut rows = table(HEAD.map(str::to_owned).to_vec());
    for row in &routes.routes {
        let posted = match row.posted {
            Posted::Yes => "yes",
            Posted::No => "no",
            Posted::Unknown => "?",
        };
        rows.add_row([
            Cell::new(&row.guest),
            Cell::new(&row.device),
            Cell::new(format!("{}[{}]", row.store, row.index)),
            Cell::new(if row.programmed == Programmed::Direct { "guest" } else { "trap" }),
            Cell::new(pair(row).unwrap_or_else(|| NONE.to_owned())),
            count(row.irte_index),
            Cell::new(posted),
            count(row.host_irq),
            Cell::new(row.host_cpus.as_deref().unwrap_or(NONE)),
            Cell::new(row.eventfd).set_alignment(CellAlignment::Right),
            count(row.gsi),
            Cell::new(destination(row)),
            host_count(row.count),
            Cell::new(row.rate.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.0}")))
                .set_alignment(CellAlignment::Right),
        ]);
    }
    let (seconds, number) = (routes.elapsed_us / 1_000_000, routes.routes.len());
    let cut_off: String = routes.cut_off.iter().map(|row| row.describe() + "\n").collect();
    format!("pvir {}, {seconds} s, {number} interrupts in use\n{rows}\n{cut_off}", routes.pid)
}

fn count(value: Option<u32>) -> Cell {
    value.map_or_else(|| Cell::new(NONE), |value| number(value.into()))
}

pub(super) fn pair(row: &RouteRow) -> Option<String> {
    row.address.as_ref().zip(row.data.as_ref()).map(|(address, data)| format!("{address}/{data}"))
}

/// Where it goes: the vCPU, or where there is not one the APIC id, and the vector.
pub(super) fn destination(row: &RouteRow) -> String {
    let Some(vector) = row.vector else { return "silent".to_owned() };
    match (row.vcpu, row.apic_id) {
        (Some(vcpu), Some(apic_id)) => format!("{vcpu} (APIC id {apic_id}) {vector:#04x}"),
        (None, Some(apic_id)) => format!("no vCPU (APIC id {apic_id}) {vector:#04x}"),
        (_, None) => format!("several {vector:#04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::report::routes::tests::sample;

    #[test]
    fn a_line_has_the_whole_way_and_says_what_is_not_there() {
        let mut routes = sample();
        routes.routes[0].rate = Some(199.6);
        routes.routes[2].count = None;
        let text = render(&routes);
        let line = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split(['│', '┆'])
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
                .join("|")
        };
        assert!(text.starts_with("pvir 12, 2 s, 3 interrupts in use\n"), "{text}");
        assert_eq!(
            line("MSIX[3]"),
            "0000:00:01.0|vfio 0000:02:00.0|MSIX[3]|guest|0xfee00298/0x0000|20|?|33|1|40|24|1 (APIC id 300) 0x51|1000|200"
        );
        assert_eq!(line("MSI[0]"), "0000:00:02.0|vfio 0000:03:00.0|MSI[0]|trap|-|-|no|34|-|41|-|silent|5|-");
        assert!(line("IMS[7]").ends_with("|silent|not counted|-"), "{text}");
    }
}
