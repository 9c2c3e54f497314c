//! Accesses to a trapped MSI-X table: those of a guest, as `pvir` logs them, and those of `pvir_test_kernel::linux`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use pvir_test_kernel::linux::{Message, Table, Word};

/// The filter by which `pvir` logs each access.
pub(super) const FILTER: &str = "warn,pvir_host::accesses=trace";
/// Starts the lines that part the log; l1.sh writes them.
const PART: &str = "@asked ";
const ENTRY: u64 = 16;

/// One access to a word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    entry: u16,
    word: Word,
    does: Does,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Read,
    Write(u32),
}

/// The accesses to the table in a log, by the parts of it.
pub(super) fn parts(log: &str) -> Result<Vec<Vec<Access>>> {
    let mut parts = vec![Vec::new()];
    for line in log.lines() {
        if line.starts_with(PART) {
            parts.push(Vec::new());
        } else if let Some(access) = Access::parse(line).with_context(|| format!("not understood: {line}"))? {
            parts.last_mut().context("no part")?.push(access);
        }
    }
    Ok(parts)
}

impl Access {
    /// From a line such as `guest writes device=0000:00:01.0 place=Table offset=28 value=0x00000001`. None if it is of
    /// something else.
    fn parse(line: &str) -> Result<Option<Self>> {
        let after = |what| line.split_once(what).map(|(_, fields)| fields);
        let (writes, fields) = match (after("guest writes "), after("guest reads ")) {
            (Some(fields), _) => (true, fields),
            (_, Some(fields)) => (false, fields),
            _ => return Ok(None),
        };
        let field = |name: &str| {
            let mut pairs = fields.split_whitespace().filter_map(|field| field.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value)).with_context(|| name.to_owned())
        };
        if field("place")? != "Table" {
            return Ok(None);
        }
        let digits = field("value")?.strip_prefix("0x").context("value")?;
        ensure!(digits.len() == 8, "an access that is not of 32 bits");
        let value = u32::from_str_radix(digits, 16)?;
        let offset: u64 = field("offset")?.parse()?;
        let word = Word::ALL.into_iter().find(|word| word.offset() == offset % ENTRY);
        Ok(Some(Self {
            entry: u16::try_from(offset / ENTRY)?,
            word: word.context("an access that is not of one word")?,
            does: if writes { Does::Write(value) } else { Does::Read },
        }))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, word, does } = self;
        match does {
            Does::Read => write!(f, "R e{entry}.{word:?}"),
            Does::Write(value) => write!(f, "W e{entry}.{word:?}={value:#x}"),
        }
    }
}

/// The accesses of each entry. A read of the table's first word belongs to the entry that was masked before: it has the
/// write arrive. Two processors may be about two entries at once.
pub(super) fn by_entry(accesses: &[Access]) -> BTreeMap<u16, Vec<Access>> {
    let mut entries: BTreeMap<u16, Vec<Access>> = BTreeMap::new();
    let mut masked = VecDeque::new();
    for access in accesses {
        let flushes = (access.entry, access.word, access.does) == (0, Word::Low, Does::Read);
        let entry = if flushes { masked.pop_front().unwrap_or(0) } else { access.entry };
        if (access.word, access.does) == (Word::Control, Does::Write(1)) {
            masked.push_back(entry);
        }
        entries.entry(entry).or_default().push(*access);
    }
    entries
}

/// A table that writes down what is done to it, and keeps what is written.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Vec<Access>>);

impl Table for Recorder {
    fn put_word(&self, entry: u16, word: Word, value: u32) {
        self.0.borrow_mut().push(Access { entry, word, does: Does::Write(value) });
    }

    fn get_word(&self, entry: u16, word: Word) -> u32 {
        self.0.borrow_mut().push(Access { entry, word, does: Does::Read });
        self.last(entry, word).unwrap_or(0)
    }
}

impl Recorder {
    /// Does what a log says.
    pub(super) fn repeat(&self, accesses: &[Access]) {
        self.0.borrow_mut().extend(accesses);
    }

    /// Everything so far.
    pub(super) fn accesses(self) -> Vec<Access> {
        self.0.into_inner()
    }

    /// The message of an entry now.
    pub(super) fn message(&self, entry: u16) -> Result<Message> {
        let words = [Word::High, Word::Low, Word::Data].map(|word| self.last(entry, word));
        let [Some(high), Some(low), Some(data)] = words else { bail!("entry {entry} has no message") };
        Ok((u64::from(high) << 32 | u64::from(low), data))
    }

    fn last(&self, entry: u16, word: Word) -> Option<u32> {
        let accesses = self.0.borrow();
        let mut written = accesses.iter().rev().filter(|access| (access.entry, access.word) == (entry, word));
        written.find_map(|access| match access.does {
            Does::Write(value) => Some(value),
            Does::Read => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_test_kernel::linux;

    const LOG: &str = "\
2026-11-23T00:00:00Z TRACE guest reads device=0000:00:01.0 place=Capability offset=2 value=0x8009\n\
2026-11-23T00:00:00Z TRACE guest writes device=0000:00:01.0 place=Table offset=28 value=0x00000001\n\
@asked 1\n\
2026-11-23T00:00:00Z TRACE guest reads device=0000:00:01.0 place=Table offset=0 value=0xfee00000\n\
a warning of pvir's\n";

    #[test]
    fn a_log_is_read_by_its_parts_and_for_the_table_alone() {
        let parts = parts(LOG).unwrap();
        let logged: Vec<Vec<String>> =
            parts.iter().map(|part| part.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(logged, [["W e1.Control=0x1"], ["R e0.Low"]]);
    }

    #[test]
    fn what_is_no_access_to_one_word_is_not_passed_over() {
        for line in ["offset=28 value=0x01", "offset=30 value=0x00000001", "offset=28", "value=0x00000001"] {
            assert!(Access::parse(&format!("guest writes place=Table {line}")).is_err(), "{line}");
        }
        assert!(Access::parse("guest writes offset=0 value=0x00000001").is_err());
    }

    #[test]
    fn the_read_that_flushes_a_mask_belongs_to_the_entry_that_is_masked() {
        let done = |act: &dyn Fn(&Recorder)| {
            let table = Recorder::default();
            act(&table);
            table.accesses()
        };
        let [one, two] = [3, 5].map(|entry| {
            done(&|table| {
                linux::free(table, entry);
            })
        });
        // Both are masked before either is flushed.
        let mixed: Vec<Access> = one.iter().zip(&two).flat_map(|(one, two)| [*one, *two]).collect();
        assert_eq!(by_entry(&mixed), BTreeMap::from([(3, one), (5, two)]));
        let stray = done(&|table| {
            table.get_word(0, Word::Low);
        });
        assert_eq!(by_entry(&stray), BTreeMap::from([(0, stray.clone())]));
    }

    #[test]
    fn a_table_knows_its_messages() {
        let table = Recorder::default();
        assert!(table.message(2).is_err());
        assert!(linux::request(&table, 2, (0x1_fee0_1000, 0x24)));
        assert_eq!(table.message(2).unwrap(), (0x1_fee0_1000, 0x24));
    }
}
