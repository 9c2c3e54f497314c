//! The `log` crate's messages on the console.

use crate::println;
use log::{LevelFilter, Log, Metadata, Record};

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("[{:<5}] {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Installs the logger with the level named on the command line, `info` if none or an unknown one.
pub(super) fn init(level: Option<&str>) {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(level.and_then(|name| name.parse().ok()).unwrap_or(LevelFilter::Info));
    }
}
