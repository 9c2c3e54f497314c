//! What whoever watches the VM is told, and what it costs the VM: nothing.

use super::*;
use std::sync::Barrier;
use std::thread;

/// Runs `work` and looks, while it reads the host's counts, whether the VM's lock is free.
fn lock_is_free_while_counting(bench: &Bench, work: impl FnOnce() + Send) -> bool {
    let barrier = Arc::new(Barrier::new(2));
    let of_hook = Arc::clone(&barrier);
    let hook = move || {
        of_hook.wait();
        of_hook.wait();
    };
    bench.world.lock().when_counted = Some(Arc::new(hook));
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        barrier.wait();
        let free = bench.service.vm.try_lock().is_ok();
        bench.world.lock().when_counted = None;
        barrier.wait();
        worker.join().unwrap();
        free
    })
}

#[test]
fn the_host_counts_are_read_without_the_lock() {
    let bench = Bench::enabled();
    let mapped = bench.map(&[routed(0, 3, 0, 0x40)]).records[0];
    bench.map(&[routed(0, 4, 0, 0x41)]);
    assert!(lock_is_free_while_counting(&bench, || drop(bench.service.live())));
    assert!(lock_is_free_while_counting(&bench, || drop(bench.service.history())));
    assert!(lock_is_free_while_counting(&bench, || {
        assert_eq!(bench.unmap(&[named(&mapped)]).status, Status::OK);
    }));
    assert!(lock_is_free_while_counting(&bench, || {
        assert_eq!(bench.disable(), Status::OK);
    }));
}

#[test]
fn questions_ask_nothing_of_kvm_or_a_device() {
    let bench = Bench::enabled();
    bench.map(&[routed(0, 3, 0, 0x40)]);
    bench.world.lock().expect(None);
    for _ in 0..100 {
        assert_eq!(bench.service.live().irtes.len(), 1);
    }
    assert_eq!(bench.world.lock().calls(), []);
}
