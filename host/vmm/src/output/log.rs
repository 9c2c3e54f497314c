//! The log on its way to stderr: a thread of a vCPU that warns does not wait for whoever reads it.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use super::stream::Stream;

/// Makes the writer of each event, which is one message of the stream's. No write fails: what is lost is counted there.
#[derive(Debug, Clone)]
pub(crate) struct LogOutput(pub(crate) Stream);

impl Write for &LogOutput {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0.put(message);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = &'a LogOutput;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
