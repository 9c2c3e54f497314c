#![expect(unsafe_code, reason = "an access that may fault, and the handler of its signal")]
//! Accesses to mapped memory that may not be there: whoever accesses it gets an error in place of SIGBUS.
//!
//! VFIO answers an access to a mapped BAR with SIGBUS while the device's memory decode is off, while it is in a low power
//! state, or when it cannot map the page (`vfio_pci_mmap_huge_fault` in drivers/vfio/pci/vfio_pci_core.c, Linux 6.12). That
//! must not end a process whose other devices and VMs have nothing to do with it.
//!
//! The access is one instruction. Before it the thread notes where to go on if it faults; the handler of SIGBUS goes on
//! there, and takes the note away. Every other SIGBUS is left to whoever had the signal before.

use std::arch::asm;
use std::cell::Cell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

thread_local! {
    /// Where this thread goes on if the access that it is about to make faults; 0 if it makes none.
    static GO_ON_AT: Cell<usize> = const { Cell::new(0) };
}

/// What the process did at SIGBUS before.
static BEFORE: OnceLock<Result<libc::sigaction, i32>> = OnceLock::new();

/// The proof that the handler is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard(());

impl Guard {
    /// Takes SIGBUS over, once in the life of the process. A handler that the process installs afterwards takes its place.
    ///
    /// # Errors
    /// The errno of `sigaction`.
    pub(super) fn new() -> io::Result<Self> {
        match BEFORE.get_or_init(take_over) {
            Ok(_) => Ok(Self(())),
            Err(errno) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    /// Reads a word with one access.
    ///
    /// # Errors
    /// `EFAULT` if the memory does not answer.
    ///
    /// # Safety
    /// `word` is aligned, and inside of a shared mapping that lives during the call.
    pub(super) unsafe fn read(self, word: NonNull<u32>) -> io::Result<u32> {
        let mut value = 0_u32;
        GO_ON_AT.with(|note| {
            // SAFETY: by the caller's promise the access is inside of a mapping, and a fault of it goes on behind it. The
            // note is this thread's own. Nothing else in the block can fault.
            unsafe {
                asm!(
                    "lea {behind}, [rip + 2f]",
                    "mov qword ptr [{note}], {behind}",
                    "mov {value:e}, dword ptr [{word}]",
                    "2:",
                    behind = out(reg) _,
                    note = in(reg) note.as_ptr(),
                    word = in(reg) word.as_ptr(),
                    value = inout(reg) value,
                    options(nostack, preserves_flags),
                );
            }
        });
        done().map(|()| value)
    }

    /// Writes a word with one access.
    ///
    /// # Errors
    /// `EFAULT` if the memory does not answer.
    ///
    /// # Safety
    /// `word` is aligned, and inside of a shared mapping that lives during the call and that nobody has a reference into.
    pub(super) unsafe fn write(self, word: NonNull<u32>, value: u32) -> io::Result<()> {
        GO_ON_AT.with(|note| {
            // SAFETY: as for `read`.
            unsafe {
                asm!(
                    "lea {behind}, [rip + 2f]",
                    "mov qword ptr [{note}], {behind}",
                    "mov dword ptr [{word}], {value:e}",
                    "2:",
                    behind = out(reg) _,
                    note = in(reg) note.as_ptr(),
                    word = in(reg) word.as_ptr(),
                    value = in(reg) value,
                    options(nostack, preserves_flags),
                );
            }
        });
        done()
    }
}

/// The note is gone if the access has faulted.
fn done() -> io::Result<()> {
    match GO_ON_AT.replace(0) {
        0 => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        _ => Ok(()),
    }
}

/// A handler of SA_SIGINFO, and one without.
type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
type PlainHandler = extern "C" fn(libc::c_int);

/// An action without flags, whose handler is this one.
fn action(handler: libc::sighandler_t) -> libc::sigaction {
    // SAFETY: it consists of numbers and, on some targets, a pointer that may be null.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action
}

fn take_over() -> Result<libc::sigaction, i32> {
    let handler: Handler = handle;
    let mut own = action(handler as usize);
    own.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let mut before = action(libc::SIG_DFL);
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and calls nothing that a handler may not.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const own, &raw mut before) };
    match result {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
    }
}

/// The handler. It reads a variable of the thread and a static, and changes where the thread goes on.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let go_on_at = GO_ON_AT.replace(0);
    if go_on_at != 0 {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the kernel gives a handler of SA_SIGINFO the thread's context, which it loads again when it returns.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        if let Some(register) = usize::try_from(libc::REG_RIP).ok().and_then(|at| registers.get_mut(at)) {
            *register = i64::from_ne_bytes(go_on_at.to_ne_bytes());
        }
        return;
    }
    let before = BEFORE.get().and_then(|before| before.as_ref().ok());
    match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            let default = action(libc::SIG_DFL);
            // SAFETY: the default action, which ends the process when the thread makes the access again.
            unsafe { libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut()) };
        }
        other if before.is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0) => {
            // SAFETY: with SA_SIGINFO this is a function of three arguments.
            let other = unsafe { std::mem::transmute::<libc::sighandler_t, Handler>(other) };
            other(signal, info, context);
        }
        other => {
            // SAFETY: without SA_SIGINFO this is a function of one argument.
            let other = unsafe { std::mem::transmute::<libc::sighandler_t, PlainHandler>(other) };
            other(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegionMap;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const CHILD: &str = "PVIR_TEST_FOREIGN_SIGBUS";

    /// A mapping of a file, and the file.
    fn mapped() -> (RegionMap, std::fs::File) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        (RegionMap::of_device(&file, 0, 8192).unwrap(), file)
    }

    #[test]
    fn memory_that_goes_is_an_error_and_works_again_when_it_comes_back() {
        let (map, file) = mapped();
        for round in 0..100 {
            file.set_len(8192).unwrap();
            map.write(4096, round).unwrap();
            assert_eq!(map.read(4096).unwrap(), round);
            file.set_len(4096).unwrap();
            assert_eq!(map.read(4096).unwrap_err().raw_os_error(), Some(libc::EFAULT));
            assert_eq!(map.write(8188, 1).unwrap_err().raw_os_error(), Some(libc::EFAULT));
            assert_eq!(map.read(0).unwrap(), 0, "the page before it is there");
        }
    }

    #[test]
    fn threads_fault_each_by_itself() {
        let (gone, file) = mapped();
        let (there, _kept) = mapped();
        file.set_len(0).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (gone, there) = (&gone, &there);
                scope.spawn(move || {
                    for round in 0..1000 {
                        assert!(gone.read(number * 4).is_err());
                        there.write(number * 4, round).unwrap();
                        assert_eq!(there.read(number * 4).unwrap(), round);
                    }
                });
            }
        });
    }

    #[test]
    fn another_sigbus_ends_the_process_as_before() {
        if std::env::var_os(CHILD).is_some() {
            let (map, file) = mapped();
            file.set_len(0).unwrap();
            // SAFETY: an access inside of the mapping, which ends this process.
            let word = unsafe { map.address().cast::<u32>().read_volatile() };
            panic!("read {word}");
        }
        let name = "mapping::guarded::tests::another_sigbus_ends_the_process_as_before";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
    }
}
