//! Holds `docs/abi.md` and this crate together: every table of the page that carries a marker is compared with the
//! code, and every number that the code names must stand on the page.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use pvir_abi::*;
use std::collections::BTreeMap;
use std::mem::offset_of;

const PAGE: &str = include_str!("../docs/abi.md");

/// The cells of the table that follows `<!-- marker -->`, header and rule left out.
fn table(marker: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- {marker} -->");
    assert_eq!(PAGE.matches(&marker).count(), 1, "{marker} must stand on the page once");
    let after = &PAGE[PAGE.find(&marker).unwrap() + marker.len()..];
    let lines = after.trim_start().lines().take_while(|line| line.starts_with('|'));
    lines.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

fn bytes(text: &str) -> usize {
    number(text).try_into().unwrap()
}

fn names(marker: &str) -> Vec<(u64, String)> {
    table(marker).iter().map(|row| (number(row[0]), row[1].to_string())).collect()
}

fn assert_numbers<T: Copy>(marker: &str, all: &[(T, &'static str)], value: impl Fn(T) -> u64) {
    let code: Vec<_> = all.iter().map(|(v, name)| (value(*v), (*name).to_string())).collect();
    assert_eq!(names(marker), code, "{marker}");
}

fn assert_flags<F: bitflags::Flags>(marker: &str, bits: impl Fn(F::Bits) -> u64) {
    let code: Vec<_> = F::FLAGS
        .iter()
        .map(|f| (u64::from(bits(f.value().bits()).trailing_zeros()), f.name().to_string()))
        .collect();
    assert_eq!(names(marker), code, "{marker}");
}

/// Field, offset, size as the page has them must be the code's, in order, without a hole.
fn assert_layout(name: &str, len: usize, fields: &[(&str, usize)]) {
    let rows = table(&format!("layout: {name} {len}"));
    let page: Vec<_> = rows.iter().map(|row| (row[2], bytes(row[0]))).collect();
    assert_eq!(page, fields, "{name}: fields and offsets");
    let sizes = rows.iter().map(|row| (bytes(row[0]), bytes(row[1])));
    let end = sizes.fold(0, |at, (offset, size)| {
        assert_eq!(offset, at, "{name}: hole or overlap at {at}");
        offset + size
    });
    assert_eq!(end, len, "{name}: length");
}

macro_rules! layout {
    ($type:ident: $($field:ident),+) => {
        assert_layout(
            stringify!($type), size_of::<$type>(),
            &[ $( (stringify!($field), offset_of!($type, $field)) ),+ ],
        )
    };
}

#[test]
fn statuses_are_those_of_the_page() {
    let code: Vec<Vec<String>> = Status::TABLE
        .iter()
        .map(|(s, name, cause, remedy)| {
            vec![format!("{:#04x}", s.0), (*name).into(), (*cause).into(), (*remedy).into()]
        })
        .collect();
    assert_eq!(table("statuses"), code);
}

#[test]
fn numbers_are_those_of_the_page() {
    assert_numbers("numbers: Operation", Operation::ALL, |v| v.0.into());
    assert_numbers("numbers: Refusal", Refusal::ALL, |v| v.0.into());
    assert_numbers("numbers: Store", Store::ALL, |v| v.0.into());
    assert_numbers("numbers: Arch", Arch::ALL, |v| v.0.into());
    assert_numbers("numbers: DeliveryMode", DeliveryMode::ALL, |v| v.0.into());
    assert_numbers("numbers: DestinationMode", DestinationMode::ALL, |v| v.0.into());
    assert_numbers("numbers: EventReason", EventReason::ALL, |v| v.0.into());
}

#[test]
fn flags_are_those_of_the_page() {
    assert_flags::<CallFlags>("flags: CallFlags", Into::into);
    assert_flags::<Features>("flags: Features", |v| v);
    assert_flags::<Stores>("flags: Stores", Into::into);
    assert_flags::<DeviceFlags>("flags: DeviceFlags", Into::into);
    assert_flags::<EntryFlags>("flags: EntryFlags", Into::into);
    assert_flags::<EntryState>("flags: EntryState", Into::into);
}

#[test]
fn layouts_are_those_of_the_page() {
    layout!(Header: magic, version, operation, flags, count, status, done, epoch, reserved);
    layout!(FeaturesRecord: reserved0, status, oldest, newest, max_records, features, enabled, max_apic_id,
        max_irtes, irtes, devices, conduits, reserved1, reserved2);
    layout!(EnableRecord: device, status, features, event_area, notify_apic_id, notify_vector, refusal, reserved0,
        reserved1);
    layout!(DeviceRecord: device, status, stores, flags, msix_entries, msi_messages, ims_entries, max_irtes, irtes,
        reserved0, reserved1);
    layout!(AttachRecord: device, status, refusal, reserved0, reserved1);
    layout!(EntryRecord: device, status, store, arch, index, count, flags, handle, routing, address, data, state);
    layout!(Routing: destination, vector, delivery_mode, destination_mode, hint, reserved);
    layout!(EventArea: epoch, sequence, reason, device, reserved);
}

#[test]
fn constants_are_those_of_the_page() {
    // Prose is wrapped: a sentence may go on in the next line.
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    for (what, value) in [
        ("hypercall", format!("number of the hypercall, {HYPERCALL_NUMBER:#x}")),
        ("signature", format!("`\"PVIR\"` each: {:#x}", CPUID_SIGNATURE[0])),
        ("magic", format!("`\"PVRQ\"`: {REQUEST_MAGIC:#x}")),
        (
            "bases",
            format!("{MIN_CPUID_BASE:#x}, {:#x}, ... {MAX_CPUID_BASE:#x}", MIN_CPUID_BASE + CPUID_BASE_STEP),
        ),
        ("alignment", format!("aligned to {BLOCK_ALIGN} bytes")),
        ("event area", format!("aligned to {EVENT_AREA_ALIGN} bytes")),
        ("records", format!("| records in a call | {MAX_RECORDS};")),
        ("pending", format!("{:#x} is PENDING", Status::PENDING.0)),
        ("port", format!("address >> {PORT_ADDRESS_SHIFT} to the port")),
        ("MSRs", format!("one of {MIN_CONDUIT_MSR:#x} to {MAX_CONDUIT_MSR:#x}")),
        (
            "ports",
            format!(
                "one of {MIN_CONDUIT_PORT:#x} to {MAX_CONDUIT_PORT:#x} and a multiple of {CONDUIT_PORT_STEP}"
            ),
        ),
        ("vector", format!("{FIRST_DEVICE_VECTOR} to 255")),
        ("version", format!("the contract, version {}", Version::NEWEST.0)),
        ("length", format!("64 + 512 * 64 = {},{} bytes", MAX_BLOCK_LEN / 1000, MAX_BLOCK_LEN % 1000)),
    ] {
        assert!(page.contains(&value), "{what}: the page does not say '{value}'");
    }
}

#[test]
fn every_statement_has_a_number_of_its_own() {
    let mut seen = BTreeMap::new();
    for line in PAGE.lines().filter(|line| line.starts_with("- **")) {
        let id = line[4..].split("**").next().unwrap();
        assert!(seen.insert(id, line).is_none(), "{id} stands twice");
    }
    assert!(seen.len() >= 50, "only {} numbered statements found", seen.len());
}
