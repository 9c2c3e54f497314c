#![expect(unsafe_code, reason = "kvm_run is a page of unions which the exit reason tells apart")]
//! The exits of a vCPU by which a guest calls, decoded from its `kvm_run` page, and the answers to them.
//!
//! [`kvm_ioctls`] has a decoder, but drops the operand size of string I/O and does not know `KVM_EXIT_XEN`.

use kvm_bindings as kvm;
use kvm_ioctls::{VcpuFd, VmFd};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The `kvm_run` page of a vCPU that has left the guest (KVM API, section 5), borrowed until its next `KVM_RUN`.
#[derive(Debug)]
pub struct RunPage<'a> {
    page: NonNull<kvm::kvm_run>,
    size: usize,
    /// Nobody else in this process reaches the page meanwhile, and KVM does only in `KVM_RUN`.
    borrowed: PhantomData<&'a mut kvm::kvm_run>,
}

/// Bytes that `kvm_run` of a vCPU is mapped with (`KVM_GET_VCPU_MMAP_SIZE`): the same for all vCPUs of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunSize(usize);

impl RunSize {
    /// The size for the vCPUs of `vm`.
    #[must_use]
    pub fn of(vm: &VmFd) -> Self {
        Self(vm.run_size())
    }
}

/// Why a vCPU came back to user space, as far as a guest can call by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// IN or OUT, also INS and OUTS (`KVM_EXIT_IO`): the data is in [`RunPage::port_data`].
    Port(PortAccess),
    /// RDMSR (`KVM_EXIT_X86_RDMSR`). The answer goes to [`RunPage::answer_msr`].
    ReadMsr {
        /// The MSR.
        index: u32,
    },
    /// WRMSR (`KVM_EXIT_X86_WRMSR`). The answer goes to [`RunPage::answer_msr`].
    WriteMsr {
        /// The MSR.
        index: u32,
        /// What is written.
        value: u64,
    },
    /// VMCALL or VMMCALL (`KVM_EXIT_XEN`). The answer goes to [`RunPage::answer_hypercall`].
    Hypercall(Hypercall),
    /// VMCALL or VMMCALL with a number that the VMM has had KVM forward (`KVM_EXIT_HYPERCALL`): pvir's
    /// ([`forward_hypercall`](super::forward_hypercall)) or another of the VMM's. The answer goes to
    /// [`RunPage::answer_hypercall`].
    ForwardedHypercall(Hypercall),
    /// Any other, by its exit reason.
    Other(u32),
}

/// An access to a port: `count` elements of `size` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PortAccess {
    /// The port.
    pub port: u16,
    /// Whether the guest reads or writes.
    pub direction: Direction,
    /// Bytes of an element: 1, 2 or 4.
    pub size: u8,
    /// Number of elements; more than one for INS and OUTS.
    pub count: u32,
    /// Where the data is, from the start of the page.
    offset: u64,
}

/// The direction of an access, as the guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The guest reads.
    In,
    /// The guest writes.
    Out,
}

/// A hypercall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Hypercall {
    /// RAX: which hypercall.
    pub number: u64,
    /// RDI; EDI of 32-bit code.
    pub rdi: u64,
    /// The caller's privilege level; 3 where KVM names none. 0 if it was forwarded, as no other is.
    pub cpl: u8,
}

impl<'a> RunPage<'a> {
    /// The page of a vCPU of [`kvm_ioctls`], in this crate's version.
    #[must_use]
    pub fn of(vcpu: &'a mut VcpuFd, size: RunSize) -> Self {
        Self { page: NonNull::from(vcpu.get_kvm_run()), size: size.0, borrowed: PhantomData }
    }

    /// The page of any vCPU, which is mapped at `page` for `size` bytes.
    ///
    /// # Safety
    /// `page` is the address at which the first `size` bytes of the descriptor of a vCPU are mapped, readable and
    /// writable, for all of `'a`. `size` is at least that of [`kvm_run`](kvm_bindings::kvm_run). During `'a` nothing else
    /// in this process reads or writes these bytes, and the vCPU does not run.
    #[must_use]
    pub unsafe fn from_raw(page: NonNull<kvm::kvm_run>, size: usize) -> Self {
        Self { page, size, borrowed: PhantomData }
    }

    /// Why the vCPU came back.
    #[must_use]
    pub fn exit(&self) -> Exit {
        // SAFETY: the page is mapped and not written meanwhile (`from_raw`).
        decode(unsafe { self.page.as_ref() })
    }

    /// The data of a port access: what the guest wrote, or where the answer goes. Empty if it does not lie in the page.
    pub fn port_data(&mut self, access: &PortAccess) -> &mut [u8] {
        let size = usize::from(access.size) * usize::try_from(access.count).unwrap_or(0);
        let offset = usize::try_from(access.offset).unwrap_or(usize::MAX);
        if offset.checked_add(size).is_none_or(|end| end > self.size) {
            return &mut [];
        }
        // SAFETY: the page is mapped for `self.size` bytes, in which the offset was just found to lie.
        let data = unsafe { self.page.cast::<u8>().add(offset) };
        // SAFETY: as above for the whole range; bytes have no invalid values; `self` stays borrowed, and so the page.
        unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), size) }
    }

    /// Answers [`Exit::ReadMsr`] and [`Exit::WriteMsr`]: a value (ignored for a write), or `None` for #GP.
    pub fn answer_msr(&mut self, value: Option<u64>) {
        let details = &mut self.run().__bindgen_anon_1;
        details.msr.error = u8::from(value.is_none());
        if let Some(value) = value {
            details.msr.data = value;
        }
    }

    /// Answers [`Exit::Hypercall`] and [`Exit::ForwardedHypercall`]: the guest's RAX.
    pub fn answer_hypercall(&mut self, result: u64) {
        let run = self.run();
        if run.exit_reason == kvm::KVM_EXIT_HYPERCALL {
            run.__bindgen_anon_1.hypercall.ret = result;
        } else {
            run.__bindgen_anon_1.xen.u.hcall.result = result;
        }
    }

    fn run(&mut self) -> &mut kvm::kvm_run {
        // SAFETY: the page is mapped and nobody else's meanwhile (`from_raw`); `self` stays borrowed.
        unsafe { self.page.as_mut() }
    }
}

fn decode(run: &kvm::kvm_run) -> Exit {
    let details = &run.__bindgen_anon_1;
    match run.exit_reason {
        kvm::KVM_EXIT_IO => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let io = unsafe { details.io };
            let reads = u32::from(io.direction) == kvm::KVM_EXIT_IO_IN;
            let direction = if reads { Direction::In } else { Direction::Out };
            let (port, size, count, offset) = (io.port, io.size, io.count, io.data_offset);
            Exit::Port(PortAccess { port, direction, size, count, offset })
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
        kvm::KVM_EXIT_HYPERCALL => {
            // SAFETY: the exit reason names this field, and every bit pattern is valid for it.
            let call = unsafe { details.hypercall };
            // In KVM's order of arguments: RBX, RCX, RDX, RSI, RDI, RBP.
            Exit::ForwardedHypercall(Hypercall { number: call.nr, rdi: call.args[4], cpl: 0 })
        }
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

#[cfg(test)]
#[path = "run_page_tests.rs"]
pub(super) mod tests;
