//! How runs end that the guest does not end, and runs that do not start.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{
    Code, Kernel, eventually, kvm_is_here, pvir, pvir_without_timeout, run, send, split_json, stderr, stdout,
};

#[test]
fn timeout_stops_a_guest_that_spins() {
    if !kvm_is_here() {
        return;
    }
    let started = Instant::now();
    let kernel = Kernel::new(&Code::new().spin().elf());
    let mut command = pvir_without_timeout(&kernel, &["--cpus", "3", "--timeout", "0.5", "--json", "-"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(started.elapsed() < patience::stretched(Duration::from_secs(60)));
    assert_eq!(split_json(&output).1["outcome"]["kind"], "timed-out");
}

/// A guest that says that it runs and then spins, stopped by a signal.
fn stopped_by(signal: &str, arguments: &[&str]) -> std::process::Output {
    let kernel = Kernel::new(&Code::new().print("up\n").spin().elf());
    let mut child = pvir(&kernel, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    send(&child, signal);
    assert!(eventually(|| child.try_wait().unwrap().is_some()), "pvir goes on after {signal}");
    child.wait_with_output().unwrap()
}

#[test]
fn ctrl_c_and_sigterm_stop_all_vcpus_and_print_the_statistics() {
    if !kvm_is_here() {
        return;
    }
    let interrupted = stopped_by("-INT", &["--stats", "--cpus", "2"]);
    assert_eq!(interrupted.status.code(), Some(130), "{}", stderr(&interrupted));
    assert!(stderr(&interrupted).contains("port-serial"), "{}", stderr(&interrupted));
    assert_eq!(stopped_by("-TERM", &[]).status.code(), Some(130));
}

#[test]
fn sigusr1_prints_the_counts_so_far_and_the_guest_goes_on() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().print("up\n").spin().elf());
    let mut child = pvir(&kernel, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    // an exit is counted when it has been handled, and so a moment after its effect is seen
    assert!(eventually(|| {
        send(&child, "-USR1");
        let line = lines.next().unwrap().unwrap();
        let report: serde_json::Value =
            serde_json::from_str(line.strip_prefix("@pvir-host ").unwrap()).unwrap();
        assert_eq!(report["outcome"]["kind"], "running");
        report["exits"]["port-serial"] == 3
    }));
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn kernels_that_cannot_be_run_are_refused_with_the_reason() {
    if !kvm_is_here() {
        return;
    }
    let code = Code::new().exit(0);
    let mut big_endian = code.elf();
    big_endian[5] = 2;
    let refused = |content: &[u8], reason: &str| {
        let kernel = Kernel::new(content);
        let output = pvir(&kernel, &[]).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(reason) && message.contains(kernel.path.to_str().unwrap()), "{message}");
    };
    refused(b"MZ is not ELF", "not an ELF file");
    refused(b"", "not an ELF file");
    refused(&code.elf_without_note(), "no PVH note");
    refused(&code.huge_elf(), "does not fit into guest memory");
    refused(&big_endian, "big-endian");
    refused(&code.elf()[..100], "cut off");
    // A program for Linux has segments that fit into no guest as well, but that is not what helps.
    refused(&std::fs::read("/bin/true").unwrap(), "no PVH note");
}

#[test]
fn an_elf32_kernel_boots() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(7).elf32());
    let output = pvir(&kernel, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn files_that_are_not_there_are_named() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    for (flag, file) in [("--initrd", "/nowhere/initrd"), ("--json", "/nowhere/report.json")] {
        let output = pvir(&kernel, &[flag, file]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(flag) && stderr(&output).contains(file), "{}", stderr(&output));
    }
}

#[test]
fn wrong_arguments_are_named_with_the_flag_and_exit_with_2() {
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    for arguments in [
        &["--memory", "12Q"][..],
        &["--timeout", "-1"],
        &["--cpus", "0"],
        &["--cpus", "2", "--apic-ids", "1"],
        &["--apic-ids", "4,4"],
        &["--device", "vfio=zz"],
        &["--device", "usb"],
        &["--apic-id", "7=1"],
        &["--serial", "pty"],
        &["--serial", "socket="],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
        let output = command.arg("run").arg(&kernel.path).args(arguments).output().unwrap();
        let flag = arguments[arguments.len() - 2];
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(flag), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn apic_id_beyond_kvms_limit_is_refused() {
    if !kvm_is_here() {
        return;
    }
    let output = run(&Code::new().exit(0), &["--apic-ids", "0,4000000000"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("4000000000 is too large"), "{}", stderr(&output));
}

#[test]
fn help_and_version_work_without_kvm() {
    let pvir = |argument| Command::new(env!("CARGO_BIN_EXE_pvir")).args(argument).output().unwrap();
    assert!(stdout(&pvir(&["run", "--help"][..])).contains("Exit codes:"));
    assert!(stdout(&pvir(&["--version"][..])).starts_with("pvir 0.1.0"));
}

#[test]
fn a_reader_that_has_enough_of_a_list_is_no_error() {
    use std::io::Write;
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(reader);
    // As long as there is a line to print.
    let list = |arguments: &[&str]| {
        let out = Stdio::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
        command
            .args(arguments)
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    for arguments in [&["completions", "bash"][..], &["devices", "--all"]] {
        let output = list(arguments);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{arguments:?}");
    }
    assert!((&writer).write(b"x").is_err(), "somebody reads");
}

#[test]
fn a_wrong_filter_is_blamed_on_where_it_stands() {
    let said = |log: &[&str], environment: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
        command.arg("devices").args(log).env_remove("PVIR_LOG");
        if let Some(filter) = environment {
            command.env("PVIR_LOG", filter);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(said(&["--log", "a=b=c"], None).starts_with("pvir: --log: "));
    assert!(said(&[], Some("a=b=c")).starts_with("pvir: PVIR_LOG: "));
    assert!(said(&["--log", "a=b=c"], Some("warn")).starts_with("pvir: --log: "));
}

#[test]
fn files_without_an_end_and_too_much_memory_are_refused_at_once() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(0).elf());
    let large = kernel.path.with_extension("large");
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let pipe = kernel.path.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let [large, pipe] = [&large, &pipe].map(|path| path.to_str().unwrap());
    let refused = |command: &mut Command, reason: &str| {
        let begun = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(reason), "no `{reason}` in {}", stderr(&output));
        assert!(begun.elapsed() < patience::stretched(Duration::from_secs(5)), "{:?}", begun.elapsed());
    };
    let pvir_run = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvir"));
        command.args(["run", path]);
        command
    };
    refused(&mut pvir_run("/dev/zero"), "kernel /dev/zero is no regular file");
    refused(&mut pvir_run(pipe), "is no regular file");
    refused(&mut pvir(&kernel, &["--initrd", "/dev/zero"]), "--initrd /dev/zero is no regular file");
    refused(&mut pvir(&kernel, &["--initrd", large]), "has 1024 MiB, and may have 16 MiB");
    let mut much = pvir_run(kernel.path.to_str().unwrap());
    refused(much.args(["--memory", "5000G"]), "swap included");
}
