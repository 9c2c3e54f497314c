//! Holds `include/pvir_abi.h` and this crate together. The C and the C++ compiler compare each number, size and offset;
//! no macro of the header is left out, and no value of the crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "where there is no compiler, the test says so")]

use pvir_abi::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{align_of, offset_of};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../docs/abi.md");
const HEADER: &str = include_str!("../include/pvir_abi.h");
const GOLDEN: &str = include_str!("c_header/golden.c");
/// A compiler, its language, and how that is named.
const LANGUAGES: [(&str, &str, &str); 2] = [("cc", "c", "-std=c11"), ("c++", "c++", "-std=c++17")];
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// What the header must say: C expressions with their values.
#[derive(Default)]
struct Claims(Vec<(String, u64)>);

impl Claims {
    fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.0.push((format!("PVIR_{name}"), value.into()));
    }

    fn numbers<T: Copy, N: Into<u64>>(&mut self, prefix: &str, all: &[(T, &str)], value: impl Fn(T) -> N) {
        for (each, name) in all {
            self.number(&format!("{prefix}_{name}"), value(*each));
        }
    }

    fn flags<F: bitflags::Flags>(&mut self, prefix: &str)
    where
        F::Bits: Into<u64>,
    {
        for flag in F::FLAGS {
            self.number(&format!("{prefix}_{}", flag.name()), flag.value().bits());
        }
    }

    fn expression(&mut self, expression: String, value: usize) {
        self.0.push((expression, value.try_into().unwrap()));
    }

    /// The macros that are claimed.
    fn macros(&self) -> BTreeSet<&str> {
        let names = self.0.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.starts_with("PVIR_") && !name.contains('(')).collect()
    }
}

/// Size, alignment, and each field's offset and size.
macro_rules! layout {
    ($claims:ident, $c:literal, $type:ident: $($field:ident),+) => {
        $claims.expression(format!("sizeof(struct {})", $c), size_of::<$type>());
        $claims.expression(format!("alignof(struct {})", $c), align_of::<$type>());
        let fields = [ $( (stringify!($field), offset_of!($type, $field)) ),+ ];
        for (at, (field, offset)) in fields.iter().enumerate() {
            let end = fields.get(at + 1).map_or(size_of::<$type>(), |(_, next)| *next);
            $claims.expression(format!("offsetof(struct {}, {field})", $c), *offset);
            $claims.expression(format!("sizeof(((struct {} *)0)->{field})", $c), end - offset);
        }
    };
}

fn claims() -> Claims {
    let mut claims = Claims::default();
    numbers(&mut claims);
    layouts(&mut claims);
    claims
}

fn numbers(claims: &mut Claims) {
    claims.numbers("OP", Operation::ALL, |v| v.0);
    claims.numbers("REFUSAL", Refusal::ALL, |v| v.0);
    claims.numbers("STORE", Store::ALL, |v| v.0);
    claims.numbers("ARCH", Arch::ALL, |v| v.0);
    claims.numbers("DELIVERY", DeliveryMode::ALL, |v| v.0);
    claims.numbers("DESTINATION", DestinationMode::ALL, |v| v.0);
    claims.numbers("EVENT", EventReason::ALL, |v| v.0);
    for (status, name, ..) in Status::TABLE {
        claims.number(&format!("STATUS_{name}"), status.0);
    }
    claims.number("STATUS_PENDING", Status::PENDING.0);
    claims.flags::<CallFlags>("CALL");
    claims.flags::<Features>("FEATURE");
    claims.flags::<Stores>("STORES");
    claims.flags::<DeviceFlags>("DEVICE_FLAG");
    claims.flags::<EntryFlags>("ENTRY");
    claims.flags::<EntryState>("STATE");
    claims.flags::<Conduits>("CONDUIT");

    claims.number("VERSION_1", Version::V1.0);
    for signature in CPUID_SIGNATURE {
        claims.number("CPUID_SIGNATURE", signature);
    }
    claims.number("CPUID_BASE_MIN", MIN_CPUID_BASE);
    claims.number("CPUID_BASE_MAX", MAX_CPUID_BASE);
    claims.number("CPUID_BASE_STEP", CPUID_BASE_STEP);
    claims.number("HYPERCALL", HYPERCALL_NUMBER);
    claims.number("MSR_MIN", MIN_CONDUIT_MSR);
    claims.number("MSR_MAX", MAX_CONDUIT_MSR);
    claims.number("PORT_MIN", MIN_CONDUIT_PORT);
    claims.number("PORT_MAX", MAX_CONDUIT_PORT);
    claims.number("PORT_STEP", CONDUIT_PORT_STEP);
    claims.number("PORT_ADDRESS_SHIFT", PORT_ADDRESS_SHIFT);
    claims.number("REQUEST_MAGIC", REQUEST_MAGIC);
    claims.number("BLOCK_ALIGN", BLOCK_ALIGN);
    claims.expression("PVIR_RECORD_LEN".into(), RECORD_LEN);
    claims.number("MAX_RECORDS", MAX_RECORDS);
    claims.number("EVENT_AREA_ALIGN", EVENT_AREA_ALIGN);
    claims.number("FIRST_DEVICE_VECTOR", FIRST_DEVICE_VECTOR);
    // All ones in the event area, for every device; the hint's bit is that of `X86Route::hint`.
    claims.number("EVERY_DEVICE", u32::MAX);
    let mut route = X86Route::fixed(0, FIRST_DEVICE_VECTOR);
    route.hint = true;
    claims.number("HINT_REDIRECTION", Routing::from(route).hint);
    claims.expression("PVIR_BLOCK_LEN(PVIR_MAX_RECORDS)".into(), MAX_BLOCK_LEN);
    claims.expression("PVIR_BLOCK_LEN(0)".into(), block_len(0));
    claims.0.push(("PVIR_DEVICE(0x1234, 0xabff)".into(), 0xabff_1234));
}

fn layouts(claims: &mut Claims) {
    layout!(claims, "pvir_header", Header: magic, version, operation, flags, count, status, done, epoch, reserved);
    layout!(claims, "pvir_features_record", FeaturesRecord: reserved0, status, oldest, newest, max_records, features,
        enabled, max_apic_id, max_irtes, irtes, devices, conduits, reserved1, reserved2);
    layout!(claims, "pvir_enable_record", EnableRecord: device, status, features, event_area, notify_apic_id,
        notify_vector, refusal, reserved0, reserved1);
    layout!(claims, "pvir_device_record", DeviceRecord: device, status, stores, flags, msix_entries, msi_messages,
        ims_entries, max_irtes, irtes, reserved0, reserved1);
    layout!(claims, "pvir_attach_record", AttachRecord: device, status, refusal, reserved0, reserved1);
    layout!(claims, "pvir_entry_record", EntryRecord: device, status, store, arch, index, count, flags, handle, routing,
        address, data, state);
    layout!(claims, "pvir_routing", Routing: destination, vector, delivery_mode, destination_mode, hint, reserved);
    layout!(claims, "pvir_event_area", EventArea: epoch, sequence, reason, device, reserved);
}

/// A program in both languages that compiles if each claim is true.
fn program(claims: &Claims) -> String {
    let mut text = String::from("#include \"pvir_abi.h\"\n#include <stddef.h>\n");
    text += "#ifndef __cplusplus\n#include <assert.h>\n#include <stdalign.h>\n#endif\n";
    for (expression, value) in &claims.0 {
        writeln!(text, "static_assert({expression} == {value}ull, \"it is not {value}\");").unwrap();
    }
    text
}

fn command(compiler: &str, language: &str, standard: &str) -> Command {
    let mut command = Command::new(compiler);
    command
        .args(["-x", language, standard, "-I", concat!(env!("CARGO_MANIFEST_DIR"), "/include")])
        .args(WARNINGS);
    command
}

/// Has the compiler read `text`. `None` if there is no such compiler, which is said; else what it found wrong.
fn compile(command: &mut Command, text: &str) -> Option<Result<(), String>> {
    let started = command.arg("-").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut compiler) = started else {
        eprintln!(
            "SKIPPED: {} is not installed, pvir_abi.h was not compiled",
            command.get_program().to_string_lossy()
        );
        return None;
    };
    compiler.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = compiler.wait_with_output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(wrong) })
}

fn check(text: &str) -> Vec<Result<(), String>> {
    let compile = |(compiler, language, standard)| {
        compile(command(compiler, language, standard).arg("-fsyntax-only"), text)
    };
    LANGUAGES.into_iter().filter_map(compile).collect()
}

#[test]
fn numbers_sizes_and_offsets_are_those_of_the_crate_in_c_and_in_cpp() {
    for result in check(&program(&claims())) {
        result.unwrap();
    }
}

#[test]
fn a_wrong_number_and_a_wrong_offset_are_seen() {
    let mut number = claims();
    number.number("OP_MAP", 6_u32);
    let mut offset = claims();
    offset.expression("offsetof(struct pvir_entry_record, data)".into(), 60);
    for wrong in [number, offset] {
        for result in check(&program(&wrong)) {
            let error = result.unwrap_err();
            assert!(error.contains("it is not 6"), "{error}");
        }
    }
}

#[test]
fn every_macro_of_the_header_is_compared() {
    let helpers = ["PVIR_ABI_H", "PVIR_STATIC_ASSERT", "PVIR_BLOCK_LEN", "PVIR_DEVICE"];
    let defined: BTreeSet<&str> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split([' ', '\t', '(']).next())
        .filter(|name| !helpers.contains(name))
        .collect();
    assert_eq!(defined, claims().macros());
}

#[test]
fn every_statement_that_the_header_cites_is_on_the_page() {
    let groups = HEADER.split('(').skip(1).filter_map(|text| text.split_once(')')).map(|(group, _)| group);
    let words = groups.flat_map(|group| group.split([',', ';', ' ', '.']));
    let statement = |word: &&str| {
        let (letter, number) = word.split_at_checked(1).unwrap_or(("", ""));
        letter.chars().all(|c| c.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
    };
    let cited: BTreeSet<&str> = words.filter(statement).collect();
    assert!(cited.len() >= 40, "only {} statements are cited", cited.len());
    for name in cited {
        assert!(PAGE.contains(&format!("- **{name}** ")), "{name} is not on the page");
    }
}

/// Where a program is put that is run.
fn executable(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn golden(name: &str) -> Vec<u8> {
    let after = PAGE.split_once(&format!("<!-- golden: {name} -->")).unwrap().1;
    let hex = after.split("```").nth(1).unwrap();
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn a_c_program_makes_the_golden_bytes_of_the_page() {
    let program = executable("pvir_abi_golden");
    let (compiler, language, standard) = LANGUAGES[0];
    let Some(result) = compile(command(compiler, language, standard).arg("-o").arg(&program), GOLDEN) else {
        return;
    };
    result.unwrap();
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let expected = ["header_map_2", "entry_map_request", "enable_request"].map(golden).concat();
    assert_eq!(output.stdout, expected);
}
