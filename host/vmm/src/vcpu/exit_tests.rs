use super::*;

fn page(reason: u32) -> kvm::kvm_run {
    kvm::kvm_run { exit_reason: reason, ..Default::default() }
}

#[test]
fn string_io_keeps_its_operand_size() {
    let mut run = page(kvm::KVM_EXIT_IO);
    run.__bindgen_anon_1.io = kvm::kvm_run__bindgen_ty_1__bindgen_ty_4 {
        direction: 1,
        size: 2,
        port: 0x3f8,
        count: 7,
        data_offset: 4096,
    };
    let expected = PortAccess { port: 0x3f8, direction: Direction::Out, size: 2, count: 7, offset: 4096 };
    assert_eq!(decode(&run), Exit::Port(expected));
}

#[test]
fn mmio_write_carries_its_data() {
    let mut run = page(kvm::KVM_EXIT_MMIO);
    run.__bindgen_anon_1.mmio.phys_addr = 0xc000_0010;
    run.__bindgen_anon_1.mmio.len = 4;
    run.__bindgen_anon_1.mmio.is_write = 1;
    run.__bindgen_anon_1.mmio.data = [1, 2, 3, 4, 0, 0, 0, 0];
    let expected = Exit::MmioWrite { address: 0xc000_0010, size: 4, data: [1, 2, 3, 4, 0, 0, 0, 0] };
    assert_eq!(decode(&run), expected);
}

fn hypercall(long_mode: u32) -> Exit {
    let mut run = page(kvm::KVM_EXIT_XEN);
    run.__bindgen_anon_1.xen.type_ = kvm::KVM_EXIT_XEN_HCALL;
    run.__bindgen_anon_1.xen.u.hcall.longmode = long_mode;
    run.__bindgen_anon_1.xen.u.hcall.cpl = 3;
    run.__bindgen_anon_1.xen.u.hcall.input = 0x5056;
    run.__bindgen_anon_1.xen.u.hcall.params = [1, 2, 3, 4, 5, 6];
    decode(&run)
}

#[test]
fn intercepted_hypercall_is_decoded_with_its_privilege_level() {
    assert_eq!(hypercall(1), Exit::Hypercall(Hypercall { number: 0x5056, rdi: 1, cpl: 3 }));
}

#[test]
fn edi_of_32_bit_code_is_another_argument() {
    assert_eq!(hypercall(0), Exit::Hypercall(Hypercall { number: 0x5056, rdi: 5, cpl: 3 }));
}

#[test]
fn a_xen_exit_of_another_type_is_no_hypercall() {
    let mut run = page(kvm::KVM_EXIT_XEN);
    run.__bindgen_anon_1.xen.type_ = 9;
    assert_eq!(decode(&run), Exit::Other(kvm::KVM_EXIT_XEN));
}

#[test]
fn emulation_failure_shows_the_instruction_only_where_kvm_tells_it() {
    let mut run = page(kvm::KVM_EXIT_INTERNAL_ERROR);
    run.__bindgen_anon_1.internal.suberror = kvm::KVM_INTERNAL_ERROR_EMULATION;
    run.__bindgen_anon_1.internal.ndata = 4;
    // flags, then one byte of length and fifteen of the instruction
    run.__bindgen_anon_1.internal.data = [0; 16];
    let unknown = InternalError { suberror: 1, instruction: [0; 15], instruction_size: 0 };
    assert_eq!(decode(&run), Exit::InternalError(unknown));

    let mut data = [0; 16];
    data[0] = 1;
    data[1] = u64::from_le_bytes([2, 0x0f, 0xef, 0, 0, 0, 0, 0]);
    run.__bindgen_anon_1.internal.data = data;
    let mut instruction = [0; 15];
    instruction[..2].copy_from_slice(&[0x0f, 0xef]);
    assert_eq!(
        decode(&run),
        Exit::InternalError(InternalError { suberror: 1, instruction, instruction_size: 2 })
    );
}

#[test]
fn unknown_reasons_keep_their_number() {
    assert_eq!(decode(&page(4711)), Exit::Other(4711));
}
