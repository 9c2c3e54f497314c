//! The VMM `pvir`, with host devices that it has not opened by the library: a stand-in for a VMM that has containers, DMA
//! mappings and open devices of its own (`./run.sh test intel/foreign amd/foreign`).
//!
//! `pvir-foreign-vfio WAY run ...` is `pvir run ...`. WAY says how host devices are opened:
//!
//! - `descriptor`: by plain ioctls ([`plain`]); the library gets the device's descriptor.
//! - `object`: by `vfio-ioctls` ([`crates`]); the library gets its `VfioDevice`.
//! - `container`: in a container of `vfio-ioctls` ([`crates`]), in which the library opens the device; RAM is mapped, taken
//!   away and mapped again while the device is open.
//! - `cdev`: by its own file and an iommufd, by plain ioctls ([`iommufd`]); the library gets the device's descriptor.
//! - `ioas`: in an iommufd and an IOAS of the VMM's, in which the library opens the device ([`iommufd`]).
//! - `another=BDF`: by plain ioctls, but the device at BDF in place of the one that the VMM names.
//!
//! `pvir-foreign-vfio hold BDF` binds the device at BDF to an iommufd, says `bound`, and keeps it until stdin ends.

mod crates;
mod iommufd;
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
    Iommufd(iommufd::Vmm),
}

impl Way {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "descriptor" => Self::Plain(plain::Vmm::default()),
            "object" => Self::Crates(crates::Vmm::giving_objects()),
            "container" => Self::Crates(crates::Vmm::giving_its_container()),
            "cdev" => Self::Iommufd(iommufd::Vmm::giving_the_device()),
            "ioas" => Self::Iommufd(iommufd::Vmm::giving_its_ioas()),
            _ => Self::Plain(plain::Vmm::opening(name.strip_prefix("another=")?)),
        })
    }
}

impl Assembly for Way {
    fn host_device(&self, wanted: &HostDevice<'_>) -> Result<Option<VfioPci>, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Plain(vmm) => vmm.open(wanted),
            Self::Crates(vmm) => vmm.open(wanted),
            Self::Iommufd(vmm) => vmm.open(wanted),
        }
        .map(Some)
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().collect();
    let name = if arguments.len() > 1 { arguments.remove(1) } else { OsString::new() };
    if name == "hold" {
        return match arguments.last().and_then(|device| device.to_str()).map(iommufd::hold) {
            Some(Ok(())) => ExitCode::SUCCESS,
            failed => {
                eprintln!("pvir-foreign-vfio: cannot hold it: {failed:?}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(way) = name.to_str().and_then(Way::of) else {
        eprintln!("usage: pvir-foreign-vfio descriptor|object|container|cdev|ioas|another=BDF run ...");
        return ExitCode::from(USAGE);
    };
    pvir::run_program(arguments, &way)
}
