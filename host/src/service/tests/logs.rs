//! What a guest can make the host write.

use super::*;
use crate::fake::CallKind;
use crate::log_limit::LogLimit;
use pvir_abi::Refusal;
use std::io::Write;
use std::sync::atomic::AtomicU64;

/// Counts lines and bytes of the log.
#[derive(Clone, Default)]
struct CountingWriter(Arc<(AtomicU64, AtomicU64)>);

impl Write for CountingWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.0.0.fetch_add(lines as u64, Ordering::Relaxed);
        self.0.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines and bytes that `work` caused.
fn logged(work: impl FnOnce()) -> (u64, u64) {
    let log = CountingWriter::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    (log.0.0.load(Ordering::Relaxed), log.0.1.load(Ordering::Relaxed))
}

fn assert_bounded((lines, bytes): (u64, u64)) {
    assert!(lines <= LogLimit::LINES + LogLimit::NOTICES, "{lines} lines");
    assert!(bytes <= 64 * 1024, "{bytes} bytes");
}

#[test]
fn a_hundred_thousand_bad_calls_of_a_guest_write_nothing() {
    let fixture = ServiceFixture::enabled();
    let header = Header::request(Version::V1, Operation::MAP, CallFlags::empty(), 1);
    let written = logged(|| {
        for round in 0..100_000u32 {
            let answer = fixture.send_at(BLOCK, header, &[routed(0, round % 80, round, (round % 32) as u8)]);
            assert_ne!(answer.records[0].status, Status::OK);
            fixture.service.call(0, (round % 4) as u8, GuestPhysAddr(u64::from(round) << 9 | 1));
        }
    });
    assert_eq!(written, (0, 0));
    let statistics = fixture.service.statistics();
    assert_eq!(
        (statistics.partial, statistics.refused, statistics.log_lines),
        (100_000, 100_000, 1),
        "ENABLE's line"
    );
}

#[test]
fn failures_of_the_host_are_logged_up_to_the_limit() {
    let fixture = ServiceFixture::enabled();
    fixture.platform.lock().faults.fail_from(Some(CallKind::Start), 0, libc::EIO);
    let written = logged(|| {
        for _ in 0..2_000 {
            assert_eq!(fixture.map(&[routed(0, 1, 0, 0x40)]).records[0].status, Status::DEVICE_ERROR);
        }
    });
    assert_bounded(written);
    assert_eq!(written.0, LogLimit::LINES);
    assert_eq!(fixture.service.statistics().log_lines, 2_001, "ENABLE's line");
}

#[test]
fn a_guest_that_enables_and_disables_for_ever_fills_no_log() {
    let fixture = ServiceFixture::new();
    assert_bounded(logged(|| {
        for _ in 0..5_000 {
            fixture.enable();
            fixture.disable();
        }
    }));
}

#[test]
fn refusals_are_logged_up_to_the_limit() {
    let fixture = ServiceFixture::new();
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 4).not_isolated(Refusal::NO_REMAPPING));
    let asked = [EnableRecord::request(Features::MSIX, None)];
    assert_bounded(logged(|| {
        for _ in 0..2_000 {
            let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &asked);
            assert_eq!(answer.status, Status::REFUSED);
        }
    }));
}
