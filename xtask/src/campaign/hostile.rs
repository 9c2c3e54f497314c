//! Storms, attacks, faults and kills: what a test does a few times, as often as the time allows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Campaign;
use super::report::Report;
use crate::lab::Iommu;
use crate::system_tests::long::{self, Met, Moved};

pub(super) const CAMPAIGNS: [Campaign; 10] = [
    Campaign {
        name: "storm",
        about: "every vector is moved by several vCPUs while the emulated device raises: none lost, twice or elsewhere",
        run: storm,
    },
    Campaign {
        name: "storm-intel",
        about: "the same with igb in the lab, VT-d; the host moves its interrupts meanwhile",
        run: |report, time| storm_in_lab(report, time, Iommu::Intel),
    },
    Campaign {
        name: "storm-amd",
        about: "the same with igb in the lab, AMD-Vi; the host moves its interrupts meanwhile",
        run: |report, time| storm_in_lab(report, time, Iommu::Amd),
    },
    Campaign {
        name: "isolation-intel",
        about: "messages that a guest was not given, of each class, beside another VM, VT-d: none arrives",
        run: |report, time| isolation(report, time, Iommu::Intel),
    },
    Campaign {
        name: "isolation-amd",
        about: "messages that a guest was not given, of each class, beside another VM, AMD-Vi: none arrives",
        run: |report, time| isolation(report, time, Iommu::Amd),
    },
    Campaign {
        name: "faults",
        about: "calls into the real kernel fail, by strace: told, undone, and granted when asked for again",
        run: faults,
    },
    Campaign {
        name: "kill",
        about: "pvir is killed at points spread over a run: nothing is left of it, the next one works",
        run: kill,
    },
    Campaign {
        name: "kill-intel",
        about: "pvir is killed in a storm in the lab, VT-d: the device can be used again",
        run: |report, time| kill_in_lab(report, time, Iommu::Intel),
    },
    Campaign {
        name: "kill-amd",
        about: "pvir is killed in a storm in the lab, AMD-Vi: the device can be used again",
        run: |report, time| kill_in_lab(report, time, Iommu::Amd),
    },
    Campaign {
        name: "neighbours",
        about: "the latency of a VM beside one that does what costs the host most, with bounds",
        run: neighbours,
    },
];

/// Rounds of one VM: short enough to end near the time.
const ROUNDS: u64 = 50;
const FREE: u64 = 50;

fn seconds(begun: Instant) -> u64 {
    begun.elapsed().as_secs()
}

fn head(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn storm(report: &mut Report, time: Duration) -> Result<()> {
    let programs = long::programs()?;
    let begun = Instant::now();
    report.head = head(&["VMs", "raised", "handled", "merged in a local APIC", "retargets", "s"]);
    let (mut vms, mut all) = (0, Moved::default());
    let mut went = Ok(());
    while begun.elapsed() < time && went.is_ok() {
        went = long::retargets_on_own_kvm(&programs, ROUNDS, FREE).map(|moved| {
            (vms, all) = (vms + 1, all.and(moved));
        });
    }
    let Moved { raised, handled, merged, retargets } = all;
    let row = format!("| {vms} | {raised} | {handled} | {merged} | {retargets} | {} |", seconds(begun));
    report.add("storm", &row, false)?;
    went
}

fn storm_in_lab(report: &mut Report, time: Duration, iommu: Iommu) -> Result<()> {
    let begun = Instant::now();
    report.head = head(&["lab", "what came of it", "s"]);
    // A lab that has to be started takes most of a short time.
    let mut rounds = 200;
    for lab in 1.. {
        let since = Instant::now();
        let (_, note) = long::retargets_in_lab(iommu, rounds)?;
        report.add("storm", &format!("| {lab} | {note} | {} |", seconds(since)), false)?;
        if begun.elapsed() + since.elapsed() > time {
            break;
        }
        rounds *= 2;
    }
    Ok(())
}

fn isolation(report: &mut Report, time: Duration, iommu: Iommu) -> Result<()> {
    let begun = Instant::now();
    report.head = head(&["class", "attempts", "delivered to anyone"]);
    report.note(match iommu {
        Iommu::Intel => format!("The control, with intremap=nosid: {}.", long::isolation_bites()?),
        _ => "No control: each device has a table of its own, which nothing switches off.".to_owned(),
    });
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut times = 1_000;
    let went = loop {
        let since = Instant::now();
        match long::isolation(iommu, times) {
            Ok((classes, note)) => {
                report.note(format!("{note}; {} s", seconds(since)));
                classes.into_iter().for_each(|(class, sent)| *all.entry(class).or_default() += sent);
            }
            Err(error) => break Err(error),
        }
        if begun.elapsed() + since.elapsed() > time {
            break Ok(());
        }
        times = (times * 2).min(10_000);
    };
    // What was sent before a lab that failed was sent.
    for (class, sent) in all {
        report.add(&class, &format!("| {class} | {sent} | 0 |"), false)?;
    }
    went
}

/// Calls of a start that are made to fail one by one.
const CALLS: [&str; 8] = ["openat", "ioctl", "mmap", "eventfd2", "read", "pread64", "write", "epoll_ctl"];
/// One of so many calls of the VM fails: whether faults follow each other closely or not.
const STEPS: [u64; 4] = [5, 7, 11, 23];

fn faults(report: &mut Report, time: Duration) -> Result<()> {
    let programs = long::programs()?;
    let begun = Instant::now();
    report.head = head(&["errno", "faults of a VM's calls", "requests", "refused", "faults of a start"]);
    let (mut all, mut of_the_runtime, mut number) = (0, 0, [1_u64; 8]);
    let mut rows: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    let mut went = Ok(());
    'time: for turn in 0_usize.. {
        for (place, errno) in long::ERRNOS.into_iter().enumerate() {
            if begun.elapsed() >= time {
                break 'time;
            }
            let step = STEPS[turn % STEPS.len()];
            let row = rows.entry(errno).or_default();
            let tried = long::inject(&programs, errno, step).and_then(|injected| {
                row[0] += injected.faults;
                row[1] += injected.requests;
                row[2] += injected.refused;
                let call = (turn + place) % CALLS.len();
                let met = long::start_up(&programs, CALLS[call], number[call], errno)?;
                let told = u64::from(met == Met::Told);
                row[3] += told;
                of_the_runtime += u64::from(met == Met::OfTheRuntime);
                number[call] = if met == Met::NotMade { 1 } else { number[call] + 1 };
                all += injected.faults + told;
                Ok(())
            });
            if tried.is_err() {
                went = tried;
                break 'time;
            }
        }
    }
    for (errno, [faults, requests, refused, start]) in rows {
        let row = format!("| {errno} | {faults} | {requests} | {refused} | {start} |");
        report.add(errno, &row, false)?;
    }
    report.note(format!("{all} faults in {} s", seconds(begun)));
    report.note(format!(
        "Not counted: {of_the_runtime} of Rust's standard library, which ends a process that gets no alternative signal stack."
    ));
    went.and_then(|()| long::works(&programs))
}

/// Points of a run.
const POINTS: u32 = 500;

fn kill(report: &mut Report, time: Duration) -> Result<()> {
    let programs = long::programs()?;
    let begun = Instant::now();
    report.head = head(&["killed", "of them still alive", "VMs in between, all of which worked", "s"]);
    let life = long::life(&programs)?;
    let (mut killed, mut alive, mut looked) = (0, 0, 0);
    let mut went = Ok(());
    // Spread over the run from the first few on, not from the front.
    let stride = 211;
    for number in 0..POINTS {
        if begun.elapsed() >= time {
            break;
        }
        let look = number % 10 == 9;
        match long::kill(&programs, life * (number * stride % POINTS) / POINTS, look) {
            Ok(was_alive) => {
                killed += 1;
                alive += u32::from(was_alive);
                looked += u32::from(look);
            }
            Err(error) => {
                went = Err(error);
                break;
            }
        }
    }
    report.add("kill", &format!("| {killed} | {alive} | {looked} | {} |", seconds(begun)), false)?;
    went
}

fn kill_in_lab(report: &mut Report, time: Duration, iommu: Iommu) -> Result<()> {
    let begun = Instant::now();
    report.head = head(&["what came of it", "s"]);
    let mut rounds = 10;
    loop {
        let since = Instant::now();
        let note = long::killed_in_lab(iommu, rounds)?;
        report.add("kill", &format!("| {note} | {} |", seconds(since)), false)?;
        if begun.elapsed() + since.elapsed() > time {
            return Ok(());
        }
        rounds *= 2;
    }
}

/// The median of a neighbour may be so many times that of one alone, and its 99th percentile.
const BOUNDS: (u64, u64) = (8, 16);

fn neighbours(report: &mut Report, time: Duration) -> Result<()> {
    let programs = long::programs()?;
    let begun = Instant::now();
    report.head = head(&["beside", "runs", "median", "99 %", "median alone", "99 % alone"]);
    let mut seen: Vec<[Vec<u64>; 4]> = long::LOADS.iter().map(|_| Default::default()).collect();
    // By turns, so that what else the machine does weighs on all alike.
    while begun.elapsed() < time {
        for (load, seen) in long::LOADS.iter().zip(&mut seen) {
            let (alone, loaded) = (long::beside(&programs, None)?, long::beside(&programs, Some(load))?);
            for (place, value) in [loaded.0, loaded.1, alone.0, alone.1].into_iter().enumerate() {
                seen[place].push(value);
            }
        }
    }
    let mut broken = Vec::new();
    for (load, seen) in long::LOADS.iter().zip(&mut seen) {
        let runs = seen[0].len();
        let [median, highest, alone, alone_highest] = seen.each_mut().map(|values| middle(values));
        let name = load.name;
        let row = format!("| {name} | {runs} | {median} | {highest} | {alone} | {alone_highest} |");
        report.add(name, &row, false)?;
        if median > BOUNDS.0 * alone || highest > BOUNDS.1 * alone_highest {
            broken.push(name);
        }
    }
    report.note(format!(
        "In cycles of the TSC, the middle of the runs. Bounds: {} times the median alone, {} times the 99th percentile.",
        BOUNDS.0, BOUNDS.1
    ));
    ensure!(broken.is_empty(), "above the bounds: {broken:?}");
    Ok(())
}

fn middle(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_that_of_the_sorted_values() {
        assert_eq!([middle(&mut [5, 1, 3]), middle(&mut [])], [3, 0]);
    }

    #[test]
    fn points_of_a_run_are_each_killed_at_once() {
        let mut points: Vec<u32> = (0..POINTS).map(|number| number * 211 % POINTS).collect();
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), POINTS as usize);
    }
}
