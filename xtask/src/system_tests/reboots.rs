//! A guest that is started again in the same process, on the machine's own KVM. The lab's cases are among `product`'s.

use anyhow::Result;

use super::driver::drive_here;
use super::own_kvm::{skipped, usable};
use crate::runner::{Batch, Finding};

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[(
        "kvm/reboots",
        "a guest resets its machine under traffic, 20 times by the reset register: each boot is as the first, nothing leaks",
    )],
    run,
};

fn run(names: &[&'static str]) -> Result<Vec<Finding>> {
    match usable()? {
        Ok(programs) => {
            let driven = |name: &&str| Ok(drive_here(&programs, "reboots-own-kvm", name)?.finding);
            names.iter().map(driven).collect()
        }
        Err(missing) => Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    }
}
