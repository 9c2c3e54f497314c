use super::*;

/// A page of a vCPU that came back with an exit, in the memory of the test. The data of a port access starts at
/// [`DATA`](Self::DATA).
pub(in crate::conduit) struct TestPage(Box<[kvm::kvm_run; 2]>);

impl TestPage {
    pub(in crate::conduit) const DATA: usize = size_of::<kvm::kvm_run>();

    pub(in crate::conduit) fn new(exit_reason: u32) -> Self {
        Self(Box::new([kvm::kvm_run { exit_reason, ..Default::default() }, kvm::kvm_run::default()]))
    }

    pub(in crate::conduit) fn port(port: u16, direction: Direction, size: u8, data: &[u8]) -> Self {
        let mut page = Self::new(kvm::KVM_EXIT_IO);
        page.0[0].__bindgen_anon_1.io = kvm::kvm_run__bindgen_ty_1__bindgen_ty_4 {
            direction: u8::from(direction == Direction::Out),
            size,
            port,
            count: u32::try_from(data.len()).unwrap() / u32::from(size),
            data_offset: Self::DATA as u64,
        };
        page.data(data.len()).copy_from_slice(data);
        page
    }

    pub(in crate::conduit) fn msr(exit_reason: u32, index: u32, data: u64) -> Self {
        let mut page = Self::new(exit_reason);
        page.0[0].__bindgen_anon_1.msr.index = index;
        page.0[0].__bindgen_anon_1.msr.data = data;
        page
    }

    pub(in crate::conduit) fn hypercall(number: u64, rdi: u64, cpl: u32) -> Self {
        let mut page = Self::new(kvm::KVM_EXIT_XEN);
        page.0[0].__bindgen_anon_1.xen.type_ = kvm::KVM_EXIT_XEN_HCALL;
        let hcall = kvm::kvm_xen_exit__bindgen_ty_1__bindgen_ty_1 {
            longmode: 1,
            cpl,
            input: number,
            params: [rdi, 2, 3, 4, 5, 6],
            ..Default::default()
        };
        page.0[0].__bindgen_anon_1.xen.u.hcall = hcall;
        page
    }

    /// A hypercall that KVM has forwarded, with `rdi` in its place of the arguments.
    pub(in crate::conduit) fn forwarded(number: u64, rdi: u64) -> Self {
        let mut page = Self::new(kvm::KVM_EXIT_HYPERCALL);
        let call = kvm::kvm_run__bindgen_ty_1__bindgen_ty_8 {
            nr: number,
            args: [1, 2, 3, 4, rdi, 6],
            ret: super::super::NO_SUCH_CALL,
            ..Default::default()
        };
        page.0[0].__bindgen_anon_1.hypercall = call;
        page
    }

    pub(in crate::conduit) fn borrow(&mut self) -> RunPage<'_> {
        let size = size_of_val(&*self.0);
        // SAFETY: the pages are as long as is said, and stay borrowed as long as the result.
        unsafe { RunPage::from_raw(NonNull::from(&mut *self.0).cast(), size) }
    }

    /// The first bytes of the data of a port access.
    pub(in crate::conduit) fn data(&mut self, count: usize) -> &mut [u8] {
        let access = PortAccess {
            port: 0,
            direction: Direction::In,
            size: 1,
            count: u32::try_from(count).unwrap(),
            offset: Self::DATA as u64,
        };
        let data: *mut [u8] = self.borrow().port_data(&access);
        // SAFETY: the data lies in the pages, which stay borrowed as long as the result.
        unsafe { &mut *data }
    }

    pub(in crate::conduit) fn msr_answer(&self) -> (u8, u64) {
        // SAFETY: the page is of an access to an MSR.
        let msr = unsafe { self.0[0].__bindgen_anon_1.msr };
        (msr.error, msr.data)
    }

    pub(in crate::conduit) fn rax(&self) -> u64 {
        if self.0[0].exit_reason == kvm::KVM_EXIT_HYPERCALL {
            // SAFETY: the page is of a hypercall that was forwarded.
            return unsafe { self.0[0].__bindgen_anon_1.hypercall }.ret;
        }
        // SAFETY: the page is of a hypercall.
        let xen = unsafe { self.0[0].__bindgen_anon_1.xen };
        // SAFETY: as above.
        unsafe { xen.u.hcall }.result
    }
}

#[test]
fn string_io_keeps_its_operand_size() {
    let mut page = TestPage::port(0x3f8, Direction::Out, 2, &[7; 14]);
    let offset = TestPage::DATA as u64;
    let expected = PortAccess { port: 0x3f8, direction: Direction::Out, size: 2, count: 7, offset };
    assert_eq!(page.borrow().exit(), Exit::Port(expected));
    assert_eq!(page.borrow().port_data(&expected), [7; 14]);
}

#[test]
fn data_that_does_not_lie_in_the_page_is_not_reached() {
    let mut page = TestPage::port(0x3f8, Direction::Out, 4, &[]);
    let end = 2 * TestPage::DATA as u64;
    for (offset, count) in [(end - 3, 1), (end, 1), (u64::MAX, 1), (0, u32::MAX)] {
        let access = PortAccess { port: 0, direction: Direction::Out, size: 4, count, offset };
        assert_eq!(page.borrow().port_data(&access), [], "{access:?}");
    }
    let last = PortAccess { port: 0, direction: Direction::Out, size: 4, count: 1, offset: end - 4 };
    assert_eq!(page.borrow().port_data(&last).len(), 4);
}

#[test]
fn an_intercepted_hypercall_is_decoded_with_its_privilege_level() {
    let mut page = TestPage::hypercall(0x5056, 1, 3);
    assert_eq!(page.borrow().exit(), Exit::Hypercall(Hypercall { number: 0x5056, rdi: 1, cpl: 3 }));
    let mut page = TestPage::hypercall(0x5056, 1, 300);
    assert_eq!(page.borrow().exit(), Exit::Hypercall(Hypercall { number: 0x5056, rdi: 1, cpl: 3 }));
}

#[test]
fn a_forwarded_hypercall_is_one_of_privilege_level_0() {
    let mut page = TestPage::forwarded(0x5056, 7);
    let expected = Hypercall { number: 0x5056, rdi: 7, cpl: 0 };
    assert_eq!(page.borrow().exit(), Exit::ForwardedHypercall(expected));
}

#[test]
fn edi_of_32_bit_code_is_another_argument() {
    let mut page = TestPage::hypercall(0x5056, 1, 0);
    page.0[0].__bindgen_anon_1.xen.u.hcall.longmode = 0;
    assert_eq!(page.borrow().exit(), Exit::Hypercall(Hypercall { number: 0x5056, rdi: 5, cpl: 0 }));
}

#[test]
fn a_xen_exit_of_another_type_is_no_hypercall() {
    let mut page = TestPage::hypercall(0x5056, 1, 0);
    page.0[0].__bindgen_anon_1.xen.type_ = 9;
    assert_eq!(page.borrow().exit(), Exit::Other(kvm::KVM_EXIT_XEN));
}

#[test]
fn other_reasons_keep_their_number() {
    assert_eq!(TestPage::new(4711).borrow().exit(), Exit::Other(4711));
}
