//! A VMM that notes what decodes and what is mapped, and what it should never have been asked for.

use anyhow::{Result, ensure};
use pvir_host::function::{BarMapper, BarRange, MappedPart};
use pvir_host::pci::BarKind;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// RAM, where no BAR may be.
const RAM_END: u64 = 1 << 16;

/// What it has.
#[derive(Default)]
struct State {
    decoded: Vec<BarRange>,
    /// Address and size.
    mapped: Vec<(u64, u64)>,
    wrong: Vec<String>,
    /// A bit for each call to come: whether it is refused.
    refusals: u8,
}

/// The VMM. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Mapper(Arc<Mutex<State>>);

impl Mapper {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next eight calls are refused, each if its bit is set.
    pub(super) fn refuse(&self, calls: u8) {
        self.state().refusals = calls;
    }

    /// What decodes, by the numbers of the BARs.
    pub(super) fn decoded(&self) -> Vec<BarRange> {
        let mut decoded = self.state().decoded.clone();
        decoded.sort_by_key(|range| range.bar);
        decoded
    }

    /// What is there, as text.
    pub(super) fn left(&self) -> Vec<String> {
        let state = self.state();
        let decoded = state.decoded.iter().map(|range| format!("{range:x?}"));
        decoded.chain(state.mapped.iter().map(|mapped| format!("{mapped:x?}"))).collect()
    }

    /// Nothing was asked for that must not be.
    pub(super) fn check(&self) -> Result<()> {
        let state = self.state();
        ensure!(state.wrong.is_empty(), "{:?}", state.wrong);
        for (address, size) in &state.mapped {
            let inside = |range: &BarRange| range.address <= *address && address + size <= range.end();
            ensure!(
                state.decoded.iter().any(inside),
                "{size:#x} bytes are mapped at {address:#x}, and nothing decodes there"
            );
        }
        Ok(())
    }
}

impl State {
    fn takes(&mut self) -> io::Result<()> {
        let refused = self.refusals & 1 != 0;
        self.refusals >>= 1;
        if refused { Err(io::Error::other("refused")) } else { Ok(()) }
    }
}

impl BarMapper for Mapper {
    fn decode(&self, range: &BarRange) -> io::Result<()> {
        let mut state = self.state();
        state.takes()?;
        let same_space = |other: &&BarRange| (other.kind == BarKind::Io) == (range.kind == BarKind::Io);
        let overlaps = |other: &BarRange| other.address < range.end() && range.address < other.end();
        let in_ram = range.kind != BarKind::Io && range.address < RAM_END;
        if in_ram || state.decoded.iter().filter(same_space).any(overlaps) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.decoded.push(*range);
        Ok(())
    }

    fn stop_decoding(&self, range: &BarRange) {
        let mut state = self.state();
        match state.decoded.iter().position(|other| other == range) {
            Some(at) => _ = state.decoded.swap_remove(at),
            None => state.wrong.push(format!("{range:x?} does not decode and is to stop")),
        }
    }

    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut state = self.state();
        state.takes()?;
        let end = address.saturating_add(part.size());
        if address % 4096 != 0 || state.mapped.iter().any(|(at, size)| *at < end && address < at + size) {
            state.wrong.push(format!("{part:x?} is to be mapped at {address:#x}"));
        }
        state.mapped.push((address, part.size()));
        Ok(())
    }

    fn unmap(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut state = self.state();
        state.takes()?;
        match state.mapped.iter().position(|mapped| *mapped == (address, part.size())) {
            Some(at) => _ = state.mapped.swap_remove(at),
            None => state.wrong.push(format!("{part:x?} is not mapped at {address:#x} and is to go")),
        }
        Ok(())
    }
}
