//! The stages that each device goes through.

use super::MAX_ENTRIES;
use super::ledger::{Ledger, Totals};
use super::spread;
use crate::harness::checks::Checks;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::println;
use crate::remapping::Session;
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, Pair};
use pvir_guest::{
    BatchMode, Entry, EntryError, Irte, Live, MapRequest, MapResult, Masked, NOT_MAPPED, StoreEntry, Target,
};

/// Entries of a device in one state.
type Entries<T, S> = ArrayVec<Entry<T, S>, MAX_ENTRIES>;

/// One device under test.
pub(super) struct DeviceUnderTest<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'static str,
    pub(super) id: DeviceId,
    pub(super) driver: &'a mut Device,
    pub(super) interrupts: u64,
    pub(super) vectors: &'a mut Vectors,
    pub(super) checks: &'a mut Checks,
}

impl DeviceUnderTest<'_> {
    pub(super) fn fail(&mut self, what: &str, detail: fmt::Arguments<'_>) {
        self.checks.expect(what, false, format_args!("{} {}: {detail}", self.name, self.id));
    }

    fn expect(&mut self, what: &str, right: bool, detail: fmt::Arguments<'_>) {
        self.checks.expect(what, right, format_args!("{} {}: {detail}", self.name, self.id));
    }

    /// All stages, one after the other.
    pub(super) fn run<T: StoreEntry + fmt::Debug>(&mut self, entries: Entries<T, Masked>) {
        let count = entries.len();
        let (Some(first), Some(second)) = (self.vectors.take(count), self.vectors.take(count)) else {
            return self.fail("vectors", format_args!("too few vectors are left for {count} entries"));
        };
        let (before, after) = (spread(count, first, 0), spread(count, second, 1));
        let Some(mut live) = self.map(entries, &before) else { return };
        report::checkpoint("mapped");
        let pairs: ArrayVec<Pair, MAX_ENTRIES> = live.iter().map(|entry| entry.irte().pair()).collect();
        self.storm(&before, "mapped", self.interrupts / 2);
        report::checkpoint("stormed");
        if !self.retarget(&mut live, &after) {
            return;
        }
        let kept = live.iter().map(|entry| entry.irte().pair()).eq(pairs);
        self.expect("pair", kept, format_args!("{count} pairs are as before the retarget"));
        report::checkpoint("retargeted");
        let mut ledger = self.storm(&after, "retargeted", self.interrupts - self.interrupts / 2);
        let Some(mut live) = self.mask_each(live, &mut ledger) else { return };
        report::checkpoint("masked");
        self.park(&mut live, &after, &mut ledger);
        self.close(&ledger, "retargeted");
        self.unmap(live);
    }

    /// One call for all entries; then each is programmed and unmasked, which costs no exit for MSI-X.
    fn map<T: StoreEntry + fmt::Debug>(
        &mut self,
        entries: Entries<T, Masked>,
        places: &[Destination],
    ) -> Option<Entries<T, Live>> {
        let requests: ArrayVec<MapRequest, MAX_ENTRIES> = entries
            .iter()
            .zip(places)
            .map(|(entry, place)| MapRequest::new(entry.origin(), place.target()))
            .collect();
        let mut results: ArrayVec<MapResult, MAX_ENTRIES> = requests.iter().map(|_| NOT_MAPPED).collect();
        let granted = self.session.map_batch(&requests, &mut results, BatchMode::AllOrNothing);
        self.expect(
            "map",
            granted.as_ref().is_ok_and(|granted| *granted == entries.len()),
            format_args!("{} entries in one call: {granted:?}", entries.len()),
        );
        let mut live = Entries::new();
        for ((entry, result), place) in entries.into_iter().zip(results).zip(places) {
            let Ok(irte) = result else { continue };
            self.report_entry(&irte, *place);
            match entry.program(irte) {
                Ok(programmed) => live.push(programmed.unmask()),
                Err(failed) => self.fail("program", format_args!("{failed}")),
            }
        }
        let all = live.len() == requests.len();
        self.expect("program", all, format_args!("{} entries programmed and unmasked", live.len()));
        all.then_some(live)
    }

    fn report_entry(&self, irte: &Irte, place: Destination) {
        let Pair { address, data } = irte.pair();
        report::event("entry", |event| {
            event
                .display("device", self.id)
                .str("name", self.name)
                .display("store", format_args!("{:?}", irte.origin().store))
                .num("index", irte.origin().index)
                .hex("address", address)
                .num("data", data)
                .display("handle", irte.handle())
                .num("apic_id", place.apic_id)
                .num("vector", place.vector);
        });
    }

    /// Raises `interrupts` over all entries in turn, each handled before the next.
    fn storm(&mut self, places: &[Destination], stage: &str, interrupts: u64) -> Ledger {
        let mut ledger = Ledger::new(places, self.driver.repeats());
        let mut arrived = 0u64;
        let rounds = interrupts.div_ceil(places.len().max(1) as u64);
        for _ in 0..rounds {
            for entry in 0..places.len() {
                arrived += u64::from(ledger.raise(self.driver, entry));
            }
        }
        println!("{} {}: {stage}: {arrived} interrupts handled one by one", self.name, self.id);
        if stage == "mapped" {
            self.close(&ledger, stage);
        }
        ledger
    }

    /// The ledger must be exact, and agree with the device where it counts.
    fn close(&mut self, ledger: &Ledger, stage: &str) {
        let Totals { raised, handled, elsewhere, exact } = ledger.close(self.id, self.name, stage);
        self.expect(
            "delivered",
            exact && raised > 0,
            format_args!("{stage}: {raised} raised, {handled} handled, {elsewhere} elsewhere"),
        );
        let entries = 0..self.driver.vectors().min(u16::try_from(MAX_ENTRIES).unwrap_or(u16::MAX));
        let sent = entries.map(|entry| self.driver.sent(entry)).try_fold(0, |sum, sent| Some(sum + sent?));
        if let Some(sent) = sent {
            report::event("sent", |event| {
                event.display("device", self.id).str("stage", stage).num("sent", sent);
            });
        }
    }

    /// New vectors and processors for all, in one call.
    fn retarget<T: StoreEntry + fmt::Debug>(
        &mut self,
        live: &mut Entries<T, Live>,
        places: &[Destination],
    ) -> bool {
        let targets: ArrayVec<Target, MAX_ENTRIES> = places.iter().map(|place| place.target()).collect();
        let mut results: ArrayVec<_, MAX_ENTRIES> =
            targets.iter().map(|_| Err(EntryError::NotAsked)).collect();
        let moved = self.session.retarget_batch(live, &targets, &mut results, BatchMode::AllOrNothing);
        let right = moved.as_ref().is_ok_and(|moved| *moved == live.len());
        self.expect("retarget", right, format_args!("{} entries in one call: {moved:?}", live.len()));
        for (entry, place) in live.iter().zip(places) {
            self.report_entry(entry.irte(), *place);
        }
        right
    }

    /// What is raised while an entry is masked stays in the device, and comes once when it is unmasked.
    fn mask_each<T: StoreEntry + fmt::Debug>(
        &mut self,
        live: Entries<T, Live>,
        ledger: &mut Ledger,
    ) -> Option<Entries<T, Live>> {
        let (mut back, mut held, mut tried) = (Entries::new(), 0u32, 0u32);
        for (place, entry) in live.into_iter().enumerate() {
            let masked = match entry.mask() {
                Ok(masked) => masked,
                Err(failed) => {
                    self.fail("mask", format_args!("{failed}"));
                    return None;
                }
            };
            // Without a mask and pending bits an interrupt that is raised now is lost, and rightly so.
            let can_hold = masked.is_pending().is_some();
            let before = ledger.handled(place);
            if can_hold {
                tried += 1;
                ledger.raised(place);
                self.driver.raise(u16::try_from(place).unwrap_or(u16::MAX));
            }
            let quiet = !wait_until(QUIET_MS, || ledger.handled(place) > before);
            let pending = masked.is_pending().unwrap_or(false);
            back.push(masked.unmask());
            if can_hold {
                held += u32::from(quiet && pending && ledger.arrives(self.driver, place, before));
            }
        }
        self.expect(
            "mask",
            held == tried,
            format_args!("{held} of {tried} held while masked, delivered on unmask"),
        );
        Some(back)
    }

    /// Parked, the first entry is silent; un-parked, what was raised meanwhile comes, once.
    fn park<T: StoreEntry + fmt::Debug>(
        &mut self,
        live: &mut Entries<T, Live>,
        places: &[Destination],
        ledger: &mut Ledger,
    ) {
        let (Some(entry), Some(place)) = (live.first_mut(), places.first()) else { return };
        if let Err(error) = self.session.park(entry) {
            return self.fail("park", format_args!("{error}"));
        }
        let before = ledger.handled(0);
        ledger.raised(0);
        self.driver.raise(0);
        let quiet = !wait_until(QUIET_MS, || ledger.handled(0) > before);
        let routed = self.session.retarget(entry, place.target());
        let came = ledger.arrives(self.driver, 0, before);
        self.expect(
            "park",
            quiet && routed.is_ok() && came,
            format_args!("held while parked: {quiet}, delivered at the first route: {came}, {routed:?}"),
        );
    }

    /// Masks all, gives all back in one call, and sees that the device is silent.
    fn unmap<T: StoreEntry + fmt::Debug>(&mut self, live: Entries<T, Live>) {
        let mut irtes: ArrayVec<Option<Irte>, MAX_ENTRIES> = ArrayVec::new();
        let mut masked = Entries::new();
        for entry in live {
            match entry.mask() {
                Ok(programmed) => {
                    let (entry, irte) = programmed.retire();
                    masked.push(entry);
                    irtes.push(Some(irte));
                }
                Err(failed) => self.fail("mask", format_args!("{failed}")),
            }
        }
        let mut results: ArrayVec<_, MAX_ENTRIES> = irtes.iter().map(|_| Err(EntryError::NotAsked)).collect();
        let given = self.session.unmap_batch(&mut irtes, &mut results, BatchMode::AllOrNothing);
        let before = interrupts::grand_total();
        for entry in 0..self.driver.vectors().min(u16::try_from(masked.len()).unwrap_or(0)) {
            self.driver.raise(entry);
            self.driver.acknowledge(entry);
        }
        let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() != before);
        let right = given.as_ref().is_ok_and(|given| *given == masked.len()) && quiet;
        self.expect("unmap", right, format_args!("{given:?} in one call, silent after: {quiet}"));
    }
}
