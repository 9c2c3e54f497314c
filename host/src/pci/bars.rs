//! Base address registers, as "PCI Local Bus Specification, Revision 3.0", section 6.2.5.1 has them: address bits below
//! the size read as zero, so that a guest finds the size by writing ones.

use super::bar_spec::{BarError, BarKind, BarSpec};

/// The six registers of a function.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    specs: [Option<BarSpec>; 6],
    registers: [u32; 6],
}

impl Bars {
    /// The registers of these BARs, each by the number of its first register, with every BAR at address 0.
    pub(crate) fn new(list: &[(u8, BarSpec)]) -> Result<Self, BarError> {
        let mut specs = [None; 6];
        for &(bar, spec) in list {
            let place = specs.get_mut(usize::from(bar)).ok_or(BarError::Number { bar })?;
            if place.replace(spec).is_some() {
                return Err(BarError::Number { bar });
            }
        }
        for &(bar, spec) in list {
            if !spec.has_possible_size() {
                return Err(BarError::Size { bar, size: spec.size() });
            }
            if spec.kind() == BarKind::Memory64 && specs.get(usize::from(bar) + 1) != Some(&None) {
                return Err(BarError::UpperHalf { bar });
            }
        }
        let mut bars = Self { specs, registers: [0; 6] };
        for bar in 0..6 {
            bars.set_address(bar, 0);
        }
        Ok(bars)
    }

    /// The BARs that exist, by their first register.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, BarSpec)> + '_ {
        (0..).zip(&self.specs).filter_map(|(bar, spec)| Some((bar, (*spec)?)))
    }

    fn spec(&self, index: usize) -> Option<BarSpec> {
        self.specs.get(index).copied().flatten()
    }

    /// The address of a BAR.
    pub(crate) fn address(&self, bar: u8) -> Option<u64> {
        let index = usize::from(bar);
        let spec = self.spec(index)?;
        let low = u64::from(*self.registers.get(index)? & !spec.low_bits());
        let high = match spec.kind() {
            BarKind::Memory64 => u64::from(*self.registers.get(index + 1)?) << 32,
            BarKind::Io | BarKind::Memory32 => 0,
        };
        Some(high | low)
    }

    /// Gives a BAR an address.
    pub(crate) fn set_address(&mut self, bar: u8, address: u64) {
        let (index, bytes) = (usize::from(bar), address.to_le_bytes());
        self.write(index, 0, &bytes[..4]);
        if self.spec(index).is_some_and(|spec| spec.kind() == BarKind::Memory64) {
            self.write(index + 1, 0, &bytes[4..]);
        }
    }

    /// What the guest reads from a register.
    pub(crate) fn read(&self, index: usize) -> u32 {
        self.registers.get(index).copied().unwrap_or(0)
    }

    /// The guest writes bytes of a register, from byte `at` on.
    pub(crate) fn write(&mut self, index: usize, at: usize, data: &[u8]) {
        let (mask, flags) = self.writable(index);
        let Some(register) = self.registers.get_mut(index) else { return };
        let mut bytes = register.to_le_bytes();
        for (byte, new) in bytes.iter_mut().skip(at).zip(data) {
            *byte = *new;
        }
        *register = (u32::from_le_bytes(bytes) & mask) | flags;
    }

    /// Which bits of a register can be written, and which are set for ever.
    fn writable(&self, index: usize) -> (u32, u32) {
        let below = index.checked_sub(1).and_then(|below| self.spec(below));
        match (self.spec(index), below.filter(|spec| spec.kind() == BarKind::Memory64)) {
            (Some(spec), _) => (low_half(spec.mask()) & !spec.low_bits(), spec.flags()),
            (None, Some(below)) => (low_half(below.mask() >> 32), 0),
            (None, None) => (0, 0),
        }
    }
}

fn low_half(value: u64) -> u32 {
    let bytes = value.to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(list: &[(u8, BarSpec)]) -> Bars {
        Bars::new(list).unwrap()
    }

    #[test]
    fn sizing_a_32_bit_bar() {
        let mut bars = bars(&[(0, BarSpec::memory32(0x2_0000))]);
        bars.set_address(0, 0xc010_0000);
        bars.write(0, 0, &[0xff; 4]);
        assert_eq!(bars.read(0), 0xfffe_0000);
    }

    #[test]
    fn sizing_a_64_bit_bar_reads_the_size_over_both_registers() {
        let mut bars = bars(&[(2, BarSpec::memory64(1 << 33))]);
        bars.write(2, 0, &[0xff; 4]);
        bars.write(3, 0, &[0xff; 4]);
        assert_eq!((bars.read(2), bars.read(3)), (4, 0xffff_fffe));
        bars.set_address(2, 0x12_0000_0000);
        assert_eq!(bars.address(2), Some(0x12_0000_0000));
    }

    #[test]
    fn port_bars_keep_their_type_bit() {
        let mut bars = bars(&[(1, BarSpec::io(32))]);
        bars.write(1, 0, &[0xff; 4]);
        assert_eq!(bars.read(1), 0xffff_ffe1);
        bars.set_address(1, 0xc000);
        assert_eq!(bars.address(1), Some(0xc000));
    }

    #[test]
    fn bytes_are_written_one_by_one() {
        let mut bars = bars(&[(0, BarSpec::memory32(0x1000))]);
        bars.set_address(0, 0xc010_0000);
        bars.write(0, 2, &[0x34]);
        assert_eq!(bars.read(0), 0xc034_0000);
        bars.write(0, 1, &[0xff]);
        assert_eq!(bars.read(0), 0xc034_f000);
    }

    #[test]
    fn registers_without_bar_read_zero() {
        let mut bars = bars(&[]);
        bars.write(5, 0, &[0xff; 4]);
        assert_eq!((bars.read(5), bars.address(5)), (0, None));
    }

    #[test]
    fn impossible_bars_are_refused() {
        let wrong = |list: &[(u8, BarSpec)]| Bars::new(list).unwrap_err();
        for (spec, size) in [
            (BarSpec::memory32(3000), 3000),
            (BarSpec::memory32(8), 8),
            (BarSpec::memory32(1 << 32), 1 << 32),
            (BarSpec::memory64(0), 0),
            (BarSpec::io(2), 2),
        ] {
            assert_eq!(wrong(&[(0, spec)]), BarError::Size { bar: 0, size });
        }
        assert_eq!(wrong(&[(5, BarSpec::memory64(4096))]), BarError::UpperHalf { bar: 5 });
        let page = BarSpec::memory32(4096);
        assert_eq!(wrong(&[(2, BarSpec::memory64(4096)), (3, page)]), BarError::UpperHalf { bar: 2 });
        assert_eq!(wrong(&[(6, page)]), BarError::Number { bar: 6 });
        assert_eq!(wrong(&[(1, page), (1, page)]), BarError::Number { bar: 1 });
    }
}
