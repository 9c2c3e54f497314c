//! What whoever watches the VM is told, and what it costs the VM: nothing.

use super::*;
use std::sync::Barrier;
use std::thread;

impl Bench {
    pub(super) fn with_history(self) -> Self {
        Self { service: self.service.with_history(), ..self }
    }
}

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
    let bench = Bench::enabled().with_history();
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
fn what_is_given_back_is_kept_and_counted_only_if_it_was_asked_for() {
    let read = |bench: &Bench| {
        let reads = Arc::new(AtomicU32::new(0));
        let of_hook = Arc::clone(&reads);
        bench.world.lock().when_counted = Some(Arc::new(move || {
            of_hook.fetch_add(1, Ordering::Relaxed);
        }));
        let mapped = bench.map(&[routed(0, 3, 0, 0x40), routed(0, 4, 0, 0x41)]).records;
        bench.unmask(0, 3);
        (0..5).for_each(|_| bench.raise(0, 3));
        bench.unmap(&[named(&mapped[0])]);
        assert_eq!(bench.disable(), Status::OK);
        bench.enable();
        bench.map(&[routed(0, 5, 0, 0x42)]);
        bench.service.shut_down();
        let before = reads.load(Ordering::Relaxed);
        let history = bench.service.history();
        let told =
            history.iter().map(|record| (record.irte.origin.index, record.host.map(|host| host.count)));
        (before, told.collect::<Vec<_>>(), bench.service.forgotten())
    };
    assert_eq!(read(&Bench::enabled()), (0, vec![], 3));
    let count = |count| Some(Some(count));
    // For UNMAP, DISABLE and the end.
    let counted = (3, vec![(3, count(5)), (4, count(0)), (5, count(0))], 0);
    assert_eq!(read(&Bench::enabled().with_history()), counted);
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
