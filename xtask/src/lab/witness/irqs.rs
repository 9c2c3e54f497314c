//! The host's IRQs of a device that VFIO has: `/proc/interrupts` names the device in each line.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

const INTERRUPTS: &str = "/proc/interrupts";

#[derive(Serialize, Debug)]
pub(crate) struct Irq {
    irq: u32,
    name: String,
    /// The number in the brackets of the name, which is the vector's index in the device.
    index: Option<u32>,
    count: u64,
    /// By CPU.
    counts: Vec<u64>,
    affinity: String,
    effective: String,
}

/// The IRQs of a device, with where they go.
pub(crate) fn of(bdf: &str) -> Result<Vec<Irq>> {
    let table = fs::read_to_string(INTERRUPTS).with_context(|| format!("cannot read {INTERRUPTS}"))?;
    let mut irqs = parse(&table, bdf);
    for irq in &mut irqs {
        let read = |name: &str| fs::read_to_string(format!("/proc/irq/{}/{name}", irq.irq));
        irq.affinity = read("smp_affinity_list").unwrap_or_default().trim().to_owned();
        irq.effective = read("effective_affinity_list").unwrap_or_default().trim().to_owned();
    }
    Ok(irqs)
}

/// Moves all IRQs of a device to one CPU.
pub(crate) fn move_to(bdf: &str, cpu: u32) -> Result<()> {
    let irqs = of(bdf)?;
    if irqs.is_empty() {
        bail!("{bdf} has no IRQ of VFIO now");
    }
    for irq in irqs {
        let path = format!("/proc/irq/{}/smp_affinity_list", irq.irq);
        fs::write(Path::new(&path), cpu.to_string())
            .with_context(|| format!("cannot move IRQ {}", irq.irq))?;
    }
    Ok(())
}

fn parse(table: &str, bdf: &str) -> Vec<Irq> {
    let mut lines = table.lines();
    let cpus = lines.next().unwrap_or_default().split_whitespace().count();
    let brackets = format!("({bdf})");
    lines
        .filter(|line| line.contains("vfio") && line.ends_with(&brackets))
        .filter_map(|line| irq(line, cpus))
        .collect()
}

fn irq(line: &str, cpus: usize) -> Option<Irq> {
    let (number, rest) = line.split_once(':')?;
    let counts: Vec<u64> = rest.split_whitespace().take(cpus).filter_map(|word| word.parse().ok()).collect();
    let name = rest.split_whitespace().last()?.to_owned();
    let index = name.split_once('[').and_then(|(_, rest)| rest.split_once(']')?.0.parse().ok());
    Some(Irq {
        irq: number.trim().parse().ok()?,
        name,
        index,
        count: counts.iter().sum(),
        counts,
        affinity: String::new(),
        effective: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "           CPU0       CPU1
  4:          0         12  IR-IO-APIC    4-edge      ttyS0
 30:          3          4  IR-PCI-MSIX-0000:00:02.0    0-edge      vfio-msix[0](0000:00:02.0)
 31:          0          5  IR-PCI-MSIX-0000:00:02.0    1-edge      vfio-msix[1](0000:00:02.0)
 32:          9          9  IR-PCI-MSI-0000:00:03.0    0-edge      vfio-msi[0](0000:00:03.0)
NMI:          0          0   Non-maskable interrupts
";

    #[test]
    fn only_the_lines_of_the_device_count() {
        let irqs = parse(TABLE, "0000:00:02.0");
        assert_eq!(
            irqs.iter().map(|irq| (irq.irq, irq.index)).collect::<Vec<_>>(),
            [(30, Some(0)), (31, Some(1))]
        );
        assert_eq!(irqs[0].counts, [3, 4]);
        assert_eq!(irqs[0].count, 7);
        assert_eq!(parse(TABLE, "0000:00:03.0")[0].name, "vfio-msi[0](0000:00:03.0)");
        assert!(parse(TABLE, "0000:00:04.0").is_empty());
    }
}
