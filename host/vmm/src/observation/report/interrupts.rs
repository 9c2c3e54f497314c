//! The way of each interrupt, from its entry to its vCPU, with what the host counted on it.

use std::collections::BTreeMap;

use pvir_host::message::Message;
use pvir_host::service::IrteRecord;
use serde::Serialize;

use super::devices::DeviceName;

/// One IRTE that the guest was given. `apic_id` and `vector` are where it went last: what was counted before a
/// RETARGET is in the same count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InterruptSummary {
    /// The device as the guest sees it.
    pub(crate) guest: String,
    /// The device as the host's user knows it.
    pub(crate) device: String,
    /// `MSI`, `MSIX`, `IMS`.
    pub(crate) store: String,
    pub(crate) index: u32,
    /// The pair, in hexadecimal.
    pub(crate) address: String,
    pub(crate) data: String,
    /// Place in the remapping table; with AMD-Vi in the device's own.
    pub(crate) irte_index: u32,
    /// Slot and generation, `5.1`.
    pub(crate) handle: String,
    /// As the wire has it, in hexadecimal: JSON's numbers do not hold 64 bits.
    pub(crate) handle_value: String,
    /// Nothing where the host's kernel has no part in it.
    pub(crate) host_irq: Option<u32>,
    pub(crate) eventfd: i32,
    pub(crate) gsi: u32,
    /// Nothing while parked.
    pub(crate) apic_id: Option<u32>,
    pub(crate) vector: Option<u8>,
    /// Interrupts from MAP to UNMAP as the host counted them; null where it was not read.
    pub(crate) count: Option<u64>,
}

/// All of them, in the order of their devices and entries.
pub(crate) fn summarize(history: &[IrteRecord], devices: &[DeviceName]) -> Vec<InterruptSummary> {
    let names: BTreeMap<_, _> = devices.iter().map(|device| (device.id, &device.name)).collect();
    let mut ordered: Vec<&IrteRecord> = history.iter().collect();
    ordered.sort_by_key(|record| record.irte.origin);
    let row = |record: &IrteRecord| {
        let irte = &record.irte;
        let origin = irte.origin;
        InterruptSummary {
            guest: origin.device.to_string(),
            device: names.get(&origin.device).map_or_else(String::new, |name| (*name).clone()),
            store: format!("{:?}", origin.store),
            index: origin.index + u32::from(irte.message),
            address: format!("{:#010x}", irte.pair.address),
            data: format!("{:#06x}", irte.pair.data),
            irte_index: irte.pair.intel_index().unwrap_or(irte.pair.data),
            handle: irte.handle.to_string(),
            handle_value: format!("{:#018x}", irte.handle.0),
            host_irq: record.host.and_then(|host| host.irq),
            eventfd: irte.eventfd,
            gsi: irte.gsi,
            apic_id: irte.route.map(Message::destination),
            vector: irte.route.map(Message::vector),
            count: record.host.and_then(|host| host.count),
        }
    };
    ordered.into_iter().map(row).collect()
}

/// The interrupts of all devices that went to one vector of one vCPU, by the latest routing of each; null where not all of
/// them were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VectorSummary {
    pub(crate) apic_id: u32,
    pub(crate) vector: u8,
    pub(crate) count: Option<u64>,
}

/// The sums, in the order of APIC ids and vectors.
pub(crate) fn by_vector(interrupts: &[InterruptSummary]) -> Vec<VectorSummary> {
    let mut sums: BTreeMap<(u32, u8), Option<u64>> = BTreeMap::new();
    for row in interrupts {
        if let (Some(apic_id), Some(vector)) = (row.apic_id, row.vector) {
            let sum = sums.entry((apic_id, vector)).or_insert(Some(0));
            *sum = sum.zip(row.count).map(|(sum, count)| sum + count);
        }
    }
    sums.into_iter().map(|((apic_id, vector), count)| VectorSummary { apic_id, vector, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{Bdf, DeviceId, Handle, Pair, Store};
    use pvir_host::device::HostInterrupt;
    use pvir_host::irte::{IrteInfo, Origin};

    fn record(index: u32, pair: Pair, host: Option<HostInterrupt>) -> IrteRecord {
        let device = DeviceId::new(0, Bdf::new(0, 1, 0).unwrap());
        let origin = Origin { device, store: Store::MSIX, index };
        let mut irte = IrteInfo::new(Handle::new(5, 1), origin, pair);
        (irte.eventfd, irte.gsi) = (40, 24);
        IrteRecord::new(irte, host)
    }

    #[test]
    fn vectors_are_summed_over_entries_and_parked_ones_left_out() {
        let host = HostInterrupt::new(Store::MSIX, 0, 3).with_count(Some(3));
        let row = summarize(&[record(0, Pair::default(), Some(host))], &[]).remove(0);
        let to = |apic_id, vector| InterruptSummary { apic_id, vector, ..row.clone() };
        let rows =
            [to(Some(300), Some(0x51)), to(Some(0), Some(0x51)), to(None, None), to(Some(300), Some(0x51))];
        let sums = |rows: &[InterruptSummary]| {
            let sums = by_vector(rows).into_iter();
            sums.map(|sum| (sum.apic_id, sum.vector, sum.count)).collect::<Vec<_>>()
        };
        assert_eq!(sums(&rows), [(0, 0x51, Some(3)), (300, 0x51, Some(6))]);
        let one_uncounted = [&rows[..], &[InterruptSummary { count: None, ..rows[1].clone() }]].concat();
        assert_eq!(sums(&one_uncounted), [(0, 0x51, None), (300, 0x51, Some(6))]);
    }

    #[test]
    fn each_message_of_an_msi_is_a_row_named_as_the_kernel_names_it() {
        let of = |message: u8| {
            let host = HostInterrupt::new(Store::MSI, message.into(), 1).with_irq(40).with_count(Some(1));
            let pair = Pair { address: 0xfee0_0298, data: message.into() };
            let mut record = record(0, pair, Some(host));
            (record.irte.origin.store, record.irte.message) = (Store::MSI, message);
            record
        };
        let rows = summarize(&[of(0), of(1), of(2)], &[]);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.store.as_str(), row.index, row.data.as_str())).collect();
        assert_eq!(shown, [("MSI", 0, "0x0000"), ("MSI", 1, "0x0001"), ("MSI", 2, "0x0002")]);
    }

    #[test]
    fn rows_are_in_the_order_of_entries_and_say_what_is_known() {
        let host = HostInterrupt::new(Store::MSIX, 1, 1007).with_irq(33).with_count(Some(1000));
        let intel = record(1, Pair { address: 0xfee0_0298, data: 0 }, Some(host));
        let amd = record(0, Pair { address: 0xfee0_0000, data: 7 }, None);
        let rows = summarize(&[intel, amd], &[]);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.index, row.irte_index, row.host_irq, row.count)).collect();
        assert_eq!(shown, [(0, 7, None, None), (1, 20, Some(33), Some(1000))]);
        assert_eq!((rows[1].address.as_str(), rows[1].data.as_str()), ("0xfee00298", "0x0000"));
        assert_eq!((rows[1].handle.as_str(), rows[1].handle_value.as_str()), ("5.1", "0x0000000100000005"));
    }
}
