//! Section 5, devices that come and go while pvir is enabled.
//!
//! The emulated device goes and comes again by its register EVENT: to the host it is another one then.

use super::Tests;
use super::attaching::{attach, by_device, settled, turn};
use super::events::{each, gone, info, live};
use super::fixture::{Fixture, MappedEntry};
use super::trapped::own_message;
use super::verdict::{Finding, Verdict, ensure};
use crate::machine::cpu::time::wait_until;
use pvir_guest::abi::{EventReason, Operation, Status};

pub(super) const TESTS: Tests = &[("I5", i5), ("I6", i6), ("I7", i7)];

const GONE: EventReason = EventReason::DEVICE_GONE;

/// A session with ATTACH, in which a device has gone while an entry of it was live. It can come again.
fn one_has_gone(fixture: &mut Fixture) -> Result<(usize, MappedEntry), Finding> {
    let raises = fixture.raises(GONE)?;
    let (subject, _) = by_device(fixture)?;
    if subject != raises {
        return Err(Finding::CannotShow("the device that shows most does not come and go"));
    }
    attach(fixture, subject)?;
    let line = settled(fixture, subject, 0)?;
    fixture.arrives(&line)?;
    fixture.event(subject, GONE)?;
    turn(fixture, Operation::ATTACH, subject, Status::DEVICE_GONE)?;
    Ok((subject, line))
}

fn i5(fixture: &mut Fixture) -> Verdict {
    let before = fixture.features().devices;
    let (subject, _) = one_has_gone(fixture)?;
    fixture.settle(subject)?;
    let devices = fixture.features().devices;
    ensure!(devices == before, "FEATURES counts {devices} devices, and {before} before one went and came");
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &request, Status::NOT_ATTACHED)?;
    let own = own_message(fixture, subject, 0)?;
    fixture.arrives(&own)?;
    attach(fixture, subject)?;
    let line = settled(fixture, subject, 0)?;
    fixture.arrives(&line)
}

fn i6(fixture: &mut Fixture) -> Verdict {
    let (subject, _) = one_has_gone(fixture)?;
    let other = fixture.driven()?.into_iter().find(|other| *other != subject);
    let other = match other {
        Some(other) => {
            attach(fixture, other)?;
            Some(settled(fixture, other, 0)?)
        }
        None => None,
    };
    let before = fixture.epoch();
    fixture.settle(subject)?;
    let after = fixture.epoch();
    ensure!(after == before, "epoch {after} when a device has come, {before} before");
    other.map_or(Ok(()), |line| fixture.arrives(&line))
}

fn i7(fixture: &mut Fixture) -> Verdict {
    let (subject, old) = one_has_gone(fixture)?;
    fixture.settle(subject)?;
    attach(fixture, subject)?;
    each(fixture, &old, Status::STALE_HANDLE)?;
    let line = settled(fixture, subject, 0)?;
    ensure!(line.entry.handle != old.entry.handle, "the handle {} again", old.entry.handle);
    fixture.arrives(&line)?;
    fixture.reset();
    // To a guest that did not take ATTACH it is gone until DISABLE.
    let (subject, line) = live(fixture, GONE)?;
    fixture.event(subject, GONE)?;
    let patience = fixture.demand(subject, EventReason::NONE)?;
    gone(fixture, subject, &line)?;
    fixture.disable()?;
    ensure!(wait_until(patience, || fixture.goes_on(subject)), "the device does not come again");
    info(fixture, line.entry.device, Status::OK)
}
