//! What a VM holds of the host, as the host's kernel counts it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::expect::same;
use crate::host;
use crate::vm::Vm;
use crate::witness::{ask, has_intel};

/// Memory that is no guest's may grow by so much, in KiB: an allocator keeps some of what it was given back.
const SLACK_KIB: u64 = 4096;
/// And so many more anonymous mappings, which that allocator makes of some sizes when they are wanted first.
const SLACK_MAPPINGS: usize = 32;

/// What a process and its host hold for a VM. The kernel shows neither irqfds nor routes. An irqfd ends with its eventfd
/// at the latest, so eventfds are counted; routes are what `pvir` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Open descriptors, by what they are.
    files: Vec<String>,
    /// Eventfds, by the kernel's own numbers for them.
    eventfds: usize,
    /// Threads.
    threads: usize,
    /// Mappings of files and devices, by what is mapped.
    mappings: Vec<String>,
    /// Entries with a route, by `pvir`'s own count.
    routes: usize,
    /// VFIO's lines in /proc/interrupts.
    vectors: usize,
    /// Present entries of Intel's remapping table, for the whole host.
    irtes: Option<usize>,
    memory: Memory,
}

/// What need not be the same to the last byte.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Anonymous mappings.
    mappings: usize,
    /// KiB of anonymous memory in RAM.
    kib: u64,
}

/// Two are taken for the same: [`Footprint::is_back`] looks at them.
impl PartialEq for Memory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memory {}

impl Footprint {
    /// What it is now.
    pub(crate) fn of(vm: &mut Vm) -> Result<Self> {
        let counts = vm.counts()?;
        let folder = PathBuf::from("/proc").join(vm.pid());
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).with_context(|| format!("{name} of a VM cannot be read"))
        };
        let entries = |name: &str| -> Result<Vec<PathBuf>> {
            let list = fs::read_dir(folder.join(name)).with_context(|| format!("{name} of a VM"))?;
            Ok(list.filter_map(|entry| Some(entry.ok()?.path())).collect())
        };
        let mut files: Vec<String> = entries("fd")?
            .iter()
            .filter_map(|file| Some(name_of(&fs::read_link(file).ok()?.to_string_lossy())))
            .collect();
        files.sort_unstable();
        let of_fdinfo = entries("fdinfo")?;
        let mut eventfds: Vec<String> = of_fdinfo
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .filter_map(|text| Some(text.lines().find(|line| line.starts_with("eventfd-id"))?.to_owned()))
            .collect();
        eventfds.sort_unstable();
        eventfds.dedup();
        let table = fs::read_to_string("/proc/interrupts").context("/proc/interrupts")?;
        let (mappings, anonymous) = mappings(&read("maps")?);
        Ok(Self {
            files,
            eventfds: eventfds.len(),
            threads: entries("task")?.len(),
            mappings,
            routes: counts["interrupts"].as_array().map_or(0, Vec::len),
            vectors: table.lines().filter(|line| line.contains("vfio-msi")).count(),
            irtes: if host::devices() > 0 && has_intel() { Some(present()?) } else { None },
            memory: Memory { mappings: anonymous, kib: resident(&read("status")?)? },
        })
    }

    /// Takes the memory of `now` for the measure from here on.
    pub(crate) const fn may_grow_to(&mut self, now: &Self) {
        self.memory = now.memory;
    }

    /// Fails unless nothing more is held than at `first`, when the VM was where it is now.
    pub(crate) fn is_back(&self, first: &Self, when: &str) -> Result<()> {
        same(&format!("what is held {when}"), self, first)?;
        let (now, then) = (self.memory, first.memory);
        ensure!(
            now.kib <= then.kib + SLACK_KIB && now.mappings <= then.mappings + SLACK_MAPPINGS,
            "{when}: {now:?}, and at first {then:?}"
        );
        Ok(())
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let irtes = self.irtes.map_or_else(String::new, |count| format!(", {count} IRTEs of the host"));
        format!(
            "{} descriptors, {} of them eventfds, {} threads, {} mappings of files and {} others, {} routes, {} VFIO vectors{irtes}, \
             {} KiB of anonymous memory",
            self.files.len(),
            self.eventfds,
            self.threads,
            self.mappings.len(),
            self.memory.mappings,
            self.routes,
            self.vectors,
            self.memory.kib
        )
    }
}

/// A file's name, whether or not somebody has removed it meanwhile.
fn name_of(link: &str) -> String {
    link.trim_end_matches(" (deleted)").to_owned()
}

/// What is mapped of files, sorted, and how many mappings are of none.
fn mappings(maps: &str) -> (Vec<String>, usize) {
    // address, rights, offset, device, inode, and a path or nothing (proc_pid_maps(5))
    const PATH: usize = 5;
    let of_file =
        |line: &&str| line.split_ascii_whitespace().nth(PATH).is_some_and(|path| !path.starts_with('['));
    let (files, others): (Vec<&str>, Vec<&str>) = maps.lines().partition(of_file);
    let mut files: Vec<String> = files
        .iter()
        .map(|line| name_of(&line.split_ascii_whitespace().skip(PATH).collect::<Vec<_>>().join(" ")))
        .collect();
    files.sort_unstable();
    (files, others.len())
}

/// Anonymous memory in RAM, in KiB (proc_pid_status(5)).
fn resident(status: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let number = line.split_ascii_whitespace().next().context("RssAnon without a number")?;
    number.parse().with_context(|| format!("RssAnon is {number}"))
}

fn present() -> Result<usize> {
    Ok(ask(&["irt"])?.iter().filter(|entry| entry["present"] == true).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart() {
        let text = "55d0-55d1 r-xp 0 fe:00 11 /usr/bin/pvir\n7f00-7f01 rw-p 0 00:00 0\n\
                    7f02-7f03 rw-s 0 00:01 12 /memfd:ram (deleted)\n7ffc-7ffd rw-p 0 00:00 0 [stack]\n";
        let (files, others) = mappings(text);
        assert_eq!((files, others), (vec!["/memfd:ram".to_owned(), "/usr/bin/pvir".to_owned()], 2));
    }

    #[test]
    fn memory_of_its_own_is_found() {
        assert_eq!(resident("VmRSS:\t 9000 kB\nRssAnon:\t    4321 kB\n").unwrap(), 4321);
        assert!(resident("VmRSS:\t 9000 kB\n").is_err());
    }
}
