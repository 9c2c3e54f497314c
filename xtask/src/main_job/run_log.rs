//! What a run logged: the guest's events, the host's report, and facts of the place, each on a line with a mark. Every
//! other line is for people and passes by.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const GUEST_MARK: &str = "@pvir ";
const HOST_MARK: &str = "@pvir-host ";
/// Written by the script that starts `pvir`.
pub(super) const FACT_MARK: &str = "@pvir-where ";

#[derive(Default)]
pub(super) struct RunLog {
    /// Name and value; a name may come more than once.
    pub(super) facts: Vec<(String, String)>,
    pub(super) entries: Vec<EntryEvent>,
    pub(super) vectors: Vec<VectorEvent>,
    pub(super) checks: Vec<CheckEvent>,
    /// The guest's own verdict.
    pub(super) result: Option<ResultEvent>,
    pub(super) host: Option<Host>,
    /// The events and the host's report as they came.
    pub(super) events: Vec<Value>,
    pub(super) host_report: Value,
    /// Lines that have a mark and cannot be understood.
    pub(super) damaged: Vec<String>,
}

/// An entry was given a pair, or a new route under its pair.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EntryEvent {
    pub(super) device: String,
    pub(super) name: String,
    pub(super) store: String,
    pub(super) index: u32,
    pub(super) address: String,
    pub(super) data: u32,
    pub(super) handle: String,
    pub(super) apic_id: u32,
    pub(super) vector: u8,
}

/// What the guest counted of an entry in a stage.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct VectorEvent {
    pub(super) device: String,
    pub(super) stage: String,
    pub(super) index: u32,
    pub(super) apic_id: u32,
    pub(super) vector: u8,
    pub(super) raised: u64,
    pub(super) handled: u64,
    pub(super) elsewhere: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CheckEvent {
    pub(super) name: String,
    pub(super) outcome: String,
    pub(super) detail: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ResultEvent {
    pub(super) verdict: String,
    pub(super) error: Option<String>,
}

/// Of `pvir run --json`, what is needed here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Host {
    pub(super) outcome: Value,
    pub(super) exit_code: u8,
    pub(super) elapsed_ms: u64,
    pub(super) exits: BTreeMap<String, u64>,
    pub(super) devices: Vec<HostDevice>,
    pub(super) ioctls: BTreeMap<String, u64>,
    pub(super) service: Service,
    pub(super) interrupts: Vec<HostInterrupt>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct HostDevice {
    pub(super) name: String,
    pub(super) config_writes: u64,
    pub(super) bars: Vec<HostBar>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct HostBar {
    pub(super) bar: u32,
    pub(super) msix: bool,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Service {
    pub(super) operations: BTreeMap<String, u64>,
}

/// What the host had on an entry.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct HostInterrupt {
    pub(super) guest: String,
    pub(super) device: String,
    pub(super) store: String,
    pub(super) index: u32,
    pub(super) address: String,
    pub(super) data: String,
    pub(super) irte_index: u32,
    pub(super) handle: String,
    pub(super) host_irq: Option<u32>,
    pub(super) eventfd: i32,
    pub(super) gsi: u32,
    pub(super) apic_id: Option<u32>,
    pub(super) vector: Option<u8>,
    pub(super) count: Option<u64>,
}

impl HostInterrupt {
    /// Where the device is on the host; nothing for an emulated one.
    pub(super) fn host_address(&self) -> Option<&str> {
        self.device.strip_prefix("vfio ")
    }

    /// Whether a real device raises it.
    pub(super) fn is_physical(&self) -> bool {
        self.host_address().is_some()
    }
}

impl RunLog {
    pub(super) fn parse(log: &str) -> Self {
        let mut run_log = Self::default();
        for line in log.lines().map(str::trim_end) {
            let understood = if let Some(json) = line.strip_prefix(GUEST_MARK) {
                run_log.event(json)
            } else if let Some(json) = line.strip_prefix(HOST_MARK) {
                run_log.report(json)
            } else if let Some(fact) = line.strip_prefix(FACT_MARK) {
                let (name, value) = fact.split_once(' ').unwrap_or((fact, ""));
                run_log.facts.push((name.to_owned(), value.trim().to_owned()));
                Some(())
            } else {
                Some(())
            };
            if understood.is_none() {
                run_log.damaged.push(line.to_owned());
            }
        }
        run_log
    }

    fn event(&mut self, json: &str) -> Option<()> {
        let event: Value = serde_json::from_str(json).ok()?;
        match event["event"].as_str()? {
            "entry" => self.entries.push(typed(&event)?),
            "vector" => self.vectors.push(typed(&event)?),
            "check" => self.checks.push(typed(&event)?),
            "result" => self.result = Some(typed(&event)?),
            // newer kernels may report more
            _ => {}
        }
        self.events.push(event);
        Some(())
    }

    fn report(&mut self, json: &str) -> Option<()> {
        self.host_report = serde_json::from_str(json).ok()?;
        self.host = Some(typed(&self.host_report)?);
        Some(())
    }

    /// The first value of a fact.
    pub(super) fn fact(&self, name: &str) -> Option<&str> {
        let found = self.facts.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_pass_by_and_damaged_ones_are_kept() {
        let log = "[INFO ] hello\r\n@pvir-where cpu A  CPU\n@pvir-where iommu\n\
                   @pvir {\"event\":\"result\",\"verdict\":\"pass\",\"passed\":1}\r\n\
                   @pvir {\"event\":\"of tomorrow\"}\n@pvir {\"event\":\"vec\n@pvir {\"event\":\"vector\"}\n@pvirtual\n";
        let run_log = RunLog::parse(log);
        assert_eq!((run_log.fact("cpu"), run_log.fact("iommu")), (Some("A  CPU"), None));
        assert_eq!(run_log.result.unwrap().verdict, "pass");
        assert_eq!(run_log.damaged, ["@pvir {\"event\":\"vec", "@pvir {\"event\":\"vector\"}"]);
        assert_eq!(run_log.events.len(), 2);
    }
}
