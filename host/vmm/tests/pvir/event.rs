//! `pvir event`: events of a VM that runs, by its control socket.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::emulated::raising;
use crate::guest::{Code, kvm_is_here, stderr, stdout};
use crate::routes::Running;

fn event(vm: &Running, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.arg("event").arg(vm.socket()).args(arguments).env_remove("PVIR_LOG");
    command.output().unwrap()
}

fn told(vm: &Running, arguments: &[&str]) -> Value {
    let output = event(vm, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn refused(vm: &Running, arguments: &[&str], code: i32, part: &str) {
    let output = event(vm, arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert!(stderr(&output).contains(part), "{}", stderr(&output));
}

fn running(folder: &Path, guest: &Code) -> Running {
    Running::start(folder, guest, &["--device", "emulated"])
}

#[test]
fn an_event_takes_the_irtes_and_is_told_in_the_answer() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = running(folder.path(), &raising(3));
    let device = ["--device", "00:01.0"];
    let stale = [&device[..], &["--reason", "stale-pairs"]].concat();
    assert_eq!(told(&vm, &stale), json!({ "epoch": 2, "new": true, "irtes": 1, "unstopped": 0 }));
    assert_eq!(vm.ask("routes")["routes"], json!([]));
    let output = event(&vm, &["--device", "all", "--reason", "stale-pairs"]);
    assert_eq!(stdout(&output), "stale-pairs all: the guest is told, epoch 3, 0 IRTEs given back\n");

    let cut = [&device[..], &["--reason", "device-cut-off"]].concat();
    let readmit = [&device[..], &["--readmit"]].concat();
    assert_eq!(told(&vm, &cut)["new"], true);
    assert_eq!(told(&vm, &cut), json!({ "epoch": 4, "new": false, "irtes": 0, "unstopped": 0 }));
    assert_eq!((&told(&vm, &readmit)["new"], &told(&vm, &readmit)["new"]), (&json!(true), &json!(false)));

    refused(&vm, &["--device", "00:09.0", "--reason", "device-gone"], 3, "the VM has no device 0000:00:09.0");
    refused(&vm, &["--device", "all", "--reason", "device-gone"], 3, "device-gone is of one device");
    refused(&vm, &["--device", "all", "--readmit"], 3, "readmit is of one device");
    refused(&vm, &["--device", "here", "--reason", "device-gone"], 2, "--device");
    refused(&vm, &["--device", "00:01.0", "--reason", "tired"], 2, "--reason");
    refused(&vm, &["--device", "00:01.0", "--reason", "device-gone", "--readmit"], 2, "--readmit");
    refused(&vm, &device, 2, "--reason");
    assert!(vm.ask("event bored all")["error"].as_str().unwrap().contains("no such event"));
    assert!(vm.ask("event ")["error"].as_str().unwrap().contains("a request is"));

    let gone = [&device[..], &["--reason", "device-gone"]].concat();
    assert_eq!(told(&vm, &gone), json!({ "epoch": 5, "new": true, "irtes": 0, "unstopped": 0 }));
    assert_eq!(told(&vm, &gone)["new"], false);
    assert_eq!(vm.stop().status.code(), Some(130));
}

#[test]
fn a_client_that_goes_before_its_answer_leaves_the_vm_alone() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = running(folder.path(), &raising(3));
    for _ in 0..20 {
        writeln!(UnixStream::connect(vm.socket()).unwrap(), "event stale-pairs all").unwrap();
        // Or before it has asked.
        write!(UnixStream::connect(vm.socket()).unwrap(), "event stale").unwrap();
    }
    assert_eq!(
        vm.ask("event stale-pairs all"),
        json!({ "epoch": 22, "new": true, "irtes": 0, "unstopped": 0 })
    );
    assert_eq!(vm.stop().status.code(), Some(130));
}

#[test]
fn a_vm_whose_guest_has_not_enabled_pvir_has_no_stale_pairs() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = running(folder.path(), &Code::new());
    refused(&vm, &["--device", "all", "--reason", "stale-pairs"], 3, "no guest has enabled pvir");
    assert_eq!(
        told(&vm, &["--device", "00:01.0", "--reason", "device-cut-off"]),
        json!({ "epoch": null, "new": true, "irtes": 0, "unstopped": 0 })
    );
    vm.stop();
}
