//! Keys at the terminal: most go to the guest, some are the user's own.

use rustix::process::Signal;
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios};

/// Ctrl-A: the key after it is taken differently, as with other VMMs.
const ESCAPE: u8 = 1;
/// After the escape: the end of the run.
const END: [u8; 2] = *b"xX";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The guest gets this byte.
    Guest(u8),
    /// The foreground processes get this signal, as the terminal would send it.
    Signal(Signal),
}

/// Tells keys apart, byte by byte.
#[derive(Debug)]
pub(crate) struct Keys {
    signals: [(u8, Signal); 3],
    escaped: bool,
}

impl Keys {
    /// Keys of a terminal that was set to `before`: its own keys for signals, if it had any, stay those.
    pub(crate) fn of(before: &Termios) -> Self {
        let of = |index| {
            // 0 says that there is no such key (_POSIX_VDISABLE).
            if before.local_modes.contains(LocalModes::ISIG) { before.special_codes[index] } else { 0 }
        };
        let signals = [
            (of(SpecialCodeIndex::VINTR), Signal::INT),
            (of(SpecialCodeIndex::VQUIT), Signal::QUIT),
            (of(SpecialCodeIndex::VSUSP), Signal::TSTP),
        ];
        Self { signals, escaped: false }
    }

    /// What the next byte is; nothing for the escape.
    pub(crate) fn next(&mut self, byte: u8) -> Option<Key> {
        if std::mem::take(&mut self.escaped) {
            return Some(if END.contains(&byte) { Key::Signal(Signal::INT) } else { Key::Guest(byte) });
        }
        if byte == ESCAPE {
            self.escaped = true;
            return None;
        }
        let signal = self.signals.iter().find(|(key, _)| *key == byte && byte != 0);
        Some(signal.map_or(Key::Guest(byte), |(_, signal)| Key::Signal(*signal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &[u8]) -> Vec<Key> {
        let signals = [(3, Signal::INT), (0x1c, Signal::QUIT), (0x1a, Signal::TSTP)];
        let mut keys = Keys { signals, escaped: false };
        text.iter().filter_map(|byte| keys.next(*byte)).collect()
    }

    #[test]
    fn signals_are_the_users_and_behind_the_escape_the_guests() {
        assert_eq!(keys(b"a\x03"), [Key::Guest(b'a'), Key::Signal(Signal::INT)]);
        assert_eq!(keys(b"\x1a\x1c"), [Key::Signal(Signal::TSTP), Key::Signal(Signal::QUIT)]);
        assert_eq!(keys(b"\x01\x03\x01\x1ax"), [Key::Guest(3), Key::Guest(0x1a), Key::Guest(b'x')]);
        assert_eq!(keys(b"\x01\x01\0"), [Key::Guest(1), Key::Guest(0)]);
        assert_eq!(keys(b"\x01x"), [Key::Signal(Signal::INT)]);
    }
}
