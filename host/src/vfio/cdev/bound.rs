//! A device's own file, from opening it to giving it back.

use super::calls::CdevCalls;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A device that is bound to an iommufd and attached to an IOAS. When it is dropped KVM lets its file go, and the file is
/// closed. Duplicates of the file keep the device bound.
pub(in crate::vfio) struct BoundDevice<C: CdevCalls> {
    file: C::File,
    calls: Arc<C>,
    known_to_kvm: bool,
}

/// The step that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Opening the file.
    Open,
    /// `VFIO_DEVICE_BIND_IOMMUFD`.
    Bind,
    /// `KVM_DEV_VFIO_FILE_ADD`.
    TellKvm,
    /// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`.
    Attach,
}

/// What failed, and how.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) source: io::Error,
}

impl<C: CdevCalls> BoundDevice<C> {
    /// Does all steps in their order. On failure all is as before.
    pub(super) fn open(calls: &Arc<C>, node: &Path) -> Result<Self, Failed> {
        let file = calls.open(node).map_err(|source| Failed { step: Step::Open, source })?;
        Self::bind(calls, file)
    }

    /// Does all steps but the first with a file that is open. On failure all is as before, and the file is closed.
    ///
    /// KVM is told of a file that is bound, although the kernel's documentation (virt/kvm/devices/vfio.rst) has it told
    /// before, for drivers that want KVM's pointer as they open a device. vfio-pci wants none. A BIND of a device that
    /// another VM has, by a file that KVM knows, would make the kernel (6.12, drivers/vfio/device_cdev.c) lose its
    /// reference to the other VM, which it would then keep for ever.
    pub(super) fn bind(calls: &Arc<C>, file: C::File) -> Result<Self, Failed> {
        let at = |step| move |source| Failed { step, source };
        let mut device = Self { file, calls: Arc::clone(calls), known_to_kvm: false };
        calls.bind(&device.file).map_err(at(Step::Bind))?;
        device.known_to_kvm = calls.tell_kvm(&device.file).map_err(at(Step::TellKvm))?;
        calls.attach(&device.file).map_err(at(Step::Attach))?;
        Ok(device)
    }

    pub(in crate::vfio) fn file(&self) -> &C::File {
        &self.file
    }
}

impl<C: CdevCalls> Drop for BoundDevice<C> {
    fn drop(&mut self) {
        if self.known_to_kvm {
            if let Err(error) = self.calls.untell_kvm(&self.file) {
                tracing::warn!(
                    "KVM keeps a VFIO device until the VM ends (KVM_DEV_VFIO_FILE_DEL): {error}; it cannot be unbound \
                     before"
                );
            }
        }
    }
}
