//! What a run tells at its end, and while it goes on: where each part goes, and whether it arrived.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::exit_code;
use crate::json_target::JsonTarget;
use crate::observation::report::summary::Summary;
use crate::observation::report::tables;
use crate::output::console::GuestOutput;
use crate::output::file;
use crate::output::queue::Loss;
use crate::output::stream::{Patience, Stream};
use crate::sandbox::Sandbox;
use crate::vcpu::outcome::Outcome;

/// Starts the report's line on stdout, by which a program finds it behind the guest's own output.
const LINE_MARK: &str = "@pvir-host ";
/// Starts the first line of stdout, which tells by what a program knows the report's lines from a guest's.
const TOKEN_MARK: &str = "@pvir-token ";

/// Where results go.
pub(crate) struct Results {
    out: Stream,
    console: GuestOutput,
    err: Stream,
    stats: bool,
    json: Option<JsonOutput>,
    token: String,
}

/// A report as a line on stdout has it.
#[derive(Serialize)]
struct Authentic<'a> {
    token: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Where `--json` goes; opened before the run, so that a wrong path does not cost one.
enum JsonOutput {
    Stdout,
    Descriptor { stream: Stream, name: String },
    File { stream: Stream, name: String },
}

impl JsonOutput {
    fn open(target: &JsonTarget, inherited: Option<OwnedFd>, sandbox: &Sandbox) -> Result<Self> {
        let start = |descriptor| {
            Stream::start("json", descriptor, sandbox).context("cannot start the thread of --json")
        };
        let path = match target {
            JsonTarget::Stdout => return Ok(Self::Stdout),
            JsonTarget::Descriptor(number) => {
                let descriptor = inherited.with_context(|| format!("--json fd={number}: it is not open"))?;
                return Ok(Self::Descriptor {
                    stream: start(descriptor)?,
                    name: format!("--json fd={number}"),
                });
            }
            JsonTarget::File(path) => path,
        };
        Ok(Self::File {
            stream: start(file::create("--json", path)?)?,
            name: format!("--json {}", path.display()),
        })
    }
}

impl Results {
    /// Opens what is named: `json` is the argument of `--json`, and `inherited` its descriptor. Before the guest writes its
    /// first byte.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(
        out: Stream,
        console: GuestOutput,
        err: Stream,
        stats: bool,
        json: Option<&JsonTarget>,
        inherited: Option<OwnedFd>,
        sandbox: &Sandbox,
    ) -> Result<Self> {
        let json = json.map(|target| JsonOutput::open(target, inherited, sandbox)).transpose()?;
        let token = new_token().context("cannot read /dev/urandom")?;
        if matches!(json, Some(JsonOutput::Stdout)) {
            out.put_line(&format!("{TOKEN_MARK}{token}"));
        }
        Ok(Self { out, console, err, stats, json, token })
    }

    /// The report so far, in one line: to the descriptor of `--json`, or to stdout.
    pub(crate) fn so_far(&self, summary: &Summary) -> Result<()> {
        match &self.json {
            Some(JsonOutput::Descriptor { stream, .. }) => {
                stream.put_line(&serde_json::to_string(summary).context("--json")?);
            }
            _ => self.out.put_line(&self.line(summary)?),
        }
        Ok(())
    }

    /// A line for a person, on stderr.
    pub(crate) fn tell(&self, line: &str) {
        self.err.put_line(line);
    }

    /// The report at the end, behind all that the guest wrote. Waits with `patience` until what goes out has gone. The exit
    /// code of the process: the run's own, or that something was lost.
    pub(crate) fn at_end(&self, summary: &Summary, patience: Patience) -> Result<u8> {
        // A terminal shows the guest's last lines before ours.
        self.console.drain(patience);
        match &summary.outcome {
            Outcome::GuestCrash(report) => self.tell(&format!("pvir: guest crashed\n{report}")),
            Outcome::Interrupted | Outcome::TimedOut { .. } | Outcome::HostFailure { .. } => {
                self.tell(&format!("pvir: {}", summary.outcome.describe()));
            }
            outcome => tracing::info!("{}", outcome.describe()),
        }
        if self.stats {
            self.err.put_last_line(&tables::render(summary));
        }
        match &self.json {
            Some(JsonOutput::Stdout) => self.out.put_last_line(&self.line(summary)?),
            Some(JsonOutput::Descriptor { stream, .. }) => {
                stream.put_last_line(&serde_json::to_string(summary).context("--json")?);
            }
            Some(JsonOutput::File { stream, .. }) => {
                stream.put_last_line(&serde_json::to_string_pretty(summary).context("--json")?);
            }
            None => {}
        }
        let lost = self.losses(patience);
        Ok(if lost && summary.exit_code == 0 { exit_code::OUTPUT_LOST } else { summary.exit_code })
    }

    /// Waits for all streams and tells what is lost. Whether the run failed by it.
    fn losses(&self, patience: Patience) -> bool {
        let wanted = |loss: &Loss| !loss.reader_left();
        let out = self.out.drain(patience);
        let out_is_wanted = matches!(self.json, Some(JsonOutput::Stdout)) || wanted(&out);
        let mut failed = self.tell_loss("stdout", out) && out_is_wanted;
        if !matches!(self.console, GuestOutput::Stdout(_)) {
            let console = self.console.drain(patience);
            failed |= self.tell_loss(&self.console.name(), console) && wanted(&console);
        }
        if let Some(JsonOutput::Descriptor { stream, name } | JsonOutput::File { stream, name }) = &self.json
        {
            failed |= self.tell_loss(name, stream.drain(patience));
        }
        let err = self.err.drain(patience);
        self.tell_loss("stderr", err);
        failed || (self.stats && err.bytes > 0)
    }

    fn tell_loss(&self, name: &str, loss: Loss) -> bool {
        if loss.bytes > 0 {
            self.tell(&format!("pvir: {name}: {} bytes are lost: {}", loss.bytes, loss.reason()));
        }
        loss.bytes > 0
    }

    /// The whole report in one line, as stdout has it.
    fn line(&self, summary: &Summary) -> Result<String> {
        let authentic = Authentic { token: &self.token, summary };
        let text = serde_json::to_string(&authentic).context("the report as JSON")?;
        Ok(format!("{LINE_MARK}{text}"))
    }
}

/// What no guest can guess: 128 random bits.
fn new_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Writes a line to stderr past every stream, for what is said when those are not there (any more). That it cannot be
/// written is nothing that could be told.
pub(crate) fn say(line: &str) {
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
}
