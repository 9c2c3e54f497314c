//! The emulated device on the real KVM: its config space, its table before and after ENABLE, and the report of its
//! interrupts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use pvir_abi::{Operation, Status};

use crate::guest::{Code, Kernel, eventually, kvm_is_here, pvir, run, send, split_json, stderr};

/// Where the guest puts the registers and the table.
const REGISTERS: u32 = 0xd000_0000;
const TABLE: u32 = 0xd100_0000;
const CONTROL: u32 = TABLE + 12;
const VECTORS: u32 = REGISTERS + 0x04;
const RAISE: u32 = REGISTERS + 0x0c;
const SENT: u32 = REGISTERS + 0x14;
/// A request block in RAM, its status, and its only record.
const BLOCK: u32 = 0x20_0000;
const RECORD: u32 = BLOCK + 64;
/// The port conduit of this machine.
const PORT: u16 = 0x5058;
/// Where the interrupt goes.
const VECTOR: u32 = 0x51;

fn moved_bars() -> Code {
    Code::new().pci_write(1, 0x10, REGISTERS).pci_write(1, 0x18, TABLE).pci_write(1, 0x04, 6)
}

/// Calls the service, and ends with `code` unless the status is OK.
fn call(code: Code, operation: Operation, records: u32, failure: u8) -> Code {
    code.eax(0x5152_5650)
        .store(BLOCK)
        .eax(1 | u32::from(operation.0) << 16)
        .store(BLOCK + 4)
        .eax(records)
        .store(BLOCK + 12)
        .out32(PORT, BLOCK >> 12)
        .in32(PORT)
        .expect_eax(Status::OK.0, failure)
}

fn put(code: Code, words: &[(u32, u32)]) -> Code {
    words.iter().fold(code, |code, (at, value)| code.eax(*value).store(RECORD + at))
}

/// ENABLE with MSI-X.
fn enable(code: Code) -> Code {
    call(put(code, &[(8, 2)]), Operation::ENABLE, 1, 101)
}

/// MAP of entry 0 of device 00:01.0 to `VECTOR` on APIC id 0.
fn map(code: Code) -> Code {
    let entry = [(0, 8 << 16), (8, 0x0001_0002), (16, 1), (24, 0), (28, 0), (32, 0), (36, VECTOR)];
    call(put(code, &entry), Operation::MAP, 1, 102)
}

/// The pair of the record into entry 0, unmasked.
fn program(code: Code) -> Code {
    let copied = code.load(RECORD + 48).store(TABLE).load(RECORD + 52).store(TABLE + 4);
    copied.load(RECORD + 56).store(TABLE + 8).eax(0).store(CONTROL)
}

/// Entry 0, mapped to [`VECTOR`] and raised so often.
pub(crate) fn raising(times: usize) -> Code {
    let mapped = program(map(enable(moved_bars()))).eax(0);
    (0..times).fold(mapped, |code, _| code.store(RAISE))
}

/// Says that it is up, and maps entry 0 again and again, without end.
pub(crate) fn calling() -> Code {
    let map = map(Code::new());
    // jmp back to its beginning, from behind the five bytes of the jump
    let back = -i32::try_from(map.length() + 5).unwrap();
    enable(moved_bars()).print("up\n").append(&map).bytes(&[0xe9]).bytes(&back.to_le_bytes())
}

/// UNMAP with the handle that stands in the record.
fn unmap(code: Code) -> Code {
    call(put(code, &[(8, 2), (36, 0)]), Operation::UNMAP, 1, 103)
}

#[test]
fn identity_and_capability_are_found() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new()
        .pci_read(1, 0)
        .expect_eax(0x0001_5056, 1)
        .pci_read(1, 8)
        .expect_eax(0xff00_0000, 2)
        .pci_read(1, 0x34)
        .expect_eax(0x40, 3)
        .pci_read(1, 0x40)
        .expect_eax(0x000f_6011, 4)
        .pci_write(1, 0x40, u32::MAX)
        .pci_read(1, 0x40)
        .expect_eax(0xc00f_6011, 5)
        .pci_read(1, 0x44)
        .expect_eax(2, 6)
        .pci_read(1, 0x48)
        .expect_eax(0x1002, 7)
        .pci_write(1, 0x18, u32::MAX)
        .pci_read(1, 0x18)
        .expect_eax(0xffff_e000, 8)
        .pci_read(2, 0x40)
        .expect_eax(0x07ff_6011, 9)
        .exit(0);
    let output = run(&guest, &["--device", "emulated", "--device", "emulated,vectors=2048"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn before_enable_the_table_is_masked_and_trapped() {
    if !kvm_is_here() {
        return;
    }
    let guest = moved_bars()
        .load(VECTORS)
        .expect_eax(16, 1)
        .load(CONTROL)
        .expect_eax(1, 2)
        .eax(0xfee0_0000)
        .store(TABLE)
        .eax(0)
        .store(CONTROL)
        .load(TABLE)
        .expect_eax(0xfee0_0000, 3)
        .eax(0)
        .store(RAISE)
        .load(SENT)
        .expect_eax(0, 4)
        .exit(0);
    let output = run(&guest, &["--device", "emulated", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = split_json(&output).1;
    let expected = serde_json::json!([{"bar": 0, "msix": false, "reads": 2, "writes": 1}, {"bar": 2, "msix": true, "reads": 2, "writes": 2}]);
    assert_eq!((&json["devices"][1]["bars"], &json["interrupts"]), (&expected, &serde_json::json!([])));
}

#[test]
fn after_enable_the_table_takes_no_exit_and_after_disable_it_is_trapped_again() {
    if !kvm_is_here() {
        return;
    }
    let mapped = program(map(enable(moved_bars())))
        .eax(0)
        .store(RAISE)
        .load(SENT)
        .expect_eax(1, 1)
        // The pending bits can be read; a write exits and does nothing.
        .load(TABLE + 0x1000)
        .expect_eax(0, 2)
        .eax(u32::MAX)
        .store(TABLE + 0x1000)
        .load(TABLE + 0x1000)
        .expect_eax(0, 3);
    let guest = call(mapped, Operation::DISABLE, 0, 104).load(CONTROL).expect_eax(1, 4).exit(0);
    let output = run(&guest, &["--device", "emulated", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = split_json(&output).1;
    assert_eq!(
        json["devices"][1]["bars"][1],
        serde_json::json!({"bar": 2, "msix": true, "reads": 1, "writes": 1})
    );
}

#[test]
fn an_irte_is_reported_after_its_unmap() {
    if !kvm_is_here() {
        return;
    }
    let raised = program(map(enable(moved_bars()))).eax(0).store(RAISE).store(RAISE);
    // Once more, for a second IRTE with a count of its own; this one lives to the end.
    let again = program(map(unmap(raised))).eax(0).store(RAISE);
    let output = run(&again.exit(0), &["--device", "emulated", "--json", "-", "--stats"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = split_json(&output).1;
    let rows = json["interrupts"].as_array().unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row["handle"].as_str().unwrap(), &row["count"])).collect();
    assert_eq!(told, [("0.1", &2.into()), ("0.2", &1.into())], "{json:#}");
    assert_eq!(
        json["interrupts_by_vector"],
        serde_json::json!([{"apic_id": 0, "vector": VECTOR, "count": 3}])
    );
    let first = &rows[0];
    for (key, value) in [
        ("guest", serde_json::json!("0000:00:01.0")),
        ("device", "emulated".into()),
        ("store", "MSIX".into()),
        ("index", 0.into()),
        ("address", "0xfee00010".into()),
        ("data", "0x0001".into()),
        ("handle_value", "0x0000000100000000".into()),
        ("host_irq", serde_json::Value::Null),
        ("gsi", 24.into()),
        ("apic_id", 0.into()),
        ("vector", VECTOR.into()),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    assert!(stderr(&output).contains("host count"), "{}", stderr(&output));

    let raised = program(map(enable(moved_bars()))).eax(0).store(RAISE);
    let output =
        run(&unmap(raised).exit(0), &["--device", "emulated", "--json", "-", "--stats", "--no-history"]);
    let json = split_json(&output).1;
    assert_eq!((&json["interrupts"], &json["interrupts_forgotten"]), (&serde_json::json!([]), &1.into()));
    assert!(stderr(&output).contains("given back and are not shown: 1"), "{}", stderr(&output));
}

#[test]
fn report_goes_to_a_file_as_pretty_json() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let output = run(&Code::new().exit(0), &["--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("{\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["outcome"]["kind"], "guest-exit");
}

#[test]
fn devices_that_cannot_be_had_are_named_with_a_remedy() {
    if !kvm_is_here() {
        return;
    }
    let refused = |devices: &[&str], parts: &[&str]| {
        let arguments: Vec<&str> = devices.iter().flat_map(|device| ["--device", device]).collect();
        let output = run(&Code::new().exit(0), &arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        for part in parts {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    };
    refused(&["vfio=fffe:00:1f.7"], &["fffe:00:1f.7: no such PCI device", "help: "]);
    refused(&["vfio=fffe:00:1f.7", "vfio=fffe:00:1f.7"], &["is given twice", "help: "]);
}

/// MAP of one entry after the other, without a look at what is answered.
fn map_one_by_one(code: Code, entries: u32) -> Code {
    let first = put(code, &[(0, 8 << 16), (8, 0x0001_0002), (16, 1), (32, 0), (36, VECTOR)]);
    let next = |code: Code, index: u32| put(code, &[(12, index), (24, 0), (28, 0)]).out32(PORT, BLOCK >> 12);
    let header = first.eax(1 | u32::from(Operation::MAP.0) << 16).store(BLOCK + 4);
    (0..entries).fold(header, next)
}

/// `pvir` under a limit of open files.
fn limited(kernel: &Kernel, limit: &str) -> Command {
    let inner = pvir(kernel, &["--device", "emulated,vectors=64"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env_remove("PVIR_KERNEL").env_remove("PVIR_LOG").stdin(Stdio::null());
    command
}

#[test]
fn ctrl_c_works_when_the_guest_has_used_up_all_descriptors() {
    if !kvm_is_here() {
        return;
    }
    let guest = map_one_by_one(enable(moved_bars()), 64).print("up\n").spin();
    let kernel = Kernel::new(&guest.elf());
    // An entry takes two descriptors: with one of these limits none is left.
    for limit in ["-n 40", "-n 41"] {
        let mut child =
            limited(&kernel, limit).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        send(&child, "-INT");
        assert!(eventually(|| child.try_wait().unwrap().is_some()), "{limit}: pvir goes on");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{limit}: {}", stderr(&output));
        assert!(stderr(&output).contains("Too many open files"), "{limit}: {}", stderr(&output));
    }
}

#[test]
fn a_low_soft_limit_of_open_files_is_no_limit_for_the_guest() {
    if !kvm_is_here() {
        return;
    }
    let guest = map_one_by_one(enable(moved_bars()), 64).in32(PORT).expect_eax(Status::OK.0, 7).exit(0);
    let output = limited(&Kernel::new(&guest.elf()), "-S -n 40").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
