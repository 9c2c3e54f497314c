//! What a lab can be asked for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::setup::{Kernel, Modules};

const SILENCE: Duration = Duration::from_secs(300);

const EXIT_STATUS: &str = "Exit status:
  that of COMMAND, 128 + N if signal N ended it, 126 or 127 if it could not be started or found in L1;
  125 if the lab itself failed (its machine crashed or did not come up in time, a device could not be bound);
  then the end of the machine's console is shown, and where the whole of it is.

In L1, COMMAND runs as root in the payload's folder, with pvir, lab-witness and busybox on PATH, and
  PVIR_KERNEL    the test kernel
  PVIR_PAYLOAD   the payload's folder
  PVIR_DEVICES   the devices bound to vfio-pci, in the order of the --device options
  PVIR_LINUX     with --linux-guest: the kernel of a Linux guest; PVIR_INITRD is its initramfs
  PVIR_OUT       a folder that travels back with --out

Drivers and tools for modprobe are in L1, loaded only by request. A COMMAND with a terminal on both ends gets one.";

/// Run a command in the lab's machine.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) options: Options,
    /// The command and its arguments, passed on byte for byte; no shell comes between
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<OsString>,
}

/// The lab's machine.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The IOMMU of L1
    #[arg(long, value_enum, default_value_t = Iommu::Intel)]
    pub(crate) iommu: Iommu,
    /// The kernel of L1: `usual`, `newest` (of all that Debian has), the beginning of a release such as 6.12.95, a
    /// package (where it is empty: linux-binary-*.deb with linux-modules-*.deb beside it), or a folder with
    /// boot/vmlinuz-* and lib/modules
    #[arg(long, value_name = "VERSION|FILE", default_value = "usual")]
    pub(crate) kernel: Kernel,
    /// Give L1 iommufd and VFIO's device files, which no kernel of Debian's has: modules built for its kernel once
    #[arg(long)]
    pub(crate) iommufd: bool,
    /// The same, with the patches of docs/kernel: VFIO returns the messages of started vectors
    #[arg(long)]
    pub(crate) patched: bool,
    /// CPUs of L1; two hold about 400 of the host's interrupt vectors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=255))]
    pub(crate) cpus: u16,
    /// A device, as QEMU's -device takes it; it is bound to vfio-pci if it is a PCI function
    #[arg(long = "device", value_name = "ARGUMENT")]
    pub(crate) devices: Vec<String>,
    /// Words to add to the command line of L1's kernel
    #[arg(long, value_name = "ARGS", default_value = "", hide_default_value = true)]
    pub(crate) append: String,
    /// Take a Linux guest along: Debian's kernel and an initramfs, as $PVIR_LINUX and $PVIR_INITRD
    #[arg(long)]
    pub(crate) linux_guest: bool,
    /// A module for the Linux guest, in /lib/guest/modules there
    #[arg(long = "guest-module", value_name = "FILE", requires = "linux_guest")]
    pub(crate) guest_modules: Vec<PathBuf>,
    /// A folder to take along
    #[arg(long, value_name = "DIR")]
    pub(crate) payload: Option<PathBuf>,
    /// A folder (made if need be) for what COMMAND leaves in $PVIR_OUT
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Memory of L1, as QEMU's -m takes it
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub(crate) memory: String,
    /// Seconds until the lab gives up, 0 for never [default: never while there is output, nor for a terminal; after 5
    /// minutes without output on an idle machine, and more on a slow one]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// How long COMMAND may say nothing, on an idle machine
    #[arg(skip = SILENCE)]
    pub(crate) silence: Duration,
    /// A variable for COMMAND, with our own value if none is given
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) variables: Vec<OsString>,
    /// A further argument of QEMU, for instance --qemu=-trace --qemu='vtd_ir*'
    #[arg(long = "qemu", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) qemu: Vec<OsString>,
    /// A folder (made if need be) for the console of L1 and the messages of QEMU, kept whatever happens
    #[arg(long, value_name = "DIR")]
    pub(crate) logs: Option<PathBuf>,
}

/// The IOMMU of the lab's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Iommu {
    /// Intel VT-d with interrupt remapping
    Intel,
    /// AMD-Vi with interrupt remapping
    Amd,
    /// Intel VT-d without interrupt remapping
    IntelNoRemap,
    /// None at all
    Off,
}

impl Options {
    /// The modules of VFIO that L1 is to have.
    pub(crate) fn modules(&self) -> Modules {
        match (self.patched, self.iommufd) {
            (true, _) => Modules::Patched,
            (false, true) => Modules::Iommufd,
            (false, false) => Modules::Debian,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iommu: Iommu::Intel,
            kernel: Kernel::Usual,
            iommufd: false,
            patched: false,
            cpus: 2,
            devices: Vec::new(),
            append: String::new(),
            linux_guest: false,
            guest_modules: Vec::new(),
            payload: None,
            out: None,
            memory: "2G".into(),
            timeout: None,
            silence: SILENCE,
            variables: Vec::new(),
            qemu: Vec::new(),
            logs: None,
        }
    }
}
