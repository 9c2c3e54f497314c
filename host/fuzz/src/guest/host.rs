//! A host that answers as the input says: mostly what a host would say, with something of it changed.
#![expect(unsafe_code, reason = "makes block memory, and is a conduit")]

use anyhow::{Context, Result};
use pvir_abi::scripted::ScriptedHost;
use pvir_abi::{
    Conduits, CpuidLeaf, Discovery, EntryRecord, Features, GuestPhysAddr, MIN_CPUID_BASE, Status,
};
use pvir_guest::{BlockMemory, Conduit, Discovered, EventMemory, discover_with};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use x86_64::PhysAddr;
use zerocopy::FromBytes;

/// Records of a call.
pub(super) const RECORDS: usize = 3;
/// Where the host finds the block and the event area.
const BLOCK: u64 = 0x10_0000;
const AREA: u64 = 0x20_0000;

/// Memory that both sides have.
#[repr(C, align(4096))]
struct Page([Cell<u64>; 512]);

impl Page {
    fn new() -> Box<Self> {
        Box::new(Self([const { Cell::new(0) }; 512]))
    }

    fn pointer(&self) -> NonNull<u64> {
        NonNull::from(&self.0).cast()
    }

    /// Reads a word of 8 bytes, as a host does.
    fn read(&self, word: usize) -> u64 {
        // SAFETY: inside of the page by the remainder, and the page lives as long as this reference.
        let place = unsafe { self.pointer().add(word % 512) };
        // SAFETY: as above.
        unsafe { place.read_volatile() }
    }

    fn write(&self, word: usize, value: u64) {
        // SAFETY: inside of the page by the remainder, and the page lives as long as this reference.
        let place = unsafe { self.pointer().add(word % 512) };
        // SAFETY: as above; cells may be written behind a shared reference.
        unsafe { place.write_volatile(value) };
    }
}

struct Inner {
    input: RefCell<Vec<u8>>,
    at: Cell<usize>,
    block: Box<Page>,
    area: Box<Page>,
    /// The records of the answers of late.
    said: RefCell<Vec<EntryRecord>>,
    epoch: Cell<u64>,
}

/// The host, and its conduit. Clones are the same.
#[derive(Clone)]
pub(super) struct Hostile(Rc<Inner>);

impl Hostile {
    pub(super) fn new(input: &[u8]) -> Self {
        Self(Rc::new(Inner {
            input: RefCell::new(input.to_vec()),
            at: Cell::new(0),
            block: Page::new(),
            area: Page::new(),
            said: RefCell::default(),
            epoch: Cell::new(0),
        }))
    }

    /// The next byte of the input.
    pub(super) fn byte(&self) -> u8 {
        let at = self.0.at.get();
        self.0.at.set(at + 1);
        self.0.input.borrow().get(at).copied().unwrap_or(0)
    }

    pub(super) fn has_more(&self) -> bool {
        self.0.at.get() < self.0.input.borrow().len()
    }

    fn discovery() -> Discovery {
        let mut discovery =
            Discovery::new(Features::all()).with_conduits(Conduits::VMCALL | Conduits::VMMCALL);
        discovery.max_records = 3;
        discovery
    }

    /// What an honest host would show: lies of it are another target.
    pub(super) fn discovered(&self) -> Discovered {
        let leaves = Self::discovery().to_leaves(MIN_CPUID_BASE);
        let found = discover_with(|leaf| match leaf {
            1 => CpuidLeaf { ecx: 1 << 31, ..CpuidLeaf::default() },
            _ => usize::try_from(leaf.wrapping_sub(MIN_CPUID_BASE))
                .ok()
                .and_then(|at| leaves.get(at).copied())
                .unwrap_or_default(),
        });
        found.unwrap_or_else(|error| unreachable!("an honest host is not discovered: {error}"))
    }

    /// The request block.
    pub(super) fn block(&self) -> Result<BlockMemory> {
        let pointer = self.0.block.pointer().cast();
        // SAFETY: the page lives as long as the host does, of which the conduit in the guest's hands is a clone; the host
        // finds it at the address, and looks at it during a call only.
        unsafe { BlockMemory::new(pointer, 64 * (RECORDS + 1), PhysAddr::new(BLOCK)) }.context("no block")
    }

    /// The event area.
    pub(super) fn event_memory(&self) -> Result<EventMemory> {
        let pointer = self.0.area.pointer().cast();
        // SAFETY: as for the block; the guest reads it only, and the host writes it by volatile accesses.
        unsafe { EventMemory::new(pointer, PhysAddr::new(AREA)) }.context("no area")
    }

    /// The event area says something else.
    pub(super) fn event(&self) {
        let what = self.byte();
        let words =
            [self.0.epoch.get(), u64::from(what >> 4), u64::from(self.byte()) << 48 | u64::from(what % 4)];
        for (word, value) in words.into_iter().enumerate().filter(|(word, _)| what >> word & 1 != 0) {
            let value = if what & 8 == 0 { value.wrapping_add(u64::from(self.byte())) } else { value };
            self.0.area.write(word, value);
        }
    }

    pub(super) fn forget_answers(&self) {
        self.0.said.borrow_mut().clear();
    }

    /// Whether one of the records of the answers of late is this one.
    pub(super) fn has_said(&self, what: impl Fn(&EntryRecord) -> bool) -> bool {
        self.0.said.borrow().iter().any(what)
    }

    /// The answer, and what the conduit says.
    fn answer(&self, request: &[u8]) -> (Vec<u8>, Status) {
        let scripted = ScriptedHost { discovery: Self::discovery(), epoch: self.0.epoch.get() };
        let honest = scripted.honest(request);
        let (mut bytes, mut conduit) = (honest.bytes, honest.conduit);
        let what = self.byte();
        for _ in 0..what % 4 {
            let [kind, place, value] = [self.byte(), self.byte(), self.byte()];
            let record = 64 * (1 + usize::from(place >> 6) % RECORDS);
            match kind % 8 {
                0 | 1 => set(&mut bytes, usize::from(place), value),
                // The status of the call, of a record.
                2 => set(&mut bytes, 16, value),
                3 => set(&mut bytes, record + 4, value),
                // The pair, the handle or all of another record.
                4 => copy(&mut bytes, record + 48, 64 + 48, 12),
                5 => copy(&mut bytes, record + 24, 64 + 24, 8),
                6 => set(&mut bytes, record + usize::from(place % 64), value),
                _ => conduit = Status(u32::from(value) | u32::from(place) << 24),
            }
        }
        // Otherwise the conduit tells most lies.
        if what & 0x10 == 0 {
            conduit = Status(u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]));
        }
        if what & 0x20 != 0 {
            self.event();
        }
        (bytes, conduit)
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn copy(bytes: &mut [u8], to: usize, from: usize, len: usize) {
    if to + len <= bytes.len() && from + len <= bytes.len() {
        bytes.copy_within(from..from + len, to);
    }
}

impl Conduit for Hostile {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let page = &self.0.block;
        assert_eq!(block.0, BLOCK, "another block");
        let word = |at: usize| page.read(at).to_le_bytes();
        let count = usize::from(word(1)[4]);
        assert!(count <= RECORDS && word(1)[5..] == [0; 3], "{count} records");
        let request: Vec<u8> = (0..8 * (count + 1)).flat_map(word).collect();
        let (answer, conduit) = self.answer(&request);
        for (at, chunk) in answer.chunks_exact(8).enumerate() {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            page.write(at, u64::from_le_bytes(bytes));
        }
        let epoch = answer.get(24..32).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        self.0.epoch.set(epoch.map_or(0, u64::from_le_bytes));
        let records =
            answer[64..].chunks_exact(64).filter_map(|record| EntryRecord::read_from_bytes(record).ok());
        self.0.said.borrow_mut().extend(records);
        conduit
    }
}
