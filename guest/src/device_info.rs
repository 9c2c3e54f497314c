//! DEVICE_INFO: which stores of a device the host serves. It works before ENABLE and after.

use crate::call::{AnswerPosition, Batch, BatchMode, Transport};
use crate::record::BatchRecord;
use crate::{BlockLock, Conduit, ContractViolation, EntryError, Error, Pvir, Remapping};
use pvir_abi::{DeviceFlags, DeviceId, DeviceRecord, Operation, Stores};

/// What the host serves of a device, as DEVICE_INFO answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The device, as the guest sees it.
    pub id: DeviceId,
    /// The kinds of store that the host serves. Bits that this driver does not know are kept.
    pub stores: Stores,
    /// Properties of the device. Bits that this driver does not know are kept.
    pub flags: DeviceFlags,
    /// Number of MSI-X entries that may be mapped, 0 to 2048.
    pub msix_entries: u32,
    /// Number of messages of the MSI capability that may be mapped, 0 to 32.
    pub msi_messages: u32,
    /// Number of IMS entries that may be mapped.
    pub ims_entries: u32,
    /// Maximum number of IRTEs that may be held for the device.
    pub max_irtes: u32,
    /// Number of IRTEs that are held for the device now.
    pub irtes: u32,
}

/// The result for one device of a batch.
pub type DeviceInfoResult = Result<DeviceInfo, EntryError>;

/// Maximum number of entries of an MSI-X table (PCI Express Base Specification 6.0, section 7.7.2).
const MAX_MSIX_ENTRIES: u32 = 2048;
/// Maximum number of messages of an MSI capability (PCI Express Base Specification 6.0, section 7.7.1).
const MAX_MSI_MESSAGES: u32 = 32;

impl<C: Conduit, L: BlockLock> Pvir<C, L> {
    /// Asks the host about `devices` and stores the answer for each at the same index of `results`. Returns the
    /// number of devices that the host knows.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`].
    pub fn device_info(
        &self,
        devices: &[DeviceId],
        results: &mut [DeviceInfoResult],
    ) -> Result<usize, Error> {
        device_info(&self.transport, devices, results)
    }
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Asks the host about `devices` and stores the answer for each at the same index of `results`. Returns the
    /// number of devices that the host knows.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`].
    pub fn device_info(
        &self,
        devices: &[DeviceId],
        results: &mut [DeviceInfoResult],
    ) -> Result<usize, Error> {
        device_info(&self.transport, devices, results)
    }
}

fn device_info<C: Conduit, L: BlockLock>(
    transport: &Transport<C, L>,
    devices: &[DeviceId],
    results: &mut [DeviceInfoResult],
) -> Result<usize, Error> {
    if devices.len() != results.len() {
        return Err(Error::LengthMismatch { requests: devices.len(), others: results.len() });
    }
    results.fill(Err(EntryError::NotAsked));
    transport.run(&mut Ask { devices, results }, BatchMode::Partial)
}

struct Ask<'a> {
    devices: &'a [DeviceId],
    results: &'a mut [DeviceInfoResult],
}

fn echoed(record: usize, request: &DeviceRecord, answer: &DeviceRecord) -> Result<(), ContractViolation> {
    let changed = |field| Err(ContractViolation::RecordChanged { record, field });
    if request.device != answer.device {
        changed("device")
    } else if (answer.reserved0, answer.reserved1) != (0, [0; 3]) {
        changed("reserved")
    } else {
        Ok(())
    }
}

impl BatchRecord for DeviceRecord {
    fn check_failed(&self, record: usize, answer: &Self) -> Result<(), ContractViolation> {
        echoed(record, self, answer)?;
        let expected = Self { status: answer.status, ..*self };
        if *answer == expected {
            Ok(())
        } else {
            Err(ContractViolation::NotZero { record, field: "device information" })
        }
    }
}

impl Batch for Ask<'_> {
    const OPERATION: Operation = Operation::DEVICE_INFO;
    type Record = DeviceRecord;
    type Item<'b>
        = DeviceId
    where
        Self: 'b;
    type Answer = DeviceInfo;

    fn len(&self) -> usize {
        self.devices.len()
    }

    fn item(&self, index: usize) -> Option<DeviceId> {
        self.devices.get(index).copied()
    }

    fn request(item: &DeviceId) -> DeviceRecord {
        DeviceRecord::request(*item)
    }

    fn validate(
        &self,
        AnswerPosition { record, .. }: AnswerPosition,
        item: &DeviceId,
        answer: &DeviceRecord,
    ) -> Result<DeviceInfo, ContractViolation> {
        echoed(record, &Self::request(item), answer)?;
        let possible = [
            ("msix_entries", answer.msix_entries <= MAX_MSIX_ENTRIES),
            ("msi_messages", answer.msi_messages <= MAX_MSI_MESSAGES),
            ("irtes", answer.irtes <= answer.max_irtes),
        ];
        if let Some((field, _)) = possible.into_iter().find(|(_, possible)| !possible) {
            return Err(ContractViolation::Limit { record, field });
        }
        Ok(DeviceInfo {
            id: answer.device,
            stores: Stores::from_bits_retain(answer.stores),
            flags: DeviceFlags::from_bits_retain(answer.flags),
            msix_entries: answer.msix_entries,
            msi_messages: answer.msi_messages,
            ims_entries: answer.ims_entries,
            max_irtes: answer.max_irtes,
            irtes: answer.irtes,
        })
    }

    fn results(&mut self) -> &mut [DeviceInfoResult] {
        self.results
    }
}
