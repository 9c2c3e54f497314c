//! alioth's vCPU, wrapped: its exits to the service's port, to the console and to the exit port end here.

use std::arch::x86_64::CpuidResult;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alioth::arch::cpuid::CpuidIn;
use alioth::arch::reg::{DtReg, DtRegVal, Reg, SReg, SegReg, SegRegVal};
use alioth::hv::{Hypervisor, Kvm, Result, Vcpu, Vm, VmEntry, VmExit};

use crate::pvir::Pvir;

/// Where the guest's kernel says how it ended.
const EXIT_PORT: u16 = 0xf4;
/// COM1's data and its line status: transmitter empty, nothing received.
const COM1_DATA: u16 = 0x3f8;
const COM1_STATUS: u16 = 0x3fd;
const TRANSMITTER_EMPTY: u32 = 0x60;

pub struct PvirVcpu {
    pub kvm: <<Kvm as Hypervisor>::Vm as Vm>::Vcpu,
    /// The vCPU's place among the service's APIC ids.
    pub index: usize,
    pub pvir: Arc<Pvir>,
}

impl PvirVcpu {
    /// Serves an access to a port: `Ok(None)` if it is alioth's, otherwise what the vCPU goes on with.
    fn port(&self, port: u16, write: Option<u32>, size: u8) -> Result<Option<VmEntry>> {
        let calls = &self.pvir.calls;
        let data = match (port, write) {
            (EXIT_PORT, Some(code)) => {
                self.pvir.exit_code.store(code, Ordering::Relaxed);
                return Ok(Some(VmEntry::Shutdown));
            }
            (COM1_DATA, Some(byte)) => {
                // A reader that went away is no reason to stop the guest.
                let _ = std::io::stdout().write_all(&byte.to_le_bytes()[..1]);
                None
            }
            (COM1_STATUS, None) => Some(TRANSMITTER_EMPTY),
            (_, Some(page)) if calls.is_port(port) && size == 4 => {
                // Of the code that runs: the level of the stack's segment.
                let level = self.kvm.get_seg_reg(SegReg::Ss)?.access.priv_level();
                calls.port_write(self.index, level as u8, page);
                None
            }
            (_, None) if calls.is_port(port) && size == 4 => Some(calls.port_read(self.index)),
            _ => return Ok(None),
        };
        Ok(Some(VmEntry::Io { data }))
    }
}

impl Vcpu for PvirVcpu {
    fn run(&mut self, mut entry: VmEntry) -> Result<VmExit> {
        loop {
            let exit = self.kvm.run(entry)?;
            let served = match exit {
                VmExit::Io { port, write, size } => self.port(port, write, size)?,
                VmExit::Mmio { addr, write, size } => self.pvir.memory(addr, write, size.into()),
                _ => None,
            };
            entry = match served {
                Some(VmEntry::Shutdown) => return Ok(VmExit::Shutdown),
                Some(entry) => entry,
                None if exit == VmExit::Reboot => return Ok(VmExit::Shutdown),
                None => return Ok(exit),
            };
        }
    }

    fn set_cpuids(&mut self, mut cpuids: HashMap<CpuidIn, CpuidResult>) -> Result<()> {
        self.pvir.add_signature_block(&mut cpuids);
        self.kvm.set_cpuids(cpuids)
    }

    fn set_regs(&mut self, vals: &[(Reg, u64)]) -> Result<()> {
        self.kvm.set_regs(vals)
    }

    fn set_sregs(
        &mut self,
        sregs: &[(SReg, u64)],
        seg_regs: &[(SegReg, SegRegVal)],
        dt_regs: &[(DtReg, DtRegVal)],
    ) -> Result<()> {
        self.kvm.set_sregs(sregs, seg_regs, dt_regs)
    }

    fn set_msrs(&mut self, msrs: &[(u32, u64)]) -> Result<()> {
        self.kvm.set_msrs(msrs)
    }

    delegate! { Vcpu by self.kvm;
        fn get_reg(self, reg: Reg) -> u64;
        fn get_seg_reg(self, reg: SegReg) -> SegRegVal;
        fn get_dt_reg(self, reg: DtReg) -> DtRegVal;
        fn get_sreg(self, reg: SReg) -> u64;
        fn dump(self) -> ();
        fn tdx_init_vcpu(self, hob: u64) -> ();
        fn tdx_init_mem_region(self, data: &[u8], gpa: u64, measure: bool) -> ();
    }
}
