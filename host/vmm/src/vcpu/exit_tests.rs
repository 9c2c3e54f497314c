use super::*;

fn page(reason: u32) -> kvm::kvm_run {
    kvm::kvm_run { exit_reason: reason, ..Default::default() }
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
