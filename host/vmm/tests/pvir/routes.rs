//! `pvir routes` and the control socket of a VM that runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::emulated::raising;
use crate::guest::{Code, Kernel, eventually, kvm_is_here, pvir, send, stderr, stdout, with_default_signals};

/// A VM whose guest stands in an endless loop, and the folder of its socket.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
    _kernel: Option<Kernel>,
}

impl Running {
    /// Returns when the guest has printed its line.
    pub(crate) fn start(folder: &Path, guest: &Code, arguments: &[&str]) -> Self {
        let kernel = Kernel::new(&guest.clone().print("up\n").spin().elf());
        let mut command = pvir(&kernel, arguments);
        command.env("XDG_RUNTIME_DIR", folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self { child, folder: folder.to_owned(), _kernel: Some(kernel) }
    }

    /// A machine that goes on from `file`. Returns when it answers.
    pub(crate) fn restored(folder: &Path, file: &Path, arguments: &[&str]) -> Self {
        let mut command = with_default_signals(env!("CARGO_BIN_EXE_pvir"));
        command.args(["run", "--memory", "16M"]).args(arguments).arg("--restore").arg(file);
        command.env("XDG_RUNTIME_DIR", folder).env_remove("PVIR_KERNEL").env_remove("PVIR_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut vm = Self { child: command.spawn().unwrap(), folder: folder.to_owned(), _kernel: None };
        let answers =
            eventually(|| vm.child.try_wait().unwrap().is_some() || UnixStream::connect(vm.socket()).is_ok());
        assert!(answers, "it does not answer");
        vm
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Output {
        self.child.wait_with_output().unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("pvir").join(format!("{}.sock", self.child.id()))
    }

    pub(crate) fn ask(&self, request: &str) -> Value {
        ask(&self.socket(), request)
    }

    pub(crate) fn stop(mut self) -> Output {
        send(&self.child, "-TERM");
        assert!(eventually(|| self.child.try_wait().unwrap().is_some()), "pvir goes on");
        self.child.wait_with_output().unwrap()
    }
}

fn ask(socket: &Path, request: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{request}").unwrap();
    let text = std::io::read_to_string(stream).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).unwrap()
}

fn routes(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.arg("routes").args(arguments).env("XDG_RUNTIME_DIR", folder).env_remove("PVIR_LOG");
    command.output().unwrap()
}

#[test]
fn the_route_of_each_vector_is_shown_while_the_vm_runs() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &raising(3), &["--device", "emulated"]);
    let output = routes(folder.path(), &[&vm.child.id().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&told["pid"], told["routes"].as_array().unwrap().len()), (&vm.child.id().into(), 1));
    let row = &told["routes"][0];
    for (key, value) in [
        ("guest", json!("0000:00:01.0")),
        ("device", "emulated".into()),
        ("store", "MSIX".into()),
        ("index", 0.into()),
        ("programmed", "direct".into()),
        ("handle", "0.1".into()),
        ("address", "0xfee00010".into()),
        ("posted", "not posted".into()),
        ("host_irq", Value::Null),
        ("gsi", 24.into()),
        ("apic_id", 0.into()),
        ("vcpu", 0.into()),
        ("vector", 0x51.into()),
        ("count", 3.into()),
        ("rate", 0.0.into()),
    ] {
        assert_eq!(row[key], value, "{key}");
    }
    // The descriptor is that of an eventfd of the process.
    let link = std::fs::read_link(format!("/proc/{}/fd/{}", vm.child.id(), row["eventfd"])).unwrap();
    assert_eq!(link, Path::new("anon_inode:[eventfd]"));

    let table = stdout(&routes(folder.path(), &[vm.socket().to_str().unwrap()]));
    assert!(table.contains("MSIX[0]") && table.contains("0 (APIC id 0) 0x51"), "{table}");
    let picture = stdout(&routes(folder.path(), &[vm.socket().to_str().unwrap(), "--dot"]));
    assert!(picture.starts_with("digraph") && picture.contains("GSI 24"), "{picture}");
    vm.stop();
}

#[test]
fn questions_cause_no_exit_and_no_ioctl() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Nothing is armed ahead meanwhile.
    let machine = ["--device", "emulated", "--cpus", "2", "--armed-ahead", "0"];
    let vm = Running::start(folder.path(), &raising(3), &machine);
    let counts = || {
        let summary = vm.ask("summary");
        // With the entries into the guest, KVM_RUN, which the kernel does not return from but for an exit or a signal.
        (summary["exits"].clone(), summary["ioctls"].clone(), summary["service"].clone())
    };
    // An exit is counted when it was handled, which is after the line was seen, and an entry when it has returned: all that
    // has happened is counted when there are as many of both.
    assert!(eventually(|| {
        let summary = vm.ask("summary");
        let exits = summary["exits"].as_object().unwrap().values().map(|count| count.as_u64().unwrap());
        summary["exits"]["port-serial"] == 3 && summary["ioctls"]["KVM_RUN"] == exits.sum::<u64>()
    }));
    let before = counts();
    for _ in 0..500 {
        assert_eq!(vm.ask("routes")["routes"][0]["count"], 3);
    }
    assert_eq!(counts(), before);
    vm.stop();
}

#[test]
fn the_socket_is_the_users_own_and_goes_with_the_vm() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &Code::new(), &[]);
    let socket = vm.socket();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    assert!(vm.ask("reboot")["error"].as_str().unwrap().contains("no such request"));
    // One that says nothing does not hold up the end.
    let _silent = UnixStream::connect(&socket).unwrap();
    assert_eq!(vm.stop().status.code(), Some(130));
    assert!(!socket.exists());

    let own = folder.path().join("own.sock");
    let vm = Running::start(folder.path(), &Code::new(), &["--control", own.to_str().unwrap()]);
    assert!(!vm.socket().exists());
    assert_eq!(ask(&own, "routes")["routes"], json!([]));
    assert_eq!(mode(&own), 0o600);
    vm.stop();
    assert!(!own.exists());
}

#[test]
fn which_vm_is_meant_is_asked_where_it_is_not_clear() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], part: &str| {
        let output = routes(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    };
    refused(&["4294967295"], "process 4294967295 has no socket");
    refused(&["/nowhere/vm.sock"], "no VM answers at /nowhere/vm.sock");
    let vms = [0, 1].map(|_| Running::start(folder.path(), &Code::new(), &[]));
    // Others of this user may run beside them, with their sockets in /run.
    refused(&[], "VMs are running\nhelp: name one by its PID: ");
    for vm in &vms {
        let pid = vm.child.id().to_string();
        refused(&[], &pid);
        assert_eq!(routes(folder.path(), &[&pid]).status.code(), Some(0));
    }
    vms.into_iter().for_each(|vm| drop(vm.stop()));
}

#[test]
fn an_interval_prints_a_line_of_counts_each_time() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut vm =
        Running::start(folder.path(), &raising(3), &["--device", "emulated", "--stats-interval", "0.1"]);
    let mut lines = BufReader::new(vm.child.stderr.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with("pvir: ") && line.contains(" s: exits "), "{line}");
    }
    assert!(lines.next().unwrap().unwrap().contains("interrupts 3 (0/s)"));
    vm.stop();
}

#[test]
fn watching_goes_on_until_the_vm_ends() {
    if !kvm_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vm = Running::start(folder.path(), &raising(3), &["--device", "emulated"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
    command.args(["routes", "--watch", "--json"]).arg(vm.socket());
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(told["routes"][0]["count"], 3);
    }
    vm.stop();
    assert!(eventually(|| watch.try_wait().unwrap().is_some()), "watching goes on");
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}
