//! The order of a save, and of a restore.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pvir_host::function::SavedFunction;
use pvir_host::service::{SaveError, SaveOptions, SavedState, Service};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::desk::SaveRequest;
use super::file::{self, Opened};
use super::state::{MachineShape, MachineState, leaf};
use super::time::SavedTime;
use crate::pci::bus::{PciBus, Place};
use crate::vcpu::Vcpu;
use crate::vcpu::outcome::Outcome;
use crate::vcpu::platform::Platform;
use crate::vm::Vm;

/// What is saved and restored of a machine, beside its vCPUs.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) platform: &'a Platform,
    pub(crate) service: &'a Arc<Service>,
}

/// Saves the machine, of which no vCPU runs, and tells who has asked. Answers with the outcome of the run; `None` if the
/// machine was not saved, and goes on as if nothing had been.
pub(crate) fn save(parts: Parts<'_>, vcpus: &mut [Vcpu], mut request: SaveRequest) -> Option<Outcome> {
    match save_into(parts, vcpus, &mut request) {
        Ok(bytes) => {
            request.reply(Ok(bytes));
            Some(Outcome::Saved { bytes })
        }
        Err(error) => {
            tracing::warn!("the machine was not saved: {error:#}");
            request.reply(Err(format!("{error:#}; the guest goes on")));
            None
        }
    }
}

fn save_into(parts: Parts<'_>, vcpus: &mut [Vcpu], request: &mut SaveRequest) -> Result<u64> {
    let Parts { vm, platform, service } = parts;
    vcpus.iter_mut().try_for_each(Vcpu::settle)?;
    if !matches!(platform.ending.outcome(), Some(Outcome::SaveWanted)) {
        bail!("the guest has ended");
    }
    let SaveRequest { file, wanted, .. } = request;
    let options = wanted.options();
    // Before anything is stopped: a device of the host may not like it.
    check(parts, options)?;
    platform.pci.functions().for_each(|function| function.pause());
    let saved = save_paused(parts, options, vcpus)
        .and_then(|state| file::write(file, &state.to_bytes()?, &vm.memory));
    if saved.is_err() {
        if let Err(error) = service.resume() {
            tracing::warn!("{error}");
        }
        platform.pci.functions().for_each(|function| function.resume());
    }
    saved
}

/// Whether the devices can be saved.
fn check(Parts { platform, service, .. }: Parts<'_>, options: SaveOptions) -> Result<()> {
    match service.check_save(options) {
        Err(error @ SaveError::Untold { .. }) => {
            bail!(
                "{error}\nhelp: `pvir save --reset-devices` saves it all the same, for a guest whose driver is loaded again"
            );
        }
        checked => checked?,
    }
    Ok(platform.pci.functions().try_for_each(|function| function.check_save())?)
}

fn save_paused(parts: Parts<'_>, options: SaveOptions, vcpus: &[Vcpu]) -> Result<MachineState> {
    let Parts { vm, platform, service } = parts;
    let service = service.save_with(options)?.to_bytes()?;
    Ok(MachineState {
        shape: shape(parts, vcpus),
        time: SavedTime::of(vm, boot(vcpus)?)?,
        vcpus: vcpus.iter().map(|vcpu| vcpu.save(vm)).collect::<Result<_>>()?,
        io_apic: platform.io_apic.save(),
        ports: platform.ports.save(),
        functions: platform.pci.functions().map(|function| Ok(function.save()?)).collect::<Result<_>>()?,
        places: platform.pci.slots().map(|slot| Place::of(&slot)).collect(),
        service,
    })
}

fn boot(vcpus: &[Vcpu]) -> Result<&Vcpu> {
    vcpus.first().context("the machine has no vCPU")
}

fn shape(Parts { vm, platform, .. }: Parts<'_>, vcpus: &[Vcpu]) -> MachineShape {
    let mut cpuid = Vec::new();
    for vcpu in vcpus {
        cpuid.extend(vcpu.cpuid().iter().map(leaf));
    }
    MachineShape {
        apic_ids: vm.apic_ids.clone(),
        ram: vm.memory.iter().map(|region| (region.start_addr().0, region.len())).collect(),
        functions: functions_of(&platform.pci),
        conduits: vm.conduits.bits(),
        cpuid,
    }
}

fn functions_of(bus: &PciBus) -> Vec<(String, String)> {
    bus.slots().map(|slot| (slot.devfn().to_string(), slot.function().kind())).collect()
}

/// A snapshot that was opened, and is whole as far as it has been read.
pub(crate) struct Snapshot {
    state: MachineState,
    memory: Opened,
}

impl Snapshot {
    /// Opens a file of `pvir save`.
    ///
    /// # Errors
    /// By name what is wrong with it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let opened = || -> Result<Self> {
            let (state, memory) = file::open(File::open(path)?)?;
            Ok(Self { state: MachineState::from_bytes(&state)?, memory })
        };
        opened().with_context(|| format!("--restore {}", path.display()))
    }

    /// Where the devices of the machine were, in the order of the bus.
    pub(crate) fn places(&self) -> &[Place] {
        &self.state.places
    }

    /// Brings a machine that has not run into the state of the snapshot. Its guest goes on when its vCPUs run.
    ///
    /// # Errors
    /// By name what does not fit, or what is damaged. The machine is of no use then.
    pub(crate) fn restore(self, parts: Parts<'_>, vcpus: &[Vcpu]) -> Result<()> {
        self.restore_into(parts, vcpus).context("--restore")
    }

    fn restore_into(self, parts: Parts<'_>, vcpus: &[Vcpu]) -> Result<()> {
        let Parts { vm, platform, service } = parts;
        let Self { state, memory } = self;
        state.shape.check(&shape(parts, vcpus))?;
        if state.vcpus.len() != vcpus.len() || state.functions.len() != platform.pci.functions().count() {
            bail!("it is damaged: it has the state of other vCPUs or devices than it names");
        }
        let saved = SavedState::from_bytes(&state.service).context("the library's part of it")?;
        memory.read_memory(&vm.memory)?;
        vcpus.iter().zip(&state.vcpus).try_for_each(|(vcpu, state)| vcpu.restore(state))?;
        state.time.set(vm, boot(vcpus)?)?;
        // The serial port may give the I/O APIC an edge that it has already.
        platform.ports.restore(&state.ports)?;
        platform.io_apic.restore(&state.io_apic)?;
        restore_functions(&platform.pci, &state.functions)?;
        service.restore(&saved)?;
        platform.pci.functions().for_each(|function| function.resume());
        Ok(())
    }
}

/// No BAR decodes before: those of a function are placed where they were, whatever is at that place in a new machine.
fn restore_functions(bus: &PciBus, saved: &[SavedFunction]) -> Result<()> {
    for (function, saved) in bus.functions().zip(saved) {
        function.pause();
        function.restore(saved)?;
        if saved.is_found_reset() {
            tracing::info!(device = %function.id(), "{}: the guest finds it reset", function.name());
        }
    }
    Ok(())
}
