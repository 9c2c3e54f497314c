//! A guest that is started again in the same process: the machine as at power-on, with the same KVM VM and host devices.
//!
//! What is built once is everything that has a name outside of the guest: the VM, its vCPUs, the service, the devices that
//! were opened, the control socket, the report. What a boot has for itself is reset in this order, while no vCPU runs:
//!
//! 1. the session, with everything that the guest has mapped (statement X3), and what was trapped;
//! 2. the functions and their devices, which then neither interrupt nor reach memory;
//! 3. the rest of the machine: I/O APIC, COM1, the console's page, the configuration address;
//! 4. RAM, and with it all that KVM has derived from it; kernel, initrd and tables are loaded again;
//! 5. the vCPUs.

mod boots;
mod machine;
mod pace;

use clap::ValueEnum;

pub(crate) use boots::run_boots;
pub(crate) use machine::Machine;

/// What becomes of a guest that resets its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnReboot {
    /// The run ends
    Exit,
    /// The guest starts again in the same process, after a triple fault too
    Restart,
}
