//! Whatever a guest does in whatever order, what is mapped follows from its registers and from who has the table.

use super::*;
use proptest::prelude::*;
use pvir_abi::Status;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write { offset: u16, len: usize, value: u64 },
    Enable,
    Disable,
    Fail { decode: bool, map: bool, unmap: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let places = prop_oneof![Just(4_u16), Just(0x10), Just(0x1c), 0..0x30_u16];
    let values = prop_oneof![
        Just(u64::MAX),
        Just(2),
        Just(0),
        (0xc000_u64..0xc040).prop_map(|page| page << 16),
        any::<u64>()
    ];
    prop_oneof![
        8 => (places, 1..=8_usize, values).prop_map(|(offset, len, value)| Step::Write { offset, len, value }),
        1 => Just(Step::Enable),
        1 => Just(Step::Disable),
        1 => any::<(bool, bool, bool)>().prop_map(|(decode, map, unmap)| Step::Fail { decode, map, unmap }),
    ]
}

impl Fixture {
    fn set_failing(&self, decode: bool, map: bool, unmap: bool) {
        let mut space = self.mapper.space();
        (space.no_decode, space.no_map, space.no_unmap) = (decode, map, unmap);
    }

    /// What should be mapped now, by the registers that the guest reads.
    fn expected(&self, open: bool) -> Vec<(u64, u64, GuestAccess)> {
        let ranges = self.mapper.space().decoded.clone();
        let mut parts = Vec::new();
        for range in ranges {
            assert_eq!(self.function.bar_address(range.bar), Some(range.address));
            let pages: Vec<(u64, u64)> = match (range.bar, open) {
                (0, _) => vec![(0, 0x2_0000)],
                (_, true) => (0..4).map(|page| (page * 0x1000, 0x1000)).collect(),
                (_, false) => vec![(0x1000, 0x1000), (0x3000, 0x1000)],
            };
            parts.extend(pages.into_iter().map(|(offset, size)| (range.address + offset, size, RW)));
        }
        parts.sort_by_key(|part| part.0);
        parts
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_mapped_follows_from_registers_and_gate(steps in prop::collection::vec(step(), 1..60)) {
        let fixture = Fixture::decoding();
        let mut open = false;
        let mut failing = false;
        for step in steps {
            match step {
                Step::Write { offset, len, value } => {
                    fixture.function.config_write(offset, &value.to_le_bytes()[..len]);
                }
                // Not while the VMM fails: a device that cannot be closed is lost.
                Step::Enable if !failing => open |= fixture.enable() == Status::OK,
                Step::Disable if !failing => {
                    if fixture.disable() == Status::OK {
                        open = false;
                    }
                }
                Step::Enable | Step::Disable => {}
                Step::Fail { decode, map, unmap } => {
                    failing = decode || map || unmap;
                    fixture.set_failing(decode, map, unmap);
                }
            }
            prop_assert!(fixture.mapper.space().breaches.is_empty(), "{:?}", fixture.mapper.space().breaches);
        }
        // Once the VMM fails no more, the next write sets everything right.
        fixture.set_failing(false, false, false);
        let command: [u8; 2] = fixture.config(4);
        fixture.function.config_write(4, &[command[0] & !2]);
        prop_assert_eq!(fixture.mapper.mapped(), []);
        fixture.function.config_write(4, &[command[0] | 2]);
        prop_assert_eq!(fixture.mapper.mapped(), fixture.expected(open));
    }
}
