//! A VMM's address space that records what is in it, and each breach of the contract.

use crate::function::{BarMapper, BarRange, GuestAccess, MappedPart};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a guest can reach, and what went wrong.
#[derive(Default)]
pub(super) struct Space {
    pub(super) decoded: Vec<BarRange>,
    /// By guest physical address.
    pub(super) mapped: BTreeMap<u64, MappedPart>,
    pub(super) breaches: Vec<String>,
    /// Which calls fail.
    pub(super) no_decode: bool,
    pub(super) no_map: bool,
    pub(super) no_unmap: bool,
    /// Calls that map or unmap.
    pub(super) changes: u32,
}

/// The fake, shared by the function and the test.
#[derive(Clone, Default)]
pub(super) struct FakeMapper(Arc<Mutex<Space>>);

impl FakeMapper {
    pub(super) fn space(&self) -> MutexGuard<'_, Space> {
        self.0.lock().unwrap()
    }

    /// Address, size and access of all that is mapped.
    pub(super) fn mapped(&self) -> Vec<(u64, u64, GuestAccess)> {
        let space = self.space();
        assert!(space.breaches.is_empty(), "{:#?}", space.breaches);
        space.mapped.iter().map(|(address, part)| (*address, part.size(), part.access())).collect()
    }
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl BarMapper for FakeMapper {
    fn decode(&self, range: &BarRange) -> io::Result<()> {
        let mut space = self.space();
        if space.decoded.iter().any(|other| other.bar == range.bar) {
            space.breaches.push(format!("{range:?} decodes while its BAR decodes elsewhere"));
        }
        if space.no_decode {
            return Err(refused());
        }
        if space.decoded.iter().any(|other| other.address < range.end() && range.address < other.end()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        space.decoded.push(*range);
        Ok(())
    }

    fn stop_decoding(&self, range: &BarRange) {
        let mut space = self.space();
        let left = |address: &u64| range.offset_of(*address, 1).is_some();
        if space.mapped.keys().any(left) {
            space.breaches.push(format!("{range:?} stops decoding with parts mapped"));
        }
        let before = space.decoded.len();
        space.decoded.retain(|other| other != range);
        if space.decoded.len() + 1 != before {
            space.breaches.push(format!("{range:?} stops decoding and did not decode"));
        }
    }

    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut space = self.space();
        space.changes += 1;
        let size = usize::try_from(part.size()).unwrap();
        if !space.decoded.iter().any(|range| range.offset_of(address, size).is_some()) {
            space.breaches.push(format!("{part:?} is mapped where nothing decodes: {address:#x}"));
        }
        if space.mapped.iter().any(|(at, other)| *at < address + part.size() && address < at + other.size()) {
            space.breaches.push(format!("{part:?} is mapped over another: {address:#x}"));
        }
        if space.no_map {
            return Err(refused());
        }
        space.mapped.insert(address, part.clone());
        Ok(())
    }

    fn unmap(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut space = self.space();
        space.changes += 1;
        if space.mapped.get(&address) != Some(part) {
            space.breaches.push(format!("{part:?} is unmapped and not mapped at {address:#x}"));
        }
        if space.no_unmap {
            return Err(refused());
        }
        space.mapped.remove(&address);
        Ok(())
    }
}
