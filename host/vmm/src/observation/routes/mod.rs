//! `pvir routes`: the way of each interrupt of a running VM.

mod dot;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::observation::control::client;
use crate::observation::report::routes::Routes;

/// What `--help` says at its end.
pub(crate) const HELP: &str =
    "A VM is asked by its control socket, which is for the user who runs it; the guest does not exit for it.

A rate is that of the moment: the VM is asked twice. Counts are since MAP. An entry whose host IRQ had another holder \
     before is `not counted`, unless `pvir run` counts what is given back (--stats, --stats-interval or --json).

`posted` is `not posted` where this host does not post or the VMM raises the interrupt itself. Where the host could \
     post, it is what the kernel shows of the entry, which takes Intel VT-d, a kernel with \
     CONFIG_INTEL_IOMMU_DEBUGFS, debugfs mounted, and a `pvir run` by root; otherwise `unknown`, as always for an \
     entry whose store is trapped.";

/// Between the two looks that make a rate.
const MOMENT: Duration = Duration::from_millis(200);
const WATCH: Duration = Duration::from_secs(1);

/// `pvir routes`.
#[derive(Debug, clap::Args)]
pub(crate) struct RoutesArgs {
    /// Which VM: the PID of its `pvir run`, or its control socket [default: the only one that runs]
    #[arg(value_name = "PID|SOCKET")]
    vm: Option<String>,
    /// Again every second, until the VM ends
    #[arg(long)]
    watch: bool,
    /// One JSON object a line
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// A picture for Graphviz: pipe it to `dot -Tsvg`
    #[arg(long, conflicts_with = "watch")]
    dot: bool,
}

/// Shows them.
pub(crate) fn run(args: &RoutesArgs) -> Result<ExitCode> {
    let socket = client::find(args.vm.as_deref())?;
    let mut before = look(&socket)?;
    let mut out = io::stdout().lock();
    let screen = args.watch && !args.json && out.is_terminal();
    let mut pause = MOMENT;
    loop {
        thread::sleep(pause);
        let mut routes = match look(&socket) {
            // It has ended: what it said before is all there is.
            Err(_) if !socket.exists() && args.watch => return Ok(ExitCode::SUCCESS),
            looked => looked?,
        };
        routes.rate_since(&before);
        let text = if args.json {
            serde_json::to_string(&routes).context("--json")?
        } else if args.dot {
            dot::render(&routes)
        } else {
            table::render(&routes)
        };
        // Home, then erase below: without the flicker of an empty screen.
        let (home, below) = if screen { ("\x1b[H", "\x1b[J") } else { ("", "") };
        let text = if screen { text.replace('\n', "\x1b[K\n") } else { text };
        match writeln!(out, "{home}{}{below}", text.trim_end()).and_then(|()| out.flush()) {
            // Whoever reads has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.context("cannot write to stdout")?,
        }
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        (before, pause) = (routes, WATCH);
    }
}

fn look(socket: &Path) -> Result<Routes> {
    let answer = client::ask(socket, "routes")?;
    serde_json::from_value(answer).with_context(|| {
        format!("the VM at {} answers in another form: of another version?", socket.display())
    })
}
