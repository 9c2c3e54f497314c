//! Charging a VM for what the service does, and holding its vCPUs.

use super::super::Service;
use super::super::vm::Vm;
use crate::work::Cost;
use std::time::Duration;

impl Service {
    /// Whether a call that may be refused is carried out.
    pub(in crate::service) fn admits(&self, vm: &mut Vm) -> bool {
        !vm.rate.is_limited() || vm.rate.admits(self.clock.now())
    }

    /// Charges what was done since the last time. Answers for how long a vCPU waits that did it, once the VM's lock is
    /// free.
    pub(in crate::service) fn charge(&self, vm: &mut Vm) -> Duration {
        let cost = vm.lines.work().take();
        if !vm.rate.is_limited() {
            return Duration::ZERO;
        }
        let delay = vm.rate.charge(self.clock.now(), cost);
        if !delay.is_zero() && vm.rate.is_first_debt() {
            let share = vm.rate.limit().share().unwrap_or(0);
            vm.log.warn(|| {
                format!(
                    "the guest has more done for its interrupts than {share} % of a core: from now on it is refused or \
                     delayed where it does"
                )
            });
        }
        delay
    }

    /// Holds the calling vCPU. The caller holds no lock.
    pub(in crate::service) fn delay(&self, delay: Duration) {
        if !delay.is_zero() {
            self.statistics.count_delay(delay);
            self.clock.wait(delay);
        }
    }

    /// Charges what was done for the guest outside of the service, and holds the calling vCPU as long as that takes. The
    /// caller holds no lock.
    pub(crate) fn spend(&self, cost: Cost) {
        let mut vm = self.lock();
        vm.lines.work().add(cost);
        let delay = self.charge(&mut vm);
        drop(vm);
        self.delay(delay);
    }
}
