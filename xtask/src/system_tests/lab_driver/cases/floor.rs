//! The floor: what each step of N vectors costs, as `pvir` counts it and as the kernel counts it, beside what it cannot
//! cost less than, and beside the same vectors trapped, with Linux's accesses.

mod run;
mod step;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::CaseReport;
use crate::host;
use crate::trace::Trace;
use run::Run;
use step::STEPS;

/// What is measured on a device.
struct Device {
    name: &'static str,
    /// For `--device`.
    argument: String,
    /// Numbers of vectors, as far as the device goes.
    sizes: &'static [u64],
    /// What it has beside its table.
    kind: Kind,
}

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Emulated: interrupts by a register that traps, or by themselves.
    Emulated,
    /// Passed through, with interrupts by a register that is mapped.
    PassedThrough,
    /// Passed through, with no driver in the test kernel: no interrupts.
    Silent,
}

impl Kind {
    fn has_vfio(self) -> bool {
        self != Self::Emulated
    }
}

/// Who programs the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The guest itself.
    Direct,
    /// The VMM, by what the guest writes to a table that traps.
    Trapped,
}

/// Whose counts are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmed {
    ByKernel,
    /// The product's counts alone: this machine's kernel shows none.
    No,
}

fn emulated() -> Device {
    let argument = "emulated,vectors=2048,ims=0".to_owned();
    Device { name: "emulated", argument, sizes: &[1, 10, 64, 512, 2048], kind: Kind::Emulated }
}

/// In the lab: two devices by VFIO, then the emulated one.
pub(super) fn in_lab() -> Result<CaseReport> {
    let vfio = |position, name, sizes, kind| -> Result<Device> {
        Ok(Device { name, argument: format!("vfio={}", host::device(position)?), sizes, kind })
    };
    let devices = [
        vfio(0, "igb", &[1, 10], Kind::PassedThrough)?,
        vfio(1, "nvme", &[1, 10, 64], Kind::Silent)?,
        emulated(),
    ];
    measure(&devices, Confirmed::ByKernel)
}

/// On the machine's own KVM.
pub(super) fn on_own_kvm() -> Result<CaseReport> {
    let confirmed = if Trace::is_there() { Confirmed::ByKernel } else { Confirmed::No };
    measure(&[emulated()], confirmed)
}

fn measure(devices: &[Device], confirmed: Confirmed) -> Result<CaseReport> {
    let mut rows = Vec::new();
    for device in devices {
        for &vectors in device.sizes {
            let what = || format!("{}, {vectors} vectors", device.name);
            let ours = Run::new(device, vectors, Way::Direct, confirmed).with_context(what)?;
            let trapped =
                Run::new(device, vectors, Way::Trapped, confirmed).with_context(|| what() + ", trapped")?;
            for step in STEPS.iter().filter(|step| step.is_shown(device.kind)) {
                rows.push(row(device, vectors, step, &ours, &trapped));
            }
        }
    }
    let by_kernel = confirmed == Confirmed::ByKernel;
    let exits = |row: &Value, whose: &str| row[whose]["exits"].as_u64();
    let above = rows.iter().filter(|row| exits(row, "ours") > exits(row, "floor")).count();
    let note = format!(
        "{} of {} steps at the floor{}, trapped ones beside them; {}",
        rows.len() - above,
        rows.len(),
        if above > 0 {
            ", the others need a second exit for each call (MSR: the status is read)"
        } else {
            ""
        },
        if by_kernel { "confirmed by KVM's counters" } else { "KVM's COUNTERS ARE NOT ON THIS MACHINE" }
    );
    Ok(CaseReport { note, data: json!({"by_kernel": by_kernel, "rows": rows}) })
}

fn row(device: &Device, vectors: u64, step: &step::Step, ours: &Run, trapped: &Run) -> Value {
    let floor = step.floor(vectors, device.kind);
    json!({
        "device": device.name,
        "vectors": vectors,
        "step": step.name,
        "floor": {"exits": floor.exits(), "ioctls": floor.ioctls},
        "ours": ours.spent(step),
        "trapped": trapped.spent(step),
    })
}
