//! What the device holds inside, in a snapshot of its VM.

use super::counts::InterruptCounts;
use super::model::DeviceModel;
use super::rate::RatePlan;
use super::registers::Registers;
use pvir_host::emulation::{SavedUnit, SharedTable};
use serde::{Deserialize, Serialize};
use std::io;

/// Everything but configuration space, which is the function's.
#[derive(Debug, Serialize, Deserialize)]
struct Inside {
    unit: SavedUnit,
    /// Entries of the table whose pending bits are set.
    pending: Vec<u32>,
    /// Those of them that are sent when the guest has unmasked them.
    waiting: Vec<u32>,
    /// The pending bits of MSI.
    msi_pending: u32,
    ims_base: u64,
    ims_pending: Vec<u32>,
    sequences: u64,
    /// Of each interrupt.
    counts: Vec<InterruptCounts>,
    dma_faults: u64,
    registers: Vec<u32>,
    /// The plan that runs, and the rounds that are left of it.
    running: Option<(RatePlan, u32)>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// What the device with these registers holds.
pub(crate) fn save(model: &DeviceModel, registers: &Registers) -> io::Result<Vec<u8>> {
    let table = |shown: &SharedTable| {
        (0..shown.vectors()).filter(|index| shown.is_pending(*index).unwrap_or(false)).collect()
    };
    let state = model.state();
    let inside = Inside {
        unit: state.unit.save(),
        pending: model.table().map_or_else(Vec::new, table),
        waiting: model.waiting().all(),
        msi_pending: state.msi.pending(),
        ims_base: state.ims.base(),
        ims_pending: state.ims.held().collect(),
        sequences: state.sequences,
        counts: (0..model.layout().interrupts()).map(|number| model.counts(number)).collect(),
        dma_faults: model.dma_faults(),
        registers: registers.save().to_vec(),
        running: model.running(),
    };
    postcard::to_stdvec(&inside).map_err(io::Error::other)
}

/// Gives a paused device that nobody has used what another one has held.
pub(crate) fn restore(model: &DeviceModel, registers: &Registers, inside: &[u8]) -> io::Result<()> {
    let (inside, rest) =
        postcard::take_from_bytes::<Inside>(inside).map_err(|error| invalid(error.to_string()))?;
    if !rest.is_empty() {
        return Err(invalid("bytes follow it"));
    }
    let layout = model.layout();
    let below = |limit: u32, indices: &[u32]| indices.iter().all(|index| *index < limit);
    let exist = below(layout.msix_entries(), &inside.pending)
        && below(layout.msix_entries(), &inside.waiting)
        && below(layout.ims(), &inside.ims_pending);
    if !exist || inside.counts.len() != layout.interrupts() as usize {
        return Err(invalid("it has other interrupts"));
    }
    let values = inside.registers.as_slice().try_into().map_err(|_| invalid("it has other registers"))?;
    if !registers.takes(values) {
        return Err(invalid("its registers have values that they cannot have"));
    }
    if inside.running.as_ref().is_some_and(|(plan, _)| !plan.is_possible()) {
        return Err(invalid("no rate generator runs like that"));
    }
    let mut state = model.state();
    if !state.unit.restore(&inside.unit) {
        return Err(invalid("its remapping unit is another one"));
    }
    registers.restore(values);
    (0..u32::BITS)
        .filter(|index| inside.msi_pending >> index & 1 != 0)
        .for_each(|index| state.msi.hold(index));
    state.ims.set_base(inside.ims_base);
    inside.ims_pending.iter().for_each(|index| state.ims.hold(*index));
    state.sequences = inside.sequences;
    if let Some(table) = model.table() {
        inside.pending.iter().try_for_each(|index| table.set_pending(*index, true))?;
    }
    inside.waiting.iter().for_each(|index| model.waiting().add(*index));
    model.set_counts(&inside.counts, inside.dma_faults);
    drop(state);
    if let Some((plan, left)) = inside.running {
        model.run(RatePlan { rounds: left, ..plan });
    }
    Ok(())
}
