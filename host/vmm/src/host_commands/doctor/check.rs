//! One line of the doctor's.

use std::fmt;

use serde::Serialize;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Ok,
    /// It works, and could be better.
    Warn,
    /// Something does not work for it.
    Fail,
    /// It could not be seen.
    Skip,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) what: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
    /// Whether for want of it no device of the host can be programmed directly.
    #[serde(skip)]
    host_devices: bool,
}

impl Check {
    fn new(check: &'static str, level: Level, what: impl Into<String>, help: Option<String>) -> Self {
        Self { check, level, what: what.into(), help, host_devices: false }
    }

    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, what, None)
    }

    pub(super) fn warn(check: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, what, Some(help.into()))
    }

    pub(super) fn fail(check: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, what, Some(help.into()))
    }

    pub(super) fn skip(check: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(check, Level::Skip, what, Some(help.into()))
    }

    /// A failure for all devices of the host at once.
    pub(super) fn for_all_host_devices(self) -> Self {
        Self { host_devices: true, ..self }
    }

    pub(super) fn blocks_host_devices(&self) -> bool {
        self.host_devices && self.level == Level::Fail
    }

    /// Of a message that has its remedy in it, as those of this program do: `what; help: remedy` or on a line of its own.
    pub(super) fn fail_by(check: &'static str, message: &str) -> Self {
        let split = message.split_once("\nhelp: ").or_else(|| message.split_once("; help: "));
        let (what, help) = split.unwrap_or((message, ""));
        Self::new(check, Level::Fail, what, (!help.is_empty()).then(|| help.to_owned()))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
            Level::Skip => "skip",
        };
        write!(f, "{level:<4}  {}: {}", self.check, self.what.replace('\n', " "))?;
        match &self.help {
            Some(help) => write!(f, "; help: {}", help.replace('\n', " ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line() {
        let check = Check::fail_by("kvm", "there is no\n/dev/kvm\nhelp: load\nit");
        assert_eq!(check.to_string(), "fail  kvm: there is no /dev/kvm; help: load it");
        assert_eq!(Check::ok("iommu", "dmar0").to_string(), "ok    iommu: dmar0");
        let json = serde_json::to_value(Check::fail_by("a", "b; help: c")).unwrap();
        assert_eq!(json, serde_json::json!({"check": "a", "level": "fail", "what": "b", "help": "c"}));
    }

    #[test]
    fn only_a_failure_for_all_blocks_all() {
        assert!(Check::fail("a", "b", "c").for_all_host_devices().blocks_host_devices());
        assert!(!Check::fail("a", "b", "c").blocks_host_devices());
        assert!(!Check::ok("a", "b").for_all_host_devices().blocks_host_devices());
    }
}
