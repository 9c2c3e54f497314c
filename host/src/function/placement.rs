//! Brings what decodes and what is mapped in line with what the guest has written, and with who has the MSI-X table.

use super::backend::Backend;
use super::error::{FunctionError, with_source};
use super::mapper::{BarMapper, BarRange, MappedPart};
use super::registers::Registers;
use pvir_abi::DeviceId;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A function's registers, and what was made of them.
pub(super) struct Placement {
    id: DeviceId,
    registers: Mutex<Registers>,
    installed: Mutex<Installed>,
    /// Whether the guest has the MSI-X table.
    open: AtomicBool,
    /// Calls of the mapper that change what is mapped, since they were last charged to the guest.
    remapped: AtomicUsize,
    /// Whether the latest reset has failed: the device does not answer.
    silent: AtomicBool,
    backend: Box<dyn Backend>,
    mapper: Arc<dyn BarMapper>,
}

/// What decodes and what is mapped. The lock orders all calls of the mapper; that of the registers is taken under it.
#[derive(Default)]
struct Installed {
    decoded: Vec<BarRange>,
    /// What should not decode any more, and has parts that the VMM does not unmap.
    stuck: Vec<BarRange>,
    mapped: Vec<(BarRange, MappedPart)>,
    /// Whether a failure was logged: a guest can repeat it without end.
    logged: [bool; 4],
    /// Whether the function is gone: nothing is mapped any more.
    ended: bool,
}

/// What the mapper did not do.
#[derive(Clone, Copy)]
enum Failure {
    Decode,
    Map,
    Unmap,
    Reset,
}

impl Failure {
    fn of(self, range: BarRange, source: io::Error) -> FunctionError {
        let operation = match self {
            Self::Decode => "does not decode",
            Self::Map => "stays trapped",
            Self::Unmap => "stays mapped",
            Self::Reset => "is not reset",
        };
        FunctionError::Mapper { range, operation, source }
    }
}

impl Placement {
    pub(super) fn new(
        id: DeviceId,
        registers: Registers,
        backend: Box<dyn Backend>,
        mapper: Arc<dyn BarMapper>,
    ) -> Self {
        Self {
            id,
            registers: Mutex::new(registers),
            installed: Mutex::default(),
            open: AtomicBool::new(false),
            remapped: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            backend,
            mapper,
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.id
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn installed(&self) -> MutexGuard<'_, Installed> {
        self.installed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ranges that decode now.
    pub(super) fn decoded(&self) -> Vec<BarRange> {
        self.installed().decoded.clone()
    }

    /// What `search` finds among the ranges that decode now.
    pub(super) fn find<T>(&self, search: impl FnMut(&BarRange) -> Option<T>) -> Option<T> {
        self.installed().decoded.iter().find_map(search)
    }

    /// Gives the guest the MSI-X table, or takes it back. The caller holds no lock of the function.
    ///
    /// It fails only where the VMM does not unmap. Where it does not map a page, the guest's accesses exit, and are served
    /// just the same.
    pub(super) fn set_open(&self, open: bool) -> Result<(), FunctionError> {
        self.open.store(open, Ordering::SeqCst);
        self.update()
    }

    /// Brings everything in line. What the VMM does not decode or map is logged, and stays trapped.
    ///
    /// # Errors
    /// [`FunctionError::Mapper`]: the guest still has what it should not have any more. It is tried again by the next call.
    pub(super) fn update(&self) -> Result<(), FunctionError> {
        let mut installed = self.installed();
        if installed.ended {
            return Ok(());
        }
        let desired = self.registers().desired(self.id);
        let open = self.open.load(Ordering::SeqCst);
        let parts = |range: &BarRange| self.backend.mapped_parts(range.bar, open);
        let before = [mem::take(&mut installed.decoded), mem::take(&mut installed.stuck)].concat();
        let (kept, gone): (Vec<_>, Vec<_>) = before.into_iter().partition(|range| desired.contains(range));
        let wanted_of =
            |range: &BarRange| parts(range).into_iter().map(|part| (*range, part)).collect::<Vec<_>>();
        let wanted = kept.iter().flat_map(wanted_of).collect::<Vec<_>>();
        let result = self.unmap_all_but(&mut installed, &wanted);
        installed.decoded = kept;
        self.stop_decoding(&mut installed, gone);
        for range in desired {
            if installed.decoded.contains(&range)
                || installed.stuck.iter().any(|other| other.bar == range.bar)
            {
                continue;
            }
            match self.mapper.decode(&range) {
                Ok(()) => installed.decoded.push(range),
                Err(error) => installed.log(Failure::Decode, &Failure::Decode.of(range, error)),
            }
        }
        for range in installed.decoded.clone() {
            for part in parts(&range) {
                self.map(&mut installed, range, part);
            }
        }
        result
    }

    /// A range of which a part stays mapped is kept from everybody else, and its BAR stays there until it can go.
    fn stop_decoding(&self, installed: &mut Installed, gone: Vec<BarRange>) {
        for range in gone {
            if installed.mapped.iter().any(|(of, _)| *of == range) {
                installed.stuck.push(range);
            } else {
                self.mapper.stop_decoding(&range);
            }
        }
    }

    fn map(&self, installed: &mut Installed, range: BarRange, part: MappedPart) {
        if installed.mapped.iter().any(|(at, mapped)| (at, mapped) == (&range, &part)) {
            return;
        }
        self.remapped.fetch_add(1, Ordering::Relaxed);
        match self.mapper.map(range.address + part.offset(), &part) {
            Ok(()) => installed.mapped.push((range, part)),
            // The device still works: its accesses exit.
            Err(error) => installed.log(Failure::Map, &Failure::Map.of(range, error)),
        }
    }

    /// What the VMM does not let go of stays on the list, so that it is tried again. The last failure is the answer.
    fn unmap_all_but(
        &self,
        installed: &mut Installed,
        wanted: &[(BarRange, MappedPart)],
    ) -> Result<(), FunctionError> {
        let mut result = Ok(());
        installed.mapped.retain(|mapped| {
            if wanted.contains(mapped) {
                return true;
            }
            let (range, part) = mapped;
            self.remapped.fetch_add(1, Ordering::Relaxed);
            match self.mapper.unmap(range.address + part.offset(), part) {
                Ok(()) => false,
                Err(error) => {
                    result = Err(Failure::Unmap.of(*range, error));
                    true
                }
            }
        });
        result
    }

    /// After a write of the guest, which has nobody to be told of a failure. Answers with the number of memory slots that
    /// it has cost.
    pub(super) fn update_for_guest(&self) -> usize {
        if let Err(error) = self.update() {
            self.installed().log(Failure::Unmap, &error);
        }
        self.remapped.swap(0, Ordering::Relaxed)
    }

    /// Whether the device does not answer, because its latest reset has failed.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// A reset for the guest has failed.
    pub(super) fn log_reset(&self, error: &FunctionError) {
        self.installed().log(Failure::Reset, error);
    }

    /// The end of the function: nothing of it decodes or is mapped any more.
    pub(super) fn end(&self) {
        let mut installed = self.installed();
        installed.ended = true;
        if let Err(error) = self.unmap_all_but(&mut installed, &[]) {
            tracing::error!("{}", with_source(&error));
        }
        let gone = [mem::take(&mut installed.decoded), mem::take(&mut installed.stuck)].concat();
        self.stop_decoding(&mut installed, gone);
    }
}

impl Installed {
    /// A guest can bring this about at each write of a BAR, so the log has the first time of each kind.
    fn log(&mut self, failure: Failure, error: &FunctionError) {
        let [decode, map, unmap, reset] = &mut self.logged;
        let logged = match failure {
            Failure::Decode => decode,
            Failure::Map => map,
            Failure::Unmap => unmap,
            Failure::Reset => reset,
        };
        if mem::replace(logged, true) {
            tracing::debug!("{}", with_source(error));
        } else {
            tracing::warn!("{} (further messages of this kind are for debugging)", with_source(error));
        }
    }
}
