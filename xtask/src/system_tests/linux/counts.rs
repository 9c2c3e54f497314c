//! Lines of /proc/interrupts.

use anyhow::{Result, ensure};

/// The lines that were shown at one moment.
pub(super) struct InterruptCounts {
    pub(super) lines: Vec<Counts>,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) irq: u32,
    /// By CPU.
    pub(super) counts: Vec<u64>,
    /// Its entry, if it is of an MSI-X table.
    pub(super) entry: Option<u32>,
    /// Who handles it.
    pub(super) name: String,
}

impl InterruptCounts {
    /// Takes the lines that start with `mark`.
    pub(super) fn find(text: &str, mark: &str) -> Result<Self> {
        let marked = text.lines().filter_map(|line| line.strip_prefix(mark));
        let lines: Vec<Counts> = marked.filter_map(Counts::parse).collect();
        ensure!(!lines.is_empty(), "no interrupts were shown as {mark}");
        Ok(Self { lines })
    }
}

impl Counts {
    /// None for the line that names the CPUs.
    fn parse(line: &str) -> Option<Self> {
        let (irq, rest) = line.split_once(':')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        // No interrupt controller's name is a number.
        let counts: Vec<u64> = words.iter().map_while(|word| word.parse().ok()).collect();
        let [chip, entry, .., name] = words.get(counts.len()..)? else { return None };
        let entry = entry.strip_suffix("-edge").filter(|_| chip.contains("PCI-MSIX"));
        Some(Self {
            irq: irq.trim().parse().ok()?,
            counts,
            entry: entry.and_then(|entry| entry.parse().ok()),
            name: (*name).to_owned(),
        })
    }

    /// On all CPUs.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
@counts a            CPU0       CPU1       \n\
@counts a  24:         24          0   IO-APIC   4-edge      ttyS0\n\
@counts a  26:          3          2  PCI-MSIX-0000:00:01.0   1-edge      eth0-rx-0\n\
@host 2  45:   7  IR-PCI-MSIX-0000:00:01.0    1-edge      vfio-msix[1](0000:00:01.0)\n";

    #[test]
    fn lines_have_counts_by_cpu_and_the_entry_of_the_table() {
        let shown = InterruptCounts::find(TEXT, "@counts a ").unwrap().lines;
        assert_eq!(shown.len(), 2);
        assert_eq!((shown[0].irq, shown[0].entry, shown[0].name.as_str()), (24, None, "ttyS0"));
        let expected = Counts { irq: 26, counts: vec![3, 2], entry: Some(1), name: "eth0-rx-0".into() };
        assert_eq!((&shown[1], shown[1].total()), (&expected, 5));
    }

    #[test]
    fn lines_of_the_host_are_understood_too() {
        let shown = InterruptCounts::find(TEXT, "@host 2 ").unwrap().lines;
        assert_eq!((shown[0].entry, shown[0].total()), (Some(1), 7));
        assert!(InterruptCounts::find(TEXT, "@host 3 ").is_err());
    }
}
