//! The statuses, in the order of the page.

use super::{Statement, hidden, observed};

const FAILURE: &str = "needs a failure or a shortage of the host, which no guest can cause";
const EVENT: &str = "an event comes from outside of the VM";

/// Every status of the page.
pub const STATUSES: &[Statement] = &[
    observed("OK", "a good FEATURES"),
    observed("PARTIAL", "a QUERY of an entry that is not mapped"),
    observed("ABORTED", "ALL_OR_NOTHING with a bad record"),
    observed("BAD_ADDRESS", "a block where there is no RAM"),
    observed("UNALIGNED", "a block that is not aligned"),
    observed("PRIVILEGE", "a call from ring 3"),
    observed("BAD_MAGIC", "another first word"),
    observed("BAD_VERSION", "a version beyond the newest"),
    observed("BAD_OPERATION", "an operation that does not exist"),
    observed("BAD_FLAGS", "flags that do not exist"),
    observed("RESERVED_NOT_ZERO", "a reserved field that is not zero"),
    observed("BAD_COUNT", "no record, too many, or not the operation's number"),
    observed("NOT_ENABLED", "MAP and DISABLE before ENABLE"),
    observed("ALREADY_ENABLED", "ENABLE twice"),
    observed("UNSUPPORTED_FEATURE", "a feature that is not offered"),
    observed("REFUSED", "ENABLE on a host that refuses"),
    hidden("RATE_LIMITED", "too many calls", "no number of calls is named that must be too many"),
    hidden("HOST_ERROR", "the host failed", FAILURE),
    observed("BAD_NOTIFY", "NOTIFY with a vector below 32"),
    observed("NO_DEVICE", "a device that is not there"),
    observed("BAD_STORE", "store kinds 0 and 9"),
    observed("STORE_UNSUPPORTED", "a store that the device has not"),
    observed("BAD_INDEX", "an index at the end of the table and beyond"),
    observed("BAD_MESSAGE_COUNT", "no message, and two of MSI-X"),
    observed("BAD_ARCH", "another architecture"),
    observed("BAD_VECTOR", "vectors 0 to 31"),
    observed("BAD_DESTINATION", "an APIC id that no vCPU has"),
    observed("BROADCAST", "the broadcast ids"),
    observed("BAD_DESTINATION_MODE", "modes that do not exist or were not taken"),
    observed("BAD_DELIVERY_MODE", "modes that are never served or were not taken"),
    observed("AMBIGUOUS_DESTINATION", "a logical id of two vCPUs"),
    observed("ALREADY_MAPPED", "MAP of a mapped entry with another routing"),
    observed("STALE_HANDLE", "a handle that was given back"),
    observed("HANDLE_MISMATCH", "a handle with another index"),
    hidden("DEVICE_GONE", "the device was unplugged", EVENT),
    hidden("DEVICE_CUT_OFF", "an interrupt storm", "no rate is named that must be too high"),
    observed("BACKING_IN_USE", "MSI-X entry and IMS entry over one interrupt"),
    observed("NO_QUOTA", "one entry more than max_irtes"),
    hidden("NO_GSI", "no GSI is left", FAILURE),
    hidden("NO_HOST_VECTOR", "no interrupt vector is left", FAILURE),
    hidden("DEVICE_ERROR", "the host's driver refused", FAILURE),
    hidden("BAD_PAIR", "the pair that the host read was unstable", FAILURE),
];
