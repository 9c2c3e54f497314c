//! Counts of exits: a row for each vCPU, written by its thread alone, so that counting takes no lock and shares no cache
//! line.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Why a vCPU came back to user space.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Cause { $($(#[doc = $doc])* $variant,)* }

        impl Cause {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in reports.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

causes! {
    /// A call of the service, by conduit.
    CallByVmcall = "pvir-vmcall",
    CallByMsr = "pvir-msr",
    CallByPort = "pvir-port",
    /// Reading the status of the last call.
    StatusByMsr = "pvir-status-msr",
    StatusByPort = "pvir-status-port",
    MmioBar = "mmio-bar",
    MmioIoApic = "mmio-io-apic",
    /// MMIO where nothing is.
    MmioOther = "mmio-other",
    PortPciConfig = "port-pci-config",
    PortBar = "port-bar",
    PortSerial = "port-serial",
    PortExit = "port-exit",
    PortReset = "port-reset",
    PortPowerOff = "port-power-off",
    PortOther = "port-other",
    MsrOther = "msr-other",
    HypercallOther = "hypercall-other",
    /// The end of a vCPU.
    Crash = "crash",
    /// A signal: no exit of the guest's.
    Interrupted = "interrupted",
}

const CAUSES: usize = Cause::ALL.len();

/// Direction of an access, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read = 0,
    Write = 1,
}

/// Counts of accesses to one PCI function: six BARs and config space, reads and writes.
#[derive(Debug, Default)]
struct FunctionCounts {
    bars: [[AtomicU64; 2]; 6],
    config: [AtomicU64; 2],
}

/// The counts of one vCPU.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Row {
    causes: [AtomicU64; CAUSES],
    functions: Box<[FunctionCounts]>,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Row {
    fn new(functions: usize) -> Self {
        let functions = (0..functions).map(|_| FunctionCounts::default()).collect();
        Self { causes: [const { AtomicU64::new(0) }; CAUSES], functions }
    }

    /// Counts an exit.
    pub(crate) fn count(&self, cause: Cause) {
        if let Some(counter) = self.causes.get(cause as usize) {
            add(counter);
        }
    }

    /// Counts an access to a BAR, beside its exit.
    pub(crate) fn count_bar(&self, function: usize, bar: u8, access: Access) {
        let counts = self.functions.get(function).and_then(|function| function.bars.get(usize::from(bar)));
        if let Some(counter) = counts.and_then(|bar| bar.get(access as usize)) {
            add(counter);
        }
    }

    /// Counts an access to a function's config space, beside its exit.
    pub(crate) fn count_config(&self, function: usize, access: Access) {
        if let Some(counter) =
            self.functions.get(function).and_then(|function| function.config.get(access as usize))
        {
            add(counter);
        }
    }

    /// Exits with this cause.
    pub(crate) fn get(&self, cause: Cause) -> u64 {
        self.causes.get(cause as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// All rows.
#[derive(Debug)]
pub(crate) struct ExitCounters {
    rows: Vec<Row>,
}

impl ExitCounters {
    pub(crate) fn new(cpus: usize, functions: usize) -> Self {
        Self { rows: (0..cpus).map(|_| Row::new(functions)).collect() }
    }

    /// The row of a vCPU.
    pub(crate) fn row(&self, vcpu: usize) -> Option<&Row> {
        self.rows.get(vcpu)
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Accesses of all vCPUs to a BAR.
    pub(crate) fn bar(&self, function: usize, bar: usize, access: Access) -> u64 {
        self.sum(function, |counts| counts.bars.get(bar)?.get(access as usize))
    }

    /// Accesses of all vCPUs to a function's config space.
    pub(crate) fn config(&self, function: usize, access: Access) -> u64 {
        self.sum(function, |counts| counts.config.get(access as usize))
    }

    fn sum(&self, function: usize, pick: impl Fn(&FunctionCounts) -> Option<&AtomicU64>) -> u64 {
        let counters = self.rows.iter().filter_map(|row| pick(row.functions.get(function)?));
        counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_separate_and_bars_are_summed_over_them() {
        let counters = ExitCounters::new(2, 1);
        counters.rows()[0].count(Cause::MmioBar);
        counters.rows()[0].count_bar(0, 2, Access::Write);
        counters.rows()[1].count_bar(0, 2, Access::Write);
        counters.rows()[1].count_config(0, Access::Read);
        assert_eq!((counters.rows()[0].get(Cause::MmioBar), counters.rows()[1].get(Cause::MmioBar)), (1, 0));
        assert_eq!((counters.bar(0, 2, Access::Write), counters.bar(0, 2, Access::Read)), (2, 0));
        assert_eq!(counters.config(0, Access::Read), 1);
    }

    #[test]
    fn what_does_not_exist_is_not_counted_and_does_not_panic() {
        let counters = ExitCounters::new(1, 1);
        counters.rows()[0].count_bar(7, 9, Access::Read);
        assert_eq!(counters.bar(7, 9, Access::Read), 0);
    }
}
