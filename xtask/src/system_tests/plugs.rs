//! Devices that come and go while the guest runs, on the machine's own KVM. The lab's cases are among `product`'s.

use anyhow::Result;

use super::driver::drive_here;
use super::own_kvm::{skipped, usable};
use crate::runner::{Batch, Finding};

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[(
        "kvm/plug",
        "devices are plugged and unplugged beside a busy one, 12 times in three ways: each works, none lost, nothing left",
    )],
    run,
};

fn run(names: &[&'static str]) -> Result<Vec<Finding>> {
    match usable()? {
        Ok(programs) => {
            let driven = |name: &&str| Ok(drive_here(&programs, "plug-own-kvm", name, &[])?.finding);
            names.iter().map(driven).collect()
        }
        Err(missing) => Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    }
}
