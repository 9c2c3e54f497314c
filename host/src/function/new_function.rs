//! A function on its way to the service.

use super::PciFunction;
use super::error::FunctionError;
use super::mapper::BarMapper;
use super::physical::Physical;
use super::placement::Placement;
use super::registers::Registers;
use super::stores::TrappedStores;
use super::window::FunctionWindow;
use crate::device::{Device, TableWindow};
use crate::pci::{BarSpec, Bars};
use crate::service::Service;
use pvir_abi::DeviceId;
use std::ops::Range;
use std::sync::Arc;

/// A function that is complete but for the service. [`attach`](Self::attach) gives the service the function's device, and
/// answers with the function: no access can come before the service knows the device, and the device's table can only be
/// opened into the function that it belongs to.
#[must_use = "a function is of no use before it is attached"]
pub struct NewFunction {
    placement: Arc<Placement>,
    capability: Range<u16>,
    device: Box<dyn Device>,
}

impl NewFunction {
    /// Of a backend with these registers, whose device is made with the window to its table.
    pub(super) fn new(
        placement: Placement,
        capability: Range<u16>,
        make_device: impl FnOnce(Box<dyn TableWindow>) -> Result<Box<dyn Device>, FunctionError>,
    ) -> Result<Self, FunctionError> {
        let placement = Arc::new(placement);
        let device = make_device(Box::new(FunctionWindow(Arc::downgrade(&placement))))?;
        Ok(Self { placement, capability, device })
    }

    /// Of a host device.
    pub(super) fn of_physical(
        physical: Physical,
        id: DeviceId,
        mapper: Arc<dyn BarMapper>,
        make_device: impl FnOnce(Box<dyn TableWindow>) -> Result<Box<dyn Device>, FunctionError>,
    ) -> Result<Self, FunctionError> {
        let bars =
            Bars::new(&physical.bars()).map_err(|source| FunctionError::Bars { function: id, source })?;
        let registers = Registers::new(physical.config(), bars);
        let capability = physical.capability();
        Self::new(Placement::new(id, registers, Box::new(physical), mapper), capability, make_device)
    }

    /// The device that the service will get.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// The BARs, each by the number of its first register: a VMM that has no room for them need not attach the function.
    #[must_use]
    pub fn bars(&self) -> Vec<(u8, BarSpec)> {
        self.placement.registers().bars.iter().collect()
    }

    /// For people and reports, for example `vfio 0000:01:00.0`.
    #[must_use]
    pub fn name(&self) -> String {
        self.placement.backend().name()
    }

    /// The same function with another device for the service: one around its own, for example to count or to trace.
    pub fn map_device(self, wrap: impl FnOnce(Box<dyn Device>) -> Box<dyn Device>) -> Self {
        Self { device: wrap(self.device), ..self }
    }

    /// Gives the service the function's device, under the function's id. Answers with the function, whose BARs are at
    /// address 0 and do not decode yet.
    ///
    /// # Errors
    /// [`FunctionError::Service`] if the service has a device of this id. Function and device are then gone.
    pub fn attach(self, service: &Arc<Service>) -> Result<Arc<PciFunction>, FunctionError> {
        let id = self.placement.id();
        let stores = TrappedStores::new(Arc::clone(service), id, self.capability);
        let function = PciFunction { placement: self.placement, stores: Some(stores) };
        service.add_device(id, self.device)?;
        Ok(Arc::new(function))
    }
}
