//! `pvir save` and `pvir run --restore`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::emulated::{calling, raising};
use crate::guest::{Code, Kernel, eventually, kvm_is_here, pvir, stderr, stdout, with_default_signals};
use crate::routes::Running;

/// Two vCPUs, of which the second never starts.
const MACHINE: [&str; 4] = ["--device", "emulated", "--cpus", "2"];

fn save(file: &Path, socket: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.arg("save").arg(file).arg(socket).env_remove("PVIR_LOG").output().unwrap()
}

fn restore(file: &Path, arguments: &[&str]) -> Output {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_pvir"));
    command.args(["run", "--timeout", "60"]).args(arguments).arg("--restore").arg(file);
    if !arguments.contains(&"--memory") {
        command.args(["--memory", "16M"]);
    }
    command.env_remove("PVIR_KERNEL").env_remove("PVIR_LOG").stdin(std::process::Stdio::null());
    command.output().unwrap()
}

/// A file with a saved machine whose guest stands in an endless loop.
fn saved(folder: &Path) -> PathBuf {
    let vm = Running::start(folder, &Code::new(), &MACHINE);
    let file = folder.join("saved");
    let output = save(&file, &vm.socket());
    assert_saved(&output);
    let ended = vm.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    file
}

fn assert_saved(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert!(stdout(output).starts_with("saved in ") && stdout(output).ends_with(" bytes\n"));
}

fn assert_refused(output: &Output, part: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", stderr(output));
    assert!(stderr(output).contains(part), "{part} is not in {}", stderr(output));
}

#[test]
fn a_machine_that_is_another_is_refused_by_name() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner reads a guest's memory");
    for (machine, part) in [
        (vec!["--device", "emulated"], "vCPUs with the APIC ids [0, 1], and this one has [0]"),
        (vec!["--device", "emulated", "--apic-ids", "0,300"], "and this one has [0, 300]"),
        (
            vec!["--device", "emulated", "--cpus", "2", "--memory", "17M"],
            "16 MiB of RAM, and this one has 17 MiB",
        ),
        (vec!["--cpus", "2"], "emulated at 00:01.0, and this one has no more devices"),
        (
            vec!["--cpus", "2", "--device", "emulated", "--device", "emulated"],
            "this one has emulated at 00:02.0",
        ),
        (vec!["--cpus", "2", "--device", "emulated,vectors=17"], "it has other interrupts"),
        (vec!["--cpus", "2", "--device", "emulated,ims=3"], "it has other interrupts"),
        (vec!["--cpus", "2", "--device", "emulated", "--mode", "trap"], "other conduits"),
    ] {
        assert_refused(&restore(&file, &machine), part);
    }
    let output = restore(&file, &[&MACHINE[..], &["--on-reboot", "restart"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("needs the KERNEL"), "{}", stderr(&output));
    assert_refused(&restore(&folder.path().join("missing"), &MACHINE), "No such file");
    assert_refused(&restore(folder.path(), &MACHINE), "not a regular file");
}

#[test]
fn a_damaged_file_is_refused_by_name() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    let length = fs::metadata(&file).unwrap().len();
    let flip = |at: u64| {
        let mut file = OpenOptions::new().read(true).write(true).open(&file).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 0x10]).unwrap();
    };
    for (at, part) in [
        (3, "not a snapshot"),
        (9, "this program knows version 4"),
        (30, "damaged: the checksum of its header"),
        (1000, "damaged: the checksum of its state"),
        (length - 5, "damaged: the checksum of its RAM"),
    ] {
        flip(at);
        assert_refused(&restore(&file, &MACHINE), part);
        flip(at);
    }
    OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    assert_refused(&restore(&file, &MACHINE), "it was cut off");
}

#[test]
fn a_guest_goes_on_where_it_was_and_can_be_saved_again() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &raising(3), &["--device", "emulated"]);
    let first = folder.path().join("first");
    assert_saved(&save(&first, &vm.socket()));
    assert_eq!(vm.wait().status.code(), Some(0));
    let vm = Running::restored(folder.path(), &first, &["--device", "emulated"]);
    // What was mapped is gone, and pvir is enabled in a later epoch: STALE_PAIRS once by the restore, and once by hand.
    assert_eq!(vm.ask("routes")["routes"], serde_json::json!([]));
    assert_eq!(vm.ask("event stale-pairs all")["epoch"], 3);
    let second = folder.path().join("second");
    assert_saved(&save(&second, &vm.socket()));
    assert_eq!(vm.wait().status.code(), Some(0));
    let vm = Running::restored(folder.path(), &second, &["--device", "emulated"]);
    assert_eq!(vm.ask("event stale-pairs all")["epoch"], 5);
    vm.stop();
}

/// The guest calls all the time.
#[test]
fn a_save_comes_between_two_calls() {
    if !kvm_is_here() {
        return;
    }
    const ALL_THE_TIME: [&str; 4] = ["--device", "emulated", "--rate-limit", "off"];
    let folder = tempfile::tempdir().unwrap();
    let mut vm = Running::start(folder.path(), &calling(), &ALL_THE_TIME);
    for round in 0..3 {
        let file = folder.path().join(format!("saved-{round}"));
        assert_saved(&save(&file, &vm.socket()));
        assert_eq!(vm.wait().status.code(), Some(0));
        vm = Running::restored(folder.path(), &file, &ALL_THE_TIME);
        let answers = |vm: &Running| UnixStream::connect(vm.socket()).is_ok();
        let maps_again = || !answers(&vm) || vm.ask("routes")["routes"] != json!([]);
        assert!(eventually(maps_again), "the guest does not map its entry again");
        if !answers(&vm) {
            let ended = vm.wait();
            panic!("round {round}: {:?} {}", ended.status, stderr(&ended));
        }
    }
    assert_eq!(vm.stop().status.code(), Some(130));
}

/// A client that is killed while it waits loses nothing: the VM goes on, or its file is whole.
#[test]
fn a_client_that_is_killed_loses_no_machine() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut vm = Running::start(folder.path(), &Code::new(), &MACHINE);
    let file = |number: u64| folder.path().join(format!("saved-{number}"));
    let asked = (0..50).find(|number| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
        command.arg("save").arg(file(*number)).arg(vm.socket()).env_remove("PVIR_LOG");
        let mut client = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(*number));
        client.kill().unwrap();
        client.wait().unwrap();
        vm.has_ended()
    });
    // The wish of the last one may still be on its way.
    let last = asked.unwrap_or(49);
    if asked.is_some() || eventually(|| vm.has_ended()) {
        assert_eq!(vm.wait().status.code(), Some(0));
        let whole = (0..=last).rev().map(file).find(|file| file.metadata().is_ok_and(|file| file.len() > 0));
        Running::restored(folder.path(), &whole.unwrap(), &MACHINE).stop();
    } else {
        vm.stop();
    }
}

#[test]
fn what_cannot_be_saved_goes_on() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &raising(3), &["--device", "emulated", "--device", "scratch"]);
    let file = folder.path().join("file");
    let output = save(&file, &vm.socket());
    assert_refused(&output, "0000:00:02.0 (scratch): it cannot be saved");
    assert!(stderr(&output).contains("the guest goes on") && !file.exists());
    assert_eq!(vm.ask("routes")["routes"].as_array().unwrap().len(), 1, "its interrupt too");
    fs::write(&file, "mine").unwrap();
    assert_refused(&save(&file, &vm.socket()), "File exists");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(vm.ask("save")["error"].as_str().unwrap().contains("no file came with the request"));
    assert_eq!(vm.stop().status.code(), Some(130));
}

#[test]
fn a_kernel_is_needed_unless_a_machine_is_restored() {
    let kernel = Kernel::new(b"");
    let output = pvir(&kernel, &["--restore", "file", "--append", "words"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    let output = command.arg("run").env_remove("PVIR_KERNEL").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
