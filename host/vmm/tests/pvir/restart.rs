//! `--on-reboot restart`: the machine is as at power-on at each boot.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::guest::{Code, Kernel, eventually, kvm_is_here, pvir, send, split_json, stderr};

/// Runs a guest that says something at each boot until it has said it `times` times, and ends it then.
fn boots(command: &mut Command, times: usize) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    for _ in 0..times {
        match lines.next() {
            Some(line) => text += &(line.unwrap() + "\n"),
            None => break,
        }
    }
    end(&mut child);
    lines.for_each(|line| text += &(line.unwrap() + "\n"));
    let output = child.wait_with_output().unwrap();
    Output { stdout: text.into_bytes(), ..output }
}

fn end(child: &mut Child) {
    send(child, "-TERM");
    assert!(eventually(|| child.try_wait().unwrap().is_some()), "pvir goes on after SIGTERM");
}

/// Counts boots in memory and in registers that a reset must clear, and exits with 1 to 6 if one is not.
fn fresh() -> Code {
    // Memory behind the kernel, the divisor and scratch register of COM1, the address of configuration space, the id of
    // the I/O APIC, and CR2 (mov eax, cr2; mov cr2, eax).
    let code = Code::new().load(0x20_0000).expect_eax(0, 1).in32(0xcf8).expect_eax(0, 2);
    let code = code.eax(0).in8(0x3ff).expect_eax(0, 3).load(0xfec0_0010).expect_eax(0, 4);
    let code = code.bytes(&[0x0f, 0x20, 0xd0]).expect_eax(0, 5);
    // The first byte of this code's own data, which the guest writes over: it is loaded again.
    let code = code.load(crate::guest::LOAD).bytes(&[0x25, 0xff, 0, 0, 0]).expect_eax(0xa1, 6);
    let code =
        code.print("up\n").eax(7).store(0x20_0000).store(crate::guest::LOAD).bytes(&[0x0f, 0x22, 0xd0]);
    code.out32(0xcf8, 0x8000_0800).out8(0x3ff, 0x5a).eax(0x0f00_0000).store(0xfec0_0010)
}

#[test]
fn each_boot_finds_the_machine_as_at_power_on() {
    if !kvm_is_here() {
        return;
    }
    let fault = fresh().eax(0).store(0x9000).store(0x9004).bytes(&[0x0f, 0x01, 0x1d]);
    let ways = [
        ("reset register", fresh().out8(0xcf9, 6).spin()),
        ("keyboard controller", fresh().out8(0x64, 0xfe).spin()),
        ("triple fault", fault.bytes(&0x9000_u32.to_le_bytes()).bytes(&[0x0f, 0x0b])),
    ];
    for (way, guest) in ways {
        let kernel = Kernel::new(&guest.elf());
        let mut command = pvir(&kernel, &["--on-reboot", "restart", "--cpus", "2", "--json", "-"]);
        // The first line is the token of --json.
        let output = boots(&mut command, 5);
        assert_eq!(output.status.code(), Some(130), "{way}: {}", stderr(&output));
        let (text, json) = split_json(&output);
        assert!(text.lines().count() >= 4 && text.lines().all(|line| line == "up"), "{way}: {text}");
        assert_eq!(json["outcome"]["kind"], "interrupted", "{way}");
        assert!(json["restarts"].as_u64().unwrap() >= 3, "{way}: {json:#}");
    }
}

#[test]
fn a_guest_that_crashes_at_once_is_waited_for_and_told() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new().bytes(&[0x0f, 0x01, 0x1d]).bytes(&0x9000_u32.to_le_bytes()).bytes(&[0x0f, 0x0b]);
    let kernel = Kernel::new(&guest.elf());
    let mut command = pvir(&kernel, &["--on-reboot", "restart"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    // Until the fourth is told, which is before it is waited for.
    let mut waits = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let wait = line.strip_prefix("pvir: guest crashed, and is started again in ");
        waits.extend(wait.map(str::to_owned));
        told += &(line + "\n");
        if waits.len() == 4 {
            break;
        }
    }
    end(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
    assert_eq!(waits, ["0.1 s", "0.2 s", "0.4 s", "0.8 s"], "{told}");
    assert_eq!(told.matches("vCPU 0 (APIC id 0): triple fault").count(), 3, "{told}");
}

#[test]
fn what_is_no_reset_ends_the_run() {
    if !kvm_is_here() {
        return;
    }
    for (guest, code) in [(Code::new().exit(7), 7), (Code::new().out8(0x600, 0x34).spin(), 0)] {
        let output = pvir(&Kernel::new(&guest.elf()), &["--on-reboot", "restart"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

#[test]
fn a_kernel_that_has_gone_meanwhile_is_loaded_again_and_one_that_was_spoilt_is_named() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().print("up\n").out8(0xcf9, 6).spin().elf());
    let mut command = pvir(&kernel, &["--on-reboot", "restart"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let aside = kernel.path.with_extension("aside");
    std::fs::rename(&kernel.path, &aside).unwrap();
    (0..3).for_each(|_| assert_eq!(lines.next().unwrap().unwrap(), "up"));
    std::fs::write(&aside, "nothing").unwrap();
    lines.for_each(|line| assert_eq!(line.unwrap(), "up"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot be started again: kernel"), "{}", stderr(&output));
}
