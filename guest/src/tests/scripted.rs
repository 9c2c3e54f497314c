//! The driver against every answer of the scripted host: of a hostile one it must say so and use nothing, a legal one
//! it must not blame on the host.

use super::*;
use crate::{BatchMode, Error, Irte, NOT_MAPPED};
use pvir_abi::scripted::{Answer, AnswerKind, ScriptedHost};
use pvir_abi::{Header, Operation, Status};
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use zerocopy::FromBytes;

/// A guest on a host that is scripted from now on for one operation.
struct Guest {
    host: FakeHost,
    script: ScriptedHost,
}

/// Plays `work` once for each answer to its call of `operation`. `work` gets a host that answers FEATURES and ENABLE
/// by itself, MAP as the script does, and the operation with the answer at hand.
fn every_answer(operation: Operation, epoch: u64, work: impl Fn(&Guest, &dyn Fn()) -> Result<(), Error>) {
    let play = |chosen: Option<Answer>| {
        let host = host();
        let script = ScriptedHost { discovery: host.discovered().host, epoch };
        let request = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&request);
        let arm = {
            let host = host.clone();
            move || {
                let (seen, chosen) = (Arc::clone(&seen), chosen.clone());
                host.script(move |bytes| {
                    let honest = script.honest(bytes);
                    let asked = Header::read_from_bytes(&bytes[..64]).unwrap().operation;
                    let answer = match &chosen {
                        Some(chosen) if asked == operation => chosen,
                        _ => &honest,
                    };
                    if asked == operation {
                        *seen.lock().unwrap() = bytes.to_vec();
                    }
                    Some((answer.bytes.clone(), answer.conduit))
                });
            }
        };
        let result = work(&Guest { host, script }, &arm);
        let request = request.lock().unwrap().clone();
        (result, request, script)
    };
    let (honest, request, script) = play(None);
    assert_eq!(honest, Ok(()), "{operation:?}: the honest answer");
    let (mut legal, mut hostile) = (0, 0);
    for answer in script.all_answers(&request) {
        let (name, kind) = (answer.name.clone(), answer.kind);
        let (result, ..) = play(Some(answer));
        let blamed = matches!(result, Err(Error::ContractViolation { .. }));
        assert_eq!(blamed, kind == AnswerKind::Hostile, "{operation:?}, {name} ({kind:?}): {result:?}");
        *(if blamed { &mut hostile } else { &mut legal }) += 1;
    }
    assert!(legal >= 20 && hostile >= 70, "{operation:?}: {legal} legal and {hostile} hostile answers");
}

fn enabled_on(guest: &Guest, arm: &dyn Fn()) -> Remapping<FakeHost> {
    let options = EnableOptions::new(Features::MSI | Features::MSIX | Features::IMS | Features::PARKING);
    let remapping = negotiated(&guest.host, 512).enable(options).unwrap();
    assert_eq!(remapping.epoch(), guest.script.epoch);
    arm();
    remapping
}

fn map_two(guest: &Guest, arm: &dyn Fn(), requests: &[MapRequest; 2], mode: BatchMode) -> Result<(), Error> {
    let remapping = enabled_on(guest, arm);
    let mut results = [const { NOT_MAPPED }; 2];
    let granted = remapping.map_batch(requests, &mut results, mode);
    if granted.is_err() {
        assert!(results.iter().all(Result::is_err), "the call failed and gave an IRTE");
    }
    granted.map(|_| ())
}

#[test]
fn map_in_part() {
    every_answer(Operation::MAP, 1, |guest, arm| {
        map_two(guest, arm, &[msix(0), msix(1)], BatchMode::Partial)
    });
}

#[test]
fn map_whole() {
    let whole = BatchMode::AllOrNothing;
    every_answer(Operation::MAP, 1, |guest, arm| map_two(guest, arm, &[msix(0), msix(1)], whole));
}

#[test]
fn map_of_two_devices_one_parked() {
    let requests = [msix(0), MapRequest::new(Origin::msix(OTHER, 1), Target::Parked)];
    every_answer(Operation::MAP, 1, |guest, arm| map_two(guest, arm, &requests, BatchMode::Partial));
}

/// With an IRTE that the script has given.
fn with_irte(operation: Operation, work: impl Fn(&Remapping<FakeHost>, Irte) -> Result<(), Error>) {
    every_answer(operation, 1, |guest, arm| {
        let remapping = enabled_on(guest, arm);
        let irte = remapping.map(msix(3)).unwrap();
        work(&remapping, irte)
    });
}

#[test]
fn retarget() {
    with_irte(Operation::RETARGET, |remapping, mut irte| {
        let before = irte.target();
        let moved = remapping.retarget(&mut irte, Target::fixed(7, 0x60));
        let now = if moved.is_ok() { Target::fixed(7, 0x60) } else { before };
        assert_eq!(irte.target(), now, "{moved:?}");
        moved
    });
}

#[test]
fn park() {
    with_irte(Operation::RETARGET, |remapping, mut irte| remapping.park(&mut irte));
}

#[test]
fn unmap() {
    with_irte(Operation::UNMAP, |remapping, irte| remapping.unmap(irte).map_err(|failed| failed.error));
}

#[test]
fn query() {
    with_irte(Operation::QUERY, |remapping, irte| remapping.verify(&irte).map(|_| ()));
}

#[test]
fn features() {
    every_answer(Operation::FEATURES, 0, |guest, arm| {
        let (found, block) = (guest.host.discovered(), guest.host.block(1));
        arm();
        Pvir::negotiate(&found, guest.host.clone(), block).map(|_| ())
    });
}

#[test]
fn enable() {
    every_answer(Operation::ENABLE, 0, |guest, arm| {
        let pvir = negotiated(&guest.host, 1);
        arm();
        pvir.enable(EnableOptions::new(Features::MSIX)).map(|_| ()).map_err(|failed| failed.error)
    });
}

#[test]
fn device_info() {
    every_answer(Operation::DEVICE_INFO, 1, |guest, arm| {
        let remapping = enabled_on(guest, arm);
        let mut results = [Err(crate::EntryError::NotAsked); 2];
        remapping.device_info(&[DEVICE, OTHER], &mut results).map(|_| ())
    });
}

fn by_device(guest: &Guest, arm: &dyn Fn()) -> Remapping<FakeHost> {
    let options = EnableOptions::new(Features::MSIX).device_by_device();
    let remapping = negotiated(&guest.host, 512).enable(options).unwrap();
    arm();
    remapping
}

#[test]
fn attach() {
    every_answer(Operation::ATTACH, 1, |guest, arm| by_device(guest, arm).attach(DEVICE).map(drop));
}

#[test]
fn detach() {
    every_answer(Operation::DETACH, 1, |guest, arm| {
        let remapping = by_device(guest, arm);
        let device = remapping.attach(DEVICE).unwrap();
        remapping.detach(device).map_err(|failed| failed.error)
    });
}

#[test]
fn disable() {
    let play = |tell: fn(&mut Vec<u8>) -> Status| {
        let (host, remapping) = enabled();
        host.script(move |bytes| {
            let mut bytes = bytes.to_vec();
            let conduit = tell(&mut bytes);
            Some((bytes, conduit))
        });
        remapping.disable().map(|_| ()).map_err(|failed| failed.error)
    };
    assert_eq!(
        play(|bytes| {
            bytes[16..20].fill(0);
            Status::OK
        }),
        Ok(())
    );
    assert!(matches!(play(|_| Status::OK), Err(Error::ContractViolation { .. })));
}
