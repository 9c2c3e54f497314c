//! What the host asks L1 to do.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// One command to run in L1, and what surrounds it.
///
/// Arguments travel as bytes, one by one: there is no shell and no quoting between the two ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    argv: Vec<Vec<u8>>,
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// PCI functions to bind to vfio-pci first, in this order.
    pub devices: Vec<String>,
    /// Whether a device that cannot be bound is a failure; without an IOMMU none can be.
    pub must_bind: bool,
    /// The terminal to give to the command; without one it gets pipes.
    pub terminal: Option<WindowSize>,
    /// Whether the host wants what the command leaves in [`OUT_DIR`](crate::OUT_DIR).
    pub send_out: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Job {
    /// A job that runs `argv` with nothing around it.
    #[must_use]
    pub fn new(argv: &[OsString]) -> Self {
        Self {
            argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            environment: Vec::new(),
            devices: Vec::new(),
            must_bind: true,
            terminal: None,
            send_out: false,
        }
    }

    /// The command and its arguments.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        self.argv.iter().cloned().map(OsString::from_vec).collect()
    }

    /// Adds a variable to the command's environment.
    pub fn set_variable(&mut self, name: &OsStr, value: &OsStr) {
        self.environment.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    }

    /// The variables to add to the command's environment.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.environment.iter().map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value)))
    }

    /// The job as bytes of a frame.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The job in the bytes of a frame.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_arrive_byte_for_byte() {
        let argv: Vec<OsString> = ["sh", "-c", "", "a b", "'\"$(x)\\\n\t", "--"]
            .map(OsString::from)
            .into_iter()
            .chain([OsString::from_vec(vec![0xff, 0x80, 1])])
            .collect();
        let mut job = Job::new(&argv);
        job.set_variable(OsStr::new("A"), OsStr::from_bytes(b"\xfe = x"));
        job.devices = vec!["0000:00:02.0".into()];

        let arrived = Job::decode(&job.encode().unwrap()).unwrap();

        assert_eq!(arrived, job);
        assert_eq!(arrived.argv(), argv);
        assert_eq!(
            arrived.variables().collect::<Vec<_>>(),
            [(OsStr::new("A"), OsStr::from_bytes(b"\xfe = x"))]
        );
    }
}
