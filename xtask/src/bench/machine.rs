//! What the figures are of.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::process;

/// This machine, at this time.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// Modules of KVM.
    pub(crate) kvm: String,
    pub(crate) date: String,
    pub(crate) command: String,
    /// The peers' versions.
    pub(crate) peers: Vec<String>,
}

impl Machine {
    /// `command` is what was called; it goes into tables and pictures.
    pub(crate) fn here(command: String, peers: Vec<String>) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let modules = fs::read_dir("/sys/module").into_iter().flatten().flatten();
        let mut kvm: Vec<String> = modules
            .map(|module| module.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("kvm_"))
            .collect();
        kvm.sort();
        let said = |command: &mut Command| {
            process::output(command).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        Self {
            cpu: model.map_or_else(|| "unknown CPU".into(), |(_, model)| model.to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: said(Command::new("uname").arg("-r")),
            kvm: kvm.join(", "),
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            command,
            peers,
        }
    }

    /// In two lines: the machine, and what was done on it.
    pub(crate) fn lines(&self) -> [String; 2] {
        let Self { cpu, cpus, kernel, kvm, date, command, .. } = self;
        [format!("{cpu}, {cpus} CPUs, Linux {kernel}, {kvm}"), format!("{date}; {command}")]
    }
}
