//! What is mapped, whatever comes first: moved BARs, decode, ENABLE and DISABLE.

use super::*;
use pvir_abi::Status;

/// What of BAR0 and BAR3 is mapped while the guest does not have the table.
const CLOSED: [(u64, u64, GuestAccess); 3] =
    [(0xc000_0000, 0x2_0000, RW), (0xc010_1000, 0x1000, RW), (0xc010_3000, 0x1000, RW)];

fn table_pages(bar: u64) -> Vec<(u64, u64, GuestAccess)> {
    (0..4).map(|page| (bar + page * 0x1000, 0x1000, RW)).collect()
}

fn open_at(bar: u64) -> Vec<(u64, u64, GuestAccess)> {
    [vec![CLOSED[0]], table_pages(bar)].concat()
}

#[test]
fn enable_opens_the_pages_of_table_and_pending_bits_and_disable_closes_them() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.mapper.mapped(), CLOSED);
    let before = fixture.mapper.space().changes;
    assert_eq!(fixture.enable(), Status::OK);
    assert_eq!(fixture.mapper.mapped(), open_at(0xc010_0000));
    assert_eq!(fixture.mapper.space().changes, before + 2, "the other pages are left alone");
    assert_eq!(fixture.disable(), Status::OK);
    assert_eq!(fixture.mapper.mapped(), CLOSED);
}

#[test]
fn memory_slots_that_a_guest_moves_are_charged_to_it() {
    let fixture = Fixture::limited();
    let delayed = || fixture.service.statistics().delayed;
    assert_eq!(delayed(), 0, "the VMM's own moves are not");
    fixture.function.config_write(0x3c, &[6]);
    assert_eq!(delayed(), 0, "nothing moves");
    fixture.function.config_write(4, &[2, 0]);
    assert_eq!(delayed(), 1, "decode on");
    fixture.function.config_write(4, &[2, 0]);
    assert_eq!(delayed(), 1, "on already");
    fixture.move_bar(3, 0xd000_0000);
    assert_eq!(delayed(), 2);
}

#[test]
fn a_table_that_is_open_moves_with_its_bar() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.enable(), Status::OK);
    fixture.move_bar(3, 0xd000_0000);
    assert_eq!(fixture.mapper.mapped(), open_at(0xd000_0000));
    assert_eq!(fixture.function.find_memory(0xc010_0000, 4), None);
    assert_eq!(fixture.function.find_memory(0xd000_0010, 4), Some((3, 0x10)));
    assert_eq!(fixture.disable(), Status::OK);
    let closed = [CLOSED[0], (0xd000_1000, 0x1000, RW), (0xd000_3000, 0x1000, RW)];
    assert_eq!(fixture.mapper.mapped(), closed);
}

#[test]
fn decode_off_takes_everything_and_on_gives_it_back() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.enable(), Status::OK);
    fixture.function.config_write(4, &[4, 0]);
    assert_eq!(fixture.mapper.mapped(), []);
    assert_eq!((fixture.function.decoded(), fixture.function.find_memory(0xc000_0000, 1)), (vec![], None));
    fixture.function.config_write(4, &[6, 0]);
    assert_eq!(fixture.mapper.mapped(), open_at(0xc010_0000));
}

#[test]
fn what_happens_while_decode_is_off_shows_when_it_is_on() {
    let fixture = Fixture::new();
    assert_eq!(fixture.enable(), Status::OK);
    fixture.move_bar(3, 0xd000_0000);
    assert_eq!(fixture.mapper.mapped(), []);
    fixture.function.config_write(4, &[2]);
    assert_eq!(fixture.mapper.mapped(), open_at(0xd000_0000));
    fixture.function.config_write(4, &[0]);
    assert_eq!(fixture.disable(), Status::OK);
    fixture.function.config_write(4, &[2]);
    assert_eq!(fixture.mapper.mapped()[1], (0xd000_1000, 0x1000, RW));
}

#[test]
fn a_guest_that_finds_sizes_with_decode_on_moves_nothing_there() {
    let fixture = Fixture::decoding();
    fixture.move_bar(3, u32::MAX);
    assert_eq!(fixture.config(0x1c), 0xffff_c000_u32.to_le_bytes());
    assert_eq!(fixture.mapper.mapped(), CLOSED[..1]);
    fixture.move_bar(3, 0xc010_0000);
    assert_eq!(fixture.mapper.mapped(), CLOSED);
}

#[test]
fn a_vmm_that_keeps_the_bars_says_where_they_are() {
    let fixture = Fixture::new();
    fixture.function.place_bar(3, Some(0x9000_0000)).unwrap();
    assert_eq!(fixture.mapper.mapped(), [(0x9000_1000, 0x1000, RW), (0x9000_3000, 0x1000, RW)]);
    fixture.function.config_write(4, &[6, 0]);
    fixture.move_bar(3, 0xd000_0000);
    assert_eq!(fixture.function.find_memory(0x9000_0000, 4), Some((3, 0)));
    fixture.function.place_bar(3, None).unwrap();
    assert_eq!(fixture.function.find_memory(0x9000_0000, 4), None);
    let error = fixture.function.place_bar(1, None).unwrap_err();
    assert_eq!(error.to_string(), "0000:00:01.0: there is no BAR1, or 0x0 is no address for it");
    let unaligned = fixture.function.set_bar_address(3, 0x9000_1000);
    assert!(matches!(unaligned, Err(FunctionError::NoSuchBar { bar: 3, .. })));
}

#[test]
fn nothing_is_left_of_a_function_that_is_gone() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.enable(), Status::OK);
    drop(fixture.function);
    assert_eq!(fixture.mapper.mapped(), []);
    assert_eq!(fixture.mapper.space().decoded, []);
    fixture.service.shut_down();
    assert_eq!(fixture.mapper.mapped(), []);
}
