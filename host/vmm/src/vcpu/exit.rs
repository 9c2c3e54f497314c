#![expect(unsafe_code, reason = "kvm_run is a page of unions which the exit reason tells apart")]
//! Exits of a vCPU, decoded from its `kvm_run` page. Those by which a guest can call are decoded by the library.
//!
//! kvm-ioctls has an own decoder, but drops the operand size of string I/O and does not know `KVM_EXIT_XEN`.

use kvm_bindings as kvm;
use kvm_ioctls::VcpuFd;
use pvir_host::conduit::{self, Hypercall, PortAccess, RunPage, RunSize};
use serde::Serialize;

/// Why a vCPU came back to user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// IN or OUT, also INS and OUTS.
    Port(PortAccess),
    /// The answer goes to [`set_mmio_data`].
    MmioRead {
        address: u64,
        size: u8,
    },
    MmioWrite {
        address: u64,
        size: u8,
        data: [u8; 8],
    },
    ReadMsr {
        index: u32,
    },
    WriteMsr {
        index: u32,
        value: u64,
    },
    /// VMCALL or VMMCALL.
    Hypercall(Hypercall),
    Hlt,
    Shutdown,
    InternalError(InternalError),
    FailEntry {
        reason: u64,
    },
    SystemEvent {
        kind: u32,
    },
    /// A signal, or `immediate_exit`.
    Interrupted,
    /// Any other reason, by its number.
    Other(u32),
}

/// KVM gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct InternalError {
    /// 1: it could not emulate an instruction.
    pub(crate) suberror: u32,
    /// The bytes of that instruction, where KVM tells.
    pub(crate) instruction: [u8; 15],
    /// How many of them are valid.
    pub(crate) instruction_size: u8,
}

/// Runs the vCPU until its next exit.
pub(crate) fn run(vcpu: &mut VcpuFd, size: RunSize) -> Result<Exit, kvm_ioctls::Error> {
    match vcpu.run() {
        Ok(_) => Ok(match RunPage::of(vcpu, size).exit() {
            conduit::Exit::Port(access) => Exit::Port(access),
            conduit::Exit::ReadMsr { index } => Exit::ReadMsr { index },
            conduit::Exit::WriteMsr { index, value } => Exit::WriteMsr { index, value },
            conduit::Exit::Hypercall(call) | conduit::Exit::ForwardedHypercall(call) => Exit::Hypercall(call),
            _ => decode(vcpu.get_kvm_run()),
        }),
        // EAGAIN: a vCPU that waits to be started was woken for nothing.
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Ok(Exit::Interrupted),
        Err(error) => Err(error),
    }
}

fn decode(run: &kvm::kvm_run) -> Exit {
    let details = &run.__bindgen_anon_1;
    match run.exit_reason {
        kvm::KVM_EXIT_MMIO => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let mmio = unsafe { details.mmio };
            let (address, size) = (mmio.phys_addr, u8::try_from(mmio.len.min(8)).unwrap_or(8));
            if mmio.is_write == 0 {
                Exit::MmioRead { address, size }
            } else {
                Exit::MmioWrite { address, size, data: mmio.data }
            }
        }
        kvm::KVM_EXIT_HLT => Exit::Hlt,
        kvm::KVM_EXIT_SHUTDOWN => Exit::Shutdown,
        kvm::KVM_EXIT_INTERNAL_ERROR => Exit::InternalError(decode_internal_error(details)),
        kvm::KVM_EXIT_FAIL_ENTRY => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let failure = unsafe { details.fail_entry };
            Exit::FailEntry { reason: failure.hardware_entry_failure_reason }
        }
        kvm::KVM_EXIT_SYSTEM_EVENT => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let event = unsafe { details.system_event };
            Exit::SystemEvent { kind: event.type_ }
        }
        kvm::KVM_EXIT_INTR => Exit::Interrupted,
        other => Exit::Other(other),
    }
}

fn decode_internal_error(details: &kvm::kvm_run__bindgen_ty_1) -> InternalError {
    // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
    let failure = unsafe { details.emulation_failure };
    let mut error = InternalError { suberror: failure.suberror, instruction: [0; 15], instruction_size: 0 };
    let has_instruction = failure.suberror == kvm::KVM_INTERNAL_ERROR_EMULATION
        && failure.ndata >= 3
        && failure.flags & u64::from(kvm::KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if has_instruction {
        // SAFETY: the flag says that this field is filled, and every bit pattern is valid for it.
        let bytes = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
        error.instruction = bytes.insn_bytes;
        error.instruction_size = bytes.insn_size.min(15);
    }
    error
}

/// Answers [`Exit::MmioRead`].
pub(crate) fn set_mmio_data(vcpu: &mut VcpuFd, data: [u8; 8]) {
    // Writing a field of a union is safe; the exit reason says that KVM reads this one.
    vcpu.get_kvm_run().__bindgen_anon_1.mmio.data = data;
}

#[cfg(test)]
#[path = "exit_tests.rs"]
mod tests;
