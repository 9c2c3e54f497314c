//! What threads may and may not do, by processes that try it: this test binary again, with one test and a task.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::kinds::{self, Kind};
use super::{Sandbox, SandboxMode, groups};

/// What the child is to do, in a mode, as a kind, in that order.
const TASK: &str = "PVIR_SANDBOX_TASK";

type Task = (&'static str, fn() -> bool);

/// Each with the name that the parent asks for. Its answer says whether the kernel let it.
const TASKS: [Task; 13] = [
    ("run a program", || Command::new("true").status().is_ok()),
    ("make a file", || File::create("/dev/null").is_ok()),
    ("read a file of the system", || fs::read("/proc/interrupts").is_ok_and(|text| !text.is_empty())),
    ("read another file", || fs::read(std::env::current_exe().unwrap()).is_ok()),
    ("list a folder", || fs::read_dir("/sys").is_ok_and(|folder| folder.count() > 0)),
    ("use the network", || UdpSocket::bind("127.0.0.1:0").is_ok()),
    ("kill another", || kill_process(Pid::INIT, Signal::CONT).is_ok()),
    ("kill itself", || kill_process(rustix::process::getpid(), Signal::CONT).is_ok()),
    ("another ioctl", || rustix::io::ioctl_fionbio(std::io::stdin(), false).is_ok()),
    ("start a thread", || std::thread::spawn(|| vec![1; 1 << 20].len() > 1).join().unwrap()),
    ("handle a signal", || vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, nothing).is_ok()),
    ("connect to a socket", || UnixStream::connect("/").is_err()),
    ("work", || {
        let (sender, receiver) = std::sync::mpsc::channel();
        sender.send(vec![0_u8; 1 << 22]).unwrap();
        // The heap of this thread grows, and gives back.
        drop((0..400).map(|_| vec![1_u8; 100_000]).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(1));
        let map = std::collections::HashMap::from([(1, receiver.recv().unwrap())]);
        map[&1].len() == 1 << 22
    }),
];

extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Not a test where no parent asks for a task.
#[test]
fn child() {
    let Ok(words) = std::env::var(TASK) else { return };
    let [mode, kind, task] = words.split('/').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let mode = if mode == "log" { SandboxMode::Log } else { SandboxMode::On };
    let kind = kinds::ALL.into_iter().find(|known| known.name == kind).unwrap();
    let (_, task) = TASKS.iter().find(|(name, _)| *name == task).unwrap();
    Sandbox::new(mode, || ()).unwrap().enter(kind);
    // Past the harness, which is restricted too.
    std::process::exit(if task() { 0 } else { 1 });
}

fn attempt(mode: &str, kind: &Kind, task: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sandbox::tests::child", "--nocapture"]);
    command.env(TASK, [mode, kind.name, task].join("/")).output().unwrap()
}

fn succeeds(kind: &Kind, task: &str) {
    let output = attempt("on", kind, task);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{} may {task}: {text}", kind.name);
}

/// The kernel answers with an error.
fn fails(kind: &Kind, task: &str) {
    let output = attempt("on", kind, task);
    assert_eq!(output.status.code(), Some(1), "{} cannot {task}: {output:?}", kind.name);
}

/// The process ends by SIGSYS: glibc starts threads and programs with all signals blocked, so that no handler runs.
fn is_killed(kind: &Kind, task: &str) {
    let output = attempt("on", kind, task);
    let ended = output.status.signal() == Some(libc::SIGSYS) || output.status.code() == Some(159);
    assert!(ended, "{} may not {task}: {output:?}", kind.name);
}

/// The process ends with the status of a violation, and has named the call.
fn is_stopped(kind: &Kind, task: &str, calls: &[&str]) {
    let output = attempt("on", kind, task);
    let text = String::from_utf8_lossy(&output.stderr);
    let named = calls.iter().any(|call| text.contains(&format!("({call})")));
    assert!(output.status.code() == Some(159) && named, "{} may not {task}: {output:?}", kind.name);
    assert!(text.contains("pvir: the sandbox stopped thread "), "{text}");
}

#[test]
fn every_thread_can_work_and_none_can_start_a_program_or_write_a_file() {
    for kind in kinds::ALL {
        succeeds(kind, "work");
        is_killed(kind, "run a program");
        if kind.refused.contains(&groups::NO_FILES) {
            fails(kind, "make a file");
        } else {
            is_stopped(kind, "make a file", &["openat"]);
        }
        is_stopped(kind, "handle a signal", &["rt_sigaction"]);
    }
}

#[test]
fn what_reads_the_system_reads_nothing_else() {
    for kind in [&kinds::VCPU, &kinds::CONTROL, &kinds::MAIN] {
        succeeds(kind, "read a file of the system");
        succeeds(kind, "list a folder");
        let sandbox = Sandbox::new(SandboxMode::On, || ()).unwrap();
        if matches!(sandbox.landlock(), Some(super::Landlock::Version(_))) {
            fails(kind, "read another file");
        }
    }
    for kind in [&kinds::OUTPUT, &kinds::STDIN, &kinds::PREARM, &kinds::DEVICE, &kinds::SIGNALS] {
        fails(kind, "read a file of the system");
    }
}

#[test]
fn signals_sockets_ioctls_and_threads_are_those_of_the_kind() {
    is_stopped(&kinds::VCPU, "kill itself", &["kill"]);
    succeeds(&kinds::MAIN, "kill itself");
    succeeds(&kinds::STDIN, "kill itself");
    is_stopped(&kinds::MAIN, "kill another", &["kill"]);
    is_stopped(&kinds::MAIN, "use the network", &["socket"]);
    is_stopped(&kinds::CONTROL, "connect to a socket", &["socket"]);
    succeeds(&kinds::MAIN, "connect to a socket");
    is_stopped(&kinds::VCPU, "another ioctl", &["ioctl"]);
    for kind in kinds::ALL {
        match kind.refused.contains(&groups::NO_CLONE3) {
            true => succeeds(kind, "start a thread"),
            false => is_killed(kind, "start a thread"),
        }
    }
}

#[test]
fn logging_changes_nothing() {
    for task in ["run a program", "make a file", "use the network", "read another file", "start a thread"] {
        let output = attempt("log", &kinds::VCPU, task);
        assert_eq!(output.status.code(), Some(0), "{task}: {output:?}");
    }
}

#[test]
fn a_kernel_without_filters_is_told_with_what_goes_on_without() {
    // What such a kernel answers, for this thread and those that it starts.
    let seccomp = BTreeMap::from([(libc::SYS_seccomp, Vec::new())]);
    let refused = SeccompAction::Errno(libc::EINVAL.cast_unsigned());
    let filter = SeccompFilter::new(seccomp, SeccompAction::Allow, refused, TargetArch::x86_64).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    for mode in [SandboxMode::On, SandboxMode::Log] {
        let error = format!("{:#}", Sandbox::new(mode, || ()).unwrap_err());
        assert!(
            error.contains("`--sandbox off` runs the guest without") && error.contains("os error 22"),
            "{error}"
        );
    }
    assert!(Sandbox::new(SandboxMode::Off, || ()).is_ok());
}

#[test]
fn no_list_has_what_a_taken_over_process_would_want() {
    let wanted = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_setuid,
        libc::SYS_memfd_secret,
        libc::SYS_bind,
    ];
    for kind in kinds::ALL {
        assert!(
            kind.calls.iter().copied().flatten().all(|call| !wanted.contains(&call.number)),
            "{}",
            kind.name
        );
    }
}
