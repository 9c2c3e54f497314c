//! The report on a vCPU that cannot go on.

use std::fmt;

use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use pvir_host::counters::Counters;
use serde::Serialize;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::exit::{Exit, InternalError};

/// Why a vCPU stopped for good.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum CrashCause {
    #[error("triple fault")]
    TripleFault,
    #[error("KVM cannot emulate an instruction")]
    CannotEmulate { bytes: Vec<u8> },
    #[error("internal error of KVM, suberror {suberror}")]
    Internal { suberror: u32 },
    #[error("the CPU refused to enter the guest, hardware reason {reason:#x}")]
    FailedEntry { reason: u64 },
    #[error("halted without an interrupt controller in the kernel")]
    Halted,
    #[error("system event {event} of KVM")]
    SystemEvent { event: u32 },
    #[error("exit of KVM that pvir does not know, reason {reason}")]
    UnknownExit { reason: u32 },
}

impl CrashCause {
    /// Whether it resets a machine: every chipset takes a triple fault for a reset.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self, Self::TripleFault)
    }

    /// The cause, if this exit is the end of a vCPU.
    pub(crate) fn of(exit: &Exit) -> Option<Self> {
        match *exit {
            Exit::Shutdown => Some(Self::TripleFault),
            Exit::InternalError(InternalError { suberror: 1, instruction, instruction_size }) => {
                let bytes = instruction.iter().take(instruction_size.into()).copied().collect();
                Some(Self::CannotEmulate { bytes })
            }
            Exit::InternalError(InternalError { suberror, .. }) => Some(Self::Internal { suberror }),
            Exit::FailEntry { reason } => Some(Self::FailedEntry { reason }),
            Exit::Hlt => Some(Self::Halted),
            Exit::SystemEvent { kind } => Some(Self::SystemEvent { event: kind }),
            Exit::Other(reason) => Some(Self::UnknownExit { reason }),
            _ => None,
        }
    }
}

/// What is known of the vCPU at that moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CrashReport {
    pub(crate) cause: CrashCause,
    pub(crate) vcpu: usize,
    pub(crate) apic_id: u32,
    registers: Option<CrashRegisters>,
}

#[derive(Debug, Clone, Serialize)]
struct CrashRegisters {
    general: Vec<(&'static str, u64)>,
    control: Vec<(&'static str, u64)>,
    cs: u16,
    cpl: u8,
    /// Bytes at rip, where they can be read.
    code: Vec<u8>,
}

impl CrashReport {
    /// One for tests, without registers.
    #[cfg(test)]
    pub(crate) fn of_triple_fault() -> Self {
        Self { cause: CrashCause::TripleFault, vcpu: 0, apic_id: 0, registers: None }
    }

    /// Reads the state of a stopped vCPU, as far as KVM gives it.
    pub(crate) fn new(
        cause: CrashCause,
        index: usize,
        apic_id: u32,
        vcpu: &VcpuFd,
        memory: &GuestMemoryMmap,
        counters: &Counters,
    ) -> Self {
        for ioctl in ["KVM_GET_REGS", "KVM_GET_SREGS", "KVM_TRANSLATE"] {
            counters.count_ioctl(ioctl);
        }
        let registers = match (vcpu.get_regs(), vcpu.get_sregs()) {
            (Ok(regs), Ok(sregs)) => {
                Some(CrashRegisters::new(&regs, &sregs, code_at(vcpu, memory, regs.rip, &sregs)))
            }
            _ => None,
        };
        Self { cause, vcpu: index, apic_id, registers }
    }
}

impl CrashRegisters {
    fn new(regs: &kvm_regs, sregs: &kvm_sregs, code: Vec<u8>) -> Self {
        Self {
            general: vec![
                ("rip", regs.rip),
                ("rflags", regs.rflags),
                ("rsp", regs.rsp),
                ("rbp", regs.rbp),
                ("rax", regs.rax),
                ("rbx", regs.rbx),
                ("rcx", regs.rcx),
                ("rdx", regs.rdx),
                ("rsi", regs.rsi),
                ("rdi", regs.rdi),
                ("r8", regs.r8),
                ("r9", regs.r9),
                ("r10", regs.r10),
                ("r11", regs.r11),
                ("r12", regs.r12),
                ("r13", regs.r13),
                ("r14", regs.r14),
                ("r15", regs.r15),
            ],
            control: vec![
                ("cr0", sregs.cr0),
                ("cr2", sregs.cr2),
                ("cr3", sregs.cr3),
                ("cr4", sregs.cr4),
                ("efer", sregs.efer),
                ("idt", sregs.idt.base),
                ("gdt", sregs.gdt.base),
                ("tss", sregs.tr.base),
            ],
            cs: sregs.cs.selector,
            cpl: sregs.ss.dpl,
            code,
        }
    }
}

fn code_at(vcpu: &VcpuFd, memory: &GuestMemoryMmap, rip: u64, sregs: &kvm_sregs) -> Vec<u8> {
    let linear = sregs.cs.base.wrapping_add(rip);
    let Ok(translation) = vcpu.translate_gva(linear) else { return Vec::new() };
    // No further than the page: the next one may be anywhere.
    let size = usize::try_from(4096 - linear % 4096).unwrap_or(16).min(16);
    let mut bytes = vec![0; size];
    match memory.read_slice(&mut bytes, GuestAddress(translation.physical_address)) {
        Ok(()) if translation.valid != 0 => bytes,
        _ => Vec::new(),
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "vCPU {} (APIC id {}): {}", self.vcpu, self.apic_id, self.cause)?;
        if let CrashCause::CannotEmulate { bytes } = &self.cause {
            if !bytes.is_empty() {
                writeln!(f, "  instruction  {}", hex(bytes))?;
            }
            writeln!(
                f,
                "  help: a software KVM has few instructions; build the kernel without SSE (target x86_64-unknown-none)"
            )?;
        }
        let Some(registers) = &self.registers else { return write!(f, "  (registers cannot be read)") };
        for row in registers.general.chunks(4).chain(registers.control.chunks(4)) {
            for (name, value) in row {
                write!(f, "  {name:>6} {value:016x}")?;
            }
            writeln!(f)?;
        }
        write!(f, "  cs {:#x}, cpl {}", registers.cs, registers.cpl)?;
        if !registers.code.is_empty() {
            write!(f, ", code at rip {}", hex(&registers.code))?;
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_from_exits_that_are_handled() {
        assert!(matches!(CrashCause::of(&Exit::Shutdown), Some(CrashCause::TripleFault)));
        assert!(matches!(CrashCause::of(&Exit::Other(99)), Some(CrashCause::UnknownExit { reason: 99 })));
        assert!(CrashCause::of(&Exit::ReadMsr { index: 1 }).is_none());
    }

    #[test]
    fn emulation_failure_keeps_the_instruction() {
        let mut instruction = [0; 15];
        instruction[..2].copy_from_slice(&[0x0f, 0xef]);
        let error = InternalError { suberror: 1, instruction, instruction_size: 2 };
        let Some(CrashCause::CannotEmulate { bytes }) = CrashCause::of(&Exit::InternalError(error)) else {
            panic!("not an end")
        };
        assert_eq!(hex(&bytes), "0f ef");
    }
}
