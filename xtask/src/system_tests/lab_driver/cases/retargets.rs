//! Every vector of a device is moved by several vCPUs while the device raises, and the host moves its own interrupts from one
//! of its CPUs to another meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::lives;
use crate::CaseReport;
use crate::expect::number;
use crate::host;
use crate::vm::{Ended, Vm};
use crate::witness::ask;

/// Rounds, each of which raises every vector once.
const ROUNDS: u64 = 60;

pub(super) fn run() -> Result<CaseReport> {
    let device = host::device(0)?;
    let rounds = lives::rounds(ROUNDS)?;
    let arguments = ["--device", &format!("vfio={device}"), "--storm-limit", "off", "--rate-limit", "off"];
    let mut vm = Vm::start(&arguments, &format!("retargets rounds={rounds} checkpoints"))?;
    vm.until("moving")?;
    vm.resume()?;
    let (ended, moved) = while_the_host_moves(&device, vm)?;
    ended.passed()?;
    let event = ended.of_kind("retargets").pop().context("no event `retargets`")?;
    let [raised, handled, retargets] =
        ["raised", "handled", "retargets"].map(|key| number(&event, &format!("/{key}")));
    let note = format!(
        "{raised} raised, {handled} handled, {retargets} retargets; the host moved its interrupts {moved} times meanwhile"
    );
    Ok(CaseReport { note, data: event })
}

/// The end of the VM, and how often all of the device's interrupts were moved; never if there is one CPU.
fn while_the_host_moves(device: &str, vm: Vm) -> Result<(Ended, u64)> {
    let cpus = thread::available_parallelism()?.get();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mover = scope.spawn(|| -> Result<u64> {
            let mut moved = 0;
            while cpus > 1 && !over.load(Ordering::Relaxed) {
                let to = usize::try_from(moved)? % cpus;
                // They are gone when the guest has given them back, which is the end.
                if ask(&["move-irqs", device, &to.to_string()]).is_err() {
                    break;
                }
                moved += 1;
            }
            Ok(moved)
        });
        let ended = vm.run_out();
        over.store(true, Ordering::Relaxed);
        let moved = mover.join().map_err(|_| anyhow!("the mover panicked"))??;
        Ok((ended?, moved))
    })
}
