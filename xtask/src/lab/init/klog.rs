//! Lines in the kernel's log, which the host keeps.

use std::fs::OpenOptions;
use std::io::Write;

/// Puts one line into the kernel's log, as a warning so that the console shows it.
pub(crate) fn say(line: &str) {
    // there is nobody to tell if the log itself cannot be written
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<4>lab-init: {line}\n").as_bytes());
    }
}
