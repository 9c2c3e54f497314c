//! Resets of a device by its guest: what becomes of entries, of what is held, and of trapped stores.

use super::*;
use crate::fake::CallKind;
use std::io;

const MSIX_ENABLE: u16 = 1 << 15;

impl ServiceFixture {
    /// Resets a device as VFIO does.
    fn reset(&self, number: u8) -> io::Result<()> {
        self.reset_to(number, false)
    }

    fn reset_to(&self, number: u8, new_pairs: bool) -> io::Result<()> {
        self.platform.lock().expect(None);
        let done = self.service.reset_device(device(number), || {
            self.platform.lock().reset_device(number.into(), new_pairs);
            Ok(())
        });
        self.assert_order();
        done
    }
}

#[test]
fn entries_stay_mapped_and_come_back_masked() {
    // Z2, Z3
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51), routed(1, 3, 1, 0x52), ims(0, 2, 1, 0x53)]).records;
    [(0, 3), (1, 3)].into_iter().for_each(|(number, index)| fixture.unmask(number, index));
    let before = (fixture.features().irtes, format!("{:?}", fixture.service.irtes()));
    fixture.reset(0).unwrap();
    assert_eq!((fixture.features().irtes, format!("{:?}", fixture.service.irtes())), before);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [], "the entry is masked");
    fixture.raise(1, 3);
    assert_eq!(fixture.delivered(), [(1, 0x52)], "the other device was not reset");
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(0, 0x51)]);
    assert_eq!(fixture.retarget(&[moved(&mapped[0], 300, 0x61)]).records[0].pair(), mapped[0].pair());
    assert_eq!(fixture.query(&[query_of(0, 3)]).records[0].pair(), mapped[0].pair());
    assert_eq!(fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>()).status, Status::OK);
    fixture.assert_baseline();
}

#[test]
fn what_was_held_for_a_parked_entry_is_gone() {
    // Z4
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[parked(0, 3)]).records[0];
    fixture.unmask(0, 3);
    fixture.raise(0, 3);
    fixture.reset(0).unwrap();
    fixture.unmask(0, 3);
    fixture.retarget(&[moved(&record, 1, 0x52)]);
    assert_eq!(fixture.delivered(), []);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x52)]);
}

#[test]
fn an_entry_that_cannot_be_masked_is_an_error_and_the_others_are_masked() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 0, 0x51), routed(0, 4, 0, 0x52)]);
    [3, 4].into_iter().for_each(|index| fixture.unmask(0, index));
    fixture.platform.lock().expect(None);
    let done = fixture.service.reset_device(device(0), || {
        let mut platform = fixture.platform.lock();
        platform.faults.fail_once(Some(CallKind::Mask), 0, libc::EIO);
        Ok(())
    });
    assert_eq!(done.unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fixture.platform.lock().count(CallKind::Mask), 2);
}

#[test]
fn a_reset_that_fails_and_a_device_that_is_not_there_are_errors() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 0, 0x51)]);
    fixture.unmask(0, 3);
    let done = fixture.service.reset_device(device(0), || Err(io::Error::from_raw_os_error(libc::EAGAIN)));
    assert_eq!(done.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [], "masked all the same");
    let nobody = fixture.service.reset_device(device(9), || panic!("there is no such device"));
    assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_trapped_store_is_as_at_the_start_and_what_it_held_is_gone() {
    // Z5
    let fixture = ServiceFixture::new();
    fixture.control(0, MSIX_ENABLE);
    [(3, 0x51), (4, 0x52)].into_iter().for_each(|(index, vector)| fixture.live(0, index, 1, vector));
    fixture.trapped_mask(0, 4, true);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(1, 0x51)]);
    fixture.raise(0, 4);
    fixture.reset(0).unwrap();
    fixture.assert_nothing_trapped();
    fixture.raise(0, 3);
    fixture.control(0, MSIX_ENABLE);
    [(3, 0x51), (4, 0x52)].into_iter().for_each(|(index, vector)| fixture.live(0, index, 1, vector));
    assert_eq!(fixture.delivered(), []);
    [3, 4].into_iter().for_each(|index| fixture.raise(0, index));
    assert_eq!(fixture.delivered(), [(1, 0x51), (1, 0x52)]);
}

#[test]
fn what_another_cpu_programs_during_a_reset_was_reset_too() {
    let fixture = ServiceFixture::new();
    fixture
        .service
        .reset_device(device(0), || {
            fixture.control(0, MSIX_ENABLE);
            fixture.live(0, 3, 1, 0x51);
            Ok(())
        })
        .unwrap();
    fixture.assert_order();
    fixture.assert_nothing_trapped();
}

#[test]
fn the_service_goes_on_while_a_device_is_reset() {
    let fixture = ServiceFixture::enabled();
    let done = fixture.service.reset_device(device(0), || {
        assert_eq!(fixture.map(&[routed(1, 3, 0, 0x51), routed(0, 5, 0, 0x52)]).status, Status::OK);
        Ok(())
    });
    assert!(done.is_ok());
    fixture.assert_order();
}

#[test]
fn resets_over_and_over_leave_nothing() {
    let fixture = ServiceFixture::new();
    for round in 0..100 {
        if round % 2 == 0 {
            fixture.control(0, MSIX_ENABLE);
            fixture.live(0, 3, 1, 0x51);
        } else {
            fixture.enable();
            fixture.map(&[routed(0, 3, 0, 0x51), parked(0, 4), messages(4, 0, 0x60)]);
        }
        [0, 2].into_iter().for_each(|number| fixture.reset(number).unwrap());
        if round % 2 == 1 {
            assert_eq!(fixture.disable(), Status::OK);
        }
        fixture.assert_nothing_trapped();
    }
}

#[test]
fn pairs_that_are_others_afterwards_are_stale() {
    // V6, V3
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x51), routed(1, 3, 1, 0x52)]).records;
    let epoch = fixture.service.epoch();
    fixture.reset(0).unwrap();
    assert_eq!(fixture.service.epoch(), epoch, "no event for the guest's own reset");
    fixture.reset_to(0, true).unwrap();
    assert_eq!(fixture.service.epoch(), epoch + 1);
    let asked: Vec<_> = mapped.iter().map(named).collect();
    assert_eq!(statuses(&fixture.query(&asked).records), [Status::STALE_HANDLE, Status::OK]);
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).status, Status::OK);
}

#[test]
fn a_device_that_was_cut_off_goes_on_after_a_reset_that_succeeds() {
    // V11
    let fixture = ServiceFixture::enabled();
    fixture.service.raise(Event::DeviceCutOff(device(0))).unwrap();
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).records[0].status, Status::DEVICE_CUT_OFF);
    assert!(fixture.service.reset_device(device(0), || Err(io::ErrorKind::Other.into())).is_err());
    assert_eq!(fixture.service.is_cut_off(device(0)), Some(true));
    fixture.reset(0).unwrap();
    assert_eq!(fixture.map(&[routed(0, 3, 0, 0x51)]).status, Status::OK);
}
