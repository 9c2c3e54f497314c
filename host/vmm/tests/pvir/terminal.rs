//! `pvir run` at a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::guest::{Code, Kernel, eventually, kvm_is_here, pvir, send, with_default_signals};

/// A terminal, and what makes the other end of it.
fn pty() -> (OwnedFd, impl Fn() -> Stdio) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let end = move || -> Stdio {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap().into()
    };
    (terminal, end)
}

/// `pvir` in a session of its own, at a terminal of its own.
struct AtTerminal {
    child: Child,
    terminal: File,
    _kernel: Kernel,
    folder: tempfile::TempDir,
}

impl AtTerminal {
    /// Runs a guest that says that it is up. `None` where there is no `setsid(1)` or no KVM.
    fn start(code: &Code) -> Option<Self> {
        if !kvm_is_here() {
            return None;
        }
        let (terminal, end) = pty();
        let kernel = Kernel::new(&code.elf());
        let folder = tempfile::tempdir().unwrap();
        let mut command = with_default_signals("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_pvir"), "run"]).arg(&kernel.path);
        command.args(["--memory", "16M", "--timeout", "60"]).env("XDG_RUNTIME_DIR", folder.path());
        command.args(["--json"]).arg(folder.path().join("report"));
        let child = match command.stdin(end()).stdout(end()).stderr(end()).spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("SKIP: setsid: {error}");
                return None;
            }
        };
        let mut run = Self { child, terminal: OwnedFd::into(terminal), _kernel: kernel, folder };
        let mut text = Vec::new();
        while !text.ends_with(b"up") {
            let mut some = [0; 1];
            assert_eq!(run.terminal.read(&mut some).unwrap(), 1, "{text:?}");
            text.extend_from_slice(&some);
        }
        Some(run)
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.terminal.write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn is_stopped(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        state.rsplit(')').next().unwrap().trim_start().starts_with('T')
    }

    fn code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        if !eventually(|| child.try_wait().unwrap().is_some()) {
            child.kill().unwrap();
            panic!("pvir goes on");
        }
        child.wait().unwrap().code()
    }

    fn sockets(&self) -> usize {
        fs::read_dir(self.folder.path().join("pvir")).unwrap().count()
    }

    fn report(&self) -> serde_json::Value {
        let report: &Path = &self.folder.path().join("report");
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap()
    }
}

/// Says that it is up, waits for a key, and exits with that and 0x40.
fn exits_with_a_key() -> Code {
    Code::new()
        .print("up")
        .in8(0x3fd)
        .bytes(&[0xa8, 1, 0x74, 0xf6])
        .in8(0x3f8)
        .bytes(&[0x04, 0x40, 0xba, 0xf4, 0, 0, 0, 0xee])
        .spin()
}

#[test]
fn every_way_out_restores_the_terminal_removes_the_socket_and_writes_the_report() {
    // Keys, or a signal.
    let ways: [(&str, &[u8]); 6] = [
        ("Ctrl-C", b"\x03"),
        ("Ctrl-\\", b"\x1c"),
        ("Ctrl-A x", b"\x01x"),
        ("-HUP", b""),
        ("-QUIT", b""),
        ("-TERM", b""),
    ];
    for (name, keys) in ways {
        let Some(mut run) = AtTerminal::start(&Code::new().print("up").spin()) else { return };
        assert!(run.is_raw() && run.sockets() == 1, "{name}");
        // Keys that the guest does not take are in nobody's way.
        run.type_in(&[b'k'; 1000]);
        if keys.is_empty() {
            send(&run.child, name);
        } else {
            run.type_in(keys);
        }
        assert_eq!(run.code(), Some(130), "{name}");
        assert!(run.is_as_before(), "{name}");
        assert_eq!(run.sockets(), 0, "{name}");
        assert_eq!(run.report()["outcome"]["kind"], "interrupted", "{name}");
    }
}

#[test]
fn the_end_by_the_sandbox_restores_the_terminal() {
    let Some(mut run) = AtTerminal::start(&Code::new().print("up").spin()) else { return };
    assert!(run.is_raw());
    // The signal by which the kernel tells of a call that is not allowed.
    send(&run.child, "-SYS");
    assert_eq!(run.code(), Some(159));
    assert!(run.is_as_before());
}

#[test]
fn the_escape_gives_the_users_keys_to_the_guest() {
    for (keys, code) in [(&b"\x01\x03"[..], 0x43), (b"\x01\x1a", 0x5a), (b"\x01\x01", 0x41), (b"\n", 0x4a)] {
        let Some(mut run) = AtTerminal::start(&exits_with_a_key()) else { return };
        run.type_in(keys);
        assert_eq!(run.code(), Some(code), "{keys:?}");
        assert!(run.is_as_before());
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_the_run_is_continued() {
    let Some(mut run) = AtTerminal::start(&exits_with_a_key()) else { return };
    for _ in 0..2 {
        run.type_in(b"\x1a");
        assert!(eventually(|| run.is_stopped()), "it does not stop");
        assert!(run.is_as_before());
        send(&run.child, "-CONT");
        assert!(eventually(|| run.is_raw()), "it does not take the terminal again");
    }
    run.type_in(b"!");
    assert_eq!(run.code(), Some(0x61));
}

/// https://no-color.org: whatever the variable has, but nothing.
#[test]
fn the_log_has_colours_at_a_terminal_unless_the_user_wants_none() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    for (no_color, coloured) in [(None, true), (Some(""), true), (Some("1"), false), (Some("0"), false)] {
        let (terminal, end) = pty();
        let mut command = pvir(&kernel, &["-v"]);
        command.env_remove("NO_COLOR").stdout(Stdio::null()).stderr(end());
        no_color.map(|value| command.env("NO_COLOR", value));
        assert!(command.status().unwrap().success());
        // The other end is open still, so that what is there can be read.
        let mut text = [0; 4096];
        let length = File::from(terminal).read(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]);
        assert!(text.contains("INFO"), "{text}");
        assert_eq!(text.contains("\x1b["), coloured, "NO_COLOR={no_color:?}: {text}");
    }
}
