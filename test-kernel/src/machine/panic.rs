//! A Rust panic: where and why on the console, then the end of the VM with its own exit code, or a reset of the machine.

use crate::machine::cpu::usermode;
use crate::machine::exit::{ExitCode, exit, reset};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether a panic resets the machine.
static RESETS: AtomicBool = AtomicBool::new(false);

/// From now on a panic resets the machine, as one of a Linux kernel does with `panic=-1`.
pub(crate) fn resets_machine() {
    RESETS.store(true, Ordering::Relaxed);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    usermode::in_ring0(|| {
        crate::machine::console::steal();
        crate::println!("{info}");
        crate::machine::console::report::result("fail", |result| {
            result.display("error", info.message());
        });
    });
    if RESETS.load(Ordering::Relaxed) {
        reset();
    }
    exit(ExitCode::Panic)
}

/// Named by the prebuilt core library of targets that unwind; never called, as panics abort.
#[cfg(not(target_os = "none"))]
mod personality {
    #![expect(unsafe_code, reason = "the symbol has a name that the compiler chose")]

    // SAFETY: no other definition is linked: the kernel is built without the standard library.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}
}
