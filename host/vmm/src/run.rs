//! `pvir run`: builds the machine, runs it to its end, reports.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pvir_host::counters::Counters;
use pvir_host::service::{PrearmThread, Service, StormThread};
use pvir_host::vfio::VfioWay;
use serde_json::json;

use crate::assembly::Assembly;
use crate::boot::{self, BootImage};
use crate::cli::RunArgs;
use crate::descriptors;
use crate::devices::attach::{self, Wanted};
use crate::devices::departures::Departures;
use crate::devices::interrupt_mode::{InterruptMode, Interrupts};
use crate::devices::io_apic::IoApic;
use crate::devices::line_console::LineConsole;
use crate::devices::serial::SerialPort;
use crate::exit_code;
use crate::foreground::Foreground;
use crate::observation::control::server::{AnswerRequest, Server};
use crate::observation::report::devices::DeviceList;
use crate::observation::report::live::{LiveReport, Ticker};
use crate::output::console::GuestOutput;
use crate::output::stream::{self, Patience, Stream};
use crate::pci::bus::{PLACES, PciBus};
use crate::pci::hotplug::HotplugPorts;
use crate::plugging::{self, Ejector, PlugDesk, Plugger, Plugging};
use crate::restart::{self, Machine, OnReboot};
use crate::results::Results;
use crate::sandbox::{Sandbox, kinds};
use crate::service::{self, Quotas};
use crate::signals::Signals;
use crate::snapshot::{Parts, Request as SaveRequest, SaveDesk, Snapshot};
use crate::socket_file::Removal;
use crate::vcpu::Vcpu;
use crate::vcpu::ending::Ending;
use crate::vcpu::exit_counters::ExitCounters;
use crate::vcpu::kick;
use crate::vcpu::outcome::Outcome;
use crate::vcpu::platform::Platform;
use crate::vcpu::ports::Ports;
use crate::vm::blank::RamPins;
use crate::vm::host_memory::HostMemory;
use crate::vm::layout;
use crate::vm::message::LocalApics;
use crate::vm::{Offer, Vm};
use crate::watch::{Watch, Watched};

/// Runs a guest; `err` is stderr, and `json` the inherited descriptor of `--json`. An error is one of the environment: the guest did not start.
pub(crate) fn run(
    args: &RunArgs,
    assembly: &dyn Assembly,
    err: &Stream,
    json: Option<OwnedFd>,
    sandbox: &Sandbox,
) -> Result<ExitCode> {
    sandbox.tell();
    descriptors::raise_limit();
    // Before the first thread: some devices start one.
    let signals = Signals::take_over().context("cannot take over Ctrl-C")?;
    let out = stream::of_standard("stdout", io::stdout(), sandbox).context("cannot set up stdout")?;
    let counters = Arc::new(Counters::new());
    let offer = if args.mode == InterruptMode::Trap {
        Offer::Nothing
    } else {
        Offer::Pvir { forwarding: args.kvm_hypercalls }
    };
    let kernel = args.kernel();
    let snapshot = args.restore.as_deref().map(Snapshot::open).transpose()?;
    let vm = Vm::new(args.apic_ids(), args.memory, offer, Arc::clone(&counters))?;
    if args.pins() == RamPins::Devices {
        HostMemory::read().map_or(Ok(()), |host| host.check_pinned(args.memory))?;
    }
    let quotas = Quotas {
        of_vm: args.max_irtes,
        of_device: args.max_irtes_per_device,
        armed_ahead: args.armed_ahead,
        rate_limit: args.rate_limit,
        storm_limit: args.storm_limit,
    };
    let service = service::new(&vm, quotas, assembly)?;
    let service = if args.keeps_history() { service.with_history() } else { service };
    let service = Arc::new(service);
    let interrupts = Interrupts { mode: args.mode, message_feature: args.vfio_messages };
    let places = snapshot.as_ref().map(Snapshot::places);
    let wanted = Wanted { specs: &args.device, way: args.vfio, places };
    let maker = attach::all(&vm, &service, interrupts, wanted, assembly, sandbox)?;
    let pci = Arc::clone(maker.bus());
    if args.on_reboot == OnReboot::Restart {
        pci.check_resets()?;
    }
    let open = |kernel| BootImage::open(kernel, args.initrd.as_deref(), args.append.join(" "));
    let image = kernel.map(open).transpose()?;
    let entry = match (&image, &snapshot) {
        (Some(image), None) => boot::load(&vm.memory, image, &vm.apic_ids, pci.high_window())?,
        // RAM is that of the file.
        _ => 0,
    };

    let ending = Arc::new(Ending::new().context("cannot make an eventfd")?);
    let local_apics = LocalApics::new(Arc::clone(&vm.fd), &counters);
    let io_apic = Arc::new(IoApic::new(Arc::new(local_apics)));
    let console = GuestOutput::open(&args.serial, &out, sandbox)?;
    let _removal = console.socket_file().map(Removal);
    let serial = Arc::new(SerialPort::new(Arc::clone(&io_apic), console.clone()));
    let exits = Arc::new(ExitCounters::new(vm.apic_ids.len(), PLACES));
    let devices = Arc::<DeviceList>::default();
    pci.slots().for_each(|slot| devices.add((&*slot).into(), &exits));
    let ejector = Arc::new(Ejector {
        departures: Departures::new(Arc::clone(&pci), Arc::clone(&service))
            .context("cannot make an eventfd")?,
        devices: Arc::clone(&devices),
        exits: Arc::clone(&exits),
    });
    let hotplug = Arc::new(hotplug_ports(&io_apic, &ejector));
    let hypercalls = assembly.hypercalls(Arc::<Service>::clone(&service));
    let template = vm.cpuid(&*hypercalls)?;
    let platform = Arc::new(Platform {
        ports: Ports::new(
            Arc::clone(&serial),
            LineConsole::new(console.clone(), Box::new(vm.memory.clone())),
            Arc::clone(&pci),
            Arc::clone(&hotplug),
            Arc::clone(&ending),
        ),
        pci: Arc::clone(&pci),
        io_apic,
        service: hypercalls,
        memory: vm.memory.clone(),
        exits: Arc::clone(&exits),
        ending: Arc::clone(&ending),
        counters: Arc::clone(&counters),
    });
    let mut vcpus = (0..vm.apic_ids.len())
        .map(|index| Vcpu::new(&vm, index, &template, entry, Arc::clone(&platform), assembly))
        .collect::<Result<Vec<_>>>()?;
    if args.on_reboot == OnReboot::Restart {
        vcpus.iter_mut().try_for_each(|vcpu| vcpu.keep_power_on(&vm)).context("--on-reboot restart")?;
    }
    let desk = Arc::new(SaveDesk::new(Arc::clone(&ending)));
    if let Some(snapshot) = snapshot {
        snapshot.restore(Parts { vm: &vm, platform: &platform, service: &service }, &vcpus)?;
    }
    let results = Results::open(
        out.clone(),
        console.clone(),
        err.clone(),
        args.stats,
        args.json.as_ref(),
        json,
        sandbox,
    )?;

    kick::install_handler()?;
    let user = Foreground::take(&console, &serial, sandbox)?;
    let live = Arc::new(LiveReport {
        service: Arc::clone(&service),
        exits,
        counters,
        devices,
        apic_ids: vm.apic_ids.clone(),
        conduits: vm.conduits,
        started: Instant::now(),
        posting: OnceLock::new(),
        restarts: AtomicU64::new(0),
    });
    let plug_desk = Arc::new(PlugDesk::new().context("cannot make an eventfd")?);
    let asked = Asked {
        live: Arc::clone(&live),
        desk: Arc::clone(&desk),
        plug_desk: Arc::clone(&plug_desk),
        bus: Arc::clone(&pci),
        hotplug: Arc::clone(&hotplug),
        ejector: Arc::clone(&ejector),
        way: Arc::clone(maker.way()),
    };
    let control = asked.serve(args.control.as_deref(), sandbox)?;
    let prearm_thread = sandbox
        .start_within(&kinds::PREARM, || PrearmThread::start(Arc::clone(&service)))?
        .context("cannot start the thread that arms irqfds ahead")?;
    let storm_thread = sandbox
        .start_within(&kinds::STORM, || StormThread::start(&service))?
        .context("cannot start the thread that looks for interrupt storms")?;
    let sockets = [control.as_ref().map(Server::file), console.socket_file()];
    for folder in sockets.into_iter().flatten().filter_map(|file| file.folder()) {
        sandbox.will_remove_from(folder);
    }
    let ticker = args.stats_interval.map(|seconds| Ticker::new(&live, seconds));
    let watched = Watched {
        ending: &ending,
        signals: &signals,
        service: &service,
        live: &live,
        results: &results,
        user: &user,
    };
    let machine = Machine { vm, platform, service: Arc::clone(&service), image, desk: Arc::clone(&desk) };
    let plugger = Plugger::new(maker, Arc::clone(&plug_desk), hotplug, ejector)
        .for_restarts(args.on_reboot == OnReboot::Restart)
        .with_grace(Duration::from_secs_f64(args.unplug_grace));
    let mut watch = Watch::new(watched, args.timeout, ticker, plugger)?;
    let threads = restart::run_boots(&machine, args.on_reboot, &mut watch, vcpus, sandbox)?;
    desk.close();
    plug_desk.close();
    let outcome = ending.outcome().context("the run ended without an outcome")?;
    let stopped = matches!(outcome, Outcome::Interrupted | Outcome::TimedOut { .. });
    let sockets = control.as_ref().map(Server::file).into_iter().chain(console.socket_file());
    let sockets: Vec<_> = sockets.collect();
    let terminal = user.terminal.clone();
    let leave = move || {
        sockets.iter().for_each(|socket| drop(socket.remove()));
        terminal.inspect(|terminal| terminal.restore());
        process::exit(exit_code::INTERRUPTED.into());
    };
    signals
        .leave_at_next(matches!(outcome, Outcome::Interrupted), sandbox, leave)
        .context("cannot start the thread of signals")?;

    console.stop_waiting();
    if threads.is_some_and(|threads| !threads.stop()) {
        // It may hold any lock, so that there is nothing that can be asked or reported.
        err.put_line(&format!("pvir: {}, but a vCPU's thread does not end", outcome.describe()));
        return Ok(ExitCode::from(exit_code::CRASH));
    }
    if matches!(outcome, Outcome::Saved { .. }) {
        control.as_ref().inspect(|control| control.finish_answer());
    }
    drop(control);
    drop(storm_thread);
    drop(prearm_thread);
    service.shut_down();
    user.leave_terminal();

    let patience = if stopped { Patience::STOPPED } else { Patience::READER };
    results.at_end(&live.summary(&outcome), patience).map(ExitCode::from)
}

/// The registers of devices that come and go, wired to the interrupt and to what takes devices out.
fn hotplug_ports(io_apic: &Arc<IoApic>, ejector: &Arc<Ejector>) -> HotplugPorts {
    let (io_apic, ejector) = (Arc::clone(io_apic), Arc::clone(ejector));
    HotplugPorts::new(
        Box::new(move || io_apic.raise(layout::HOTPLUG_PIN)),
        Box::new(move |place| drop(ejector.take_out(place))),
    )
}

/// What the control socket can be asked for.
struct Asked {
    live: Arc<LiveReport>,
    desk: Arc<SaveDesk>,
    plug_desk: Arc<PlugDesk>,
    bus: Arc<PciBus>,
    hotplug: Arc<HotplugPorts>,
    ejector: Arc<Ejector>,
    way: Arc<OnceLock<VfioWay>>,
}

impl Asked {
    /// The control socket: one that was asked for must be there.
    fn serve(self, path: Option<&Path>, sandbox: &Sandbox) -> Result<Option<Server>> {
        let answer: Arc<AnswerRequest> = Arc::new(move |request, files| match SaveRequest::parse(request) {
            Some(wanted) => {
                let file = files.into_iter().next();
                let file = file.context("no file came with the request; help: `pvir save`")?;
                Ok(json!({ "bytes": self.desk.save(file.into(), wanted)? }).to_string())
            }
            None => {
                plugging::answer(self.plugging(), request, files).unwrap_or_else(|| self.live.answer(request))
            }
        });
        match path {
            Some(path) => Server::start(path, answer, sandbox).context("--control").map(Some),
            None => Ok(Server::at_usual_place(&answer, sandbox)),
        }
    }

    fn plugging(&self) -> Plugging<'_> {
        let Self { plug_desk: desk, bus, hotplug, ejector, way, .. } = self;
        Plugging { desk, bus, hotplug, ejector, way }
    }
}
