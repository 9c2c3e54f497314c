//! A vCPU: created with its APIC id, then run on a thread of its own until the run ends.

pub(crate) mod crash;
pub(crate) mod ending;
pub(crate) mod exit;
pub(crate) mod exit_counters;
pub(crate) mod kick;
pub(crate) mod outcome;
pub(crate) mod platform;
pub(crate) mod ports;
mod power_on;
mod registers;
pub(crate) mod state;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use kvm_ioctls::VcpuFd;
use pvir_abi::Conduits;
use pvir_host::conduit::{
    Direction, Handled, NO_SUCH_CALL, PortAccess, Privilege, RunPage, RunSize, VcpuConduits,
};
use pvir_host::counters::Counter;

use crash::CrashReport;
use ending::Ending;
use exit::Exit;
use exit_counters::{ExitCause, VcpuExits};
use kick::Armed;
use outcome::Outcome;
use platform::Platform;
use power_on::PowerOn;

use crate::assembly::Assembly;
use crate::boot;
use crate::vm::Vm;
use crate::vm::cpuid::CpuidTemplate;
use crate::vm::layout;

/// One vCPU, ready to run.
pub(crate) struct Vcpu {
    fd: VcpuFd,
    index: usize,
    apic_id: u32,
    run_size: RunSize,
    conduits: VcpuConduits,
    console_get_sregs: Counter,
    platform: Arc<Platform>,
    cpuid: Vec<kvm_cpuid_entry2>,
    /// What it is reset to, where that is wanted.
    power_on: Option<PowerOn>,
}

/// Parts of one access of a guest at most: each element of a string instruction that crosses into another page is one.
const MOST_PARTS: u32 = 1 << 16;
/// IA32_APIC_BASE: local APIC in x2APIC mode.
const X2APIC_MODE: u64 = 1 << 11 | 1 << 10;
/// The highest id that a local APIC in xAPIC mode can have.
const HIGHEST_XAPIC_ID: u32 = 254;

impl Vcpu {
    /// Creates vCPU number `index`; `entry` is where the boot CPU (number 0) starts.
    pub(crate) fn new(
        vm: &Vm,
        index: usize,
        template: &CpuidTemplate,
        entry: u64,
        platform: Arc<Platform>,
        assembly: &dyn Assembly,
    ) -> Result<Self> {
        let apic_id = *vm.apic_ids.get(index).context("no such vCPU")?;
        let name = |what: &'static str| move || format!("{what} failed for vCPU {index} (APIC id {apic_id})");
        vm.counters.count_ioctl("KVM_CREATE_VCPU");
        let fd = vm.fd.create_vcpu(apic_id.into()).with_context(name("KVM_CREATE_VCPU"))?;
        let leaves = assembly.cpuid(apic_id, template.for_cpu(apic_id));
        let cpuid = CpuId::from_entries(&leaves).context("too many CPUID leaves")?;
        vm.counters.count_ioctl("KVM_SET_CPUID2");
        fd.set_cpuid2(&cpuid).with_context(name("KVM_SET_CPUID2"))?;
        vm.counters.count_ioctl("KVM_GET_SREGS");
        let mut sregs = fd.get_sregs().with_context(name("KVM_GET_SREGS"))?;
        if template.highest_apic_id > HIGHEST_XAPIC_ID {
            // As firmware hands over a machine whose ids do not fit.
            sregs.apic_base |= X2APIC_MODE;
        }
        if index == 0 {
            boot::set_protected_mode(&mut sregs);
            vm.counters.count_ioctl("KVM_SET_REGS");
            fd.set_regs(&boot::registers(entry)).with_context(name("KVM_SET_REGS"))?;
        }
        vm.counters.count_ioctl("KVM_SET_SREGS");
        fd.set_sregs(&sregs).with_context(name("KVM_SET_SREGS"))?;
        let conduits = VcpuConduits::new(&vm.fd, index, Arc::clone(&platform.service), &vm.counters);
        let console_get_sregs = vm.counters.ioctl("KVM_GET_SREGS (console)");
        Ok(Self {
            fd,
            index,
            apic_id,
            run_size: RunSize::of(&vm.fd),
            conduits,
            console_get_sregs,
            platform,
            cpuid: leaves,
            power_on: None,
        })
    }

    /// Keeps the state of the vCPU, which has not run, for [`reset`](Self::reset).
    ///
    /// # Errors
    /// The ioctl by which KVM does not tell all of it.
    pub(crate) fn keep_power_on(&mut self, vm: &Vm) -> Result<()> {
        let state = PowerOn::of(&self.fd, &vm.kvm).with_context(|| self.name())?;
        self.power_on = Some(state);
        Ok(())
    }

    /// Brings the vCPU, which does not run, into the state that was kept, with `entry` as the place where the boot CPU
    /// starts.
    ///
    /// # Errors
    /// The ioctl that failed. The state is then none in which a guest could go on.
    pub(crate) fn reset(&mut self, entry: u64) -> Result<()> {
        let name = self.name();
        let power_on = self.power_on.as_ref().context("its state at power-on was not kept");
        power_on.and_then(|state| state.set(&mut self.fd)).with_context(|| name.clone())?;
        if self.index == 0 {
            self.fd.set_regs(&boot::registers(entry)).context("KVM_SET_REGS failed").context(name)?;
        }
        Ok(())
    }

    /// Finishes the access that the vCPU, which does not run, was stopped in: KVM has it finished by the next `KVM_RUN`
    /// only, and does not save that. It may have several parts.
    ///
    /// # Errors
    /// `KVM_RUN` fails, or there is no end of it.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let platform = Arc::clone(&self.platform);
        let exits = platform.exits.row(self.index).context("no such vCPU")?;
        for _ in 0..MOST_PARTS {
            self.fd.set_kvm_immediate_exit(1);
            let exit = exit::run(&mut self.fd, self.run_size);
            self.fd.set_kvm_immediate_exit(0);
            match exit.with_context(|| format!("KVM_RUN failed on {}", self.name()))? {
                Exit::Interrupted => return Ok(()),
                other => _ = self.handle(&other, exits),
            }
        }
        bail!("an access of {} does not end", self.name())
    }

    /// The leaves of its CPUID as they were given to KVM, which answers some bits by what the guest has switched on
    /// (OSXSAVE, the size of the XSAVE area).
    pub(crate) fn cpuid(&self) -> &[kvm_cpuid_entry2] {
        &self.cpuid
    }

    /// For messages.
    fn name(&self) -> String {
        format!("vCPU {} (APIC id {})", self.index, self.apic_id)
    }

    /// Runs on the calling thread until the guest or the run ends. Answers with the vCPU, stopped where it was.
    pub(crate) fn run(mut self) -> Self {
        self.run_to_the_end();
        self
    }

    fn run_to_the_end(&mut self) {
        let _armed = Armed::new(&mut self.fd);
        let platform = Arc::clone(&self.platform);
        let _ends = EndsWithPanic { ending: &platform.ending, vcpu: self.index };
        let Some(exits) = platform.exits.row(self.index) else { return };
        while !platform.ending.has_ended() {
            match exit::run(&mut self.fd, self.run_size) {
                Ok(exit) => {
                    tracing::trace!(vcpu = self.index, ?exit);
                    let cause = self.handle(&exit, exits);
                    exits.count(cause);
                }
                Err(error) => {
                    let error = format!("KVM_RUN failed on {}: {error}", self.name());
                    platform.ending.finish_for_good(Outcome::HostFailure { error });
                }
            }
        }
    }

    fn handle(&mut self, exit: &Exit, exits: &VcpuExits) -> ExitCause {
        match *exit {
            Exit::Port(_) | Exit::ReadMsr { .. } | Exit::WriteMsr { .. } | Exit::Hypercall(_) => {
                let handled = self.conduits.serve(&mut self.fd);
                cause_of(handled).unwrap_or_else(|| self.no_call(exit, exits))
            }
            Exit::MmioRead { address, size } => {
                let mut data = [0xff; 8];
                let cause = self.platform.memory_read(address, &mut data[..size.into()], exits);
                exit::set_mmio_data(&mut self.fd, data);
                cause
            }
            Exit::MmioWrite { address, size, data } => {
                self.platform.memory_write(address, &data[..size.into()], exits)
            }
            Exit::Interrupted => ExitCause::Interrupted,
            Exit::Hlt
            | Exit::Shutdown
            | Exit::InternalError(_)
            | Exit::FailEntry { .. }
            | Exit::SystemEvent { .. }
            | Exit::Other(_) => self.crash(exit),
        }
    }

    /// What is not a conduit's.
    fn no_call(&mut self, exit: &Exit, exits: &VcpuExits) -> ExitCause {
        if let Exit::Port(access) = exit {
            return self.port(access, exits);
        }
        let mut page = RunPage::of(&mut self.fd, self.run_size);
        if let Exit::Hypercall(_) = exit {
            page.answer_hypercall(NO_SUCH_CALL);
            return ExitCause::HypercallOther;
        }
        page.answer_msr(None);
        ExitCause::MsrOther
    }

    fn port(&mut self, access: &PortAccess, exits: &VcpuExits) -> ExitCause {
        if access.port == layout::CONSOLE_PAGE_PORT && access.size == 4 && access.direction == Direction::Out
        {
            return self.console_page(access);
        }
        let size = usize::from(access.size).max(1);
        let platform = &*self.platform;
        let mut cause = ExitCause::PortOther;
        let mut page = RunPage::of(&mut self.fd, self.run_size);
        for element in page.port_data(access).chunks_exact_mut(size) {
            cause = match access.direction {
                Direction::In => platform.ports.read(access.port, element, exits),
                Direction::Out => platform.ports.write(access.port, element, exits),
            };
        }
        cause
    }

    fn console_page(&mut self, access: &PortAccess) -> ExitCause {
        let cpl = Privilege::ask(&self.fd, &self.console_get_sregs);
        for number in RunPage::of(&mut self.fd, self.run_size).port_data(access).chunks_exact(4) {
            self.platform.ports.console().set_page(cpl, word(number));
        }
        ExitCause::PortConsole
    }

    fn crash(&self, exit: &Exit) -> ExitCause {
        if let Some(cause) = crash::CrashCause::of(exit) {
            let Platform { memory, counters, .. } = &*self.platform;
            let report = CrashReport::new(cause, self.index, self.apic_id, &self.fd, memory, counters);
            self.platform.ending.finish(Outcome::GuestCrash(Box::new(report)));
        }
        ExitCause::Crash
    }
}

/// As what an exit of a conduit is counted; `None` for one that is not a conduit's.
fn cause_of(handled: Handled) -> Option<ExitCause> {
    Some(match handled {
        Handled::Call(Conduits::PORT) => ExitCause::CallByPort,
        Handled::Call(Conduits::MSR) => ExitCause::CallByMsr,
        Handled::Call(_) => ExitCause::CallByVmcall,
        Handled::Status(Conduits::PORT) => ExitCause::StatusByPort,
        Handled::Status(_) => ExitCause::StatusByMsr,
        Handled::NoCall => ExitCause::PortOther,
        Handled::OtherHypercall => ExitCause::HypercallOther,
        _ => return None,
    })
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// A panic of a vCPU's thread ends the run: the guest would go on without it for ever.
struct EndsWithPanic<'a> {
    ending: &'a Ending,
    vcpu: usize,
}

impl Drop for EndsWithPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = format!("the thread of vCPU {} panicked", self.vcpu);
            self.ending.finish_for_good(Outcome::HostFailure { error });
        }
    }
}
