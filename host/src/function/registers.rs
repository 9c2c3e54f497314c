//! The registers that the guest writes: configuration space, and the BARs in it.

use super::mapper::BarRange;
use crate::pci::{BarKind, BarSpec, Bars, ConfigSpace, MEMORY_DECODE, PORT_DECODE};
use pvir_abi::DeviceId;
use std::ops::Range;

/// Where the BARs are in configuration space.
const BARS: Range<u16> = 0x10..0x28;
const COMMAND: u16 = 0x04;
const FOUR_GIB: u64 = 1 << 32;
const PORTS: u64 = 1 << 16;

/// The registers of one function.
pub(super) struct Registers {
    pub(super) config: ConfigSpace,
    pub(super) bars: Bars,
    /// Where the VMM has put a BAR whose registers are its own; `Some(None)` where such a BAR does not decode.
    placed: [Option<Option<u64>>; 6],
}

impl Registers {
    pub(super) fn new(config: ConfigSpace, bars: Bars) -> Self {
        Self { config, bars, placed: [None; 6] }
    }

    /// Reads inside of one doubleword.
    pub(super) fn read(&self, offset: u16, data: &mut [u8], device: impl Fn(u16) -> u8) {
        match bar_register(offset) {
            Some((register, at)) => {
                let bytes = self.bars.read(register).to_le_bytes();
                data.iter_mut().zip(bytes.iter().skip(at)).for_each(|(byte, value)| *byte = *value);
            }
            None => self.config.read(offset, data, device),
        }
    }

    /// Writes inside of one doubleword. Answers whether BARs may have to move. That is also so where COMMAND keeps its
    /// value: what the VMM has refused before is tried again.
    #[must_use]
    pub(super) fn write(&mut self, offset: u16, data: &[u8]) -> bool {
        if let Some((register, at)) = bar_register(offset) {
            self.bars.write(register, at, data);
            return true;
        }
        self.config.write(offset, data);
        offset & !3 == COMMAND
    }

    /// The registers after a reset: nothing decodes, and no BAR has an address but those that the VMM has placed.
    pub(super) fn reset(&mut self) {
        self.config.reset();
        for (bar, _) in self.bars.iter().collect::<Vec<_>>() {
            if self.placed.get(usize::from(bar)).is_none_or(Option::is_none) {
                self.bars.set_address(bar, 0);
            }
        }
    }

    /// Configuration space without what the device answers, and the BARs' registers.
    pub(super) fn save(&self) -> (Vec<u8>, [u32; 6]) {
        (self.config.values().to_vec(), std::array::from_fn(|register| self.bars.read(register)))
    }

    /// Sets what [`save`](Self::save) has saved. Answers with what does not fit, and changes nothing then.
    pub(super) fn restore(&mut self, config: &[u8], bars: &[u32; 6]) -> Result<(), String> {
        let (mut restored, mut placed) = (self.config.clone(), self.bars.clone());
        if let Some(at) = restored.restore(config) {
            return Err(format!("byte {at:#x} of its configuration space is another one"));
        }
        for (register, value) in bars.iter().enumerate() {
            placed.write(register, 0, &value.to_le_bytes());
            if placed.read(register) != *value {
                return Err(format!("{value:#x} is nothing that BAR{register} can have"));
            }
        }
        (self.config, self.bars) = (restored, placed);
        Ok(())
    }

    /// The VMM says where a BAR is whose registers are its own. Answers `false` if that is no place for it.
    #[must_use]
    pub(super) fn place(&mut self, bar: u8, address: Option<u64>) -> bool {
        let Some((_, spec)) = self.bars.iter().find(|(index, _)| *index == bar) else { return false };
        if address.is_some_and(|address| !is_possible(spec, address)) {
            return false;
        }
        if let Some(place) = self.placed.get_mut(usize::from(bar)) {
            *place = Some(address);
        }
        if let Some(address) = address {
            self.bars.set_address(bar, address);
        }
        true
    }

    /// Writes a BAR's address. Answers `false` if that is no place for it.
    #[must_use]
    pub(super) fn set_address(&mut self, bar: u8, address: u64) -> bool {
        let fits = self.bars.iter().any(|(index, spec)| index == bar && is_possible(spec, address));
        if fits {
            self.bars.set_address(bar, address);
        }
        fits
    }

    /// Where each BAR should decode now.
    pub(super) fn desired(&self, function: DeviceId) -> Vec<BarRange> {
        let range = |(bar, spec): (u8, BarSpec)| {
            let address = match self.placed.get(usize::from(bar)).copied().flatten() {
                Some(placed) => placed?,
                None => self.decoded(bar, spec)?,
            };
            Some(BarRange { function, bar, kind: spec.kind(), address, size: spec.size() })
        };
        self.bars.iter().filter_map(range).collect()
    }

    /// The address at which a BAR decodes by the guest's own writes.
    fn decoded(&self, bar: u8, spec: BarSpec) -> Option<u64> {
        let bit = if spec.kind() == BarKind::Io { PORT_DECODE } else { MEMORY_DECODE };
        let address = self.bars.address(bar).filter(|_| self.config.command() & bit != 0)?;
        (is_possible(spec, address) && !is_being_sized(spec, address)).then_some(address)
    }
}

/// Whether a BAR can have this address at all: it is aligned, and its end is an address.
fn is_possible(spec: BarSpec, address: u64) -> bool {
    let last = match spec.kind() {
        BarKind::Io => PORTS - 1,
        BarKind::Memory32 => FOUR_GIB - 1,
        BarKind::Memory64 => u64::MAX,
    };
    address & !spec.mask() == 0
        && address.checked_add(spec.size() - 1).is_some_and(|end| end <= last)
        && address.checked_add(spec.size()).is_some()
}

/// Whether a guest that has left decode on is finding the size of a BAR, or has not placed it yet: address 0, all ones in
/// either half. That is no wish to have the BAR there.
fn is_being_sized(spec: BarSpec, address: u64) -> bool {
    let upper_ones = spec.kind() == BarKind::Memory64 && address >> 32 == spec.mask() >> 32;
    address == 0 || upper_ones || address + spec.size() == FOUR_GIB
}

/// The BAR register at an offset, and the byte in it.
fn bar_register(offset: u16) -> Option<(usize, usize)> {
    BARS.contains(&offset).then(|| (usize::from((offset - BARS.start) / 4), usize::from(offset % 4)))
}

/// The parts of an access that lie in one doubleword each: the offset in configuration space, and the bytes of the access.
pub(super) fn doublewords(offset: u16, len: usize) -> impl Iterator<Item = (u16, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = u16::try_from(at).ok().and_then(|at| offset.checked_add(at)).filter(|_| at < len)?;
        let end = len.min(at + 4 - usize::from(first % 4));
        let part = at..end;
        at = end;
        Some((first, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Identity, emulated};

    const FUNCTION: DeviceId = DeviceId { segment: 0, bdf: pvir_abi::Bdf(8) };

    fn registers(list: &[(u8, BarSpec)]) -> Registers {
        let config = emulated(&Identity::new(1, 2), true, None, false);
        Registers::new(config, Bars::new(list).unwrap())
    }

    fn addresses(registers: &Registers) -> Vec<(u8, u64)> {
        registers.desired(FUNCTION).iter().map(|range| (range.bar, range.address)).collect()
    }

    #[test]
    fn each_kind_decodes_by_its_bit() {
        let mut registers = registers(&[(0, BarSpec::memory32(0x1000)), (1, BarSpec::io(32))]);
        assert!(registers.set_address(0, 0xc000_0000) && registers.set_address(1, 0xc000));
        assert_eq!(addresses(&registers), []);
        assert!(registers.write(4, &[1, 0]));
        assert_eq!(addresses(&registers), [(1, 0xc000)]);
        assert!(registers.write(4, &[2]));
        assert_eq!(addresses(&registers), [(0, 0xc000_0000)]);
        assert!(!registers.write(0x3c, &[6, 0]));
    }

    #[test]
    fn a_bar_that_is_being_sized_does_not_decode() {
        let mut registers = registers(&[(0, BarSpec::memory32(0x1000)), (2, BarSpec::memory64(1 << 33))]);
        let _ = registers.write(4, &[2]);
        assert_eq!(addresses(&registers), [], "not placed yet");
        for (offset, value) in [(0x10, u32::MAX), (0x18, 0), (0x1c, u32::MAX)] {
            let _ = registers.write(offset, &value.to_le_bytes());
        }
        assert_eq!(addresses(&registers), []);
        let _ = registers.write(0x1c, &0x12_u32.to_le_bytes());
        assert_eq!(addresses(&registers), [(2, 0x12 << 32)]);
    }

    #[test]
    fn what_the_vmm_has_placed_is_where_it_says() {
        let mut registers = registers(&[(0, BarSpec::memory64(0x1000))]);
        assert!(registers.place(0, Some(0x10_0000_0000)));
        assert_eq!(addresses(&registers), [(0, 0x10_0000_0000)], "whatever COMMAND says");
        assert!(registers.place(0, None));
        let _ = registers.write(4, &[2]);
        assert_eq!(addresses(&registers), []);
        assert!(!registers.place(0, Some(0x10_0000_0800)) && !registers.place(3, None));
        assert!(!registers.place(0, Some(u64::MAX - 0xfff)), "its end is no address");
    }

    #[test]
    fn after_a_reset_only_what_the_vmm_has_placed_has_an_address() {
        let mut registers = registers(&[(0, BarSpec::memory32(0x1000)), (2, BarSpec::memory64(1 << 33))]);
        assert!(registers.set_address(0, 0xc000_0000) && registers.place(2, Some(0x12 << 32)));
        let _ = registers.write(4, &[2]);
        registers.reset();
        assert_eq!((registers.config.command(), registers.bars.address(0)), (0, Some(0)));
        assert_eq!(addresses(&registers), [(2, 0x12 << 32)]);
    }

    #[test]
    fn addresses_fit_their_bars() {
        assert!(!is_possible(BarSpec::memory32(0x1000), FOUR_GIB));
        assert!(is_possible(BarSpec::memory32(0x1000), FOUR_GIB - 0x1000));
        assert!(!is_possible(BarSpec::io(32), 0x1_0000));
    }

    #[test]
    fn accesses_are_cut_at_doublewords_and_end_with_the_offsets() {
        let cut = |offset, len| doublewords(offset, len).collect::<Vec<_>>();
        assert_eq!(cut(0x3e, 8), [(0x3e, 0..2), (0x40, 2..6), (0x44, 6..8)]);
        assert_eq!(cut(4, 2), [(4, 0..2)]);
        assert_eq!(cut(0xfffe, 4), [(0xfffe, 0..2)]);
        assert_eq!(cut(4, 0), []);
    }
}
