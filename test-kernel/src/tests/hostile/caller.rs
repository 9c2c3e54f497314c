//! A processor that calls at random, mostly with what is nearly right.

use super::random::Random;
use crate::harness::setup;
use crate::machine::cpu;
use crate::machine::cpu::usermode;
use crate::machine::exit::ExitCode;
use crate::machine::pci;
use crate::raw::{Answer, Raw};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::Discovered;
use pvir_guest::abi::{
    Arch, AttachRecord, Bdf, DeviceId, DeviceRecord, EnableRecord, EntryRecord, Features, FeaturesRecord,
    GuestPhysAddr, Handle, Header, Operation, Routing, Status, Store, Version,
};
use pvir_guest::conduit::HardwareConduit;

/// Most records of a call here.
const RECORDS: usize = 4;
/// Numbers of messages and the like. None is a multiple of 64 but 0: what is an entry's count in one request is the low half
/// of an event area's address in another, and an area is aligned to 64 bytes.
const COUNTS: [u32; 7] = [1, 1, 1, 2, 0, 33, u32::MAX];

/// Whether a byte of a block is one of the event area's address in an ENABLE: the host writes there, so nobody scribbles.
pub(super) const fn is_area(at: u64) -> bool {
    at >= 64 + 16 && at < 64 + 24
}

/// What calls came to.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    good: u64,
    /// Answers that no host of the contract gives.
    pub(super) odd: u64,
    first_odd: Option<Answer>,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, good, odd, first_odd } = self;
        write!(f, "{calls} calls, {good} of them OK, {odd} answered as none may be")?;
        first_odd.as_ref().map_or(Ok(()), |answer| write!(f, ", the first: {answer}"))
    }
}

impl core::ops::Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            good: self.good + other.good,
            odd: self.odd + other.odd,
            first_odd: self.first_odd.or(other.first_odd),
        }
    }
}

impl core::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// One processor's block, its chance, and what it has been given.
pub(super) struct Caller {
    raw: Raw,
    random: Random,
    features: Features,
    devices: ArrayVec<DeviceId, 8>,
    handles: [Handle; 8],
    kept: Sum,
}

impl Caller {
    pub(super) fn new(
        conduit: HardwareConduit,
        discovered: Discovered,
        random: Random,
    ) -> Result<Self, ExitCode> {
        let raw = Raw::new(conduit).ok_or_else(|| setup::refuse(&"no memory for a block"))?;
        let all = pci::enumerate();
        let devices = all.iter().filter_map(|function| pci::device_id(function.address)).take(8).collect();
        let features = discovered.host.features.difference(Features::NOTIFY);
        Ok(Self { raw, random, features, devices, handles: [Handle::NONE; 8], kept: Sum::default() })
    }

    /// The block.
    pub(super) fn block(&self) -> Raw {
        self.raw.by(self.raw.conduit())
    }

    pub(super) fn keep(&mut self, sum: Sum) {
        self.kept += sum;
    }

    pub(super) fn take_sum(&mut self) -> Sum {
        core::mem::take(&mut self.kept)
    }

    /// Ends the session, if there is one.
    pub(super) fn end(&self) {
        self.raw.call::<FeaturesRecord>(&Raw::header(Operation::DISABLE, 0), &[]);
    }

    pub(super) fn features(&self) -> FeaturesRecord {
        self.raw.call(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        self.raw.read(1)
    }

    /// So many calls. Conduit and header must say the same, by a status that there is.
    pub(super) fn calls(&mut self, calls: u64) -> Sum {
        self.each(calls, |answer| answer.status == answer.header.status)
    }

    /// So many calls into a block that changes meanwhile, so that the header says whatever it says.
    pub(super) fn calls_under_fire(&mut self, calls: u64) -> Sum {
        self.each(calls, |_| true)
    }

    /// In ring 3, but for the call itself: some software KVMs interpret ring 0, and most of the time goes into filling blocks.
    fn each(&mut self, calls: u64, agrees: impl Fn(&Answer) -> bool) -> Sum {
        let done = usermode::in_ring3(|| {
            let mut sum = Sum::default();
            for _ in 0..calls {
                let answer = self.call();
                sum.calls += 1;
                sum.good += u64::from(answer.status == Status::OK);
                let right = answer.status.name().is_some() && answer.status.0 < 0x40 && agrees(&answer);
                if !right {
                    sum.odd += 1;
                    sum.first_odd.get_or_insert(answer);
                }
            }
            sum
        });
        // A fault loses what was counted: there are too few calls then.
        done.ok().flatten().unwrap_or_default()
    }

    /// The call itself.
    fn call_at(&self, at: GuestPhysAddr) -> Status {
        usermode::in_ring0(|| self.raw.call_at(at)).unwrap_or(Status::PENDING)
    }

    /// One call.
    fn call(&mut self) -> Answer {
        if self.random.one_in(50) {
            return self.elsewhere();
        }
        // A session's begin and end move tables into the guest and out of it: milliseconds on some machines.
        let operation = match self.random.below(512) {
            0 | 1 => Operation::ENABLE,
            2 => Operation::DISABLE,
            3..20 => Operation(9 + u16::from(self.random.byte())),
            20..28 => Operation::ATTACH,
            28..32 => Operation::DETACH,
            32..64 => Operation::FEATURES,
            64..96 => Operation::DEVICE_INFO,
            96..192 => Operation::MAP,
            192..320 => Operation::RETARGET,
            320..384 => Operation::UNMAP,
            _ => Operation::QUERY,
        };
        match operation {
            Operation::ENABLE => {
                let features = match self.random.below(4) {
                    0 => Features::from_bits_retain(self.random.word()),
                    1 => self.features.intersection(Features::from_bits_retain(self.random.word())),
                    // With ATTACH nothing is mapped before a device is attached.
                    2 => self.features,
                    _ => self.features.difference(Features::ATTACH),
                };
                let area = features.contains(Features::EPOCH) && !self.random.one_in(8);
                let record = EnableRecord::request(features, area.then(|| self.raw.spare()));
                self.send(operation, 1, &[record])
            }
            Operation::DISABLE => self.send::<FeaturesRecord>(operation, 0, &[]),
            Operation::FEATURES => self.send(operation, 1, &[FeaturesRecord::request()]),
            Operation::DEVICE_INFO => {
                let record = DeviceRecord::request(self.device());
                self.send(operation, 1, &[record])
            }
            Operation::ATTACH | Operation::DETACH => {
                let record = AttachRecord::request(self.device());
                self.send(operation, 1, &[record])
            }
            _ => self.entries(operation),
        }
    }

    fn entries(&mut self, operation: Operation) -> Answer {
        let mut records = ArrayVec::<EntryRecord, RECORDS>::new();
        for _ in 0..=self.random.below(RECORDS as u64 - 1) {
            let record = self.entry(operation);
            records.push(record);
        }
        let answer = self.send(operation, u32::try_from(records.len()).unwrap_or(0), &records);
        for unit in 1..=records.len() {
            let record: EntryRecord = self.raw.read(unit);
            if record.status == Status::OK && record.handle != Handle::NONE {
                let slot = usize::try_from(record.handle.0 % 8).unwrap_or(0);
                self.handles[slot] = record.handle;
            }
        }
        answer
    }

    /// A header that is right but for a few, and these records.
    fn send<R>(&mut self, operation: Operation, count: u32, records: &[R]) -> Answer
    where
        R: zerocopy::IntoBytes + zerocopy::Immutable,
    {
        let mut header = Raw::header(operation, count);
        match self.random.below(100) {
            0 => header.magic = self.random.half(),
            1 => header.version = Version(self.random.half().to_le_bytes()[0].into()),
            2..6 => header.flags = self.random.half(),
            6..16 => header.flags = 1,
            16 => header.count = self.random.half(),
            17 => header.count = count + 1,
            18 => header.reserved = [self.random.word(); 4],
            _ => {}
        }
        self.raw.write(&header, records);
        let status = self.call_at(self.raw.address());
        Answer { status, header: self.raw.read(0) }
    }

    /// A block where none may be: no RAM, or not aligned. The header of our own block says what it said.
    fn elsewhere(&mut self) -> Answer {
        let places = [0xfee0_0000, 0xfed0_0000, 0xffff_ffff_ffff_f000, 1 << 51, 0xff0_0000_0000, 1 << 43];
        let at = match self.random.below(4) {
            0 => self.raw.address().0 + 1 + self.random.below(4095),
            _ => self.random.one_of(&places),
        };
        let status = self.call_at(GuestPhysAddr(at));
        Answer { status, header: Header { status, ..Raw::header(Operation::QUERY, 0) } }
    }

    fn device(&mut self) -> DeviceId {
        let [a, b, ..] = self.random.word().to_be_bytes();
        match self.random.below(16) {
            0 => DeviceId { segment: u16::from_le_bytes([a, b]), bdf: Bdf(8) },
            1 => DeviceId { segment: 0, bdf: Bdf(u16::from_le_bytes([a, b])) },
            _ => {
                let at = usize::try_from(self.random.below(self.devices.len() as u64)).unwrap_or(0);
                self.devices.get(at).copied().unwrap_or_default()
            }
        }
    }

    fn entry(&mut self, operation: Operation) -> EntryRecord {
        let device = self.device();
        let random = &mut self.random;
        let store = random.one_of(&[2, 2, 2, 2, 1, 3, 0, 9]);
        let far = random.half();
        let index = random.one_of(&[0, 1, 2, 3, 4, 5, 9, far]);
        let count = random.one_of(&COUNTS);
        let bare = EntryRecord { count, ..EntryRecord::query(device, Store(store), index) };
        let handle = match random.below(8) {
            0 => Handle(random.word()),
            1 => Handle::NONE,
            _ => random.one_of(&self.handles),
        };
        let handle = if operation == Operation::MAP && !random.one_in(8) { Handle::NONE } else { handle };
        let flags = random.one_of(&[0, 0, 0, 0, 0, 1, 1, 2]);
        let routed = matches!(operation, Operation::MAP | Operation::RETARGET) && flags == 0;
        let (arch, routing) = match random.below(16) {
            0 => (Arch(random.byte().into()), self.routing()),
            _ if routed => (Arch::X86_APIC, self.routing()),
            _ => (Arch(0), Routing::default()),
        };
        EntryRecord { handle, flags, arch, routing, ..bare }
    }

    fn routing(&mut self) -> Routing {
        let random = &mut self.random;
        let known = cpu::by_index(usize::try_from(random.below(2)).unwrap_or(0)).map_or(0, |cpu| cpu.apic_id);
        let far = random.half();
        Routing {
            destination: random.one_of(&[known, known, known, known, 3, 0xff, u32::MAX, far]),
            vector: random.byte() | if random.one_in(8) { 0 } else { 0x20 },
            delivery_mode: random.one_of(&[0, 0, 0, 0, 1, 1, 4, 255]),
            destination_mode: random.one_of(&[0, 0, 0, 1, 1, 0, 0, 7]),
            hint: random.one_of(&[0, 0, 0, 0, 0, 1, 1, 0x81]),
            reserved: if random.one_in(32) { random.word() } else { 0 },
        }
    }
}
