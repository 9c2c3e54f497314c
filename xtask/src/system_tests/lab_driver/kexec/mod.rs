//! Loads a kernel for the crash of the one that runs: run in a Linux guest.
//!
//! The kernel is an uncompressed vmlinux and is entered at its 64-bit entry (Documentation/arch/x86/boot.rst of Linux,
//! "64-bit Boot Protocol"), by a few instructions of our own. What the machine is like is told as it was told to the kernel
//! that runs, whose boot parameters its sysfs shows.

mod call;
mod image;
mod params;

use std::fs;

use anyhow::{Context, Result, ensure};

use call::Segment;
use image::Image;
use params::BootParams;

const PAGE: u64 = 4096;
/// From one part to the next, in the first MiB of the region: parameters, command line, code.
const COMMAND_LINE: u64 = PAGE;
const CODE: u64 = 2 * PAGE;
const BOOT_PARAMS: &str = "/sys/kernel/boot_params/data";
const IOMEM: &str = "/proc/iomem";

/// Loads `kernel` with `initrd` and `command_line` for the day when the kernel that runs crashes, into the region that
/// `crashkernel=` has kept for it. All of its RAM is that region, and the first 640 KiB.
///
/// # Errors
///
/// Without such a region, if it is too small, if a file cannot be read, or if the kernel refuses the load.
pub(crate) fn load(kernel: &str, initrd: &str, command_line: &str) -> Result<()> {
    let (start, end) = crash_region()?;
    let kernel = fs::read(kernel).with_context(|| format!("cannot read {kernel}"))?;
    let initrd = fs::read(initrd).with_context(|| format!("cannot read {initrd}"))?;
    let image = Image::parse(&kernel)?;
    let initrd_at = (end - u64::try_from(initrd.len())?) & !(PAGE - 1);
    ensure!(
        image.end().checked_add(start).is_some_and(|top| top <= initrd_at),
        "the kernel and its initramfs do not fit into {start:#x} to {end:#x}"
    );

    let mut params = BootParams::read(BOOT_PARAMS)?;
    params.keep_ram(&[(0, 0xa_0000), (start, end)])?;
    params.set_command_line(start + COMMAND_LINE)?;
    params.set_initrd(initrd_at, initrd.len())?;
    let mut words = command_line.as_bytes().to_vec();
    words.push(0);
    ensure!(u64::try_from(words.len())? <= PAGE, "the command line is longer than a page");
    let code = entry_code(start, image.entry + start);

    let mut segments = vec![
        Segment::new(params.bytes(), start, PAGE),
        Segment::new(&words, start + COMMAND_LINE, PAGE),
        Segment::new(&code, start + CODE, PAGE),
    ];
    // Moved as a whole: a kernel that can be relocated finds out where it is.
    for part in &image.parts {
        segments.push(Segment::new(part.content, part.address + start, part.size));
    }
    segments.push(Segment::new(&initrd, initrd_at, end - initrd_at));
    call::load_for_crash(start + CODE, &segments)
}

/// `mov $params, %rsi; mov $entry, %rax; jmp *%rax`: kexec enters with all registers zero.
fn entry_code(params: u64, entry: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0xbe];
    code.extend(params.to_le_bytes());
    code.extend([0x48, 0xb8]);
    code.extend(entry.to_le_bytes());
    code.extend([0xff, 0xe0]);
    code
}

/// First address and end of what is kept for a crash kernel.
fn crash_region() -> Result<(u64, u64)> {
    let text = fs::read_to_string(IOMEM).with_context(|| format!("cannot read {IOMEM}"))?;
    let line = text.lines().find(|line| line.ends_with(": Crash kernel"));
    let line = line.context("no region for a crash kernel: boot with crashkernel=SIZE")?;
    let (range, _) = line.trim().split_once(' ').context("a region without a range")?;
    let (first, last) = range.split_once('-').context("a range without an end")?;
    Ok((u64::from_str_radix(first, 16)?, u64::from_str_radix(last, 16)? + 1))
}
