//! The guest's text on its way to stdout.

use std::io::{self, Write};

use super::stream::Stream;

/// What the guest's consoles write to. A write waits for room in the stream's queue, and does not fail: what is lost is
/// counted there.
#[derive(Debug, Clone)]
pub(crate) struct GuestOutput(pub(crate) Stream);

impl Write for GuestOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put_of_guest(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
