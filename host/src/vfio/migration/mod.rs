//! What a device holds inside, by VFIO's migration protocol, version 2 (`VFIO_DEVICE_FEATURE_MIGRATION` and
//! `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE` in include/uapi/linux/vfio.h, Linux 6.12).
//!
//! A driver of the kernel's that knows its device (a variant driver of vfio-pci) stops it, gives out what it holds as a
//! stream, and takes such a stream. Of the protocol only what each such driver has is used: the states RUNNING, STOP,
//! STOP_COPY and RESUMING. vfio-pci itself has none of it.

mod feature;
#[cfg(test)]
mod tests;

pub(crate) use feature::FeatureIoctls;

use std::io::{self, Read, Write};
use vfio_bindings::bindings::vfio as uapi;

/// Most bytes that a device may hold. What drivers give out has a few MB.
pub(crate) const MOST: usize = 128 << 20;

/// A state of a device (`enum vfio_device_mig_state`). A driver may have more of them, which are passed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MigrationState(pub(crate) u32);

impl MigrationState {
    /// It has failed, and only a reset gets it out of that.
    pub(crate) const ERROR: Self = Self(uapi::vfio_device_mig_state_VFIO_DEVICE_STATE_ERROR);
    /// It does nothing.
    pub(crate) const STOP: Self = Self(uapi::vfio_device_mig_state_VFIO_DEVICE_STATE_STOP);
    pub(crate) const RUNNING: Self = Self(uapi::vfio_device_mig_state_VFIO_DEVICE_STATE_RUNNING);
    /// It does nothing, and gives out what it holds.
    pub(crate) const STOP_COPY: Self = Self(uapi::vfio_device_mig_state_VFIO_DEVICE_STATE_STOP_COPY);
    /// It does nothing, and takes what it is to hold.
    pub(crate) const RESUMING: Self = Self(uapi::vfio_device_mig_state_VFIO_DEVICE_STATE_RESUMING);
}

/// The ioctls.
pub(crate) trait MigrationOps: Send + Sync {
    /// The stream of a transfer.
    type Stream: Read + Write;

    /// What the driver has (`VFIO_MIGRATION_*`).
    ///
    /// # Errors
    /// The errno of the ioctl: `ENOTTY` where the driver has none of it.
    fn supported(&self) -> io::Result<u64>;

    /// The state that the device is in.
    ///
    /// # Errors
    /// The errno of the ioctl.
    fn state(&self) -> io::Result<MigrationState>;

    /// Brings the device into a state, and answers with the stream of a transfer that begins there.
    ///
    /// # Errors
    /// The errno of the ioctl. The device may then be in another state.
    fn set_state(&self, state: MigrationState) -> io::Result<Option<Self::Stream>>;

    /// Resets the device (`VFIO_DEVICE_RESET`), which runs afterwards.
    ///
    /// # Errors
    /// The errno of the ioctl.
    fn reset(&self) -> io::Result<()>;
}

/// Whether a device goes on where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the guest of a device that was reset has to be told"]
pub(crate) enum GoesOn {
    /// It does.
    AsItWas,
    /// It had failed, and was reset.
    Reset,
}

/// The operations on what a device holds inside.
pub(crate) trait DeviceState: Send + Sync {
    /// Stops the device: it interrupts no more, reaches no memory, and keeps what it holds.
    ///
    /// # Errors
    /// The errno with which the driver refuses.
    fn stop(&self) -> io::Result<()>;

    /// Lets it run.
    ///
    /// # Errors
    /// The errno with which the driver refuses, also to reset it.
    fn go_on(&self) -> io::Result<GoesOn>;

    /// What the device, which is [stopped](Self::stop), holds. It is stopped afterwards.
    ///
    /// # Errors
    /// `FileTooLarge` if it is more than [`MOST`] bytes; `InvalidData` if the device does not stand still or gives out
    /// nothing; otherwise the errno of the driver.
    fn save(&self) -> io::Result<Vec<u8>>;

    /// Gives the device what [`save`](Self::save) has answered of one of the same kind. It is stopped afterwards.
    ///
    /// # Errors
    /// The errno with which the driver refuses: it validates what it is given. The device is then as after a reset.
    fn load(&self, inside: &[u8]) -> io::Result<()>;
}

/// A device whose driver has the protocol.
pub(crate) struct Migration<O>(O);

impl<O: MigrationOps> Migration<O> {
    /// `None` if the device's driver has none of it.
    ///
    /// # Errors
    /// The errno of the ioctl, if it is none by which the kernel says that.
    pub(crate) fn of(ops: O) -> io::Result<Option<Self>> {
        match ops.supported() {
            Ok(flags) if flags & u64::from(uapi::VFIO_MIGRATION_STOP_COPY) != 0 => Ok(Some(Self(ops))),
            Ok(_) => Ok(None),
            // No such feature; a kernel before 5.18, which has no such ioctl or knows version 1.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a transfer.
    fn begin(&self, state: MigrationState) -> io::Result<O::Stream> {
        let stream = self.0.set_state(state)?;
        stream.ok_or_else(|| invalid("the driver gives no stream for a transfer"))
    }

    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut inside = Vec::new();
        // One more than there may be: what is longer is noticed, and what never ends does not fill the memory.
        self.begin(MigrationState::STOP_COPY)?.take(MOST as u64 + 1).read_to_end(&mut inside)?;
        match inside.len() {
            0 => Err(invalid("the driver gives out nothing")),
            1..=MOST => Ok(inside),
            _ => {
                let what = format!("it holds more than {} MiB", MOST >> 20);
                Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
            }
        }
    }

    fn write_all(&self, inside: &[u8]) -> io::Result<()> {
        let mut stream = self.begin(MigrationState::RESUMING)?;
        stream.write_all(inside)?;
        stream.flush()?;
        // The driver judges it on this way; the stream is closed behind it.
        self.0.set_state(MigrationState::STOP).map(drop)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<O: MigrationOps> DeviceState for Migration<O> {
    fn stop(&self) -> io::Result<()> {
        self.0.set_state(MigrationState::STOP).map(drop)
    }

    fn go_on(&self) -> io::Result<GoesOn> {
        match self.0.state()? {
            MigrationState::RUNNING => return Ok(GoesOn::AsItWas),
            MigrationState::ERROR => {}
            _ => match self.0.set_state(MigrationState::RUNNING) {
                Ok(_) => return Ok(GoesOn::AsItWas),
                Err(error) => tracing::warn!("a device does not go on, and is reset: {error}"),
            },
        }
        self.0.reset()?;
        Ok(GoesOn::Reset)
    }

    fn save(&self) -> io::Result<Vec<u8>> {
        if self.0.state()? != MigrationState::STOP {
            return Err(invalid("it was not stopped"));
        }
        let inside = self.read_all();
        // Whether all was read or not: the transfer is over.
        let stopped = self.0.set_state(MigrationState::STOP).map(drop);
        inside.and_then(|inside| stopped.map(|()| inside))
    }

    fn load(&self, inside: &[u8]) -> io::Result<()> {
        self.write_all(inside).inspect_err(|_| {
            // Only a reset ends a transfer that was not taken, and what is half in the device.
            if let Err(error) = self.0.reset() {
                tracing::warn!("a device that takes no state is not reset: {error}");
            }
        })
    }
}
