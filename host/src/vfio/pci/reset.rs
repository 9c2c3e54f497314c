//! The reset of a device, by whatever way the host's kernel has for it.

use super::VfioPci;
use std::io;
use std::thread;
use std::time::Duration;

/// How often a reset is tried while somebody else has the device's lock, and how long it waits in between.
const TRIES: u32 = 100;
const WAIT: Duration = Duration::from_millis(10);

impl VfioPci {
    /// Whether VFIO can reset the device (`VFIO_DEVICE_FLAGS_RESET`): by a function level reset, by power management, or
    /// by its bus, if it is alone there.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        self.resets
    }

    /// Resets the device (`VFIO_DEVICE_RESET`). Bus Master Enable is switched off before, and stays off.
    ///
    /// The kernel saves configuration space and writes it back, and with it the messages and masks of its own: entries of
    /// the MSI-X table whose interrupts are started are *unmasked* afterwards, whatever they were before
    /// (`__pci_restore_msix_state` in drivers/pci/msi/msi.c, Linux 6.12). While it does, accesses to mapped BARs wait.
    ///
    /// # Errors
    /// `Unsupported` if VFIO cannot reset the device, otherwise the errno of writing COMMAND or of the reset: `EAGAIN` if
    /// somebody else, who resets it for example, has had the device's lock for a second.
    pub fn reset(&self) -> io::Result<()> {
        if !self.resets {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.set_bus_master(false)?;
        patiently(TRIES, WAIT, || self.device.reset())
    }
}

/// Tries again after `EAGAIN`.
fn patiently(tries: u32, wait: Duration, mut reset: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..tries {
        match reset() {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => thread::sleep(wait),
            done => return done,
        }
    }
    reset()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_busy_is_tried_again_and_not_for_ever() {
        let asked = |answers: &[i32]| {
            let mut asked = 0;
            let result = patiently(3, Duration::ZERO, || {
                asked += 1;
                match answers.get(asked - 1) {
                    Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
                    None => Ok(()),
                }
            });
            (asked, result.err().and_then(|error| error.raw_os_error()))
        };
        assert_eq!(asked(&[]), (1, None));
        assert_eq!(asked(&[libc::EAGAIN, libc::EAGAIN]), (3, None));
        assert_eq!(asked(&[libc::EAGAIN; 3]), (3, Some(libc::EAGAIN)));
        assert_eq!(asked(&[libc::EAGAIN, libc::EIO]), (2, Some(libc::EIO)));
    }
}
