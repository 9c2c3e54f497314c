//! The channel between `xtask` on the user's machine (the host end) and `lab-init`, the first program of L1.
//!
//! One virtio-serial port carries everything, as frames: the order between output and exit status is then a matter of
//! course, and so are ends of streams, which a bare port cannot express. L1 says [`Kind::Hello`], the host answers with
//! a [`Job`], then output flows one way and input the other until [`Kind::Exit`] or [`Kind::Failed`]. All the while L1 says
//! [`Kind::Alive`], by which a machine that hangs is told from a command that has nothing to say.

#![forbid(unsafe_code)]

mod frame;
mod job;

pub use frame::{Frame, Kind, read_frame, write_frame};
pub use job::{Job, WindowSize};

/// The name of the virtio-serial port.
pub const PORT_NAME: &str = "pvir.channel";

/// Exit status of a lab that failed itself, whatever the command would have said.
pub const EXIT_LAB_FAILED: u8 = 125;
/// Exit status of a command that exists but cannot be started.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit status of a command that does not exist.
pub const EXIT_NOT_FOUND: u8 = 127;

/// Where the programs of the lab are in L1.
pub const BIN_DIR: &str = "/lab/bin";
/// Where the test kernel is in L1.
pub const KERNEL_FILE: &str = "/lab/kernel.elf";
/// Where the kernel of a Linux guest is in L1, if it is there.
pub const LINUX_FILE: &str = "/lab/linux";
/// Where that guest's initramfs is.
pub const INITRD_FILE: &str = "/lab/linux.initrd";
/// Where the payload is in L1.
pub const PAYLOAD_DIR: &str = "/payload";
/// What a command leaves here travels back to the host.
pub const OUT_DIR: &str = "/out";
/// The list of modules that L1 loads as it starts, one path in a line, dependencies first.
pub const MODULE_LIST: &str = "/etc/lab-modules";
