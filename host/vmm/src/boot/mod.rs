//! PVH boot: kernel, initrd, command line and tables into memory, and the first state of the boot CPU.
//!
//! Linux, "Documentation/arch/x86/boot.rst" and Xen, "docs/misc/pvh.pandoc": 32-bit protected mode without paging, EBX
//! points to `hvm_start_info`.

mod acpi;
mod elf;
mod firmware;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod image_file;
mod notes;
mod words;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use linux_loader::configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use self::image_file::ImageFile;
use crate::vm::layout;
use crate::vm::memory::{self, GuestRange};

const START_INFO_MAGIC: u32 = 0x336e_c578;
const USABLE: u32 = 1;
const RESERVED: u32 = 2;

/// Debugging information counts, which is not loaded: a kernel's file may be larger than the guest's memory.
const MOST_OF_KERNEL: u64 = 4 << 30;

/// What to boot. The files stay open: a guest that is started again is loaded from them once more.
#[derive(Debug)]
pub(crate) struct BootImage {
    kernel: ImageFile,
    initrd: Option<ImageFile>,
    command_line: String,
}

impl BootImage {
    /// Opens the files.
    ///
    /// # Errors
    /// The file that cannot be opened, or is no regular file.
    pub(crate) fn open(kernel: &Path, initrd: Option<&Path>, command_line: String) -> Result<Self> {
        let kernel = ImageFile::open("kernel", kernel)?;
        let initrd = initrd.map(|path| ImageFile::open("--initrd", path)).transpose()?;
        words::warnings(&command_line).for_each(|warning| tracing::warn!("{warning}"));
        Ok(Self { kernel, initrd, command_line })
    }
}

/// Puts all into memory. `high_window` is where 64-bit BARs can be above RAM. Gives the entry point.
pub(crate) fn load(
    memory: &GuestMemoryMmap,
    image: &BootImage,
    apic_ids: &[u32],
    high_window: Option<GuestRange>,
) -> Result<u64> {
    let ram = memory::ranges_of(memory);
    let (entry, kernel_end) = load_kernel(memory, &image.kernel, &ram)?;
    let mut modules = Vec::new();
    if let Some(initrd) = &image.initrd {
        modules.push(load_initrd(memory, initrd, &ram, kernel_end)?);
    }
    load_command_line(memory, &image.command_line)?;
    let tables = acpi::build(layout::ACPI, apic_ids, high_window);
    memory.write_slice(&tables, GuestAddress(layout::ACPI)).context("ACPI tables")?;
    firmware::load(memory).context("reset vector")?;
    write_start_info(memory, &ram, &modules)?;
    Ok(entry)
}

fn load_kernel(memory: &GuestMemoryMmap, kernel: &ImageFile, ram: &[GuestRange]) -> Result<(u64, u64)> {
    let (file, path) = (kernel.read(MOST_OF_KERNEL)?, kernel.path());
    let kernel =
        elf::parse(&file, ram).with_context(|| format!("kernel {} cannot be run", path.display()))?;
    for (address, content) in kernel.segments {
        memory.write_slice(content, GuestAddress(address)).with_context(|| {
            format!("kernel {}: its segment at {address:#x} cannot be written", path.display())
        })?;
    }
    Ok((kernel.entry, kernel.end))
}

/// As high as possible in memory below the hole.
fn load_initrd(
    memory: &GuestMemoryMmap,
    initrd: &ImageFile,
    ram: &[GuestRange],
    kernel_end: u64,
) -> Result<hvm_modlist_entry> {
    let (file, path) = (initrd.read(ram.iter().map(|range| range.size).sum())?, initrd.path());
    let size = file.len() as u64;
    let low = ram.first().map_or(0, GuestRange::end);
    let lowest = kernel_end.max(layout::HIGH_RAM);
    let address = low.checked_sub(size).map(|address| address & !0xfff).filter(|address| *address >= lowest);
    let address = address.ok_or_else(|| {
        anyhow!(
            "--initrd {}: {size} bytes do not fit above the kernel\nhelp: use a larger --memory",
            path.display()
        )
    })?;
    memory.write_slice(&file, GuestAddress(address)).context("initrd")?;
    Ok(hvm_modlist_entry { paddr: address, size, ..Default::default() })
}

fn load_command_line(memory: &GuestMemoryMmap, line: &str) -> Result<()> {
    if line.contains('\0') {
        bail!("--append: the command line has a zero byte in it");
    }
    let room = layout::COMMAND_LINE_SIZE - 1;
    if line.len() as u64 > room {
        bail!("--append: the command line has {} bytes, {room} at most", line.len());
    }
    let bytes = [line.as_bytes(), &[0]].concat();
    memory.write_slice(&bytes, GuestAddress(layout::COMMAND_LINE)).context("command line")
}

fn write_start_info(
    memory: &GuestMemoryMmap,
    ram: &[GuestRange],
    modules: &[hvm_modlist_entry],
) -> Result<()> {
    let entry = |range: &GuestRange, kind| hvm_memmap_table_entry {
        addr: range.start,
        size: range.size,
        type_: kind,
        ..Default::default()
    };
    let reserved = GuestRange::new(layout::LOW_RAM_END, layout::HIGH_RAM - layout::LOW_RAM_END);
    let mut map: Vec<_> = memory::usable_ranges(ram).iter().map(|range| entry(range, USABLE)).collect();
    map.insert(1, entry(&reserved, RESERVED));
    let count = |length: usize| u32::try_from(length).context("too many entries");
    let start_info = hvm_start_info {
        magic: START_INFO_MAGIC,
        version: 1,
        nr_modules: count(modules.len())?,
        modlist_paddr: if modules.is_empty() { 0 } else { layout::MODULES },
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: layout::ACPI,
        memmap_paddr: layout::MEMORY_MAP,
        memmap_entries: count(map.len())?,
        ..Default::default()
    };
    let mut parameters = BootParams::new(&start_info, GuestAddress(layout::START_INFO));
    parameters.set_sections(&map, GuestAddress(layout::MEMORY_MAP));
    if !modules.is_empty() {
        parameters.set_modules(modules, GuestAddress(layout::MODULES));
    }
    PvhBootConfigurator::write_bootparams(&parameters, memory)
        .map_err(|error| anyhow!("PVH boot parameters: {error}"))
}

/// General registers of the boot CPU.
pub(crate) fn registers(entry: u64) -> kvm_regs {
    kvm_regs { rip: entry, rbx: layout::START_INFO, rflags: 2, ..Default::default() }
}

/// Segments and control registers of the boot CPU, in place of those after reset.
pub(crate) fn set_protected_mode(sregs: &mut kvm_sregs) {
    const CODE: u8 = 0xb;
    const DATA: u8 = 3;
    const TASK: u8 = 0xb;
    const PROTECTED: u64 = 1;
    const EXTENSION_TYPE: u64 = 1 << 4;
    let flat = |selector: u16, kind: u8| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    sregs.cs = flat(8, CODE);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = flat(16, DATA);
    }
    sregs.tr = kvm_segment { limit: 0x67, selector: 24, type_: TASK, present: 1, ..Default::default() };
    sregs.cr0 = PROTECTED | EXTENSION_TYPE;
    sregs.cr4 = 0;
    sregs.efer = 0;
}
