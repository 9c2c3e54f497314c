//! `--serial` and `--log-file`: where the guest's consoles and the log go.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{
    Code, Kernel, eventually, kvm_is_here, pvir, pvir_without_timeout, run, send, split_json, stderr, stdout,
    works_to_its_end,
};

/// Writes back what it reads, and ends with `q`.
fn echo() -> Code {
    Code::new()
        .print("up\n")
        // the loop: wait for a byte (the line status, bit 0), read it, write it
        .in8(0x3fd)
        .bytes(&[0xa8, 1, 0x74, 0xf6])
        .in8(0x3f8)
        .bytes(&[0xee, 0x3c, b'q', 0x75, 0xeb])
        .exit(7)
}

struct Run {
    child: Child,
    socket: PathBuf,
    _kernel: Kernel,
}

impl Run {
    /// A guest with its console at a socket.
    fn start(code: &Code, more: &[&str]) -> Self {
        let kernel = Kernel::new(&code.elf());
        let socket = kernel.path.with_extension("console");
        let target = format!("socket={}", socket.display());
        let mut command = pvir(&kernel, &["--serial", &target]);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let run = Self { child, socket, _kernel: kernel };
        // The file is there a moment before it can be connected to.
        assert!(eventually(|| UnixStream::connect(&run.socket).is_ok()), "there is no socket");
        run
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }

    fn finish(mut self) -> std::process::Output {
        if !works_to_its_end(&mut self.child) {
            self.child.kill().unwrap();
        }
        let output = self.child.wait_with_output().unwrap();
        assert!(!self.socket.exists(), "the socket is left");
        output
    }
}

fn until(client: &mut UnixStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0; 1];
        assert_eq!(client.read(&mut byte).unwrap(), 1, "closed after {text:?}");
        text.extend_from_slice(&byte);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_socket_has_the_guests_console_for_one_client_after_the_other() {
    if !kvm_is_here() {
        return;
    }
    let run = Run::start(&echo(), &["--json", "-"]);
    let mut first = run.connect();
    assert_eq!(until(&mut first, "\n"), "up\n", "what was written before it came");
    // more than the guest's FIFO and the VMM's own queue hold
    let much = "abcdefgh".repeat(1000);
    let mut writer = first.try_clone().unwrap();
    let text = much.clone();
    let typing = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
    let mut echoed = vec![0; much.len()];
    first.read_exact(&mut echoed).unwrap();
    typing.join().unwrap();
    assert!(echoed == much.as_bytes(), "it is not what was typed");
    drop(first);
    let mut second = run.connect();
    second.write_all(b"hello, q").unwrap();
    assert!(until(&mut second, "q").ends_with("hello, q"));
    let output = run.finish();
    let (guest, json) = split_json(&output);
    assert_eq!((output.status.code(), guest.as_str()), (Some(7), ""), "{}", stderr(&output));
    assert_eq!(json["exit_code"], 7);
}

#[test]
fn a_client_that_does_not_read_holds_neither_the_guest_nor_its_end() {
    if !kvm_is_here() {
        return;
    }
    let run =
        Run::start(&Code::new().in8(0x3fd).bytes(&[0xa8, 1, 0x74, 0xf6]).fill(Some(400_000)).exit(0), &[]);
    let mut client = run.connect();
    client.write_all(b"k").unwrap();
    let output = run.finish();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("pvir: --serial ") && told.contains("bytes are lost: nobody reads it"), "{told}");
    drop(client);
    // Without a client there is nobody to lose anything.
    let output = Run::start(&Code::new().fill(Some(100_000)).exit(0), &[]).finish();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_signal_removes_the_consoles_socket() {
    if !kvm_is_here() {
        return;
    }
    for signals in [1, 2] {
        let run = Run::start(&Code::new().print("up").spin(), &[]);
        let mut client = run.connect();
        until(&mut client, "up");
        (0..signals).for_each(|_| send(&run.child, "-TERM"));
        assert_eq!(run.finish().status.code(), Some(130));
    }
}

#[test]
fn a_file_has_the_guests_consoles_and_stdout_none_of_it() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().print("to the file\n").exit(0).elf());
    let file = kernel.path.with_extension("txt");
    fs::write(&file, "earlier content that is longer than the new one").unwrap();
    let output = pvir(&kernel, &["--serial", &format!("file={}", file.display())]).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), "to the file\n");
    let full = pvir(&kernel, &["--serial", "file=/dev/full"]).output().unwrap();
    assert_eq!(full.status.code(), Some(5));
    assert!(
        stderr(&full).contains("--serial /dev/full: 12 bytes are lost: No space left"),
        "{}",
        stderr(&full)
    );
}

#[test]
fn off_is_silent_and_takes_nothing_from_stdin() {
    if !kvm_is_here() {
        return;
    }
    let output = run(&Code::new().fill(Some(100_000)).exit(3), &["--serial", "off"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), String::new()), "{}", stderr(&output));
    // The line behind the first one is still there for whoever comes next.
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let line = format!(
        "printf '1\\n2\\n' | {{ {} run {} --memory 16M --serial off; cat; }}",
        env!("CARGO_BIN_EXE_pvir"),
        kernel.path.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(stdout(&output), "1\n2\n", "{}", stderr(&output));
}

#[test]
fn what_cannot_be_opened_is_named_and_nobody_waits_for_a_pipes_reader() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let pipe = kernel.path.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let taken = kernel.path.to_str().unwrap();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let begun = Instant::now();
        let output = pvir_without_timeout(&kernel, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        for part in parts {
            assert!(stderr(&output).contains(part), "no `{part}` in {}", stderr(&output));
        }
        assert!(begun.elapsed() < patience::stretched(Duration::from_secs(5)), "{:?}", begun.elapsed());
    };
    refused(
        &["--serial", "file=/nowhere/console"],
        &["--serial: cannot write /nowhere/console: No such file"],
    );
    refused(&["--serial", "socket=/nowhere/console"], &["--serial: cannot find the folder /nowhere"]);
    refused(&["--serial", &format!("socket={taken}")], &["--serial: ", "is there and is no socket"]);
    refused(&["--log-file", "/nowhere/log"], &["--log-file: cannot write /nowhere/log: No such file"]);
    for flag in ["--json", "--log-file"] {
        refused(&[flag, pipe], &[flag, "No such device", "nobody reads the pipe"]);
    }
    refused(&["--serial", &format!("file={pipe}")], &["--serial", "nobody reads the pipe"]);
    let in_use = Run::start(&Code::new().spin(), &[]);
    refused(&["--serial", &format!("socket={}", in_use.socket.display())], &["--serial: ", "is in use"]);
    assert!(fs::metadata(&in_use.socket).unwrap().file_type().is_socket());
    send(&in_use.child, "-TERM");
    in_use.finish();
}

#[test]
fn the_log_goes_to_its_file_behind_what_is_there_and_errors_stay() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let log = kernel.path.with_extension("log");
    fs::write(&log, "earlier\n").unwrap();
    let log = log.to_str().unwrap();
    let quiet = pvir(&kernel, &["-v", "--log-file", log]).output().unwrap();
    assert_eq!((quiet.status.code(), stderr(&quiet)), (Some(0), String::new()));
    let text = fs::read_to_string(log).unwrap();
    assert!(text.starts_with("earlier\n") && text.contains("INFO"), "{text}");
    assert!(!text.contains('\x1b'), "a file has no colours: {text}");
    let failed = pvir(&kernel, &["--log-file", log, "--initrd", "/nowhere"]).output().unwrap();
    assert!(stderr(&failed).contains("--initrd /nowhere"), "{}", stderr(&failed));
    let full = pvir(&kernel, &["-v", "--log-file", "/dev/full"]).output().unwrap();
    assert_eq!(full.status.code(), Some(0));
    assert!(stderr(&full).contains("--log-file /dev/full: "), "{}", stderr(&full));
}

#[test]
fn names_of_other_vmms_are_taken() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let output =
        pvir(&kernel, &["--cmdline", "a", "--append", "noapic", "--initramfs", "/nowhere"]).output().unwrap();
    assert!(stderr(&output).contains("--initrd /nowhere"), "{}", stderr(&output));
    let file = kernel.path.to_str().unwrap();
    let output = pvir(&kernel, &["--cmdline", "noapic", "--initramfs", file]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("noapic"), "{}", stderr(&output));
}
