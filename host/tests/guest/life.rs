//! The whole life of one interrupt, from CPUID to DISABLE.

use crate::test_vm::TestVm;
use pvir_guest::abi::{DeviceFlags, Stores};
use pvir_guest::{EntryError, MapRequest, Mask, MsixTable, Origin, Target};

#[test]
fn an_interrupt_from_map_to_unmap() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let id = vm.functions[0].id;
    let table = MsixTable::open(&*vm.functions[0].machine, id).unwrap();

    let mut info = [Err(EntryError::NotAsked)];
    assert_eq!(remapping.device_info(&[id], &mut info), Ok(1));
    let info = info[0].unwrap();
    assert_eq!((info.msix_entries, info.stores), (table.len(), Stores::MSIX | Stores::IMS));
    assert_eq!(info.flags, DeviceFlags::DIRECT | DeviceFlags::DYNAMIC);

    let irte = remapping.map(MapRequest::new(table.origin(3), Target::fixed(1, 0x51))).unwrap();
    let pair = irte.pair();
    assert_eq!(vm.mask(0, 3), Mask::Set, "statement M3");
    assert_eq!(vm.routes(), [(1, 0x51)]);

    // Masked it is pending, unmasked it arrives.
    let programmed = table.claim(3).unwrap().program(irte).unwrap();
    vm.raise(0, 3);
    assert_eq!((vm.injected(), programmed.is_pending()), (vec![], Some(true)));
    let mut live = programmed.unmask();
    vm.send_pending(0, 3);
    assert_eq!(vm.injected(), [(1, 0x51)]);

    // Moved under the same pair.
    remapping.retarget(&mut live, Target::fixed(300, 0x62)).unwrap();
    assert_eq!((live.irte().pair(), vm.functions[0].machine.pair(3)), (pair, pair));
    assert_eq!(vm.routes(), [(300, 0x62)]);
    vm.raise(0, 3);
    assert_eq!(vm.injected(), [(300, 0x62)]);

    // Parked it is held, merged into one, and delivered at the first route.
    remapping.park(&mut live).unwrap();
    vm.raise(0, 3);
    vm.raise(0, 3);
    assert_eq!((vm.injected(), vm.routes()), (vec![], vec![]));
    assert_eq!(remapping.verify(&live).unwrap().target, Target::Parked);
    remapping.retarget(&mut live, Target::fixed(0, 0x70)).unwrap();
    assert_eq!(vm.injected(), [(0, 0x70)]);

    let queried = remapping.query(table.origin(3)).unwrap();
    assert_eq!((queried.pair, queried.target), (pair, Target::fixed(0, 0x70)));
    assert_eq!(queried.handle, live.irte().handle());

    let (masked, irte) = live.mask().unwrap().retire();
    remapping.unmap(irte).unwrap();
    vm.assert_nothing_held();
    // The pair is dead: what the device sends with it now is blocked by the remapping unit.
    vm.send(0, pair);
    assert_eq!(vm.injected(), []);
    drop(masked);
    drop(table);
    let pvir = remapping.disable().unwrap().pvir;
    drop(pvir);
    vm.assert_ends_clean();
}

#[test]
fn disable_ends_what_is_live_and_the_next_session_begins_anew() {
    let vm = TestVm::new();
    let mut remapping = vm.enable();
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let id = vm.functions[1].id;
        let table = MsixTable::open(&*vm.functions[1].machine, id).unwrap();
        let irte = remapping.map(MapRequest::new(table.origin(7), Target::fixed(0, 0x40))).unwrap();
        pairs.push((irte.handle(), irte.epoch()));
        let live = table.claim(7).unwrap().program(irte).unwrap().unmask();
        vm.raise(1, 7);
        assert_eq!(vm.injected(), [(0, 0x40)]);
        let stale = live.irte().origin();
        drop(live);
        drop(table);
        let pvir = remapping.disable().unwrap().pvir;
        vm.assert_nothing_held();
        remapping = pvir.enable(crate::enabling::options()).unwrap();
        assert!(remapping.query(stale).is_err(), "statement H2");
    }
    assert!(pairs.windows(2).all(|two| two[0].0 != two[1].0 && two[0].1 < two[1].1), "{pairs:?}");
    drop(remapping);
    vm.assert_ends_clean();
}

#[test]
fn the_same_request_again_gives_the_same_interrupt() {
    let vm = TestVm::new();
    let remapping = vm.enable();
    let request = MapRequest::new(Origin::msix(vm.functions[0].id, 0), Target::fixed(0, 0x40));
    let first = remapping.map(request).unwrap();
    let again = remapping.map(request).unwrap();
    assert_eq!((again.handle(), again.pair()), (first.handle(), first.pair()), "statement M5");
    assert!(again.is_existing() && !first.is_existing());
    remapping.unmap(first).unwrap();
    assert!(remapping.unmap(again).is_err(), "the second token is stale");
    drop(remapping);
    vm.assert_ends_clean();
}
