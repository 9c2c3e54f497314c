//! The VMM `pvir`, with host devices that it has not opened by the library: a stand-in for a VMM that has containers, DMA
//! mappings and open devices of its own (`./run.sh test intel/foreign amd/foreign`).
//!
//! `pvir-foreign-vfio WAY run ...` is `pvir run ...`. WAY says how host devices are opened:
//!
//! - `descriptor`: by plain ioctls ([`plain`]); the library gets the device's descriptor.
//! - `object`: by `vfio-ioctls` ([`crates`]); the library gets its `VfioDevice`.
//! - `container`: in a container of `vfio-ioctls` ([`crates`]), in which the library opens the device; RAM is mapped, taken
//!   away and mapped again while the device is open.
//! - `another=BDF`: by plain ioctls, but the device at BDF in place of the one that the VMM names.

mod crates;
mod plain;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use pvir::{Assembly, HostDevice};
use pvir_host::vfio::VfioPci;

/// As `pvir` answers a wrong command line.
const USAGE: u8 = 2;

/// How host devices are opened.
enum Way {
    Plain(plain::Vmm),
    Crates(crates::Vmm),
}

impl Way {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "descriptor" => Self::Plain(plain::Vmm::default()),
            "object" => Self::Crates(crates::Vmm::giving_objects()),
            "container" => Self::Crates(crates::Vmm::giving_its_container()),
            _ => Self::Plain(plain::Vmm::opening(name.strip_prefix("another=")?)),
        })
    }
}

impl Assembly for Way {
    fn host_device(&self, wanted: &HostDevice<'_>) -> Result<Option<VfioPci>, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Plain(vmm) => vmm.open(wanted),
            Self::Crates(vmm) => vmm.open(wanted),
        }
        .map(Some)
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().collect();
    let name = if arguments.len() > 1 { arguments.remove(1) } else { OsString::new() };
    let Some(way) = name.to_str().and_then(Way::of) else {
        eprintln!("usage: pvir-foreign-vfio descriptor|object|container|another=BDF run ...");
        return ExitCode::from(USAGE);
    };
    pvir::run_program(arguments, &way)
}
