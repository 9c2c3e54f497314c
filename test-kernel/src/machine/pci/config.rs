//! Configuration space by the ports 0xcf8 and 0xcfc: segment 0, the first 256 bytes of each function.

#![expect(unsafe_code, reason = "port input and output")]

use pci_types::{ConfigRegionAccess, PciAddress};
use spin::Mutex;
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::instructions::port::Port;

/// The two ports work as a pair.
static PORTS: Mutex<(Port<u32>, Port<u32>)> = Mutex::new((Port::new(0xcf8), Port::new(DATA)));
/// The data port, four bytes wide.
const DATA: u16 = 0xcfc;

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Four,
}

/// Reads so many bytes of a register, at whatever offset.
pub(crate) fn read_as(address: PciAddress, offset: u16, width: Width) -> u32 {
    let Some(selector) = selector(address, offset) else { return u32::MAX };
    let port = DATA + (offset & 3);
    without_interrupts(|| {
        let mut ports = PORTS.lock();
        // SAFETY: only selects the register for the data port, which the lock keeps to this CPU.
        unsafe { ports.0.write(selector) };
        match width {
            // SAFETY: reading a register of configuration space has no effect on memory.
            Width::One => unsafe { Port::<u8>::new(port).read() }.into(),
            // SAFETY: as above.
            Width::Two => unsafe { Port::<u16>::new(port).read() }.into(),
            // SAFETY: as above.
            Width::Four => unsafe { Port::<u32>::new(port).read() },
        }
    })
}

/// Writes so many bytes of a register, at whatever offset.
///
/// # Safety
/// The register may be written with this value.
pub(crate) unsafe fn write_as(address: PciAddress, offset: u16, width: Width, value: u32) {
    let Some(selector) = selector(address, offset) else { return };
    let port = DATA + (offset & 3);
    let [a, b, ..] = value.to_le_bytes();
    without_interrupts(|| {
        let mut ports = PORTS.lock();
        // SAFETY: only selects the register for the data port, which the lock keeps to this CPU.
        unsafe { ports.0.write(selector) };
        match width {
            // SAFETY: the caller says that the register may be written with this value.
            Width::One => unsafe { Port::new(port).write(a) },
            // SAFETY: as above.
            Width::Two => unsafe { Port::new(port).write(u16::from_le_bytes([a, b])) },
            // SAFETY: as above.
            Width::Four => unsafe { Port::new(port).write(value) },
        }
    });
}

/// Access through the ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortAccess;

impl ConfigRegionAccess for PortAccess {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        let Some(selector) = selector(address, offset) else { return u32::MAX };
        without_interrupts(|| {
            let mut ports = PORTS.lock();
            // SAFETY: only selects the register for the data port, which the lock keeps to this CPU.
            unsafe { ports.0.write(selector) };
            // SAFETY: the caller says that the register may be read.
            unsafe { ports.1.read() }
        })
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        let Some(selector) = selector(address, offset) else { return };
        without_interrupts(|| {
            let mut ports = PORTS.lock();
            // SAFETY: only selects the register for the data port, which the lock keeps to this CPU.
            unsafe { ports.0.write(selector) };
            // SAFETY: the caller says that the register may be written with this value.
            unsafe { ports.1.write(value) };
        });
    }
}

/// Sets Multiple Message Enable of a function's MSI capability to 2^`log2` messages (PCI Express Base Specification 6.0,
/// section 7.7.1.2 "Message Control Register for MSI"). `pci_types` 0.10.1 writes other bits.
pub(crate) fn set_multiple_messages(address: PciAddress, log2: u32) {
    const MSI: u8 = 5;
    if let Some(at) = capability(address, MSI) {
        // SAFETY: reading a register of configuration space has no effect on memory.
        let control = unsafe { PortAccess.read(address, at) } & !(7 << 20) | (log2 & 7) << 20;
        // SAFETY: the number of messages of a function that is under test, MSI disabled.
        unsafe { PortAccess.write(address, at, control) };
    }
}

/// Where the first capability of this id is.
pub(crate) fn capability(address: PciAddress, id: u8) -> Option<u16> {
    const CAPABILITIES: u16 = 0x34;
    // SAFETY: reading the header and the list of capabilities has no side effect.
    let read = |offset| unsafe { PortAccess.read(address, offset) };
    let next = |word: u32, shift: u32| u16::from(word.to_le_bytes()[(shift / 8) as usize]) & 0xfc;
    let mut at = next(read(CAPABILITIES), 0);
    // As many as fit into the 256 bytes; a list that runs in a circle ends too.
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        let word = read(at);
        if word & 0xff == u32::from(id) {
            return Some(at);
        }
        at = next(word, 8);
    }
    None
}

/// The word for port 0xcf8, if the register can be reached this way.
fn selector(address: PciAddress, offset: u16) -> Option<u32> {
    const ENABLE: u32 = 1 << 31;
    if address.segment() != 0 || offset >= 0x100 {
        return None;
    }
    let device = u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8;
    Some(ENABLE | device | u32::from(offset & 0xfc))
}
