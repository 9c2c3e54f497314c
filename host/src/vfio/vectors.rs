//! The entries of a device's stores as vectors of `VFIO_DEVICE_SET_IRQS`.

use crate::eventfd::EventFd;
use pvir_abi::Store;
use std::io;
use vfio_bindings::bindings::vfio::{VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};

/// `VFIO_DEVICE_SET_IRQS` of one device, by the index of the kind of interrupt.
pub(crate) trait SetIrqs {
    /// Starts `eventfds.len()` interrupts from `first` on, all or none. `ENOSPC` if the host has fewer.
    fn start(&self, kind: u32, first: u32, eventfds: &[&EventFd]) -> io::Result<()>;

    /// Stops `count` interrupts from `first` on; they stay allocated, without handler.
    fn stop(&self, kind: u32, first: u32, count: u32) -> io::Result<()>;

    /// Stops all interrupts of a kind and gives them back to the host.
    fn disable(&self, kind: u32) -> io::Result<()>;
}

/// The kind of interrupt that a store has.
pub(crate) fn kind(store: Store) -> io::Result<u32> {
    match store {
        Store::MSIX | Store::IMS => Ok(VFIO_PCI_MSIX_IRQ_INDEX),
        Store::MSI => Ok(VFIO_PCI_MSI_IRQ_INDEX),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Which interrupts a device has and how they may be asked for.
#[derive(Debug)]
pub(crate) struct Vectors {
    /// Entries of the MSI-X table; 0 without MSI-X.
    entries: u32,
    /// Whether vectors may be added while others run.
    dynamic: bool,
    /// Messages of MSI that were started and have not been stopped since.
    msi: u32,
}

impl Vectors {
    /// The interrupts of a device with an MSI-X table of `entries`; 0 without a table.
    pub(crate) fn new(entries: u32, dynamic: bool) -> Self {
        Self { entries, dynamic, msi: 0 }
    }

    /// Messages of MSI that run.
    pub(crate) fn msi(&self) -> u32 {
        self.msi
    }

    /// The MSI-X entry that an IMS entry is made of: the last one for the first, so that a guest that takes both from
    /// the front meets the other late.
    pub(crate) fn backing(&self, store: Store, index: u32) -> (Store, u32) {
        match store {
            Store::IMS if index < self.entries => (Store::MSIX, self.entries - 1 - index),
            _ => (store, index),
        }
    }

    /// Switches MSI-X on. Without dynamic vectors every one must be allocated now: a later growth would tear all of
    /// them down.
    pub(crate) fn open(&self, irqs: &impl SetIrqs) -> io::Result<()> {
        match self.entries {
            0 => Ok(()),
            entries => irqs.stop(VFIO_PCI_MSIX_IRQ_INDEX, 0, if self.dynamic { 1 } else { entries }),
        }
    }

    /// Switches off whatever is on: MSI too, if a stop of it failed.
    pub(crate) fn close(&mut self, irqs: &impl SetIrqs) -> io::Result<()> {
        let msi = if self.msi > 0 { self.stop(irqs, Store::MSI, 0, self.msi) } else { Ok(()) };
        let msix = if self.entries > 0 { irqs.disable(VFIO_PCI_MSIX_IRQ_INDEX) } else { Ok(()) };
        msi.and(msix)
    }

    /// Starts the entries from `first` on: one ioctl.
    pub(crate) fn start(
        &mut self,
        irqs: &impl SetIrqs,
        store: Store,
        first: u32,
        eventfds: &[&EventFd],
    ) -> io::Result<()> {
        let count = u32::try_from(eventfds.len()).map_err(io::Error::other)?;
        match store {
            Store::IMS => {
                let reversed: Vec<&EventFd> = eventfds.iter().rev().copied().collect();
                irqs.start(kind(store)?, self.lowest_backing(first, count)?, &reversed)
            }
            Store::MSI => {
                irqs.start(kind(store)?, first, eventfds)?;
                self.msi = count;
                Ok(())
            }
            _ => irqs.start(kind(store)?, first, eventfds),
        }
    }

    /// Stops the entries from `first` on. The messages of MSI go together: with them the capability goes off.
    pub(crate) fn stop(
        &mut self,
        irqs: &impl SetIrqs,
        store: Store,
        first: u32,
        count: u32,
    ) -> io::Result<()> {
        match store {
            Store::IMS => irqs.stop(kind(store)?, self.lowest_backing(first, count)?, count),
            Store::MSI => {
                irqs.disable(kind(store)?)?;
                self.msi = 0;
                Ok(())
            }
            _ => irqs.stop(kind(store)?, first, count),
        }
    }

    /// The lowest of the MSI-X entries that `count` IMS entries from `first` on are made of.
    fn lowest_backing(&self, first: u32, count: u32) -> io::Result<u32> {
        let end = first.checked_add(count).and_then(|end| self.entries.checked_sub(end));
        end.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::os::fd::AsRawFd;

    /// What VFIO does of it, with a kernel that has so many vectors and does not add any while others run.
    #[derive(Default)]
    struct Kernel {
        vectors: usize,
        grows: bool,
        /// Kind and the descriptor of each vector, -1 without.
        on: RefCell<Option<(u32, Vec<i32>)>>,
        fails: bool,
    }

    impl Kernel {
        fn set(&self, kind: u32, first: u32, fds: &[i32]) -> io::Result<()> {
            let errno = |errno| Err(io::Error::from_raw_os_error(errno));
            let end = first as usize + fds.len();
            let mut on = self.on.borrow_mut();
            let (of_kind, vectors) = on.get_or_insert_with(|| (kind, Vec::new()));
            if *of_kind != kind || !vectors.is_empty() && end > vectors.len() && !self.grows {
                return errno(libc::EINVAL);
            }
            if end > self.vectors {
                return errno(libc::ENOSPC);
            }
            vectors.resize(vectors.len().max(end), -1);
            vectors[first as usize..end].copy_from_slice(fds);
            Ok(())
        }

        fn running(&self) -> Vec<i32> {
            self.on.borrow().as_ref().map_or_else(Vec::new, |(_, vectors)| vectors.clone())
        }
    }

    impl SetIrqs for Kernel {
        fn start(&self, kind: u32, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
            self.set(kind, first, &eventfds.iter().map(|e| e.as_raw_fd()).collect::<Vec<_>>())
        }
        fn stop(&self, kind: u32, first: u32, count: u32) -> io::Result<()> {
            self.set(kind, first, &vec![-1; count as usize])
        }
        fn disable(&self, kind: u32) -> io::Result<()> {
            if self.fails || self.on.borrow().as_ref().is_none_or(|(on, _)| *on != kind) {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            *self.on.borrow_mut() = None;
            Ok(())
        }
    }

    fn eventfds<const N: usize>() -> [EventFd; N] {
        std::array::from_fn(|_| EventFd::new().unwrap())
    }

    #[test]
    fn a_kernel_that_does_not_grow_is_asked_for_all_at_once() {
        let kernel = Kernel { vectors: 10, ..Kernel::default() };
        let mut vectors = Vectors::new(10, false);
        vectors.open(&kernel).unwrap();
        assert_eq!(kernel.running(), [-1; 10]);
        let [a, b] = eventfds();
        vectors.start(&kernel, Store::MSIX, 9, &[&a]).unwrap();
        vectors.start(&kernel, Store::MSIX, 0, &[&b]).unwrap();
        assert_eq!((kernel.running()[9], kernel.running()[0]), (a.as_raw_fd(), b.as_raw_fd()));
        vectors.close(&kernel).unwrap();
        assert!(kernel.running().is_empty());
        // The price: such a table opens whole or not at all.
        let small = Kernel { vectors: 9, ..Kernel::default() };
        assert_eq!(vectors.open(&small).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn a_kernel_that_grows_is_asked_for_what_is_used() {
        let kernel = Kernel { vectors: 4, grows: true, ..Kernel::default() };
        let mut vectors = Vectors::new(2048, true);
        vectors.open(&kernel).unwrap();
        assert_eq!(kernel.running(), [-1]);
        let [a] = eventfds();
        vectors.start(&kernel, Store::MSIX, 3, &[&a]).unwrap();
        assert_eq!(kernel.running(), [-1, -1, -1, a.as_raw_fd()]);
    }

    #[test]
    fn a_run_of_ims_is_one_call_from_the_back_of_the_table() {
        let kernel = Kernel { vectors: 10, grows: true, ..Kernel::default() };
        let mut vectors = Vectors::new(10, true);
        vectors.open(&kernel).unwrap();
        let [a, b, c] = eventfds();
        vectors.start(&kernel, Store::IMS, 1, &[&a, &b, &c]).unwrap();
        let fds = [&c, &b, &a].map(AsRawFd::as_raw_fd);
        assert_eq!(kernel.running()[6..], fds);
        for (ims, fd) in (1..4).zip([&a, &b, &c]) {
            let (store, index) = vectors.backing(Store::IMS, ims);
            assert_eq!((store, kernel.running()[index as usize]), (Store::MSIX, fd.as_raw_fd()));
        }
        vectors.stop(&kernel, Store::IMS, 2, 2).unwrap();
        assert_eq!(kernel.running()[6..], [-1, -1, a.as_raw_fd()]);
        assert_eq!(vectors.backing(Store::MSIX, 2), (Store::MSIX, 2));
    }

    #[test]
    fn ims_beyond_the_table_is_refused() {
        let kernel = Kernel { vectors: 10, grows: true, ..Kernel::default() };
        let [a] = eventfds();
        for first in [10, u32::MAX] {
            let error = Vectors::new(10, true).start(&kernel, Store::IMS, first, &[&a]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_messages_of_msi_go_together_and_a_failed_stop_is_made_good_at_close() {
        let mut kernel = Kernel { vectors: 8, ..Kernel::default() };
        let mut vectors = Vectors::new(0, false);
        vectors.open(&kernel).unwrap();
        let all: [EventFd; 8] = eventfds();
        vectors.start(&kernel, Store::MSI, 0, &all.each_ref()).unwrap();
        assert_eq!((kernel.running().len(), vectors.msi()), (8, 8));
        kernel.fails = true;
        assert!(vectors.stop(&kernel, Store::MSI, 0, 8).is_err());
        kernel.fails = false;
        vectors.close(&kernel).unwrap();
        assert!(kernel.running().is_empty());
        // What is off is not switched off again: the kernel would refuse it.
        vectors.close(&kernel).unwrap();
    }
}
