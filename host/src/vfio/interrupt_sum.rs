//! All interrupts of a device as one number, for looks many times a second.

use crate::device::KernelTotals;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A count that has wrapped was at most so far from its end, and has come at most so far since: 67 million in a look.
const NEAR: u32 = 1 << 26;

/// The interrupts of all IRQs that the kernel has given to a device's MSI and MSI-X.
///
/// The kernel lists these IRQs in the device's folder in sysfs, `msi_irqs`, one file for each
/// (Documentation/ABI/testing/sysfs-bus-pci). The folder is read again only when an interrupt was started or given back
/// since the last look. All IRQs there are the device's own, and the kernel counts each from zero when it gives it out
/// (`desc_set_defaults` in kernel/irq/irqdesc.c, Linux 6.12).
#[derive(Debug)]
pub(crate) struct InterruptSum {
    folder: PathBuf,
    changed: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Each IRQ, with what the kernel had counted for it in the last look.
    irqs: BTreeMap<u32, u32>,
    sum: u64,
}

impl InterruptSum {
    /// Of the device whose folder in sysfs is `device`.
    pub(crate) fn new(device: &Path) -> Self {
        Self { folder: device.join("msi_irqs"), changed: AtomicBool::new(true), known: Mutex::default() }
    }

    /// Notes that the device may have other IRQs now.
    pub(crate) fn have_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// The sum as it is in the look that `kernel` has. `None` if the kernel does not show it.
    pub(crate) fn read(&self, kernel: &KernelTotals) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.changed.swap(false, Ordering::AcqRel) {
            match list(&self.folder) {
                Ok(irqs) => known.set_irqs(&irqs),
                Err(_) => {
                    self.have_changed();
                    return None;
                }
            }
        }
        known.look(kernel)
    }
}

/// The IRQs of a device; none if it has no such folder, because it has none allocated.
fn list(folder: &Path) -> io::Result<Vec<u32>> {
    let files = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut irqs = Vec::new();
    for file in files {
        irqs.extend(file?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(irqs)
}

impl Known {
    fn set_irqs(&mut self, irqs: &[u32]) {
        let before = std::mem::take(&mut self.irqs);
        self.irqs = irqs.iter().map(|irq| (*irq, before.get(irq).copied().unwrap_or(0))).collect();
    }

    fn look(&mut self, kernel: &KernelTotals) -> Option<u64> {
        for (irq, before) in &mut self.irqs {
            let now = kernel.total(*irq)?;
            self.sum += grown(*before, now);
            *before = now;
        }
        Some(self.sum)
    }
}

/// Interrupts between two looks at an IRQ. The kernel counts in 32 bits; a count that goes back without having wrapped is
/// that of an IRQ that was given out again, from zero.
fn grown(before: u32, now: u32) -> u64 {
    let wrapped = before > u32::MAX - NEAR && now < NEAR;
    u64::from(if now >= before || wrapped { now.wrapping_sub(before) } else { now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn kernel(counts: &[(u32, u32)]) -> KernelTotals {
        let last = counts.iter().map(|(irq, _)| *irq).max().unwrap_or(0);
        let of =
            |irq| counts.iter().find(|(other, _)| *other == irq).map_or(0, |(_, count)| *count).to_string();
        KernelTotals::of(&format!("intr 0 {}\n", (0..=last).map(of).collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn irqs_come_and_go_and_the_sum_only_grows() {
        let device = tempfile::tempdir().unwrap();
        let folder = device.path().join("msi_irqs");
        let sum = InterruptSum::new(device.path());
        assert_eq!(sum.read(&kernel(&[])), Some(0), "MSI is off");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("25"), "msix").unwrap();
        assert_eq!(sum.read(&kernel(&[(25, 4)])), Some(0), "nothing has changed that it knows of");
        sum.have_changed();
        assert_eq!(sum.read(&kernel(&[(25, 10), (26, 1000)])), Some(10), "the other one is not the device's");
        fs::write(folder.join("26"), "msix").unwrap();
        sum.have_changed();
        assert_eq!(sum.read(&kernel(&[(25, 11), (26, 7)])), Some(18));
        fs::remove_file(folder.join("25")).unwrap();
        sum.have_changed();
        assert_eq!(sum.read(&kernel(&[(26, 7)])), Some(18), "what it had counted stays");
        // Given back and given out again.
        assert_eq!(sum.read(&kernel(&[(26, 3)])), Some(21));
        assert_eq!(sum.read(&kernel(&[])), None, "a kernel that does not tell");
    }

    #[test]
    fn what_cannot_be_listed_is_listed_again() {
        let device = tempfile::tempdir().unwrap();
        fs::write(device.path().join("msi_irqs"), "no folder").unwrap();
        let sum = InterruptSum::new(device.path());
        assert_eq!(sum.read(&kernel(&[(3, 5)])), None);
        fs::remove_file(device.path().join("msi_irqs")).unwrap();
        fs::create_dir(device.path().join("msi_irqs")).unwrap();
        fs::write(device.path().join("msi_irqs/3"), "msi").unwrap();
        assert_eq!(sum.read(&kernel(&[(3, 5)])), Some(5));
    }

    #[test]
    fn a_count_wraps_near_its_end_only() {
        assert_eq!(grown(5, 5), 0);
        assert_eq!(grown(u32::MAX - 9, 10), 20);
        assert_eq!(grown(u32::MAX, 0), 1);
        assert_eq!(grown(1_000_000, 12), 12, "another one's");
        assert_eq!(grown(u32::MAX - NEAR, NEAR - 1), u64::from(NEAR) - 1);
        assert_eq!(grown(u32::MAX, NEAR), u64::from(NEAR));
        assert_eq!(grown(0, u32::MAX), u64::from(u32::MAX));
    }
}
