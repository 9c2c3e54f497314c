//! Resets of a host device by whoever administers the host, while a guest has it.
//!
//! The kernel tells VFIO's user nothing of a reset by sysfs: `echo 1 > /sys/bus/pci/devices/BDF/reset`. But whoever writes to
//! a file of sysfs is seen by inotify, as with any file, once the write is done. What resets the device by another way is
//! not seen: a driver of its physical function, the recovery from an error of the bus, firmware.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Bytes of what inotify tells at once: a few events, which have no names here.
const EVENTS: usize = 512;

/// The files of sysfs by which one device is reset.
#[derive(Debug)]
pub(crate) struct ResetWatch(OwnedFd);

impl ResetWatch {
    /// Of the device whose folder in sysfs this is. None if it has no such files.
    ///
    /// # Errors
    /// The errno of `inotify_init1` or `inotify_add_watch`, for example `EMFILE` if this user watches too much already.
    pub(crate) fn of(folder: &Path) -> io::Result<Option<Self>> {
        let files = files_of(folder);
        if files.is_empty() {
            return Ok(None);
        }
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        for file in files {
            // A write that has succeeded.
            inotify::add_watch(&watch, &file, WatchFlags::MODIFY)?;
        }
        Ok(Some(Self(watch)))
    }

    /// Whether the device was reset since the last time.
    pub(crate) fn was_reset(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); EVENTS];
        let mut events = inotify::Reader::new(self.0.as_fd(), &mut buffer);
        let mut seen = false;
        // Without an event the answer is EAGAIN.
        while events.next().is_ok() {
            seen = true;
        }
        seen
    }
}

impl AsRawFd for ResetWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Those that exist: of the device, of its physical function, and of the bridges above it.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let own = [folder.join("reset"), folder.join("physfn/reset")];
    let place = folder.canonicalize().unwrap_or_default();
    let above = place.ancestors().skip(1).map(|bridge| bridge.join("reset_subordinate"));
    own.into_iter().chain(above).filter(|file| file.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_write_is_seen_once_and_a_read_is_not() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("bridge/device");
        fs::create_dir_all(device.join("physfn")).unwrap();
        assert!(ResetWatch::of(&device).unwrap().is_none(), "a device without a reset");
        let files = ["reset", "physfn/reset", "../reset_subordinate"].map(|file| device.join(file));
        for file in &files {
            fs::write(file, "").unwrap();
        }
        let watch = ResetWatch::of(&device).unwrap().unwrap();
        assert!(!watch.was_reset());
        for file in &files {
            fs::read(file).unwrap();
            assert!(!watch.was_reset());
            fs::write(file, "1").unwrap();
            assert!(watch.was_reset(), "{}", file.display());
            assert!(!watch.was_reset());
        }
    }
}
