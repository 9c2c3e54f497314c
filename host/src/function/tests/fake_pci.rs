//! A host device without VFIO: an 82576 with registers in BAR0, and with its MSI-X table and pending bits in BAR3.

use crate::function::physical::PhysicalFunction;
use crate::mapping::RegionMap;
use crate::pci::{ConfigHeader, MsiCapability, MsixCapability};
use crate::vfio::DeviceState;
use pvir_abi::{Bdf, DeviceId};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub(super) const REGISTERS: (u8, u64) = (0, 0x2_0000);
pub(super) const TABLE: (u8, u64) = (3, 0x4000);
/// Entries of the table, which starts at offset 0 of its BAR.
pub(super) const ENTRIES: u32 = 10;
pub(super) const PBA: u64 = 0x2000;

/// The device. Reads of a BAR give the low byte of each offset.
pub(super) struct FakePci {
    pub(super) config: Mutex<[u8; 256]>,
    pub(super) bus_master: Mutex<Vec<bool>>,
    /// What was seen of bus mastering at each reset, and whether a reset fails.
    pub(super) resets: Mutex<Vec<Option<bool>>>,
    pub(super) reset_fails: AtomicBool,
    pub(super) can_reset: AtomicBool,
    pub(super) writes: Mutex<Vec<(u8, u64, Vec<u8>)>>,
    pub(super) reads: Mutex<Vec<(u8, u64, usize)>>,
    /// Offset and length of each write to configuration space.
    pub(super) config_writes: Mutex<Vec<(u64, usize)>>,
    /// Called before each access to a whole doubleword of configuration space.
    pub(super) before_config_access: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// What BAR3 is a mapping of.
    table: Mutex<Option<File>>,
    state: Option<Box<dyn DeviceState>>,
    msix: Option<MsixCapability>,
    msi: Option<MsiCapability>,
}

impl FakePci {
    pub(super) fn new() -> Arc<Self> {
        Self::with(&[(0x50, &[5, 0, 0x80, 1]), (0x70, &[0x11, 0, 9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0])])
    }

    /// One that has a vendor-specific capability of 20 bytes behind MSI-X.
    pub(super) fn with_vendor_specific() -> Arc<Self> {
        let vendor = [9, 0, 20, 5, 0xa0, 0xa1, 0xa2, 0xa3];
        Self::with(&[(0x70, &[0x11, 0, 9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]), (0x7c, &vendor)])
    }

    /// One that has PCI Express behind MSI-X.
    pub(super) fn with_pci_express() -> Arc<Self> {
        Self::with(&[(0x70, &[0x11, 0, 9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]), (0xa0, &[0x10, 0, 2, 0])])
    }

    /// One whose driver knows what it holds inside.
    pub(super) fn with_state(state: Box<dyn DeviceState>) -> Arc<Self> {
        let mut fake = Self::new();
        if let Some(fake) = Arc::get_mut(&mut fake) {
            fake.state = Some(state);
        }
        fake
    }

    /// One that has MSI with mask bits only.
    pub(super) fn with_msi() -> Arc<Self> {
        Self::with(&[(0x50, &[5, 0, 0x84, 1])])
    }

    fn with(capabilities: &[(u8, &[u8])]) -> Arc<Self> {
        let mut config = [0; 256];
        config[..4].copy_from_slice(&[0x86, 0x80, 0xc9, 0x10]);
        config[6] = 0x10;
        let mut link = 0x34;
        for (at, capability) in capabilities {
            config[link] = *at;
            config[usize::from(*at)..][..capability.len()].copy_from_slice(capability);
            link = usize::from(*at) + 1;
        }
        Arc::new(Self {
            msix: ConfigHeader(&config).msix(),
            msi: ConfigHeader(&config).msi(),
            config: Mutex::new(config),
            bus_master: Mutex::default(),
            resets: Mutex::default(),
            reset_fails: AtomicBool::new(false),
            can_reset: AtomicBool::new(true),
            writes: Mutex::default(),
            reads: Mutex::default(),
            config_writes: Mutex::default(),
            before_config_access: Mutex::default(),
            table: Mutex::default(),
            state: None,
        })
    }

    /// The table as the device has it.
    pub(super) fn table(&self) -> RegionMap {
        let file = self.table.lock().unwrap();
        RegionMap::new(file.as_ref().unwrap(), 0, usize::try_from(TABLE.1).unwrap()).unwrap()
    }

    fn before_access(&self, len: usize) {
        if let Some(hook) = self.before_config_access.lock().unwrap().as_ref().filter(|_| len == 4) {
            hook();
        }
    }
}

impl PhysicalFunction for FakePci {
    fn address(&self) -> DeviceId {
        DeviceId::new(0, Bdf::new(6, 0, 0).unwrap())
    }

    fn msix(&self) -> Option<&MsixCapability> {
        self.msix.as_ref()
    }

    fn msi(&self) -> Option<&MsiCapability> {
        self.msi.as_ref()
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.before_access(data.len());
        let at = usize::try_from(offset).unwrap();
        data.copy_from_slice(&self.config.lock().unwrap()[at..at + data.len()]);
        Ok(())
    }

    fn config_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.before_access(data.len());
        let at = usize::try_from(offset).unwrap();
        self.config_writes.lock().unwrap().push((offset, data.len()));
        self.config.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn set_bus_master(&self, on: bool) -> io::Result<()> {
        self.bus_master.lock().unwrap().push(on);
        Ok(())
    }

    fn can_reset(&self) -> bool {
        self.can_reset.load(Relaxed)
    }

    fn reset(&self) -> io::Result<()> {
        self.resets.lock().unwrap().push(self.bus_master.lock().unwrap().last().copied());
        if self.reset_fails.load(Relaxed) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn state(&self) -> Option<&dyn DeviceState> {
        self.state.as_deref()
    }

    fn bar_size(&self, bar: u8) -> u64 {
        [REGISTERS, TABLE].into_iter().find(|(index, _)| *index == bar).map_or(0, |(_, size)| size)
    }

    fn map_bar(&self, bar: u8) -> io::Result<Option<RegionMap>> {
        let file = tempfile::tempfile()?;
        file.set_len(self.bar_size(bar))?;
        if bar == TABLE.0 {
            *self.table.lock().unwrap() = Some(file.try_clone()?);
        }
        RegionMap::new(&file, 0, usize::try_from(self.bar_size(bar)).unwrap()).map(Some)
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.reads.lock().unwrap().push((bar, offset, data.len()));
        (offset..).zip(data).for_each(|(at, byte)| *byte = at.to_le_bytes()[0]);
        Ok(())
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes.lock().unwrap().push((bar, offset, data.to_vec()));
        Ok(())
    }
}
