//! The `log` crate's messages on the console.

use crate::println;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("[{}] {}", name(record.level()), record.args());
        }
    }

    fn flush(&self) {}
}

/// The level's name, all equally long. Not padded by core: the first messages come before ring 3 can be entered (see
/// `usermode::with_all_instructions`).
const fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Installs the logger with the level named on the command line, `info` if none or an unknown one.
pub(super) fn init(level: Option<&str>) {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(level.and_then(|name| name.parse().ok()).unwrap_or(LevelFilter::Info));
    }
}
