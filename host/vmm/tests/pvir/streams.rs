//! Streams that nobody reads, that are slow, full, closed at the other end, or do not block.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::guest::{
    Code, Kernel, kvm_is_here, pvir, pvir_without_timeout, run, send, stderr, stdout, works_to_its_end,
};

/// More than a socket, a pipe and the VMM's queue hold together.
const FLOOD: u32 = 1 << 20;

/// stdout or stderr of a child that nobody reads, kept open by the first.
fn unread() -> (UnixStream, Stdio) {
    let (reader, writer) = UnixStream::pair().unwrap();
    (reader, Stdio::from(std::os::fd::OwnedFd::from(writer)))
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn ends(child: &mut Child) -> bool {
    let ended = works_to_its_end(child);
    if !ended {
        child.kill().unwrap();
    }
    ended
}

/// Ends a guest that fills a stdout which nobody reads.
fn end_a_flood(arguments: &[&str], end: impl Fn(&Child)) -> std::process::Output {
    let kernel = Kernel::new(&Code::new().fill(None).elf());
    let (_reader, out) = unread();
    let mut command = pvir_without_timeout(&kernel, arguments);
    let mut child = command.stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    // It has filled what there is to fill by then.
    thread::sleep(Duration::from_millis(500));
    end(&child);
    assert!(ends(&mut child), "held by its output");
    child.wait_with_output().unwrap()
}

#[test]
fn a_guest_whose_output_nobody_reads_ends_by_time_and_by_each_signal() {
    if !kvm_is_here() {
        return;
    }
    let timed_out = end_a_flood(&["--timeout", "0.7", "--stats"], |_| ());
    assert_eq!(timed_out.status.code(), Some(124), "{}", stderr(&timed_out));
    let told = stderr(&timed_out);
    for part in ["stopped after --timeout 0.7", "port-serial", "stdout: ", "bytes are lost: nobody reads it"]
    {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT"] {
        let ended = end_a_flood(&["--cpus", "2"], |child| send(child, signal));
        assert_eq!(ended.status.code(), Some(130), "{signal}: {}", stderr(&ended));
        assert!(stderr(&ended).contains("pvir: interrupted"), "{signal}: {}", stderr(&ended));
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_reader_at_once() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().fill(Some(60_000)).exit(7).elf());
    let (reader, out) = unread();
    // As little room as there can be, so that the end of the run waits.
    rustix::net::sockopt::set_socket_recv_buffer_size(&reader, 0).unwrap();
    let mut child = pvir(&kernel, &[]).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    let sent = Instant::now();
    send(&child, "-TERM");
    assert!(ends(&mut child), "held by its output");
    let code = child.wait().unwrap().code();
    assert!(code == Some(130) || code == Some(7), "{code:?}");
    assert!(sent.elapsed() < patience::stretched(Duration::from_secs(3)), "{:?}", sent.elapsed());
}

#[test]
fn everything_arrives_at_a_slow_reader_of_a_stream_that_does_not_block() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().fill(Some(FLOOD / 4)).exit(0).elf());
    let (mut reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let mut command = pvir(&kernel, &["--json", "-"]);
    let out = Stdio::from(std::os::fd::OwnedFd::from(writer));
    let mut child = command.stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    // The parent's own copy of the other end.
    drop(command);
    let mut text = Vec::new();
    let mut some = [0; 20_000];
    loop {
        thread::sleep(Duration::from_millis(2));
        match reader.read(&mut some).unwrap() {
            0 => break,
            count => text.extend_from_slice(&some[..count]),
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let text = String::from_utf8(text).unwrap();
    let (token, text) = text.split_once('\n').unwrap();
    assert!(token.starts_with("@pvir-token "), "{token}");
    let (guest, json) = text.split_once("\n@pvir-host ").unwrap();
    assert_eq!(guest.len(), FLOOD as usize / 4);
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["exits"]["port-serial"], FLOOD / 4);
}

#[test]
fn output_to_a_full_disk_is_told_and_is_no_success() {
    if !kvm_is_here() {
        return;
    }
    let run = |code, arguments: &[&str], out: Stdio, err: Stdio| {
        let kernel = Kernel::new(&Code::new().print("lost\n").exit(code).elf());
        pvir(&kernel, arguments).stdout(out).stderr(err).spawn().unwrap().wait_with_output().unwrap()
    };
    let output = run(0, &[], full(), Stdio::piped());
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let told = "stdout: 5 bytes are lost: No space left on device";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
    // A guest's own failure says more.
    assert_eq!(run(9, &[], full(), Stdio::piped()).status.code(), Some(9));
    assert_eq!(run(0, &["--json", "-"], full(), Stdio::piped()).status.code(), Some(5));
    assert_eq!(run(0, &["--stats"], Stdio::piped(), full()).status.code(), Some(5));
    let file = run(0, &["--json", "/dev/full"], Stdio::piped(), Stdio::piped());
    assert_eq!(file.status.code(), Some(5), "{}", stderr(&file));
    assert!(stderr(&file).contains("--json /dev/full"), "{}", stderr(&file));
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_guest() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().print("here\n").exit(42).elf());
    let output = pvir(&kernel, &["-vvv"]).stdout(Stdio::piped()).stderr(full()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(42), "here\n".to_owned()));
}

#[test]
fn a_log_that_nobody_reads_holds_nobody() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().fill(Some(200_000)).exit(3).elf());
    let (_reader, err) = unread();
    let mut command = pvir(&kernel, &["-vvv", "--stats-interval", "0.0001"]);
    let mut child = command.stdout(Stdio::null()).stderr(err).spawn().unwrap();
    assert!(works_to_its_end(&mut child), "held by its log");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().fill(Some(10_000)).exit(0).elf());
    let (reader, out) = unread();
    drop(reader);
    let output = pvir(&kernel, &[]).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("stdout: 10000 bytes are lost"), "{}", stderr(&output));
}

#[test]
fn the_report_of_a_guest_that_forges_one_is_told_from_it() {
    if !kvm_is_here() {
        return;
    }
    let code = Code::new().print("@pvir-host {\"token\":\"0\"}\nunfinished").exit(0);
    let output = run(&code, &["--json", "-"]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        (lines.len(), lines[1], lines[2]),
        (4, "@pvir-host {\"token\":\"0\"}", "unfinished"),
        "{text}"
    );
    let token = lines[0].strip_prefix("@pvir-token ").unwrap();
    let json: serde_json::Value =
        serde_json::from_str(lines[3].strip_prefix("@pvir-host ").unwrap()).unwrap();
    assert!(token.len() == 32 && json["token"] == token, "{text}");
    let again = stdout(&run(&code, &["--json", "-"]));
    assert_ne!(again.lines().next(), Some(lines[0]), "a token for each run");
}

#[test]
fn a_report_goes_to_a_descriptor_of_its_own() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().print("guest").exit(0).elf());
    let command = |redirection: &str| {
        let pvir = env!("CARGO_BIN_EXE_pvir");
        let mut shell = Command::new("sh");
        let line =
            format!("exec {pvir} run {} --memory 16M --json fd=7 {redirection}", kernel.path.display());
        shell.args(["-c", &line]).stdin(Stdio::null()).output().unwrap()
    };
    let report = kernel.path.with_extension("json");
    let output = command(&format!("7>>{}", report.display()));
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "guest".to_owned()), "{}", stderr(&output));
    let text = std::fs::read_to_string(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["exits"]["port-serial"].as_u64(), text.matches('\n').count()), (Some(5), 1));
    let closed = command("7>&-");
    assert_eq!(closed.status.code(), Some(3));
    assert!(stderr(&closed).contains("--json fd=7: Bad file descriptor"), "{}", stderr(&closed));
}
