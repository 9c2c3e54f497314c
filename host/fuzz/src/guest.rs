//! The guest's crate against a host that answers anything, says anything in its event area, and shows any device.

mod config;
mod discovery;
mod host;
mod space;

pub(crate) use config::run as config;
pub(crate) use discovery::run as discovery;

use anyhow::{Result, ensure};
use host::Hostile;
use pvir_abi::{Bdf, DeviceId, EntryRecord, Features, Handle, Status};
use pvir_guest::{
    BatchMode, DeviceInfoResult, EnableOptions, EntryError, Irte, MapRequest, NOT_MAPPED, Origin, Pvir,
    Remapping, Target,
};

const DEVICES: [DeviceId; 2] = [DeviceId::new(0, Bdf(0x08)), DeviceId::new(0, Bdf(0x110))];
/// Most requests of a batch: more than one call of three records takes.
const BATCH: usize = 5;
/// Most IRTEs that are held.
const HELD: usize = 12;

/// Whatever the host says: no panic, and what the guest believes is what the host has said, whole and consistent.
pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let host = Hostile::new(bytes);
    let block = host.block()?;
    let Ok(pvir) = Pvir::negotiate(&host.discovered(), host.clone(), block) else { return Ok(()) };
    let mut info: [DeviceInfoResult; 2] = [Err(EntryError::NotAsked); 2];
    let answered = pvir.device_info(&DEVICES, &mut info);
    ensure!(answered.unwrap_or(0) <= 2, "{answered:?} of 2 devices");
    let features = Features::MSI | Features::MSIX | Features::IMS | Features::MSI_MULTI | Features::PARKING;
    let mut options = EnableOptions::new(features);
    let what = host.byte();
    if what & 1 != 0 {
        options = options.with_events(host.event_memory()?);
    }
    if what & 2 != 0 {
        options = options.device_by_device();
    }
    let Ok(remapping) = pvir.enable(options) else { return Ok(()) };
    let mut held: Vec<Irte> = Vec::new();
    while host.has_more() {
        match host.byte() % 8 {
            0..3 => map(&host, &remapping, &mut held)?,
            3 => retarget(&host, &remapping, &mut held)?,
            4 => unmap(&host, &remapping, &mut held)?,
            5 => ask(&host, &remapping, &mut held)?,
            6 => {
                host.event();
                let events = remapping.events();
                let _ = (remapping.epoch(), events.map(|events| (events.epoch(), events.read())));
            }
            _ => {
                let device = DEVICES[usize::from(host.byte() % 2)];
                if let Ok(attached) = remapping.attach(device) {
                    ensure!(
                        attached.id() == device,
                        "{device} was asked for, and {} is attached",
                        attached.id()
                    );
                    let _ = remapping.detach(attached);
                }
            }
        }
    }
    let _ = remapping.disable();
    Ok(())
}

fn target(host: &Hostile) -> Target {
    match host.byte() {
        0..32 => Target::Parked,
        vector => Target::fixed(u32::from(host.byte() % 4), vector),
    }
}

fn mode(host: &Hostile) -> BatchMode {
    if host.byte() % 4 == 0 { BatchMode::AllOrNothing } else { BatchMode::Partial }
}

fn map(host: &Hostile, remapping: &Remapping<Hostile>, held: &mut Vec<Irte>) -> Result<()> {
    let mut requests = Vec::new();
    for _ in 0..=usize::from(host.byte()) % BATCH {
        let device = DEVICES[usize::from(host.byte() % 2)];
        let index = u32::from(host.byte() % 9);
        let origin = match host.byte() % 8 {
            0 => Origin::msi(device, index),
            1 => Origin::ims(device, index),
            _ => Origin::msix(device, index),
        };
        requests.push(MapRequest::new(origin, target(host)));
    }
    let mut results = [const { NOT_MAPPED }; BATCH];
    let results = &mut results[..requests.len()];
    host.forget_answers();
    let granted = remapping.map_batch(&requests, results, mode(host));
    let good: Vec<_> = requests
        .iter()
        .zip(&*results)
        .filter_map(|(request, irte)| Some((request, irte.as_ref().ok()?)))
        .collect();
    check_count(&granted, good.len(), requests.len())?;
    for (request, irte) in &good {
        ensure!(
            (irte.origin(), irte.target()) == (request.origin, request.target),
            "{request:?} was granted as {irte:?}"
        );
        let pair = irte.pair();
        ensure!(pair.address >> 20 == 0xfee && pair.address % 4 == 0 && pair.data < 1 << 16, "M9: {pair:?}");
        ensure!(irte.handle() != Handle::NONE, "H1: {irte:?}");
        let twice = good.iter().filter(|(_, other)| other.handle() == irte.handle()).count();
        ensure!(twice == 1, "H1: {irte:?} has another one's handle");
        let said = |record: &EntryRecord| {
            record.status == Status::OK
                && (record.device, record.store, record.index)
                    == (irte.origin().device, irte.origin().store, irte.origin().index)
                && (record.handle, record.pair()) == (irte.handle(), pair)
        };
        ensure!(host.has_said(said), "{irte:?} is nothing that the host has said");
    }
    let new = results.iter_mut().map(|result| std::mem::replace(result, NOT_MAPPED));
    held.extend(new.flatten());
    held.truncate(HELD);
    Ok(())
}

/// A batch that takes more than one call may fail after a call that was right, whose entries are good.
fn check_count<E: std::fmt::Debug>(
    answered: &std::result::Result<usize, E>,
    good: usize,
    asked: usize,
) -> Result<()> {
    let fits = match answered {
        Ok(count) => *count == good,
        Err(_) => good == 0 || asked > host::RECORDS && good < asked,
    };
    ensure!(fits, "{answered:?}, and {good} of {asked} are good");
    Ok(())
}

/// A pair stays; what was not moved has its target.
fn retarget(host: &Hostile, remapping: &Remapping<Hostile>, held: &mut [Irte]) -> Result<()> {
    let count = (usize::from(host.byte()) % BATCH).min(held.len());
    let targets: Vec<Target> = (0..count).map(|_| target(host)).collect();
    let before: Vec<_> =
        held[..count].iter().map(|irte| (irte.pair(), irte.handle(), irte.origin(), irte.target())).collect();
    let mut results = [Err(EntryError::NotAsked); BATCH];
    let results = &mut results[..count];
    let moved = remapping.retarget_batch(&mut held[..count], &targets, results, mode(host));
    check_count(&moved, results.iter().filter(|result| result.is_ok()).count(), count)?;
    for (number, (irte, (pair, handle, origin, old))) in held.iter().zip(before).enumerate() {
        ensure!(
            (irte.pair(), irte.handle(), irte.origin()) == (pair, handle, origin),
            "RETARGET has changed {irte:?}"
        );
        let expected = if results[number].is_ok() { targets[number] } else { old };
        ensure!(irte.target() == expected, "{irte:?}: {expected:?}");
    }
    Ok(())
}

/// What was not given back is still there.
fn unmap(host: &Hostile, remapping: &Remapping<Hostile>, held: &mut Vec<Irte>) -> Result<()> {
    let count = (usize::from(host.byte()) % BATCH).min(held.len());
    let mut tokens: Vec<Option<Irte>> = held.drain(..count).map(Some).collect();
    let mut results = [Err(EntryError::NotAsked); BATCH];
    let gone = remapping.unmap_batch(&mut tokens, &mut results[..count], mode(host));
    let good = tokens.iter().filter(|token| token.is_none()).count();
    check_count(&gone, good, count)?;
    held.extend(tokens.into_iter().flatten());
    Ok(())
}

fn ask(host: &Hostile, remapping: &Remapping<Hostile>, held: &mut [Irte]) -> Result<()> {
    let _ = remapping.query(Origin::msix(DEVICES[0], u32::from(host.byte())));
    let count = held.len().max(1);
    let Some(irte) = held.get_mut(usize::from(host.byte()) % count) else { return Ok(()) };
    let pair = irte.pair();
    if let Ok(info) = remapping.verify(irte) {
        ensure!(info.pair == pair, "{irte:?} was verified as {info:?}");
    }
    host.event();
    let _ = remapping.advise(irte);
    ensure!(irte.pair() == pair, "advice has changed {irte:?}");
    Ok(())
}
