//! The physical MSI-X table, by mmap: `pread` on the region reads all ones there.

use crate::isolation::RemappingUnit;
use crate::mapping::RegionMap;
use crate::pci::{ENTRY_LEN, MsixCapability};
use pvir_abi::Pair;
use std::io;
use std::sync::Arc;

/// The mask bit of the vector control word.
const MASK: u32 = 1;

/// The table of one device.
#[derive(Debug)]
pub(crate) struct PhysicalMsixTable {
    bar: Arc<RegionMap>,
    offset: u64,
    entries: u32,
    unit: RemappingUnit,
}

impl PhysicalMsixTable {
    /// In the mapped BAR of `capability`; pairs are validated by what `unit` writes.
    pub(crate) fn new(bar: Arc<RegionMap>, capability: &MsixCapability, unit: RemappingUnit) -> Self {
        Self { bar, offset: capability.table_offset, entries: capability.entries, unit }
    }

    /// Offset in the BAR of a word of an entry, in bytes.
    fn at(&self, index: u32, word: u64) -> io::Result<u64> {
        if index >= self.entries {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.offset + u64::from(index) * ENTRY_LEN + word * 4)
    }

    fn read_pair(&self, index: u32) -> io::Result<Pair> {
        let low = self.bar.read(self.at(index, 0)?)?;
        let high = self.bar.read(self.at(index, 1)?)?;
        let data = self.bar.read(self.at(index, 2)?)?;
        Ok(Pair { address: u64::from(high) << 32 | u64::from(low), data })
    }

    /// The pair that the host's kernel wrote. What a device answers is not to be trusted: it is read twice, must be
    /// the same, and must have the form that the remapping unit gives it.
    pub(crate) fn pair(&self, index: u32) -> io::Result<Pair> {
        let (first, second) = (self.read_pair(index)?, self.read_pair(index)?);
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if first != second {
            return Err(invalid(format!("entry {index} read {first}, then {second}")));
        }
        self.unit.validate(first).map_err(|what| invalid(format!("entry {index}: {what}")))?;
        Ok(first)
    }

    /// Sets the mask bit of an entry, and sees that it is set. The read also pushes out what the device has posted. A
    /// device that does not answer, because it is being reset for example, reads as all ones: its mask is not known.
    pub(crate) fn mask(&self, index: u32) -> io::Result<()> {
        let at = self.at(index, 3)?;
        let control = self.bar.read(at)?;
        self.bar.write(at, control | MASK)?;
        let now = self.bar.read(at)?;
        if [control, now].contains(&u32::MAX) {
            return Err(io::Error::other(format!(
                "entry {index} reads as all ones: the device does not answer"
            )));
        }
        if now & MASK == 0 {
            return Err(io::Error::other(format!("the mask bit of entry {index} does not stay set")));
        }
        Ok(())
    }

    /// Masks the entries that are not, and answers with them.
    pub(crate) fn mask_live(&self) -> io::Result<Vec<u32>> {
        let mut live = Vec::new();
        for index in 0..self.entries {
            if self.bar.read(self.at(index, 3)?)? & MASK == 0 {
                live.push(index);
            }
        }
        let masked = live.iter().try_for_each(|index| self.mask(*index));
        masked.inspect_err(|_| {
            // The first failure is the one to report.
            let _ = self.unmask(&live);
        })?;
        Ok(live)
    }

    /// Clears the mask bits of these entries: of those that [`mask_live`](Self::mask_live) has answered.
    pub(crate) fn unmask(&self, entries: &[u32]) -> io::Result<()> {
        entries.iter().try_for_each(|index| {
            let at = self.at(*index, 3)?;
            let control = self.bar.read(at)?;
            self.bar.write(at, control & !MASK)
        })
    }

    /// Masks every entry.
    pub(crate) fn mask_all(&self) -> io::Result<()> {
        (0..self.entries).try_for_each(|index| self.mask(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(unit: RemappingUnit) -> (PhysicalMsixTable, Arc<RegionMap>) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let bar = Arc::new(RegionMap::new(&file, 0, 8192).unwrap());
        let capability = MsixCapability {
            offset: 0x70,
            entries: 3,
            table_bar: 0,
            table_offset: 0x1008,
            pba_bar: 0,
            pba_offset: 0,
        };
        (PhysicalMsixTable::new(Arc::clone(&bar), &capability, unit), bar)
    }

    fn put(bar: &RegionMap, index: u64, words: [u32; 4]) {
        for (word, value) in (0..).zip(words) {
            bar.write(0x1008 + index * 16 + word * 4, value).unwrap();
        }
    }

    #[test]
    fn a_remappable_pair_is_read_from_its_entry() {
        let (table, bar) = table(RemappingUnit::Intel);
        put(&bar, 2, [0xfee0_0298, 0, 0, 1]);
        assert_eq!(table.pair(2).unwrap(), Pair { address: 0xfee0_0298, data: 0 });
    }

    #[test]
    fn a_pair_that_is_not_in_the_units_format_is_refused() {
        let (table, bar) = table(RemappingUnit::Intel);
        put(&bar, 0, [0xfee0_1000, 0, 0x4021, 1]);
        assert_eq!(table.pair(0).unwrap_err().kind(), io::ErrorKind::InvalidData);
        put(&bar, 0, [0xffff_ffff; 4]);
        assert_eq!(table.pair(0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_entry_past_the_end_is_refused() {
        let (table, _) = table(RemappingUnit::Amd);
        assert_eq!(table.pair(3).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(table.mask(u32::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_device_that_does_not_answer_is_not_masked() {
        let (table, bar) = table(RemappingUnit::Intel);
        put(&bar, 2, [0xffff_ffff; 4]);
        assert!(table.mask(2).unwrap_err().to_string().contains("does not answer"));
        assert!(table.mask_all().is_err());
    }

    #[test]
    fn what_is_masked_for_a_while_is_what_was_not() {
        let (table, bar) = table(RemappingUnit::Intel);
        (0..3).for_each(|index| put(&bar, index, [0xfee0_0298, 0, 0, u32::from(index == 1)]));
        let live = table.mask_live().unwrap();
        let controls = || [0, 1, 2].map(|index| bar.read(0x1008 + index * 16 + 12).unwrap());
        assert_eq!((live.as_slice(), controls()), ([0, 2].as_slice(), [1, 1, 1]));
        table.unmask(&live).unwrap();
        assert_eq!(controls(), [0, 1, 0]);
        put(&bar, 2, [0xffff_ffff; 4]);
        assert_eq!(table.mask_live().unwrap(), [0], "all ones is masked");
    }

    #[test]
    fn mask_keeps_the_other_bits() {
        let (table, bar) = table(RemappingUnit::Amd);
        put(&bar, 1, [0xfee0_0000, 0, 5, 0xab00_0000]);
        table.mask_all().unwrap();
        assert_eq!(bar.read(0x1008 + 16 + 12).unwrap(), 0xab00_0001);
        assert_eq!(table.pair(1).unwrap(), Pair { address: 0xfee0_0000, data: 5 });
    }
}
