//! What taking `pvir-host` brings along, by name: a crate more is a decision, and is made here.

use std::collections::BTreeSet;
use std::process::Command;

/// The library itself, what it names, and what those bring.
const CRATES: [&str; 34] = [
    "bitflags",
    "byteorder",
    "cfg-if",
    "cobs",
    "crc32fast",
    "iommufd-bindings",
    "iommufd-ioctls",
    "kvm-bindings",
    "kvm-ioctls",
    "libc",
    "log",
    "once_cell",
    "pin-project-lite",
    "postcard",
    "proc-macro2",
    "pvir-abi",
    "pvir-host",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "tracing",
    "tracing-attributes",
    "tracing-core",
    "unicode-ident",
    "vfio-bindings",
    "vfio-ioctls",
    "vm-memory",
    "vmm-sys-util",
    "zerocopy",
    "zerocopy-derive",
];

#[test]
fn the_library_brings_these_crates_and_no_command_line() {
    let tree = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--package", "pvir-host", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let found: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(found, BTreeSet::from(CRATES));
}
