//! What observers of the VM see, and that it costs the VM nothing.

use super::*;
use std::sync::Barrier;
use std::thread;

impl ServiceFixture {
    pub(super) fn with_history(self) -> Self {
        Self { service: self.service.with_history(), ..self }
    }
}

/// Runs `work` and looks, while it reads the host's counts, whether the VM's lock is free.
fn lock_is_free_while_counting(fixture: &ServiceFixture, work: impl FnOnce() + Send) -> bool {
    let barrier = Arc::new(Barrier::new(2));
    let of_hook = Arc::clone(&barrier);
    let hook = move || {
        of_hook.wait();
        of_hook.wait();
    };
    fixture.platform.lock().when_counted = Some(Arc::new(hook));
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        barrier.wait();
        let free = fixture.service.vm.try_lock().is_ok();
        fixture.platform.lock().when_counted = None;
        barrier.wait();
        worker.join().unwrap();
        free
    })
}

#[test]
fn the_host_counts_are_read_without_the_lock() {
    let fixture = ServiceFixture::enabled().with_history();
    let mapped = fixture.map(&[routed(0, 3, 0, 0x40)]).records[0];
    fixture.map(&[routed(0, 4, 0, 0x41)]);
    assert!(lock_is_free_while_counting(&fixture, || drop(fixture.service.live())));
    assert!(lock_is_free_while_counting(&fixture, || drop(fixture.service.history())));
    assert!(lock_is_free_while_counting(&fixture, || {
        assert_eq!(fixture.unmap(&[named(&mapped)]).status, Status::OK);
    }));
    assert!(lock_is_free_while_counting(&fixture, || {
        assert_eq!(fixture.disable(), Status::OK);
    }));
}

#[test]
fn what_is_given_back_is_kept_and_counted_only_if_it_was_asked_for() {
    let read = |fixture: &ServiceFixture| {
        let reads = Arc::new(AtomicU32::new(0));
        let of_hook = Arc::clone(&reads);
        fixture.platform.lock().when_counted = Some(Arc::new(move || {
            of_hook.fetch_add(1, Ordering::Relaxed);
        }));
        let mapped = fixture.map(&[routed(0, 3, 0, 0x40), routed(0, 4, 0, 0x41)]).records;
        fixture.unmask(0, 3);
        (0..5).for_each(|_| fixture.raise(0, 3));
        fixture.unmap(&[named(&mapped[0])]);
        assert_eq!(fixture.disable(), Status::OK);
        fixture.enable();
        fixture.map(&[routed(0, 5, 0, 0x42)]);
        fixture.service.shut_down();
        let before = reads.load(Ordering::Relaxed);
        let history = fixture.service.history();
        let reported =
            history.iter().map(|record| (record.irte.origin.index, record.host.map(|host| host.count)));
        (before, reported.collect::<Vec<_>>(), fixture.service.forgotten())
    };
    assert_eq!(read(&ServiceFixture::enabled()), (0, vec![], 3));
    let count = |count| Some(Some(count));
    // For UNMAP, DISABLE and the end.
    let counted = (3, vec![(3, count(5)), (4, count(0)), (5, count(0))], 0);
    assert_eq!(read(&ServiceFixture::enabled().with_history()), counted);
}

#[test]
fn questions_ask_nothing_of_kvm_or_a_device() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[routed(0, 3, 0, 0x40)]);
    fixture.platform.lock().expect(None);
    for _ in 0..100 {
        assert_eq!(fixture.service.live().irtes.len(), 1);
    }
    assert_eq!(fixture.platform.lock().calls(), []);
}

/// However long a guest maps and gives back, its history has an end. The rest is counted.
#[test]
fn a_history_has_an_end() {
    const KEPT: usize = 4096;
    let fixture = ServiceFixture::new().with_history();
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 512));
    fixture.enable();
    let routes: Vec<_> = (0..512).map(|index| routed(3, index, 0, 0x40)).collect();
    for _ in 0..9 {
        let mapped = fixture.map(&routes).records;
        fixture.unmap(&mapped.iter().map(named).collect::<Vec<_>>());
    }
    assert_eq!((fixture.service.history().len(), fixture.service.forgotten()), (KEPT, 512));
}
