//! A tiny VM that tries what the machine rests on: does this KVM run code, and does each conduit come out of it?
//!
//! Bounded: a KVM on which an instruction never completes is kicked out of it.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvm_bindings::CpuId;
use kvm_ioctls::VcpuFd;
use pvir_abi::{Conduits, HYPERCALL_NUMBER};
use pvir_host::conduit::{self, Direction, RunPage, RunSize};
use pvir_host::counters::Counters;
use vm_memory::{Bytes, GuestAddress};

use crate::assembly::OwnParts;
use crate::boot;
use crate::service::{self, Quotas};
use crate::vcpu::exit::{self, Exit};
use crate::vcpu::kick::{self, Armed};
use crate::vm::{Offer, Vm, layout};

/// What the code writes to a port between the instructions under test.
const MARK: u8 = 0x5a;
const MARK_PORT: u16 = 0xf4;

/// What one instruction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConduitTrial {
    pub(crate) conduit: Conduits,
    pub(crate) outcome: Result<(), String>,
}

/// What the VM has shown.
#[derive(Debug)]
pub(crate) struct SelfTestReport {
    /// What this KVM is said to have.
    pub(crate) conduits: Conduits,
    /// Each of them, tried.
    pub(crate) tried: Vec<ConduitTrial>,
}

/// Runs the code of each conduit for no longer than `limit`, each in a VM of its own.
///
/// An error is one of the machine: no VM could be made.
pub(crate) fn run(limit: Duration) -> Result<SelfTestReport> {
    kick::install_handler()?;
    let conduits = machine()?.conduits;
    let tried = conduits.iter().map(|conduit| {
        let outcome = attempt(conduit, limit).map_err(|error| format!("{error:#}"));
        ConduitTrial { conduit, outcome }
    });
    Ok(SelfTestReport { conduits, tried: tried.collect() })
}

fn machine() -> Result<Vm> {
    let size = "2M".parse().map_err(anyhow::Error::msg)?;
    Vm::new(vec![0], size, Offer::Pvir { forwarding: None }, Arc::new(Counters::new()))
}

fn attempt(conduit: Conduits, limit: Duration) -> Result<()> {
    let vm = machine()?;
    let mut vcpu = prepare(&vm, &code(conduit))?;
    let size = RunSize::of(&vm.fd);
    let (done, outcome) = mpsc::channel();
    let thread = thread::Builder::new().name("selftest".into()).spawn(move || {
        let _armed = Armed::new(&mut vcpu);
        // Nobody may be waiting any more.
        let _ = done.send(follow(&mut vcpu, size, conduit));
    });
    let thread = thread.context("cannot start a thread")?;
    let outcome = outcome.recv_timeout(limit);
    if outcome.is_err() {
        kick::kick(&thread);
    }
    let ended = thread.join();
    match outcome {
        Ok(outcome) => outcome,
        Err(_) if ended.is_err() => bail!("its thread panicked"),
        Err(_) => bail!("the instruction did not complete in {} s", limit.as_secs()),
    }
}

fn prepare(vm: &Vm, code: &[u8]) -> Result<VcpuFd> {
    vm.memory.write_slice(code, GuestAddress(layout::HIGH_RAM)).context("writing the code")?;
    let vcpu = vm.fd.create_vcpu(0).context("KVM_CREATE_VCPU failed")?;
    let template = vm.cpuid(&service::new(vm, Quotas::default(), &OwnParts)?)?;
    let cpuid = CpuId::from_entries(&template.for_cpu(0)).context("too many CPUID leaves")?;
    vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2 failed")?;
    let mut sregs = vcpu.get_sregs().context("KVM_GET_SREGS failed")?;
    boot::set_protected_mode(&mut sregs);
    vcpu.set_sregs(&sregs).context("KVM_SET_SREGS failed")?;
    vcpu.set_regs(&boot::registers(layout::HIGH_RAM)).context("KVM_SET_REGS failed")?;
    Ok(vcpu)
}

/// 32-bit code: the instruction of the conduit, then the mark.
fn code(conduit: Conduits) -> Vec<u8> {
    let load_eax = |value: u32| [&[0xb8][..], &value.to_le_bytes()].concat();
    let load_dx = |port: u16| [&[0x66, 0xba][..], &port.to_le_bytes()].concat();
    let out_dx_eax = vec![0xef];
    let out_dx_al = vec![0xee];
    let instruction = match conduit {
        Conduits::MSR => {
            let load_ecx = [&[0xb9][..], &conduit::MSR.to_le_bytes()].concat();
            let wrmsr = vec![0x31, 0xd2, 0x0f, 0x30];
            [load_ecx, load_eax(0x1000), wrmsr].concat()
        }
        Conduits::VMCALL => [load_eax(HYPERCALL_NUMBER), vec![0x0f, 0x01, 0xc1]].concat(),
        Conduits::VMMCALL => [load_eax(HYPERCALL_NUMBER), vec![0x0f, 0x01, 0xd9]].concat(),
        _ => [load_dx(conduit::PORT), load_eax(1), out_dx_eax].concat(),
    };
    [instruction, load_dx(MARK_PORT), load_eax(MARK.into()), out_dx_al, vec![0xf4]].concat()
}

/// Follows the code: first the exit of the conduit, then the mark.
fn follow(vcpu: &mut VcpuFd, size: RunSize, conduit: Conduits) -> Result<()> {
    let mut seen = false;
    loop {
        let exit = exit::run(vcpu, size).context("KVM_RUN failed")?;
        match exit {
            Exit::Port(access) if access.port == MARK_PORT && access.direction == Direction::Out => {
                if seen {
                    return Ok(());
                }
                bail!("the instruction completed without an exit");
            }
            Exit::Port(access) if conduit == Conduits::PORT && access.port == conduit::PORT => seen = true,
            Exit::WriteMsr { index, .. } if conduit == Conduits::MSR && index == conduit::MSR => {
                RunPage::of(vcpu, size).answer_msr(Some(0));
                seen = true;
            }
            Exit::Hypercall(call) if call.number == u64::from(HYPERCALL_NUMBER) => {
                RunPage::of(vcpu, size).answer_hypercall(0);
                seen = true;
            }
            Exit::Interrupted => bail!("stopped"),
            other => bail!("an exit that was not expected: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_the_processor_knows_by_it() {
        assert_eq!(
            code(Conduits::PORT),
            [
                0x66, 0xba, 0x58, 0x50, 0xb8, 1, 0, 0, 0, 0xef, 0x66, 0xba, 0xf4, 0, 0xb8, 0x5a, 0, 0, 0,
                0xee, 0xf4
            ]
        );
        let msr = code(Conduits::MSR);
        assert_eq!(msr[..5], [0xb9, 0, 0, 0x56, 0x50]);
        assert_eq!(msr[10..14], [0x31, 0xd2, 0x0f, 0x30]);
        assert_eq!(code(Conduits::VMCALL)[5..8], [0x0f, 1, 0xc1]);
        assert_eq!(code(Conduits::VMMCALL)[5..8], [0x0f, 1, 0xd9]);
    }
}
