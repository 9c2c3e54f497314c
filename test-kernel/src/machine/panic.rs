//! A Rust panic: where and why on the console, then the end of the VM with its own exit code.

use crate::machine::cpu::usermode;
use crate::machine::exit::{ExitCode, exit};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    usermode::in_ring0(|| {
        crate::machine::console::steal();
        crate::println!("{info}");
        crate::machine::console::report::result("fail", |result| {
            result.display("error", info.message());
        });
    });
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
