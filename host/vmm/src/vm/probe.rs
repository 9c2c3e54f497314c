//! Is there a KVM here that can run the machine? Every "no" names what is missing and how to mend it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, bail};
use kvm_ioctls::{Cap, Kvm};

const DEVICE: &str = "/dev/kvm";
/// The mode bits by which a group reads and writes.
const GROUP_USES: u32 = 0o060;
/// The API version of every Linux since 2.6.22.
const API_VERSION: i32 = 12;

/// Capabilities of KVM without which no machine can be built.
const NEEDED: [(Cap, &str); 8] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SplitIrqchip, "KVM_CAP_SPLIT_IRQCHIP"),
    (Cap::X2ApicApi, "KVM_CAP_X2APIC_API"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
];

/// Opens KVM and checks what does not depend on the machine that is asked for.
pub(crate) fn open() -> Result<Kvm> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => anyhow::anyhow!(
            "there is no {DEVICE}: {error}\nhelp: load the module kvm_intel or kvm_amd; in a VM, switch nested virtualization on"
        ),
        libc::EACCES | libc::EPERM => {
            let owner = fs::metadata(DEVICE).map(|data| (data.mode(), data.gid())).ok();
            anyhow::anyhow!("no permission for {DEVICE}: {error}\nhelp: {}", permission_help(owner))
        }
        _ => anyhow::anyhow!("cannot open {DEVICE}: {error}"),
    })?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        bail!("{DEVICE} has API version {version}, not {API_VERSION}: it is not a KVM that pvir knows");
    }
    let missing: Vec<_> =
        NEEDED.iter().filter(|(cap, _)| !kvm.check_extension(*cap)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!("this KVM lacks {}\nhelp: a newer host kernel has it", missing.join(", "));
    }
    Ok(kvm)
}

/// What gives permission, by mode and group of the device.
fn permission_help(owner: Option<(u32, u32)>) -> String {
    match owner {
        Some((mode, group)) if mode & GROUP_USES == GROUP_USES && group != 0 => format!(
            "add the user to its group (`usermod -aG \"$(stat -c %G {DEVICE})\" $USER`, then log in again), or be root"
        ),
        _ => format!(
            "be root: no group may use it. As root, `chgrp kvm {DEVICE} && chmod 660 {DEVICE}` lets the group kvm, \
             until a udev rule says otherwise"
        ),
    }
}

/// Checks that KVM can have these vCPUs.
pub(crate) fn check_cpus(kvm: &Kvm, apic_ids: &[u32]) -> Result<()> {
    let (max_cpus, max_id) = (kvm.get_max_vcpus(), kvm.get_max_vcpu_id());
    if apic_ids.len() > max_cpus {
        bail!("--cpus {}: this KVM has at most {max_cpus} vCPUs", apic_ids.len());
    }
    if let Some(id) = apic_ids.iter().find(|id| usize::try_from(**id).is_ok_and(|id| id >= max_id)) {
        bail!("--apic-ids: {id} is too large, this KVM has APIC ids below {max_id}");
    }
    if apic_ids.first().is_some_and(|id| *id != 0) && !kvm.check_extension(Cap::SetBootCpuId) {
        bail!("--apic-ids: this KVM lacks KVM_CAP_SET_BOOT_CPU_ID, so the first id must be 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_joined_only_where_one_may_use_kvm() {
        assert!(permission_help(Some((0o20_660, 104))).contains("usermod"));
        for owner in [None, Some((0o20_600, 0)), Some((0o20_600, 104)), Some((0o20_660, 0))] {
            let help = permission_help(owner);
            assert!(help.contains("chmod 660") && !help.contains("usermod"), "{help}");
        }
    }
}
