//! The counts that the host's kernel keeps for a device's interrupts in `/proc/interrupts`.

use super::interrupt_sum::InterruptSum;
use crate::device::{CountPurpose, HostCounts, HostInterrupt, KernelCounts, KernelTotals};
use pvir_abi::{DeviceId, Store};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An interrupt by the store and the index that VFIO names it by.
type EntryKey = (Store, u32);

/// What the kernel counted at some moment for the host IRQ of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IrqCount {
    irq: Option<u32>,
    count: u64,
}

/// The counts of one device's interrupts, each from its start on.
///
/// The kernel counts by host IRQ, and VFIO keeps the IRQ of an entry that is stopped, so an entry that is started
/// again continues the earlier count. Nothing is counted while it is stopped. The last reading before the stop is
/// therefore what is to be subtracted after the next start, and a start need not read anything. Where nothing was
/// read before the stop, the count is not known.
#[derive(Debug)]
pub(crate) struct DeviceCounts {
    device: DeviceId,
    known: Mutex<Known>,
    sum: InterruptSum,
}

#[derive(Debug, Default)]
struct Known {
    /// The last reading of each running interrupt before it may be stopped.
    last: BTreeMap<EntryKey, IrqCount>,
    /// The last reading before the latest stop, of each interrupt that was ever stopped; `None` without a reading.
    before: BTreeMap<EntryKey, Option<IrqCount>>,
}

impl DeviceCounts {
    pub(crate) fn new(device: DeviceId, sum: InterruptSum) -> Self {
        Self { device, known: Mutex::default(), sum }
    }

    /// The sum over all IRQs of the device.
    pub(crate) fn sum_of_irqs(&self) -> &InterruptSum {
        &self.sum
    }

    /// Notes that these interrupts were stopped and keep their IRQs.
    pub(crate) fn stopped(&self, entries: impl Iterator<Item = EntryKey>) {
        let mut known = self.lock();
        for entry in entries {
            let last = known.last.remove(&entry);
            known.before.insert(entry, last);
        }
    }

    /// Notes that the IRQs of a store went back to the host: its next ones count from zero.
    pub(crate) fn given_back(&self, store: Store) {
        self.sum.have_changed();
        let mut known = self.lock();
        known.last.retain(|(of, _), _| *of != store);
        known.before.retain(|(of, _), _| *of != store);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCounts for DeviceCounts {
    fn read(&self, kernel: &KernelCounts, purpose: CountPurpose) -> Vec<HostInterrupt> {
        let mut running = parse(kernel.interrupts(), self.device);
        let mut known = self.lock();
        for line in &mut running {
            known.count_from_start(line, purpose);
        }
        running
    }

    fn sum(&self, kernel: &KernelTotals) -> Option<u64> {
        self.sum.read(kernel)
    }
}

impl Known {
    fn count_from_start(&mut self, line: &mut HostInterrupt, purpose: CountPurpose) {
        let entry = (line.store, line.index);
        if purpose == CountPurpose::BeforeStop {
            self.last.insert(entry, IrqCount { irq: line.irq, count: line.total });
        }
        line.count = match self.before.get(&entry) {
            Some(Some(before)) if before.irq == line.irq => Some(line.total.saturating_sub(before.count)),
            // Another IRQ counts by itself.
            None | Some(Some(_)) => Some(line.total),
            Some(None) => None,
        };
    }
}

/// The lines of a device, with the totals of their IRQs as counts. VFIO names its interrupts
/// `vfio-msix[3](0000:01:00.0)`.
fn parse(text: &str, device: DeviceId) -> Vec<HostInterrupt> {
    let tail = format!("({device})");
    text.lines().filter_map(|line| line_of(line, &tail)).collect()
}

fn line_of(line: &str, tail: &str) -> Option<HostInterrupt> {
    let (irq, rest) = line.trim().split_once(':')?;
    let name = rest.split_whitespace().last()?.strip_suffix(tail)?;
    let (store, index) = match (name.strip_prefix("vfio-msix["), name.strip_prefix("vfio-msi[")) {
        (Some(index), _) => (Store::MSIX, index),
        (_, Some(index)) => (Store::MSI, index),
        _ => return None,
    };
    let total = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok()).sum();
    Some(HostInterrupt {
        irq: Some(irq.parse().ok()?),
        count: Some(total),
        total,
        store,
        index: index.strip_suffix(']')?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;
    use std::path::Path;

    #[test]
    fn only_the_lines_of_the_device_are_taken() {
        let text = "            CPU0       CPU1\n  1:  7  0  IO-APIC 1-edge i8042\n \
             25:  1000  24  IR-PCI-MSIX-0000:00:05.0  0-edge  vfio-msix[0](0000:00:05.0)\n \
             26:  0  3  IR-PCI-MSIX-0000:00:05.0  7-edge  vfio-msix[7](0000:00:05.0)\n \
             27:  9  9  IR-PCI-MSI-0000:00:06.0  0-edge  vfio-msi[0](0000:00:06.0)\n \
             28:  1  2  IR-PCI-MSI-0000:00:06.0  1-edge  vfio-msi[1](0000:00:06.0)\nNMI: 0 0 Non-maskable\n";
        let found = |device| parse(text, DeviceId::new(0, Bdf::new(0, device, 0).unwrap()));
        let msix = |irq, total, index| HostInterrupt {
            irq: Some(irq),
            count: Some(total),
            total,
            store: Store::MSIX,
            index,
        };
        assert_eq!(found(5), [msix(25, 1024, 0), msix(26, 3, 7)]);
        let msi = |irq, total, index| HostInterrupt { store: Store::MSI, ..msix(irq, total, index) };
        assert_eq!(found(6), [msi(27, 18, 0), msi(28, 3, 1)]);
        assert_eq!(found(7), []);
    }

    /// Counts of a device, and a reading of its entry 3.
    fn entry_3() -> (DeviceCounts, impl Fn(&DeviceCounts, CountPurpose, u32, u64) -> Option<u64>) {
        let counts =
            DeviceCounts::new(DeviceId::new(0, Bdf::new(0, 5, 0).unwrap()), InterruptSum::new(Path::new("")));
        let read = |counts: &DeviceCounts, reading, irq, total| {
            let mut line = HostInterrupt { irq: Some(irq), count: None, total, store: Store::MSIX, index: 3 };
            counts.lock().count_from_start(&mut line, reading);
            assert_eq!(line.total, total);
            line.count
        };
        (counts, read)
    }

    #[test]
    fn an_entry_that_is_started_again_counts_from_nothing() {
        let (counts, read) = entry_3();
        let last = |irq, total| read(&counts, CountPurpose::BeforeStop, irq, total).unwrap();
        let stop = || counts.stopped([(Store::MSIX, 3), (Store::MSIX, 4)].into_iter());
        assert_eq!((last(25, 10), last(25, 30)), (10, 30));
        stop();
        assert_eq!((last(25, 30), last(25, 37)), (0, 7));
        stop();
        assert_eq!(last(25, 40), 3, "not from the first start on");
        stop();
        assert_eq!(last(26, 5), 5, "another IRQ counts by itself");
        stop();
        counts.given_back(Store::MSIX);
        assert_eq!(last(26, 2), 2, "an IRQ that went back to the host counts from nothing");
    }

    #[test]
    fn an_entry_that_was_stopped_unread_is_not_counted_until_its_irq_goes_back() {
        let (counts, read) = entry_3();
        let look = |total| read(&counts, CountPurpose::Report, 25, total);
        assert_eq!(look(10), Some(10));
        // Interrupts may have come between the look and the stop.
        counts.stopped([(Store::MSIX, 3)].into_iter());
        assert_eq!((look(30), look(37)), (None, None));
        assert_eq!(read(&counts, CountPurpose::BeforeStop, 25, 40), None);
        counts.stopped([(Store::MSIX, 3)].into_iter());
        assert_eq!(look(47), Some(7), "what it had at its latest stop is known again");
        counts.stopped([(Store::MSIX, 3)].into_iter());
        counts.given_back(Store::MSIX);
        assert_eq!(look(2), Some(2));
    }
}
