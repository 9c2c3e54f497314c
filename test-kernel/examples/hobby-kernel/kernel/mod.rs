//! What the kernel does, from its first line to its exit.

mod driver;
mod machine;
/// What a core library that was built for a system with a C library wants to be there.
#[path = "../../../src/machine/memory/mem_functions.rs"]
mod mem_functions;
mod platform;

use driver::{Nic, VECTORS};
use machine::{or_exit, print};
use platform::Kernel;
use spin::Mutex;

/// The driver, for the handler too.
static NIC: Mutex<Option<Nic>> = Mutex::new(None);

/// `entry.s` arrives here, in 64-bit mode with interrupts off.
fn run(start_info: u64) {
    print("hobby kernel\n");
    machine::enable_interrupts_of(VECTORS);
    let device = or_exit(platform::find(0x5056, 0x0001).ok_or("no emulated device"));
    let nic = Nic::open(Kernel::new(start_info), device);
    NIC.lock().insert(nic).raise();
    while NIC.lock().as_ref().is_some_and(|nic| nic.interrupts() < 2) {
        machine::wait();
    }
    print("two interrupts, the second one moved by the handler of the first\n");
}

/// Called for each interrupt, with interrupts off.
fn interrupt(vector: u8) {
    if let Some(nic) = NIC.lock().as_mut() {
        nic.handle(vector);
    }
}
