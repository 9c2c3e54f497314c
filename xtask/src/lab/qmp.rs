//! A client of QEMU's control socket, for the few things that only QEMU knows.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Shakes hands on a new connection.
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.receive()?;
        if greeting["QMP"].is_null() {
            bail!("QEMU's control socket greets with {greeting}");
        }
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Runs a command without arguments and returns its answer.
    pub(super) fn execute(&mut self, command: &str) -> Result<Value> {
        let request = json!({ "execute": command }).to_string() + "\n";
        self.reader
            .get_mut()
            .write_all(request.as_bytes())
            .context("cannot write to QEMU's control socket")?;
        loop {
            let mut answer = self.receive()?;
            if !answer["error"].is_null() {
                bail!("QEMU refuses {command}: {}", answer["error"]["desc"]);
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // an event: nobody here waits for one
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).context("cannot read from QEMU's control socket")?;
        if length == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU's control socket sent no JSON")
    }
}
