//! The stages that a device goes through.

use super::MAX_SENDERS;
use super::senders::{ALL, Lines, MessageLocation, Senders, lines};
use crate::harness::checks::{Checks, Outcome};
use crate::harness::counted_interrupt::{CountedInterrupt, Sum, refusal, report_entry};
use crate::harness::vectors::Vectors;
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceFlags, DeviceId, Features, Status};
use pvir_guest::{
    BatchMode, Entry, EntryError, Irte, Live, MapRequest, Mask, Masked, MsixTable, NOT_MAPPED, Origin,
    Renamed, StoreEntry, Target,
};

/// How long what is stale is given to arrive after all.
const LONG_QUIET_MS: u64 = 200;

type Irtes = ArrayVec<Irte, ALL>;

/// One device under test. Its lines, and what sends, are in one order: places first, then entries of the table.
pub(super) struct ImsTest<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'static str,
    pub(super) info: pvir_guest::DeviceInfo,
    pub(super) driver: &'a mut Device,
    pub(super) rounds: u64,
    /// Places are entries of the table that nobody else uses, and not the device's own ones.
    pub(super) in_table: bool,
    pub(super) checks: &'a mut Checks,
}

impl ImsTest<'_> {
    fn expect(&mut self, what: &str, right: bool, detail: fmt::Arguments<'_>) {
        self.checks.expect(what, right, format_args!("{} {}: {detail}", self.name, self.info.id));
    }

    /// All stages, one after the other. Answers nothing when one has failed so that the next makes no sense.
    pub(super) fn run(&mut self, table: &MsixTable<Kernel>) -> Option<()> {
        let id: DeviceId = self.info.id;
        let entries = u32::from(self.driver.vectors().min(MAX_SENDERS)).min(self.info.msix_entries);
        let places = u32::from(self.driver.ims_locations().min(MAX_SENDERS)).min(self.info.ims_entries);
        // Between the entries at the start of the table and those behind IMS entries at its end.
        let spare = self.info.msix_entries.saturating_sub(2 * u32::from(MAX_SENDERS));
        let places = if self.in_table { places.min(spare) } else { places };
        self.expect(
            "entries",
            places > 0,
            format_args!("{places} places, {entries} MSI-X entries beside them"),
        );
        (places > 0).then_some(())?;
        let origins: ArrayVec<Origin, ALL> = (0..places)
            .map(|index| Origin::ims(id, index))
            .chain((0..entries).map(|index| table.origin(index)))
            .collect();
        let mut vectors = Vectors::new();
        let mut first = lines(&origins, &mut vectors, 0)?;
        let irtes = self.map(&first)?;
        let mut senders = self.store(table, irtes)?;
        report::checkpoint("mapped");
        self.storm("mapped", &mut first);
        report::checkpoint("stormed");
        self.backing(&origins);
        let mut lines = lines(&origins, &mut vectors, 1)?;
        self.retarget(&mut senders, &lines);
        report::checkpoint("retargeted");
        self.storm("retargeted", &mut lines);
        self.park(&mut senders, &mut lines);
        self.release(senders, lines)
    }

    /// One call for all.
    fn map(&mut self, lines: &Lines) -> Option<Irtes> {
        let requests: ArrayVec<MapRequest, ALL> = lines.iter().map(CountedInterrupt::request).collect();
        let mut results: ArrayVec<_, ALL> = requests.iter().map(|_| NOT_MAPPED).collect();
        let granted = self.session.map_batch(&requests, &mut results, BatchMode::AllOrNothing);
        self.expect(
            "map",
            granted.is_ok(),
            format_args!("{} entries in one call: {granted:?}", requests.len()),
        );
        let irtes: Irtes = results.into_iter().filter_map(Result::ok).collect();
        for (irte, line) in irtes.iter().zip(lines) {
            report_entry(irte, line.place());
        }
        granted.ok().map(|_| irtes)
    }

    /// Writes each pair where it belongs, and reads it back.
    fn store(&mut self, table: &MsixTable<Kernel>, irtes: Irtes) -> Option<Senders> {
        let (wanted, mut senders) =
            (irtes.len(), Senders { places: ArrayVec::new(), entries: ArrayVec::new() });
        for irte in irtes {
            let origin = irte.origin();
            if origin == table.origin(origin.index) {
                let programmed = self.program(table.claim(origin.index)?, irte)?;
                senders.entries.push(programmed);
            } else {
                let place = self.seat(table, origin)?;
                let programmed = self.program(Entry::claim(place).ok()?, irte)?;
                senders.places.push(programmed);
            }
        }
        let stored = senders.places.len() + senders.entries.len();
        self.expect(
            "store",
            stored == wanted,
            format_args!("{stored} of {wanted} pairs stored and read back"),
        );
        Some(senders)
    }

    /// Where the message of an IMS entry is kept.
    fn seat(&mut self, table: &MsixTable<Kernel>, origin: Origin) -> Option<MessageLocation> {
        if self.in_table {
            let entry = table.claim(u32::from(MAX_SENDERS) + origin.index)?;
            return Some(MessageLocation::Second(Renamed::new(entry.release(), origin)));
        }
        self.driver.ims_location(u16::try_from(origin.index).ok()?, origin).map(MessageLocation::First)
    }

    fn send(&mut self, number: u16) {
        if self.in_table {
            self.driver.raise(MAX_SENDERS + number);
            self.driver.acknowledge(MAX_SENDERS + number);
        } else {
            self.driver.raise_ims(number);
        }
    }

    fn program<T: StoreEntry>(&mut self, entry: Entry<T, Masked>, irte: Irte) -> Option<Entry<T, Live>> {
        match entry.program(irte) {
            Ok(programmed) => Some(programmed.unmask()),
            Err(failed) => {
                self.expect("store", false, format_args!("{failed}"));
                None
            }
        }
    }

    /// Raises one of them by what the device has for it; whether it came.
    fn raise(&mut self, line: &mut CountedInterrupt) -> bool {
        let origin = line.origin();
        let number = u16::try_from(origin.index).unwrap_or(u16::MAX);
        if origin == Origin::ims(origin.device, origin.index) {
            line.raise(|| self.send(number))
        } else {
            let came = line.raise(|| self.driver.raise(number));
            self.driver.acknowledge(number);
            came
        }
    }

    /// Each in turn, each handled before the next.
    fn storm(&mut self, stage: &str, lines: &mut Lines) {
        for _ in 0..self.rounds {
            for line in lines.iter_mut() {
                self.raise(line);
            }
        }
        let mut all = Sum::default();
        let mut exact = true;
        for line in lines.iter() {
            let sum = line.report(stage, 0);
            exact &= sum.is_exact();
            all += sum;
        }
        self.expect("delivered", exact, format_args!("{stage}: {all}"));
    }

    /// Where the host is no emulation, each place shares its interrupt with an entry from the table's end.
    fn backing(&mut self, origins: &[Origin]) {
        if self.info.flags.contains(DeviceFlags::EMULATED) {
            let why = Outcome::Skipped("an emulated device's places are their own");
            return self.checks.record("backing", &why, format_args!(""));
        }
        let id = self.info.id;
        let last = self.info.msix_entries.saturating_sub(1);
        let ours = |origin: &Origin| origins.contains(origin);
        let opposite =
            [(Origin::ims(id, 0), Origin::msix(id, last)), (Origin::msix(id, 0), Origin::ims(id, last))];
        for (mapped, asked) in opposite.into_iter().filter(|(mapped, asked)| ours(mapped) && !ours(asked)) {
            let said = refusal(&self.session.map(MapRequest::new(asked, Target::Parked)));
            let right = said == Some(Status::BACKING_IN_USE);
            self.expect("backing", right, format_args!("{asked} while {mapped} is mapped: {said:?}"));
        }
    }

    /// All in one call, and no store is touched.
    fn retarget(&mut self, senders: &mut Senders, lines: &Lines) {
        let pairs = senders.pairs();
        let targets: ArrayVec<Target, ALL> = lines.iter().map(|line| line.place().target()).collect();
        let (places, entries) = targets.split_at(senders.places.len());
        let mut results: ArrayVec<_, ALL> = targets.iter().map(|_| Err(EntryError::NotAsked)).collect();
        let (for_places, for_entries) = results.split_at_mut(places.len());
        let whole = BatchMode::AllOrNothing;
        let moved = [
            self.session.retarget_batch(&mut senders.places, places, for_places, whole),
            self.session.retarget_batch(&mut senders.entries, entries, for_entries, whole),
        ];
        let right = moved.iter().all(Result::is_ok) && senders.pairs() == pairs;
        self.expect("retarget", right, format_args!("{moved:?}, pairs as before"));
    }

    /// What a place raises while it is parked comes once, at the first route.
    fn park(&mut self, senders: &mut Senders, lines: &mut Lines) {
        let (Some(place), Some(line)) = (senders.places.first_mut(), lines.first_mut()) else { return };
        if !self.session.features().contains(Features::PARKING) {
            let why = Outcome::Skipped("the host does not offer parking");
            return self.checks.record("park", &why, format_args!(""));
        }
        let parked = self.session.park(place);
        let before = line.handled();
        line.note_raised();
        self.send(0);
        let quiet = !wait_until(QUIET_MS, || line.handled() > before);
        let routed = self.session.retarget(place, line.place().target());
        let came = line.comes_after(before);
        let right = parked.is_ok() && quiet && routed.is_ok() && came && line.sum().is_exact();
        self.expect(
            "park",
            right,
            format_args!("held while parked: {quiet}, delivered at the first route: {came}"),
        );
    }

    /// The first place's IRTE is given back while its pair stays in the device: it reaches nobody, and the others go on.
    fn release(&mut self, mut senders: Senders, mut lines: Lines) -> Option<()> {
        let (stale, irte) = senders.places.remove(0).mask().ok()?.retire();
        let gone = lines.remove(0);
        let given = self.session.unmap(irte);
        self.expect("unmap", given.is_ok(), format_args!("{}", stale.origin()));
        gone.report("released", 0);
        let before = interrupts::grand_total();
        let stale = stale.release();
        stale.set_mask(Mask::Clear);
        self.send(0);
        let came = wait_until(LONG_QUIET_MS, || interrupts::grand_total() != before);
        let stale = Entry::claim(stale).ok()?;
        self.expect(
            "stale",
            !came,
            format_args!("a pair that was given back is sent and reaches nobody: {}", !came),
        );
        report::checkpoint("stale");
        let others = lines.iter_mut().map(|line| usize::from(self.raise(line))).sum::<usize>();
        self.expect("others", others == lines.len(), format_args!("{others} others go on"));
        // The same place again, with what is given now.
        let again = self.session.map(gone.request());
        match again {
            Ok(irte) => {
                let mut again = CountedInterrupt::new(gone.origin(), gone.place());
                report_entry(&irte, again.place());
                let place = self.program(stale, irte)?;
                let came = self.raise(&mut again);
                again.report("again", 0);
                self.expect("again", came, format_args!("mapped again, with {}", place.irte().pair()));
                senders.places.insert(0, place);
            }
            Err(error) => self.expect("again", false, format_args!("{error}")),
        }
        for line in &lines {
            line.report("released", 0);
        }
        let exact = lines.iter().all(|line| line.sum().is_exact());
        self.expect("delivered", exact, format_args!("until the end, each once"));
        let places = senders.places.into_iter().filter_map(|place| Some(place.mask().ok()?.retire().1));
        let entries = senders.entries.into_iter().filter_map(|entry| Some(entry.mask().ok()?.retire().1));
        let mut irtes: ArrayVec<Option<Irte>, ALL> = places.chain(entries).map(Some).collect();
        let mut results: ArrayVec<_, ALL> = irtes.iter().map(|_| Err(EntryError::NotAsked)).collect();
        let given = self.session.unmap_batch(&mut irtes, &mut results, BatchMode::AllOrNothing);
        self.expect("unmap", given.is_ok(), format_args!("all others in one call: {given:?}"));
        Some(())
    }
}
