use super::super::run_page::tests::TestPage;
use super::*;
use kvm_bindings::{KVM_EXIT_HLT, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR};
use pvir_abi::Features;
use std::sync::Mutex;

const MSR: u32 = super::super::MSR;
const PORT: u16 = super::super::PORT;

/// A service that answers each call with its place in the order of calls.
struct Recorder {
    conduits: Conduits,
    calls: Mutex<Vec<(usize, u8, u64)>>,
}

impl Hypercalls for Recorder {
    fn discovery(&self) -> Discovery {
        let mut all = Discovery::new(Features::MSIX).with_msr(MSR).with_port(PORT);
        all.conduits = self.conduits;
        all
    }

    fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status {
        let mut calls = self.calls.lock().unwrap();
        calls.push((vcpu, cpl, block.0));
        Status(u32::try_from(calls.len()).unwrap())
    }

    fn last_status(&self, _: usize) -> Status {
        Status(u32::try_from(self.calls.lock().unwrap().len()).unwrap())
    }
}

struct Vm {
    recorder: Arc<Recorder>,
    calls: Calls,
}

impl Vm {
    fn new(conduits: Conduits) -> Self {
        let recorder = Arc::new(Recorder { conduits, calls: Mutex::default() });
        Self { calls: Calls::new(Arc::<Recorder>::clone(&recorder)), recorder }
    }

    /// vCPU 7 comes back with `page`, from code at privilege level 2.
    fn exit(&self, page: &mut TestPage) -> Handled {
        self.calls.serve(&mut page.borrow(), 7, || 2)
    }

    fn called(&self) -> Vec<(usize, u8, u64)> {
        self.recorder.calls.lock().unwrap().clone()
    }
}

#[test]
fn out_is_a_call_at_the_level_of_the_vcpu_and_in_its_status() {
    let vm = Vm::new(Conduits::PORT);
    let two = [0x1234_u32, 0xffff_ffff].map(u32::to_le_bytes).concat();
    assert_eq!(vm.exit(&mut TestPage::port(PORT, Direction::Out, 4, &two)), Handled::Call(Conduits::PORT));
    assert_eq!(vm.called(), [(7, 2, 0x123_4000), (7, 2, 0xfff_ffff_f000)]);
    let mut read = TestPage::port(PORT, Direction::In, 4, &[9; 8]);
    assert_eq!(vm.exit(&mut read), Handled::Status(Conduits::PORT));
    assert_eq!(read.data(8), [2, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn an_access_of_another_width_is_no_call() {
    let vm = Vm::new(Conduits::PORT);
    for size in [1_u8, 2] {
        let data = vec![0; size.into()];
        assert_eq!(vm.exit(&mut TestPage::port(PORT, Direction::Out, size, &data)), Handled::NoCall);
        let mut read = TestPage::port(PORT, Direction::In, size, &data);
        assert_eq!(vm.exit(&mut read), Handled::NoCall);
        assert_eq!(read.data(size.into()), vec![0xff; size.into()]);
    }
    assert_eq!(vm.called(), []);
}

#[test]
fn wrmsr_is_a_call_and_rdmsr_its_status() {
    let vm = Vm::new(Conduits::MSR);
    let mut write = TestPage::msr(KVM_EXIT_X86_WRMSR, MSR, 0x5000);
    assert_eq!(vm.exit(&mut write), Handled::Call(Conduits::MSR));
    assert_eq!((write.msr_answer(), vm.called()), ((0, 0), vec![(7, 0, 0x5000)]));
    let mut read = TestPage::msr(KVM_EXIT_X86_RDMSR, MSR, 0);
    assert_eq!(vm.exit(&mut read), Handled::Status(Conduits::MSR));
    assert_eq!(read.msr_answer(), (0, 1));
}

#[test]
fn a_hypercall_brings_its_level_and_takes_its_status() {
    let vm = Vm::new(Conduits::VMMCALL | Conduits::PORT);
    let mut page = TestPage::hypercall(HYPERCALL_NUMBER.into(), 0x7000, 3);
    assert_eq!(vm.exit(&mut page), Handled::Call(Conduits::VMMCALL));
    assert_eq!((page.rax(), vm.called()), (1, vec![(7, 3, 0x7000)]));
}

#[test]
fn a_forwarded_hypercall_is_a_call_of_the_kernel() {
    let vm = Vm::new(Conduits::VMMCALL);
    let mut page = TestPage::forwarded(HYPERCALL_NUMBER.into(), 0x7000);
    assert_eq!(vm.exit(&mut page), Handled::Call(Conduits::VMMCALL));
    assert_eq!((page.rax(), vm.called()), (1, vec![(7, 0, 0x7000)]));
}

#[test]
fn what_kvm_forwards_for_others_is_left_to_the_vmm() {
    let vm = Vm::new(Conduits::VMCALL);
    for number in [12, u64::from(HYPERCALL_NUMBER) + 1] {
        let mut page = TestPage::forwarded(number, 0x7000);
        assert_eq!((vm.exit(&mut page), page.rax()), (Handled::NotOurs, NO_SUCH_CALL));
    }
    let none = Vm::new(Conduits::PORT);
    assert_eq!(none.exit(&mut TestPage::forwarded(HYPERCALL_NUMBER.into(), 0)), Handled::NotOurs);
    assert_eq!((vm.called(), none.called()), (vec![], vec![]));
}

#[test]
fn a_hypercall_of_others_is_answered_as_kvm_answers() {
    let vm = Vm::new(Conduits::VMCALL);
    for number in [9, u64::from(HYPERCALL_NUMBER) | 1 << 32] {
        let mut page = TestPage::hypercall(number, 0x7000, 0);
        assert_eq!((vm.exit(&mut page), page.rax()), (Handled::OtherHypercall, NO_SUCH_CALL));
    }
    assert_eq!(vm.called(), []);
}

#[test]
fn what_is_not_shown_does_not_exist() {
    let vm = Vm::new(Conduits::empty());
    let mut pages = [
        TestPage::port(PORT, Direction::Out, 4, &[0; 4]),
        TestPage::msr(KVM_EXIT_X86_WRMSR, MSR, 0),
        TestPage::msr(KVM_EXIT_X86_RDMSR, MSR, 0),
    ];
    assert!(pages.iter_mut().all(|page| vm.exit(page) == Handled::NotOurs));
    assert_eq!(vm.exit(&mut TestPage::hypercall(HYPERCALL_NUMBER.into(), 0, 0)), Handled::OtherHypercall);
    assert_eq!(vm.called(), []);
}

#[test]
fn exits_of_others_are_left_alone() {
    let vm = Vm::new(Conduits::PORT | Conduits::MSR | Conduits::VMCALL);
    let mut pages = [
        TestPage::port(PORT + 4, Direction::Out, 4, &[0; 4]),
        TestPage::port(PORT + 1, Direction::In, 1, &[5]),
        TestPage::msr(KVM_EXIT_X86_WRMSR, MSR + 1, 0),
        TestPage::new(KVM_EXIT_HLT),
    ];
    assert!(pages.iter_mut().all(|page| vm.exit(page) == Handled::NotOurs));
    assert_eq!((pages[1].data(1)[0], vm.called()), (5, vec![]));
}
