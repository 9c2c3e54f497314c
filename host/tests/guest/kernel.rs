//! A guest kernel: asks for interrupts, programs them, and knows what it holds.

use crate::ims_region::ImsRegion;
use crate::model::{DesiredIrte, HeldIrte, Model, Slot};
use crate::test_vm::{Hypercalls, TestVm};
use pvir_guest::abi::{Pair, Status, Store};
use pvir_guest::fake::FakeMachine;
use pvir_guest::{
    BatchMode, EitherStore, Entry, EntryError, Error, ImsSlot, Irte, Live, MapRequest, Masked, MsiCapability,
    MsiStore, MsixEntry, MsixTable, NOT_MAPPED, Origin, Remapping, StoreEntry, Target,
};
use std::collections::BTreeMap;

/// An entry of any store, so that the kernel can hold them side by side and ask for them in one batch.
type AnyEntry<'v> = EitherStore<MsixEntry<&'v FakeMachine>, EitherStore<ImsSlot, MsiStore<&'v FakeMachine>>>;

/// The places where the functions keep their messages, while a session lasts.
pub(crate) struct Stores<'v> {
    tables: [MsixTable<&'v FakeMachine>; 2],
    regions: [ImsRegion; 2],
}

impl<'v> Stores<'v> {
    pub(crate) fn open(vm: &'v TestVm) -> Self {
        let function = |number: usize| &vm.functions[number];
        let table = |number| MsixTable::open(&*function(number).machine, function(number).id).unwrap();
        let region = |number| ImsRegion::new(vm.ram(), function(number).id, 64);
        Self { tables: [0, 1].map(table), regions: [0, 1].map(region) }
    }
}

/// The kernel's interrupts in one session.
pub(crate) struct GuestKernel<'s> {
    vm: &'s TestVm,
    remapping: &'s Remapping<Hypercalls>,
    stores: &'s Stores<'s>,
    live: BTreeMap<Slot, Entry<AnyEntry<'s>, Live>>,
}

impl<'s> GuestKernel<'s> {
    pub(crate) fn new(vm: &'s TestVm, remapping: &'s Remapping<Hypercalls>, stores: &'s Stores<'s>) -> Self {
        Self { vm, remapping, stores, live: BTreeMap::new() }
    }

    /// The held entry that a random number means.
    pub(crate) fn pick(&self, number: usize) -> Option<Slot> {
        self.live.keys().nth(number.checked_rem(self.live.len())?).copied()
    }

    /// MAP, and programs what was granted. What the host names it goes into `model`, which has foreseen the grants.
    pub(crate) fn map(&mut self, mode: BatchMode, desired: &[DesiredIrte], model: &mut Model) -> Vec<Status> {
        let request = |w: &DesiredIrte| MapRequest::new(self.origin(w.slot, w.count), w.target);
        let requests: Vec<_> = desired.iter().map(request).collect();
        let mut results: Vec<_> = requests.iter().map(|_| NOT_MAPPED).collect();
        let granted = self.remapping.map_batch(&requests, &mut results, mode);
        let statuses = statuses(&results, &granted);
        for (DesiredIrte { slot, count, target }, irte) in desired.iter().zip(results) {
            let Ok(irte) = irte else { continue };
            let named = Some((irte.handle(), irte.pair()));
            match self.live.get(slot) {
                Some(held) => {
                    assert!(irte.is_existing(), "statement M5");
                    assert_eq!(Some((held.irte().handle(), held.irte().pair())), named, "statement M5");
                }
                None => {
                    assert!(!irte.is_existing());
                    let entry = self.claim(*slot, *count).program(irte).unwrap();
                    self.live.insert(*slot, entry.unmask());
                    let raised = Default::default();
                    model.held.insert(*slot, HeldIrte { count: *count, target: *target, named, raised });
                }
            }
        }
        statuses
    }

    /// RETARGET of held entries, each to its target. Slots come sorted and once.
    pub(crate) fn retarget(&mut self, mode: BatchMode, desired: &[(Slot, Target)]) -> Vec<Status> {
        let target_of = |slot: &Slot| desired.iter().find(|(of, _)| of == slot).map(|(_, target)| *target);
        let (mut irtes, targets): (Vec<_>, Vec<_>) = self
            .live
            .iter_mut()
            .filter_map(|(slot, entry)| target_of(slot).map(|target| (entry, target)))
            .unzip();
        let mut results = vec![Err(EntryError::NotAsked); irtes.len()];
        let moved = self.remapping.retarget_batch(&mut irtes, &targets, &mut results, mode);
        statuses(&results, &moved)
    }

    /// Masks entries and gives them back. What the host still holds is programmed again.
    pub(crate) fn unmap(&mut self, mode: BatchMode, slots: &[Slot]) -> Vec<Status> {
        let mut tokens = Vec::new();
        let mut entries = Vec::new();
        for slot in slots {
            let (entry, irte) = self.live.remove(slot).unwrap().mask().unwrap().retire();
            entries.push(entry);
            tokens.push(Some(irte));
        }
        let mut results = vec![Err(EntryError::NotAsked); slots.len()];
        let gone = self.remapping.unmap_batch(&mut tokens, &mut results, mode);
        let statuses = statuses(&results, &gone);
        for (((slot, entry), token), status) in slots.iter().zip(entries).zip(tokens).zip(&statuses) {
            assert_eq!(token.is_none(), *status == Status::OK);
            if let Some(irte) = token.filter(|_| !is_stale(*status)) {
                self.reprogram(*slot, entry, irte);
            }
        }
        statuses
    }

    fn reprogram(&mut self, slot: Slot, entry: Entry<AnyEntry<'s>, Masked>, irte: Irte) {
        self.live.insert(slot, entry.program(irte).unwrap().unmask());
    }

    /// What the device sends when message `number` of an entry is raised: nothing if it is masked.
    pub(crate) fn message(&self, (function, store, index): Slot, number: u32) -> Option<Pair> {
        let machine = &self.vm.functions[function].machine;
        match store {
            Store::MSIX => machine.msix_message(index as usize),
            Store::IMS => self.stores.regions[function].message(index),
            _ => machine.msi_message(number),
        }
    }

    /// The device raises message `number` of a held entry.
    pub(crate) fn raise(&self, slot: Slot, number: u32) {
        self.vm.send(slot.0, self.message(slot, number).expect("a live entry sends"));
    }

    /// An MSI-X entry is masked, raised, and unmasked again: what was pending is sent then.
    pub(crate) fn raise_masked(&mut self, slot: Slot) {
        let programmed = self.live.remove(&slot).unwrap().mask().unwrap();
        self.vm.raise(slot.0, slot.2);
        assert_eq!((programmed.is_pending(), self.vm.injected()), (Some(true), vec![]), "statement W1");
        self.live.insert(slot, programmed.unmask());
        self.vm.send_pending(slot.0, slot.2);
    }

    /// QUERY says of every entry what the model says, and every device still has the pair that it was given.
    pub(crate) fn compare(&self, model: &Model) {
        assert!(self.live.keys().eq(model.held.keys()));
        for (slot, entry) in &self.live {
            let held = &model.held[slot];
            let irte = entry.irte();
            assert_eq!(Some((irte.handle(), irte.pair())), held.named, "statement M2: {slot:?}");
            assert_eq!(irte.target(), held.target);
            assert_eq!(self.message(*slot, 0), Some(irte.pair()), "statement W3: {slot:?}");
            let answered = self.remapping.verify(entry).unwrap();
            assert_eq!(
                (answered.pair, answered.target),
                (irte.pair(), held.target),
                "statement Q2: {slot:?}"
            );
        }
        for slot in [(0, Store::MSIX, 0), (0, Store::IMS, 63), (1, Store::MSIX, 1), (2, Store::MSI, 0)] {
            if !model.held.contains_key(&slot) {
                let error = self.remapping.query(self.origin(slot, 1)).unwrap_err();
                let stale =
                    matches!(error, Error::Entry { status, .. } if status.status() == Status::STALE_HANDLE);
                assert!(stale, "statement Q1: {slot:?}: {error}");
            }
        }
    }

    fn origin(&self, (function, store, index): Slot, count: u32) -> Origin {
        Origin { device: self.vm.functions[function].id, store, index, count }
    }

    fn claim(&self, (function, store, index): Slot, count: u32) -> Entry<AnyEntry<'s>, Masked> {
        let stores = self.stores;
        let entry = match store {
            Store::MSIX => AnyEntry::First(stores.tables[function].claim(index).unwrap().release()),
            Store::IMS => {
                let slot = stores.regions[function].memory().claim(index, index).unwrap();
                AnyEntry::Second(EitherStore::First(slot.release()))
            }
            _ => {
                let function = &self.vm.functions[function];
                let capability = MsiCapability::open(&*function.machine, function.id).unwrap();
                AnyEntry::Second(EitherStore::Second(capability.claim(count).unwrap().release()))
            }
        };
        assert_eq!(entry.origin().count, count);
        Entry::claim(entry).unwrap()
    }
}

/// Whether an UNMAP with this status has made the handle stale all the same (statement U3).
pub(crate) fn is_stale(status: Status) -> bool {
    [Status::DEVICE_ERROR, Status::HOST_ERROR].contains(&status)
}

/// The statuses of a batch, which agree with what the whole of it answered.
fn statuses<T>(results: &[Result<T, EntryError>], outcome: &Result<usize, Error>) -> Vec<Status> {
    let statuses: Vec<_> = results.iter().map(status).collect();
    let ok = statuses.iter().filter(|status| **status == Status::OK).count();
    match outcome {
        Ok(done) => assert_eq!(*done, ok),
        Err(error) => {
            assert!(matches!(error, Error::Status { status, .. } if status.status() == Status::ABORTED));
            assert_eq!(ok, 0, "statement O3");
        }
    }
    statuses
}

/// The status of a record, as the host has answered it.
pub(crate) fn status<T>(result: &Result<T, EntryError>) -> Status {
    match result {
        Ok(_) => Status::OK,
        Err(EntryError::Status(error)) => error.status(),
        Err(other) => panic!("{other}"),
    }
}
