//! Holds `docs/emulated-device.md` and the code together.

use super::super::rate::MAX_ROUNDS;
use super::super::registers::{ALL, IDENTITY_VALUE, MAX_TIMES, RegisterAccess};
use super::super::{DEVICE_ID, VENDOR_ID};
use pvir_host::emulation::{MAX_MESSAGES, MAX_VECTORS};

const PAGE: &str = include_str!("../../docs/emulated-device.md");

/// The cells of the table that follows `<!-- marker -->`, header and rule left out.
fn table(marker: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- {marker} -->");
    assert_eq!(PAGE.matches(&marker).count(), 1, "{marker} must stand on the page once");
    let after = &PAGE[PAGE.find(&marker).unwrap() + marker.len()..];
    let lines = after.trim_start().lines().take_while(|line| line.starts_with('|'));
    lines.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn meaning(name: &str) -> &'static str {
    table("registers").iter().find(|row| row[1] == name).unwrap()[3]
}

#[test]
fn registers_are_those_of_the_page() {
    let access = |access| match access {
        RegisterAccess::Read => "read",
        RegisterAccess::ReadWrite => "read, write",
        RegisterAccess::Write => "write",
    };
    let code: Vec<_> = ALL
        .iter()
        .map(|(name, at, how)| [format!("{at:#04x}"), (*name).into(), access(*how).into()])
        .collect();
    let page: Vec<_> =
        table("registers").iter().map(|row| [0, 1, 2].map(|cell| row[cell].to_owned())).collect();
    assert_eq!(page, code);
}

#[test]
fn numbers_are_those_of_the_page() {
    // Prose is wrapped: a sentence may go on in the next line.
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&format!("Vendor {VENDOR_ID:#06x}, device {DEVICE_ID:#06x}")));
    assert!(meaning("IDENTITY").ends_with(&format!("{IDENTITY_VALUE:#010x}")));
    assert!(meaning("TIMES").contains(&format!("0 to {MAX_TIMES};")));
    let rounds = format!("0 to {MAX_ROUNDS}; a greater number is taken for {MAX_ROUNDS}");
    assert!(meaning("RATE_ROUNDS").ends_with(&rounds));
    let sizes = format!("1 to {MAX_VECTORS}; MSI messages, 1, 2, 4, 8, 16 or {MAX_MESSAGES}");
    assert!(page.contains(&sizes), "{sizes}");
    assert!(page.contains(&format!("IMS entries, 0 to {MAX_VECTORS}")));
}
