//! Base address registers, as "PCI Local Bus Specification, Revision 3.0", section 6.2.5.1 has them: address bits below
//! the size read as zero, so that a guest finds the size by writing ones.

/// Where a BAR decodes, and how wide its address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarKind {
    Io,
    Memory32,
    Memory64,
}

/// A BAR that a function has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BarSpec {
    pub(crate) kind: BarKind,
    /// A power of two; at least 4 for ports, 16 for memory.
    pub(crate) size: u64,
    pub(crate) prefetchable: bool,
}

impl BarSpec {
    /// The read-only low bits.
    fn flags(&self) -> u32 {
        let prefetchable = if self.prefetchable { 8 } else { 0 };
        match self.kind {
            BarKind::Io => 1,
            BarKind::Memory32 => prefetchable,
            BarKind::Memory64 => 4 | prefetchable,
        }
    }

    /// The bits of the address that can be set.
    fn mask(&self) -> u64 {
        !(self.size - 1)
    }
}

/// The six registers of a function.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    specs: [Option<BarSpec>; 6],
    registers: [u32; 6],
}

/// Why a set of BARs cannot be emulated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BarError {
    #[error("BAR{0} has the size {1:#x}, which is no power of two or too small")]
    Size(usize, u64),
    #[error("BAR{0} has 64 bits, but its upper half is another BAR or does not exist")]
    UpperHalf(usize),
}

impl Bars {
    /// The registers with every BAR at address 0.
    pub(crate) fn new(specs: [Option<BarSpec>; 6]) -> Result<Self, BarError> {
        for (index, spec) in specs.iter().enumerate() {
            let Some(spec) = spec else { continue };
            let smallest = if spec.kind == BarKind::Io { 4 } else { 16 };
            if !spec.size.is_power_of_two() || spec.size < smallest {
                return Err(BarError::Size(index, spec.size));
            }
            if spec.kind != BarKind::Memory64 && spec.size > 1 << 31 {
                return Err(BarError::Size(index, spec.size));
            }
            if spec.kind == BarKind::Memory64 && specs.get(index + 1) != Some(&None) {
                return Err(BarError::UpperHalf(index));
            }
        }
        let mut bars = Self { specs, registers: [0; 6] };
        for index in 0..6 {
            bars.set_address(index, 0);
        }
        Ok(bars)
    }

    /// The BARs that exist, by their first register.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, BarSpec)> + '_ {
        self.specs.iter().enumerate().filter_map(|(index, spec)| Some((index, (*spec)?)))
    }

    /// The address of a BAR.
    pub(crate) fn address(&self, index: usize) -> Option<u64> {
        let spec = self.specs.get(index).copied().flatten()?;
        let low = u64::from(*self.registers.get(index)? & !spec.low_bits());
        let high = match spec.kind {
            BarKind::Memory64 => u64::from(*self.registers.get(index + 1)?) << 32,
            BarKind::Io | BarKind::Memory32 => 0,
        };
        Some(high | low)
    }

    /// Gives a BAR an address.
    pub(crate) fn set_address(&mut self, index: usize, address: u64) {
        let bytes = address.to_le_bytes();
        self.write(index, 0, &bytes[..4]);
        if self.specs.get(index).copied().flatten().is_some_and(|spec| spec.kind == BarKind::Memory64) {
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
        let halves = |mask: u64| (low_half(mask), low_half(mask >> 32));
        let below = index.checked_sub(1).and_then(|below| self.specs.get(below).copied().flatten());
        match (self.specs.get(index).copied().flatten(), below) {
            (Some(spec), _) => (halves(spec.mask()).0 & !spec.low_bits(), spec.flags()),
            (None, Some(BarSpec { kind: BarKind::Memory64, size, .. })) => (halves(!(size - 1)).1, 0),
            (None, _) => (0, 0),
        }
    }
}

impl BarSpec {
    /// The bits of the register that are not address.
    fn low_bits(&self) -> u32 {
        if self.kind == BarKind::Io { 3 } else { 15 }
    }
}

fn low_half(value: u64) -> u32 {
    let bytes = value.to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(specs: &[(usize, BarKind, u64)]) -> Bars {
        let mut all = [None; 6];
        for &(index, kind, size) in specs {
            all[index] = Some(BarSpec { kind, size, prefetchable: false });
        }
        Bars::new(all).unwrap()
    }

    #[test]
    fn sizing_a_32_bit_bar() {
        let mut bars = bars(&[(0, BarKind::Memory32, 0x2_0000)]);
        bars.set_address(0, 0xc010_0000);
        bars.write(0, 0, &[0xff; 4]);
        assert_eq!(bars.read(0), 0xfffe_0000);
    }

    #[test]
    fn sizing_a_64_bit_bar_reads_the_size_over_both_registers() {
        let mut bars = bars(&[(2, BarKind::Memory64, 1 << 33)]);
        bars.write(2, 0, &[0xff; 4]);
        bars.write(3, 0, &[0xff; 4]);
        assert_eq!((bars.read(2), bars.read(3)), (4, 0xffff_fffe));
        bars.set_address(2, 0x12_0000_0000);
        assert_eq!(bars.address(2), Some(0x12_0000_0000));
    }

    #[test]
    fn port_bars_keep_their_type_bit() {
        let mut bars = bars(&[(1, BarKind::Io, 32)]);
        bars.write(1, 0, &[0xff; 4]);
        assert_eq!(bars.read(1), 0xffff_ffe1);
        bars.set_address(1, 0xc000);
        assert_eq!(bars.address(1), Some(0xc000));
    }

    #[test]
    fn bytes_are_written_one_by_one() {
        let mut bars = bars(&[(0, BarKind::Memory32, 0x1000)]);
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
        let spec = |kind, size| Some(BarSpec { kind, size, prefetchable: false });
        let wrong = |index: usize, spec| {
            let mut all = [None; 6];
            all[index] = spec;
            Bars::new(all).unwrap_err()
        };
        assert_eq!(wrong(0, spec(BarKind::Memory32, 3000)), BarError::Size(0, 3000));
        assert_eq!(wrong(0, spec(BarKind::Memory32, 8)), BarError::Size(0, 8));
        assert_eq!(wrong(5, spec(BarKind::Memory64, 4096)), BarError::UpperHalf(5));
    }
}
