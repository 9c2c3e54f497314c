//! Random calls against a second, simple statement of the contract.

use super::*;
use crate::irte::Origin;
use crate::service::record::BatchMode;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Where an entry goes: `None` is parked.
type Destination = Option<(u32, u8)>;

/// An entry: number of the device, store and index.
type At = (u8, Store, u32);

#[derive(Clone, Debug)]
struct Ask {
    at: At,
    count: u32,
    target: Destination,
    /// Which of the handles given for this entry so far, newest first; none of them beyond the last.
    age: usize,
}

#[derive(Clone, Debug)]
enum ModelStep {
    Map(BatchMode, Vec<Ask>),
    Retarget(BatchMode, Vec<Ask>),
    Unmap(BatchMode, Vec<Ask>),
    Query(Vec<Ask>),
    Reenable,
    StalePairs(Option<u8>),
    CutOff(u8),
    Readmit(u8),
}

fn ask() -> impl Strategy<Value = Ask> {
    let destination =
        prop_oneof![6 => prop::sample::select(APIC_IDS.to_vec()), 1 => Just(2u32), 1 => Just(!0)];
    let vector = prop_oneof![6 => 0x40..0x44u8, 1 => 0..32u8];
    let target = prop_oneof![3 => (destination, vector).prop_map(Some), 1 => Just(None)];
    let msix = (0..2u8, prop_oneof![6 => 0..4u32, 1 => 6..10u32]);
    let ims = prop_oneof![3 => (Just(0u8), 60..65u32), 1 => (Just(1u8), 0..5u32)];
    let messages = prop_oneof![8 => prop::sample::select(vec![1u32, 2, 4]), 1 => prop::sample::select(vec![0u32, 3, 32])];
    let one = prop_oneof![20 => Just(1u32), 1 => Just(2u32)];
    let entry = prop_oneof![
        8 => (msix, one.clone()).prop_map(|((number, index), count)| ((number, Store::MSIX, index), count)),
        5 => (ims, one).prop_map(|((number, index), count)| ((number, Store::IMS, index), count)),
        3 => (prop_oneof![9 => Just(0u32), 1 => Just(1u32)], messages).prop_map(|(index, count)| ((2, Store::MSI, index), count)),
        1 => prop::sample::select(vec![(5u8, Store::MSIX), (0, Store::MSI), (2, Store::MSIX)]).prop_map(|(number, store)| ((number, store, 0), 1)),
    ];
    (entry, target, prop_oneof![5 => Just(0usize), 1 => 0..3usize])
        .prop_map(|((at, count), target, age)| Ask { at, count, target, age })
}

fn step() -> impl Strategy<Value = ModelStep> {
    let asks = || prop::collection::vec(ask(), 1..5);
    let mode = || prop::sample::select(vec![BatchMode::Independent, BatchMode::AllOrNothing]);
    prop_oneof![
        4 => (mode(), asks()).prop_map(|(mode, asks)| ModelStep::Map(mode, asks)),
        3 => (mode(), asks()).prop_map(|(mode, asks)| ModelStep::Retarget(mode, asks)),
        3 => (mode(), asks()).prop_map(|(mode, asks)| ModelStep::Unmap(mode, asks)),
        1 => asks().prop_map(ModelStep::Query),
        1 => Just(ModelStep::Reenable),
        1 => prop::option::of(0..3u8).prop_map(ModelStep::StalePairs),
        1 => (0..3u8).prop_map(ModelStep::CutOff),
        2 => (0..3u8).prop_map(ModelStep::Readmit),
    ]
}

/// The contract, for entries without faults of the host.
#[derive(Clone, Default)]
struct Model {
    mapped: BTreeMap<At, (u32, Destination)>,
    cut_off: BTreeSet<u8>,
}

impl Model {
    fn validate_origin(&self, ask: &Ask) -> Result<(), Status> {
        let (number, store, index) = ask.at;
        if self.cut_off.contains(&number) {
            return Err(Status::DEVICE_CUT_OFF);
        }
        let entries = match (number, store) {
            (0, Store::MSIX | Store::IMS) => ENTRIES[0],
            (1, Store::MSIX) => ENTRIES[1],
            (1, Store::IMS) => IMS,
            (2, Store::MSI) => 1,
            (0..=2, _) => return Err(Status::STORE_UNSUPPORTED),
            _ => return Err(Status::NO_DEVICE),
        };
        let counts: &[u32] = if store == Store::MSI { &[1, 2, 4, 8, 16] } else { &[1] };
        match (index < entries, counts.contains(&ask.count)) {
            (false, _) => Err(Status::BAD_INDEX),
            (_, false) => Err(Status::BAD_MESSAGE_COUNT),
            _ => Ok(()),
        }
    }

    fn validate_target(ask: &Ask) -> Result<(), Status> {
        match ask.target {
            Some((_, vector)) if vector < 32 || u32::from(vector) % ask.count != 0 => Err(Status::BAD_VECTOR),
            Some((0xffff_ffff, _)) => Err(Status::BROADCAST),
            Some((id, _)) if !APIC_IDS.contains(&id) => Err(Status::BAD_DESTINATION),
            _ => Ok(()),
        }
    }

    fn validate_handle(&self, ask: &Ask, live: bool) -> Result<(), Status> {
        self.validate_origin(ask)?;
        match self.mapped.get(&ask.at).filter(|_| live) {
            None => Err(Status::STALE_HANDLE),
            Some((count, _)) if *count != ask.count => Err(Status::HANDLE_MISMATCH),
            Some(_) => Ok(()),
        }
    }

    /// The other entry that has the same interrupt, on the device that makes IMS of its MSI-X.
    fn twin((number, store, index): At) -> Option<At> {
        let other = if store == Store::IMS { Store::MSIX } else { Store::IMS };
        (number == 0).then(|| (number, other, ENTRIES[0] - 1 - index))
    }

    fn map(&mut self, ask: &Ask) -> Result<(), Status> {
        self.validate_origin(ask)?;
        Self::validate_target(ask)?;
        match self.mapped.get(&ask.at) {
            Some(held) if *held != (ask.count, ask.target) => Err(Status::ALREADY_MAPPED),
            None if Self::twin(ask.at).is_some_and(|twin| self.mapped.contains_key(&twin)) => {
                Err(Status::BACKING_IN_USE)
            }
            _ => {
                self.mapped.insert(ask.at, (ask.count, ask.target));
                Ok(())
            }
        }
    }

    fn retarget(&mut self, ask: &Ask, live: bool) -> Result<(), Status> {
        self.validate_handle(ask, live)?;
        Self::validate_target(ask)?;
        self.mapped.insert(ask.at, (ask.count, ask.target));
        Ok(())
    }

    fn unmap(&mut self, ask: &Ask, live: bool) -> Result<(), Status> {
        self.validate_handle(ask, live)?;
        self.mapped.remove(&ask.at);
        Ok(())
    }
}

/// The service, the model, and the guest that remembers every handle it was given.
#[derive(Default)]
struct Run {
    model: Model,
    handles: BTreeMap<At, Vec<Handle>>,
}

impl Run {
    fn handle(&self, ask: &Ask) -> (Handle, bool) {
        let given = self.handles.get(&ask.at);
        let handle = given.and_then(|given| given.iter().rev().nth(ask.age)).copied();
        (handle.unwrap_or(Handle(!0)), handle.is_some() && ask.age == 0)
    }

    fn record(ask: &Ask) -> EntryRecord {
        let (number, store, index) = ask.at;
        let entry = match ask.target {
            Some((destination, vector)) => {
                EntryRecord::map(device(number), store, index, X86Route::fixed(destination, vector).into())
            }
            None => EntryRecord::map_parked(device(number), store, index),
        };
        EntryRecord { count: ask.count, ..entry }
    }

    /// Validates all records by `validate`, undoing everything if one fails and the call is all or nothing.
    fn expected(
        &mut self,
        mode: BatchMode,
        asks: &[Ask],
        validate: impl Fn(&mut Model, &Ask) -> Result<(), Status>,
    ) -> Vec<Status> {
        let before = self.model.clone();
        let status = |model: &mut Model, ask| validate(model, ask).err().unwrap_or(Status::OK);
        let mut statuses: Vec<_> = asks.iter().map(|ask| status(&mut self.model, ask)).collect();
        if mode == BatchMode::AllOrNothing && statuses.iter().any(|status| *status != Status::OK) {
            self.model = before;
            statuses.iter_mut().filter(|status| **status == Status::OK).for_each(|s| *s = Status::ABORTED);
        }
        statuses
    }

    fn step(&mut self, fixture: &ServiceFixture, step: &ModelStep) -> (Vec<Status>, Vec<Status>) {
        let flags = |mode| match mode {
            BatchMode::AllOrNothing => CallFlags::ALL_OR_NOTHING,
            BatchMode::Independent => CallFlags::empty(),
        };
        let named = |run: &Self, ask: &Ask| named_by_entry(&Self::record(ask)).with_handle(run.handle(ask).0);
        let live: Vec<_> = match step {
            ModelStep::Retarget(_, asks) | ModelStep::Unmap(_, asks) | ModelStep::Query(asks) => {
                asks.iter().map(|ask| ((ask.at, ask.age), self.handle(ask).1)).collect()
            }
            _ => Vec::new(),
        };
        let live = |ask: &Ask| live.iter().any(|(key, live)| *live && *key == (ask.at, ask.age));
        match step {
            ModelStep::Map(mode, asks) => {
                let records: Vec<_> = asks.iter().map(Self::record).collect();
                let got = fixture.call(Operation::MAP, flags(*mode), &records).records;
                for (ask, record) in asks.iter().zip(&got).filter(|(_, r)| r.status == Status::OK) {
                    let given = self.handles.entry(ask.at).or_default();
                    if given.last() != Some(&record.handle) {
                        assert!(!given.contains(&record.handle), "H1");
                        given.push(record.handle);
                    }
                }
                (statuses(&got), self.expected(*mode, asks, Model::map))
            }
            ModelStep::Retarget(mode, asks) => {
                let with_handle = |ask: &Ask| Self::record(ask).with_handle(self.handle(ask).0);
                let records: Vec<_> = asks.iter().map(with_handle).collect();
                let got = fixture.call(Operation::RETARGET, flags(*mode), &records).records;
                (statuses(&got), self.expected(*mode, asks, |model, ask| model.retarget(ask, live(ask))))
            }
            ModelStep::Unmap(mode, asks) => {
                let records: Vec<_> = asks.iter().map(|ask| named(self, ask)).collect();
                let got = fixture.call(Operation::UNMAP, flags(*mode), &records).records;
                (statuses(&got), self.expected(*mode, asks, |model, ask| model.unmap(ask, live(ask))))
            }
            ModelStep::Query(asks) => {
                let records: Vec<_> = asks.iter().map(|ask| named(self, ask)).collect();
                let got = fixture.query(&records).records;
                (
                    statuses(&got),
                    self.expected(BatchMode::Independent, asks, |model, ask| {
                        model.validate_handle(ask, live(ask))
                    }),
                )
            }
            ModelStep::Reenable => {
                self.model.mapped.clear();
                let status = fixture.disable();
                fixture.assert_baseline();
                fixture.enable();
                (vec![status], vec![Status::OK])
            }
            ModelStep::StalePairs(number) => {
                self.event(fixture, Event::StalePairs(number.map(device)), *number, true);
                (vec![], vec![])
            }
            ModelStep::CutOff(number) => {
                let is_new = self.model.cut_off.insert(*number);
                self.event(fixture, Event::DeviceCutOff(device(*number)), Some(*number), is_new);
                (vec![], vec![])
            }
            ModelStep::Readmit(number) => {
                let was_cut_off = self.model.cut_off.remove(number);
                assert_eq!(fixture.service.readmit(device(*number)), Ok(was_cut_off));
                (vec![], vec![])
            }
        }
    }

    /// An event of a device or of all (`None`).
    fn event(&mut self, fixture: &ServiceFixture, event: Event, number: Option<u8>, is_new: bool) {
        let before = fixture.area();
        let held = |at: &At| number.is_none_or(|number| at.0 == number);
        let irtes = self.model.mapped.iter().filter(|(at, _)| held(at)).map(|(_, (count, _))| count).sum();
        self.model.mapped.retain(|at, _| !held(at));
        let raised = fixture.event(event).unwrap();
        let after = fixture.area();
        assert_eq!((raised.irtes, raised.is_new, raised.unstopped), (irtes, is_new, 0));
        let more = u64::from(is_new);
        assert_eq!((after.epoch, after.sequence), (before.epoch + more, before.sequence + more));
    }

    /// What the service holds is what the model holds.
    fn compare(&self, fixture: &ServiceFixture) {
        let held: BTreeMap<_, _> = fixture
            .service
            .irtes()
            .into_iter()
            .map(|irte| {
                let Origin { device, store, index } = irte.origin;
                let at = ((device.bdf.device() - 1, store, index), u32::from(irte.message));
                (at, irte.route.map(|r| (r.destination(), r.vector())))
            })
            .collect();
        let messages = self.model.mapped.iter().flat_map(|(at, &(count, target))| {
            let vectors = (0..count).zip(0u8..);
            vectors.map(move |(i, above)| ((*at, i), target.map(|(to, vector)| (to, vector + above))))
        });
        assert_eq!(held, messages.collect::<BTreeMap<_, _>>());
        let platform = fixture.platform.lock().footprint();
        let routed: Vec<_> = held.values().flatten().copied().collect();
        let mut in_kernel: Vec<_> = platform.routes.into_values().collect();
        let mut expected = routed;
        in_kernel.sort_unstable();
        expected.sort_unstable();
        assert_eq!((in_kernel, platform.irqfds.len()), (expected.clone(), expected.len()));
        assert_eq!(platform.started.len(), held.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_are_answered_as_the_contract_says(
        steps in prop::collection::vec(step(), 1..30),
        ahead in prop_oneof![Just(0u32), 1..9u32],
    ) {
        let fixture = ServiceFixture::armed(ahead);
        let mut run = Run::default();
        for step in &steps {
            let (got, expected) = run.step(&fixture, step);
            prop_assert_eq!(got, expected, "{:?}", step);
            run.compare(&fixture);
            fixture.arm();
        }
        fixture.disable();
        fixture.assert_baseline();
    }
}
