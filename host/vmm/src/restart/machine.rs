//! The machine of a run, and its reset.

use std::sync::Arc;

use anyhow::{Context, Result};
use pvir_host::service::Service;

use crate::boot::{self, BootImage};
use crate::snapshot::{self, Parts, SaveDesk};
use crate::vcpu::Vcpu;
use crate::vcpu::outcome::Outcome;
use crate::vcpu::platform::Platform;
use crate::vm::Vm;
use crate::vm::blank;

/// What is built once for all boots of a guest.
pub(crate) struct Machine {
    pub(crate) vm: Vm,
    pub(crate) platform: Arc<Platform>,
    pub(crate) service: Arc<Service>,
    /// Nothing for a guest that was restored and is not started again.
    pub(crate) image: Option<BootImage>,
    pub(crate) desk: Arc<SaveDesk>,
}

impl Machine {
    /// Saves the machine for whoever has asked for it. Answers with the outcome of the run; `None` if the guest is to go on.
    /// `vcpus` are all of the machine's, and none runs.
    pub(super) fn save(&self, vcpus: &mut [Vcpu]) -> Option<Outcome> {
        let Self { vm, platform, service, .. } = self;
        snapshot::save(Parts { vm, platform, service }, vcpus, self.desk.take()?)
    }

    /// Brings everything into the state of power-on, with the kernel loaded. `vcpus` are all of the machine's, and none
    /// runs.
    ///
    /// # Errors
    /// What could not be reset. No guest can be run then: the state is neither the old one nor that of power-on.
    pub(super) fn reset(&self, vcpus: &mut [Vcpu]) -> Result<()> {
        let Self { vm, platform, service, image, desk: _ } = self;
        let image = image.as_ref().context("there is no kernel to be started")?;
        service.reset();
        // From here on no device reaches RAM.
        platform.reset()?;
        blank::make_blank(&vm.memory, vm.pins.now())?;
        vm.slots.renew_ram(&vm.memory)?;
        let entry = boot::load(&vm.memory, image, &vm.apic_ids, platform.pci.high_window())?;
        vcpus.iter_mut().try_for_each(|vcpu| vcpu.reset(entry)).context("cannot reset the vCPUs")
    }
}
