//! What the host's kernel counts for a device's interrupts: `/proc/interrupts`.

use crate::device::{HostCounts, HostInterrupt, KernelCounts};
use pvir_abi::{DeviceId, Store};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An interrupt by the store and the index that VFIO names it by.
type Place = (Store, u32);

/// What the kernel counted at some moment for the host IRQ of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    irq: Option<u32>,
    count: u64,
}

/// The counts of one device, from the start of each interrupt on.
///
/// The kernel counts by host IRQ, and VFIO keeps the IRQ of an entry that is stopped, so an entry that is started again
/// goes on where it was. Nothing is counted while it is stopped: what was read last before the stop is what is to be
/// subtracted after the next start, and a start need not read anything.
#[derive(Debug)]
pub(crate) struct DeviceCounts {
    device: DeviceId,
    readings: Mutex<Readings>,
}

#[derive(Debug, Default)]
struct Readings {
    /// The latest of each interrupt that runs.
    latest: BTreeMap<Place, Reading>,
    /// The last one before the latest stop of each.
    before: BTreeMap<Place, Reading>,
}

impl DeviceCounts {
    pub(crate) fn new(device: DeviceId) -> Self {
        Self { device, readings: Mutex::default() }
    }

    /// These run no more, and keep their IRQs.
    pub(crate) fn stopped(&self, places: impl Iterator<Item = Place>) {
        let mut readings = self.lock();
        for place in places {
            if let Some(reading) = readings.latest.remove(&place) {
                readings.before.insert(place, reading);
            }
        }
    }

    /// The IRQs of a store went back to the host: what it has next counts from nothing.
    pub(crate) fn given_back(&self, store: Store) {
        let mut readings = self.lock();
        readings.latest.retain(|(of, _), _| *of != store);
        readings.before.retain(|(of, _), _| *of != store);
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCounts for DeviceCounts {
    fn read(&self, kernel: &KernelCounts) -> Vec<HostInterrupt> {
        let mut running = parse(kernel.interrupts(), self.device);
        let mut readings = self.lock();
        for line in &mut running {
            readings.count_from_start(line);
        }
        running
    }
}

impl Readings {
    fn count_from_start(&mut self, line: &mut HostInterrupt) {
        let (place, reading) = ((line.store, line.index), Reading { irq: line.irq, count: line.count });
        self.latest.insert(place, reading);
        if let Some(before) = self.before.get(&place).filter(|before| before.irq == line.irq) {
            line.count = line.count.saturating_sub(before.count);
        }
    }
}

/// VFIO names its interrupts `vfio-msix[3](0000:01:00.0)`.
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
    let counts = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    Some(HostInterrupt {
        irq: Some(irq.parse().ok()?),
        count: counts.sum(),
        store,
        index: index.strip_suffix(']')?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;

    #[test]
    fn only_the_lines_of_the_device_are_taken() {
        let text = "            CPU0       CPU1\n  1:  7  0  IO-APIC 1-edge i8042\n \
             25:  1000  24  IR-PCI-MSIX-0000:00:05.0  0-edge  vfio-msix[0](0000:00:05.0)\n \
             26:  0  3  IR-PCI-MSIX-0000:00:05.0  7-edge  vfio-msix[7](0000:00:05.0)\n \
             27:  9  9  IR-PCI-MSI-0000:00:06.0  0-edge  vfio-msi[0](0000:00:06.0)\n \
             28:  1  2  IR-PCI-MSI-0000:00:06.0  1-edge  vfio-msi[1](0000:00:06.0)\nNMI: 0 0 Non-maskable\n";
        let found = |device| parse(text, DeviceId::new(0, Bdf::new(0, device, 0).unwrap()));
        let msix = |irq, count, index| HostInterrupt { irq: Some(irq), count, store: Store::MSIX, index };
        assert_eq!(found(5), [msix(25, 1024, 0), msix(26, 3, 7)]);
        let msi = |irq, count, index| HostInterrupt { store: Store::MSI, ..msix(irq, count, index) };
        assert_eq!(found(6), [msi(27, 18, 0), msi(28, 3, 1)]);
        assert_eq!(found(7), []);
    }

    #[test]
    fn an_entry_that_is_started_again_counts_from_nothing() {
        let device = DeviceId::new(0, Bdf::new(0, 5, 0).unwrap());
        let counts = DeviceCounts::new(device);
        let read = |irq, count| {
            let mut line = HostInterrupt { irq: Some(irq), count, store: Store::MSIX, index: 3 };
            counts.lock().count_from_start(&mut line);
            line.count
        };
        assert_eq!((read(25, 10), read(25, 30)), (10, 30));
        counts.stopped([(Store::MSIX, 3), (Store::MSIX, 4)].into_iter());
        assert_eq!((read(25, 30), read(25, 37)), (0, 7));
        counts.stopped([(Store::MSIX, 3)].into_iter());
        assert_eq!(read(25, 40), 3, "not from the first start on");
        counts.stopped([(Store::MSIX, 3)].into_iter());
        assert_eq!(read(26, 5), 5, "another IRQ counts by itself");
        counts.stopped([(Store::MSIX, 3)].into_iter());
        counts.given_back(Store::MSIX);
        assert_eq!(read(26, 2), 2, "an IRQ that went back to the host counts from nothing");
    }
}
