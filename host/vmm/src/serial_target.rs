//! Where `--serial` has the guest's consoles end.

use std::path::PathBuf;
use std::str::FromStr;

/// The argument of `--serial`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SerialTarget {
    /// stdout, with keys from stdin.
    Tty,
    /// A file, without keys.
    File(PathBuf),
    /// A socket, at which one client at a time reads and writes.
    Socket(PathBuf),
    /// Nowhere, without keys.
    Off,
}

impl FromStr for SerialTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once('=')) {
            ("tty", _) => Ok(Self::Tty),
            ("off", _) => Ok(Self::Off),
            (_, Some(("file", path))) if !path.is_empty() => Ok(Self::File(path.into())),
            (_, Some(("socket", path))) if !path.is_empty() => Ok(Self::Socket(path.into())),
            ("file" | "socket" | "file=" | "socket=", _) => {
                let kind = text.trim_end_matches('=');
                Err(format!("{kind} needs a path, for example {kind}=/tmp/console"))
            }
            _ => Err("expected tty, file=PATH, socket=PATH or off".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_word_or_a_kind_with_a_path() {
        for (text, target) in [
            ("tty", SerialTarget::Tty),
            ("off", SerialTarget::Off),
            ("file=a=b,c", SerialTarget::File("a=b,c".into())),
            ("socket=/run/c.sock", SerialTarget::Socket("/run/c.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
        for (text, part) in [
            ("file", "file needs a path"),
            ("socket=", "socket needs a path"),
            ("/tmp/file", "expected tty"),
            ("tty=1", "expected tty"),
            ("pty", "expected tty"),
            ("", "expected tty"),
        ] {
            assert!(text.parse::<SerialTarget>().unwrap_err().contains(part), "{text}");
        }
    }
}
