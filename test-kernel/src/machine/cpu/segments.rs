//! GDT, TSS and stacks of a processor.
//!
//! Every gate has an interrupt stack: code that the compiler gave a red zone can be interrupted anywhere.

#![expect(unsafe_code, reason = "loads descriptor tables and writes the GS base")]

use super::Cpu;
use crate::machine::memory::frames;
use x86_64::VirtAddr;
use x86_64::instructions::tables::load_tss;
use x86_64::registers::model_specific::Msr;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Interrupt stack table slots, as gates number them (1 to 7).
pub(super) const IST_DEVICE: u8 = 1;
pub(super) const IST_EXCEPTION: u8 = 2;
pub(super) const IST_NMI: u8 = 3;
pub(super) const IST_FATAL: u8 = 4;
/// Apart from that of exceptions, so that a report of an exception can be written in ring 3.
pub(super) const IST_RING3_GATE: u8 = 5;

const IA32_GS_BASE: u32 = 0xc000_0101;

/// Tops of the stacks.
#[derive(Debug)]
pub(super) struct Stacks {
    pub(super) main: u64,
    pub(super) user: u64,
    interrupt: [u64; 5],
}

impl Stacks {
    /// Takes them from the page allocator.
    pub(super) fn allocate() -> Option<Self> {
        Some(Self {
            main: stack(8)?,
            user: stack(4)?,
            interrupt: [stack(2)?, stack(4)?, stack(1)?, stack(3)?, stack(4)?],
        })
    }
}

fn stack(pages: u64) -> Option<u64> {
    Some(frames::allocate(pages)?.as_ptr() as u64 + pages * frames::PAGE)
}

/// The descriptor tables of a processor.
#[derive(Debug)]
pub(super) struct Segments {
    gdt: GlobalDescriptorTable<8>,
    tss: TaskStateSegment,
}

impl Segments {
    /// Tables with nothing in them.
    pub(super) fn empty() -> Self {
        Self { gdt: GlobalDescriptorTable::empty(), tss: TaskStateSegment::new() }
    }

    /// Fills them at their final place. The selectors are those of the boot GDT (0x08, 0x10), and 0x1b, 0x23
    /// for ring 3, 0x28 for the TSS.
    pub(super) fn fill(&mut self, stacks: &Stacks) {
        // The TSS is packed, so its fields cannot be borrowed.
        for (slot, top) in stacks.interrupt.into_iter().enumerate() {
            self.tss.interrupt_stack_table[slot] = VirtAddr::new(top);
        }
        self.tss.privilege_stack_table[0] = VirtAddr::new(stacks.interrupt[1]);
        self.gdt.append(Descriptor::kernel_code_segment());
        self.gdt.append(Descriptor::kernel_data_segment());
        self.gdt.append(Descriptor::user_data_segment());
        self.gdt.append(Descriptor::user_code_segment());
        // SAFETY: the TSS stays where it is for ever, beside this GDT.
        self.gdt.append(unsafe { Descriptor::tss_segment_unchecked(&raw const self.tss) });
    }
}

/// Makes this processor use the tables and GS of `cpu`.
pub(super) fn load(cpu: &'static Cpu) {
    // SAFETY: filled by `fill`; the selectors in use mean the same in it as in the boot GDT.
    unsafe { cpu.segments.gdt.load_unsafe() };
    // SAFETY: the selector is that of the TSS, which no other processor uses.
    unsafe { load_tss(SegmentSelector(0x28)) };
    // SAFETY: `current` and the stubs expect exactly this in GS.
    unsafe { Msr::new(IA32_GS_BASE).write(core::ptr::from_ref(cpu) as u64) };
}
