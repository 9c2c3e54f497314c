//! How much the driver works for an entry, in instructions: a figure that does not depend on the machine's speed or
//! load.
//!
//! `work WHAT COUNT` does one thing once, with the fake host behind it. Under `valgrind --tool=callgrind` collection is
//! toggled by `measured`, and toggled off again inside `the_host`. `./run.sh work` runs it.

#![expect(unsafe_code, reason = "a conduit is between the driver and the fake host")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on has nothing to tell")]

use pvir_abi::{Bdf, DeviceId, Features, GuestPhysAddr, Status};
use pvir_guest::fake::{FakeDevice, FakeHost};
use pvir_guest::{
    BatchMode, Conduit, EnableOptions, EntryError, Irte, MapRequest, MapResult, NOT_MAPPED, Origin, Pvir,
    Target,
};
use std::cell::Cell;

const DEVICE: DeviceId = DeviceId::new(0, Bdf(0x0008));

/// The fake host, called by a frame of its own while it is not to be counted.
struct Aside {
    host: FakeHost,
    counting: Cell<bool>,
}

impl Conduit for &Aside {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        if self.counting.get() {
            the_host(&self.host, block)
        } else {
            // SAFETY: the caller's promise is the one that is asked for.
            unsafe { self.host.call(block) }
        }
    }
}

/// The frame by which callgrind knows what does not count.
#[inline(never)]
fn the_host(host: &FakeHost, block: GuestPhysAddr) -> Status {
    // SAFETY: the conduit's caller promised it.
    unsafe { host.call(block) }
}

/// The frame by which callgrind knows what counts.
#[inline(never)]
fn measured<T>(act: impl FnOnce() -> T) -> T {
    act()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [what, count] = arguments.as_slice() else {
        println!("usage: work map|retarget|unmap COUNT");
        return;
    };
    let count: u32 = count.parse().unwrap();
    let host = FakeHost::new(&[FakeDevice::new(DEVICE, 2048)]);
    let aside = Aside { host: host.clone(), counting: Cell::new(false) };
    let pvir = Pvir::negotiate(&host.discovered(), &aside, host.block(512)).unwrap();
    let remapping = pvir.enable(EnableOptions::new(Features::MSIX)).unwrap();
    let requests: Vec<_> = (0..count)
        .map(|index| MapRequest::new(Origin::msix(DEVICE, index), Target::fixed(1, 0x51)))
        .collect();
    let mut mapped: Vec<MapResult> = requests.iter().map(|_| NOT_MAPPED).collect();
    let mut map = || remapping.map_batch(&requests, &mut mapped, BatchMode::Partial);
    let all = Ok(requests.len());
    aside.counting.set(what == "map");
    if what == "map" {
        assert_eq!(measured(map), all);
        return;
    }
    assert_eq!(map(), all);
    aside.counting.set(true);
    let mut irtes: Vec<Irte> = mapped.into_iter().map(Result::unwrap).collect();
    match what.as_str() {
        "retarget" => {
            let targets = vec![Target::fixed(2, 0x52); irtes.len()];
            let mut moved = vec![Err(EntryError::NotAsked); irtes.len()];
            let retarget = || remapping.retarget_batch(&mut irtes, &targets, &mut moved, BatchMode::Partial);
            assert_eq!(measured(retarget), all);
        }
        "unmap" => {
            let mut irtes: Vec<_> = irtes.into_iter().map(Some).collect();
            let mut gone = vec![Err(EntryError::NotAsked); irtes.len()];
            assert_eq!(measured(|| remapping.unmap_batch(&mut irtes, &mut gone, BatchMode::Partial)), all);
        }
        other => panic!("unknown: {other}"),
    }
}
