//! How a run ends, and the exit code that says so.

use serde::Serialize;

use super::crash::CrashReport;
use crate::exit_code::{CRASH, INTERRUPTED, TIMEOUT};

/// Why a run ended, or that it has not.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It goes on: the counts are those so far.
    Running,
    /// The guest wrote this code to the exit port.
    GuestExit {
        /// The value as written, before it is cut to an exit code.
        value: u32,
    },
    /// The guest reset the machine.
    GuestReset {
        /// The port or event by which it did.
        by: &'static str,
    },
    /// The guest switched the machine off, by ACPI's sleep control register.
    GuestPowerOff,
    /// A signal that ends runs, Ctrl-C for one.
    Interrupted,
    /// `--timeout` passed.
    TimedOut {
        /// The limit.
        seconds: f64,
    },
    /// A vCPU cannot go on.
    GuestCrash(Box<CrashReport>),
    /// The VMM failed while the guest ran.
    HostFailure {
        /// What failed.
        error: String,
    },
}

impl Outcome {
    /// The number for the process's parent.
    pub(crate) fn code(&self) -> u8 {
        match self {
            // Not truncated: 256 must not look like success.
            Self::GuestExit { value } => u8::try_from(*value).unwrap_or(u8::MAX),
            Self::Running | Self::GuestReset { .. } | Self::GuestPowerOff => 0,
            Self::Interrupted => INTERRUPTED,
            Self::TimedOut { .. } => TIMEOUT,
            Self::GuestCrash(_) | Self::HostFailure { .. } => CRASH,
        }
    }

    /// One line for a person.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Running => "running".to_owned(),
            Self::GuestExit { value } => format!("guest exited with code {value}"),
            Self::GuestReset { by } => format!("guest reset the machine ({by})"),
            Self::GuestPowerOff => "guest switched the machine off".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
            Self::TimedOut { seconds } => format!("stopped after --timeout {seconds}"),
            Self::GuestCrash(report) => format!("guest crashed: {}", report.cause),
            Self::HostFailure { error } => format!("the VMM failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_code_passes_through_and_is_never_wrapped_to_success() {
        assert_eq!(Outcome::GuestExit { value: 0 }.code(), 0);
        assert_eq!(Outcome::GuestExit { value: 77 }.code(), 77);
        assert_eq!(Outcome::GuestExit { value: 256 }.code(), 255);
    }
}
