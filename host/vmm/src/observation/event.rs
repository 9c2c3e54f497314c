//! `pvir event`: an event of a running VM, raised by hand (docs/abi.md, "Epoch and events").

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pvir_abi::{DeviceId, EventReason};
use pvir_host::service::{Event, Service};
use serde::{Deserialize, Serialize};

use super::control::client;

/// What `--help` says at its end.
pub(crate) const HELP: &str = "The guest's handles of the device are stale when this returns, and the guest is told by its event area and by its \
    vector, if it took these. For tests of a guest's recovery, and for a device that has to be stopped at once: \
    a device that is cut off sends nothing, and nothing of it can be mapped, until the guest has reset it or --readmit. \
    What is gone stays gone for the guest's interrupts, though its registers answer: it is no unplugging.";

/// `pvir event`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["reason", "readmit"])))]
pub(crate) struct EventArgs {
    /// Which VM: the PID of its `pvir run`, or its control socket [default: the only one that runs]
    #[arg(value_name = "PID|SOCKET")]
    vm: Option<String>,
    /// The device, by the address at which the guest finds it, for example 00:01.0; with stale pairs also `all`
    #[arg(long, value_name = "BDF|all")]
    device: Named,
    /// What the guest is told
    #[arg(long, value_name = "REASON", value_enum)]
    reason: Option<Reason>,
    /// Let a device go on that was cut off, without a word to the guest
    #[arg(long)]
    readmit: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A device of the guest's, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named(Option<DeviceId>);

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(None)),
            address => address.parse().map(|id| Self(Some(id))).map_err(|error| format!("{error}")),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => f.write_str("all"),
        }
    }
}

/// The reasons of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Reason {
    /// Its pairs are stale, as after a reset
    StalePairs,
    /// It was unplugged
    DeviceGone,
    /// It is stopped
    DeviceCutOff,
}

impl Reason {
    fn of_contract(self) -> EventReason {
        match self {
            Self::StalePairs => EventReason::STALE_PAIRS,
            Self::DeviceGone => EventReason::DEVICE_GONE,
            Self::DeviceCutOff => EventReason::DEVICE_CUT_OFF,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::StalePairs => "stale-pairs",
            Self::DeviceGone => "device-gone",
            Self::DeviceCutOff => "device-cut-off",
        }
    }
}

/// What came of it, as the socket carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The VM's epoch afterwards; nothing while no guest has enabled pvir.
    epoch: Option<u64>,
    /// Whether something has changed.
    new: bool,
    /// IRTEs that were given back.
    irtes: u32,
    /// Entries whose interrupt could not be stopped.
    unstopped: usize,
}

/// Raises it.
pub(crate) fn run(args: &EventArgs) -> Result<ExitCode> {
    let socket = client::find(args.vm.as_deref())?;
    let word = args.reason.map_or("readmit", Reason::word);
    let answer = client::ask(&socket, &format!("event {word} {}", args.device))?;
    let outcome: Outcome = serde_json::from_value(answer)
        .with_context(|| format!("the VM at {} answers in another form", socket.display()))?;
    let text = if args.json {
        serde_json::to_string(&outcome).context("--json")?
    } else {
        describe(word, args.device, outcome)
    };
    writeln!(io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn describe(word: &str, device: Named, Outcome { epoch, new, irtes, unstopped }: Outcome) -> String {
    let told = match epoch {
        _ if !new => "nothing to do".to_owned(),
        Some(epoch) if word == "readmit" => format!("may go on, epoch {epoch}"),
        Some(epoch) => format!("the guest is told, epoch {epoch}, {irtes} IRTEs given back"),
        None => "no guest has enabled pvir, so none is told".to_owned(),
    };
    let left =
        if unstopped > 0 { format!("; {unstopped} interrupts could not be stopped") } else { String::new() };
    format!("{word} {device}: {told}{left}")
}

/// Answers the request `event WORD DEVICE` of the control socket, of which `rest` is what follows the first word.
///
/// # Errors
/// If it is malformed, or cannot be of this VM.
pub(crate) fn answer(service: &Service, rest: &str) -> Result<Outcome> {
    let (word, device) = rest.split_once(' ').context("a request is `event WORD DEVICE`")?;
    let Named(device) = device.parse().map_err(anyhow::Error::msg).context("the device of an event")?;
    let named = || device.with_context(|| format!("{word} is of one device: name it"));
    if word == "readmit" {
        let new = service.readmit(named()?)?;
        let epoch = Some(service.epoch()).filter(|epoch| *epoch != 0);
        return Ok(Outcome { epoch, new, irtes: 0, unstopped: 0 });
    }
    let reasons = [Reason::StalePairs, Reason::DeviceGone, Reason::DeviceCutOff];
    let Some(reason) = reasons.into_iter().find(|reason| reason.word() == word) else {
        let known = reasons.map(Reason::word).join(", ");
        bail!("no such event: {word:?}; there are {known} and readmit");
    };
    let event = match Event::new(reason.of_contract(), device) {
        Some(event) => event,
        None => Event::new(reason.of_contract(), Some(named()?)).context("no such event")?,
    };
    let raised = service.raise(event)?;
    tracing::info!("{word} of {}, by the control socket", Named(device));
    Ok(Outcome { epoch: raised.epoch, new: raised.is_new, irtes: raised.irtes, unstopped: raised.unstopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_address_or_all() {
        let named = |text: &str| text.parse::<Named>().map(|named| named.to_string());
        assert_eq!(named("all").unwrap(), "all");
        assert_eq!(named("00:01.0").unwrap(), "0000:00:01.0");
        assert_eq!(named("0000:00:1f.7").unwrap(), "0000:00:1f.7");
        assert!(named("eth0").is_err() && named("").is_err());
    }

    #[test]
    fn an_outcome_is_told_in_a_line() {
        let device = Named(None);
        let outcome = Outcome { epoch: Some(7), new: true, irtes: 3, unstopped: 0 };
        assert_eq!(
            describe("stale-pairs", device, outcome),
            "stale-pairs all: the guest is told, epoch 7, 3 IRTEs given back"
        );
        let nobody = describe("device-cut-off", device, Outcome { epoch: None, unstopped: 2, ..outcome });
        assert!(nobody.ends_with("none is told; 2 interrupts could not be stopped"), "{nobody}");
        assert!(describe("readmit", device, Outcome { new: false, ..outcome }).ends_with("nothing to do"));
    }
}
