//! Tries the target that the environment names (`PVIR_FUZZ_TARGET`), with the compiler's help: libFuzzer goes on from inputs
//! that reach code which no other has reached.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pvir_fuzz::{TARGETS, Target};
use std::sync::OnceLock;

static TARGET: OnceLock<Target> = OnceLock::new();

fn target() -> Target {
    let name = std::env::var("PVIR_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    *target.unwrap_or_else(|| panic!("PVIR_FUZZ_TARGET={name:?}: no such target"))
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let target = TARGET.get_or_init(target);
    if let Err(error) = (target.run)(bytes) {
        panic!("{}: {error:#}", target.name);
    }
    Corpus::Keep
});
