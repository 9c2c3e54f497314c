//! `pvir plug` and `pvir unplug`: devices that come and go while the guest runs.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::guest::{Code, eventually, kvm_is_here, stderr, stdout};
use crate::routes::Running;

fn command(vm: &Running, word: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.arg(word).arg(vm.socket()).args(arguments).env_remove("PVIR_LOG");
    command.output().unwrap()
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output)
}

fn refused(output: &Output, code: i32, part: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(part), "{}", stderr(output));
}

fn plug(vm: &Running, device: &str) -> Output {
    command(vm, "plug", &["--device", device])
}

fn unplug(vm: &Running, device: &str, arguments: &[&str]) -> Output {
    command(vm, "unplug", &[&["--device", device], arguments].concat())
}

/// Lets each device go that the guest is asked for, without end.
// again: mov dx, 0x60c; in eax, dx; test eax, eax; jz again; mov dx, 0x610; out dx, eax; jmp again
const OBLIGING: [u8; 16] =
    [0x66, 0xba, 0x0c, 0x06, 0xed, 0x85, 0xc0, 0x74, 0xf7, 0x66, 0xba, 0x10, 0x06, 0xef, 0xeb, 0xf0];

/// A guest that does it.
fn obliging() -> Code {
    Code::new().print("up\n").bytes(&OBLIGING)
}

/// One that does not look.
fn deaf() -> Code {
    Code::new()
}

fn places(vm: &Running) -> Vec<(String, String)> {
    let told = vm.ask("devices");
    let text = |device: &Value, key: &str| device[key].as_str().unwrap().to_owned();
    let list = told["devices"].as_array().unwrap();
    list.iter().map(|device| (text(device, "device"), text(device, "state"))).collect()
}

fn present(numbers: &[u8]) -> Vec<(String, String)> {
    numbers.iter().map(|number| (format!("0000:00:{number:02x}.0"), "present".to_owned())).collect()
}

#[test]
fn a_device_comes_to_the_first_free_place_and_goes_when_the_guest_lets_it() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &obliging(), &["--device", "emulated"]);
    assert_eq!(done(&plug(&vm, "emulated,vectors=4")), "0000:00:02.0 (emulated) is plugged\n");
    assert_eq!(done(&plug(&vm, "scratch")), "0000:00:03.0 (scratch) is plugged\n");
    assert_eq!(done(&unplug(&vm, "00:02.0", &[])), "0000:00:02.0 (emulated) is unplugged\n");
    assert_eq!(places(&vm), present(&[1, 3]));
    let told: Value = serde_json::from_str(&done(&command(
        &vm,
        "plug",
        &["--device", "emulated,store=msi,vectors=32,ims=2048,narrow,maskable", "--json"],
    )))
    .unwrap();
    let expected = json!({ "device": "0000:00:02.0", "id": 5, "name": "emulated", "state": "present" });
    assert_eq!(told, expected, "the bridge, and one that has gone, have been there before");
    refused(&unplug(&vm, "00:04.0", &[]), 3, "the VM has no device 0000:00:04.0");
    refused(&unplug(&vm, "00:00.0", &["--force", "--timeout", "0"]), 3, "no device 0000:00:00.0");
    refused(&unplug(&vm, "0001:00:01.0", &[]), 3, "no device 0001:00:01.0");
    refused(&plug(&vm, "emulated,vectors=0"), 2, "1 to 2048");
    refused(&plug(&vm, "toaster"), 2, "unknown kind");
    refused(&plug(&vm, "vfio=ffff:ff:1f.7"), 3, "no such PCI device");
    assert_eq!(vm.ask("devices")["vfio"], Value::Null);
    for (request, part) in [
        ("plug toaster", "unknown kind"),
        ("plug ", "unknown kind"),
        ("plug vfio=0000:00:1f.7", "none came with the request"),
        ("plug vfio=0000:00:1f.7 group", "0 files came with the request, not 2"),
        ("plug vfio=0000:00:1f.7 auto", "no way to a host device"),
        ("plug emulated cdev", "only a device of the host has files"),
        ("unplug 00:01.0 gently", "no way to unplug"),
        ("unplug here", "unplug"),
        ("unplug", "no such request"),
    ] {
        let error = vm.ask(request)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{request}: {error}");
    }
    done(&unplug(&vm, "00:03.0", &["--force"]));
    done(&unplug(&vm, "00:01.0", &[]));
    assert_eq!(places(&vm), present(&[2]));
    let report = vm.ask("summary");
    let devices = report["devices"].as_array().unwrap();
    let named: Vec<_> =
        devices.iter().map(|device| (device["address"].as_str(), device["unplugged"].as_bool())).collect();
    let at =
        |number, unplugged| (Some(["00:00.0", "00:01.0", "00:02.0", "00:03.0"][number]), Some(unplugged));
    assert_eq!(named, [at(0, false), at(2, false), at(1, true), at(2, true), at(3, true)]);
    assert_eq!(report["unplugged"], 3);
    let output = vm.stop();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
}

#[test]
fn a_guest_that_does_not_let_go_is_waited_for_and_then_it_is_taken() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &deaf(), &["--device", "emulated"]);
    let patient = ["--timeout", "0.1"];
    refused(&unplug(&vm, "00:01.0", &patient), 3, "the guest has not let it go in 0.1 s");
    // Twice is once.
    refused(&unplug(&vm, "00:01.0", &patient), 3, "--force takes it");
    assert_eq!(places(&vm), [("0000:00:01.0".to_owned(), "leaving".to_owned())]);
    let forced = unplug(&vm, "00:01.0", &["--timeout", "0.1", "--force"]);
    assert_eq!(done(&forced), "0000:00:01.0 (emulated) is unplugged, unasked\n");
    refused(&unplug(&vm, "00:01.0", &["--timeout", "0", "--force"]), 3, "no device");
    assert_eq!(places(&vm), []);
    done(&plug(&vm, "emulated"));
    assert_eq!(places(&vm), present(&[1]), "what was wanted of the old one is not wanted of the new one");
    let pulled = unplug(&vm, "00:01.0", &["--timeout", "0", "--force"]);
    assert_eq!(done(&pulled), "0000:00:01.0 (emulated) is unplugged, unasked\n");
    vm.stop();
}

fn descriptors(vm: &Running) -> Vec<String> {
    let folder = format!("/proc/{}/fd", vm.pid());
    let links = fs::read_dir(folder).unwrap().filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    let mut links: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    // Sockets of clients come and go.
    links.retain(|link| !link.starts_with("socket:"));
    links.sort();
    links
}

fn threads(vm: &Running) -> usize {
    fs::read_dir(format!("/proc/{}/task", vm.pid())).unwrap().count()
}

#[test]
fn a_hundred_devices_come_and_go_and_nothing_is_left() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &obliging(), &["--device", "emulated"]);
    let before = (descriptors(&vm), threads(&vm));
    let gone = |id: &Value| {
        let told = vm.ask("devices");
        told["devices"].as_array().unwrap().iter().all(|device| device["id"] != *id)
    };
    for round in 0..100 {
        // Of the longest table, as many of whose handles as there are would be used up at once.
        let device = vm.ask("plug emulated,vectors=2048,ims=2048");
        assert_eq!(device["device"], "0000:00:02.0", "round {round}: {device}");
        let force = if round % 2 == 0 { " force" } else { "" };
        let leaving = vm.ask(&format!("unplug 00:02.0{force}"));
        assert_eq!(leaving["id"], device["id"], "round {round}: {leaving}");
        assert!(eventually(|| gone(&device["id"])), "round {round}");
    }
    assert!(eventually(|| (descriptors(&vm), threads(&vm)) == before), "{:?} {before:?}", descriptors(&vm));
    vm.stop();
}

#[test]
fn a_full_bus_takes_no_more_and_a_client_that_goes_leaves_the_vm_alone() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &deaf(), &[]);
    for _ in 0..20 {
        // It does not wait for the answer.
        let mut stream = UnixStream::connect(vm.socket()).unwrap();
        writeln!(stream, "plug scratch").unwrap();
    }
    assert!(eventually(|| places(&vm).len() == 20));
    for number in 21..=31 {
        assert_eq!(vm.ask("plug scratch")["device"], format!("0000:00:{number:02x}.0"));
    }
    refused(&plug(&vm, "emulated"), 3, "the bus is full");
    let mut stream = UnixStream::connect(vm.socket()).unwrap();
    writeln!(stream, "unplug 00:10.0 force").unwrap();
    drop(stream);
    assert!(eventually(|| places(&vm).len() == 30));
    let huge = vm.ask("plug scratch=large=1048576G");
    assert!(huge["error"].as_str().unwrap().contains("no room for BAR4"), "{huge}");
    assert_eq!(vm.ask("plug scratch")["device"], "0000:00:10.0");
    vm.stop();
}

fn save(vm: &Running, file: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    done(&command.arg("save").arg(file).arg(vm.socket()).env_remove("PVIR_LOG").output().unwrap());
}

#[test]
fn a_machine_with_a_gap_between_its_devices_is_saved_and_each_is_where_it_was() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |number: u8| folder.path().join(format!("{number}.pvir"));
    let two = ["--device", "emulated", "--device", "emulated,vectors=4"];
    let vm = Running::start(folder.path(), &deaf(), &two);
    let pull = |vm: &Running, device| done(&unplug(vm, device, &["--timeout", "0", "--force"]));
    pull(&vm, "00:01.0");
    save(&vm, &file(0));
    assert_eq!(vm.wait().status.code(), Some(0));
    let vm = Running::restored(folder.path(), &file(0), &two[2..]);
    assert_eq!(places(&vm), present(&[2]));
    // The place is free, and the next device comes to it, and to addresses that nobody has.
    assert_eq!(done(&plug(&vm, "emulated")), "0000:00:01.0 (emulated) is plugged\n");
    done(&plug(&vm, "emulated"));
    pull(&vm, "00:02.0");
    save(&vm, &file(1));
    assert_eq!(vm.wait().status.code(), Some(0));
    let vm = Running::restored(folder.path(), &file(1), &["--device", "emulated", "--device", "emulated"]);
    assert_eq!(places(&vm), present(&[1, 3]));
    vm.stop();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.args(["run", "--memory", "16M", "--restore"]).arg(file(1)).args(&two[..2]);
    let output = command.env_remove("PVIR_KERNEL").env_remove("PVIR_LOG").output().unwrap();
    refused(&output, 3, "emulated at 00:03.0, and this one has no more devices");
}

#[test]
fn a_guest_that_was_asked_for_a_device_and_is_saved_lets_it_go_when_it_goes_on() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // It lets nothing go until it finds a device at 00:03.0.
    let wait = find(3);
    let code = Code::new().print("up\n").bytes(&wait).bytes(&[0x75, back_over(&wait)]).bytes(&OBLIGING);
    let two = ["--device", "emulated", "--device", "emulated"];
    let vm = Running::start(folder.path(), &code, &two);
    refused(&unplug(&vm, "00:01.0", &["--timeout", "0"]), 3, "has not let it go");
    let file = folder.path().join("it.pvir");
    save(&vm, &file);
    assert_eq!(vm.wait().status.code(), Some(0));
    let vm = Running::restored(folder.path(), &file, &two);
    let state = |number: u8, state: &str| (format!("0000:00:{number:02x}.0"), state.to_owned());
    assert_eq!(places(&vm), [state(1, "leaving"), state(2, "present")]);
    done(&plug(&vm, "emulated"));
    assert!(eventually(|| places(&vm) == present(&[2, 3])), "{:?}", places(&vm));
    vm.stop();
}

/// Looks for a device of pvir's at a place, and ends with "equal" if one is there.
fn find(device: u8) -> Vec<u8> {
    // mov dx, 0xcf8; mov eax, 0x80000000 + place; out dx, eax; mov dx, 0xcfc; in eax, dx; cmp ax, 0x5056
    let code = [0x66, 0xba, 0xf8, 0x0c, 0xb8, 0, device << 3, 0, 0x80, 0xef];
    [&code[..], &[0x66, 0xba, 0xfc, 0x0c, 0xed, 0x66, 0x3d, 0x56, 0x50]].concat()
}

/// How far a short jump right behind this code goes to its begin.
fn back_over(code: &[u8]) -> u8 {
    (-(i8::try_from(code.len()).unwrap() + 2)).to_le_bytes()[0]
}

#[test]
fn a_machine_that_is_started_again_has_what_was_plugged_and_not_what_was_to_go() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // It waits for a device at 00:03.0, and resets its machine when it finds one; with one at 00:01.0 it waits again.
    let first = find(1);
    // A guest that finds nothing at 00:01.0 has been started again: it says so and stays.
    let wait = find(3);
    let code = Code::new().print("up\n").bytes(&first).bytes(&[0x74, 0x02, 0xeb, 0xfe]);
    let code = code.bytes(&wait).bytes(&[0x75, back_over(&wait)]);
    let vm = Running::start(
        folder.path(),
        &code.out8(0xcf9, 6),
        &["--device", "emulated", "--device", "emulated", "--on-reboot", "restart"],
    );
    refused(&unplug(&vm, "00:01.0", &["--timeout", "0"]), 3, "has not let it go");
    done(&plug(&vm, "emulated"));
    assert!(eventually(|| vm.ask("summary")["restarts"] == 1), "{}", vm.ask("summary"));
    assert!(eventually(|| places(&vm) == present(&[2, 3])), "{:?}", places(&vm));
    vm.stop();
}
