#![expect(unsafe_code, reason = "guest memory is given to KVM")]
//! Code of a guest that calls by each conduit of the machine's KVM, in the loop of a VMM on kvm-ioctls.

use super::*;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, VcpuExit};
use pvir_abi::{Conduits, HYPERCALL_NUMBER};
use pvir_host::conduit::{Handled, VcpuConduits};
use vm_memory::GuestMemoryBackend;

/// Where the code is.
const CODE: u16 = 0x2000;
/// Where the code stores what it has read: four bytes for each of its steps.
const RESULTS: u16 = 0x3000;
/// A port at which nothing is: the code says by it that it has ended.
const END: u16 = 0xf4;

/// 16-bit code.
#[derive(Default)]
struct Code(Vec<u8>, u16);

impl Code {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// MOV of a number into EAX (0), ECX (1), EDX (2) or EDI (7).
    fn load(&mut self, register: u8, value: u32) -> &mut Self {
        self.bytes(&[0x66, 0xb8 + register]).bytes(&value.to_le_bytes())
    }

    /// MOV of EAX to the next place of the results.
    fn store(&mut self) -> &mut Self {
        let place = RESULTS + self.1;
        self.1 += 4;
        self.bytes(&[0x66, 0xa3]).bytes(&place.to_le_bytes())
    }
}

/// Calls by each conduit with the block at [`BLOCK`], and stores each status.
fn code(conduits: Conduits) -> Code {
    let block = u32::try_from(BLOCK).unwrap();
    let mut code = Code::default();
    // OUT DX, EAX; IN EAX, DX; and a byte of the port, which is no call.
    code.load(2, conduit::PORT.into()).load(0, block >> 12).bytes(&[0x66, 0xef, 0x66, 0xed]).store();
    code.load(0, 0).bytes(&[0xec]).store();
    if conduits.contains(Conduits::MSR) {
        // XOR EDX, EDX; WRMSR; XOR EAX, EAX; RDMSR
        code.load(1, conduit::MSR).load(0, block).bytes(&[0x66, 0x31, 0xd2, 0x0f, 0x30]);
        code.bytes(&[0x66, 0x31, 0xc0, 0x0f, 0x32]).store();
    }
    if conduits.intersects(conduit::HYPERCALLS) {
        let instruction = if conduits.contains(Conduits::VMCALL) { 0xc1 } else { 0xd9 };
        code.load(0, HYPERCALL_NUMBER).load(7, block).bytes(&[0x0f, 0x01, instruction]).store();
        code.load(0, 99).bytes(&[0x0f, 0x01, instruction]).store();
    }
    code.load(2, END.into()).bytes(&[0xee]);
    code
}

fn start(fixture: &mut KvmFixture, code: &Code) {
    let region = kvm_userspace_memory_region {
        memory_size: 0x1_0000,
        userspace_addr: fixture.ram.get_host_address(GuestAddress(0)).unwrap() as u64,
        ..Default::default()
    };
    // SAFETY: the memory lives as long as the fixture, and so longer than the VM runs.
    unsafe { fixture.vm.set_user_memory_region(region).unwrap() };
    fixture.ram.write_slice(&code.0, GuestAddress(CODE.into())).unwrap();
    let header = Header::request(Version::V1, Operation::DISABLE, CallFlags::empty(), 0);
    fixture.ram.write_slice(header.as_bytes(), GuestAddress(BLOCK)).unwrap();
    let vcpu = &fixture.vcpus[0];
    let mut sregs = vcpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).unwrap();
    let mut regs = vcpu.get_regs().unwrap();
    (regs.rip, regs.rflags) = (CODE.into(), 2);
    vcpu.set_regs(&regs).unwrap();
}

#[test]
fn a_guest_calls_by_every_conduit_that_was_opened() {
    let Some(fixture) = fixture() else { return };
    calls_by_every_conduit(fixture);
}

#[test]
fn a_vmm_may_have_an_msr_filter_of_its_own() {
    let Some(fixture) = fixture() else { return };
    if fixture.service.discovery().conduits.contains(Conduits::MSR) {
        let own = MsrFilterRange { base: 0x5000_0000, ..conduit::msr_filter_range(0) };
        // Without the library's range the guest's WRMSR would fault.
        let both = [own, conduit::msr_filter_range(conduit::MSR)];
        fixture.vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &both).unwrap();
    }
    calls_by_every_conduit(fixture);
}

fn calls_by_every_conduit(mut fixture: KvmFixture) {
    let opened = fixture.service.discovery().conduits;
    start(&mut fixture, &code(opened));
    let mut conduits =
        VcpuConduits::new(&fixture.vm, 0, Arc::<Service>::clone(&fixture.service), &fixture.counters);
    let vcpu = &mut fixture.vcpus[0];
    let mut handled = Vec::new();
    loop {
        match vcpu.run().unwrap() {
            exit if conduits.takes(&exit) => handled.push(conduits.serve(vcpu)),
            exit => {
                assert!(matches!(exit, VcpuExit::IoOut(END, _)), "{exit:?}");
                break;
            }
        }
    }
    let (call, status) = (Handled::Call, Handled::Status);
    let mut expected = vec![call(Conduits::PORT), status(Conduits::PORT), Handled::NoCall];
    // The first DISABLE ends the session, so that each of the others finds none.
    let mut answers = vec![Status::OK.0, 0xff];
    if opened.contains(Conduits::MSR) {
        expected.extend([call(Conduits::MSR), status(Conduits::MSR)]);
        answers.push(Status::NOT_ENABLED.0);
    }
    if opened.intersects(conduit::HYPERCALLS) {
        expected.extend([call(opened & conduit::HYPERCALLS), Handled::OtherHypercall]);
        answers.extend([Status::NOT_ENABLED.0, 0_u32.wrapping_sub(1000)]);
    }
    assert_eq!(handled, expected);
    let found: Vec<u32> = (0..answers.len() as u64)
        .map(|place| fixture.ram.read_obj(GuestAddress(u64::from(RESULTS) + 4 * place)).unwrap())
        .collect();
    assert_eq!(found, answers, "{opened:?}");
}
