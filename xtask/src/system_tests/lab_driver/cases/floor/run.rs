//! One VM through all steps, its counts taken at each checkpoint and checked.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::step::{STEPS, Step};
use super::{Confirmed, Device, Kind, Way};
use crate::cases::counts::{self, OF_CONSOLES};
use crate::expect::{grown, number, same};
use crate::trace::{Exits, MMIO, RDMSR, Trace, WRMSR, XEN};
use crate::vm::Vm;
use crate::witness::ask;

type Counts = BTreeMap<String, u64>;

/// What each step of a run has cost.
pub(super) struct Run(BTreeMap<&'static str, Spent>);

/// Exits by cause and ioctls by name.
struct Spent {
    exits: Counts,
    ioctls: Counts,
}

/// The counts at a checkpoint.
struct Snapshot {
    pvir: Value,
    kernel: Option<Kernel>,
}

struct Kernel {
    exits: Exits,
    /// In debugfs.
    mmio: u64,
}

impl Run {
    pub(super) fn new(device: &Device, vectors: u64, way: Way, confirmed: Confirmed) -> Result<Self> {
        let trace = (confirmed == Confirmed::ByKernel).then(Trace::start).transpose()?;
        let (mode, word) = match way {
            Way::Direct => ("direct", ""),
            Way::Trapped => ("trap", " trapped"),
        };
        let words = format!("counts checkpoints n={vectors}{word}");
        // What is armed ahead would be counted in whichever step the host comes to it.
        let arguments = ["--device", &device.argument, "--mode", mode, "--armed-ahead", "0"];
        let mut vm = Vm::start(&arguments, &words)?;
        vm.until("opened")?;
        let mut before = snapshot(&mut vm, trace.as_ref())?;
        let mut spent = BTreeMap::new();
        for step in STEPS {
            for checkpoint in step.checkpoints {
                vm.resume()?;
                vm.until(checkpoint)?;
            }
            let after = snapshot(&mut vm, trace.as_ref())?;
            let of_step = between(&before, &after).with_context(|| step.name.to_owned())?;
            if step.is_checked() {
                of_step.check(step, vectors, device.kind, way).with_context(|| step.name.to_owned())?;
            }
            spent.insert(step.name, of_step);
            before = after;
        }
        let ended = vm.run_out()?;
        ended.passed()?;
        if let Some(trace) = trace {
            counts::check_totals(&ended.report, &trace.exits()?)?;
        }
        Ok(Self(spent))
    }

    /// A step's exits and ioctls.
    pub(super) fn spent(&self, step: &Step) -> Value {
        self.0.get(step.name).map_or(Value::Null, |spent| {
            json!({
                "exits": spent.exits.values().sum::<u64>(),
                "causes": spent.exits,
                "ioctls": spent.ioctls,
            })
        })
    }
}

fn snapshot(vm: &mut Vm, trace: Option<&Trace>) -> Result<Snapshot> {
    let pvir = vm.counts()?;
    let kernel = match trace {
        None => None,
        Some(trace) => {
            let stats = ask(&["kvm-stats", &vm.pid()])?;
            ensure!(stats.len() == 1, "{} VMs in place of one", stats.len());
            Some(Kernel { exits: trace.exits()?, mmio: number(&stats[0], "/stats/mmio_exits") })
        }
    };
    Ok(Snapshot { pvir, kernel })
}

/// What was counted between two looks; the kernel's counts must say the same. Its exits on ports go on while it is asked,
/// because the guest waits at the checkpoint by polling: those of the whole run are compared.
fn between(before: &Snapshot, after: &Snapshot) -> Result<Spent> {
    let mut exits = grown(&before.pvir["exits"], &after.pvir["exits"]);
    exits.retain(|cause, _| !OF_CONSOLES.contains(&cause.as_str()));
    let mut ioctls = grown(&before.pvir["ioctls"], &after.pvir["ioctls"]);
    // One for each exit, the serial port's among them.
    ioctls.remove("KVM_RUN");
    if let (Some(before), Some(after)) = (&before.kernel, &after.kernel) {
        let kernel = |reasons: &[u64]| -> u64 {
            let of = |exits: &Exits, reason| exits.get(reason).copied().unwrap_or(0);
            reasons.iter().map(|reason| of(&after.exits, reason) - of(&before.exits, reason)).sum()
        };
        let ours = |prefixes: &[&str]| -> u64 {
            let of = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
            exits.iter().filter(|(name, _)| of(name)).map(|(_, count)| count).sum()
        };
        same("MMIO exits, by KVM", &kernel(&[MMIO]), &ours(&["mmio-"]))?;
        same("hypercall exits, by KVM", &kernel(&[XEN]), &ours(&["pvir-vmcall", "hypercall-"]))?;
        let msrs = ours(&["pvir-msr", "pvir-status-msr", "msr-"]);
        same("MSR exits, by KVM", &kernel(&[RDMSR, WRMSR]), &msrs)?;
        if kernel(&[MMIO]) == 0 {
            same("MMIO exits, in debugfs", &after.mmio, &before.mmio)?;
        }
    }
    Ok(Spent { exits, ioctls })
}

/// A call by hypercall is one exit. By MSR or port it is two: the status is read afterwards.
const CONDUITS: [&[&str]; 3] =
    [&["pvir-vmcall"], &["pvir-msr", "pvir-status-msr"], &["pvir-port", "pvir-status-port"]];
/// These may be armed ahead, so that a step needs fewer.
const AT_MOST: [&str; 2] = ["KVM_IRQFD", "KVM_IRQFD (de-assign)"];
const ACCESS: &str = "mmio-bar";

impl Spent {
    fn check(&self, step: &Step, vectors: u64, kind: Kind, way: Way) -> Result<()> {
        if way == Way::Trapped {
            let exits = step.trapped(vectors, kind);
            return same("exits where the table is trapped", &self.exits, &expected(&[ACCESS], exits));
        }
        let floor = step.floor(vectors, kind);
        let found = CONDUITS.map(|names| {
            let mut exits = expected(names, floor.calls);
            exits.extend(expected(&[ACCESS], floor.accesses));
            exits
        });
        ensure!(found.contains(&self.exits), "exits: {:?} in place of {:?}", self.exits, found[0]);
        let exact = |name: &str| !AT_MOST.contains(&name);
        let mut ioctls = self.ioctls.clone();
        for name in AT_MOST {
            let (count, most) = (ioctls.remove(name).unwrap_or(0), floor.ioctls.get(name).unwrap_or(&0));
            ensure!(count <= *most, "{count} {name} in place of {most}");
        }
        let rest = floor.ioctls.iter().filter(|(name, _)| exact(name));
        same("ioctls", &ioctls, &rest.map(|(name, count)| ((*name).to_owned(), *count)).collect())
    }
}

/// So many of each, or none at all.
fn expected(names: &[&str], count: u64) -> Counts {
    names.iter().filter(|_| count > 0).map(|name| ((*name).to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_up(exits: &[(&str, u64)], ioctls: &[(&str, u64)]) -> bool {
        let counts = |list: &[(&str, u64)]| list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let spent = Spent { exits: counts(exits), ioctls: counts(ioctls) };
        spent.check(&STEPS[0], 10, Kind::PassedThrough, Way::Direct).is_ok()
    }

    #[test]
    fn one_exit_or_ioctl_more_is_above_the_floor() {
        let ioctls = [("KVM_SET_GSI_ROUTING", 1), ("KVM_IRQFD", 10), ("VFIO_DEVICE_SET_IRQS", 1)];
        assert!(set_up(&[("pvir-vmcall", 1)], &ioctls));
        assert!(set_up(&[("pvir-msr", 1), ("pvir-status-msr", 1)], &ioctls));
        assert!(!set_up(&[("pvir-vmcall", 2)], &ioctls));
        assert!(!set_up(&[("pvir-msr", 1)], &ioctls));
        assert!(!set_up(&[("pvir-vmcall", 1), ("mmio-bar", 1)], &ioctls));
        for place in 0..ioctls.len() {
            let mut more = ioctls;
            more[place].1 += 1;
            assert!(!set_up(&[("pvir-vmcall", 1)], &more), "{more:?}");
        }
        assert!(!set_up(&[("pvir-vmcall", 1)], &[&ioctls[..], &[("KVM_SIGNAL_MSI", 1)]].concat()));
    }

    #[test]
    fn irqfds_may_be_armed_ahead_and_nothing_else_may_be_left_out() {
        assert!(set_up(&[("pvir-vmcall", 1)], &[("KVM_SET_GSI_ROUTING", 1), ("VFIO_DEVICE_SET_IRQS", 1)]));
        assert!(!set_up(&[("pvir-vmcall", 1)], &[("KVM_SET_GSI_ROUTING", 1), ("KVM_IRQFD", 10)]));
    }
}
