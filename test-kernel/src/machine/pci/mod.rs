//! PCI: configuration access, the functions that exist, their BARs.

pub(crate) mod bars;
pub(crate) mod config;
pub(crate) mod msix_table;
pub(crate) mod reset;

use config::PortAccess;
use pci_types::capability::{MsiCapability, MsixCapability, PciCapability};
use pci_types::{CommandRegister, EndpointHeader, HeaderType, PciAddress, PciHeader, PciPciBridgeHeader};
use pvir_guest::abi::{Bdf, DeviceId};

const MAX_FUNCTIONS: usize = 64;

/// A function that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub(crate) address: PciAddress,
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    /// Base class and sub-class.
    pub(crate) class: (u8, u8),
}

impl Function {
    /// The function's header, if it is a device and not a bridge.
    pub(crate) fn endpoint(&self) -> Option<EndpointHeader> {
        EndpointHeader::from_header(PciHeader::new(self.address), PortAccess)
    }

    /// Lets the function answer to memory accesses and send messages.
    pub(crate) fn enable(&self) {
        PciHeader::new(self.address).update_command(PortAccess, |command| {
            command
                | CommandRegister::MEMORY_ENABLE
                | CommandRegister::BUS_MASTER_ENABLE
                | CommandRegister::INTERRUPT_DISABLE
        });
    }

    /// The function's MSI-X capability.
    pub(crate) fn msix(&self) -> Option<MsixCapability> {
        self.endpoint()?.capabilities(PortAccess).find_map(|capability| match capability {
            PciCapability::MsiX(msix) => Some(msix),
            _ => None,
        })
    }

    /// The function's MSI capability.
    pub(crate) fn msi(&self) -> Option<MsiCapability> {
        self.endpoint()?.capabilities(PortAccess).find_map(|capability| match capability {
            PciCapability::Msi(msi) => Some(msi),
            _ => None,
        })
    }
}

/// The functions found, in the order of their addresses as far as bridges keep it.
#[derive(Debug)]
pub(crate) struct Functions {
    list: [Option<Function>; MAX_FUNCTIONS],
    count: usize,
}

impl Functions {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Function> {
        self.list.iter().flatten()
    }

    fn push(&mut self, function: Function) {
        match self.list.get_mut(self.count) {
            Some(slot) => {
                *slot = Some(function);
                self.count += 1;
            }
            None => log::warn!("pci {}: not listed, more than {MAX_FUNCTIONS} functions", function.address),
        }
    }
}

/// Looks at bus 0 and at what lies behind its bridges, whose bus numbers the firmware has set.
pub(crate) fn enumerate() -> Functions {
    let mut functions = Functions { list: [None; MAX_FUNCTIONS], count: 0 };
    scan_bus(0, &mut functions);
    functions
}

fn scan_bus(bus: u8, functions: &mut Functions) {
    for device in 0..32 {
        let first = PciHeader::new(PciAddress::new(0, bus, device, 0));
        if first.id(PortAccess).0 == u16::MAX {
            continue;
        }
        let last = if first.has_multiple_functions(PortAccess) { 7 } else { 0 };
        for function in 0..=last {
            scan_function(PciAddress::new(0, bus, device, function), functions);
        }
    }
}

fn scan_function(address: PciAddress, functions: &mut Functions) {
    let header = PciHeader::new(address);
    let (vendor, device) = header.id(PortAccess);
    if vendor == u16::MAX {
        return;
    }
    let (_, base, sub, _) = header.revision_and_class(PortAccess);
    functions.push(Function { address, vendor, device, class: (base, sub) });
    if header.header_type(PortAccess) != HeaderType::PciPciBridge {
        return;
    }
    let Some(bridge) = PciPciBridgeHeader::from_header(header, PortAccess) else { return };
    let secondary = bridge.secondary_bus_number(PortAccess);
    // Bus numbers rise along a path; a bridge without one has not been set up.
    if secondary > address.bus() {
        scan_bus(secondary, functions);
    }
}

/// The name by which host and guest know a function.
pub(crate) fn device_id(address: PciAddress) -> Option<DeviceId> {
    let bdf = Bdf::new(address.bus(), address.device(), address.function())?;
    Some(DeviceId::new(address.segment(), bdf))
}
