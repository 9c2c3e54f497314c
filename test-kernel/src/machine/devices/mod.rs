//! Devices that raise an interrupt when a register tells them to.

mod e1000e;
mod edu;
pub(crate) mod emulated;
mod igb;
mod ivshmem;
mod xhci;

use crate::machine::pci::Function;
use crate::machine::pci::bars::{self, BarError};
use pvir_guest::{EitherStore, Origin};

/// A place for a message that is neither an MSI-X entry nor an MSI capability, of either kind that is known here.
pub(crate) type ImsLocation = EitherStore<igb::HeadWriteBack, emulated::Doorbell>;

/// A device whose interrupts software can raise.
pub(crate) trait Trigger {
    /// How many interrupts it can raise: vectors 0 to this, less one.
    fn vectors(&self) -> u16;
    /// Whether it may send a message twice for one [`Trigger::raise`].
    fn repeats(&self) -> bool {
        false
    }
    /// Makes it ready; its MSI or MSI-X may be set up before or after.
    fn init(&mut self);
    /// Raises one.
    fn raise(&mut self, vector: u16);
    /// Clears the cause, so that the vector can be raised again.
    fn acknowledge(&mut self, vector: u16);
    /// How many messages of the vector the device says it has sent; `None` where it does not count.
    fn sent(&self, _vector: u16) -> Option<u64> {
        None
    }
    /// How many places for messages of its own it has, beside MSI-X and MSI (IMS): places 0 to this, less one.
    fn ims_locations(&self) -> u16 {
        0
    }
    /// Takes possession of a place, for the messages of `origin`. One owner at a time is the caller's to see to.
    fn ims_location(&mut self, _place: u16, _origin: Origin) -> Option<ImsLocation> {
        None
    }
    /// Raises the message of a place, once it has left the device.
    fn raise_ims(&mut self, _place: u16) {}
    /// The reasons for which the host raises an event when it is told to by a register, a bit each.
    fn events(&self) -> u32 {
        0
    }
    /// Tells it to; with 0 to end what an earlier event has left.
    fn demand_event(&mut self, _reason: u32) {}
}

/// Any of the devices known here.
#[derive(Debug)]
pub(crate) enum Device {
    Edu(edu::Edu),
    Emulated(emulated::Emulated),
    Igb(igb::Igb),
    Ivshmem(ivshmem::Ivshmem),
    E1000e(e1000e::E1000e),
    Xhci(xhci::Xhci),
}

/// What a function is, as far as this kernel knows it.
pub(crate) fn name(function: &Function) -> Option<&'static str> {
    match (function.vendor, function.device) {
        (0x1234, 0x11e8) => Some("edu"),
        (0x5056, 0x0001) => Some("emulated"),
        (0x8086, 0x10c9) => Some("igb"),
        (0x8086, 0x10ca) => Some("igbvf"),
        (0x8086, 0x10d3) => Some("e1000e"),
        (0x1af4, 0x1110) => Some("ivshmem"),
        (0x1033, 0x0194) | (0x1b36, 0x000d) => Some("xhci"),
        _ => None,
    }
}

/// The driver of a function, its registers mapped and decoding on; `None` when there is no driver.
pub(crate) fn probe(function: &Function) -> Result<Option<Device>, BarError> {
    let Some(name) = name(function) else { return Ok(None) };
    let registers = bars::registers(function, 0)?;
    let vectors = function.msix().map_or(1, |msix| msix.table_size());
    Ok(match name {
        "edu" => Some(Device::Edu(edu::Edu::new(registers))),
        "emulated" => Some(Device::Emulated(emulated::Emulated::new(registers))),
        "igb" => Some(Device::Igb(igb::Igb::physical(registers, vectors))),
        "igbvf" => Some(Device::Igb(igb::Igb::virtual_function(registers, vectors))),
        "e1000e" => Some(Device::E1000e(e1000e::E1000e::new(registers, vectors))),
        "ivshmem" => Some(Device::Ivshmem(ivshmem::Ivshmem::new(registers, vectors))),
        "xhci" => Some(Device::Xhci(xhci::Xhci::new(registers))),
        _ => None,
    })
}

impl Device {
    fn trigger(&self) -> &dyn Trigger {
        match self {
            Self::Edu(device) => device,
            Self::Emulated(device) => device,
            Self::Igb(device) => device,
            Self::Ivshmem(device) => device,
            Self::E1000e(device) => device,
            Self::Xhci(device) => device,
        }
    }

    fn trigger_mut(&mut self) -> &mut dyn Trigger {
        match self {
            Self::Edu(device) => device,
            Self::Emulated(device) => device,
            Self::Igb(device) => device,
            Self::Ivshmem(device) => device,
            Self::E1000e(device) => device,
            Self::Xhci(device) => device,
        }
    }
}

impl Trigger for Device {
    fn vectors(&self) -> u16 {
        self.trigger().vectors()
    }

    fn repeats(&self) -> bool {
        self.trigger().repeats()
    }

    fn init(&mut self) {
        self.trigger_mut().init();
    }

    fn raise(&mut self, vector: u16) {
        self.trigger_mut().raise(vector);
    }

    fn acknowledge(&mut self, vector: u16) {
        self.trigger_mut().acknowledge(vector);
    }

    fn sent(&self, vector: u16) -> Option<u64> {
        self.trigger().sent(vector)
    }

    fn ims_locations(&self) -> u16 {
        self.trigger().ims_locations()
    }

    fn ims_location(&mut self, place: u16, origin: Origin) -> Option<ImsLocation> {
        self.trigger_mut().ims_location(place, origin)
    }

    fn raise_ims(&mut self, place: u16) {
        self.trigger_mut().raise_ims(place);
    }

    fn events(&self) -> u32 {
        self.trigger().events()
    }

    fn demand_event(&mut self, reason: u32) {
        self.trigger_mut().demand_event(reason);
    }
}
