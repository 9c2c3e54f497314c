//! Puts together what the guest and the host counted, and looks for anything that does not agree.

use serde::Serialize;

use super::run_log::{EntryEvent, Host, HostInterrupt, RunLog, VectorEvent};

/// The stages of an entry, in their order.
pub(super) const STAGES: [&str; 2] = ["mapped", "retargeted"];
/// Devices that may send a message twice for one cause; a repeated one is no fault of the way.
const REPEATING: [&str; 1] = ["e1000e"];
const PASSED: &str = "pass";
const CHECK_FAILED: &str = "FAILED";

/// A run, cross-checked.
#[derive(Serialize)]
pub(super) struct Crosscheck {
    pub(super) rows: Vec<Row>,
    pub(super) raised: u64,
    pub(super) handled: u64,
    /// Sum over the entries that the host has a count of.
    pub(super) host_counted: u64,
    /// Everything that is wrong; nothing if all is well.
    pub(super) problems: Vec<String>,
}

/// One entry of a device, from both sides.
#[derive(Serialize)]
pub(super) struct Row {
    /// The device as the guest has it.
    pub(super) device: String,
    pub(super) name: String,
    pub(super) store: String,
    pub(super) index: u32,
    pub(super) address: String,
    pub(super) data: u32,
    pub(super) handle: String,
    pub(super) stages: [Option<Stage>; 2],
    pub(super) host: Option<HostInterrupt>,
    /// What is wrong with it.
    pub(super) problems: Vec<String>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Stage {
    pub(super) apic_id: u32,
    pub(super) vector: u8,
    pub(super) raised: u64,
    pub(super) handled: u64,
    pub(super) elsewhere: u64,
}

impl Crosscheck {
    /// `wanted` interrupts at least have to be raised.
    pub(super) fn of(run_log: &RunLog, wanted: u64) -> Self {
        let mut problems = check_run(run_log);
        let mut rows: Vec<Row> = Vec::new();
        for entry in &run_log.entries {
            if !rows.iter().any(|row| row.is(entry)) {
                rows.push(Row::of(entry, run_log));
            }
        }
        for row in &rows {
            problems.extend(row.problems.iter().map(|problem| format!("{}: {problem}", row.title())));
        }
        let sum =
            |of: fn(&Stage) -> u64| rows.iter().flat_map(|row| row.stages.iter().flatten()).map(of).sum();
        let raised = sum(|stage| stage.raised);
        if raised < wanted {
            problems.push(format!("{wanted} interrupts were asked for, {raised} were raised"));
        }
        let host_counted = rows.iter().filter_map(|row| row.host.as_ref()?.count).sum();
        Self { raised, handled: sum(|stage| stage.handled), host_counted, rows, problems }
    }

    pub(super) fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What is wrong with the run as a whole.
fn check_run(run_log: &RunLog) -> Vec<String> {
    let mut problems = Vec::new();
    let failed = run_log.checks.iter().filter(|check| check.outcome == CHECK_FAILED);
    problems
        .extend(failed.map(|check| format!("the guest's check `{}` failed: {}", check.name, check.detail)));
    match &run_log.result {
        None => problems.push("the guest did not come to a result".into()),
        Some(result) if result.verdict == PASSED => {}
        Some(result) => {
            let why = result.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            problems.push(format!("the guest's own verdict is {}{why}", result.verdict));
        }
    }
    match &run_log.host {
        None => problems.push("there is no report of the host".into()),
        Some(host) => {
            if host.exit_code != 0 {
                let kind = host.outcome["kind"].as_str().unwrap_or("unknown");
                problems.push(format!("pvir ended with exit code {} ({kind})", host.exit_code));
            }
            let trapped = table_exits(host);
            if trapped > 0 {
                problems.push(format!("{trapped} accesses to MSI-X tables cost an exit"));
            }
        }
    }
    if run_log.entries.is_empty() {
        problems.push("the guest mapped no interrupt".into());
    }
    problems.extend(run_log.damaged.iter().map(|line| format!("not understood: {line}")));
    problems
}

/// Exits by accesses to the BARs that hold MSI-X tables.
pub(super) fn table_exits(host: &Host) -> u64 {
    let bars = host.devices.iter().flat_map(|device| &device.bars);
    bars.filter(|bar| bar.msix).map(|bar| bar.reads + bar.writes).sum()
}

impl Row {
    fn of(entry: &EntryEvent, run_log: &RunLog) -> Self {
        let stages = STAGES.map(|stage| {
            let counted = run_log.vectors.iter().find(|vector| {
                vector.stage == stage && vector.device == entry.device && vector.index == entry.index
            });
            counted.map(Stage::from)
        });
        let host = run_log.host.as_ref().and_then(|host| {
            let same = |other: &&HostInterrupt| {
                (&other.guest, &other.store, other.index, &other.handle)
                    == (&entry.device, &entry.store, entry.index, &entry.handle)
            };
            host.interrupts.iter().find(same).cloned()
        });
        let mut row = Self {
            device: entry.device.clone(),
            name: entry.name.clone(),
            store: entry.store.clone(),
            index: entry.index,
            address: entry.address.clone(),
            data: entry.data,
            handle: entry.handle.clone(),
            stages,
            host,
            problems: Vec::new(),
        };
        let events: Vec<&EntryEvent> = run_log.entries.iter().filter(|entry| row.is(entry)).collect();
        row.problems = row.check(&events);
        row
    }

    fn is(&self, entry: &EntryEvent) -> bool {
        (&self.device, &self.store, self.index) == (&entry.device, &entry.store, entry.index)
    }

    /// `igb 3`.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.index)
    }

    fn repeats(&self) -> bool {
        REPEATING.contains(&self.name.as_str())
    }

    /// `events` are the guest's for this entry, one for each stage.
    fn check(&self, events: &[&EntryEvent]) -> Vec<String> {
        let mut problems = Vec::new();
        if events.iter().any(|entry| (&entry.address, entry.data) != (&self.address, self.data)) {
            problems.push("its pair changed".into());
        }
        for (position, (name, stage)) in STAGES.iter().zip(&self.stages).enumerate() {
            match (stage, events.get(position)) {
                (None, _) => problems.push(format!("was not counted while {name}")),
                (Some(stage), entry) => {
                    let place = entry.map(|entry| (entry.apic_id, entry.vector));
                    if place.is_some_and(|place| place != (stage.apic_id, stage.vector)) {
                        problems.push(format!("was counted elsewhere than routed while {name}"));
                    }
                    problems
                        .extend(stage.check(self.repeats()).map(|problem| format!("{problem} while {name}")));
                }
            }
        }
        problems.extend(self.check_host());
        problems
    }

    fn check_host(&self) -> Vec<String> {
        let Some(host) = &self.host else { return vec!["the host knows nothing of it".into()] };
        let mut problems = Vec::new();
        if (host.address.as_str(), host.data.as_str())
            != (self.address.as_str(), format!("{:#06x}", self.data).as_str())
        {
            problems.push(format!("the host's pair is {}/{}", host.address, host.data));
        }
        if let Some(last) = self.stages[1] {
            if (host.apic_id, host.vector) != (Some(last.apic_id), Some(last.vector)) {
                problems.push("the host routed it elsewhere at last".into());
            }
        }
        let raised: u64 = self.stages.iter().flatten().map(|stage| stage.raised).sum();
        match host.count {
            None => problems.push("the host has no count of it".into()),
            Some(count) if count < raised => problems.push(format!("the host saw {count} of {raised}")),
            Some(count) if count > raised && !self.repeats() => {
                problems.push(format!("the host saw {count}, but only {raised} were raised"));
            }
            Some(_) => {}
        }
        problems
    }
}

impl Stage {
    fn check(&self, repeats: bool) -> impl Iterator<Item = String> {
        let lost = self.raised.saturating_sub(self.handled);
        let extra = self.handled.saturating_sub(self.raised);
        let lost = (lost > 0).then(|| format!("{lost} of {} lost", self.raised));
        let extra = (extra > 0 && !repeats).then(|| format!("{extra} handled that were not raised"));
        let elsewhere =
            (self.elsewhere > 0).then(|| format!("{} on the wrong CPU or vector", self.elsewhere));
        [lost, extra, elsewhere].into_iter().flatten()
    }
}

impl From<&VectorEvent> for Stage {
    fn from(vector: &VectorEvent) -> Self {
        let &VectorEvent { apic_id, vector, raised, handled, elsewhere, .. } = vector;
        Self { apic_id, vector, raised, handled, elsewhere }
    }
}
