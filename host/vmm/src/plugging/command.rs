//! `pvir plug` and `pvir unplug`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;
use pvir_host::vfio::VfioWay;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::request::PluggedDevice;
use crate::device_spec::DeviceSpec;
use crate::devices::host_files::HostFiles;
use crate::devices::vfio_way::WayChoice;
use crate::observation::control::client;

/// What `--help` says at its end.
pub(crate) const PLUG_HELP: &str = "The device comes to the first place on the bus that is free, which is printed. A guest with ACPI, such as Linux, \
    finds it by itself. It comes with trapped messages: a guest that has enabled pvir with the feature ATTACH can take it \
    at once, any other one at its next ENABLE.";

/// What `--help` says at its end.
pub(crate) const UNPLUG_HELP: &str = "The guest is asked to let the device go, and the command waits for it. With --force the device is taken when the \
    guest has not let it go in time; --timeout 0 takes it at once, as if it was pulled out.";

/// How often the VM is asked whether the device is still there.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// `pvir plug`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlugArgs {
    /// Which VM: the PID of its `pvir run`, or its control socket [default: the only one that runs]
    #[arg(value_name = "PID|SOCKET")]
    vm: Option<String>,
    /// The device, as for `pvir run`
    #[arg(long, value_name = "KIND[=...]", value_parser = spelled)]
    device: Spelled,
    /// How a device of the host is opened: as the VM's other ones, if it has any
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    vfio: WayChoice,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A device as it is spelled: the VM reads it again.
#[derive(Debug, Clone)]
struct Spelled {
    text: String,
    /// Of the host.
    host: Option<DeviceId>,
}

fn spelled(text: &str) -> Result<Spelled, String> {
    let host = match text.parse()? {
        DeviceSpec::Vfio(address) => Some(address),
        _ => None,
    };
    Ok(Spelled { text: text.to_owned(), host })
}

/// `pvir unplug`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnplugArgs {
    /// Which VM: the PID of its `pvir run`, or its control socket [default: the only one that runs]
    #[arg(value_name = "PID|SOCKET")]
    vm: Option<String>,
    /// The device, by the address at which the guest finds it, for example 00:01.0
    #[arg(long, value_name = "BDF")]
    device: DeviceId,
    /// Take it when the guest has not let it go in time
    #[arg(long)]
    force: bool,
    /// Seconds for the guest
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=1e9).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds".to_owned())
}

/// Asks for a device.
pub(crate) fn run_plug(args: &PlugArgs) -> Result<ExitCode> {
    let socket = client::find(args.vm.as_deref())?;
    let answer = match args.device.host {
        Some(address) => plug_host_device(&socket, address, args.vfio)?,
        None => client::ask_patiently(&socket, &format!("plug {}", args.device.text))?,
    };
    let device: PluggedDevice = read(&socket, answer)?;
    say(&device, "is plugged", args.json)
}

/// The VM opens no files: it is given those of the device. They are opened in the VM's way, if it has one.
fn plug_host_device(socket: &Path, address: DeviceId, choice: WayChoice) -> Result<Value> {
    let told = client::ask_patiently(socket, "devices")?;
    let name = format!("vfio {address}");
    if told["devices"].as_array().is_some_and(|devices| devices.iter().any(|device| device["name"] == *name))
    {
        // What opening its files would say is that somebody has them.
        bail!("vfio={address} is a device of this VM already\nhelp: a device has one place in a VM");
    }
    let way = match (choice, told["vfio"].as_str()) {
        (WayChoice::Auto, Some("group")) => VfioWay::Group,
        (WayChoice::Auto, Some("cdev")) => VfioWay::Cdev,
        _ => choice.resolve(&Host::default(), &[address]),
    };
    let files = HostFiles::open(way, address)?;
    client::ask_with_files(socket, &format!("plug vfio={address} {way}"), &files.descriptors())
}

/// Asks the guest to let a device go, and waits.
pub(crate) fn run_unplug(args: &UnplugArgs) -> Result<ExitCode> {
    let socket = client::find(args.vm.as_deref())?;
    let place = args.device;
    let force = || -> Result<PluggedDevice> {
        read(&socket, client::ask_patiently(&socket, &format!("unplug {place} force"))?)
    };
    if args.force && args.timeout.is_zero() {
        let device = force()?;
        wait_until_gone(&socket, device.id, None)?;
        return say(&device, "is unplugged, unasked", args.json);
    }
    let device: PluggedDevice = read(&socket, client::ask_patiently(&socket, &format!("unplug {place}"))?)?;
    if wait_until_gone(&socket, device.id, Some(Instant::now() + args.timeout))? {
        return say(&device, "is unplugged", args.json);
    }
    let seconds = args.timeout.as_secs_f64();
    if !args.force {
        bail!(
            "{place} ({}): the guest has not let it go in {seconds} s, and may do so yet\n\
             help: --force takes it from the guest",
            device.name
        );
    }
    // It may have let it go at the last moment, and another may be at its place.
    if devices(&socket)?.iter().any(|there| there.id == device.id && !there.is_closing()) {
        force()?;
    }
    wait_until_gone(&socket, device.id, None)?;
    say(&device, "is unplugged, unasked", args.json)
}

/// Waits until the host has the device back, or a moment has come. Answers whether it has.
fn wait_until_gone(socket: &Path, id: u64, until: Option<Instant>) -> Result<bool> {
    loop {
        if devices(socket)?.iter().all(|there| there.id != id) {
            return Ok(true);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

fn devices(socket: &Path) -> Result<Vec<PluggedDevice>> {
    let mut answer = client::ask_patiently(socket, "devices")?;
    read(socket, answer.get_mut("devices").map(Value::take).unwrap_or_default())
}

fn read<T: DeserializeOwned>(socket: &Path, answer: Value) -> Result<T> {
    serde_json::from_value(answer)
        .with_context(|| format!("the VM at {} answers in another form", socket.display()))
}

fn say(device: &PluggedDevice, what: &str, json: bool) -> Result<ExitCode> {
    let text = if json {
        serde_json::to_string(device).context("--json")?
    } else {
        format!("{} ({}) {what}", device.device, device.name)
    };
    writeln!(io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}
