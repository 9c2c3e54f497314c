#![expect(unsafe_code, reason = "kvm_run is a page of unions which the exit reason tells apart")]
//! Exits of a vCPU, decoded from its `kvm_run` page.
//!
//! kvm-ioctls has an own decoder, but drops the operand size of string I/O and does not know `KVM_EXIT_XEN`.

use kvm_bindings as kvm;
use kvm_ioctls::VcpuFd;
use serde::Serialize;

/// Why a vCPU came back to user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// IN or OUT, also INS and OUTS: the data is in [`port_data`].
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
    /// The answer goes to [`answer_msr`].
    ReadMsr {
        index: u32,
    },
    WriteMsr {
        index: u32,
        value: u64,
    },
    /// VMCALL or VMMCALL; the answer goes to [`set_hypercall_result`].
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

/// An access to a port; `count` elements of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortAccess {
    pub(crate) port: u16,
    pub(crate) direction: Direction,
    pub(crate) size: u8,
    pub(crate) count: u32,
    offset: u64,
}

/// As the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// An intercepted hypercall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hypercall {
    /// rax
    pub(crate) number: u64,
    pub(crate) rdi: u64,
    pub(crate) cpl: u8,
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
pub(crate) fn run(vcpu: &mut VcpuFd) -> Result<Exit, kvm_ioctls::Error> {
    match vcpu.run() {
        Ok(_) => Ok(decode(vcpu.get_kvm_run())),
        // EAGAIN: a vCPU that waits to be started was woken for nothing.
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Ok(Exit::Interrupted),
        Err(error) => Err(error),
    }
}

fn decode(run: &kvm::kvm_run) -> Exit {
    let details = &run.__bindgen_anon_1;
    match run.exit_reason {
        kvm::KVM_EXIT_IO => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let io = unsafe { details.io };
            let direction =
                if u32::from(io.direction) == kvm::KVM_EXIT_IO_IN { Direction::In } else { Direction::Out };
            Exit::Port(PortAccess {
                port: io.port,
                direction,
                size: io.size,
                count: io.count,
                offset: io.data_offset,
            })
        }
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
        kvm::KVM_EXIT_X86_RDMSR => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let msr = unsafe { details.msr };
            Exit::ReadMsr { index: msr.index }
        }
        kvm::KVM_EXIT_X86_WRMSR => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let msr = unsafe { details.msr };
            Exit::WriteMsr { index: msr.index, value: msr.data }
        }
        kvm::KVM_EXIT_XEN => decode_xen(details),
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

fn decode_xen(details: &kvm::kvm_run__bindgen_ty_1) -> Exit {
    // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
    let xen = unsafe { details.xen };
    if xen.type_ != kvm::KVM_EXIT_XEN_HCALL {
        return Exit::Other(kvm::KVM_EXIT_XEN);
    }
    // SAFETY: the type names this field, and every bit pattern is valid for it.
    let call = unsafe { xen.u.hcall };
    Exit::Hypercall(Hypercall {
        number: call.input,
        // Xen's order of arguments: rdi, rsi, rdx, r10, r8, r9, and ebx, ecx, edx, esi, edi, ebp in 32-bit code.
        rdi: call.params[if call.longmode == 0 { 4 } else { 0 }],
        // Whatever is not a known level is the least trusted one.
        cpl: u8::try_from(call.cpl).unwrap_or(3),
    })
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

/// The data of a port access: what the guest wrote, or where the answer goes. `run_size` is the length of the page(s)
/// that KVM maps; empty if the access does not lie in them.
pub(crate) fn port_data<'a>(vcpu: &'a mut VcpuFd, access: &PortAccess, run_size: usize) -> &'a mut [u8] {
    let size = usize::from(access.size) * usize::try_from(access.count).unwrap_or(0);
    let offset = usize::try_from(access.offset).unwrap_or(usize::MAX);
    if offset.checked_add(size).is_none_or(|end| end > run_size) {
        return &mut [];
    }
    let page: *mut u8 = (&raw mut *vcpu.get_kvm_run()).cast();
    // SAFETY: kvm_run is mapped for `run_size` bytes, in which the offset was just checked to lie.
    let data = unsafe { page.add(offset) };
    // SAFETY: as above for the whole range; bytes have no invalid values; the vCPU stays borrowed, so that nobody else in
    // this process reaches the page, and KVM does only in the next `KVM_RUN`.
    unsafe { std::slice::from_raw_parts_mut(data, size) }
}

/// Answers [`Exit::MmioRead`].
pub(crate) fn set_mmio_data(vcpu: &mut VcpuFd, data: [u8; 8]) {
    // Writing a field of a union is safe; the exit reason says that KVM reads this one.
    vcpu.get_kvm_run().__bindgen_anon_1.mmio.data = data;
}

/// Answers [`Exit::ReadMsr`] and [`Exit::WriteMsr`]: a value (ignored for a write), or `None` for #GP.
pub(crate) fn answer_msr(vcpu: &mut VcpuFd, value: Option<u64>) {
    let details = &mut vcpu.get_kvm_run().__bindgen_anon_1;
    details.msr.error = u8::from(value.is_none());
    if let Some(value) = value {
        details.msr.data = value;
    }
}

/// Answers [`Exit::Hypercall`]: the guest's rax.
pub(crate) fn set_hypercall_result(vcpu: &mut VcpuFd, result: u64) {
    vcpu.get_kvm_run().__bindgen_anon_1.xen.u.hcall.result = result;
}

#[cfg(test)]
#[path = "exit_tests.rs"]
mod tests;
