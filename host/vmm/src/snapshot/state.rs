//! What of a machine is saved beside its RAM, and whether another machine can go on with it.

use anyhow::{Context, Result, bail};
use kvm_bindings::kvm_cpuid_entry2;
use pvir_host::function::SavedFunction;
use serde::{Deserialize, Serialize};

use super::time::SavedTime;
use crate::devices::io_apic::SavedIoApic;
use crate::pci::bus::Place;
use crate::vcpu::ports::SavedPorts;
use crate::vcpu::state::VcpuState;

/// A machine without its RAM.
#[derive(Serialize, Deserialize)]
pub(super) struct MachineState {
    pub(super) shape: MachineShape,
    pub(super) time: SavedTime,
    /// In the order of the machine's APIC ids.
    pub(super) vcpus: Vec<VcpuState>,
    pub(super) io_apic: SavedIoApic,
    pub(super) ports: SavedPorts,
    /// In the order of the bus.
    pub(super) functions: Vec<SavedFunction>,
    /// Of the same functions.
    pub(super) places: Vec<Place>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> MachineShape {
        MachineShape {
            apic_ids: vec![0, 1],
            ram: vec![(0, 32 << 20)],
            functions: vec![
                ("00:00.0".into(), "host bridge".into()),
                ("00:01.0".into(), "vfio 8086:10c9".into()),
            ],
            conduits: 0b110,
            cpuid: vec![[1, 0, 0x800f12, 0, 0xf7f8_3203, 0x178b_fbfd]; 2],
        }
    }

    /// What is said where the machine that is to go on was changed so.
    fn refusal(change: impl FnOnce(&mut MachineShape)) -> String {
        let mut here = shape();
        change(&mut here);
        shape().check(&here).unwrap_err().to_string()
    }

    #[test]
    fn each_difference_is_named() {
        assert!(shape().check(&shape()).is_ok());
        assert_eq!(
            refusal(|here| here.apic_ids = vec![0]),
            "the saved machine has vCPUs with the APIC ids [0, 1], and this one has [0]; help: --cpus, --apic-ids"
        );
        assert_eq!(
            refusal(|here| here.ram = vec![(0, 64 << 20)]),
            "the saved machine has 32 MiB of RAM, and this one has 64 MiB; help: --memory 32M"
        );
        assert_eq!(
            refusal(|here| here.functions[1].1 = "vfio 1234:11e8".into()),
            "the saved machine has vfio 8086:10c9 at 00:01.0, and this one has vfio 1234:11e8 at 00:01.0; help: --device"
        );
        assert_eq!(
            refusal(|here| here.functions.truncate(1)),
            "the saved machine has vfio 8086:10c9 at 00:01.0, and this one has no more devices; help: --device"
        );
        assert!(
            refusal(|here| here.functions.push(("00:02.0".into(), "new".into())))
                .contains("has no more devices, and")
        );
        assert!(
            refusal(|here| here.conduits = 0b100).starts_with("the guest may call by other conduits here")
        );
        assert!(
            refusal(|here| here.cpuid[1][4] = 0).starts_with(
                "CPUID leaf 0x1.0x0 is [800f12, 0, f7f83203, 178bfbfd] in the saved machine and [800f12, 0, 0, 178bfbfd] here"
            )
        );
        assert_eq!(
            refusal(|here| here.cpuid.truncate(1)),
            "CPUID has 2 leaves in the saved machine and 1 here"
        );
    }

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        let refusal = |bytes: &[u8]| MachineState::from_bytes(bytes).err().unwrap().to_string();
        assert_eq!(refusal(&[]), "it is damaged: its state is malformed");
        // Lengths that no file of this size can have.
        assert_eq!(refusal(&[0xff; 64]), "it is damaged: its state is malformed");
    }
}
