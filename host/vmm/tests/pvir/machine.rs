//! The machine on the real KVM, by guests of a few instructions.

use pvir_abi::Status;

use crate::guest::{Code, Kernel, kvm_is_here, pvir, run, split_json, stderr, stdout};

#[test]
fn guest_prints_on_its_serial_port_and_its_code_is_passed_through() {
    if !kvm_is_here() {
        return;
    }
    let output = run(&Code::new().print("hello\n").exit(42), &[]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(42), "hello\n".to_owned()),
        "{}",
        stderr(&output)
    );
}

#[test]
fn exits_are_counted_exactly() {
    if !kvm_is_here() {
        return;
    }
    let guest = Code::new()
        .print("abc")
        .out8(0x80, 0)
        .out8(0x80, 0)
        .eax(1)
        .store(0xd000_0000)
        .load(0xd000_0000)
        .exit(0);
    let output = run(&guest, &["--json", "-"]);
    let (text, json) = split_json(&output);
    let expected = serde_json::json!({"port-serial": 3, "port-other": 2, "mmio-other": 2, "port-exit": 1});
    assert_eq!(
        (text.as_str(), &json["exits"], &json["exits_total"]),
        ("abc\n", &expected, &8.into()),
        "{json:#}"
    );
    assert_eq!(json["vcpus"][0]["exits"], expected);
    assert_eq!(json["ioctls"]["KVM_RUN"], 8);
    assert_eq!(json["outcome"]["kind"], "guest-exit");
}

#[test]
fn string_output_is_one_exit() {
    if !kvm_is_here() {
        return;
    }
    // mov esi, text; mov ecx, 5; mov edx, COM1; cld; rep outsb
    let guest = Code::new()
        .bytes(&[0xeb, 5])
        .bytes(b"many\n")
        .bytes(&[0xbe, 2, 0, 0x10, 0, 0xb9, 5, 0, 0, 0, 0xba, 0xf8, 3, 0, 0, 0xfc, 0xf3, 0x6e])
        .exit(0);
    let (text, json) = split_json(&run(&guest, &["--json", "-"]));
    assert_eq!(text, "many\n");
    // KVM may split it, but not drop its operand size.
    let exits = json["exits"]["port-serial"].as_u64().unwrap();
    assert!((1..=5).contains(&exits), "{json:#}");
}

#[test]
fn a_line_on_the_paravirtual_console_is_one_exit_and_keeps_its_order_with_serial_output() {
    if !kvm_is_here() {
        return;
    }
    const PAGE: u32 = 0x20_0000;
    const SIGNATURE: u32 = u32::from_le_bytes(*b"PVCN");
    let text = |code: Code, text: &[u8; 4]| code.eax(u32::from_le_bytes(*text)).store(PAGE);
    let guest = Code::new().in32(0x505c).expect_eax(SIGNATURE, 1).in32(0x5060).expect_eax(0, 2);
    // Without a page nothing goes out.
    let guest =
        text(guest.out32(0x5060, 4), b"one\n").out32(0x505c, PAGE >> 12).in32(0x5060).expect_eax(4096, 3);
    let guest = text(guest.out32(0x5060, 4).print("two\n"), b"3rd\n").out32(0x5060, 4).out32(0x5060, 4097);
    // Beyond RAM there is no page, and narrow accesses are none.
    let guest = guest.out8(0x5060, 4).out32(0x505c, 0xfee00).out32(0x5060, 4).in32(0x5060).expect_eax(0, 4);
    let (text, json) = split_json(&run(&guest.print("4th\n").exit(0), &["--json", "-"]));
    assert_eq!(text, "one\ntwo\n3rd\n4th\n");
    let expected = serde_json::json!({"port-console": 12, "port-serial": 8, "port-exit": 1});
    assert_eq!((&json["exits"], &json["exit_code"]), (&expected, &0.into()), "{json:#}");
    assert_eq!(json["ioctls"]["KVM_GET_SREGS (console)"], 2);
}

#[test]
fn start_info_is_as_pvh_has_it() {
    if !kvm_is_here() {
        return;
    }
    // mov eax, [ebx]: magic; [ebx + 4]: version; rsdp: "RSD "; command line: "abcd"
    let guest = Code::new()
        .bytes(&[0x8b, 0x03])
        .expect_eax(0x336e_c578, 1)
        .bytes(&[0x8b, 0x43, 4])
        .expect_eax(1, 2)
        .bytes(&[0x8b, 0x43, 32, 0x8b, 0x00])
        .expect_eax(u32::from_le_bytes(*b"RSD "), 3)
        .bytes(&[0x8b, 0x43, 24, 0x8b, 0x00])
        .expect_eax(u32::from_le_bytes(*b"ab c"), 4)
        .exit(0);
    let output = run(&guest, &["--append", "ab", "--append", "cd=1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn initrd_is_handed_over_as_a_module() {
    if !kvm_is_here() {
        return;
    }
    let initrd = Kernel::new(b"0123456789");
    // nr_modules; then modlist -> paddr -> content, and its size
    let guest = Code::new()
        .bytes(&[0x8b, 0x43, 12])
        .expect_eax(1, 1)
        .bytes(&[0x8b, 0x43, 16, 0x8b, 0x40, 8])
        .expect_eax(10, 2)
        .bytes(&[0x8b, 0x43, 16, 0x8b, 0x00, 0x8b, 0x00])
        .expect_eax(u32::from_le_bytes(*b"0123"), 3)
        .exit(0);
    let output = run(&guest, &["--initrd", initrd.path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn triple_fault_ends_the_run_with_a_report() {
    if !kvm_is_here() {
        return;
    }
    // lidt with a limit of 0 from zeroed memory, then ud2: there is no gate for it, nor for the double fault
    let guest = Code::new().bytes(&[0x0f, 0x01, 0x1d]).bytes(&0x9000_u32.to_le_bytes()).bytes(&[0x0f, 0x0b]);
    let output = run(&guest, &["--cpus", "2"]);
    assert_eq!(output.status.code(), Some(4));
    let report = stderr(&output);
    for part in ["vCPU 0 (APIC id 0): triple fault", "rip 0000000000100007", "cr2", "code at rip 0f 0b"] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
}

#[test]
fn resets_end_the_run_cleanly() {
    if !kvm_is_here() {
        return;
    }
    let by_port = run(&Code::new().out8(0xcf9, 6).spin(), &["--json", "-"]);
    let by_keyboard = run(&Code::new().out8(0x64, 0xfe).spin(), &["--json", "-"]);
    assert_eq!((by_port.status.code(), by_keyboard.status.code()), (Some(0), Some(0)));
    assert_eq!(split_json(&by_port).1["outcome"]["by"], "port 0xcf9");
    assert_eq!(split_json(&by_keyboard).1["outcome"]["by"], "keyboard controller");
}

#[test]
fn apic_ids_are_the_vcpus_ids() {
    if !kvm_is_here() {
        return;
    }
    // cpuid leaf 0xb: edx is the x2APIC id
    let cpuid = Code::new().eax(0xb).bytes(&[0x31, 0xc9, 0x0f, 0xa2, 0x89, 0xd0]);
    let narrow = run(&cpuid.clone().expect_eax(0, 1).exit(0), &["--apic-ids", "0,300"]);
    let boot_is_wide = run(&cpuid.expect_eax(300, 1).exit(0), &["--apic-ids", "300,5"]);
    assert_eq!(narrow.status.code(), Some(0), "{}", stderr(&narrow));
    assert_eq!(boot_is_wide.status.code(), Some(0), "{}", stderr(&boot_is_wide));
}

#[test]
fn kernel_may_come_from_the_environment() {
    if !kvm_is_here() {
        return;
    }
    let kernel = Kernel::new(&Code::new().exit(7).elf());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pvir"));
    let limit = patience::stretched(std::time::Duration::from_secs(20)).as_secs_f64().to_string();
    let output =
        command.args(["run", "--timeout", &limit]).env("PVIR_KERNEL", &kernel.path).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn conduits_reach_the_service_and_give_its_status_back() {
    if !kvm_is_here() {
        return;
    }
    // By the port a block beyond RAM, by the MSR (ecx = index, edx:eax = address) one that is unaligned.
    let guest = Code::new()
        .in32(0x5058)
        .expect_eax(Status::PENDING.0, 1)
        .out32(0x5058, 0x10_0000)
        .in32(0x5058)
        .expect_eax(Status::BAD_ADDRESS.0, 2)
        .bytes(&[0xb9, 0, 0, 0x56, 0x50])
        .eax(0x1001)
        .bytes(&[0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32])
        .expect_eax(Status::UNALIGNED.0, 3)
        .exit(0);
    let output = run(&guest, &["--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = split_json(&output).1;
    let expected = serde_json::json!({
        "pvir-port": 1, "pvir-status-port": 2, "pvir-msr": 1, "pvir-status-msr": 1, "port-exit": 1
    });
    assert_eq!((&json["exits"], &json["service"]["refused"]), (&expected, &2.into()), "{json:#}");
}

#[test]
fn console_input_reaches_the_guest() {
    if !kvm_is_here() {
        return;
    }
    // wait for the data-ready bit of the line status, read the byte, exit with it
    let guest = Code::new()
        .in8(0x3fd)
        .bytes(&[0xa8, 1, 0x74, 0xf6])
        .in8(0x3f8)
        .bytes(&[0xba, 0xf4, 0, 0, 0, 0xee])
        .spin();
    let kernel = Kernel::new(&guest.elf());
    let input = Kernel::new(b"G");
    let stdin = std::fs::File::open(&input.path).unwrap();
    let output = pvir(&kernel, &[]).stdin(stdin).output().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(b'G')), "{}", stderr(&output));
}

#[test]
fn signature_block_is_found_behind_kvms() {
    if !kvm_is_here() {
        return;
    }
    // cpuid: ebx of the first leaf; the conduit leaf's port
    let guest = Code::new()
        .eax(0x4000_0100)
        .bytes(&[0x0f, 0xa2, 0x89, 0xd8])
        .expect_eax(u32::from_le_bytes(*b"PVIR"), 1)
        .eax(0x4000_0102)
        .bytes(&[0x0f, 0xa2, 0x89, 0xc8])
        .expect_eax(0x5058, 2)
        .exit(0);
    let output = run(&guest, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
