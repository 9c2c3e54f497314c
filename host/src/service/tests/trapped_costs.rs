//! What one access of a guest can make the host do when all that the host has is used up, in calls of the kernel.
//!
//! A guest repeats an access as fast as it exits, so a table access costs a few calls at most, whatever was refused before
//! and however large the table is. A write to the capability is about all messages, and costs a few calls for each.

use super::*;
use crate::fake::{BackendCall, CallKind};
use crate::trapped::StoreArea as Where;

/// Entries of the device, the most that a table has.
const ENTRIES: u32 = 2048;
/// What the host has of the resource that is used up.
const SOME: u32 = 8;
/// Calls of one access to one entry: a route, an irqfd off, an irqfd on, an interrupt.
const OF_TABLE_ACCESS: usize = 4;
/// Calls of one write to the capability, for each message.
const OF_EACH_MESSAGE: usize = 4;
/// Calls of one write to the capability beside these: the device prepared and not, routes set twice.
const OF_CAPABILITY: usize = 4;

#[derive(Clone, Copy, Debug)]
enum UsedUp {
    Gsis,
    Vectors,
    Irqfds,
    Routes,
    /// Not even the device can be prepared.
    Device,
    /// Whatever is asked of the kernel fails.
    Everything,
}

const RESOURCES: [UsedUp; 6] =
    [UsedUp::Gsis, UsedUp::Vectors, UsedUp::Irqfds, UsedUp::Routes, UsedUp::Device, UsedUp::Everything];

/// A guest whose device has a full table, over a host that has nothing left.
struct Greedy(ServiceFixture);

impl Greedy {
    fn new(resource: UsedUp) -> Self {
        let max_irtes = if matches!(resource, UsedUp::Gsis) { SOME } else { 4072 };
        let fixture = ServiceFixture::with(&Config { max_irtes, ..config() });
        fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, ENTRIES));
        let mut platform = fixture.platform.lock();
        match resource {
            UsedUp::Gsis => {}
            UsedUp::Vectors => platform.limit_vectors(SOME as usize),
            UsedUp::Irqfds => platform.faults.fail_from(Some(CallKind::Attach), SOME, libc::ENOSPC),
            UsedUp::Routes => platform.faults.fail_from(Some(CallKind::SetRoutes), SOME, libc::ENOMEM),
            UsedUp::Device => platform.faults.fail_from(Some(CallKind::Trap), 0, libc::ENOMEM),
            UsedUp::Everything => platform.faults.fail_from(None, 4 * SOME, libc::EMFILE),
        }
        drop(platform);
        let greedy = Self(fixture);
        greedy.put(Where::Capability, 2, &0x8000_u16.to_le_bytes());
        for index in 0..ENTRIES {
            for (word, value) in [(0, 0xfee0_1000), (8, 0x50 + index % 64), (12, 0)] {
                let (at, data) = (u64::from(index) * 16 + word, u32::to_le_bytes(value));
                greedy.assert_cheap("set-up", Where::Table, at, &data, OF_TABLE_ACCESS);
            }
        }
        greedy
    }

    /// One write, and the calls that it costs.
    fn put(&self, area: Where, offset: u64, data: &[u8]) -> Vec<BackendCall> {
        self.0.platform.lock().expect(None);
        assert!(self.0.service.trapped_write(device(3), area, offset, data, |_| {}).is_ok());
        self.0.platform.lock().calls().to_vec()
    }

    fn assert_cheap(&self, what: &str, area: Where, offset: u64, data: &[u8], bound: usize) -> usize {
        let calls = self.put(area, offset, data);
        assert!(calls.len() <= bound, "{what}: {} calls, {:?}", calls.len(), &calls[..calls.len().min(10)]);
        calls.len()
    }
}

#[test]
fn an_access_to_one_entry_costs_a_few_calls_whatever_is_used_up() {
    for resource in RESOURCES {
        let greedy = Greedy::new(resource);
        let mut worst = 0;
        // The first entries have what there was, the others nothing. Each twice: what is learnt once is not asked again.
        for index in [0, 1, SOME - 1, SOME, SOME + 1, 1000, ENTRIES - 1, 0, 1000] {
            let at = u64::from(index) * 16;
            // Another vector, another vCPU, masked, unmasked, nowhere, and as it was.
            let writes = [(8, 0x77), (0, 0xfee0_0000), (12, 1), (12, 0), (0, 0), (0, 0xfee0_1000), (8, 0x50)];
            for (word, value) in writes {
                let what = format!("{resource:?}: entry {index}, byte {word} = {value:#x}");
                let data = u32::to_le_bytes(value);
                worst =
                    worst.max(greedy.assert_cheap(&what, Where::Table, at + word, &data, OF_TABLE_ACCESS));
            }
        }
        greedy.0.platform.lock().expect(None);
        for (area, len) in [(Where::Table, 8), (Where::PendingBits, 8), (Where::Capability, 4)] {
            let mut data = vec![0; len];
            assert!(greedy.0.service.trapped_read(device(3), area, 0, &mut data, |_| {}).is_ok());
        }
        assert_eq!(greedy.0.platform.lock().calls().len(), 0, "reads cost nothing");
        println!("{resource:?}: {worst} calls at most");
    }
}

#[test]
fn a_write_to_the_capability_costs_a_few_calls_for_each_message() {
    for resource in RESOURCES {
        let greedy = Greedy::new(resource);
        let bound = OF_CAPABILITY + OF_EACH_MESSAGE * ENTRIES as usize;
        let mut worst = 0;
        // Function Mask on and off, MSI-X off and on, and each again without a change.
        for value in [0xc000_u16, 0xc000, 0x8000, 0x8000, 0, 0, 0x8000, 0x8000] {
            let what = format!("{resource:?}: Message Control = {value:#x}");
            let data = value.to_le_bytes();
            worst = worst.max(greedy.assert_cheap(&what, Where::Capability, 2, &data, bound));
        }
        println!("{resource:?}: {worst} calls at most");
    }
}

/// Once the host has no more of something, the rest of the access asks for no more of it. Two bytes that ask for 2,048
/// interrupts of a host with eight vectors cost what eight interrupts cost.
#[test]
fn what_is_used_up_is_asked_for_once_in_an_access() {
    for (resource, kind) in [(UsedUp::Vectors, CallKind::Start), (UsedUp::Irqfds, CallKind::Attach)] {
        let greedy = Greedy::new(resource);
        for value in [0xc000_u16, 0x8000, 0, 0x8000] {
            let calls = greedy.put(Where::Capability, 2, &value.to_le_bytes());
            let asked = calls.iter().filter(|call| call.kind() == kind).count();
            // What there is, all of it at once before that, and one too many.
            assert!(asked <= SOME as usize + 2, "{resource:?}, {value:#x}: {asked} of {kind:?}");
        }
    }
    let greedy = Greedy::new(UsedUp::Vectors);
    for value in [0xc000_u16, 0x8000, 0, 0x8000] {
        let bound = OF_CAPABILITY + OF_EACH_MESSAGE * SOME as usize;
        let what = format!("no vectors: Message Control = {value:#x}");
        greedy.assert_cheap(&what, Where::Capability, 2, &value.to_le_bytes(), bound);
    }
}

/// The same for entries that are no run: every second one.
#[test]
fn vectors_that_are_used_up_are_asked_for_once_whatever_the_entries_are() {
    let greedy = Greedy::new(UsedUp::Vectors);
    greedy.put(Where::Capability, 2, &0xc000_u16.to_le_bytes());
    for index in (1..ENTRIES).step_by(2) {
        greedy.put(Where::Table, u64::from(index) * 16 + 12, &1_u32.to_le_bytes());
    }
    // Off and on again: those that are masked have no interrupt now.
    greedy.put(Where::Capability, 2, &[0, 0]);
    let calls = greedy.put(Where::Capability, 2, &0x8000_u16.to_le_bytes());
    let started = calls.iter().filter(|call| call.kind() == CallKind::Start).count();
    assert_eq!(started, SOME as usize + 1, "{:?}", &calls[..calls.len().min(30)]);
}

/// A guest that gives back as much as it can in one access, to have it all tried again in the next.
#[test]
fn what_is_tried_again_was_paid_for_by_what_was_given_back() {
    let greedy = Greedy::new(UsedUp::Gsis);
    let control = |enabled: u16| {
        let at = &greedy.0;
        at.platform.lock().expect(None);
        let data = (enabled << 15).to_le_bytes();
        assert!(at.service.trapped_write(device(0), Where::Capability, 2, &data, |_| {}).is_ok());
        at.platform.lock().calls().len()
    };
    // The interrupts of the greedy device come back, and another device has the GSIs.
    greedy.put(Where::Capability, 2, &[0, 0]);
    control(1);
    for index in (0..u8::MAX).take(SOME as usize) {
        greedy.0.live(0, index.into(), 1, 0x60 + index);
    }
    greedy.put(Where::Capability, 2, &0x8000_u16.to_le_bytes());
    for _ in 0..4 {
        let given_back = control(0);
        assert!(given_back > 0);
        // For each interrupt and each GSI that came back, one message may try again.
        let retried = greedy.put(Where::Table, 8, &0x50_u32.to_le_bytes());
        let bound = OF_TABLE_ACCESS * (1 + 2 * SOME as usize);
        assert!(retried.len() <= bound, "{} calls after {given_back}", retried.len());
        let again = greedy.put(Where::Table, 8, &0x50_u32.to_le_bytes());
        assert!(again.len() <= OF_TABLE_ACCESS, "{again:?}");
        greedy.put(Where::Capability, 2, &[0, 0]);
        control(1);
        greedy.put(Where::Capability, 2, &0x8000_u16.to_le_bytes());
    }
}
