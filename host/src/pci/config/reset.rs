//! How a guest asks a function to reset itself: function level reset, by either of the capabilities that have it.

use super::space::ConfigSpace;
use crate::pci::capability::PCI_EXPRESS;

/// Device Capabilities and Device Control of PCI Express, and in the last byte of each the bit that offers a function level
/// reset and the bit that begins it (PCI Express Base Specification 6.0, sections 7.5.3.3 "Device Capabilities Register",
/// bit 28, and 7.5.3.4 "Device Control Register", bit 15). The second one reads as zero.
const DEVICE_CAPABILITIES: u8 = 0x04;
const FUNCTION_LEVEL_RESET: u8 = 1 << 4;
const DEVICE_CONTROL: u8 = 0x08;
const INITIATE_RESET: u8 = 1 << 7;

/// Registers of advanced features (PCI Local Bus Specification 3.0, engineering change notice "Advanced Capabilities for
/// Conventional PCI", section 6.8.3; 27 July 2006): its length and what it has (the status of transactions, and the reset,
/// which come together), the bit that begins a reset, and the status.
const LENGTH: u8 = 2;
const LENGTH_AND_CAPABILITIES: [u8; 2] = [6, 0b11];
const ADVANCED_FEATURES_CONTROL: u8 = 4;
const INITIATE_ADVANCED_RESET: u8 = 1;
pub(super) const ADVANCED_FEATURES_STATUS: u8 = 5;

/// A PCI Express capability for the sake of its reset: version 2, an endpoint of the root complex (sections 7.5.3.2 "PCI
/// Express Capabilities Register", 7.5.3.3; bit 15 of Device Capabilities is set in each function).
const INTEGRATED_ENDPOINT: u8 = 9 << 4 | 2;
const PCI_EXPRESS_CAPABILITIES: u8 = 2;
const ROLE_BASED_ERRORS: u8 = 1 << 7;

/// Puts a PCI Express capability that offers the reset, and has nothing else.
pub(super) fn put_pci_express(space: &mut ConfigSpace, at: u8) {
    space.put(at, &[PCI_EXPRESS, 0]);
    space.put(at + PCI_EXPRESS_CAPABILITIES, &[INTEGRATED_ENDPOINT]);
    space.put(at + DEVICE_CAPABILITIES + 1, &[ROLE_BASED_ERRORS]);
    space.put(at + DEVICE_CAPABILITIES + 3, &[FUNCTION_LEVEL_RESET]);
    space.let_reset(at + DEVICE_CONTROL + 1, INITIATE_RESET);
}

/// Offers the reset in the PCI Express capability at `at`, or does not, whatever the device says.
pub(super) fn let_reset_by_pci_express(space: &mut ConfigSpace, at: u8, resets: bool) {
    space.let_through(at + DEVICE_CAPABILITIES + 3, 1, FUNCTION_LEVEL_RESET);
    if resets {
        space.put(at + DEVICE_CAPABILITIES + 3, &[FUNCTION_LEVEL_RESET]);
        space.let_reset(at + DEVICE_CONTROL + 1, INITIATE_RESET);
    }
}

/// Offers the reset in the capability of advanced features at `at`.
pub(super) fn let_reset_by_advanced_features(space: &mut ConfigSpace, at: u8) {
    space.put(at + LENGTH, &LENGTH_AND_CAPABILITIES);
    space.let_reset(at + ADVANCED_FEATURES_CONTROL, INITIATE_ADVANCED_RESET);
}
