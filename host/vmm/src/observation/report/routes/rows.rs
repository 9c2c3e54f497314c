//! Makes the rows.

use std::fs;

use pvir_abi::DeviceId;
use pvir_host::device::HostInterrupt;
use pvir_host::irte::{IrteInfo, Origin};
use pvir_host::isolation::{Posting, ShownIrtes};
use pvir_host::message::Message;
use pvir_host::service::{IrteRecord, Live, TrappedRecord};

use super::{Posted, Programmed, RouteRow};
use crate::observation::report::devices::DeviceName;

/// What the rows are made with.
pub(crate) struct RowContext<'a> {
    pub(crate) devices: &'a [DeviceName],
    pub(crate) apic_ids: &'a [u32],
    pub(crate) posting: Posting,
    pub(crate) irtes: &'a ShownIrtes,
}

impl RowContext<'_> {
    /// The rows, in the order of devices and entries.
    pub(crate) fn rows(&self, live: &Live) -> Vec<RouteRow> {
        let direct = live.irtes.iter().map(|record| (key(&record.irte.origin), self.direct(record)));
        let trapped = live.trapped.iter().map(|record| (key(&record.origin), self.trapped(record)));
        let mut rows: Vec<_> = direct.chain(trapped).collect();
        rows.sort_by_key(|((device, store, _), row)| (*device, *store, row.index));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn direct(&self, record: &IrteRecord) -> RouteRow {
        let IrteRecord { irte, host, .. } = record;
        let common = self.common(&irte.origin, *host);
        RouteRow {
            posted: if common.posted == Posted::Unknown { self.posted(irte) } else { common.posted },
            index: irte.origin.index + u32::from(irte.message),
            programmed: Programmed::Direct,
            handle: Some(irte.handle.to_string()),
            address: Some(format!("{:#010x}", irte.pair.address)),
            data: Some(format!("{:#06x}", irte.pair.data)),
            irte_index: Some(irte.pair.intel_index().unwrap_or(irte.pair.data)),
            eventfd: irte.eventfd,
            gsi: Some(irte.gsi),
            apic_id: irte.route.map(Message::destination),
            vcpu: irte.route.and_then(|route| self.vcpu(route.destination())),
            vector: irte.route.map(Message::vector),
            ..common
        }
    }

    fn trapped(&self, record: &TrappedRecord) -> RouteRow {
        // In logical mode the destination is a set of vCPUs.
        let physical = record.message.filter(|message| message.address_lo() & 1 << 2 == 0);
        RouteRow {
            eventfd: record.eventfd,
            gsi: record.gsi,
            apic_id: physical.map(Message::destination),
            vcpu: physical.and_then(|message| self.vcpu(message.destination())),
            vector: record.message.map(Message::vector),
            ..self.common(&record.origin, record.host)
        }
    }

    /// What the kernel shows of the entry.
    fn posted(&self, irte: &IrteInfo) -> Posted {
        let device = self.devices.iter().find(|device| device.id == irte.origin.device);
        let entry = device.and_then(|device| device.host).zip(irte.pair.intel_index());
        match entry.and_then(|(device, index)| self.irtes.is_posted(device, index)) {
            Some(true) => Posted::Yes,
            Some(false) => Posted::No,
            None => Posted::Unknown,
        }
    }

    fn vcpu(&self, apic_id: u32) -> Option<usize> {
        self.apic_ids.iter().position(|id| *id == apic_id)
    }

    /// What both kinds have; as if trapped and silent.
    fn common(&self, origin: &Origin, host: Option<HostInterrupt>) -> RouteRow {
        let device = self.devices.iter().find(|device| device.id == origin.device);
        let irq = host.and_then(|host| host.irq);
        // What is counted without an IRQ is raised by the VMM, not by hardware.
        let by_vmm = host.is_some_and(|host| host.irq.is_none());
        let posted = if by_vmm || self.posting == Posting::Off { Posted::No } else { Posted::Unknown };
        RouteRow {
            guest: origin.device.to_string(),
            device: device.map_or_else(String::new, |device| device.name.clone()),
            store: format!("{:?}", origin.store),
            index: origin.index,
            programmed: Programmed::Trapped,
            handle: None,
            address: None,
            data: None,
            irte_index: None,
            posted,
            host_irq: irq,
            host_cpus: irq.and_then(|irq| affinity(irq, "effective_affinity_list")),
            host_cpus_allowed: irq.and_then(|irq| affinity(irq, "smp_affinity_list")),
            eventfd: -1,
            gsi: None,
            apic_id: None,
            vcpu: None,
            vector: None,
            count: host.and_then(|host| host.count),
            total: host.map(|host| host.total),
            rate: None,
        }
    }
}

fn key(origin: &Origin) -> (DeviceId, pvir_abi::Store, u32) {
    (origin.device, origin.store, origin.index)
}

/// A list of CPUs of a host IRQ; nothing if it is empty or cannot be read.
fn affinity(irq: u32, which: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/irq/{irq}/{which}")).ok()?;
    Some(text.trim().to_owned()).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;
    use pvir_abi::{Bdf, Handle, Pair, Store};

    /// The host's kernel has entry 20 of a device in one list, and entry 21 in the other.
    const SHOWN: &str = "\
Remapped Interrupt supported on IOMMU: dmar0
 Entry SrcID   DstID    Vct IRTE_high\t\tIRTE_low
 20    03:00.0 00000002 29  0000000000040300\t000000020029000d
****
Posted Interrupt supported on IOMMU: dmar0
 Entry SrcID   PDA_high PDA_low  Vct IRTE_high\t\tIRTE_low
 21    03:00.0 00000001 00c3a140 51  0000000100040300\t00c3a14000518001
";

    #[test]
    fn posting_is_told_no_better_than_it_is_known() {
        let device = DeviceId::new(0, Bdf::new(0, 1, 0).unwrap());
        let origin = Origin { device, store: Store::MSIX, index: 2 };
        let of_entry = |address| IrteInfo::new(Handle::new(5, 1), origin, Pair { address, data: 0 });
        let (entry_20, entry_21, entry_22) = (0xfee0_0298, 0xfee0_02b8, 0xfee0_02d8);
        let host_device = DeviceId::new(0, Bdf::new(3, 0, 0).unwrap());
        let names = [DeviceName {
            id: device,
            host: Some(host_device),
            address: String::new(),
            name: "vfio".into(),
            bars: Vec::new(),
            msix_bar: None,
            row: 1,
        }];
        let fake = FakeHost::new();
        let silent = fake.host.shown_irtes(&[host_device]);
        fake.write("sys/kernel/debug/iommu/intel/ir_translation_struct", SHOWN);
        let shown = fake.host.shown_irtes(&[host_device]);
        let shown_as = |posting, irtes: &ShownIrtes, address, irq: Option<Option<u32>>| {
            let counted = HostInterrupt::new(Store::MSIX, 2, 9).with_count(Some(7));
            let host = irq.map(|irq| irq.map_or(counted, |irq| counted.with_irq(irq)));
            let record = IrteRecord::new(of_entry(address), host);
            let mut live = Live::default();
            live.irtes.push(record);
            let row = RowContext { devices: &names, apic_ids: &[0], posting, irtes }.rows(&live).remove(0);
            (row.posted, row.count)
        };
        // No host has so many IRQs: their CPUs are not read.
        let irq = Some(Some(u32::MAX));
        let (on, unknown) = (Posting::On, Posting::Unknown);
        assert_eq!(shown_as(Posting::Off, &silent, entry_20, irq), (Posted::No, Some(7)));
        assert_eq!(shown_as(on, &silent, entry_20, irq), (Posted::Unknown, Some(7)));
        assert_eq!(shown_as(unknown, &silent, entry_20, irq), (Posted::Unknown, Some(7)));
        assert_eq!(shown_as(on, &silent, entry_20, Some(None)), (Posted::No, Some(7)), "the VMM raises it");
        assert_eq!(
            shown_as(on, &silent, entry_20, None),
            (Posted::Unknown, None),
            "the host could not be asked"
        );
        assert_eq!(shown_as(on, &shown, entry_20, irq).0, Posted::No);
        assert_eq!(shown_as(unknown, &shown, entry_21, irq).0, Posted::Yes);
        assert_eq!(shown_as(on, &shown, entry_22, irq).0, Posted::Unknown, "it is not shown");
        assert_eq!(
            shown_as(on, &shown, entry_21, Some(None)).0,
            Posted::No,
            "the VMM's own entry of that index"
        );
    }
}
