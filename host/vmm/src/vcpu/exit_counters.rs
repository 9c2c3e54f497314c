//! Counts of exits: a row for each vCPU, written by its thread alone, so that counting takes no lock and shares no cache
//! line.

use pvir_host::counters::VcpuCounters;

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Why a vCPU came back to user space.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ExitCause { $($(#[doc = $doc])* $variant,)* }

        impl ExitCause {
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
    /// The paravirtual console.
    PortConsole = "port-console",
    PortExit = "port-exit",
    PortReset = "port-reset",
    PortPowerOff = "port-power-off",
    /// Devices that come and go.
    PortHotplug = "port-hotplug",
    PortOther = "port-other",
    MsrOther = "msr-other",
    HypercallOther = "hypercall-other",
    /// The end of a vCPU.
    Crash = "crash",
    /// A signal: no exit of the guest's.
    Interrupted = "interrupted",
}

const CAUSES: usize = ExitCause::ALL.len();

/// Direction of an access, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessKind {
    Read = 0,
    Write = 1,
}

/// Counts of accesses to one PCI function: six BARs and config space, reads and writes.
const OF_FUNCTION: usize = (BARS + 1) * 2;
const BARS: usize = 6;

/// The counts of one vCPU: those by cause, then those of each function.
#[derive(Debug)]
pub(crate) struct VcpuExits(VcpuCounters);

impl VcpuExits {
    fn new(functions: usize) -> Self {
        Self(VcpuCounters::new(CAUSES + functions * OF_FUNCTION))
    }

    /// Counts an exit.
    pub(crate) fn count(&self, cause: ExitCause) {
        self.0.count(cause as usize);
    }

    /// Counts an access to a BAR, beside its exit.
    pub(crate) fn count_bar(&self, function: usize, bar: u8, access: AccessKind) {
        if let Some(number) = of_bar(function, bar.into(), access) {
            self.0.count(number);
        }
    }

    /// Counts an access to a function's config space, beside its exit.
    pub(crate) fn count_config(&self, function: usize, access: AccessKind) {
        self.0.count(of_config(function, access));
    }

    /// Exits with this cause.
    pub(crate) fn get(&self, cause: ExitCause) -> u64 {
        self.0.get(cause as usize)
    }
}

fn of_bar(function: usize, bar: usize, access: AccessKind) -> Option<usize> {
    (bar < BARS).then_some(CAUSES + function * OF_FUNCTION + bar * 2 + access as usize)
}

fn of_config(function: usize, access: AccessKind) -> usize {
    CAUSES + function * OF_FUNCTION + BARS * 2 + access as usize
}

/// All rows.
#[derive(Debug)]
pub(crate) struct ExitCounters {
    rows: Vec<VcpuExits>,
}

impl ExitCounters {
    pub(crate) fn new(cpus: usize, functions: usize) -> Self {
        Self { rows: (0..cpus).map(|_| VcpuExits::new(functions)).collect() }
    }

    /// The row of a vCPU.
    pub(crate) fn row(&self, vcpu: usize) -> Option<&VcpuExits> {
        self.rows.get(vcpu)
    }

    pub(crate) fn rows(&self) -> &[VcpuExits] {
        &self.rows
    }

    /// Accesses of all vCPUs to a BAR.
    pub(crate) fn bar(&self, function: usize, bar: usize, access: AccessKind) -> u64 {
        of_bar(function, bar, access).map_or(0, |number| self.sum(number))
    }

    /// Accesses of all vCPUs to a function's config space.
    pub(crate) fn config(&self, function: usize, access: AccessKind) -> u64 {
        self.sum(of_config(function, access))
    }

    fn sum(&self, number: usize) -> u64 {
        self.rows.iter().map(|row| row.0.get(number)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_separate_and_bars_are_summed_over_them() {
        let counters = ExitCounters::new(2, 1);
        counters.rows()[0].count(ExitCause::MmioBar);
        counters.rows()[0].count_bar(0, 2, AccessKind::Write);
        counters.rows()[1].count_bar(0, 2, AccessKind::Write);
        counters.rows()[1].count_config(0, AccessKind::Read);
        assert_eq!(
            (counters.rows()[0].get(ExitCause::MmioBar), counters.rows()[1].get(ExitCause::MmioBar)),
            (1, 0)
        );
        assert_eq!((counters.bar(0, 2, AccessKind::Write), counters.bar(0, 2, AccessKind::Read)), (2, 0));
        assert_eq!(counters.config(0, AccessKind::Read), 1);
    }

    #[test]
    fn what_does_not_exist_is_not_counted_and_does_not_panic() {
        let counters = ExitCounters::new(1, 1);
        // Not those of config space either, which come next.
        counters.rows()[0].count_bar(0, 6, AccessKind::Read);
        counters.rows()[0].count_bar(70, 0, AccessKind::Read);
        assert_eq!((counters.bar(0, 6, AccessKind::Read), counters.config(0, AccessKind::Read)), (0, 0));
        assert_eq!(counters.bar(70, 0, AccessKind::Read), 0);
    }
}
