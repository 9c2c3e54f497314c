//! Random answers: the driver never panics, and what it believes is consistent.

use super::*;
use crate::{BatchMode, EntryError, NOT_MAPPED};
use proptest::collection::vec;
use proptest::prelude::*;
use pvir_abi::Status;
use std::vec::Vec;

/// Bytes that overwrite an answer: place and value.
type Scratches = Vec<(usize, u8)>;

fn scratch(block: &mut [u8], scratches: &Scratches) {
    let len = block.len();
    for (place, byte) in scratches {
        block[place % len] = *byte;
    }
}

/// Bytes with many zeros and ones, which reach further than even chance.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(1), Just(2), Just(0xfe), Just(0xff), any::<u8>()]
}

/// Under Miri each takes a second.
const CASES: u32 = if cfg!(miri) { 4 } else { 2000 };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn a_scratched_map_is_refused_or_consistent(scratches in vec((0..256usize, byte()), 1..4), lie in any::<bool>()) {
        let (host, remapping) = enabled();
        host.tamper(move |block, status| {
            scratch(block, &scratches);
            // Else most lies are caught by the conduit's status.
            if lie {
                *status = Status(u32::from_le_bytes(block[16..20].try_into().unwrap()));
            }
        });
        let requests = [0, 1, 2].map(msix);
        let mut results = [const { NOT_MAPPED }; 3];
        let granted = remapping.map_batch(&requests, &mut results, BatchMode::Partial);
        let good: Vec<_> = requests.iter().zip(&results).filter_map(|(r, i)| Some((r, i.as_ref().ok()?))).collect();
        prop_assert_eq!(granted.unwrap_or(0), good.len());
        for (request, irte) in &good {
            prop_assert_eq!((irte.origin(), irte.target()), (request.origin, request.target));
            prop_assert_eq!((irte.pair().address >> 20, irte.pair().address & 3, irte.pair().data >> 16), (0xfee, 0, 0));
            prop_assert_ne!(irte.handle().0, 0);
            prop_assert_eq!(good.iter().filter(|(_, other)| other.handle() == irte.handle()).count(), 1);
            prop_assert_eq!(good.iter().filter(|(_, other)| other.pair() == irte.pair()).count(), 1);
        }
    }

    #[test]
    fn random_blocks_never_panic(bytes in vec(byte(), 192), status in any::<u32>(), lie in any::<bool>()) {
        let host = host();
        let pvir = negotiated(&host, 2);
        let pollute = bytes.clone();
        host.tamper(move |block, conduit| {
            let len = block.len();
            block.copy_from_slice(&pollute[..len]);
            *conduit = if lie { Status(u32::from_le_bytes(block[16..20].try_into().unwrap())) } else { Status(status) };
        });
        let mut info = [Err(EntryError::NotAsked); 2];
        prop_assert!(pvir.device_info(&[DEVICE, OTHER], &mut info).is_err());
        prop_assert!(pvir.enable(EnableOptions::new(Features::MSIX)).is_err());
    }

    #[test]
    fn scratched_retargets_and_unmaps_keep_their_tokens(
        scratches in vec((0..192usize, byte()), 1..4),
        lie in any::<bool>(),
    ) {
        let (host, remapping) = enabled();
        let mut irtes = [remapping.map(msix(0)).unwrap(), remapping.map(msix(1)).unwrap()];
        let pairs = [irtes[0].pair(), irtes[1].pair()];
        host.tamper(move |block, status| {
            scratch(block, &scratches);
            if lie {
                *status = Status(u32::from_le_bytes(block[16..20].try_into().unwrap()));
            }
        });
        let mut results = [Err(EntryError::NotAsked); 2];
        let targets = [Target::Parked, Target::fixed(3, 0x99)];
        let moved = remapping.retarget_batch(&mut irtes, &targets, &mut results, BatchMode::Partial);
        prop_assert_eq!(moved.unwrap_or(0), results.iter().filter(|result| result.is_ok()).count());
        prop_assert_eq!([irtes[0].pair(), irtes[1].pair()], pairs);
        let _ = remapping.query(irtes[0].origin());
        let mut tokens = irtes.map(Some);
        let gone = remapping.unmap_batch(&mut tokens, &mut results, BatchMode::Partial);
        prop_assert_eq!(gone.unwrap_or(0), tokens.iter().filter(|token| token.is_none()).count());
    }
}
