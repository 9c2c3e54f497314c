//! Routes as a picture: the language of Graphviz (graphviz.org, "DOT Language").

use std::collections::BTreeMap;
use std::fmt::Write;

use super::table::{destination, pair};
use crate::observation::report::routes::{Posted, RouteRow, Routes};

/// A chain for each interrupt, from its device on the left to its vCPU on the right. What several share is one node.
pub(super) fn render(routes: &Routes) -> String {
    let mut picture = Picture::default();
    for row in &routes.routes {
        picture.chain(&steps(row), &weight(row));
    }
    let mut text = format!("digraph \"pvir {}\" {{\n  rankdir=LR;\n  node [shape=box];\n", routes.pid);
    for (label, number) in &picture.nodes {
        let _ = writeln!(text, "  n{number} [label={}];", quoted(label));
    }
    text + &picture.edges + "}\n"
}

#[derive(Default)]
struct Picture {
    /// By their labels.
    nodes: BTreeMap<String, usize>,
    edges: String,
}

impl Picture {
    fn chain(&mut self, labels: &[String], weight: &str) {
        let numbers: Vec<usize> = labels.iter().map(|label| self.node(label)).collect();
        for pair in numbers.windows(2) {
            let _ = writeln!(self.edges, "  n{} -> n{} [label={}];", pair[0], pair[1], quoted(weight));
        }
    }

    fn node(&mut self, label: &str) -> usize {
        let next = self.nodes.len();
        *self.nodes.entry(label.to_owned()).or_insert(next)
    }
}

/// The stations of an interrupt, those that are known.
fn steps(row: &RouteRow) -> Vec<String> {
    let name = format!("{} {}[{}]", row.guest, row.store, row.index);
    let entry = pair(row).map_or_else(|| name.clone(), |pair| format!("{name}\n{pair}"));
    let posted = match row.posted {
        Posted::Yes => "posted",
        Posted::No => "not posted",
        Posted::Unknown => "posted: unknown",
    };
    let irte = row.irte_index.map(|index| format!("IRTE {index} of {}\n{posted}", row.device));
    let cpu = row.host_cpus.as_ref().map_or_else(String::new, |cpus| format!("\nhost CPU {cpus}"));
    let irq = row.host_irq.map(|irq| format!("host IRQ {irq}{cpu}"));
    let eventfd = format!("eventfd {}", row.eventfd);
    let gsi = row.gsi.map(|gsi| format!("GSI {gsi}"));
    let to =
        if row.vector.is_some() { format!("vCPU {}", destination(row)) } else { "parked or masked".into() };
    let stations = [
        Some(format!("{}\n{}", row.device, row.guest)),
        Some(entry),
        irte,
        irq,
        Some(eventfd),
        gsi,
        Some(to),
    ];
    stations.into_iter().flatten().collect()
}

fn weight(row: &RouteRow) -> String {
    row.count.map_or_else(String::new, |count| count.to_string())
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::report::routes::tests::sample;

    #[test]
    fn each_interrupt_is_a_chain_from_its_device_to_its_vcpu() {
        let mut routes = sample();
        routes.routes.truncate(2);
        let expected = r#"digraph "pvir 12" {
  rankdir=LR;
  node [shape=box];
  n1 [label="0000:00:01.0 MSIX[3]\n0xfee00298/0x0000"];
  n8 [label="0000:00:02.0 MSI[0]"];
  n5 [label="GSI 24"];
  n2 [label="IRTE 20 of vfio 0000:02:00.0\nposted: unknown"];
  n4 [label="eventfd 40"];
  n10 [label="eventfd 41"];
  n3 [label="host IRQ 33\nhost CPU 1"];
  n9 [label="host IRQ 34"];
  n11 [label="parked or masked"];
  n6 [label="vCPU 1 (APIC id 300) 0x51"];
  n0 [label="vfio 0000:02:00.0\n0000:00:01.0"];
  n7 [label="vfio 0000:03:00.0\n0000:00:02.0"];
  n0 -> n1 [label="1000"];
  n1 -> n2 [label="1000"];
  n2 -> n3 [label="1000"];
  n3 -> n4 [label="1000"];
  n4 -> n5 [label="1000"];
  n5 -> n6 [label="1000"];
  n7 -> n8 [label="5"];
  n8 -> n9 [label="5"];
  n9 -> n10 [label="5"];
  n10 -> n11 [label="5"];
}
"#;
        assert_eq!(render(&routes), expected);
    }

    #[test]
    fn what_has_a_meaning_in_the_language_is_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
