//! `pvir run --sandbox`: all threads of a run are restricted, and everything works.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use crate::emulated::raising;
use crate::guest::{Code, Kernel, kvm_is_here, pvir, send, stderr};

/// What the kernel says of each thread: whether it has a filter, and whether it can gain privileges.
fn threads(child: &Child) -> BTreeMap<String, (String, String)> {
    let folder = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    let states = folder.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let told =
        |text: String| (field(&text, "Name:"), (field(&text, "Seccomp:"), field(&text, "NoNewPrivs:")));
    states.map(told).collect()
}

/// A run with every thread that there is, whose guest has enabled pvir, mapped an entry, and spins.
struct Full {
    child: Child,
    folder: tempfile::TempDir,
    _kernel: Kernel,
}

impl Full {
    fn start(code: &Code, mode: &str) -> Self {
        let kernel = Kernel::new(&code.clone().print("up\n").spin().elf());
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        let mut command = pvir(
            &kernel,
            &["--device", "emulated", "--cpus", "2", "--stats-interval", "0.1", "--stats", "--sandbox", mode],
        );
        command.arg("--json").arg(&report).arg("--control").arg(folder.path().join("socket"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line != "up\n" {
            panic!("{line}{}", stderr(&child.wait_with_output().unwrap()));
        }
        Self { child, folder, _kernel: kernel }
    }

    fn ask(&self, request: &str) -> serde_json::Value {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        writeln!(stream, "{request}").unwrap();
        serde_json::from_str(&std::io::read_to_string(stream).unwrap()).unwrap()
    }
}

#[test]
fn every_thread_is_restricted_and_all_goes_on() {
    if !kvm_is_here() {
        return;
    }
    let mut full = Full::start(&raising(3), "on");
    let mut input = full.child.stdin.take().unwrap();
    input.write_all(b"keys").unwrap();
    assert_eq!(full.ask("routes")["routes"].as_array().unwrap().len(), 1);
    assert!(full.ask("summary")["exits_total"].as_u64().unwrap() > 0);
    assert!(full.ask("nonsense")["error"].is_string());
    send(&full.child, "-USR1");
    let restricted = ("2".to_owned(), "1".to_owned());
    assert!(threads(&full.child).values().all(|state| *state == restricted), "{:?}", threads(&full.child));
    // A thread of KVM's own, which makes no system call, is among them: kvm-nx-lpage-recovery.
    let names: Vec<_> = threads(&full.child).into_keys().filter(|name| !name.starts_with("kvm-")).collect();
    let expected = [
        "control",
        "emulated",
        "emulated-rate",
        "json",
        "pvir",
        "pvir-prearm",
        "pvir-storm",
        "stderr",
        "stdin",
        "stdout",
        "vcpu0",
        "vcpu1",
    ];
    assert_eq!(names, expected);
    send(&full.child, "-TERM");
    let output = full.child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(full.folder.path().join("report")).unwrap()).unwrap();
    assert_eq!(
        (&report["outcome"]["kind"], &report["interrupts"][0]["count"]),
        (&"interrupted".into(), &3.into())
    );
    assert!(!full.folder.path().join("socket").exists());
    assert!(stderr(&output).contains("port-serial"), "{}", stderr(&output));
}

#[test]
fn without_a_sandbox_no_thread_is_restricted() {
    if !kvm_is_here() {
        return;
    }
    let full = Full::start(&raising(1), "off");
    assert!(threads(&full.child).values().all(|(filter, _)| filter == "0"), "{:?}", threads(&full.child));
    send(&full.child, "-TERM");
    assert_eq!(full.child.wait_with_output().unwrap().status.code(), Some(130));
}
