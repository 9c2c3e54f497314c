//! A processor that is at the devices: configuration space and MSI-X tables, at random, in all widths.

#![expect(unsafe_code, reason = "writes configuration registers that nobody sane writes so")]

use super::random::Random;
use crate::machine::pci::config::{self, Width};
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::reset::{Header, ResetRegister};
use crate::machine::pci::{self, Function};
use arrayvec::ArrayVec;
use pci_types::PciAddress;
use pvir_guest::abi::Pair;

const WIDTHS: [Width; 3] = [Width::One, Width::Two, Width::Four];
/// Registers of a function with these: command, the six BARs, the list of capabilities and what it leads to.
const COMMAND: u16 = 0x04;
const BARS: u16 = 0x10;
/// One of so many writes that reset a function is made.
const RESET_EACH: u64 = 16;
/// Addresses to which a BAR is moved: RAM, the local APICs, the I/O APIC, the top of the address space, the other BARs.
const PLACES: [u32; 8] =
    [0, 0x10_0000, 0x20_0000, 0xfee0_0000, 0xfec0_0000, 0xffff_f000, 0xd000_0000, 0xffff_ffff];

/// The devices and their tables.
pub(super) struct Machine {
    random: Random,
    functions: ArrayVec<PciAddress, 8>,
    tables: ArrayVec<RawMsixTable, 8>,
}

impl Machine {
    /// All devices that can send messages.
    pub(super) fn open(random: Random) -> Self {
        let all = pci::enumerate();
        let messages = |function: &&Function| function.msix().is_some() || function.msi().is_some();
        let functions = all.iter().filter(messages).take(8).inspect(|function| function.enable());
        let functions = functions.map(|function| function.address).collect();
        let tables = all.iter().filter_map(RawMsixTable::open).take(8).collect();
        Self { random, functions, tables }
    }

    /// Does so many things; how many accesses it were.
    pub(super) fn act(&mut self, times: u64) -> u64 {
        let mut accesses = 0;
        for _ in 0..times {
            // What moves a mapped BAR costs most.
            accesses += match self.random.below(32) {
                0..4 => self.configuration(),
                4 => self.bar(),
                _ => self.table(),
            };
        }
        accesses
    }

    /// Nothing of it stays: entries masked and empty, MSI-X off.
    pub(super) fn restore(&self) {
        for table in &self.tables {
            table.mask_all();
            (0..u32::from(table.len())).for_each(|index| table.set_pair(index, Pair::default()));
            table.set_capability(false, false);
        }
    }

    fn function(&mut self) -> Option<PciAddress> {
        let at = usize::try_from(self.random.below(self.functions.len() as u64)).ok()?;
        self.functions.get(at).copied()
    }

    fn width(&mut self) -> Width {
        let [one, two, four] = WIDTHS;
        match self.random.below(3) {
            0 => one,
            1 => two,
            _ => four,
        }
    }

    /// Reads anything, and writes anything for a moment.
    fn configuration(&mut self) -> u64 {
        let Some(function) = self.function() else { return 0 };
        let (offset, width) = (self.random.byte().into(), self.width());
        config::read_as(function, offset, width);
        let value = match self.random.below(3) {
            0 => 0,
            1 => u32::MAX,
            _ => self.random.half(),
        };
        let reset = ResetRegister::at(function).filter(|reset| reset.is_begun_by(offset, width, value));
        // A reset takes a passed-through device 100 ms, and BARs are lost by it.
        if reset.is_some() && !self.random.one_in(RESET_EACH) {
            return 1;
        }
        let header = reset.map(|_| Header::of(function));
        let accesses = self.for_a_moment(function, offset, width, value);
        if let Some(header) = header {
            header.restore();
        }
        accesses
    }

    /// A BAR goes somewhere, with decoding on or off.
    fn bar(&mut self) -> u64 {
        let Some(function) = self.function() else { return 0 };
        let offset = BARS + 4 * u16::try_from(self.random.below(6)).unwrap_or(0);
        let place = self.random.one_of(&PLACES);
        let off = self.random.one_in(3);
        let command = config::read_as(function, COMMAND, Width::Two);
        if off {
            // SAFETY: decoding is off for as long as the line below takes.
            unsafe { config::write_as(function, COMMAND, Width::Two, command & !3) };
        }
        let accesses = self.for_a_moment(function, offset, Width::Four, place);
        if off {
            // SAFETY: as it was.
            unsafe { config::write_as(function, COMMAND, Width::Two, command) };
        }
        accesses + 3
    }

    /// Writes a register, looks at a table, and puts back what stood in the register's word and the one behind it.
    fn for_a_moment(&mut self, function: PciAddress, offset: u16, width: Width, value: u32) -> u64 {
        let word = offset & 0xfc;
        let before = config::read_as(function, word, Width::Four);
        // SAFETY: the registers of a device that has no driver now. RAM stays where it is under a BAR that is moved
        // there, which is what this test is about; the word is as it was a moment later.
        unsafe { config::write_as(function, offset, width, value) };
        config::read_as(function, offset, width);
        // SAFETY: what stood there. Of the status register this clears what can be cleared.
        unsafe { config::write_as(function, word, Width::Four, before) };
        4
    }

    /// Reads and writes a table, and now and then its pending bits, in any width and at any place.
    fn table(&mut self) -> u64 {
        let at = usize::try_from(self.random.below(self.tables.len() as u64)).unwrap_or(0);
        let Some(table) = self.tables.get(at) else { return 0 };
        let bytes = self.random.one_of(&[1, 2, 4, 8]);
        let offset = self.random.below(u64::from(table.len()) * 16);
        let offset = if self.random.one_in(4) { offset } else { offset & !u64::from(bytes - 1_u8) };
        table.read_any(offset, bytes);
        table.write_any(offset, bytes, self.random.word());
        if self.random.one_in(8) {
            table.touch_pending(self.random.below(8), bytes, self.random.word());
        }
        if self.random.one_in(16) {
            table.set_capability(!self.random.one_in(4), self.random.one_in(4));
        }
        3
    }
}
