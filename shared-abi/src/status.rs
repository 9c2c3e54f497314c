//! Statuses: an integer in headers and records, a `Result` in Rust.
//!
//! The table is that of `docs/abi.md`, "Statuses"; a test compares the two word by word.

use core::fmt;
use core::num::NonZeroU32;

macro_rules! statuses {
    ($( $name:ident = $number:literal, $cause:literal, $remedy:literal; )*) => {
        impl Status {
            $( #[doc = concat!(stringify!($number), ": ", $cause, ". What the guest does: ", $remedy, ".")] pub const $name: Self = Self($number); )*

            /// Every status that this version knows: the status, its name, its cause, and what the guest does about
            /// it.
            pub const TABLE: &'static [(Self, &'static str, &'static str, &'static str)] =
                &[ $( (Self::$name, stringify!($name), $cause, $remedy), )* ];
        }
    };
}

/// The status of a call, in its header, or of one record (`docs/abi.md`, "Statuses").
///
/// Numbers below 0x40 are for calls and records, those from 0x40 on for records only. An unknown number is a failure.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(transparent)]
pub struct Status(pub u32);

statuses! {
    OK = 0x00, "the call, or this record, was carried out", "go on";
    PARTIAL = 0x01, "some records failed, the others were carried out", "read each record's status";
    ABORTED = 0x02, "another record failed and ALL_OR_NOTHING was set; nothing changed", "read each record's status; mend that one and call again";

    BAD_ADDRESS = 0x10, "the block wraps, crosses or leaves guest RAM, or lies in MMIO", "place the whole block in RAM";
    UNALIGNED = 0x11, "the block or the event area is not aligned", "align the block to 4096 bytes, the event area to 64";
    PRIVILEGE = 0x12, "the caller's CPL is not 0", "call from the kernel";
    BAD_MAGIC = 0x13, "the header does not start with the magic number", "fill the header";
    BAD_VERSION = 0x14, "the host does not speak this version", "use a version from the discovered range";
    BAD_OPERATION = 0x15, "unknown operation", "use an operation of this version";
    BAD_FLAGS = 0x16, "an unknown flag, or one that this operation does not take", "clear it";
    RESERVED_NOT_ZERO = 0x17, "a reserved byte, or a field that this operation does not take, is not zero", "zero it";
    BAD_COUNT = 0x18, "the number of records is 0, too large, or not what the operation takes", "split or mend the call";
    NOT_ENABLED = 0x19, "the operation needs ENABLE first", "call ENABLE";
    ALREADY_ENABLED = 0x1a, "ENABLE while enabled", "call DISABLE first";
    UNSUPPORTED_FEATURE = 0x1b, "ENABLE asks for a feature that the host does not offer", "ask for offered features only";
    REFUSED = 0x1c, "the host will not let this VM program its devices; the record says why", "go on without pvir: trapped MSI-X works";
    RATE_LIMITED = 0x1d, "too many calls in too short a time", "wait and call again";
    HOST_ERROR = 0x1e, "the host failed in a way that is not the guest's fault; state is as before, but see U3", "report it; the host's log has the errno";
    BAD_NOTIFY = 0x1f, "ENABLE with NOTIFY names a vector or an APIC id that no interrupt can be sent to", "name a device vector and an existing vCPU";

    NO_DEVICE = 0x40, "no such device in this VM", "check segment and BDF";
    BAD_STORE = 0x41, "unknown store kind", "use a store kind of this version";
    STORE_UNSUPPORTED = 0x42, "this device has no such store, or its feature was not enabled", "use a store of DEVICE_INFO";
    BAD_INDEX = 0x43, "the index is beyond the store's last entry", "stay below the number in DEVICE_INFO";
    BAD_MESSAGE_COUNT = 0x44, "the number of messages is not one that the store takes", "1 for MSI-X and IMS; 1, or with MSI_MULTI a power of two, for MSI";
    BAD_ARCH = 0x45, "unknown architecture tag of the routing", "use a tag of this version";
    BAD_VECTOR = 0x46, "the vector is 0 to 31, over 255, or not aligned for a multi-message MSI", "use a device vector";
    BAD_DESTINATION = 0x47, "no vCPU has this APIC id", "use the id of an existing vCPU";
    BROADCAST = 0x48, "the destination is a broadcast id", "name one vCPU";
    BAD_DESTINATION_MODE = 0x49, "unknown destination mode, or its feature was not enabled", "use physical mode";
    BAD_DELIVERY_MODE = 0x4a, "unknown delivery mode, one that is never served (SMI, NMI, INIT, ExtINT), or its feature was not enabled", "use fixed delivery";
    AMBIGUOUS_DESTINATION = 0x4b, "the destination resolves to more than one vCPU", "name one vCPU";

    ALREADY_MAPPED = 0x50, "the entry is mapped with another routing", "use RETARGET, or UNMAP first";
    STALE_HANDLE = 0x51, "the handle was released, or an epoch has passed since", "MAP again";
    HANDLE_MISMATCH = 0x52, "the handle belongs to another entry than the record names", "give the entry that it was issued for";
    DEVICE_GONE = 0x53, "the device was unplugged", "forget its handles";
    DEVICE_CUT_OFF = 0x54, "the host cut the device off for an interrupt storm", "reset the device, then MAP again";
    BACKING_IN_USE = 0x55, "an MSI-X entry and an IMS entry of the device share one interrupt, and the other one is mapped", "take another index, or UNMAP the other";
    NOT_ATTACHED = 0x56, "ATTACH was taken, and the device is not attached", "ATTACH it first";
    ALREADY_ATTACHED = 0x57, "ATTACH of a device that is attached", "go on, or DETACH first";

    NO_QUOTA = 0x60, "the device's or the VM's quota of IRTEs is used up", "UNMAP something, or do with fewer";
    NO_GSI = 0x61, "the host has no GSI left for this VM", "UNMAP something, or do with fewer";
    NO_HOST_VECTOR = 0x62, "the host has no interrupt vector or IRTE left", "do with fewer";
    DEVICE_ERROR = 0x63, "the host's driver refused to start or stop the interrupt", "report it; the host's log has the errno";
    BAD_PAIR = 0x64, "the pair that the host read was unstable or malformed", "report it; do not use the entry";
}

impl Status {
    /// What a guest writes into the status of the header and of each record before a call. A host never answers it.
    pub const PENDING: Self = Self(0xffff_ffff);

    /// The name of the status in `docs/abi.md`. `None` for a number that this version does not know.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|row| row.0 == self).map(|row| row.1)
    }

    /// The status as a `Result`. The number of an error is kept, whether this version knows it or not.
    ///
    /// # Errors
    /// Any status but [`Status::OK`].
    pub fn result(self) -> Result<(), StatusError> {
        NonZeroU32::new(self.0).map_or(Ok(()), |number| Err(StatusError(number)))
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None if *self == Self::PENDING => f.write_str("PENDING"),
            None => write!(f, "Status({:#x})", self.0),
        }
    }
}

/// A status that is an error: any other than [`Status::OK`], known or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusError(NonZeroU32);

impl StatusError {
    /// The status that this error stands for.
    #[must_use]
    pub const fn status(self) -> Status {
        Status(self.0.get())
    }
}

impl fmt::Debug for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.status(), f)
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        match Status::TABLE.iter().find(|row| row.0 == status) {
            Some((_, name, cause, _)) => write!(f, "{name}: {cause}"),
            None => write!(f, "unknown status {:#x}", status.0),
        }
    }
}

impl core::error::Error for StatusError {}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn numbers_are_unique_and_ordered_and_never_pending() {
        assert!(Status::TABLE.windows(2).all(|w| w[0].0.0 < w[1].0.0));
        assert!(Status::TABLE.iter().all(|row| row.0 != Status::PENDING));
    }

    #[test]
    fn unknown_status_keeps_its_number() {
        let error = Status(0x1234).result().unwrap_err();
        assert_eq!(error.to_string(), "unknown status 0x1234");
        assert_eq!(error.status(), Status(0x1234));
        assert_eq!(std::format!("{error:?}"), "Status(0x1234)");
    }

    #[test]
    fn ok_is_no_error() {
        assert_eq!(Status::OK.result(), Ok(()));
    }
}
