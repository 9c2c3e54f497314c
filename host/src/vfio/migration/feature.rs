#![expect(unsafe_code, reason = "VFIO_DEVICE_FEATURE, and the descriptor that it answers with")]
//! `VFIO_DEVICE_FEATURE` on an open device.

use super::{MigrationOps, MigrationState};
use crate::vfio::descriptor::Descriptor;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, VFIO_DEVICE_FEATURE_MIGRATION,
    VFIO_DEVICE_FEATURE_SET, vfio_device_feature, vfio_device_feature_mig_state,
};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 17)`.
ioctl_io_nr!(VFIO_DEVICE_FEATURE, 0x3b, 117);

/// Words of 32 bits of a question: `struct vfio_device_feature`, and 8 bytes of data, which both features have.
const WORDS: usize = 4;
/// Where the data is.
const DATA: usize = size_of::<vfio_device_feature>() / 4;

const _: () = assert!(DATA == 2 && size_of::<vfio_device_feature_mig_state>() == (WORDS - DATA) * 4);

/// The ioctls of an open device.
pub(crate) struct FeatureIoctls(pub(crate) Arc<Descriptor>);

/// The data of a question: 8 bytes, as both features have them, aligned for the 64 bits of one of them.
#[repr(C, align(8))]
struct Question([u32; WORDS]);

impl FeatureIoctls {
    /// Asks, and answers with the data.
    fn ask(&self, flags: u32, data: [u32; WORDS - DATA]) -> io::Result<[u32; WORDS - DATA]> {
        let length = u32::try_from(size_of::<Question>()).map_err(io::Error::other)?;
        let mut question = Question([length, flags, data[0], data[1]]);
        // SAFETY: `question` is laid out as a `struct vfio_device_feature` with 8 bytes of data, says how long it is, and
        // lives through the call. The kernel reads and writes no more of it than that, and any bits are valid in it.
        let result =
            unsafe { libc::ioctl(self.0.file().as_raw_fd(), VFIO_DEVICE_FEATURE(), question.0.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let [_, _, first, second] = question.0;
        Ok([first, second])
    }
}

impl MigrationOps for FeatureIoctls {
    type Stream = File;

    fn supported(&self) -> io::Result<u64> {
        let [low, high] = self.ask(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, [0; 2])?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn state(&self) -> io::Result<MigrationState> {
        let [state, _] = self.ask(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, [0; 2])?;
        Ok(MigrationState(state))
    }

    fn set_state(&self, MigrationState(state): MigrationState) -> io::Result<Option<File>> {
        let none = u32::from_ne_bytes((-1_i32).to_ne_bytes());
        let [_, stream] =
            self.ask(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, [state, none])?;
        let stream = i32::from_ne_bytes(stream.to_ne_bytes());
        // SAFETY: the kernel has just made this descriptor for us, if it has answered one, and nobody else knows it.
        Ok((stream >= 0).then(|| unsafe { File::from_raw_fd(stream) }))
    }

    fn reset(&self) -> io::Result<()> {
        self.0.reset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_vfio_device_says_so_with_errno() {
        let ioctls = FeatureIoctls(Arc::new(Descriptor::new(tempfile::tempfile().unwrap())));
        let errno = |error: io::Error| error.raw_os_error();
        assert_eq!(ioctls.supported().map_err(errno), Err(Some(libc::ENOTTY)));
        assert_eq!(ioctls.state().map_err(errno), Err(Some(libc::ENOTTY)));
        assert_eq!(ioctls.set_state(MigrationState::STOP).err().and_then(errno), Some(libc::ENOTTY));
        assert_eq!(VFIO_DEVICE_FEATURE(), 0x3b75);
    }
}
