//! A VMM that does not decode, map or unmap.

use super::*;
use pvir_abi::Status;
use std::sync::Mutex;

#[test]
fn what_is_not_mapped_is_served_by_exits() {
    let fixture = Fixture::new();
    fixture.mapper.space().no_map = true;
    fixture.function.config_write(4, &[2]);
    assert_eq!(fixture.enable(), Status::OK);
    assert_eq!(fixture.mapper.mapped(), []);
    let (bar, offset) = fixture.function.find_memory(0xc010_0010, 4).unwrap();
    fixture.function.bar_write(bar, offset, &[1, 2, 3, 4]);
    assert_eq!(fixture.bar(bar, offset), [1, 2, 3, 4], "the table is the guest's all the same");
    assert_eq!(fixture.bar(0, 0x10), [0x10]);
    // And is tried again.
    fixture.mapper.space().no_map = false;
    fixture.move_bar(3, 0xd000_0000);
    assert_eq!(fixture.mapper.mapped().len(), 5);
}

#[test]
fn a_bar_that_the_vmm_refuses_does_not_decode_until_it_is_moved() {
    let fixture = Fixture::new();
    fixture.mapper.space().no_decode = true;
    fixture.function.config_write(4, &[2]);
    assert_eq!((fixture.function.decoded(), fixture.mapper.mapped()), (vec![], vec![]));
    fixture.mapper.space().no_decode = false;
    // BAR3 over BAR0: the second one is in the way, the first stays.
    fixture.move_bar(3, 0xc000_4000);
    assert_eq!(fixture.function.find_memory(0xc000_4000, 4), Some((0, 0x4000)));
    assert_eq!(fixture.mapper.mapped(), [(0xc000_0000, 0x2_0000, RW)]);
    fixture.move_bar(0, 0xe000_0000);
    assert_eq!(fixture.function.find_memory(0xc000_4000, 4), Some((3, 0)), "there is room now");
}

#[test]
fn a_table_that_stays_mapped_is_no_success_and_is_tried_again() {
    let fixture = Fixture::decoding();
    assert_eq!(fixture.enable(), Status::OK);
    fixture.mapper.space().no_unmap = true;
    let _ = fixture.disable();
    assert_eq!(fixture.mapper.mapped().len(), 5, "the guest still has it");
    let error = fixture.function.set_bar_address(3, 0xc030_0000).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(
        error.to_string().starts_with("0000:00:01.0: BAR3 at 0xc0100000, 0x4000 bytes, stays mapped"),
        "{error}"
    );
    assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(fixture.mapper.space().decoded.len(), 2, "nobody else gets the addresses");
    assert_eq!(fixture.function.find_memory(0xc030_0000, 4), None, "it is not in two places");
    fixture.mapper.space().no_unmap = false;
    fixture.function.config_write(4, &[2]);
    assert_eq!(fixture.function.find_memory(0xc030_0000, 4), Some((3, 0)));
    fixture.function.config_write(4, &[0]);
    assert_eq!(fixture.mapper.mapped(), []);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_kind_of_failure_is_logged_once_however_often_a_guest_asks() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let fixture = Fixture::new();
        for failure in 0..3 {
            fixture.function.config_write(4, &[2]);
            {
                let mut space = fixture.mapper.space();
                (space.no_decode, space.no_map, space.no_unmap) = (failure == 0, failure == 1, failure == 2);
            }
            for round in 0..1000 {
                fixture.move_bar(3, 0xd000_0000 + round * 0x4000);
            }
            let mut space = fixture.mapper.space();
            (space.no_decode, space.no_map, space.no_unmap) = (false, false, false);
            drop(space);
            fixture.function.config_write(4, &[0]);
        }
        assert_eq!(fixture.mapper.mapped(), []);
    });
    let bytes = log.0.lock().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, what) in lines.iter().zip(["does not decode", "stays trapped", "stays mapped"]) {
        assert!(line.contains(what) && line.contains("BAR3") && line.contains("os error 28"), "{line}");
    }
}
