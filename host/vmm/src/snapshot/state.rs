//! What of a machine is saved beside its RAM, and whether another machine can go on with it.

use anyhow::{Context, Result, bail};
use kvm_bindings::{kvm_clock_data, kvm_cpuid_entry2};
use pvir_host::function::SavedFunction;
use serde::{Deserialize, Serialize};

use crate::devices::io_apic::SavedIoApic;
use crate::vcpu::ports::SavedPorts;
use crate::vcpu::state::VcpuState;

/// A machine without its RAM.
#[derive(Serialize, Deserialize)]
pub(super) struct MachineState {
    pub(super) shape: MachineShape,
    pub(super) clock: kvm_clock_data,
    /// In the order of the machine's APIC ids.
    pub(super) vcpus: Vec<VcpuState>,
    pub(super) io_apic: SavedIoApic,
    pub(super) ports: SavedPorts,
    /// In the order of the bus.
    pub(super) functions: Vec<SavedFunction>,
    /// The bytes of a [`SavedState`](pvir_host::service::SavedState).
    pub(super) service: Vec<u8>,
}

/// What must be the same in the machine that goes on.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct MachineShape {
    /// First the boot CPU's.
    pub(super) apic_ids: Vec<u32>,
    /// Address and size of each range of RAM.
    pub(super) ram: Vec<(u64, u64)>,
    /// Place and name of each function.
    pub(super) functions: Vec<(String, String)>,
    /// The conduits by which the guest may call, as bits.
    pub(super) conduits: u32,
    /// Of each vCPU in turn: leaf, subleaf, EAX, EBX, ECX, EDX.
    pub(super) cpuid: Vec<[u32; 6]>,
}

/// The numbers of a leaf of CPUID.
pub(super) fn leaf(entry: &kvm_cpuid_entry2) -> [u32; 6] {
    [entry.function, entry.index, entry.eax, entry.ebx, entry.ecx, entry.edx]
}

impl MachineShape {
    /// Compares the saved machine (`self`) with the one that is to go on.
    ///
    /// # Errors
    /// By name what is another one.
    pub(super) fn check(&self, here: &Self) -> Result<()> {
        if self.apic_ids != here.apic_ids {
            bail!(
                "the saved machine has vCPUs with the APIC ids {:?}, and this one has {:?}; help: --cpus, --apic-ids",
                self.apic_ids,
                here.apic_ids
            );
        }
        if self.ram != here.ram {
            let size = |ranges: &[(u64, u64)]| ranges.iter().map(|(_, size)| size).sum::<u64>() >> 20;
            bail!(
                "the saved machine has {} MiB of RAM, and this one has {} MiB; help: --memory {}M",
                size(&self.ram),
                size(&here.ram),
                size(&self.ram)
            );
        }
        for at in 0..self.functions.len().max(here.functions.len()) {
            let (saved, other) = (self.functions.get(at), here.functions.get(at));
            if saved != other {
                let named = |function: Option<&(String, String)>| match function {
                    Some((place, name)) => format!("{name} at {place}"),
                    None => "no more devices".to_owned(),
                };
                bail!(
                    "the saved machine has {}, and this one has {}; help: --device",
                    named(saved),
                    named(other)
                );
            }
        }
        if self.conduits != here.conduits {
            bail!("the guest may call by other conduits here; help: --mode, and a host with the same kernel");
        }
        let differs = self.cpuid.iter().zip(&here.cpuid).find(|(saved, other)| saved != other);
        if let Some((saved, other)) = differs {
            bail!(
                "CPUID leaf {:#x}.{:#x} is {:x?} in the saved machine and {:x?} here; help: restore on a host with the \
                 same CPU and kernel",
                saved[0],
                saved[1],
                &saved[2..],
                &other[2..]
            );
        }
        if self.cpuid.len() != here.cpuid.len() {
            bail!("CPUID has {} leaves in the saved machine and {} here", self.cpuid.len(), here.cpuid.len());
        }
        Ok(())
    }
}

impl MachineState {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(self).context("cannot encode the machine's state")
    }

    /// # Errors
    /// If they are not the bytes of a state.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (state, rest) =
            postcard::take_from_bytes(bytes).context("it is damaged: its state is malformed")?;
        if !rest.is_empty() {
            bail!("it is damaged: {} bytes follow its state", rest.len());
        }
        Ok(state)
    }
}
