//! DISABLE against an access of another vCPU that has reached the device already (T4).

use super::fixture::Fixture;
use pvir_abi::Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long an access waits in the device for DISABLE to return.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a test waits for what should happen at once, on an idle machine.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// The mask bits of MSI, which are the guest's own while pvir is enabled.
const MASK_BITS: u16 = 0x60;

/// Makes the device's accesses to its configuration space wait for the end of DISABLE. The receiver gets, for each,
/// whether DISABLE had returned when the access was made.
struct Slow {
    begun: Receiver<()>,
    overtaken: Receiver<bool>,
    disabled: Arc<AtomicBool>,
}

fn slow(fixture: &Fixture) -> Slow {
    let ((begin, begun), (overtake, overtaken)) = (channel(), channel());
    let disabled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&disabled);
    let (begin, overtake) = (Mutex::new(begin), Mutex::new(overtake));
    let wait = move || {
        begin.lock().unwrap().send(()).unwrap();
        let end = Instant::now() + PATIENCE;
        while !seen.load(Ordering::SeqCst) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        overtake.lock().unwrap().send(seen.load(Ordering::SeqCst)).unwrap();
    };
    *fixture.pci.before_config_access.lock().unwrap() = Some(Box::new(wait));
    Slow { begun, overtaken, disabled }
}

/// What ought to come at once.
fn received<T>(receiver: &Receiver<T>) -> T {
    let mut come = None;
    patience::until(TIME_LIMIT, || {
        come = receiver.try_recv().ok();
        come.is_some()
    });
    come.expect("nothing came")
}

/// Has one vCPU make `access`, and another call DISABLE while the access is in the device.
fn disable_during(fixture: &Fixture, access: impl FnOnce(&Fixture) + Send) {
    let slow = slow(fixture);
    thread::scope(|scope| {
        scope.spawn(|| access(fixture));
        received(&slow.begun);
        assert_eq!(fixture.disable(), Status::OK);
        slow.disabled.store(true, Ordering::SeqCst);
        assert!(!received(&slow.overtaken), "DISABLE returned before the access had reached the device");
    });
    *fixture.pci.before_config_access.lock().unwrap() = None;
}

#[test]
fn a_write_that_has_begun_reaches_the_device_before_disable_returns() {
    let fixture = Fixture::with_msi();
    assert_eq!(fixture.enable(), Status::OK);
    disable_during(&fixture, |fixture| fixture.function.config_write(MASK_BITS, &[3, 0, 0, 0]));
    assert_eq!(fixture.pci.config.lock().unwrap()[0x60..0x64], [3, 0, 0, 0]);
    fixture.function.config_write(MASK_BITS, &[5, 0, 0, 0]);
    assert_eq!(fixture.pci.config.lock().unwrap()[0x60..0x64], [3, 0, 0, 0], "trapped again");
}

#[test]
fn a_read_that_has_begun_ends_before_disable_returns() {
    let fixture = Fixture::with_msi();
    assert_eq!(fixture.enable(), Status::OK);
    disable_during(&fixture, |fixture| assert_eq!(fixture.config::<4>(MASK_BITS), [0; 4]));
}

/// The table is memory, so no access waits in it: a vCPU writes without end, and what the host finds in the table after
/// DISABLE stays.
#[test]
fn no_write_to_the_table_comes_after_disable() {
    let fixture = Fixture::decoding();
    let end = AtomicBool::new(false);
    let table = fixture.pci.table();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::SeqCst) {
                fixture.function.bar_write(3, 0, &[0x55; 4]);
            }
        });
        for _ in 0..200 {
            assert_eq!(fixture.enable(), Status::OK);
            assert_eq!(fixture.disable(), Status::OK);
            table.write_words(0, &[0xaa; 4]);
            let mut word = [0; 4];
            for _ in 0..200 {
                table.read_bytes(0, &mut word);
                if word != [0xaa; 4] {
                    break;
                }
            }
            if word != [0xaa; 4] {
                end.store(true, Ordering::SeqCst);
                panic!("a write came after DISABLE: {word:x?}");
            }
        }
        end.store(true, Ordering::SeqCst);
    });
}
