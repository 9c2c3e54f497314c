//! A paravirtual console: the guest puts text into a page of its memory, and one port write puts it out. A serial port
//! takes an exit for each byte, also of a string instruction.
//!
//! `docs/console.md` specifies it for whoever writes a guest. It stands beside COM1, and both write to stdout as they are
//! written to.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use pvir_abi::GuestPhysAddr;
use pvir_host::memory::GuestRam;

use crate::output::console::GuestOutput;

/// What a guest reads at [`CONSOLE_PAGE_PORT`](crate::vm::layout::CONSOLE_PAGE_PORT) where there is such a console.
pub(crate) const SIGNATURE: u32 = u32::from_le_bytes(*b"PVCN");
/// Bytes of the page, and of the longest text that goes out at once.
pub(crate) const PAGE_SIZE: u32 = 4096;
/// The page is named by its number: its guest physical address shifted right by so many bits.
const PAGE_SHIFT: u32 = 12;
/// The privilege level that may name the page. Code of a user of the guest could have any page put out otherwise.
const KERNEL: u8 = 0;

/// The console, shared by all vCPUs.
pub(crate) struct LineConsole<W: Write = GuestOutput> {
    ram: Box<dyn GuestRam>,
    state: Mutex<ConsoleState<W>>,
}

struct ConsoleState<W> {
    page: Option<GuestPhysAddr>,
    out: W,
}

impl LineConsole {
    /// A console that writes to `out` what stands in `ram`.
    pub(crate) fn new(out: GuestOutput, ram: Box<dyn GuestRam>) -> Self {
        Self::to(out, ram)
    }
}

impl<W: Write> LineConsole<W> {
    fn to(out: W, ram: Box<dyn GuestRam>) -> Self {
        Self { ram, state: Mutex::new(ConsoleState { page: None, out }) }
    }

    /// Code at privilege level `cpl` names the page by its number. One that is not RAM is none, and a level other than the
    /// kernel's changes nothing.
    pub(crate) fn set_page(&self, cpl: u8, number: u32) {
        if cpl != KERNEL {
            tracing::debug!(cpl, "console: the page was named by code without privilege");
            return;
        }
        let page = GuestPhysAddr(u64::from(number) << PAGE_SHIFT);
        let is_ram = self.ram.is_ram(page, PAGE_SIZE as usize);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).page = is_ram.then_some(page);
    }

    /// Guest physical address of the page, for a snapshot.
    pub(crate) fn page(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).page.map(|page| page.0)
    }

    /// Sets the page to one that [`page`](Self::page) has answered. Answers `false` if it is none.
    #[must_use]
    pub(crate) fn restore(&self, page: Option<u64>) -> bool {
        let is_page = |page: &u64| {
            page % u64::from(PAGE_SIZE) == 0 && self.ram.is_ram(GuestPhysAddr(*page), PAGE_SIZE as usize)
        };
        let fits = page.as_ref().is_none_or(is_page);
        if fits {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).page = page.map(GuestPhysAddr);
        }
        fits
    }

    /// The machine is reset: the console has no page.
    pub(crate) fn reset(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).page = None;
    }

    /// The length of the longest text that can go out: none without a page.
    pub(crate) fn room(&self) -> u32 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.page.is_some() { PAGE_SIZE } else { 0 }
    }

    /// Puts out the first `length` bytes of the page; nothing if there is no page or it has not so many.
    pub(crate) fn put_out(&self, length: u32) {
        let mut text = [0; PAGE_SIZE as usize];
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(page), Some(text)) = (state.page, text.get_mut(..length as usize)) else { return };
        if let Err(error) = self.ram.read(page, text) {
            tracing::debug!("console: {error}");
            return;
        }
        if let Err(error) = state.out.write_all(text).and_then(|()| state.out.flush()) {
            // A reader that went away is no reason to stop the guest.
            tracing::debug!("console: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::layout::{CONSOLE_LENGTH_PORT, CONSOLE_PAGE_PORT};
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    /// Two pages of RAM, and a console that writes to memory.
    fn console(text: &[u8]) -> LineConsole<Vec<u8>> {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x1000), 0x2000)]).unwrap();
        GuestRam::write(&ram, GuestPhysAddr(0x2000), text).unwrap();
        LineConsole::to(Vec::new(), Box::new(ram))
    }

    fn shown(console: LineConsole<Vec<u8>>) -> Vec<u8> {
        console.state.into_inner().unwrap().out
    }

    #[test]
    fn so_many_bytes_of_the_page_go_out_as_are_asked_for() {
        let console = console(b"hello\r\nworld");
        console.set_page(0, 2);
        assert_eq!(console.room(), PAGE_SIZE);
        console.put_out(7);
        console.put_out(0);
        console.put_out(5);
        assert_eq!(shown(console), b"hello\r\nhello");
    }

    #[test]
    fn the_longest_text_is_the_whole_page() {
        let console = console(&[b'x'; PAGE_SIZE as usize]);
        console.set_page(0, 2);
        console.put_out(PAGE_SIZE);
        console.put_out(PAGE_SIZE + 1);
        console.put_out(u32::MAX);
        assert_eq!(shown(console), [b'x'; PAGE_SIZE as usize]);
    }

    #[test]
    fn without_a_page_of_ram_nothing_goes_out() {
        for page in [None, Some(0), Some(3), Some(0xfee00), Some(u32::MAX)] {
            let console = console(b"secret");
            if let Some(page) = page {
                console.set_page(0, 2);
                console.set_page(0, page);
            }
            assert_eq!(console.room(), 0, "{page:?}");
            console.put_out(6);
            assert_eq!(shown(console), b"", "{page:?}");
        }
    }

    #[test]
    fn after_a_reset_there_is_no_page() {
        let console = console(b"before");
        console.set_page(0, 2);
        console.reset();
        assert_eq!(console.room(), 0);
        console.put_out(6);
        assert_eq!(shown(console), b"");
    }

    #[test]
    fn code_without_privilege_does_not_choose_the_page() {
        let console = console(b"kernel");
        console.set_page(3, 2);
        assert_eq!(console.room(), 0);
        console.set_page(0, 2);
        console.set_page(3, 1);
        console.put_out(6);
        assert_eq!(shown(console), b"kernel");
    }

    #[test]
    fn numbers_are_those_of_the_page_in_docs() {
        const DOCS: &str = include_str!("../../docs/console.md");
        for stated in [
            format!("| {CONSOLE_PAGE_PORT:#06x} |"),
            format!("| {CONSOLE_LENGTH_PORT:#06x} |"),
            format!("{SIGNATURE:#010x}"),
            format!("0 to {PAGE_SIZE}"),
        ] {
            assert!(DOCS.contains(&stated), "{stated}");
        }
    }
}
