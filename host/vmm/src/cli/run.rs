//! The arguments of `pvir run`.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use pvir_host::service::{RateLimit, StormLimit};

use super::{Cli, apic_ids, limits};
use crate::device_spec::DeviceSpec;
use crate::devices::interrupt_mode::InterruptMode;
use crate::devices::vfio_way::WayChoice;
use crate::json_target::JsonTarget;
use crate::memory_size::MemorySize;
use crate::restart::OnReboot;
use crate::sandbox::SandboxMode;
use crate::serial_target::SerialTarget;
use crate::vm::blank::RamPins;

/// `pvir run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Guest kernel: an ELF file with a PVH entry note (an uncompressed vmlinux, or the test kernel)
    #[arg(env = "PVIR_KERNEL", value_name = "KERNEL", required_unless_present = "restore")]
    pub(crate) kernel: Option<PathBuf>,
    /// Go on from a file of `pvir save` in place of starting a kernel. The vCPUs, the memory and the devices are those of
    /// the saved VM. With --on-reboot restart, KERNEL, --append and --initrd are what is started when the guest resets its
    /// machine
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub(crate) restore: Option<PathBuf>,

    /// Words for the kernel's command line; may be given several times
    #[arg(
        long,
        visible_alias = "cmdline",
        value_name = "ARGS",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    pub(crate) append: Vec<String>,
    /// Initial RAM disk, handed over as the first PVH module
    #[arg(long, visible_alias = "initramfs", value_name = "FILE", help_heading = "Guest")]
    pub(crate) initrd: Option<PathBuf>,
    /// Where the guest's consoles end: `tty` is stdout, with keys from stdin; `file=PATH` a new file; `off` nowhere.
    /// `socket=PATH` is a UNIX socket, at which one client at a time reads and writes. The guest does not wait for it: the
    /// last 64 KiB are kept for a client that is slow or not there yet
    #[arg(long, value_name = "TARGET", default_value = "tty", help_heading = "Guest")]
    pub(crate) serial: SerialTarget,

    /// Let the guest call by VMCALL, or VMMCALL on AMD, by the capability of KVM that has this number and forwards a range
    /// of hypercalls: KVM's own are then served as ever. Otherwise, where KVM knows Xen, all hypercalls are intercepted. No
    /// released kernel has the capability (docs/kernel); any number may be another one's, so none is tried
    #[arg(long, value_name = "NUMBER", help_heading = "Machine")]
    pub(crate) kvm_hypercalls: Option<u32>,
    /// Number of vCPUs [default: 1, or as many as --apic-ids has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Machine")]
    pub(crate) cpus: Option<u32>,
    /// Guest memory, for example 512M, 2GiB; a bare number is MiB
    #[arg(long, value_name = "SIZE", default_value = "256M", help_heading = "Machine")]
    pub(crate) memory: MemorySize,
    /// APIC ids of the vCPUs in order, sparse if wished: `0,300`; the first is the boot CPU
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Machine")]
    pub(crate) apic_ids: Vec<u32>,
    /// APIC id of one vCPU, the rest keep their number; may be given several times
    #[arg(long, value_name = "CPU=ID", value_parser = apic_ids::parse_one, conflicts_with = "apic_ids", help_heading = "Machine")]
    pub(crate) apic_id: Vec<(u32, u32)>,

    /// Device for the guest, in this order on its bus from 00:01.0; may be given several times.
    /// `vfio=BDF` (or its sysfs path) passes a device through, `emulated[,vectors=N][,ims=N]` adds the emulated one, with
    /// 1 to 2048 MSI-X vectors [default: 16] and as many IMS entries [default: 16]; with `store=msi` it has MSI with 1 to
    /// 32 vectors, a 64-bit address unless `narrow`, and mask bits if `maskable`
    #[arg(long, value_name = "KIND[=...]", help_heading = "Devices")]
    pub(crate) device: Vec<DeviceSpec>,

    /// How host devices are opened, all in one way
    #[arg(long, value_enum, value_name = "WAY", default_value_t = WayChoice::Auto, help_heading = "Devices")]
    pub(crate) vfio: WayChoice,
    /// How the guest's interrupts are programmed
    #[arg(long, value_enum, value_name = "MODE", default_value_t = InterruptMode::Auto, help_heading = "Devices")]
    pub(crate) mode: InterruptMode,
    /// Ask the kernel for the messages of host devices in place of reading them from the devices, by the feature of
    /// VFIO_DEVICE_FEATURE that has this number. No released kernel has one (docs/kernel); any number may be another
    /// feature's, so none is tried
    #[arg(long, value_name = "NUMBER", help_heading = "Devices")]
    pub(crate) vfio_messages: Option<u16>,
    /// Most interrupt remapping table entries that the guest may hold [default: as many as KVM has GSIs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Devices")]
    pub(crate) max_irtes: Option<u32>,
    /// Most of them for each device [default: as many as the guest may hold]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Devices")]
    pub(crate) max_irtes_per_device: Option<u32>,
    /// Irqfds to have ready before the guest asks for them, where it still can: it then waits for fewer ioctls. 0 for none
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = "Devices")]
    pub(crate) armed_ahead: u32,
    /// What the guest may take of the host by what it does to its interrupts, in percent of one core, or `off`. What is
    /// beyond it is refused (RATE_LIMITED) or slowed down; two seconds of work are free at once
    #[arg(long, value_name = "PERCENT", value_parser = limits::parse_rate_limit, default_value = "50", help_heading = "Devices")]
    pub(crate) rate_limit: RateLimit,
    /// Interrupts a second that a device may raise, 1000 or more, and behind a comma all devices together [default: four
    /// times as many], or `off`. A device that raises more is cut off within 100 ms, and goes on when its driver has
    /// reset it, or by `pvir event --readmit`
    #[arg(long, value_name = "RATE[,OF-VM]", value_parser = limits::parse_storm_limit, default_value = "2000000", help_heading = "Devices")]
    pub(crate) storm_limit: StormLimit,

    /// Seconds that the guest has for letting go a device that the host wants back, because it is unbound or removed. Then
    /// it is taken. The VM goes on without it
    #[arg(long, value_name = "SECONDS", value_parser = limits::parse_grace, default_value = "10", allow_negative_numbers = true, help_heading = "Devices")]
    pub(crate) unplug_grace: f64,

    /// What the kernel does with system calls that pvir's threads do not need once the guest runs: `on` ends the run, with
    /// exit code 159, and files can only be read, in /proc and /sys; `log` has them in the kernel's log and changes nothing
    #[arg(long, value_enum, value_name = "MODE", default_value_t = SandboxMode::On, help_heading = "Run and report")]
    pub(crate) sandbox: SandboxMode,
    /// What becomes of a guest that resets its machine: `restart` starts it again in this process, with the machine and its
    /// devices reset and the kernel loaded again, also after a triple fault. One that crashes at once is waited for longer
    /// each time, up to 10 seconds
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnReboot::Exit, help_heading = "Run and report")]
    pub(crate) on_reboot: OnReboot,
    /// Stop the guest after so many seconds, with exit code 124
    #[arg(long, value_name = "SECONDS", value_parser = limits::parse_seconds, allow_negative_numbers = true, help_heading = "Run and report")]
    pub(crate) timeout: Option<f64>,
    /// Print tables of exits, ioctls and interrupts to stderr at the end
    #[arg(long, help_heading = "Run and report")]
    pub(crate) stats: bool,
    /// Do not keep entries that the guest gives back, and how often they interrupted, for what --stats, --stats-interval
    /// or --json tells. To keep them, each UNMAP and DISABLE waits for the kernel to write /proc/interrupts
    #[arg(long, help_heading = "Run and report")]
    pub(crate) no_history: bool,
    /// Print a line of counts and rates to stderr every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = limits::parse_seconds, allow_negative_numbers = true, help_heading = "Run and report")]
    pub(crate) stats_interval: Option<f64>,
    /// Socket at which `pvir routes` and other programs may ask the VM: a line `routes` or `summary` in, a line of JSON
    /// out [default: `$XDG_RUNTIME_DIR/pvir/PID.sock` or `/run/pvir/PID.sock`, where that can be]. Interrupts that were
    /// given back are counted with --stats, --stats-interval or --json only
    #[arg(long, value_name = "PATH", help_heading = "Run and report")]
    pub(crate) control: Option<PathBuf>,
    /// Write the same as JSON at the end: to FILE, to the inherited descriptor N (`fd=N`, in one line), or to stdout (`-`),
    /// after the guest's own output, in one line that starts with `@pvir-host `. A guest can write such a line too: the
    /// first line of stdout is then `@pvir-token TOKEN`, and true lines have the field `token` with it.
    /// SIGUSR1 writes a line with the counts so far, to N or to stdout, at any time
    #[arg(long, value_name = "FILE", help_heading = "Run and report")]
    pub(crate) json: Option<JsonTarget>,
}

impl RunArgs {
    /// Whether entries that were given back are reported. The control socket reports those in use only, which are counted
    /// when it is asked.
    pub(crate) fn keeps_history(&self) -> bool {
        let reported = self.stats || self.stats_interval.is_some() || self.json.is_some();
        reported && !self.no_history
    }

    /// Who has guest RAM pinned.
    pub(crate) fn pins(&self) -> RamPins {
        let passed_through = self.device.iter().any(|device| matches!(device, DeviceSpec::Vfio(_)));
        if passed_through { RamPins::Devices } else { RamPins::None }
    }

    /// The APIC id of each vCPU, first the boot CPU. Ends the program where the arguments contradict each other.
    pub(crate) fn apic_ids(&self) -> Vec<u32> {
        apic_ids::resolve(self.cpus, &self.apic_ids, &self.apic_id)
            .unwrap_or_else(|message| end_by_usage(ErrorKind::ValueValidation, &message))
    }

    /// The kernel that a guest is started with, now or when it resets its machine; `None` for a guest that goes on from a
    /// file and is not started again. Ends the program where the arguments contradict each other.
    pub(crate) fn kernel(&self) -> Option<&Path> {
        self.resolve_kernel().unwrap_or_else(|message| end_by_usage(ErrorKind::ArgumentConflict, message))
    }

    fn resolve_kernel(&self) -> Result<Option<&Path>, &'static str> {
        let is_of_kernel = !self.append.is_empty() || self.initrd.is_some();
        match (&self.restore, self.on_reboot) {
            (Some(_), OnReboot::Exit) if is_of_kernel => Err(
                "--append and --initrd are a kernel's, and --restore goes on without one\nhelp: with --on-reboot restart \
                 they are those of the kernel that is started when the guest resets its machine",
            ),
            // One that the environment names is not that of the saved guest.
            (Some(_), OnReboot::Exit) => Ok(None),
            (Some(_), OnReboot::Restart) if self.kernel.is_none() => Err(
                "--restore with --on-reboot restart needs the KERNEL that is started when the guest resets its machine: the \
                 file has none",
            ),
            _ => Ok(self.kernel.as_deref()),
        }
    }
}

fn end_by_usage(kind: ErrorKind, message: &str) -> ! {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand_mut("run").map_or_else(Cli::command, |run| run.clone());
    run.clone().error(kind, message).exit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use clap::Parser;

    #[test]
    fn what_is_given_back_is_counted_for_whoever_is_told_of_it() {
        let counts = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["pvir", "run", "k"], arguments].concat()).unwrap();
            let Command::Run(run) = cli.command else { panic!("not `run`") };
            run.keeps_history()
        };
        assert!(counts(&["--stats"]) && counts(&["--json", "-"]) && counts(&["--stats-interval", "1"]));
        assert!(!counts(&[]) && !counts(&["--control", "vm.sock"]));
        assert!(!counts(&["--json", "-", "--no-history"]));
    }

    #[test]
    fn devices_and_words_are_repeatable() {
        let cli = Cli::try_parse_from([
            "pvir",
            "run",
            "k",
            "--device",
            "vfio=01:00.0",
            "--device",
            "emulated",
            "--append",
            "a",
            "--append",
            "-b",
        ])
        .unwrap();
        let Command::Run(run) = cli.command else { panic!("not `run`") };
        assert_eq!(run.device.len(), 2);
        assert_eq!(run.append, ["a", "-b"]);
    }

    #[test]
    fn a_guest_that_goes_on_from_a_file_has_a_kernel_only_to_be_started_again() {
        let kernel = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["pvir", "run", "--restore", "f"], arguments].concat()).unwrap();
            let Command::Run(args) = cli.command else { panic!("not run") };
            args.resolve_kernel().map(|kernel| kernel.map(Path::to_owned)).map_err(str::to_owned)
        };
        let restart = ["--on-reboot", "restart"];
        assert_eq!(kernel(&["k"]), Ok(None));
        assert_eq!(kernel(&[&restart[..], &["k", "--append", "x"]].concat()), Ok(Some("k".into())));
        assert!(kernel(&["--append", "x"]).unwrap_err().starts_with("--append and --initrd are a kernel's"));
        if std::env::var_os("PVIR_KERNEL").is_none() {
            assert!(kernel(&restart).unwrap_err().contains("needs the KERNEL"));
        }
    }
}
