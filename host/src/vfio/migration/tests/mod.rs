//! The protocol against a fake driver that keeps to include/uapi/linux/vfio.h by the letter.

mod fake;

use super::*;
use fake::{FakeDriver, Fault};

const INSIDE: &[u8] = b"what it holds";

fn migration(driver: &FakeDriver) -> Migration<FakeDriver> {
    Migration::of(driver.clone()).unwrap().unwrap()
}

fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error()
}

#[test]
fn what_a_device_holds_goes_to_another_one() {
    let (before, after) = (FakeDriver::holding(INSIDE), FakeDriver::holding(b"nothing of it"));
    let source = migration(&before);
    source.stop().unwrap();
    let inside = source.save().unwrap();
    assert_eq!((inside.as_slice(), before.state()), (INSIDE, MigrationState::STOP));
    let target = migration(&after);
    target.stop().unwrap();
    target.load(&inside).unwrap();
    assert_eq!(after.state(), MigrationState::STOP);
    assert_eq!(target.go_on().unwrap(), GoesOn::AsItWas);
    assert_eq!((after.inside(), after.state()), (INSIDE.to_vec(), MigrationState::RUNNING));
    // The one that was saved can go on too, if nobody went on in its place.
    assert_eq!(source.go_on().unwrap(), GoesOn::AsItWas);
    assert_eq!(before.inside(), INSIDE);
    for driver in [before, after] {
        assert_eq!(driver.breaches(), Vec::<String>::new());
    }
}

#[test]
fn a_device_that_runs_goes_on_as_it_is() {
    let driver = FakeDriver::holding(INSIDE);
    assert_eq!(migration(&driver).go_on().unwrap(), GoesOn::AsItWas);
    let refused = migration(&driver).save().unwrap_err();
    assert_eq!(refused.to_string(), "it was not stopped");
    assert_eq!((driver.state(), driver.breaches().len()), (MigrationState::RUNNING, 0));
}

#[test]
fn a_driver_without_the_protocol_is_not_used() {
    for supported in [Ok(0), Ok(2), Err(libc::ENOTTY), Err(libc::EINVAL)] {
        assert!(Migration::of(FakeDriver::supporting(supported)).unwrap().is_none(), "{supported:?}");
    }
    let failed = Migration::of(FakeDriver::supporting(Err(libc::EIO))).err().unwrap();
    assert_eq!(errno(&failed), Some(libc::EIO));
}

#[test]
fn a_device_that_does_not_stop_goes_on_or_is_reset() {
    for (fault, expected) in [(Fault::Refuses, GoesOn::AsItWas), (Fault::Breaks, GoesOn::Reset)] {
        let driver = FakeDriver::holding(INSIDE);
        driver.fail_at(MigrationState::STOP, fault);
        let migration = migration(&driver);
        assert_eq!(errno(&migration.stop().unwrap_err()), Some(libc::EIO));
        assert!(migration.save().is_err());
        assert_eq!(migration.go_on().unwrap(), expected);
        assert_eq!((driver.state(), driver.breaches().len()), (MigrationState::RUNNING, 0));
        let left = if expected == GoesOn::Reset { Vec::new() } else { INSIDE.to_vec() };
        assert_eq!(driver.inside(), left);
    }
}

#[test]
fn a_stream_that_breaks_off_is_no_state() {
    let driver = FakeDriver::holding(INSIDE);
    let migration = migration(&driver);
    migration.stop().unwrap();
    driver.break_stream_after(5);
    assert_eq!(errno(&migration.save().unwrap_err()), Some(libc::EIO));
    assert_eq!(driver.state(), MigrationState::STOP);
    assert_eq!(migration.go_on().unwrap(), GoesOn::AsItWas);
    assert_eq!(driver.breaches(), Vec::<String>::new());
}

#[test]
fn a_stream_without_bytes_or_without_an_end_is_refused() {
    let driver = FakeDriver::holding(b"");
    let nothing = migration(&driver);
    nothing.stop().unwrap();
    assert_eq!(nothing.save().unwrap_err().to_string(), "the driver gives out nothing");
    let driver = FakeDriver::endless();
    let endless = migration(&driver);
    endless.stop().unwrap();
    let refused = endless.save().unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string()),
        (io::ErrorKind::FileTooLarge, "it holds more than 128 MiB".into())
    );
    assert_eq!(driver.state(), MigrationState::STOP);
}

#[test]
fn what_the_driver_does_not_take_leaves_a_device_that_was_reset() {
    let foreign = || FakeDriver::holding(b"other").refusing(INSIDE);
    for (fault, driver) in [(None, foreign()), (Some(Fault::Breaks), FakeDriver::holding(b"other"))] {
        let migration = migration(&driver);
        migration.stop().unwrap();
        if let Some(fault) = fault {
            driver.fail_at(MigrationState::RESUMING, fault);
        }
        assert!(migration.load(INSIDE).is_err());
        // Reset: it runs, and holds nothing of either.
        assert_eq!((driver.state(), driver.inside()), (MigrationState::RUNNING, Vec::new()));
        assert_eq!(driver.breaches(), Vec::<String>::new());
    }
}

#[test]
fn a_device_that_fails_for_good_is_named_by_its_errno() {
    let driver = FakeDriver::holding(INSIDE);
    let migration = migration(&driver);
    driver.fail_at(MigrationState::STOP, Fault::Breaks);
    assert!(migration.stop().is_err());
    driver.fail_reset();
    assert_eq!(errno(&migration.go_on().unwrap_err()), Some(libc::EIO));
}
