//! Bytes that are not what was saved.

use super::*;

/// The state of a VM that has some of everything.
fn rich() -> SavedState {
    let vm = SavedVm::with(MSIX_ONLY | Features::IMS);
    let mapped = vm.fixture.map(&[routed(0, 3, 0, 0x51), parked(0, 4), ims(1, 1, 1, 0x52), parked(1, 5)]);
    vm.fixture.unmap(&[named(&mapped.records[0])]);
    [(0, 4), (1, 5)].into_iter().for_each(|(number, index)| vm.fixture.unmask(number, index));
    [(0, 4), (1, 5)].into_iter().for_each(|(number, index)| vm.fixture.raise(number, index));
    vm.program_msi(1, 0x61);
    vm.fixture.service.save().unwrap()
}

/// The same of a VM that takes its devices one at a time: one is attached, the others go on with trapped messages.
fn rich_by_device() -> SavedState {
    let vm = SavedVm::with(MSIX_ONLY | Features::IMS | Features::ATTACH);
    vm.fixture.control(1, trapped::ENABLE);
    vm.fixture.live(1, 3, 300, 0x71);
    vm.fixture.trapped_mask(1, 3, true);
    vm.fixture.raise(1, 3);
    vm.attach(0);
    vm.fixture.map(&[routed(0, 3, 0, 0x51), parked(0, 4)]);
    vm.fixture.unmask(0, 4);
    vm.fixture.raise(0, 4);
    vm.program_msi(1, 0x61);
    vm.fixture.service.save().unwrap()
}

/// A generator of numbers below a bound (xorshift64, G. Marsaglia, "Xorshift RNGs", 2003).
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    }
}

/// Bytes of the header in front of the contents, and where in it version, checksum and length are.
const HEADER: usize = 24;

/// Makes the checksum right again, as somebody would who wants a damaged state to be taken.
fn seal(bytes: &mut [u8]) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[8..12]);
    hasher.update(&((bytes.len() - HEADER) as u64).to_le_bytes());
    hasher.update(&bytes[HEADER..]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    let length = (bytes.len() - HEADER) as u64;
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
}

#[test]
fn a_state_comes_back_from_its_bytes() {
    let state = rich();
    assert_eq!(SavedState::from_bytes(&state.to_bytes().unwrap()), Ok(state));
}

#[test]
fn a_damaged_byte_is_noticed_wherever_it_is() {
    let good = rich().to_bytes().unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let refused = SavedState::from_bytes(&bytes).unwrap_err();
            let expected = match at {
                0..8 => refused == DamagedState::Foreign,
                8..12 => matches!(refused, DamagedState::Version(_)),
                16..24 => matches!(refused, DamagedState::Length { .. }),
                _ => refused == DamagedState::Checksum,
            };
            assert!(expected, "bit {bit} of byte {at}: {refused:?}");
        }
    }
}

#[test]
fn every_length_but_its_own_is_refused() {
    let good = rich().to_bytes().unwrap();
    for length in 0..good.len() {
        let refused = SavedState::from_bytes(&good[..length]).unwrap_err();
        assert!(
            matches!(refused, DamagedState::Length { found, .. } if found == length as u64),
            "{refused:?}"
        );
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(SavedState::from_bytes(&longer), Err(DamagedState::Length { .. })));
    assert_eq!(SavedState::from_bytes(&[0; 100]), Err(DamagedState::Foreign));
}

#[test]
fn later_versions_and_what_follows_the_contents_are_refused_by_name() {
    let mut bytes = rich().to_bytes().unwrap();
    bytes.push(0);
    seal(&mut bytes);
    let refused = SavedState::from_bytes(&bytes).unwrap_err();
    assert_eq!(refused.to_string(), "its contents are malformed: 1 bytes follow them");
    bytes[8] += 1;
    let refused = SavedState::from_bytes(&bytes).unwrap_err();
    assert_eq!(refused.to_string(), "it is of version 2, and this library knows version 1");
}

/// 10,000 states of which up to four bytes are changed and the checksum is right: each is refused, or restored into a
/// service that serves its guest and gives everything back.
#[test]
fn contents_changed_at_random_are_refused_or_restored() {
    changed_at_random(&rich());
}

#[test]
fn contents_with_a_device_attached_are_too() {
    changed_at_random(&rich_by_device());
}

fn changed_at_random(state: &SavedState) {
    let good = state.to_bytes().unwrap();
    let mut below = numbers(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut restored) = (0, 0);
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..=below(4) {
            let at = HEADER + below(bytes.len() - HEADER);
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        seal(&mut bytes);
        let Ok(state) = SavedState::from_bytes(&bytes) else {
            refused += 1;
            continue;
        };
        let after = SavedVm::new();
        after.fixture.platform.lock().expect(None);
        match after.fixture.service.restore(&state) {
            Ok(()) => restored += 1,
            Err(_) => refused += 1,
        }
        after.fixture.assert_order();
        after.fixture.map(&[routed(0, 4, 300, 0x51), routed(1, 5, 0, 0x52)]);
        after.fixture.service.shut_down();
        after.fixture.assert_baseline();
    }
    assert!(refused > 1000 && restored > 1000, "{refused} refused, {restored} restored");
}
