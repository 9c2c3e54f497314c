//! The function of an emulated device.

use super::backend::Backend;
use super::error::FunctionError;
use super::mapper::{BarMapper, GuestAccess, MappedPart};
use super::model::FunctionModel;
use super::placement::Placement;
use super::registers::Registers;
use super::stores::TrappedStores;
use super::structures::Structures;
use super::{NewFunction, PciFunction};
use crate::device::{Device, StoreShape, TableWindow};
use crate::emulation::SharedTable;
use crate::mapping::RegionMap;
use crate::pci::{
    BUS_MASTER, BarKind, BarSpec, Bars, ConfigSpace, ENTRY_LEN, Identity, MessageCapability, MsiLayout,
    MsiShape, MsixLayout, emulated,
};
use crate::trapped::StoreArea;
use crate::vfio::GoesOn;
use pvir_abi::DeviceId;
use std::io;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// What the function of an emulated device is made of.
#[must_use = "it is the description of a function; `finish` or `finish_with_device` makes it"]
pub struct EmulatedFunction {
    id: DeviceId,
    name: String,
    identity: Identity,
    model: Arc<dyn FunctionModel>,
    bars: Vec<(u8, BarSpec)>,
    capability: Option<MessageCapability>,
    table: Option<Table>,
    resets: bool,
}

impl EmulatedFunction {
    /// A function without BARs and interrupts, which the guest finds at `id`. `name` is for people and reports.
    pub fn new(id: DeviceId, name: &str, identity: Identity, model: Arc<dyn FunctionModel>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            identity,
            model,
            bars: Vec::new(),
            capability: None,
            table: None,
            resets: false,
        }
    }

    /// With a BAR of the device's own registers or memory.
    pub fn with_bar(mut self, bar: u8, spec: BarSpec) -> Self {
        self.bars.push((bar, spec));
        self
    }

    /// With an MSI-X capability whose table and pending bits fill a BAR (32 bits) of their own. While the guest programs
    /// the device it has the table's memory for reading and writing and the pending bits for reading; before, the service
    /// emulates both. A function has one capability for messages: the last one counts.
    pub fn with_msix(self, bar: u8, table: &SharedTable) -> Self {
        let mut function = self.without_capability();
        let pba = SharedTable::pba_offset(table.vectors());
        function.bars.push((bar, BarSpec::memory32((pba + PAGE).next_power_of_two())));
        function.capability = Some(MessageCapability::Msix(MsixLayout { bar, pba }));
        let length = u64::from(table.vectors()) * ENTRY_LEN;
        // The array is as long as its page: behind its end it is zero.
        let structures = Structures { table: 0..length, pba: pba..pba + PAGE };
        let memory = Arc::clone(table.memory());
        function.table = Some(Table { bar, entries: table.vectors(), structures, memory });
        function
    }

    /// With an MSI capability. A function has one capability for messages: the last one counts.
    pub fn with_msi(self, shape: MsiShape) -> Self {
        let capability = Some(MessageCapability::Msi(MsiLayout(shape)));
        Self { capability, ..self.without_capability() }
    }

    /// With a function level reset, by a PCI Express capability: the device does [`FunctionModel::reset`].
    pub fn with_reset(self) -> Self {
        Self { resets: true, ..self }
    }

    fn without_capability(mut self) -> Self {
        if let Some(Table { bar, .. }) = self.table.take() {
            self.bars.retain(|(other, _)| *other != bar);
        }
        Self { capability: None, ..self }
    }

    /// The function, for a device without interrupts.
    ///
    /// # Errors
    /// [`FunctionError::Bars`] if no function has such BARs, and [`FunctionError::Mismatch`] if it has a capability for
    /// messages, which takes a device.
    pub fn finish(self, mapper: Arc<dyn BarMapper>) -> Result<Arc<PciFunction>, FunctionError> {
        self.check_shape(StoreShape::None)?;
        Ok(Arc::new(PciFunction { placement: Arc::new(self.placement(mapper)?), stores: None }))
    }

    /// The function, and the device for the service, which `make_device` makes with the window through which it gives the
    /// guest its MSI-X table ([`Device::open`], [`Device::close`]).
    ///
    /// # Errors
    /// [`FunctionError::Bars`] if no function has such BARs, and [`FunctionError::Mismatch`] if the device's
    /// [`shape`](Device::shape) is not that of the function's capability.
    pub fn finish_with_device(
        self,
        mapper: Arc<dyn BarMapper>,
        make_device: impl FnOnce(Box<dyn TableWindow>) -> Box<dyn Device>,
    ) -> Result<NewFunction, FunctionError> {
        let capability = self.capability.map_or(0..0, MessageCapability::range);
        let expected = self.shape();
        let id = self.id;
        NewFunction::new(self.placement(mapper)?, capability, |window| {
            let device = make_device(window);
            check_shape(id, expected, device.shape())?;
            Ok(device)
        })
    }

    /// What the service has to emulate for the function.
    fn shape(&self) -> StoreShape {
        match (self.capability, &self.table) {
            (Some(MessageCapability::Msi(MsiLayout(shape))), _) => StoreShape::Msi(shape),
            (Some(MessageCapability::Msix(_)), Some(table)) => StoreShape::Msix(table.entries),
            _ => StoreShape::None,
        }
    }

    fn check_shape(&self, device: StoreShape) -> Result<(), FunctionError> {
        check_shape(self.id, self.shape(), device)
    }

    fn placement(self, mapper: Arc<dyn BarMapper>) -> Result<Placement, FunctionError> {
        let id = self.id;
        let bars = Bars::new(&self.bars).map_err(|source| FunctionError::Bars { function: id, source })?;
        let ports = self.bars.iter().any(|(_, spec)| spec.kind() == BarKind::Io);
        let registers = Registers::new(emulated(&self.identity, ports, self.capability, self.resets), bars);
        let msi = match self.capability {
            Some(MessageCapability::Msi(layout)) => Some(layout),
            _ => None,
        };
        let backend = Emulated { name: self.name, model: self.model, table: self.table, msi };
        Ok(Placement::new(id, registers, Box::new(backend), mapper))
    }
}

fn check_shape(function: DeviceId, expected: StoreShape, device: StoreShape) -> Result<(), FunctionError> {
    if expected == device {
        return Ok(());
    }
    let what = format!("the function's capability is that of {expected:?}, and its device has {device:?}");
    Err(FunctionError::Mismatch { function, what })
}

/// The MSI-X table of an emulated device.
struct Table {
    bar: u8,
    entries: u32,
    structures: Structures,
    memory: Arc<RegionMap>,
}

impl Table {
    fn read(&self, stores: Option<&TrappedStores>, offset: u64, data: &mut [u8]) {
        data.fill(0);
        for part in self.structures.parts(offset, data.len()) {
            let (Some(bytes), Some(stores)) = (data.get_mut(part.bytes), stores) else { return };
            if let Some((area, at)) = part.structure {
                stores.read(area, at, bytes, |bytes| self.memory.read_bytes(part.offset, bytes));
            }
        }
    }

    fn write(&self, stores: Option<&TrappedStores>, offset: u64, data: &[u8]) {
        for part in self.structures.parts(offset, data.len()) {
            let (Some(bytes), Some(stores)) = (data.get(part.bytes), stores) else { return };
            // The pending bits are the device's.
            if let Some((StoreArea::Table, at)) = part.structure {
                let direct = |bytes: &[u8]| self.memory.write_words(part.offset, bytes);
                stores.write(StoreArea::Table, at, bytes, direct);
            }
        }
    }

    fn mapped_parts(&self) -> Vec<MappedPart> {
        let pba = self.structures.pba.start;
        let part = |offset, size, access| {
            MappedPart::new(offset, size, Arc::clone(&self.memory) as _, offset, access)
        };
        let parts = [part(0, pba, GuestAccess::ReadWrite), part(pba, PAGE, GuestAccess::ReadOnly)];
        parts.into_iter().flatten().collect()
    }
}

/// An emulated device, as a function has it.
struct Emulated {
    name: String,
    model: Arc<dyn FunctionModel>,
    table: Option<Table>,
    msi: Option<MsiLayout>,
}

impl Emulated {
    fn table(&self, bar: u8) -> Option<&Table> {
        self.table.as_ref().filter(|table| table.bar == bar)
    }
}

impl Backend for Emulated {
    fn config_reader(&self) -> Box<dyn Fn(u16) -> u8 + '_> {
        match self.msi {
            Some(layout) => {
                let pending = self.model.msi_pending();
                Box::new(move |offset| layout.pending_byte(pending, offset))
            }
            None => Box::new(|_| 0),
        }
    }

    fn config_written(&self, config: &ConfigSpace, command: u16) {
        if (command ^ config.command()) & BUS_MASTER != 0 {
            self.model.set_bus_master(config.command() & BUS_MASTER != 0);
        }
        if let Some(layout) = self.msi {
            self.model.set_msi(layout.registers(config));
        }
    }

    /// Whether or not the guest is offered one of its own.
    fn can_reset(&self) -> bool {
        true
    }

    fn reset(&self) -> io::Result<()> {
        self.model.reset();
        Ok(())
    }

    fn pause(&self) {
        self.model.pause();
    }

    fn resume(&self) -> GoesOn {
        self.model.resume();
        GoesOn::AsItWas
    }

    fn save(&self) -> io::Result<Option<Vec<u8>>> {
        self.model.save().map(Some)
    }

    fn restore(&self, inside: Option<&[u8]>, _bus_master: bool) -> io::Result<()> {
        let inside = inside.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no inside"))?;
        self.model.restore(inside)
    }

    fn bar_read(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &mut [u8]) {
        match self.table(bar) {
            Some(table) => table.read(stores, offset, data),
            None => self.model.bar_read(bar, offset, data),
        }
    }

    fn bar_write(&self, stores: Option<&TrappedStores>, bar: u8, offset: u64, data: &[u8]) {
        match self.table(bar) {
            Some(table) => table.write(stores, offset, data),
            None => self.model.bar_write(bar, offset, data),
        }
    }

    fn mapped_parts(&self, bar: u8, open: bool) -> Vec<MappedPart> {
        match self.table(bar) {
            Some(table) if open => table.mapped_parts(),
            Some(_) => Vec::new(),
            None => self.model.mapped_parts(bar),
        }
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn msix_table_bar(&self) -> Option<u8> {
        self.table.as_ref().map(|table| table.bar)
    }
}
