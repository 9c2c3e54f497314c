//! The whole route of each interrupt of a running VM, as it is now.

mod cut_off;
mod rows;

pub(crate) use cut_off::CutOffRow;
pub(crate) use rows::RowContext;

use serde::{Deserialize, Serialize};

/// All of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Routes {
    pub(crate) pid: u32,
    /// Since the guest started: two answers make a rate.
    pub(crate) elapsed_us: u64,
    pub(crate) routes: Vec<RouteRow>,
    /// Devices that are cut off, which have no routes.
    #[serde(default)]
    pub(crate) cut_off: Vec<CutOffRow>,
}

/// Who programs the device's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Programmed {
    /// The guest, with the pair that it was given.
    Direct,
    /// The VMM: the guest's accesses are trapped.
    Trapped,
}

/// Whether the hardware delivers to a running vCPU without the host's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Posted {
    /// It does: the kernel shows the entry so.
    #[serde(rename = "posted")]
    Yes,
    /// It does not: this host does not post, the device is emulated, or the kernel shows the entry so.
    #[serde(rename = "not posted")]
    No,
    /// The host can post, and its kernel does not show whether it does so for this entry.
    #[serde(rename = "unknown")]
    Unknown,
}

/// The way of one message, from its device to its vCPU. What is not known, or is not there, is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouteRow {
    /// The device as the guest sees it.
    pub(crate) guest: String,
    /// The device as the host's user knows it.
    pub(crate) device: String,
    /// `MSI`, `MSIX`, `IMS`.
    pub(crate) store: String,
    pub(crate) index: u32,
    pub(crate) programmed: Programmed,
    /// Slot and generation.
    pub(crate) handle: Option<String>,
    /// The pair, in hexadecimal; of a trapped one only the host's kernel knows it.
    pub(crate) address: Option<String>,
    pub(crate) data: Option<String>,
    /// Place in the remapping table; with AMD-Vi in the device's own.
    pub(crate) irte_index: Option<u32>,
    pub(crate) posted: Posted,
    pub(crate) host_irq: Option<u32>,
    /// The host CPUs that take the host IRQ, as a list: where it goes, and where it may go.
    pub(crate) host_cpus: Option<String>,
    pub(crate) host_cpus_allowed: Option<String>,
    pub(crate) eventfd: i32,
    pub(crate) gsi: Option<u32>,
    /// Null while parked or masked.
    pub(crate) apic_id: Option<u32>,
    /// Number of the vCPU that has the APIC id.
    pub(crate) vcpu: Option<usize>,
    pub(crate) vector: Option<u8>,
    /// Interrupts since MAP, or since the first use of a trapped one, as the host counted them. Null where its IRQ had
    /// another holder before and nobody read how many there were by then.
    pub(crate) count: Option<u64>,
    /// All that the host counted, those of other holders too.
    pub(crate) total: Option<u64>,
    /// Interrupts a second, between two looks.
    pub(crate) rate: Option<f64>,
}

impl Routes {
    /// Fills in the rates, from an earlier look at the same VM. An interrupt that was not there, or is another one by
    /// now, has none.
    pub(crate) fn rate_since(&mut self, earlier: &Self) {
        let micros = self.elapsed_us.saturating_sub(earlier.elapsed_us);
        if micros == 0 {
            return;
        }
        for row in &mut self.routes {
            let before =
                earlier.routes.iter().find(|other| other.is_same_as(row)).and_then(|other| other.total);
            let grown = row.total.zip(before).and_then(|(now, before)| now.checked_sub(before));
            row.rate = grown.map(|grown| per_second(grown, micros));
        }
    }
}

impl RouteRow {
    fn is_same_as(&self, other: &Self) -> bool {
        let name = |row: &Self| {
            (row.guest.clone(), row.store.clone(), row.index, row.programmed, row.handle.clone())
        };
        name(self) == name(other)
    }
}

/// Events a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is told to three digits")]
pub(crate) fn per_second(events: u64, micros: u64) -> f64 {
    events as f64 * 1e6 / micros.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A direct one by way of an IRQ, a trapped one that is masked, and a parked one that the VMM raises.
    pub(crate) fn sample() -> Routes {
        let row = json!({
            "guest": "0000:00:01.0", "device": "vfio 0000:02:00.0", "store": "MSIX", "index": 3,
            "programmed": "direct", "handle": "5.1", "address": "0xfee00298", "data": "0x0000",
            "irte_index": 20, "posted": "unknown", "host_irq": 33, "host_cpus": "1",
            "host_cpus_allowed": "0-3", "eventfd": 40, "gsi": 24, "apic_id": 300, "vcpu": 1, "vector": 81,
            "count": 1000, "total": 1300, "rate": null
        });
        let trapped = json!({
            "guest": "0000:00:02.0", "device": "vfio 0000:03:00.0", "store": "MSI", "index": 0,
            "programmed": "trapped", "posted": "not posted", "host_irq": 34, "eventfd": 41, "count": 5, "total": 5
        });
        let parked = json!({
            "guest": "0000:00:03.0", "device": "emulated", "store": "IMS", "index": 7, "programmed": "direct",
            "handle": "6.1", "address": "0xfee00010", "data": "0x0001", "irte_index": 1, "posted": "not posted",
            "eventfd": 42, "gsi": 25, "count": 0, "total": 0
        });
        let routes = json!({ "pid": 12, "elapsed_us": 2_000_000, "routes": [row, trapped, parked] });
        serde_json::from_value(routes).unwrap()
    }

    #[test]
    fn rates_are_of_the_same_interrupt_only() {
        let before = sample();
        let mut now = sample();
        now.elapsed_us += 500_000;
        now.routes[0].total = Some(1400);
        now.routes[0].count = None;
        now.routes[1].total = Some(4);
        now.routes[2].handle = Some("6.2".into());
        now.rate_since(&before);
        assert_eq!(now.routes.iter().map(|row| row.rate).collect::<Vec<_>>(), [Some(200.0), None, None]);
        let mut again = before.clone();
        again.rate_since(&before);
        assert_eq!(again, before, "no time, no rate");
    }
}
