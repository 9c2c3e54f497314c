//! The port conduit: `OUT` of the block's page number makes the call, `IN` reads the status of this vCPU's last call.
#![expect(unsafe_code, reason = "writes and reads an I/O port")]

use super::Conduit;
use pvir_abi::{BLOCK_ALIGN, GuestPhysAddr, PORT_ADDRESS_SHIFT, Status, is_conduit_port};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::instructions::port::Port;

/// The conduit of the I/O port that the host advertises. It carries 32 bits of page number: blocks below 16 TiB.
#[derive(Clone, Copy, Debug)]
pub struct PortConduit {
    port: u16,
}

impl PortConduit {
    /// The conduit of `port`, which is [`Discovery::port`](crate::abi::Discovery::port). `None` if the contract does not
    /// leave that port to the host (statement D5): it may be one of another device.
    #[must_use]
    pub const fn new(port: u16) -> Option<Self> {
        if is_conduit_port(port) { Some(Self { port }) } else { None }
    }

    /// What is written for `block`, or `None` if it cannot be named.
    fn page(block: GuestPhysAddr) -> Option<u32> {
        if block.0 & (BLOCK_ALIGN - 1) != 0 {
            return None;
        }
        u32::try_from(block.0 >> PORT_ADDRESS_SHIFT).ok()
    }
}

impl Conduit for PortConduit {
    fn reaches(&self, block: GuestPhysAddr) -> bool {
        Self::page(block).is_some()
    }

    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        // Not reached by way of `Pvir`, which asks `reaches` first.
        let Some(page) = Self::page(block) else { return Status::BAD_ADDRESS };
        let mut port = Port::new(self.port);
        // The status is that of this vCPU's last call: nothing may come between, nor move us to another vCPU.
        without_interrupts(|| {
            // SAFETY: the contract keeps this port for calls (`new` checked it) and the host advertises it, so the
            // write has no other effect than the call; the memory that it changes is the block, which is the caller's
            // to give, and the event area.
            unsafe { port.write(page) };
            // SAFETY: the same port; reading it has no effect.
            Status(unsafe { port.read() })
        })
    }
}
